"""/api/v1/statuses: publish, read, edit and delete a post, see what is around it, and watch its delivery."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from rest_framework.response import Response

from feeds import actions, deliveries, entities, explain, posts
from feeds.models import Post
from followers.models import Account

from . import forms, pagination, serializers, throttling
from .auth import AccountRequest, AnyRequest
from .views import APIView

MOST = 40  # posts, of what names them one by one: as of a page


class Statuses(APIView):
    scopes = {"GET": "read:statuses", "POST": "write:statuses"}
    anonymous = ("GET",)
    rates = {"POST": (throttling.POSTS, throttling.PUSHES)}

    def get(self, request: AnyRequest) -> Response:
        ids = [pagination.number("id", text) for text in forms.several(request, "id")[:MOST]]
        return Response([serializers.status(entity, request.user) for entity in posts.several(request.user, ids)])

    def post(self, request: AccountRequest) -> HttpResponse:
        fields = forms.checked(forms.StatusForm, request)
        replied_to = fields.pop("in_reply_to_id")
        post = actions.publish_post(
            author=request.user,
            in_reply_to=posts.get_visible(request.user, replied_to) if replied_to is not None else None,
            idempotency_key=forms.idempotency_key(request),
            **fields,
        )
        return answer(request, post)


class Show(APIView):
    scopes = {"GET": "read:statuses", "PUT": "write:statuses", "DELETE": "write:statuses"}
    anonymous = ("GET",)
    rates = {"PUT": (throttling.POSTS,), "DELETE": (throttling.DELETES,)}

    def get(self, request: AnyRequest, post_id: int) -> HttpResponse:
        return answer(request, posts.get_visible(request.user, post_id))

    def put(self, request: AccountRequest, post_id: int) -> HttpResponse:
        words = forms.checked(forms.EditForm, request)
        return answer(request, actions.edit_post(author=request.user, post_id=post_id, **words))

    def delete(self, request: AccountRequest, post_id: int) -> Response:
        """The answer has the text as it was written: clients offer it for another try."""
        entity = actions.delete_post(author=request.user, post_id=post_id)
        return Response(serializers.status(entity, request.user) | {"text": entity["text"]})


class Source(APIView):
    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest, post_id: int) -> Response:
        return Response(serializers.source(entities.post(posts.get_visible(request.user, post_id))))


class History(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, post_id: int) -> Response:
        post = posts.get_visible(request.user, post_id)
        entity = entities.post(post)
        return Response([serializers.edit(said, entity) for said in posts.history(post)])


class Context(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, post_id: int) -> Response:
        around = posts.context(request.user, posts.get_visible(request.user, post_id))
        return Response(
            {
                "ancestors": [serializers.status(entity, request.user) for entity in around.ancestors],
                "descendants": [serializers.status(entity, request.user) for entity in around.descendants],
            }
        )


class RebloggedBy(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, post_id: int) -> Response:
        post, cursor = posts.get_visible(request.user, post_id), pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, posts.reblogged_by(request.user, post, cursor))


class FavouritedBy(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, post_id: int) -> Response:
        post, cursor = posts.get_visible(request.user, post_id), pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, posts.favoured_by(request.user, post, cursor))


class Delivery(APIView):
    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest, post_id: int) -> Response:
        post = Post.objects.get(pk=post_id)
        if not (request.user.is_staff or post.author_id == request.user.pk):
            posts.get_visible(request.user, post_id)
            raise PermissionDenied
        return Response(serializers.delivery(deliveries.report(post_id)))


class Explain(APIView):
    """For staff, who see by it also what they may not read."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest, post_id: int) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        reader = Account.objects.get(pk=pagination.number("account_id", request.query_params.get("account_id", "")))
        return Response(serializers.explanation(explain.explain(reader, post_id), reader, post_id))


class CancelDelivery(APIView):
    scopes = {"POST": "write:statuses"}

    def post(self, request: AccountRequest, post_id: int) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        actions.cancel_delivery(post_id=post_id)
        return Response(serializers.delivery(deliveries.report(post_id)))


class ReplayDelivery(APIView):
    scopes = {"POST": "write:statuses"}

    def post(self, request: AccountRequest, post_id: int) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        deliveries.replay(post_id=post_id)
        return Response(serializers.delivery(deliveries.report(post_id)))


class DropDelivery(APIView):
    scopes = {"POST": "write:statuses"}

    def post(self, request: AccountRequest, post_id: int) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        deliveries.drop(post_id=post_id)
        return Response(serializers.delivery(deliveries.report(post_id)))


def answer(request: AnyRequest | AccountRequest, post: Post) -> HttpResponse:
    """The post as it is now."""
    return serializers.status_alone(request, post.entity or entities.post(post, request.user))

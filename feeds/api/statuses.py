"""/api/v1/statuses: publish, read and delete a post, and watch its delivery."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.views import APIView

from feeds import actions, entities, explain, fanout, posts
from feeds.models import Post
from followers.models import Account

from . import pagination, serializers, throttling
from .auth import AccountRequest, AnyRequest


class Publish(APIView):
    scopes = {"POST": "write:statuses"}

    def post(self, request: AccountRequest) -> Response:
        form = serializers.StatusForm(data=request.data)
        form.is_valid(raise_exception=True)
        fields = form.validated_data
        replied_to = fields.pop("in_reply_to_id")
        post = actions.publish_post(
            author=request.user,
            in_reply_to=posts.get_visible(request.user, replied_to) if replied_to is not None else None,
            idempotency_key=serializers.idempotency_key(request),
            **fields,
        )
        return Response(serializers.status(entities.post(post, request.user), request.user))


class Show(APIView):
    scopes = {"GET": "read:statuses", "DELETE": "write:statuses"}
    anonymous = ("GET",)
    rates = {"DELETE": throttling.DELETES}

    def get(self, request: AnyRequest, post_id: int) -> Response:
        post = posts.get_visible(request.user, post_id)
        return Response(serializers.status(entities.post(post, request.user), request.user))

    def delete(self, request: AccountRequest, post_id: int) -> Response:
        """The answer has the text as it was written: clients offer it for another try."""
        entity = actions.delete_post(author=request.user, post_id=post_id)
        return Response(serializers.status(entity, request.user) | {"text": entity["text"]})


class Delivery(APIView):
    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest, post_id: int) -> Response:
        post = Post.objects.get(pk=post_id)
        if not (request.user.is_staff or post.author_id == request.user.pk):
            posts.get_visible(request.user, post_id)
            raise PermissionDenied
        return Response(serializers.delivery(fanout.report(post_id)))


class Explain(APIView):
    """For staff, who see by it also what they may not read."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest, post_id: int) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        reader = Account.objects.get(pk=pagination.number("account_id", request.query_params.get("account_id", "")))
        return Response(serializers.explanation(explain.explain(reader, post_id), reader, post_id))

"""/api/v1/tags, /api/v1/featured_tags: hashtags, which of them the caller follows, and which are on a profile."""

from __future__ import annotations

from rest_framework.response import Response

from feeds import actions, entities, posts
from feeds.models import Tag

from . import forms, serializers, throttling
from .accounts import existing
from .auth import AccountRequest, AnyRequest
from .views import APIView


class Show(APIView):
    scopes = {"GET": "read:follows"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, name: str) -> Response:
        return _answer(request, Tag.objects.get(name=name.lower()))


class Follow(APIView):
    scopes = {"POST": "write:follows"}
    rates = {"POST": (throttling.FOLLOWS,)}

    def post(self, request: AccountRequest, name: str) -> Response:
        return _answer(request, actions.follow_tag(account=request.user, name=name))


class Unfollow(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, name: str) -> Response:
        actions.unfollow_tag(account=request.user, name=name)
        return _answer(request, Tag.objects.get(name=name.lower()))


class Followed(APIView):
    scopes = {"GET": "read:follows"}

    def get(self, request: AccountRequest) -> Response:
        return _tags(request, posts.followed_tags(request.user))


class Featured(APIView):
    scopes = {"GET": "read:accounts", "POST": "write:accounts"}

    def get(self, request: AccountRequest) -> Response:
        return Response([serializers.featured_tag(one) for one in entities.featured_tags(request.user.pk)])

    def post(self, request: AccountRequest) -> Response:
        made = actions.feature_tag(account=request.user, **forms.checked(forms.FeaturedTagForm, request))
        [shown] = [one for one in entities.featured_tags(request.user.pk) if one.id == made.pk]
        return Response(serializers.featured_tag(shown))


class Unfeature(APIView):
    scopes = {"DELETE": "write:accounts"}

    def delete(self, request: AccountRequest, featured_id: int) -> Response:
        actions.unfeature_tag(account=request.user, featured_id=featured_id)
        return Response({})


class Suggestions(APIView):
    """What the caller used lately, and does not feature yet."""

    scopes = {"GET": "read:accounts"}

    def get(self, request: AccountRequest) -> Response:
        return _tags(request, posts.used_tags(request.user, actions.FEATURED_MOST))


class FeaturedBy(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        return Response([serializers.featured_tag(one) for one in entities.featured_tags(existing(account_id))])


def _tags(request: AccountRequest, found: list[Tag]) -> Response:
    return Response([serializers.tag(entity, request.user) for entity in entities.tags(found, request.user)])


def _answer(request: AnyRequest | AccountRequest, tag: Tag) -> Response:
    [entity] = entities.tags([tag], request.user)
    return Response(serializers.tag(entity, request.user))

"""/api/v1/tags: hashtags, and which of them the caller follows."""

from __future__ import annotations

from rest_framework.response import Response
from rest_framework.views import APIView

from feeds import actions, entities, posts
from feeds.models import Tag

from . import serializers
from .auth import AccountRequest, AnyRequest


class Show(APIView):
    scopes = {"GET": "read:follows"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, name: str) -> Response:
        return _answer(request, Tag.objects.get(name=name.lower()))


class Follow(APIView):
    scopes = {"POST": "write:follows"}

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
        found = entities.tags(posts.followed_tags(request.user), request.user)
        return Response([serializers.tag(entity, request.user) for entity in found])


def _answer(request: AnyRequest | AccountRequest, tag: Tag) -> Response:
    [entity] = entities.tags([tag], request.user)
    return Response(serializers.tag(entity, request.user))

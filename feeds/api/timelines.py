"""/api/v1/timelines: the reader's home and lists, what everybody wrote for everybody, and what bears a tag."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.response import Response

from feeds import actions, home, posts

from . import forms, pagination, serializers
from .auth import AccountRequest, AnyRequest
from .forms import flag
from .views import APIView


class Home(APIView):
    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> HttpResponse:
        page = home.page(request.user, pagination.cursor(request))
        actions.note_home_read(reader=request.user, built=page.built)
        return serializers.status_page(request, page)


class Public(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest) -> HttpResponse:
        cursor = pagination.cursor(request)
        if flag(request, "remote") or flag(request, "only_media"):
            return Response([])  # every post is local, and none has media yet
        return serializers.status_page(request, posts.public_timeline(request.user, cursor))


class Tag(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, name: str) -> HttpResponse:
        cursor = pagination.cursor(request)
        if flag(request, "remote") or flag(request, "only_media"):
            return Response([])
        page = posts.tag_timeline(
            request.user,
            name,
            cursor,
            any_of=forms.several(request, "any"),
            all_of=forms.several(request, "all"),
            none_of=forms.several(request, "none"),
        )
        return serializers.status_page(request, page)


class List(APIView):
    scopes = {"GET": "read:lists"}

    def get(self, request: AccountRequest, list_id: int) -> HttpResponse:
        return serializers.status_page(request, posts.list_timeline(request.user, list_id, pagination.cursor(request)))

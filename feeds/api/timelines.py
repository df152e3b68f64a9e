"""/api/v1/timelines: the reader's home, and what everybody wrote for everybody."""

from __future__ import annotations

from rest_framework.response import Response
from rest_framework.views import APIView

from feeds import actions, home, posts

from . import pagination, serializers
from .auth import AccountRequest, AnyRequest
from .serializers import flag


class Home(APIView):
    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> Response:
        page = home.page(request.user, pagination.cursor(request))
        actions.note_home_read(reader=request.user, built=page.built)
        return serializers.status_page(request, page)


class Public(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest) -> Response:
        cursor = pagination.cursor(request)
        if flag(request, "remote") or flag(request, "only_media"):
            return Response([])  # every post is local, and none has media yet
        return serializers.status_page(request, posts.public_timeline(request.user, cursor))

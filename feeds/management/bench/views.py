"""The views that the service's are compared with: nothing at all, one row inserted, the home timeline by SQL."""

from __future__ import annotations

import time
from itertools import count

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework.response import Response

from feeds.api import serializers
from feeds.api.auth import AccountRequest
from feeds.api.views import APIView
from feeds.database import rows
from feeds.entities import JOIN, REF, Ref
from feeds.models import HIDDEN, VISIBLE, Post, PostMode
from feeds.posts import Page

PAGE = 20
SEQUENCE = count()

# Fan-out on read: the newest of each followee by the index of (author, id desc), and of these the newest.
NEWEST = f"""
    SELECT {REF} FROM (
        SELECT newest.id FROM followers_follow f CROSS JOIN LATERAL (
            SELECT id FROM feeds_post WHERE author_id = f.followee_id AND deleted_at IS NULL
            ORDER BY id DESC LIMIT %(count)s) newest
        WHERE f.follower_id = %(viewer)s ORDER BY newest.id DESC LIMIT %(count)s) found
    JOIN feeds_post p ON p.id = found.id {JOIN}
    WHERE {VISIBLE.format(post="p")} AND NOT {HIDDEN.format(post="p")}
    ORDER BY p.id DESC
"""


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class Insert(APIView):
    """A row of the table that a status is a row of, with its indexes, and nothing else; in no timeline."""

    scopes = {"POST": "write:statuses"}

    def post(self, request: AccountRequest) -> Response:
        now = timezone.now()
        post_id = (time.time_ns() // 1_000_000 << 16) + next(SEQUENCE) % 2048 * 32
        text = request.POST["status"]
        Post(pk=post_id, author=request.user, text=text, home_mode=PostMode.NONE, created_at=now).save(
            force_insert=True
        )
        return Response({"id": str(post_id)})


class Home(APIView):
    """The page that the service shows, looked for in PostgreSQL, made into JSON by the same code."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> HttpResponse:
        refs = [Ref._make(columns) for columns in rows(NEWEST, viewer=request.user.pk, count=PAGE)]
        page = Page(refs, refs[-1].post_id, refs[0].post_id)
        return serializers.status_page(request, page)


urlpatterns = [path("nothing", nothing), path("insert", Insert.as_view()), path("home", Home.as_view())]

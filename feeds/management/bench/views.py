"""The views that the service's are compared with: nothing at all, one row inserted, the home timeline by SQL."""

from __future__ import annotations

import time
from itertools import count
from types import SimpleNamespace
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework.response import Response

from feeds import entities
from feeds.api import pagination, serializers
from feeds.api.auth import AccountRequest
from feeds.api.views import APIView
from feeds.database import rows
from feeds.entities import AUTHOR, JOIN, REF, Ref
from feeds.models import HIDDEN, VISIBLE, Post, PostMode
from feeds.posts import Page

PAGE = 20
SEQUENCE = count()

# Fan-out on read: the newest of each followee by the index of (author, id desc), and of these the newest. In braces: what is
# read of them besides their references.
NEWEST = f"""
    SELECT {REF}{{more}} FROM (
        SELECT newest.id FROM followers_follow f CROSS JOIN LATERAL (
            SELECT id FROM feeds_post WHERE author_id = f.followee_id AND deleted_at IS NULL
            ORDER BY id DESC LIMIT %(count)s) newest
        WHERE f.follower_id = %(viewer)s ORDER BY newest.id DESC LIMIT %(count)s) found
    JOIN feeds_post p ON p.id = found.id {JOIN}
    WHERE {VISIBLE.format(post="p")} AND NOT {HIDDEN.format(post="p")}
    ORDER BY p.id DESC
"""
POST = """text spoiler_text sensitive language visibility in_reply_to_id in_reply_to_account_id replies_count reblogs_count
    favourites_count created_at edited_at pinned_at""".split()
MENTIONS = """(SELECT coalesce(json_agg(json_build_array(named.id, named.username) ORDER BY m.id), '[]') FROM feeds_mention m
    JOIN followers_account named ON named.id = m.account_id AND named.is_active WHERE m.post_id = p.id)"""
TAGS = """ARRAY(SELECT t.name FROM feeds_posttag pt JOIN feeds_tag t ON t.id = pt.tag_id
    WHERE pt.post_id = p.id ORDER BY pt.id)"""
COLUMNS = [*(f"p.{one}" for one in POST), *(f"a.{one}" for one in AUTHOR), MENTIONS, TAGS]
WHOLE, REFERENCES = NEWEST.format(more="".join(f", {one}" for one in COLUMNS)), NEWEST.format(more="")


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
    """The page that the service shows, all that it shows read from PostgreSQL by one statement. None of it is a reblog."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> HttpResponse:
        statuses = []
        for row in rows(WHOLE, viewer=request.user.pk, count=PAGE):
            ref, (*facts, mentions, tags) = Ref._make(row[: len(Ref._fields)]), row[len(Ref._fields) :]
            post: Any = SimpleNamespace(pk=ref.post_id, **dict(zip(POST, facts, strict=False)))
            author = SimpleNamespace(**dict(zip(AUTHOR, facts[len(POST) :], strict=True)))
            marks = {"favourited": ref.favourited, "bookmarked": ref.bookmarked, "reblogged": ref.reblogged}
            entity: Any = entities.written(post, author, mentions, tags, muted=ref.muted) | marks
            statuses.append(serializers.status(entity, request.user))
        links = pagination.links(request, int(statuses[-1]["id"]), int(statuses[0]["id"]))
        return HttpResponse(orjson.dumps(statuses), content_type="application/json", headers=links)


class References(APIView):
    """The same page, of which PostgreSQL gives the references alone: posts come from the process's memory, as ours do."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> HttpResponse:
        refs = [Ref._make(columns) for columns in rows(REFERENCES, viewer=request.user.pk, count=PAGE)]
        page = Page(refs, refs[-1].post_id, refs[0].post_id)
        return serializers.status_page(request, page)


urlpatterns = [
    path("nothing", nothing),
    path("insert", Insert.as_view()),
    path("home", Home.as_view()),
    path("references", References.as_view()),
]

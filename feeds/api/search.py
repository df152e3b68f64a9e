"""/api/v2/search: accounts, statuses and hashtags by words, and a status or an account by its URL."""

from __future__ import annotations

import re

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from feeds import entities, posts, search

from . import forms, pagination, serializers
from .auth import AnyRequest
from .forms import flag
from .views import APIView

KINDS = ("accounts", "statuses", "hashtags")


class Search(APIView):
    scopes = {"GET": "read:search"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest) -> Response:
        viewer, query, wanted = request.user, forms.query(request), _kinds(request)
        some = {"limit": pagination.count(request, limit=20, cap=40), "offset": pagination.offset(request)}
        author, post_id = _named(query)
        if author:
            account_ids = [] if post_id else search.named(viewer, author)
            statuses, tags = posts.several(viewer, [post_id] if post_id else []), []
        else:
            following = flag(request, "following")
            account_ids = search.accounts(viewer, query, following=following, **some) if "accounts" in wanted else []
            post_ids = search.posts(viewer, query, author_id=_author(request), **some) if "statuses" in wanted else []
            statuses = posts.several_not_hidden(viewer, post_ids)
            tags = search.tags(query, **some) if "hashtags" in wanted else []
        return Response(
            {
                "accounts": [serializers.account(entity) for entity in entities.accounts(account_ids)],
                "statuses": [serializers.status(entity, viewer) for entity in statuses],
                "hashtags": [serializers.tag(entity, viewer) for entity in entities.tags(tags, viewer)],
            }
        )


def _kinds(request: AnyRequest) -> tuple[str, ...]:
    kind = request.query_params.get("type")
    if kind and kind not in KINDS:
        raise ParseError(f"type must be one of {', '.join(KINDS)}")
    return (kind,) if kind else KINDS


def _author(request: AnyRequest) -> int | None:
    """Whose statuses alone are asked for."""
    asked = request.query_params.get("account_id")
    return pagination.number("account_id", asked) if asked else None


def _named(query: str) -> tuple[str, int | None]:
    """The username in the URL of an account, or of a status, of ours, and that one's id. "": it is no such URL."""
    found = re.fullmatch(re.escape(settings.BASE_URL) + r"/@(\w+)(?:/([0-9]{1,18}))?/?", query)
    return (found[1].lower(), int(found[2]) if found[2] else None) if found else ("", None)

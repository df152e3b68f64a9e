"""Pages: what a request asks for (`cursor`), and the header by which the answer leads on (`links`)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils.encoding import escape_uri_path
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from feeds.posts import Cursor
from followers import graph

BOUNDS = ("max_id", "since_id", "min_id")
OFFSET_MOST = 1 << 31  # nothing has so many results


def cursor(request: Request, *, limit: int = 20, cap: int = 40) -> Cursor:
    """A limit above the cap is the cap. What is left blank counts as not given."""
    query = request.query_params
    bounds = {name: number(name, query[name]) for name in BOUNDS if query.get(name)} if query else {}
    return Cursor(limit=count(request, limit=limit, cap=cap), **bounds)


def row_cursor(request: Request, *, limit: int = 20, cap: int = 40) -> graph.Cursor:
    """The same for pages whose bounds are no posts: ids of follows, blocks, marks."""
    return graph.Cursor(**vars(cursor(request, limit=limit, cap=cap)))


def count(request: Request, *, limit: int, cap: int) -> int:
    asked = request.query_params.get("limit")
    if not asked:
        return limit
    if not re.fullmatch("0*[1-9][0-9]*", asked):
        raise ParseError("limit must be a whole number, at least 1")
    return min(int(asked), cap) if len(asked) < 20 else cap


def offset(request: Request) -> int:
    return min(number("offset", request.query_params.get("offset") or "0"), OFFSET_MOST)


def number(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) >= 1 << 63:
        raise ParseError(f"{name} must be a decimal number below 2^63")
    return int(text)


def response(request: Request, items: list[Any], *, next_max_id: int | None, prev_min_id: int | None) -> Response:
    return Response(items, headers=links(request, next_max_id, prev_min_id))


def links(request: Request, next_max_id: int | None, prev_min_id: int | None) -> dict[str, str]:
    """The header: this request's URL with other bounds; its other parameters stay. Next first: some look no further."""
    kept = [(name, values) for name, values in request.query_params.lists() if name not in BOUNDS]
    url = f"{settings.BASE_URL}{_escaped(request.path)}?{urlencode(kept, doseq=True) + '&' if kept else ''}"
    bounds = (("max_id", next_max_id, "next"), ("min_id", prev_min_id, "prev"))
    found = [f'<{url}{bound}={value}>; rel="{rel}"' for bound, value, rel in bounds if value is not None]
    return {"Link": ", ".join(found)} if found else {}


_escaped = lru_cache(100)(escape_uri_path)

"""How an answer becomes JSON, and what goes with it for browsers and caches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import ResponseHeaders
from django.middleware.security import SecurityMiddleware
from rest_framework import renderers

# Of what is no page: a browser that is led to it, and takes it for one, loads nothing, runs nothing and frames it nowhere.
NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
NOT_KEPT = "private, no-store"  # a cache on the way looks at the URL, and not at whose token came with it


class JSONRenderer(renderers.JSONRenderer):
    """By orjson: on a page of posts the standard library's encoder takes longer than everything that made it."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data)


class Headers(ResponseHeaders):
    """Those of an answer that is ready, of which Django asks for nothing but all."""

    def __init__(self, store: dict[str, tuple[str, str]]) -> None:
        self._store = store

    def items(self) -> Any:
        return self._store.values()


def complete(request: HttpRequest, response: Any, request_id: str) -> None:
    """Adds the headers that go with every answer, but for what it says itself: a page has another policy than the API.

    All at once: to set ten of them, each by itself, and to look for them again, takes Django longer than Redis takes to find
    a page's posts.
    """
    own = {"x-request-id": ("X-Request-Id", request_id)}
    if not response.streaming:
        own["content-length"] = ("Content-Length", str(len(response.content)))
    secure = bool(settings.SECURE_HSTS_SECONDS) and request.is_secure()
    response.headers = Headers(_always(secure) | response.headers._store | own)


@cache
def _always(secure: bool) -> dict[str, tuple[str, str]]:
    """Name and value by the name in lower case: ours, and what SecurityMiddleware has to say to who came by TLS, or not."""
    request: Any = HttpRequest()
    request._get_scheme = lambda: "https" if secure else "http"
    found = HttpResponse(headers={"Content-Security-Policy": NO_PAGE, "Cache-Control": NOT_KEPT})
    SecurityMiddleware(lambda _: found)(request)
    del found.headers["Content-Type"]
    return {name.lower(): (name, value) for name, value in found.items()}

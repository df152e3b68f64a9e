"""How an answer becomes JSON, and what goes with it for browsers and caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
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

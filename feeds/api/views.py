"""What all views of the API have in common: REST framework's, without what it would find out anew for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from limits import RateLimitItem
from rest_framework import views

from .renderers import JSONRenderer

RENDERER = JSONRenderer()


class APIView(views.APIView):
    """A view says what it wants of who calls, for auth.HasScope, and what it counts, for throttling.Throttle:

    scopes = {"GET": "read:statuses"}   by method; any one of several, space separated, will do
    anonymous = ("GET",)                methods that need no token at all
    app_token = True                    an application's own token will do
    rates = {"DELETE": (DELETES,)}      by method, besides the limit on all requests
    """

    scopes: ClassVar[Mapping[str, str]] = {}
    anonymous: ClassVar[tuple[str, ...]] = ()
    app_token: ClassVar[bool] = False
    rates: ClassVar[Mapping[str, tuple[RateLimitItem, ...]]] = {}

    @property
    def default_response_headers(self) -> dict[str, str]:
        """None: which methods there are is for those to know who used another one (errors.handle)."""
        return {}

    def perform_content_negotiation(self, request: Any, force: bool = False) -> tuple[JSONRenderer, str]:
        """JSON, whatever a client says it would accept, as other servers of this API do."""
        return RENDERER, RENDERER.media_type

    def perform_authentication(self, request: Any) -> None:
        """Without REST framework's look whether it has been done: an exception, each time."""
        request._authenticate()

"""What all views of the API have in common: REST framework's, without what it would find out anew for each request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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

    def get_authenticators(self) -> Any:
        return _one_of_each(tuple(self.authentication_classes))

    def get_permissions(self) -> Any:
        return _one_of_each(tuple(self.permission_classes))

    def get_throttles(self) -> Any:
        return _one_of_each(tuple(self.throttle_classes))

    def get_parsers(self) -> Any:
        return _one_of_each(tuple(self.parser_classes))

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Without formats and versions, of which there are none, and the look whether somebody has authenticated already."""
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        request._authenticate()
        self.check_permissions(request)
        self.check_throttles(request)


@cache
def _one_of_each(classes: tuple[type, ...]) -> list[Any]:
    """They keep nothing of a request, so that one serves all."""
    return [made() for made in classes]

"""Middleware of Django and of django-cors-headers, kept off the requests that have no use for it: nearly all of the API's."""

from __future__ import annotations

from typing import Any

from corsheaders.middleware import CorsMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.cache import patch_vary_headers


class Cors(CorsMiddleware):
    """Only a browser that asks for another site's page names an origin."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        response: Any = self.get_response(request)
        if self.is_enabled(request):
            patch_vary_headers(response, ("origin",))
        return response


class AdminOnly:
    """What the admin needs: its callers have cookies. Those of the API have tokens, and pass one layer instead of five."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = inner = get_response
        for middleware in (XFrameOptionsMiddleware, MessageMiddleware, AuthenticationMiddleware):
            inner = convert_exception_to_response(middleware(inner))
        self.csrf = CsrfViewMiddleware(inner)
        self.admin = SessionMiddleware(convert_exception_to_response(self.csrf))

    def __call__(self, request: HttpRequest) -> Any:
        return self.admin(request) if _is_admins(request) else self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> Any:
        return self.csrf.process_view(request, *view) if _is_admins(request) else None


def _is_admins(request: HttpRequest) -> bool:
    return request.path_info.startswith("/admin/")

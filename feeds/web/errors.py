"""What goes wrong outside of a view: a plain page for people where pages are, and for all others JSON (api/errors.py).

Neither says more than the status does: what went wrong is for the log.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from feeds.api import errors

ADMIN = "/admin/"
AUTHORIZE = "/oauth/authorize"


def is_page(request: HttpRequest) -> bool:
    """Whether people look there, and not programs. They come with cookies, not with tokens."""
    return request.path_info.startswith((ADMIN, AUTHORIZE))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return defaults.bad_request(request, exception) if is_page(request) else errors.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return defaults.page_not_found(request, exception) if is_page(request) else errors.not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    return defaults.server_error(request) if is_page(request) else errors.server_error(request)

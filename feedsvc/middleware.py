"""Middleware of Django and of django-cors-headers, kept off the requests that have no use for it: nearly all of the API's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.cache import patch_vary_headers

from feeds.api import throttling
from feeds.web import pages
from feeds.web.errors import ADMIN, AUTHORIZE, is_page


class Cors(CorsMiddleware):
    """Only a browser that asks for another site's page names an origin."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        response: Any = self.get_response(request)
        if response.has_header("Cache-Control") and self.is_enabled(request):  # what no cache keeps need not say it
            patch_vary_headers(response, ("origin",))
        return response


class Hosts:
    """Refuses names that are not ours. Which ones are, Django is asked once of each."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        said = request.META.get
        _check_host(said("HTTP_HOST"), said("HTTP_X_FORWARDED_HOST"), said("SERVER_NAME"), said("SERVER_PORT"))
        return self.get_response(request)


@lru_cache(100)  # a name may be as long as all headers
def _check_host(host: str | None, forwarded: str | None, name: str | None, port: str | None) -> None:
    """Raises DisallowedHost, which is not remembered."""
    request = HttpRequest()
    said = {"HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": forwarded, "SERVER_NAME": name, "SERVER_PORT": port}
    request.META = {header: value for header, value in said.items() if value is not None}
    request.get_host()


# The admin's own files, and nothing inline; the sign-in pages have a policy of theirs (web/pages.py).
ADMIN_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "font", "connect")),
        *("form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"),
    )
)


class PagesOnly:
    """What pages for people need: they come with cookies. Callers of the API have tokens, and pass one layer instead of five.

    Whoever signs in at /oauth/authorize is signed in nowhere else, and nobody from the admin is there: each has cookies for
    its own path. Those of /oauth/authorize are `Lax` and not `Strict`, since a person comes to it by a link, from the page
    of an application: a browser would leave strict ones behind, and ask whoever is signed in for the password again.
    """

    def __init__(self, get_response: Any) -> None:
        self.get_response = inner = get_response
        for middleware in (XFrameOptionsMiddleware, MessageMiddleware, AuthenticationMiddleware):
            inner = convert_exception_to_response(middleware(inner))
        self.csrf = CsrfViewMiddleware(inner)
        self.pages = SessionMiddleware(convert_exception_to_response(self.csrf))

    def __call__(self, request: HttpRequest) -> Any:
        if not is_page(request):
            return self.get_response(request)
        # Django would put a file of any size on the disk.
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return HttpResponse("The request is too large", status=413)
        response: Any = self.pages(request)
        if request.path_info.startswith(ADMIN):
            response.headers.setdefault("Content-Security-Policy", ADMIN_POLICY)
        else:
            for cookie in response.cookies.values():
                cookie["path"], cookie["samesite"] = AUTHORIZE, "Lax"
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> Any:
        if not is_page(request):
            return None
        if refused := self.csrf.process_view(request, *view):
            return refused
        return _sign_in_refused(request)


def _sign_in_refused(request: HttpRequest) -> Any:
    """The admin's. Tries at /oauth/authorize its own view counts."""
    if request.method != "POST" or request.path_info != f"{ADMIN}login/":
        return None
    spent = throttling.sign_in_refused(request, request.POST.get("username", ""))
    return pages.too_many(request, spent.wait) if spent else None

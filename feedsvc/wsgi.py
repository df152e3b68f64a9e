"""The web process: `granian --interface wsgi feedsvc.wsgi:application`."""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import HttpRequest, QueryDict
from django.urls import ResolverMatch
from django.utils.http import parse_header_parameters
from django.utils.log import log_response

from feedsvc.postgresql.base import GOOD_FOR

# granian's worker would outlive a kill -9 of its parent and keep the port: the kernel is to end it (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
django.setup(set_prefix=False)


NOTHING_ASKED = QueryDict()  # which can't be changed


class Request(WSGIRequest):
    """Text comes in UTF-8, whatever charset is named: Python has codecs that give no text, or raise errors of their own, and
    Django would read even a URL's parameters by them, where nothing catches what they raise.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        if not environ.get("QUERY_STRING"):
            self.GET = NOTHING_ASKED

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


class _Thread(threading.local):
    looks_at = 0.0  # its connections next, by the monotonic clock


class Handler(WSGIHandler):
    """Django's, without what it does around each request for nothing: the service is at the root of its host, no query is
    logged, the cache keeps its connections, all requests have the same URLs and no transaction of their own, and whether a
    connection to PostgreSQL works is asked before a request alone, and not before each.
    """

    request_class = Request
    _middleware_chain: Any

    def __init__(self) -> None:
        super().__init__()
        self.fixed: dict[str, ResolverMatch] = {}
        self.thread = _Thread()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Django takes a body that comes in chunks, without a length, for an empty one. So it is told the length: of what has
        come, and of what is too large, one byte more than it takes.
        """
        if "HTTP_TRANSFER_ENCODING" in environ:
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        thread, now = self.thread, time.monotonic()
        if now >= thread.looks_at:
            close_old_connections()
            thread.looks_at = now + GOOD_FOR
        response: Any = self.get_response(self.request_class(environ))
        if response.status_code >= 500:
            thread.looks_at = 0.0
        response._handler_class = self.__class__
        cookies = [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
        start_response(f"{response.status_code} {response.reason_phrase}", [*response.items(), *cookies])
        if response.streaming:
            return response
        # A list is sent as it is; what granian has to iterate over goes from thread to thread, piece by piece.
        response.close()
        return [response.content]

    def get_response(self, request: HttpRequest) -> Any:
        response: Any = self._middleware_chain(request)
        response._resource_closers.append(request.close)
        if response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        return response

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """What a path leads to is looked for once, unless part of it goes to the view: so there are no more than routes."""
        if (found := self.fixed.get(request.path_info)) is None:
            found = super().resolve_request(request)
            if not found.args and not found.kwargs:
                self.fixed[request.path_info] = found
        request.resolver_match = found
        return found

    def make_view_atomic(self, view: Any) -> Any:
        return view


for receiver in (close_caches, close_old_connections, reset_urlconf):
    request_finished.disconnect(receiver)

application = Handler()

"""The web process: `granian --interface wsgi feedsvc.wsgi:application`."""

import ctypes
import os
import signal
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
from django.utils.http import parse_header_parameters

# granian's worker would outlive a kill -9 of its parent and keep the port: the kernel is to end it (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
django.setup(set_prefix=False)


class Request(WSGIRequest):
    """Text comes in UTF-8, whatever charset is named: Python has codecs that give no text, or raise errors of their own, and
    Django would read even a URL's parameters by them, where nothing catches what they raise.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


class Handler(WSGIHandler):
    """Django's, without what it does around each request for nothing: the service is at the root of its host, no query is
    logged, the cache keeps its connections, all requests have the same URLs, and whether a connection to PostgreSQL works is
    asked before a request alone.
    """

    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Django takes a body that comes in chunks, without a length, for an empty one. So it is told the length: of what has
        come, and of what is too large, one byte more than it takes.
        """
        if "HTTP_TRANSFER_ENCODING" in environ:
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        close_old_connections()
        response: Any = self.get_response(self.request_class(environ))
        response._handler_class = self.__class__
        cookies = [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
        start_response(f"{response.status_code} {response.reason_phrase}", [*response.items(), *cookies])
        if response.streaming:
            return response
        # A list is sent as it is; what granian has to iterate over goes from thread to thread, piece by piece.
        response.close()
        return [response.content]


for receiver in (close_caches, close_old_connections, reset_urlconf):
    request_finished.disconnect(receiver)

application = Handler()

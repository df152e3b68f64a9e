"""The web process: `granian --interface wsgi feedsvc.wsgi:application`."""

import ctypes
import os
import signal
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.utils.http import parse_header_parameters

# granian's worker would outlive a kill -9 of its parent and keep the port: the kernel is to end it (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
_django = get_wsgi_application()


class Request(WSGIRequest):
    """Text comes in UTF-8, whatever charset is named: Python has codecs that give no text, or raise errors of their own, and
    Django would read even a URL's parameters by them, where nothing catches what they raise.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


_django.request_class = Request


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django takes a body that comes in chunks, without a length, for an empty one. So it is told the length: of what has
    come, and of what is too large, one byte more than it takes.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return _django(environ, start_response)


# What Django does around each request for nothing: no query is logged, the cache keeps its connections, whether the one to
# PostgreSQL works is asked before a request, and all requests have the same URLs.
request_started.disconnect(reset_queries)
request_finished.disconnect(close_caches)
request_finished.disconnect(close_old_connections)
request_finished.disconnect(reset_urlconf)

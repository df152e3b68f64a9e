"""The yardsticks' web process: `granian --interface wsgi feeds.management.bench.wsgi:application`, with the service's flags.

An empty view is asked without any middleware, the other ones through the service's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

# As in the service: granian's worker must not outlive its parent (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

NOTHING = "/nothing"

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
django.setup(set_prefix=False)
settings.ROOT_URLCONF = "feeds.management.bench.views"
_whole = WSGIHandler()
settings.MIDDLEWARE = []
_bare = WSGIHandler()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    handler = _bare if environ["PATH_INFO"] == NOTHING else _whole
    return handler(environ, start_response)

"""The web process: `granian --interface wsgi feedsvc.wsgi:application`."""

import ctypes
import os
import signal

from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

# granian's worker would outlive a kill -9 of its parent and keep the port: the kernel is to end it (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
application = get_wsgi_application()

# What Django does around each request for nothing: no query is logged, the cache keeps its connections, and whether the one
# to PostgreSQL works is asked before a request.
request_started.disconnect(reset_queries)
request_finished.disconnect(close_caches)
request_finished.disconnect(close_old_connections)

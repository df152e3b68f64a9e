"""The web process: `granian --interface wsgi feedsvc.wsgi:application`."""

import ctypes
import os
import signal

from django.core.wsgi import get_wsgi_application

# granian's worker would outlive a kill -9 of its parent and keep the port: the kernel is to end it (PR_SET_PDEATHSIG).
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
application = get_wsgi_application()

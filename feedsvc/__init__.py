"""The roof: settings, the Celery application, the two server interfaces, and what runs them all on one machine."""

from .celery import app as celery_app

__all__ = ["celery_app"]

"""Celery's Redis result backend, which counts a chord's members, made patient. celery.py puts it in its place."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.backends.redis import RedisBackend
from celery.exceptions import Reject

TRY_FOR = 2  # seconds, in the process that has just done the work
AGAIN_AFTER = 0.2  # seconds between tries
PAUSE = (
    3  # seconds before the message is given back: RabbitMQ gives it out ten times, a Redis broker at once and for ever
)
PATIENCE = 30  # seconds of an outage, then members go uncounted: fan-outs must go on, and the reconciler closes them

log = logging.getLogger(__name__)


class PatientBackend(RedisBackend):
    """Celery's own loses a chord for good if the store is away as a member is to be counted: its message is acknowledged all
    the same. This one tries again, then has the message come again, which finds its batch done and only counts. Counting
    twice is counting once.
    """

    away_since = failed_at = float("-inf")  # on the monotonic clock

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        until = time.monotonic() + TRY_FOR
        while True:
            try:
                super().on_chord_part_return(request, state, result, *args, **kwargs)
                return
            except self.connection_errors as error:  # type: ignore[attr-defined]  # made by its __init__, from a tuple
                if self._away() > PATIENCE:
                    raise
                if time.monotonic() > until:
                    log.warning("a chord's member is not counted, its message comes again: %s", error)
                    time.sleep(PAUSE)
                    raise Reject(error, requeue=True) from error
                time.sleep(AGAIN_AFTER)

    def _away(self) -> float:
        """Seconds since the store was first found away. Who has not asked for a while knows of no outage."""
        now = time.monotonic()
        if now > self.failed_at + PATIENCE:
            self.away_since = now
        self.failed_at = now
        return now - self.away_since

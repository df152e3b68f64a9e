"""Reads that may lag: asked of a replica of PostgreSQL, where one is near enough, and else of the primary.

Nothing is by itself: what is not wrapped in `read` is asked of the primary. Two kinds of reads may be wrapped: sums that
nobody takes exactly, and candidates, of which the primary says in a second look who may be shown what. So a replica can
leave out what is new, and never show what was deleted, blocked or hidden (docs/protocol.md).

How far a replica is behind is measured by positions in the log of changes, and by this process's clock alone: it has all that
was there when the primary stood where the replica has come to.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections

from . import metrics
from .database import asked_of, asking, rows

LOOK_EVERY = 1.0  # seconds from one look at the positions to the next
AWAY_FOR = 5.0  # seconds for which a replica that failed is not asked again
NEVER = float("-inf")

Found = TypeVar("Found")

log = logging.getLogger(__name__)


class Router:
    """Django's questions, which database a model is read from or written to, answered as `read` says."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return asked_of()

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, *rows: Any, **hints: Any) -> bool:
        return True  # it is one database

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


def read(ask: Callable[[], Found]) -> Found:
    """What `ask` finds, which reads and does nothing else: on a replica that is no more than REPLICA_MAX_LAG behind.

    On the primary where there is none, where the replica fails or is too slow (`ask` is called a second time), and in a
    transaction, whose changes no replica has.
    """
    alias = None if connections[DEFAULT_DB_ALIAS].in_atomic_block else _replicas.near()
    if alias is not None:
        try:
            with asking(alias):
                found = ask()
        except Error as error:
            _replicas.failed(alias, error)
        else:
            metrics.replica_reads.inc()
            return found
    return ask()


def lags() -> dict[str, float]:
    """By how many seconds each replica is behind, at most; infinite where it does not answer, or follows no more."""
    return _replicas.lags() if settings.REPLICAS else {}


@dataclass
class _Replicas:
    """What this process knows of them. Any thread may look, and one at a time does; the others go by the look before."""

    looked_at: float = NEVER
    past: deque[tuple[float, int]] = field(
        default_factory=lambda: deque(maxlen=600)
    )  # moments, where the primary stood
    complete: dict[str, float] = field(default_factory=dict)  # what was committed by then is there
    away_until: dict[str, float] = field(default_factory=dict)
    looking: threading.Lock = field(default_factory=threading.Lock)

    def near(self) -> str | None:
        """One of those that are near enough. None: no replica is, or there is none."""
        if not settings.REPLICAS:
            return None
        found = [alias for alias, lag in self.lags().items() if lag <= settings.REPLICA_MAX_LAG]
        if not found:
            metrics.replica_fallbacks.labels("lagging").inc()
            return None
        return random.choice(found)  # noqa: S311  chance that is no secret

    def lags(self) -> dict[str, float]:
        if time.monotonic() - self.looked_at >= LOOK_EVERY and self.looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self.looked_at = time.monotonic()
                self.looking.release()
        now = time.monotonic()
        return {
            alias: now - self.complete.get(alias, NEVER) if self.away_until.get(alias, NEVER) <= now else float("inf")
            for alias in settings.REPLICAS
        }

    def failed(self, alias: str, error: Exception) -> None:
        if self.away_until.get(alias, NEVER) <= time.monotonic():
            log.warning("%s is not asked for %.0f s: %s", alias, AWAY_FOR, str(error).strip())
        self.away_until[alias] = time.monotonic() + AWAY_FOR
        metrics.replica_fallbacks.labels("failed").inc()
        connections[alias].close()  # it may still wait for its answer

    def _look(self) -> None:
        began = time.monotonic()
        try:
            [(system, stands)] = rows(_STANDS)
        except Error:
            return  # what is known gets older
        self.past.append((began, stands))
        for alias in settings.REPLICAS:
            if self.away_until.get(alias, NEVER) > began:
                continue
            try:
                with asking(alias):
                    [(of, replayed)] = rows(_REPLAYED)
            except Error as error:
                self.failed(alias, error)
                continue
            reached = (moment for moment, stood in self.past if stood <= replayed)
            self.complete[alias] = max(reached, default=NEVER) if of == system else NEVER


# Of a server that is no replica, or somebody else's, the second gives a system that is not the primary's.
_SYSTEM = "(SELECT system_identifier FROM pg_control_system())"
_STANDS = f"SELECT {_SYSTEM}, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
_REPLAYED = f"""
    SELECT CASE WHEN pg_is_in_recovery() THEN {_SYSTEM} END,
        coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint, 0)"""

_replicas = _Replicas()

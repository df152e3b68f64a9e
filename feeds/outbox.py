"""The outbox: the only bridge from a change to its background work. Read the table first: it says what happens when.

A change calls `record` inside its own transaction. The relay's `publish` sends the rows to the broker, by task name. A
task opens its row with `claimed`: at most one run at a time works on a row, and a row that is not done is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from celery import chain, group, signature
from celery.canvas import Signature
from django.conf import settings
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerError

from . import metrics
from .database import STORE_ERRORS, changed, is_away, rows

TASKS = {
    "post.published": ("fan_out_post", "send_notifications", "update_search_index", "refresh_cache"),  # reblogs, too
    "post.edited": ("send_notifications", "update_search_index", "refresh_cache"),
    "post.addressed": ("sync_pair",),  # an edit of a direct post names one more follower
    "post.deleted": ("retract_post", "update_search_index", "refresh_cache"),
    "post.cancelled": ("retract_post",),
    "follow.created": ("sync_pair", "send_notifications"),
    "follow.deleted": ("sync_pair",),
    "favourite.created": ("send_notifications",),
    "account.created": ("rebuild_timeline",),
    "account.returned": ("rebuild_timeline",),
    "account.edited": ("refresh_cache",),
    "account.deleted": ("delete_account",),
}
"""What happens when. A block is two unfollows; mutes, lists and followed tags need nothing: each page applies them."""

CHAINED = {"update_search_index": "backfill_tag"}
"""A task, and the one that is given its result."""

CHANNEL = "outbox"
WAKE = f"pg_notify('{CHANNEL}', '')"
CLAIM = 200  # rows per round of the relay
KEPT = timedelta(days=7)
ATTEMPTS = 10  # runs that end in an error, then the row stays for a person to look at

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A claimed row. `lease_no` is the token that later statements show; `deadline` is Redis's, in unix milliseconds."""

    row_id: int
    lease_no: int
    event: str
    subject_id: int
    object_id: int  # 0 where the task has none
    waited: bool
    deadline: int


class Later(Exception):
    """Raised by a handler that can't end now: its row is due again after so many seconds.

    `waited`: by then it has waited for all that it found in flight, and need not look for it again.
    """

    def __init__(self, seconds: float, *, waited: bool = False) -> None:
        super().__init__(f"put off for {seconds:.0f} s")
        self.seconds = seconds
        self.waited = waited


def record(event: str, subject_id: int, object_id: int | None = None) -> None:
    """Asks for the tasks of `event`, and wakes the relay; both come true with the caller's transaction, or not at all.

    A rebuild that is asked for while one is open is the same rebuild.
    """
    changes = "(SELECT %(subject_id)s::bigint, %(object_id)s::bigint) change (subject_id, object_id)"
    rows(f"WITH asked AS ({asking(event, changes)}) SELECT {WAKE}", subject_id=subject_id, object_id=object_id)


def asking(event: str, changes: str) -> str:
    """`record` for a statement that makes its change itself: the SQL that asks for the tasks of each (subject_id, object_id)
    in `changes`, a table or what stands for one. It has to WAKE the relay, too.
    """
    tasks = ", ".join(f"'{task}'" for task in TASKS[event])
    return f"""
        INSERT INTO feeds_outbox (event, task, subject_id, object_id)
        SELECT '{event}', unnest(ARRAY[{tasks}]), subject_id, object_id FROM {changes} ON CONFLICT DO NOTHING"""


# The relay


def publish() -> int:
    """Sends the oldest unsent rows, those of one change as a group, and returns how many.

    Raises BrokerError if not even the first could be sent.

    The row locks are the claim: several relays share the rows, and a dead one's are free when its connection is.
    A crash between sending and committing sends them twice, which `claimed` makes harmless.
    """
    sent: list[int] = []
    with transaction.atomic():
        due = rows(
            """
            SELECT id, task, event, subject_id, object_id FROM feeds_outbox WHERE sent_at IS NULL AND due_at <= now()
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            limit=CLAIM,
        )
        try:
            for _, siblings in groupby(due, key=lambda row: row[2:]):
                change = {row_id: task for row_id, task, *_ in siblings}
                group(_signature(row_id, task) for row_id, task in change.items()).apply_async()
                sent += change
        except BrokerError as error:
            if not sent:
                raise
            log.warning("the broker went away after %d of %d messages: %s", len(sent), len(due), error)
        changed("UPDATE feeds_outbox SET sent_at = now() WHERE id = ANY(%(sent)s::bigint[])", sent=sent)
    metrics.outbox_sent.inc(len(sent))
    return len(sent)


def _signature(row_id: int, task: str) -> Signature:
    first = signature(task, (row_id,))
    return chain(first, signature(CHAINED[task])) if task in CHAINED else first


def listen() -> None:
    """From now on `wait` returns as soon as somebody commits a row."""
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {CHANNEL}")


def wait(seconds: float) -> None:
    """Until a row was committed since the last call, but `seconds` at most."""
    connection.ensure_connection()
    for _ in connection.connection.notifies(timeout=seconds, stop_after=1):
        pass


# A task's row


@contextmanager
def claimed(row_id: int) -> Iterator[Work | None]:
    """The row, leased to the caller, or None: done already, or in somebody else's hands. At the end it is done.

    An exception gives the row back: at once where a store failed, else later and with an attempt burned.
    """
    found = rows(
        """
        UPDATE feeds_outbox SET lease_no = lease_no + 1, attempts = attempts + 1,
            lease_until = now() + %(lease)s * interval '1 second'
        WHERE id = %(row_id)s AND done_at IS NULL AND (lease_until IS NULL OR lease_until < now())
        RETURNING lease_no, event, subject_id, coalesce(object_id, 0), waited,
            floor(extract(epoch FROM now() + %(fence)s * interval '1 second') * 1000)::bigint
        """,
        row_id=row_id,
        lease=settings.LEASE,
        fence=settings.FENCE,
    )
    if not found:
        yield None
        return
    work = Work(row_id, *found[0])
    try:
        yield work
    except Later as later:
        _give_back(work, str(later), burned=0, seconds=later.seconds, waited=later.waited)
    except STORE_ERRORS as error:
        _give_back(work, str(error), burned=0 if is_away(error) else 1, seconds=2)
        raise
    except Exception as error:
        _give_back(work, f"{type(error).__name__}: {error}", burned=1, seconds=5)
        raise
    else:
        changed(
            "UPDATE feeds_outbox SET done_at = now(), lease_until = NULL, error = NULL"
            " WHERE id = %(row_id)s AND lease_no = %(lease_no)s AND done_at IS NULL",
            row_id=work.row_id,
            lease_no=work.lease_no,
        )


def _give_back(work: Work, error: str, *, burned: int, seconds: float, waited: bool = False) -> None:
    """Due again in some seconds, longer with each attempt that was burned."""
    try:
        changed(
            """
            UPDATE feeds_outbox SET lease_until = NULL, error = %(error)s, attempts = attempts - 1 + %(burned)s,
                waited = waited OR %(waited)s,
                due_at = now() + %(seconds)s * greatest(1, attempts - 1 + %(burned)s) * interval '1 second',
                sent_at = CASE WHEN attempts - 1 + %(burned)s < %(allowed)s THEN NULL ELSE sent_at END
            WHERE id = %(row_id)s AND lease_no = %(lease_no)s AND done_at IS NULL
            """,
            error=error[:1000],
            burned=burned,
            seconds=seconds,
            waited=waited,
            allowed=ATTEMPTS,
            row_id=work.row_id,
            lease_no=work.lease_no,
        )
    except STORE_ERRORS as gone:
        log.warning("outbox row %d could not be given back, its lease will run out: %s", work.row_id, gone)


# The reconciler's part, and a person's


def resend() -> int:
    """Has the relay send again what was sent and is neither done nor in work: a flushed broker loses nothing."""
    return changed(
        """
        UPDATE feeds_outbox SET sent_at = NULL
        WHERE done_at IS NULL AND sent_at < now() - %(after)s * interval '1 second'
          AND coalesce(lease_until, '-infinity') < now() AND attempts < %(allowed)s
        """,
        after=settings.RESEND_AFTER,
        allowed=ATTEMPTS,
    )


def send_again(row_id: int) -> bool:
    """Has the relay send the row now, with all its attempts before it. False if it is done, or in work."""
    return bool(
        changed(
            """
            UPDATE feeds_outbox SET sent_at = NULL, due_at = now(), attempts = 0
            WHERE id = %(row_id)s AND done_at IS NULL AND coalesce(lease_until, '-infinity') < now()
            """,
            row_id=row_id,
        )
    )


def prune() -> int:
    """Deletes rows that were done long ago."""
    return changed("DELETE FROM feeds_outbox WHERE done_at < now() - %(kept)s", kept=KEPT)


def gauges() -> dict[str, Any]:
    """What waits: rows not sent yet, the age of the oldest in seconds, rows sent and not done."""
    [(unsent, age, undone)] = rows(
        """
        SELECT count(*) FILTER (WHERE sent_at IS NULL),
            coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE sent_at IS NULL)), 0)::float,
            count(*) FILTER (WHERE sent_at IS NOT NULL)
        FROM feeds_outbox WHERE done_at IS NULL
        """
    )
    return {"unsent": unsent, "oldest_unsent_seconds": max(0.0, age), "undone": undone}

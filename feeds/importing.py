"""Writes of many at once: a follow graph from outside, and an audience made for a measurement.

Both may run beside live traffic. A timeline is built before the commit that makes its reader's follows visible: whoever
publishes after that commit finds the timeline, and nobody published before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from followers import bulk
from followers.models import Account

from . import outbox, timelines
from .database import rows
from .models import Post

PATIENCE = "10min"  # for a statement of an import
SLICE = 20_000  # made followers per transaction


@dataclass(frozen=True)
class Imported:
    """How many different edges the graph has, and what was not there yet."""

    edges: int
    new_accounts: int
    new_follows: int
    rebuilds: int  # asked for


@transaction.atomic
def import_graph(edges: Iterable[tuple[int, int]], *, inactive: float = 0.0) -> Imported:
    """Makes account uN of each number N, and a follow of each (follower, followee). What is there already stays as it is.

    New accounts are active and have an empty timeline, but for a share of `inactive` ones. All or nothing: an exception
    that `edges` raises undoes everything.
    """
    _be_patient()
    edge_count = bulk.load(edges)
    new_accounts = bulk.create_accounts(inactive=inactive)
    bulk.lock_accounts()
    new_follows = bulk.create_follows()
    rebuilds = _ask_for_rebuilds()
    _build_empty_timelines()
    return Imported(edge_count, new_accounts, new_follows, rebuilds)


def make_audience(author: Account, *, prefix: str, size: int, show: Callable[[int], None]) -> None:
    """Makes `size` active followers of an author who has no other ones: prefix1, prefix2, ..."""
    for first in range(1, size + 1, SLICE):
        last = min(first + SLICE - 1, size)
        with transaction.atomic():
            readers = bulk.make_followers(followee_id=author.pk, prefix=prefix, first=first, last=last)
            for chunk in _chunks(readers):
                timelines.build_empty(chunk)
        show(last)


def release_audience(author: Account, *, prefix: str, show: Callable[[int], None]) -> None:
    """Takes back what make_audience made: follows, timelines, the author's posts. The accounts stay, inactive."""
    released = 0
    while readers := bulk.release_followers(followee_id=author.pk, prefix=prefix, most=SLICE):
        timelines.evict(readers)
        released += len(readers)
        show(released)
    Post.objects.filter(author=author).delete()


def _chunks(packed: str) -> Iterator[str]:
    ids = packed.split(",")
    for start in range(0, len(ids), settings.PUSH_CHUNK):
        yield ",".join(ids[start : start + settings.PUSH_CHUNK])


def _be_patient() -> None:
    """Other statements take milliseconds, and are bounded accordingly; these write all the rows of a graph at once."""
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        rows("SELECT set_config(%(limit)s, %(patience)s, true)", limit=limit, patience=PATIENCE)


def _ask_for_rebuilds() -> int:
    """For active readers with a new followee who has posted already: their timeline is no longer complete.

    A rebuild that is open now may have read the rows before our commit. So its claim is revoked: it can't close the row,
    which is sent again instead.
    """
    [(asked, _)] = rows(
        """
        WITH asked AS (
            INSERT INTO feeds_outbox (event, task, subject_id)
            SELECT 'account.returned', 'rebuild_timeline', id FROM followers_account
            WHERE last_active_at IS NOT NULL AND id IN (
                SELECT follower_id FROM import_follow f WHERE EXISTS (
                    SELECT 1 FROM feeds_post WHERE author_id = f.followee_id AND deleted_at IS NULL))
            ORDER BY id
            ON CONFLICT (subject_id) WHERE task = 'rebuild_timeline' AND done_at IS NULL DO UPDATE SET
                sent_at = NULL, due_at = now(), lease_until = NULL, lease_no = feeds_outbox.lease_no + 1
            RETURNING 1)
        SELECT count(*), pg_notify(%(channel)s, '') FROM asked
        """,
        channel=outbox.CHANNEL,
    )
    return int(asked)


def _build_empty_timelines() -> None:
    """For the accounts just made, unless a rebuild is on its way: until then PostgreSQL serves them, and lacks nothing."""
    packed = rows(
        """
        SELECT string_agg(id::text, ',') FROM (
            SELECT i.id, (row_number() OVER (ORDER BY i.id) - 1) / %(chunk)s AS chunk
            FROM import_account i
            WHERE made AND active AND NOT EXISTS (
                SELECT 1 FROM feeds_outbox
                WHERE task = 'rebuild_timeline' AND subject_id = i.id AND done_at IS NULL)
        ) readers GROUP BY chunk
        """,
        chunk=settings.PUSH_CHUNK,
    )
    for (readers,) in packed:
        timelines.build_empty(readers)

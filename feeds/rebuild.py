"""Making one reader's stored timeline agree with PostgreSQL: after a follow or an unfollow, and from nothing.

Both read the rows, write to Redis, and read the rows again: a write that came from a stale reading is always followed by
a second look. They may run twice, late, or beside themselves.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from django.conf import settings

from followers.models import Account

from . import timelines
from .database import rows
from .models import STORED
from .outbox import Later

READINGS = 20  # of rows that changed each time; then the work is given back
POLL = 2.0  # seconds to wait here for batches in flight, before the work row is put off until their leases end

NEWEST = f"""
    SELECT p.id FROM followers_follow f CROSS JOIN LATERAL (
        SELECT id FROM feeds_post p
        WHERE author_id = f.followee_id AND id > %(above)s AND {STORED.format(post="p")}
        ORDER BY id DESC LIMIT %(count)s) p
    WHERE f.follower_id = %(viewer)s AND (%(author)s::bigint IS NULL OR f.followee_id = %(author)s)
    ORDER BY p.id DESC LIMIT %(count)s
"""


@dataclass(frozen=True)
class Newest:
    """The newest posts that belong into a timeline, at most TIMELINE_LIMIT, and the id at and below which there are more."""

    ids: list[int]
    floor: int


def rebuild(reader_id: int) -> str:
    """Builds the reader's timeline from PostgreSQL: 'built', 'superseded' by another rebuild, or 'gone' with the account.

    Begin comes before the reading that counts: a post committed before it is in the reading, one after it is pushed into
    the timeline being built. The reading that changes nothing comes before the end: no deletion slips in.
    """
    token = secrets.token_hex(8)
    timelines.begin(reader_id, token)
    # After the beginning: whoever deletes the account later drops what was begun.
    if not Account.objects.filter(pk=reader_id, deleted_at=None).exists():
        timelines.evict([reader_id])
        return "gone"
    kept: set[int] | None = None
    for _ in range(READINGS):
        newest = _newest(reader_id)
        ids = set(newest.ids)
        if ids == kept:
            return "built" if timelines.finish(reader_id, token, cover=newest.floor) else "superseded"
        before = kept or set()
        if not timelines.fill(reader_id, token, add=list(ids - before), remove=list(before - ids)):
            return "superseded"
        kept = ids
    raise Later(5)


def sync_pair(reader_id: int, author_id: int, *, deadline: int, waited: bool) -> str:
    """Makes the reader's timeline hold of the author what it should: all within coverage if followed, else nothing.

    One handler for follow and unfollow, since it reads the rows and does not believe its event. An unfollow waits for
    batches claimed before it (`waited`: has done so): they may have read a range that still held the reader.
    Returns 'synced', or 'absent' where no timeline is. Raises Later, also where Redis refused a write that came too late.
    """
    in_flight = [] if waited else _claimed_batches(author_id, reader_id)  # before the rows are read
    for _ in range(READINGS):
        stored = timelines.ids(reader_id)
        if stored is None:
            if not in_flight:
                return "absent"
            _await(in_flight)  # they may yet push into a timeline that is rebuilt meanwhile
            in_flight = []
            continue
        follow_id, gone = _wrong(reader_id, author_id, stored.ids)
        newest = _newest(reader_id, author_id, above=stored.cover)
        if not timelines.sync(reader_id, add=newest.ids, remove=gone, floor=newest.floor, deadline=deadline):
            raise Later(1)
        if follow_id is None and in_flight:
            _await(in_flight)
            in_flight = []
        elif (follow_id, []) == _wrong(reader_id, author_id, newest.ids):
            return "synced"
    raise Later(5)


def _newest(reader_id: int, author_id: int | None = None, above: int = 0) -> Newest:
    found = rows(NEWEST, viewer=reader_id, author=author_id, above=above, count=settings.TIMELINE_LIMIT + 1)
    ids = [post_id for (post_id,) in found]
    return Newest(ids[: settings.TIMELINE_LIMIT], floor=max(ids[settings.TIMELINE_LIMIT :], default=0))


def _wrong(reader_id: int, author_id: int, ids: list[int]) -> tuple[int | None, list[int]]:
    """The follow's id, and which of `ids` must not be stored: withdrawn ones, and the author's unless followed.

    Withdrawn posts of others too: an earlier run of this handler, killed, may have left them.
    """
    [(follow_id, wrong)] = rows(
        """
        WITH follow AS (
            SELECT id FROM followers_follow WHERE followee_id = %(author)s AND follower_id = %(reader)s)
        SELECT (SELECT id FROM follow), coalesce(array_agg(p.id), '{}') FROM feeds_post p
        WHERE p.id = ANY(%(ids)s::bigint[]) AND (p.deleted_at IS NOT NULL OR p.home_mode <> 'push'
            OR (p.author_id = %(author)s AND NOT EXISTS (SELECT 1 FROM follow)))
        """,
        reader=reader_id,
        author=author_id,
        ids=ids,
    )
    return follow_id, wrong


Leased = tuple[int, int, int]  # post, batch number, lease number


def _claimed_batches(author_id: int, reader_id: int) -> list[Leased]:
    """Batches of the author's that are in work and whose range holds the reader."""
    return rows(
        """
        SELECT post_id, batch_no, lease_no FROM feeds_batch
        WHERE author_id = %(author)s AND state = 'open' AND kind = 'push' AND lease_until > now()
          AND lo <= %(reader)s AND %(reader)s < hi
        """,
        author=author_id,
        reader=reader_id,
    )


def _await(batches: list[Leased]) -> None:
    """Until these claims are closed or have run out. Raises Later, until the last lease ends, if that takes long."""
    until = time.monotonic() + POLL
    while True:
        [(left,)] = rows(
            """
            SELECT extract(epoch FROM max(b.lease_until) - now())::float FROM feeds_batch b
            WHERE (b.post_id, b.kind, b.batch_no, b.lease_no) IN (
                SELECT post_id, 'push', batch_no, lease_no
                FROM unnest(%(posts)s::bigint[], %(numbers)s::int[], %(leases)s::int[]) AS c (post_id, batch_no, lease_no))
              AND b.state = 'open' AND b.lease_until > now()
            """,
            posts=[post_id for post_id, _, _ in batches],
            numbers=[number for _, number, _ in batches],
            leases=[lease for _, _, lease in batches],
        )
        if left is None:
            return
        if time.monotonic() > until:
            raise Later(left + 0.1, waited=True)
        time.sleep(0.05)

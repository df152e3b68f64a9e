"""The delivery records of a load test's posts: waited for, and read, from PostgreSQL.

One statement for all of them, where the API would have to be asked once for each post. So this runs where manage.py does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from feeds.database import rows
from feeds.management.progress import progress
from feeds.management.waiting import Patience

POLL = 0.25  # seconds
STALLED_AFTER = 60  # seconds in which no delivery is closed
CLOCKS = 2  # seconds by which the clock of who made the requests may differ


@dataclass(frozen=True)
class Delivered:
    """A post: when it was published (unix seconds), to how many, and how long it took from there to the closed delivery."""

    at: float
    audience: int
    delivered: int
    failed: int
    milliseconds: float


def wait(author_ids: list[int]) -> None:
    """Until all that these authors published is delivered. Raises CommandError when nothing moves any more."""
    patience = Patience(STALLED_AFTER, "no delivery was closed for {} s: are relay and workers running?")
    with progress("deliveries still open") as show:
        while left := _open(author_ids):
            patience.check(left)
            show(left)
            time.sleep(POLL)


def _open(author_ids: list[int]) -> int:
    [(left,)] = rows(
        """
        SELECT count(*) FROM feeds_delivery d JOIN feeds_post p ON p.id = d.post_id
        WHERE d.state <> 'closed' AND p.author_id = ANY(%(authors)s::bigint[])
        """,
        authors=author_ids,
    )
    return int(left)


def made(author_ids: list[int], *, began: float, ended: float, after: int) -> list[Delivered]:
    """What they published between these moments (unix seconds) and after that post, in order of time."""
    found = rows(
        """
        SELECT extract(epoch FROM d.queued_at)::float, d.audience, d.delivered, d.failed,
            extract(epoch FROM d.finished_at - d.queued_at)::float * 1000
        FROM feeds_delivery d JOIN feeds_post p ON p.id = d.post_id
        WHERE d.kind = 'push' AND d.state = 'closed' AND d.post_id >= %(first)s AND d.post_id < %(end)s
            AND p.author_id = ANY(%(authors)s::bigint[])
        ORDER BY d.queued_at
        """,
        first=max(after + 1, _first_id(began - CLOCKS)),
        end=_first_id(ended + CLOCKS),
        authors=author_ids,
    )
    return [Delivered(*facts) for facts in found]


def _first_id(moment: float) -> int:
    """The least id that a post of this moment can have."""
    return int(moment * 1000) << 16

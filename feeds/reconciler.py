"""What a fault left open of fan-outs, finished: the reconciler's part, and what people have it try again or give up.

Each verb is harmless at any time and however often: it looks at rows, and changes those that nobody works on any more.
tasks.py calls them from beat's `reconcile`; deliveries.py those of people.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from . import fanout, metrics
from .database import changed, exists, rows, swept


def bury() -> int:
    """Parks batches whose attempts are spent: they are dead, and their followers counted as failed."""
    return changed(
        """
        UPDATE feeds_batch SET state = 'dead', closed_at = now(), lease_until = NULL,
            error = coalesce(error, attempts || ' attempts ended without its closing')
        WHERE state = 'open' AND attempts >= attempts_allowed AND coalesce(lease_until, '-infinity') < now()
        """
    )


def nudge() -> list[tuple[int, str, int]]:
    """Batches whose message got lost, or whose run, each to be published as a single task: (post, kind, number).

    That nobody has worked on one for a while does not say so: where many wait, each waits long, and to send them again would
    make the queue longer still. But messages are worked on in their order. So one is lost if others that were published
    after it are done, or if none at all was done meanwhile. And it waits no more if a run took it, whose lease ran out.
    """
    return rows(
        f"""
        UPDATE feeds_batch SET nudged_at = now()
        WHERE (post_id, kind, batch_no) IN (
            SELECT post_id, kind, batch_no FROM feeds_batch
            WHERE state = 'open' AND coalesce(lease_until, '-infinity') < now()
              AND nudged_at < now() - %(after)s * interval '1 second'
              AND (nudged_at < lease_until OR nudged_at < coalesce(({_REACHED}), 'infinity'))
            ORDER BY nudged_at LIMIT %(members)s FOR UPDATE SKIP LOCKED)
        RETURNING post_id, kind, batch_no
        """,
        after=settings.NUDGE_AFTER,
        members=settings.CHORD_MEMBERS,
    )


# When the latest message was published of those whose batch was done lately; null if none was. The first batch of each post
# is no witness: mostly it is the only one, and did not wait in the same queue.
_REACHED = """SELECT max(nudged_at) FROM feeds_batch
    WHERE state = 'done' AND closed_at > now() - %(after)s * interval '1 second' AND batch_no > 0"""


def redrive(post_id: int) -> int:
    """Opens the post's dead batches again, with more attempts, for the reconciler to publish. How many.

    A second time there are none, and never those that were dropped. The delivery is open until they are closed, and its
    sums are made anew.
    """
    with transaction.atomic():
        opened = changed(
            """
            UPDATE feeds_batch SET state = 'open', attempts_allowed = attempts + %(attempts)s, lease_until = NULL,
                nudged_at = 'epoch', closed_at = NULL
            WHERE post_id = %(post_id)s AND state = 'dead' AND dropped_at IS NULL
            """,
            post_id=post_id,
            attempts=settings.BATCH_ATTEMPTS,
        )
        changed(
            """
            UPDATE feeds_delivery d SET state = 'pushing' WHERE post_id = %(post_id)s AND state = 'closed'
              AND EXISTS (SELECT 1 FROM feeds_batch WHERE post_id = d.post_id AND kind = d.kind AND state = 'open')
            """,
            post_id=post_id,
        )
    return opened


def drop(post_id: int) -> int:
    """Gives up the post's dead batches for good: they stay counted as failed, and nobody need look at them. How many."""
    return changed(
        """
        UPDATE feeds_batch SET dropped_at = now()
        WHERE post_id = %(post_id)s AND state = 'dead' AND dropped_at IS NULL
        """,
        post_id=post_id,
    )


def reopen() -> int:
    """Opens deliveries of which a batch is open: they were just being closed when their dead batches were driven again."""
    return changed(
        """
        UPDATE feeds_delivery d SET state = 'pushing'
        FROM (SELECT DISTINCT post_id, kind FROM feeds_batch WHERE state = 'open') b
        WHERE d.post_id = b.post_id AND d.kind = b.kind AND d.state = 'closed'
        """
    )


def finish_overdue() -> int:
    """Closes deliveries whose last batch closed some seconds ago: their callback got lost."""
    overdue = rows(
        """
        SELECT d.post_id, d.kind FROM feeds_delivery d
        JOIN feeds_batch b ON b.post_id = d.post_id AND b.kind = d.kind
        WHERE d.state = 'pushing' GROUP BY d.id
        HAVING count(*) FILTER (WHERE b.state = 'open') = 0 AND max(b.closed_at) < now() - interval '5 seconds'
        """
    )
    return sum(fanout.finish(post_id, kind, "reconciler") for post_id, kind in overdue)


def prune() -> int:
    """Deletes batches of deliveries that ended long ago: their counts are summed in the delivery.

    Not where a batch is dead: to be driven again it needs the counts of the others.
    """
    return swept(
        f"""
        DELETE FROM feeds_batch WHERE (post_id, kind, batch_no) IN (
            SELECT post_id, kind, batch_no FROM feeds_batch b
            WHERE state = 'done' AND closed_at < now() - %(kept)s AND {exists(_ENDED)}
            ORDER BY closed_at LIMIT %(slice)s)
        """,
        kept=settings.KEEP_BATCHES,
    )


_ENDED = """SELECT 1 FROM feeds_delivery WHERE post_id = b.post_id AND kind = b.kind
    AND state = 'closed' AND failed = 0 AND finished_at < now() - %(kept)s"""


def gauges() -> dict[str, int]:
    """Deliveries not closed, batches open, batches dead that nobody dropped. metrics.GAUGED means that or more."""
    [found] = rows(
        """
        SELECT (SELECT count(*) FROM (SELECT 1 FROM feeds_delivery WHERE state <> 'closed' LIMIT %(most)s) d),
            (SELECT count(*) FROM (SELECT 1 FROM feeds_batch WHERE state = 'open' LIMIT %(most)s) b),
            (SELECT count(*) FROM (SELECT 1 FROM feeds_batch WHERE state = 'dead' AND dropped_at IS NULL LIMIT %(most)s) b)
        """,
        most=metrics.GAUGED,
    )
    return dict(zip(("deliveries_open", "batches_open", "batches_dead"), found, strict=True))

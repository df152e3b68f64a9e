"""The records of fan-outs, for those who look after them.

A record is made of rows alone, fanout.py's and the outbox's; what it says of a closed delivery adds up.
"""

from __future__ import annotations

from typing import Any

from .database import rows
from .entities import iso
from .models import Delivery, Kind, Outbox

STATES = {"queued": "planned", "pushing": "running", "closed": "done"}
PARTS = ("audience", "delivered", "skipped_inactive", "skipped_hidden", "pulled", "gone", "failed")


def report(post_id: int) -> dict[str, Any]:
    """The delivery record of a post with its batches' progress and its tasks, as plain facts.

    While it runs, the parts are the sums of the batches closed so far. Raises Delivery.DoesNotExist.
    """
    delivery = Delivery.objects.get(post_id=post_id, kind=Kind.PUSH)
    [(total, done, failed, first_push_at, *sums)] = rows(
        """
        SELECT count(*), count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'dead'),
            min(claimed_at), coalesce(sum(delivered), 0), coalesce(sum(skipped_inactive), 0),
            coalesce(sum(skipped_hidden), 0), coalesce(sum(gone), 0),
            coalesce(sum(size) FILTER (WHERE state = 'dead'), 0)
        FROM feeds_batch WHERE post_id = %(post_id)s AND kind = 'push'
        """,
        post_id=post_id,
    )
    parts = {part: int(getattr(delivery, part)) for part in PARTS}
    if delivery.state == Delivery.State.PUSHING:
        parts |= zip(("delivered", "skipped_inactive", "skipped_hidden", "gone", "failed"), map(int, sums), strict=True)
    tasks = Outbox.objects.filter(subject_id=post_id, event="post.published").order_by("id")
    until = delivery.finished_at or rows("SELECT now()")[0][0]
    seconds = max(0.001, (until - delivery.queued_at).total_seconds())
    return {
        "id": post_id,
        "state": "cancelled" if delivery.cancelled_at else STATES[delivery.state],
        "closed_by": delivery.closed_by,
        **parts,
        "batches": {"total": total, "done": done, "failed": failed},
        "queued_at": iso(delivery.queued_at),
        "first_push_at": iso(first_push_at),
        "finished_at": iso(delivery.finished_at),
        "seconds": round(seconds, 3),
        "deliveries_per_second": round(parts["delivered"] / seconds),
        "tasks": [_task(row) for row in tasks],
    }


def _task(row: Outbox) -> dict[str, Any]:
    state = "finished" if row.done_at else "queued" if row.sent_at is None else "sent"
    return {
        "name": row.task,
        "state": state,
        "queued_at": iso(row.created_at),
        "finished_at": iso(row.done_at),
        "attempts": row.attempts,
        "error": row.error,
    }

"""The records of fan-outs, and what those who look after them do about what failed: look for it, replay it, or drop it.

A record is made of rows alone, fanout.py's and the outbox's; closed, its parts sum to its audience. A batch that is dead
is to be looked at until somebody replays or drops it. Dropped it stays dead, and its followers stay counted as failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from followers.graph import Cursor

from . import fanout, outbox, reconciler
from .database import rows
from .entities import iso
from .models import Batch, Delivery, Kind, Outbox

Record = dict[str, Any]

STATES = {"queued": "planned", "pushing": "running", "closed": "done"}
PARTS = ("audience", "delivered", "skipped_inactive", "skipped_hidden", "pulled", "gone", "failed")
EVENTS = ("post.published", "post.edited", "post.deleted", "post.cancelled")  # of which a post's tasks are
FAN_OUTS = ("fan_out_post", "retract_post")

_DEAD = "EXISTS (SELECT 1 FROM feeds_batch WHERE post_id = d.post_id AND kind = d.kind AND state = 'dead' AND {})"
_TO_BE_LOOKED_AT = _DEAD.format("dropped_at IS NULL")
STANDINGS = {
    "open": "d.state <> 'closed'",
    "failed": f"d.failed > 0 AND {_TO_BE_LOOKED_AT}",
    "dropped": f"d.failed > 0 AND {_DEAD.format('dropped_at IS NOT NULL')} AND NOT {_TO_BE_LOOKED_AT}",
}
"""What can be looked for, each by an index of deliveries: the condition, of a row `d`."""

BY_DEFAULT = ("open", "failed")


def report(post_id: int) -> Record:
    """The delivery record of a post with its batches' progress and its tasks, as plain facts.

    While it runs, the parts are the sums of the batches closed so far. Of one that ended long ago the batches are gone, and
    with them `first_push_at`. Raises Delivery.DoesNotExist.
    """
    delivery = Delivery.objects.select_related("post__author").get(post_id=post_id, kind=Kind.PUSH)
    record = _record(delivery, _progress([delivery.pk])[delivery.pk])
    until = delivery.finished_at or rows("SELECT now()")[0][0]
    seconds = max(0.001, (until - delivery.queued_at).total_seconds())
    return record | {
        "seconds": round(seconds, 3),
        "deliveries_per_second": round(record["delivered"] / seconds),
        "tasks": tasks(post_id, events=("post.published",)),
    }


def tasks(post_id: int, events: Iterable[str] = EVENTS) -> list[Record]:
    """The tasks that the post started, in the order in which they were asked for."""
    found = Outbox.objects.filter(subject_id=post_id, event__in=events).order_by("id")
    return [_task(row) for row in found]


def batches_left(post_id: int, most: int) -> list[Batch]:
    """The post's batches that are not done, of its retraction, too."""
    found = Batch.objects.filter(post=post_id).exclude(state=Batch.State.DONE)
    return list(found.order_by("kind", "batch_no")[:most])


@dataclass(frozen=True)
class Page:
    """Records, the latest first. The two ids, of deliveries, make the links to older and newer ones; None: no link."""

    records: list[Record]
    next_max_id: int | None
    prev_min_id: int | None


def page(cursor: Cursor, standings: Iterable[str] = BY_DEFAULT) -> Page:
    """A page of the deliveries of these STANDINGS, retractions among them."""
    nearest = cursor.min_id is not None
    found = _find(
        [STANDINGS[standing] for standing in standings],
        order="ASC" if nearest else "DESC",
        below=fanout.EVERYBODY if cursor.max_id is None else cursor.max_id,
        above=(cursor.min_id if nearest else cursor.since_id) or 0,
        limit=cursor.limit + 1,
    )
    more, shown = len(found) > cursor.limit, sorted(found[: cursor.limit], reverse=True)
    older = bool(shown) and (more or nearest)
    return Page(_records(shown), shown[-1] if older else None, shown[0] if shown else None)


def _find(conditions: list[str], *, order: str, below: int, above: int, limit: int) -> list[int]:
    """The deliveries that meet one of the conditions. Each is asked for by itself, of its own index."""
    asked = " UNION ".join(
        f"""(SELECT d.id FROM feeds_delivery d WHERE {condition} AND d.id < %(below)s AND d.id > %(above)s
            ORDER BY d.id {order} LIMIT %(limit)s)"""
        for condition in conditions
    )
    statement = f"SELECT id FROM ({asked}) found ORDER BY id {order} LIMIT %(limit)s"
    found = rows(statement, below=below, above=above, limit=limit)
    return [delivery_id for (delivery_id,) in found]


def _records(delivery_ids: list[int]) -> list[Record]:
    progress = _progress(delivery_ids)
    found = Delivery.objects.select_related("post__author").filter(pk__in=delivery_ids).order_by("-pk")
    return [_record(delivery, progress[delivery.pk]) for delivery in found]


def _record(delivery: Delivery, progress: Record) -> Record:
    parts = {part: int(getattr(delivery, part)) for part in PARTS}
    if delivery.state == Delivery.State.PUSHING:
        parts |= progress["parts"]
    batches = progress["batches"]
    if delivery.state == Delivery.State.CLOSED:
        batches |= {"total": delivery.batches, "done": delivery.batches - batches["failed"]}
    return {
        "id": delivery.post_id,
        "kind": delivery.kind,
        "author": delivery.post.author.username,
        "state": "cancelled" if delivery.cancelled_at else STATES[delivery.state],
        "closed_by": delivery.closed_by,
        **parts,
        "batches": batches,
        "queued_at": iso(delivery.queued_at),
        "first_push_at": iso(progress["first_push_at"]),
        "finished_at": iso(delivery.finished_at),
        "dropped_at": iso(progress["dropped_at"]),
    }


def _progress(delivery_ids: list[int]) -> dict[int, Record]:
    """What the deliveries' batches say, by delivery: how many there are, the sums of those closed so far, two moments."""
    found = rows(
        """
        SELECT d.id, count(b.batch_no), count(*) FILTER (WHERE b.state = 'done'),
            count(*) FILTER (WHERE b.state = 'dead'), min(b.claimed_at), max(b.dropped_at),
            coalesce(sum(b.delivered), 0), coalesce(sum(b.skipped_inactive), 0), coalesce(sum(b.skipped_hidden), 0),
            coalesce(sum(b.gone), 0), coalesce(sum(b.size) FILTER (WHERE b.state = 'dead'), 0)
        FROM feeds_delivery d LEFT JOIN feeds_batch b ON b.post_id = d.post_id AND b.kind = d.kind
        WHERE d.id = ANY(%(ids)s::bigint[]) GROUP BY d.id
        """,
        ids=delivery_ids,
    )
    return {
        delivery_id: {
            "batches": {"total": total, "done": done, "failed": dead},
            "first_push_at": first_push_at,
            "dropped_at": dropped_at,
            "parts": dict(zip((*fanout.COUNTED, "failed"), map(int, sums), strict=True)),
        }
        for delivery_id, total, done, dead, first_push_at, dropped_at, *sums in found
    }


def _task(row: Outbox) -> Record:
    return {
        "name": row.task,
        "state": "finished" if row.done_at else "queued" if row.sent_at is None else "sent",
        "queued_at": iso(row.created_at),
        "finished_at": iso(row.done_at),
        "attempts": row.attempts,
        "error": row.error,
    }


# What people do about what failed


@dataclass(frozen=True)
class Replayed:
    """How many batches, and tasks of a fan-out, were given new attempts."""

    batches: int
    tasks: int


@transaction.atomic
def replay(*, post_id: int) -> Replayed:
    """Opens the post's dead batches again, and has those of its fan-outs' tasks that were given up sent again.

    A second time there is nothing to open. The record is open until they are closed, and its sums are made anew. Raises
    Delivery.DoesNotExist; ValidationError where all that is dead was dropped: that is for good.
    """
    _must_exist(post_id)
    replayed = Replayed(reconciler.redrive(post_id), outbox.send_failed_again(post_id, FAN_OUTS))
    if replayed == Replayed(0, 0) and Batch.objects.filter(post=post_id, dropped_at__isnull=False).exists():
        raise ValidationError({"delivery": ValidationError("was dropped, and that is for good", "dropped")})
    return replayed


@transaction.atomic
def drop(*, post_id: int) -> int:
    """Gives up the post's dead batches for good. How many; a second time there are none. Raises Delivery.DoesNotExist.

    Their followers get the post when their timelines are rebuilt (verify_timelines --repair), or else not at all.
    """
    _must_exist(post_id)
    return reconciler.drop(post_id)


def _must_exist(post_id: int) -> None:
    if not Delivery.objects.filter(post=post_id).exists():
        raise Delivery.DoesNotExist("No such delivery")

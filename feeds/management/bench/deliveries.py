"""Posts on their way: published, waited for, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from feeds import actions, deliveries, outbox, reconciler
from feeds.database import rows
from feeds.management.progress import progress
from feeds.management.waiting import Patience
from followers.models import Account

POLL = 0.25  # seconds
STALLED_AFTER = 60  # seconds in which nothing moves


def fan_out(
    author: Account, followers: int, *, every: float = POLL, meanwhile: Callable[[], object] | None = None
) -> dict[str, Any]:
    """Publishes a post, and calls `meanwhile` every so often until it is delivered. The delivery's report."""
    post_id = publish(author)
    patience = patient("nothing was delivered")
    with progress("delivering", followers) as show:
        while (report := deliveries.report(post_id))["state"] != "done":
            show(report["delivered"])
            patience.check((report["state"], report["delivered"]))
            if meanwhile:
                meanwhile()
            time.sleep(every)
    if report["delivered"] != followers:
        raise CommandError(f"{report['delivered']:,} of {followers:,} followers have the post")
    return report


def publish(author: Account) -> int:
    return actions.publish_post(author=author, text="a post to measure its fan-out").pk


def milliseconds(post_ids: list[int]) -> list[float]:
    """From the beginning of each post's transaction to the end of its delivery, by PostgreSQL's clock."""
    found = rows(
        """
        SELECT extract(epoch FROM finished_at - queued_at)::float * 1000 FROM feeds_delivery
        WHERE post_id = ANY(%(ids)s) AND kind = 'push'
        """,
        ids=post_ids,
    )
    return [took for (took,) in found]


def settle() -> None:
    """Waits until everything that was asked for is done: a part must not measure what an earlier one left to be done."""
    patience = patient("the work that was left did not move")
    with progress("tasks and deliveries still to be done") as show:
        while any(left := waiting()):
            patience.check(left)
            show(sum(left))
            time.sleep(POLL)


def waiting() -> tuple[int, int, int]:
    tasks = outbox.gauges()
    return tasks["unsent"], tasks["undone"], reconciler.gauges()["deliveries_open"]


def patient(what: str) -> Patience:
    return Patience(STALLED_AFTER, what + " for {} s: are relay and workers running?")

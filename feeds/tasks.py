"""The Celery doors: each takes the ids of its outbox rows, or a batch's key, and calls one story.

Every task may run twice, late, or beside itself. The chord is composed here and nowhere else; it is the fast path, the
rows are the truth, and `reconcile` finishes what a fault left open.
"""

from __future__ import annotations

import logging
from itertools import groupby

from celery import chord, shared_task
from django.conf import settings

from . import (
    actions,
    departures,
    entities,
    fanout,
    notifications,
    outbox,
    rebuild,
    reconciler,
    search,
    streaming,
    timelines,
    verify,
)
from .database import STORE_ERRORS, alone
from .models import Heartbeat, Kind
from .streaming import DELETE, EDIT, NOTIFICATION, UPDATE, Event

RECONCILER = 0x6665656473  # an advisory lock's number: "feeds"
BROOM = RECONCILER + 1

log = logging.getLogger(__name__)


Rows = list[int]
"""Ids of outbox rows of one task: many, where a message holds many. (Of an older release, one number.)"""


@shared_task(name="fan_out_post")
def fan_out_post(row_ids: Rows) -> str:
    """As many posts at a time as fit one batch together; what is large, or out of the ordinary, afterwards by itself."""
    with outbox.claimed(row_ids) as found:
        streaming.publish(Event(UPDATE, work.subject_id) for work in found)
        left = {work.subject_id for work in found}
        while left and (planned := fanout.plan_small(left)):
            if claims := [claim for claim in planned.values() if claim]:
                fanout.deliver_small(claims)
                fanout.finish_all([claim.post_id for claim in claims], Kind.PUSH, "inline")
            left -= planned.keys()
        for post_id in left:
            _fan_out(post_id, Kind.PUSH)
        return f"{len(found)} posts"


@shared_task(name="retract_post")
def retract_post(row_ids: Rows) -> list[str]:
    with outbox.claimed(row_ids) as found:
        streaming.publish(Event(DELETE, work.subject_id) for work in found if work.event == "post.deleted")
        return [_fan_out(work.subject_id, Kind.RETRACT) for work in found]


def _fan_out(post_id: int, kind: str) -> str:
    """A single batch is delivered here and now; more become a chord."""
    batches = fanout.plan(post_id, kind)
    if batches == 1:
        return push_batch_alone(post_id, kind, 0)
    if batches:
        _publish_wave(post_id, kind, 0, batches)
    return f"{batches} batches"


def _publish_wave(post_id: int, kind: str, first: int, total: int) -> None:
    """A chord of the next CHORD_MEMBERS batches: its publisher holds all of its messages in memory."""
    following = min(first + settings.CHORD_MEMBERS, total)
    batches = [push_batch.si(post_id, kind, batch_no) for batch_no in range(first, following)]
    chord(batches, record_delivery.si(post_id, kind, following, total)).apply_async()


@shared_task(name="push_batch")
def push_batch(post_id: int, kind: str, batch_no: int) -> str:
    """A chord's member. Whatever happens to the batch is in its row; the callback must come in any case."""
    try:
        return fanout.deliver(post_id, kind, batch_no)
    except STORE_ERRORS as error:
        log.warning("batch %d of %s of %d was given back: %s", batch_no, kind, post_id, error)
        return "given back"


@shared_task(name="record_delivery")
def record_delivery(post_id: int, kind: str, following: int, total: int) -> str:
    """A chord's callback: the next wave, or the end."""
    if following < total:
        _publish_wave(post_id, kind, following, total)
        return f"{following} of {total} batches"
    return "closed" if fanout.finish(post_id, kind, "callback") else "left open"


@shared_task(name="push_batch_alone")
def push_batch_alone(post_id: int, kind: str, batch_no: int, closed_by: str = "inline") -> str:
    """A batch outside a chord: the only one, or one that the reconciler sends again."""
    result = fanout.deliver(post_id, kind, batch_no)
    fanout.finish(post_id, kind, closed_by)
    return result


@shared_task(name="send_notifications")
def send_notifications(row_ids: Rows) -> str:
    with outbox.claimed(row_ids) as found:
        told = 0
        for event, of_event in groupby(sorted(found, key=lambda work: work.event), key=lambda work: work.event):
            for new in notifications.notify(event, [(work.subject_id, work.object_id) for work in of_event]):
                streaming.publish(Event(NOTIFICATION, *one) for one in new)
                told += len(new)
        return f"{told} told"


@shared_task(name="update_search_index")
def update_search_index(row_ids: Rows) -> list[int]:
    """Returns the posts' tags, for the next in the chain."""
    with outbox.claimed(row_ids) as found:
        return search.index([work.subject_id for work in found])


@shared_task(name="backfill_tag")
def backfill_tag(tag_ids: list[int]) -> str:
    """Has no row: what a lost message left uncounted is counted with the tag's next post."""
    return f"{search.count_tags(tag_ids)} tags"


@shared_task(name="refresh_cache")
def refresh_cache(row_ids: Rows) -> str:
    with outbox.claimed(row_ids) as found:
        accounts = [work.subject_id for work in found if work.event == "account.edited"]
        entities.refresh_accounts(accounts)
        entities.refresh_posts([work.subject_id for work in found if work.event != "account.edited"])
        streaming.publish(Event(EDIT, work.subject_id) for work in found if work.event == "post.edited")
        return f"{len(found)} fresh"


@shared_task(name="accept_requests")
def accept_requests(row_ids: Rows) -> str:
    with outbox.claimed(row_ids) as found:
        return f"{sum(actions.accept_waiting(account_id=work.subject_id) for work in found)} accepted"


@shared_task(name="delete_account")
def delete_account(row_ids: Rows) -> list[str]:
    with outbox.claimed(row_ids) as found:
        return [departures.delete_account(work.subject_id) for work in found]


@shared_task(name="sync_pair")
def sync_pair(row_ids: Rows) -> list[str]:
    with outbox.claimed(row_ids) as found:
        return [
            rebuild.sync_pair(work.subject_id, work.object_id, deadline=work.deadline, waited=work.waited)
            for work in found
        ]


@shared_task(name="rebuild_timeline")
def rebuild_timeline(row_ids: Rows) -> list[str]:
    with outbox.claimed(row_ids) as found:
        return [rebuild.rebuild(work.subject_id) for work in found]


@shared_task(name="reconcile")
def reconcile() -> dict[str, int]:
    """Beat's sweep: finishes what a fault left open. One at a time, for thrift; two at once do no harm."""
    Heartbeat.objects.record("workers")
    with alone(RECONCILER) as inside:
        if not inside:
            return {}
        reopened = reconciler.reopen()  # before their batches are sent: else these find nothing to finish
        nudged = reconciler.nudge()
        for key in nudged:
            push_batch_alone.delay(*key, closed_by="reconciler")
        return {
            "reopened": reopened,
            "nudged": len(nudged),
            "buried": reconciler.bury(),
            "finished": reconciler.finish_overdue(),
            "resent": outbox.resend(),
            "swept": timelines.sweep() or 0,
        }


@shared_task(name="evict_inactive")
def evict_inactive() -> int:
    """Beat's: timelines of readers who have been away for long."""
    return departures.evict_inactive()


@shared_task(name="verify_sample")
def verify_sample() -> str:
    """Beat's: whether a few timelines hold what PostgreSQL says, for the gauge."""
    report = verify.look()
    return f"{report.drift} of {report.entries} entries in {report.timelines} timelines"


@shared_task(name="prune")
def prune() -> dict[str, int]:
    """Beat's broom: what nobody will ask for any more. One at a time: two would wait for each other's rows."""
    with alone(BROOM) as inside:
        if not inside:
            return {}
        return {
            "outbox": outbox.prune(),
            "batches": reconciler.prune(),
            "notifications": notifications.prune(),
            "keys": actions.prune_keys(),
            "sign_ins": actions.prune_sign_ins(),
        }

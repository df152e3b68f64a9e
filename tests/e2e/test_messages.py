"""Messages of older releases still run after an upgrade. What is recorded, and how: tests/messages/."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from feeds import actions, fanout, outbox, tasks, timelines, verify
from feeds.models import Batch, Delivery, Heartbeat, Outbox, TagDay
from feedsvc.celery import app
from feedsvc.run import Instance
from tests import messages
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, star

pytestmark = pytest.mark.e2e

BY_BEAT = {entry["task"]: entry["options"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
TASKS = sorted(name for name in app.tasks if not name.startswith("celery."))
# Rows' and tags' ids, so high that nothing else in a message is the same number.
ROWS, TAGS = 7_000_000, 8_000_000


@pytest.fixture
def by_hand(workers: Instance) -> Iterator[Instance]:
    """Nothing is sent but by the test."""
    workers.stop("relay", "beat")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('feeds_outbox', 'id'), %s)", [ROWS])
        cursor.execute("SELECT setval(pg_get_serial_sequence('feeds_tag', 'id'), %s)", [TAGS])
    yield workers
    workers.start("relay", "beat")


Work = tuple[dict[str, int], Callable[[], bool]]
"""What a message names, and whether that is done."""


def something(task: str) -> Work:
    """For the task to do."""
    if task in BY_BEAT:
        return {}, TICKS[task]()
    if task in ("push_batch", "push_batch_alone", "record_delivery"):
        return planned(task)
    post = PostFactory(text="a word for #everybody")
    if task == "backfill_tag":
        tag = tasks.update_search_index([Outbox.objects.get(task="update_search_index", subject_id=post.pk).pk])[0]
        return {"TAG": tag}, TagDay.objects.filter(tag=tag).exists
    if task == "retract_post":
        actions.delete_post(author=post.author, post_id=post.pk)
    elif task == "sync_pair":
        actions.follow(follower=AccountFactory(), followee_id=post.author.pk)
    elif task == "rebuild_timeline":
        outbox.record("account.returned", post.author.pk)
    elif task == "accept_requests":
        actions.edit_account(account=post.author, locked=True)
        actions.edit_account(account=post.author, locked=False)
    elif task == "delete_account":
        actions.delete_account(account=post.author)
    row = Outbox.objects.filter(task=task).latest("id").pk
    return {"ROW": row}, Outbox.objects.filter(pk=row).exclude(done_at=None).exists


def planned(task: str) -> Work:
    author, _ = star(3)
    post = PostFactory(author=author)
    fanout.plan(post.pk, "push")
    if task == "record_delivery":
        fanout.deliver(post.pk, "push", 0)
    if task == "push_batch":
        return {"POST": post.pk}, Batch.objects.filter(post_id=post.pk, state="done").exists
    return {"POST": post.pk}, Delivery.objects.filter(post_id=post.pk, state="closed").exists


def reconciled() -> Callable[[], bool]:
    Heartbeat.objects.all().delete()
    return Heartbeat.objects.filter(part="workers").exists


def evicted() -> Callable[[], bool]:
    reader = AccountFactory(last_active_at=timezone.now() - timedelta(days=1000))
    return lambda: timelines.ids(reader.pk) is None


def pruned() -> Callable[[], bool]:
    post = PostFactory()
    old = Outbox.objects.filter(subject_id=post.pk, task="send_notifications")
    old.update(done_at=timezone.now() - timedelta(days=30))
    return lambda: not old.exists()


def compared() -> Callable[[], bool]:
    cache.clear()
    return lambda: bool(verify.last_look())


TICKS = {"reconcile": reconciled, "evict_inactive": evicted, "prune": pruned, "verify_sample": compared}


def send(task: str, names: dict[str, int]) -> None:
    """As this release does."""
    if "ROW" in names:
        outbox._signature(task, [names["ROW"]]).apply_async()
    elif task in BY_BEAT:
        app.send_task(task, **BY_BEAT[task])
    elif task == "push_batch":
        tasks._publish_wave(names["POST"], "push", 0, 1)
    elif task == "push_batch_alone":
        tasks.push_batch_alone.delay(names["POST"], "push", 0, closed_by="reconciler")
    elif task == "record_delivery":
        tasks.record_delivery.si(names["POST"], "push", 1, 1).apply_async()
    else:
        app.signature(task, ([names["TAG"]],), ignore_result=True).apply_async()


def take(queue: str) -> dict[str, Any]:
    """The message that waits there."""
    with app.connection_for_read() as broker:
        waiting = app.amqp.queues[queue](broker.default_channel)
        message = eventually(lambda: waiting.get(no_ack=True), f"a message in {queue}")
    body = message.body if isinstance(message.body, str) else message.body.decode()
    properties = {
        name: message.properties[name] for name in ("correlation_id", "reply_to", "delivery_mode", "priority")
    }
    # Without what the broker adds, and not in the order in which it gives them: names for ids are given out in order.
    order = sorted(message.headers, key=lambda name: (name != "id", name))
    headers = {name: message.headers[name] for name in order if not name.startswith("x-")}
    properties |= {"content_type": message.content_type, "content_encoding": message.content_encoding}
    return {"queue": queue, "headers": headers, "properties": properties, "body": json.loads(body)}


def test_each_task_has_a_recorded_message() -> None:
    assert [task for release, task in messages.read() if release == messages.RELEASE] == TASKS


def test_what_this_release_sends_is_what_is_recorded_of_it(by_hand: Instance) -> None:
    by_hand.stop("worker", "worker-fanout", "worker-bulk")
    try:
        for task in TASKS:
            names, _ = something(task)
            send(task, names)
            queue = settings.CELERY_TASK_ROUTES.get(task, {}).get("queue", settings.CELERY_TASK_DEFAULT_QUEUE)
            sent = messages.named(take(queue), {number: name for name, number in names.items()})
            if os.environ.get("RECORD"):
                messages.save(sent)
            assert sent == messages.load(messages.RELEASE, task)
    finally:
        by_hand.start("worker", "worker-fanout", "worker-bulk")


def test_a_recorded_message_of_any_release_runs(by_hand: Instance) -> None:
    for release, task in messages.read():
        names, done = something(task)
        publish(messages.load(release, task), names)
        eventually(done, f"{task} of {release} is done")


def publish(message: dict[str, Any], names: dict[str, int]) -> None:
    values: dict[str, Any] = {f"ID{number}": str(uuid.uuid4()) for number in range(1, 9)} | names
    values["SOON"] = (timezone.now() + timedelta(minutes=1)).isoformat()
    filled = messages.filled(message, values)
    with app.connection_for_write() as broker:
        broker.Producer().publish(
            json.dumps(filled["body"]),
            routing_key=filled["queue"],
            headers=filled["headers"],
            **filled["properties"],
        )

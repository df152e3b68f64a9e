"""What only RabbitMQ does: it sets a message apart that ends whoever takes it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from amqp.exceptions import NotFound
from django.conf import settings
from django.db import connection

from feeds.models import Outbox
from feedsvc.celery import app
from feedsvc.run import ROOT, Instance, end
from tests.conftest import children, eventually, forget_messages, messages
from tests.e2e.test_pipeline import delivery, home, publish, tasks_of
from tests.factories import star

pytestmark = [pytest.mark.e2e, pytest.mark.rabbitmq]


@contextmanager
def held(row: Outbox) -> Iterator[None]:
    """The row is ours: whoever claims it waits."""
    with psycopg.connect(**connection.get_connection_params()) as ours:
        ours.execute("SET idle_in_transaction_session_timeout = 0")
        ours.execute("SELECT FROM feeds_outbox WHERE id = %s FOR UPDATE", [row.pk])
        yield


def claims_in_wait() -> set[int]:
    """The sessions that wait for a row of the outbox, also those of processes that are dead."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%feeds_outbox%'"
        )
        return {pid for (pid,) in cursor.fetchall()}


def waiting(queue: str) -> int:
    """How many messages. To look at them would count as a delivery of each."""
    with app.connection_for_read() as broker:
        return broker.default_channel.queue_declare(queue, passive=True).message_count


def test_a_message_that_ends_whoever_takes_it_is_set_apart_and_its_post_delivered(workers: Instance, api: Any) -> None:
    author, [reader] = star(1)
    caller = api(author)
    workers.stop("beat", "worker-fanout")
    post_id = publish(caller)
    eventually(lambda: tasks_of(caller, post_id)["fan_out_post"]["state"] == "sent", "it is sent")
    row = Outbox.objects.get(task="fan_out_post", subject_id=post_id)
    with held(row):
        workers.start("worker-fanout")
        killed, kills, enough = set[int](), 0, settings.QUORUM["x-delivery-limit"] + 1
        # Of a child that dies before its worker has heard that it took the message RabbitMQ is told nothing: the worker gives
        # the message to the next one. So it may take some more.
        while eventually(lambda: waiting("dead") or claims_in_wait() - killed, "it is taken") and not waiting("dead"):
            taken = claims_in_wait() - killed
            for child in children(workers.pid("worker-fanout")):
                os.kill(child, signal.SIGKILL)
            killed.update(taken)
            kills += 1
            assert kills < 3 * enough, "it is never set apart"
        assert kills >= enough
    assert [args for args, _ in messages("dead")] == [[[row.pk]]]
    assert messages("fanout") == []
    workers.start("beat")  # the row was sent, and is not done: it comes again
    assert delivery(caller, post_id, 60)["delivered"] == 1
    assert home(api, reader) == [post_id]


def test_what_beat_sent_in_vain_is_not_set_apart(workers: Instance) -> None:
    workers.stop("worker")
    forget_messages()  # of tests before this one, which set some apart
    eventually(lambda: waiting("upkeep") > 3, "beat goes on")  # one a second, each good for a second
    workers.start("worker")
    eventually(lambda: waiting("upkeep") == 0, "the worker has dropped them")
    assert messages("dead") == []


def test_the_queue_of_what_is_set_apart_is_there_whenever_rabbitmq_is(workers: Instance) -> None:
    with app.connection_for_write() as broker:
        broker.default_channel.queue_delete("dead")
    workers.stop("rabbitmq")
    workers.start("rabbitmq")

    def there() -> bool:
        try:
            return waiting("dead") == 0
        except NotFound:
            return False

    eventually(there, "the workers have declared it", 60)


def test_a_worker_whose_name_another_one_has_says_so_and_waits_for_it(workers: Instance, tmp_path: Path) -> None:
    program, log = workers.services["worker-fanout"], tmp_path / "log"
    with log.open("w") as said:
        second = subprocess.Popen(
            program.command, env=os.environ | program.env, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: "another worker is named worker-fanout@" in log.read_text(), "it says so", 60)
        workers.stop("worker-fanout")
        eventually(lambda: " ready." in log.read_text(), "it works", 60)
    finally:
        end(second, seconds=15)
        workers.start("worker-fanout")

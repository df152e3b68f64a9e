"""Workers that are told to stop while a fan-out of many batches is on its way: nothing is lost, and nobody gets it twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from feeds import timelines
from feeds.models import Batch
from feedsvc.run import Instance
from tests.conftest import children, eventually
from tests.e2e.test_pipeline import delivery, publish, tasks_of
from tests.factories import star

pytestmark = pytest.mark.e2e


@contextmanager
def held(post_id: str) -> Iterator[None]:
    """The post's batches are ours: whoever claims one waits, for ten seconds at most."""
    with psycopg.connect(**connection.get_connection_params()) as ours:
        ours.execute("SELECT FROM feeds_batch WHERE post_id = %s FOR UPDATE", [int(post_id)])
        yield


def claims_in_wait() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%feeds_batch%'"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def waiting(workers: Instance, api: Any) -> Any:
    """An author's caller, the readers, and a post of six batches, all of which wait for worker-bulk."""
    author, readers = star(60)
    caller = api(author)
    workers.stop("worker-bulk")
    post_id = publish(caller)
    eventually(lambda: Batch.objects.filter(post_id=post_id).count() == 6, "it is planned")
    return caller, readers, post_id


def gone(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )  # nobody has asked how it ended
    except FileNotFoundError:
        return True


def check(caller: Any, readers: list[Any], post_id: str, *, attempts: int) -> None:
    """Everybody has it, once; the sums are right; no batch took more runs."""
    report = delivery(caller, post_id, 90)
    assert (report["audience"], report["delivered"], report["failed"]) == (len(readers), len(readers), 0)
    assert all(timelines.ids(reader.pk).ids == [int(post_id)] for reader in readers)
    assert max(Batch.objects.filter(post_id=post_id).values_list("attempts", flat=True)) <= attempts


def test_a_worker_that_is_told_to_stop_ends_its_batches_and_leaves_the_others(workers: Instance, waiting: Any) -> None:
    caller, readers, post_id = waiting
    with held(post_id):
        workers.start("worker-bulk")
        eventually(lambda: claims_in_wait() == 2, "both of its processes have a batch", 60)
        processes = children(workers.pid("worker-bulk"))
        assert len(processes) == 2
        workers.rpc.stopProcess(workers.full_name("worker-bulk"), False)  # TERM, and returns at once
        eventually(lambda: workers.info("worker-bulk")["statename"] == "STOPPING", "it was told")
        assert not any(gone(process) for process in processes)
    eventually(lambda: workers.info("worker-bulk")["statename"] == "STOPPED", "it has ended")
    eventually(lambda: all(gone(process) for process in processes), "its processes have ended", 5)
    batches = Batch.objects.filter(post_id=post_id)
    assert sorted(batches.values_list("state", "attempts", "lease_no")) == [("done", 1, 1)] * 2 + [("open", 0, 0)] * 4
    workers.start("worker-bulk")
    check(caller, readers, post_id, attempts=1)


@pytest.mark.parametrize("cold", [False, True])
def test_a_worker_that_has_to_stop_soon_loses_no_batch(workers: Instance, waiting: Any, cold: bool) -> None:
    """QUIT gives its tasks some seconds (soft); a second one ends them at once (cold)."""
    caller, readers, post_id = waiting
    with held(post_id):
        workers.start("worker-bulk")
        eventually(lambda: claims_in_wait() == 2, "both of its processes have a batch", 60)
        main = workers.pid("worker-bulk")
        processes = children(main)
        os.kill(main, signal.SIGQUIT)
        eventually(lambda: "Initiating Soft Shutdown" in workers.last_words("worker-bulk"), "it was told")
        assert not any(gone(process) for process in processes)
        if cold:
            os.kill(main, signal.SIGQUIT)
            eventually(lambda: "Waiting gracefully" in workers.last_words("worker-bulk"), "it was told again")
    eventually(lambda: gone(main), "it has ended", settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + 10)
    eventually(lambda: all(gone(process) for process in processes), "its processes have ended", 5)
    check(caller, readers, post_id, attempts=2 if cold else 1)  # supervisord has started it again


def test_a_rolling_restart_of_all_workers_during_a_fan_out_loses_nothing(workers: Instance, api: Any) -> None:
    author, readers = star(240)
    caller = api(author)
    done = Batch.objects.filter(state="done")
    with slow_batches():
        post_id = publish(caller)
        for name in ("worker-bulk", "worker-fanout", "worker"):
            before = done.count()
            eventually(lambda: done.count() > before + 1, "batches end", 60)  # noqa: B023  called at once
            assert caller.get(f"/api/v1/statuses/{post_id}/delivery").json()["state"] != "done"
            processes = children(workers.pid(name))
            workers.stop(name)
            assert all(gone(process) for process in processes)
            workers.start(name)
        check(caller, readers, post_id, attempts=1)
    task = eventually(lambda: (task := tasks_of(caller, post_id)["fan_out_post"])["finished_at"] and task, "it is done")
    assert (task["attempts"], task["error"]) == (1, None)


@contextmanager
def slow_batches() -> Iterator[None]:
    """Each batch takes a second: half of it at its claim, half at its close."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;"
            "CREATE TRIGGER slow BEFORE UPDATE ON feeds_batch FOR EACH ROW"
            " WHEN (old.lease_no <> new.lease_no OR old.state <> new.state) EXECUTE FUNCTION slow()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER slow ON feeds_batch; DROP FUNCTION slow")


def test_supervisord_waits_longer_than_a_soft_shutdown_takes(workers: Instance) -> None:
    for name, program in workers.services.items():
        if name.startswith("worker"):
            assert program.stop_seconds > settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT

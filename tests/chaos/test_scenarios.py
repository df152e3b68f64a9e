"""One fault per scenario, while posts come in; then everything that was acknowledged must be where it belongs, once.

The numbers are those of docs/reliability.md's table. `fast`: the brokers on which `make test` runs it, too.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
from celery import current_app
from django.conf import settings
from django.db.models.functions import Now

from feeds import actions, tasks, timelines, verify
from feeds.models import Batch, Delivery, Outbox
from feeds.redis_client import client
from tests.chaos.load import Caller
from tests.chaos.world import WORKERS, Proxy, broker_through, results
from tests.conftest import BROKER, eventually, forget_messages
from tests.factories import AccountFactory, follow, token

pytestmark = pytest.mark.e2e
scenario = pytest.mark.scenario


@scenario(1, "processes of the pools are killed (-9), one each half second", fast=("redis",))
def test_children_killed(chaos):
    with chaos.under_load():
        for _ in range(12):
            time.sleep(0.5)
            chaos.faults += chaos.house.kill_child()


@scenario(2, "each worker is killed (-9) with its pool", fast=("redis", "rabbitmq"))
def test_workers_killed(chaos):
    with chaos.under_load():
        for name in WORKERS:
            chaos.house.kill(name)
            chaos.faults += 1
            time.sleep(1)


@scenario(3, "killed between a push and the closing of its batch")
def test_killed_before_the_ledger(chaos):
    chaos.house.faults.arm("_close_all.before", "kill", times=4, skip=2)
    with chaos.under_load(after=60):
        pass
    assert chaos.verdict.reruns


@scenario(4, "killed between the closing of a batch and its acknowledgement, or its chord's count")
def test_killed_after_the_ledger(chaos):
    faults = chaos.house.faults
    faults.arm("_close_all.after", "kill", times=2, skip=2)
    faults.arm("on_chord_part_return.before", "kill", times=2, skip=1)
    faults.arm("_chord_publish_claim_expires.before", "kill", times=2)
    with chaos.under_load(after=60):
        pass


@scenario(5, "the publisher of a chord is killed half way", fast=("redis",))
def test_publisher_killed(chaos):
    chaos.house.faults.arm("publish.after", "kill", times=2, role="worker")
    with chaos.under_load(after=60, large_every=4):
        pass
    assert Delivery.objects.filter(closed_by="reconciler").exists()


@scenario(6, "the callback runs again, five times at once")
def test_callbacks_again(chaos):
    with chaos.under_load():
        eventually(Delivery.objects.filter(batches__gt=0).exists, "one is planned")
        for delivery in Delivery.objects.filter(batches__gt=0)[:20]:
            for _ in range(5):
                tasks.record_delivery.delay(delivery.post_id, "push", delivery.batches, delivery.batches)
                chaos.faults += 1


@scenario(7, "every message comes twice", fast=("rabbitmq",))
def test_messages_doubled(chaos):
    chaos.house.faults.arm("publish.after", "twice", times=100_000)
    with chaos.under_load(after=60):
        pass


@scenario(8, "the broker is restarted, then killed (-9)", fast=("redis", "rabbitmq"))
def test_broker_restarted(chaos):
    with chaos.under_load():
        for crash in (False, True):
            with chaos.house.down(BROKER, crash=crash):
                time.sleep(2)
            chaos.faults += 1
            time.sleep(2)


@scenario(9, "the broker loses all messages")
def test_broker_wiped(chaos):
    with chaos.under_load(), chaos.house.down("worker-bulk", "worker"):
        time.sleep(3)
        forget_messages()
        chaos.faults += 1
    assert chaos.verdict.reruns or Outbox.objects.exists()


@scenario(10, "the chords' results are away for 5 s, then lost in the middle", fast=("redis",))
def test_results_away(chaos):
    with chaos.under_load(large_every=4):
        with chaos.house.down("cache"):
            time.sleep(5)
        chaos.faults += 1
        for _ in range(5):
            results().flushdb()
            chaos.faults += 1
            time.sleep(0.5)


@scenario(11, "all timelines are lost", fast=("redis",))
def test_timelines_flushed(chaos):
    with chaos.under_load(lossy=True):
        for _ in range(2):
            client().flushdb()
            chaos.faults += 1
            time.sleep(2)


@scenario(12, "PostgreSQL is stopped at once, for 10 s")
def test_postgresql_away(chaos):
    from django.db import connection

    with chaos.under_load(after=60) as load:
        chaos.house.signal("postgres", signal.SIGQUIT)
        with chaos.house.down("postgres"):
            time.sleep(10)
        connection.close()
        chaos.faults += 1
    refused = [seconds for post in load.posts for status, seconds in post.tries if status != 200]
    assert refused and max(refused) < 3, max(refused)
    assert {status for post in load.posts for status, _ in post.tries} <= {200, 503}
    assert not Batch.objects.filter(state="dead").exists()


@scenario(13, "the broker is away while posts come in")
def test_broker_away(chaos):
    with chaos.under_load() as load, chaos.house.down(BROKER):
        chaos.faults += 1
        load.wait(60)
    assert _slowest(load) < 2, "a POST does not wait for the broker"


@scenario(14, "the broker stands still while posts come in")
def test_broker_frozen(chaos):
    with chaos.under_load() as load, chaos.house.frozen(BROKER):
        chaos.faults += 1
        load.wait(60)
    assert _slowest(load) < 2, "a POST does not wait for the broker"


@scenario(15, "RabbitMQ's memory alarm goes off", on=("rabbitmq",))
def test_memory_alarm(chaos):
    with chaos.under_load() as load:
        chaos.house.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
        chaos.faults += 1
        load.wait(60)
        chaos.house.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
    assert _slowest(load) < 2, "a POST does not wait for the broker"


@scenario(16, "connections to the broker are reset, then half open")
def test_network_cut(chaos):
    proxy = Proxy(chaos.house.broker_port())
    chaos.house.set_up(**broker_through(proxy.port))
    eventually(chaos.answers, "the web process answers", 60)
    try:
        with chaos.under_load():
            for _ in range(3):
                time.sleep(1)
                chaos.faults += proxy.reset()
            proxy.swallowing = True
            time.sleep(5)
            proxy.swallowing = False
            chaos.faults += proxy.reset()
    finally:
        proxy.close()


@pytest.mark.parametrize(
    "act",
    [
        pytest.param("kill", marks=scenario(17, "one batch kills whoever works on it", fast=("redis",))),
        pytest.param("raise", marks=scenario(17, "one batch fails each time")),
        pytest.param("hang", marks=scenario(17, "one batch hangs each time")),
    ],
)
def test_a_poison_batch(chaos, act):
    large = chaos.graph.authors[chaos.graph.largest()]
    chaos.house.faults.arm("_push.before", act, times=100, seconds=60, match={"author_id": large.pk, "batch_no": 1})
    with chaos.under_load(large_every=10_000):
        chaos.load().publish(chaos.graph.largest())
        dead = Batch.objects.filter(state="dead")
        eventually(dead.exists, "the batch is given up", 120)
    [batch] = dead
    delivery = Delivery.objects.get(post_id=batch.post_id)
    assert (batch.attempts, delivery.failed) == (int(chaos.house.env["BATCH_ATTEMPTS"]), batch.size)
    assert delivery.delivered == delivery.audience - batch.size


@scenario(18, "a process runs out of memory")
def test_out_of_memory(chaos):
    chaos.house.faults.arm("_push.before", "exhaust", times=3)
    with chaos.under_load(after=60, large_every=4):
        pass


@scenario(19, "a batch takes longer than the time limit")
def test_time_limit(chaos):
    chaos.house.faults.arm("_push.before", "hang", times=2, seconds=60)
    with chaos.under_load(after=60, large_every=4):
        pass


@scenario(20, "workers are told to stop: warm, at once, twice")
def test_workers_stopped(chaos):
    with chaos.under_load():
        for numbers in ([signal.SIGTERM], [signal.SIGQUIT], [signal.SIGTERM, signal.SIGTERM]):
            for name in WORKERS:
                for number in numbers:
                    chaos.house.signal(name, number)
                    time.sleep(0.2)
                chaos.faults += 1
            time.sleep(3)


@scenario(21, "all workers are restarted in turn")
def test_rolling_restart(chaos):
    with chaos.under_load():
        for name in WORKERS:
            chaos.house.start_again(name)
            chaos.faults += 1


@scenario(22, "a batch takes longer than the broker's visibility timeout", on=("redis",))
def test_visibility_timeout(chaos):
    chaos.house.set_up(VISIBILITY_TIMEOUT="2")
    eventually(chaos.answers, "the web process answers", 60)
    chaos.house.faults.arm("_read_ranges.before", "hang", times=6, seconds=4)
    with chaos.under_load(after=60, large_every=6):
        pass


@scenario(23, "the reconciler is killed, runs twice at once, stands still")
def test_reconcilers(chaos):
    faults = chaos.house.faults
    faults.arm("_close_all.before", "kill", times=3, skip=2)
    faults.arm("nudge.after", "kill", times=1)
    faults.arm("resend.before", "kill", times=1)
    with chaos.under_load(after=60):
        for _ in range(10):
            tasks.reconcile.delay()
            chaos.faults += 1
        with chaos.house.frozen("beat"):
            time.sleep(8)


@scenario(24, "one worker's clock is an hour ahead, then behind")
def test_clock_skew(chaos):
    for offset in ("+1h", "-1h"):
        chaos.house.set_up_skewed("worker-fanout", offset)
        eventually(chaos.answers, "the web process answers", 60)
        with chaos.under_load():
            chaos.faults += 1


@scenario(25, "follows, unfollows, and deletions of posts and of an account meanwhile", fast=("redis",))
def test_concurrent_changes(chaos):
    guests = AccountFactory.create_batch(8)
    callers = {guest: Caller(chaos.house.url, token(guest)) for guest in guests}
    leaver = AccountFactory()
    follow(guests[0], leaver)
    follow(guests[1], leaver)
    with chaos.under_load(large_every=4, moving=True) as load:
        for _ in range(3):
            Caller(chaos.house.url, token(leaver)).post("statuses", status="the last one")
        for number in range(12):
            for guest, caller in callers.items():
                author = chaos.house.random.choice(chaos.graph.authors)
                caller.post(f"accounts/{author.pk}/{'unfollow' if (guest.pk + number) % 2 else 'follow'}")
                chaos.faults += 1
            load.delete(chaos.house.random.choice(load.acknowledged))
        actions.delete_account(account=leaver)
    report = verify.verify()
    assert report.right and not report.drift, report
    for guest in guests:
        authors = {status["account"]["id"] for status in callers[guest].get("timelines/home?limit=40")}
        assert authors <= {str(pk) for pk in guest.follows_out.values_list("followee_id", flat=True)}


@scenario(26, "the broker's disk is full")
def test_disk_full(chaos):
    with chaos.house.small_disk() as disk, chaos.under_load() as load, disk.full():
        chaos.faults += 1
        load.wait(60)
    assert _slowest(load) < 2, "a POST does not wait for the broker"


@scenario(27, "a large account posts all the time")
def test_a_celebrity(chaos):
    with chaos.under_load(large_every=2, rate=chaos.house.scale.rate / 2) as load:
        load.wait(60)
        chaos.faults += sum(post.author == chaos.graph.largest() for post in load.posts)


@scenario(28, "messages of another release wait in the queues")
def test_old_messages(chaos):
    with chaos.under_load() as load, chaos.house.down("relay"):
        load.wait(30)
        for row in Outbox.objects.filter(sent_at=None):
            current_app.send_task(row.task, (row.id,))  # once a message held one number
            current_app.send_task(row.task, ([row.id],), {"of": "a release to come"})
            chaos.faults += 2
        current_app.send_task("a_task_that_is_no_more", queue="upkeep")


@scenario(29, "a client sends each post ten times at once")
def test_duplicate_posts(chaos):
    with chaos.under_load() as load:
        for _ in range(5):
            post = load.publish(1)
            with ThreadPoolExecutor(10) as threads:
                answers = list(threads.map(lambda _, post=post: load.send(post), range(10)))
            chaos.faults += len(answers)
            assert all(answers)


def _slowest(load) -> float:
    return max(seconds for post in load.posts for _, seconds in post.tries)


@scenario(30, "messages wait in Redis, and the service is switched to RabbitMQ", on=("rabbitmq",))
def test_switched_brokers(chaos):
    chaos.house.set_up(CELERY_BROKER_URL=settings.CELERY_RESULT_BACKEND)
    eventually(chaos.answers, "the web process answers", 60)
    with chaos.under_load() as load:
        with chaos.house.down("worker-bulk", "worker"):
            load.wait(60)
        chaos.house.set_up()
        chaos.faults += 1


@scenario(31, "timelines come back from an old snapshot")
def test_an_old_snapshot(chaos):
    with chaos.under_load(lossy=True):
        client().save()
        time.sleep(2)
        with chaos.house.down("timelines", crash=True):  # a server that saves nothing itself loads what it finds
            chaos.faults += 1


@scenario(32, "a replica of the timelines is promoted that lacks writes", fast=("redis",))
def test_a_promoted_replica(chaos):
    with chaos.house.replica("timelines") as replica, chaos.under_load(lossy=True) as load:
        _read_home(chaos)  # rebuilt: the first replica that comes gives a master another reign
        replica.stop_following()
        load.wait(30)
        with chaos.house.down("timelines", crash=True):
            pass
        client().config_set("masterauth", replica.password)
        client().execute_command("REPLICAOF", "127.0.0.1", replica.port)
        eventually(lambda: client().info("replication")["master_link_status"] == "up", "it follows")
        assert client().dbsize(), "the timelines of before are there"
        load.wait(10)
        client().execute_command("REPLICAOF", "NO", "ONE")
        chaos.faults += 1


def _read_home(chaos) -> None:
    reader = Caller(chaos.house.url, token(chaos.graph.readers[0]))
    reader.get("timelines/home")
    built = lambda: timelines.page(chaos.graph.readers[0].pk, below=1 << 58, above=0, count=1)  # noqa: E731
    eventually(built, "the timeline is rebuilt", 30)


@scenario(33, "of two relays each is killed, one between sending and noting it")
def test_two_relays(chaos):
    relay = chaos.house.services.services["relay"]
    chaos.house.services.add(*chaos.house.services.services.values(), replace(relay, name="relay-2"))
    chaos.house.services.start(*chaos.house.services.services)
    eventually(chaos.answers, "the web process answers", 60)
    chaos.house.faults.arm("publish.after", "kill", times=3, skip=10, role="relay")
    with chaos.under_load():
        for name in ("relay", "relay-2"):
            chaos.house.kill(name)
            chaos.faults += 1
            time.sleep(2)


@scenario(34, "a worker is killed while batches of large fan-outs wait by the hundred")
def test_killed_before_a_backlog(chaos):
    claimed = Batch.objects.filter(state="open", batch_no__gt=0, lease_until__gt=Now())
    with chaos.under_load() as load:
        with chaos.house.down("worker-bulk"):
            for _ in range(40):
                load.publish(chaos.graph.largest())
        for _ in range(2):
            eventually(claimed.exists, "it works on one")
            chaos.house.kill("worker-bulk")
            chaos.faults += 1


@scenario(
    35,
    "of three RabbitMQs in a cluster the one is killed (-9) that leads the queues, then its successor",
    on=("rabbitmq",),
    fast=("rabbitmq",),
    cluster=True,
)
def test_a_node_of_a_cluster_killed(chaos):
    cluster = chaos.house.cluster
    queues = cluster.queues()
    assert _copies(queues) == dict.fromkeys(settings.CELERY_TASK_QUEUES, 3)
    leaders = []
    with chaos.under_load() as load:
        for _ in range(2):
            leaders.append(queues["fanout"]["leader"])
            with chaos.house.down(f"rabbit-{leaders[-1][0]}", crash=True):
                chaos.faults += 1
                load.wait(40)
                assert requests.get(f"{chaos.house.url}/healthz", timeout=10).json()["parts"]["broker"] == "up"
            cluster.wait()
            queues = cluster.queues()
    assert leaders[0] != leaders[1], "another one has taken over"
    assert _slowest(load) < 2, "a POST does not wait for the broker"
    eventually(lambda: set(_copies(cluster.queues()).values()) == {3}, "the nodes are back, and have all queues")


@scenario(36, "two of three RabbitMQs are killed (-9) while posts come in", on=("rabbitmq",), cluster=True)
def test_most_of_a_cluster_killed(chaos):
    with chaos.under_load() as load:
        with chaos.house.down("rabbit-a", "rabbit-b", crash=True):
            chaos.faults += 2
            load.wait(100)
        chaos.house.cluster.wait()
    assert _slowest(load) < 2, "a POST does not wait for the broker"


@scenario(37, "of two machines with all processes each one is switched off (-9), then the other one")
def test_machines_switched_off(chaos):
    machines = chaos.house.set_up_machines()
    for machine in machines:
        eventually(lambda machine=machine: chaos.answers(machine.url), "its web process answers", 60)
    with chaos.under_load() as load:
        for machine in machines:
            names = [program.name for program in machine.programs]
            for name in names:
                chaos.house.kill(name)
            with chaos.house.down(*names):
                chaos.faults += 1
                load.wait(100)
            eventually(lambda machine=machine: chaos.answers(machine.url), "its web process answers", 60)


def _copies(queues) -> dict[str, int]:
    """Of how many nodes that are up each quorum queue has a copy."""
    return {name: len(queue["online"]) for name, queue in queues.items() if queue["type"] == "quorum"}

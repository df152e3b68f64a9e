"""Home timelines in a cluster whose slots move and whose masters end. The verbs themselves: test_timelines.py, there, too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from feeds import fanout, importing, rebuild, timelines, verify
from feeds.database import REDIS_AWAY
from feeds.models import ID_END, Batch, Delivery, Kind
from feeds.redis_client import MOVING
from feedsvc.run import Instance
from followers.models import Account
from tests.cluster import Cluster, slot_of
from tests.conftest import WORKERS, eventually
from tests.factories import AccountFactory, PostFactory

IDS = [(1_795_000_000_000 << 16) + n * 32 for n in range(20)]
ONE = range(7, 7 + 20 * timelines.BUCKETS, timelines.BUCKETS)  # readers of one bucket
SLOT = slot_of(ONE[0])

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster(services: Instance) -> Iterator[Cluster]:
    found = Cluster(services)
    for master in found.masters():
        master.client.flushall()
    yield found
    if services.services:
        services.stop(*WORKERS)  # the reconciler sweeps
    eventually(found.is_at_rest, "the cluster has come to rest")
    found.set_timeout(5000)


def packed(readers) -> str:
    return ",".join(map(str, readers))


def ids(reader_id: int) -> list[int] | None:
    found = timelines.page(reader_id, below=ID_END, above=0, count=100)
    return None if found is None else found.ids


def test_while_a_slot_moves_each_timeline_is_found_where_it_is(cluster):
    """Half of a bucket's keys have gone, and are of another reign where they are now. No push misses those that stay."""
    timelines.build_empty(packed(ONE))
    timelines.push(IDS[0], packed(ONE), deadline=0)
    to = cluster.another(cluster.owner(SLOT))
    old = cluster.begin_to_move(SLOT, to)
    gone, stay = ONE[:10], ONE[10:]
    cluster.move_keys(SLOT, old, to, *map(timelines.key, gone))
    assert timelines.push(IDS[1], packed(ONE), deadline=0) == len(stay)
    assert timelines.push(IDS[2], packed(ONE), deadline=1) is None
    assert [ids(reader) for reader in stay] == [[IDS[1], IDS[0]]] * len(stay)
    assert [ids(reader) for reader in gone] == [None] * len(gone)
    assert timelines.remove(IDS[0], packed(ONE)) == len(stay)
    timelines.purge([IDS[1]], packed(stay[:2]))
    assert [ids(reader) for reader in stay[:3]] == [[], [], [IDS[1]]]
    for reader in (gone[0], stay[0]):  # one where it was, and one that is there still
        timelines.begin(reader, "token")
        assert timelines.fill(reader, "token", add=[IDS[3]], remove=[])
        assert timelines.finish(reader, "token", cover=0)
    assert timelines.build_empty(packed(gone)) == len(gone) - 1
    assert timelines.push(IDS[4], packed(ONE), deadline=0) == len(ONE)
    assert [ids(reader) for reader in (gone[0], gone[1], stay[0], stay[2])] == [
        *([IDS[4], IDS[3]], [IDS[4]], [IDS[4], IDS[3]], [IDS[4], IDS[1]])
    ]
    assert {dump.state for dump in timelines.dump([*stay[1:]])} == {"built"}
    timelines.evict([stay[1], gone[1]])
    assert (ids(stay[1]), ids(gone[1])) == (None, None)
    cluster.move_keys(SLOT, old, to)
    cluster.end_to_move(SLOT, old, to)
    assert timelines.push(IDS[5], packed(ONE), deadline=0) == len(gone) - 1 + 1, "those that were built there"
    assert (ids(gone[0]), ids(stay[0]), ids(stay[2])) == ([IDS[5], IDS[4], IDS[3]],) * 2 + (None,)


def test_a_call_for_a_whole_bucket_is_never_followed_to_where_its_slot_moves(cluster):
    """There it would find no timeline of those that have not moved yet, and say so, while they go on being read here."""
    timelines.build_empty(packed(ONE))
    to = cluster.another(cluster.owner(SLOT))
    old = cluster.begin_to_move(SLOT, to)
    try:
        assert timelines.push(IDS[0], packed(ONE), deadline=0) == len(ONE)
        assert [ids(reader) for reader in ONE] == [[IDS[0]]] * len(ONE)
        assert to.client.dbsize() == 0
    finally:
        for node in (old, to):
            node.ask("CLUSTER SETSLOT", SLOT, "STABLE")


def test_a_node_that_is_new_is_found_before_it_has_a_slot(cluster):
    timelines.build_empty(packed(ONE))
    old, new = cluster.owner(SLOT), cluster.replica(SLOT)
    cluster.join_anew(new)
    cluster.begin_to_move(SLOT, new)
    try:
        cluster.move_keys(SLOT, old, new, *map(timelines.key, ONE[:10]))
        assert timelines.push(IDS[0], packed(ONE), deadline=0) == 10
        assert timelines.build_empty(packed(ONE)) == 10
        assert timelines.push(IDS[1], packed(ONE), deadline=0) == len(ONE)
        assert (ids(ONE[0]), ids(ONE[10])) == ([IDS[1]], [IDS[1], IDS[0]])
        assert new.client.dbsize() == 10
    finally:
        for node in (old, new):
            node.ask("CLUSTER SETSLOT", SLOT, "STABLE")
        new.client.flushall()
        new.ask("CLUSTER REPLICATE", old.id)


def test_what_moved_counts_as_absent_until_it_is_swept_or_rebuilt(cluster):
    """By Valkey's own way to move a slot, all at once. Its reign is another one where it is now."""
    timelines.build_empty(packed(ONE))
    timelines.push(IDS[0], packed(ONE), deadline=0)
    assert timelines.sweep() == len(ONE)
    assert timelines.sweep() is None
    old = cluster.owner(SLOT)
    to = cluster.another(old)
    old.ask("CLUSTER MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", to.id)
    assert cluster.owner(SLOT, but=old) is to
    assert timelines.push(IDS[1], packed(ONE[:2]), deadline=0) == 0
    assert ids(ONE[2]) is None and {dump.state for dump in timelines.dump([*ONE])} == {"absent"}
    assert timelines.sweep() == len(ONE) - 3
    assert to.client.dbsize() == len(cluster.buckets(to)), "no timeline, and of each bucket that it is swept"
    assert timelines.sweep() is None


def test_a_promoted_replica_has_another_reign(cluster):
    timelines.build_empty(packed(ONE))
    timelines.push(IDS[0], packed(ONE), deadline=0)
    timelines.sweep()
    old, replica = cluster.owner(SLOT), cluster.replica(SLOT)
    eventually(lambda: replica.client.dbsize() == old.client.dbsize(), "it has what its master has")
    replica.ask("CLUSTER FAILOVER")
    assert cluster.owner(SLOT, but=old) is replica
    assert replica.client.exists(timelines.key(ONE[0])), "it is there, as it was"
    assert ids(ONE[0]) is None
    assert timelines.push(IDS[1], packed(ONE), deadline=0) == 0
    assert timelines.build_empty(packed(ONE)) == len(ONE)
    assert timelines.push(IDS[2], packed(ONE), deadline=0) == len(ONE)
    assert timelines.sweep() == len(ONE)


def test_a_master_that_is_cut_off_stops_answering(cluster):
    """So nobody reads for long what it missed: not longer than cluster-node-timeout, and the time to notice."""
    timelines.build_empty(packed(ONE))
    alone = cluster.owner(SLOT)
    cluster.set_timeout(500)
    with cluster.frozen(*(node for node in cluster.nodes if node is not alone)):
        began = time.monotonic()
        assert ids(ONE[0]) == []
        eventually(lambda: refuses(alone), "it answers no more", 5)
        assert time.monotonic() - began < 3
    eventually(lambda: not refuses(alone), "it is back")


def refuses(node) -> bool:
    try:
        node.client.lrange(timelines.key(ONE[0]), 0, -1)
    except redis.exceptions.ClusterDownError:
        return True
    return False


@pytest.mark.django_db
def test_slots_that_move_to_and_fro_during_fan_outs_cost_nobody_a_post(cluster, settings, monkeypatch):
    settings.FANOUT_BATCH = 100
    author, readers = audience(500)
    answers, scatter = [], timelines.scatter
    monkeypatch.setattr(timelines, "scatter", lambda *args: answers.extend(found := scatter(*args)) or found)
    chance, posts = random.Random(7), []
    with moving(cluster, [slot_of(reader) for reader in readers[:4]]) as moves:
        until = time.monotonic() + 40
        while len(posts) < 12 or len(moves) < 12 or answers.count(MOVING) < 20:
            assert time.monotonic() < until, (len(posts), len(moves), answers.count(MOVING))
            posts.insert(0, deliver(PostFactory(author=author)))
            for reader in chance.sample(readers, 50):
                if (found := eventually(lambda reader=reader: stored(reader), "it can be read")) == "absent":
                    rebuild.rebuild(reader)
                else:
                    assert found == posts
    assert verify.verify().drift == 0
    for reader in readers:
        if ids(reader) is None:
            rebuild.rebuild(reader)
        assert ids(reader) == posts


@pytest.mark.e2e
def test_a_master_killed_in_the_middle_of_fan_outs_costs_nobody_a_post(cluster, workers, api):
    """By the service's own means: batches come again, timelines are rebuilt for those who read."""
    cluster.set_timeout(1000)
    author, readers = audience(400)
    lost = cluster.owner(slot_of(readers[0]))
    hit = [reader for reader in readers if cluster.owner(slot_of(reader)) is lost]
    posts = [PostFactory(author=author).pk for _ in range(8)]
    eventually(Batch.objects.filter(state="done").exists, "the first batch is delivered")
    cluster.services.stop(lost.name)  # kill -9
    try:
        assert Delivery.objects.exclude(state="closed").exists(), "it was in the middle"
        posts.append(PostFactory(author=author).pk)
        reader = api(Account.objects.get(pk=hit[0]))
        page = reader.get("/api/v1/timelines/home")
        assert (page.status_code, shown(page)) == (206, posts[::-1])
        new = cluster.owner(slot_of(readers[0]), but=lost)
        posts.append(PostFactory(author=author).pk)
        eventually(lambda: not Delivery.objects.exclude(state="closed").exists(), "all deliveries are closed", 60)
    finally:
        cluster.services.start(lost.name)
    for delivery in Delivery.objects.all():
        assert delivery.delivered + delivery.skipped_inactive == delivery.audience == len(readers)
    found = {one: ids(one) for one in readers}
    assert all(stored in (None, posts[::-1]) for stored in found.values())
    assert all(found[one] is None for one in hit[1:]), "of another reign"
    assert verify.verify().drift == 0
    eventually(lambda: reader.get("/api/v1/timelines/home").status_code == 200, "the timeline is rebuilt")
    assert shown(reader.get("/api/v1/timelines/home")) == ids(hit[0]) == posts[::-1]
    eventually(cluster.is_at_rest, "who was lost has come back, as a replica")
    assert new in cluster.masters() and lost not in cluster.masters()


def shown(page) -> list[int]:
    return [int(status["id"]) for status in page.json()]


def audience(size: int):
    author = AccountFactory()
    importing.make_audience(author, prefix="reader", size=size, show=lambda done: None)
    return author, list(author.follows_in.order_by("follower_id").values_list("follower_id", flat=True))


def deliver(post) -> int:
    """As workers would, again after a store's error."""
    for number in range(fanout.plan(post.pk, Kind.PUSH)):
        eventually(lambda number=number: tried(post.pk, number), "the batch is delivered")
    assert fanout.finish(post.pk, Kind.PUSH, "inline")
    delivery = Delivery.objects.get(post=post)
    assert delivery.delivered + delivery.skipped_inactive == delivery.audience
    return post.pk


def tried(post_id: int, number: int) -> bool:
    try:
        return fanout.deliver(post_id, Kind.PUSH, number) == "done"
    except REDIS_AWAY:
        return False


def stored(reader: int):
    try:
        found = ids(reader)
    except REDIS_AWAY:
        return None
    return "absent" if found is None else found


@contextmanager
def moving(cluster, slots):
    """Slots move all the while, key by key, each to another master and back."""
    moves, ended = [], threading.Event()

    def move() -> None:
        while not ended.is_set():
            slot = slots[len(moves) % len(slots)]
            to = cluster.another(cluster.owner(slot))
            old = cluster.begin_to_move(slot, to)
            while some := old.ask("CLUSTER GETKEYSINSLOT", slot, 1):
                cluster.move_keys(slot, old, to, *some)
                time.sleep(0.02)
            cluster.end_to_move(slot, old, to)
            moves.append(slot)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield moves
    finally:
        ended.set()
        thread.join(30)

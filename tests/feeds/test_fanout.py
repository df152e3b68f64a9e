"""The fan-out of one post: ranges, counts, and what happens twice, late or in between."""

from __future__ import annotations

import pytest
import redis
from django.conf import settings

from feeds import actions, deliveries, fanout, reconciler, tasks, timelines
from feeds.models import Batch, Delivery, Kind, Outbox, Post
from feeds.redis_client import masters
from followers import relationships
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db
PUSH = Kind.PUSH


def stored(reader) -> list[int]:
    return timelines.ids(reader.pk).ids


def parts(post) -> dict[str, int]:
    report = deliveries.report(post.pk)
    assert report["audience"] == sum(report[part] for part in deliveries.PARTS if part != "audience")
    return {part: report[part] for part in deliveries.PARTS if report[part]}


@pytest.mark.parametrize(("followers", "batches"), [(0, 0), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_any_audience_is_covered_once_and_the_delivery_closes_once(settings, followers, batches):  # 5
    settings.FANOUT_BATCH = 10
    author, readers = star(followers)
    post = PostFactory(author=author)
    assert fanout.plan(post.pk, PUSH) == batches
    assert sum(Batch.objects.filter(post=post).values_list("size", flat=True)) == followers
    for number in range(batches):
        assert deliveries.report(post.pk)["state"] == "running"
        assert fanout.deliver(post.pk, PUSH, number) == "done"
        closed = fanout.finish(post.pk, PUSH, "callback")
        assert closed is (number == batches - 1)
    assert not fanout.finish(post.pk, PUSH, "reconciler")
    report = deliveries.report(post.pk)
    assert report["state"] == "done"
    assert report["closed_by"] == ("callback" if batches else "inline")
    assert parts(post) == ({"audience": followers, "delivered": followers} if followers else {})
    assert all(stored(reader) == [post.pk] for reader in readers)


def test_ranges_leave_nobody_out_and_nobody_twice(settings):
    settings.FANOUT_BATCH = 3
    author, readers = star(8)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    ranges = list(Batch.objects.filter(post=post).order_by("batch_no").values_list("lo", "hi"))
    assert ranges[0][0] == 0 and ranges[-1][1] == fanout.EVERYBODY
    assert [hi for _, hi in ranges[:-1]] == [lo for lo, _ in ranges[1:]]
    for reader in readers:
        assert sum(lo <= reader.pk < hi for lo, hi in ranges) == 1


def test_a_batch_delivered_twice_gives_one_entry_and_the_same_counts():  # 4
    author, readers = star(3, away=1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    assert fanout.deliver(post.pk, PUSH, 0) == "done"
    assert fanout.deliver(post.pk, PUSH, 0) == "not mine"
    Batch.objects.update(state="open", lease_until=None)  # as if the closing had been lost
    assert fanout.deliver(post.pk, PUSH, 0) == "done"
    fanout.finish(post.pk, PUSH, "inline")
    assert parts(post) == {"audience": 3, "delivered": 2, "skipped_inactive": 1}
    assert stored(readers[0]) == [post.pk]


def test_a_task_that_comes_twice_does_its_work_once(drain):  # 4
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    row = deliveries.report(post.pk)["tasks"]
    for _ in range(2):
        assert tasks.fan_out_post([Outbox.objects.get(subject_id=post.pk, task="fan_out_post").pk]) == "0 posts"
    assert deliveries.report(post.pk)["tasks"] == row
    assert stored(reader) == [post.pk]


def test_a_plan_is_made_once():
    author, _ = star(3)
    post = PostFactory(author=author)
    assert fanout.plan(post.pk, PUSH) == 1
    assert fanout.plan(post.pk, PUSH) is None
    assert Batch.objects.filter(post=post).count() == 1


def test_a_range_is_packed_in_chunks_for_one_script_call_each(settings):
    settings.PUSH_CHUNK = 4
    author, readers = star(10)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    found = fanout._read_range(fanout._claim(post.pk, PUSH, 0))
    assert len(found.chunks) == 3
    assert max(chunk.count(",") + 1 for chunk in found.chunks) <= 5, "about: they are cut by length"
    assert [int(n) for chunk in found.chunks for n in chunk.split(",")] == [reader.pk for reader in readers]


def test_who_left_since_the_plan_is_gone_and_who_came_is_not_in_the_audience():
    author, readers = star(4)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    relationships.unfollow(follower_id=readers[0].pk, followee_id=author.pk)
    follow(newcomer := AccountFactory(), author)
    relationships.unfollow(follower_id=readers[1].pk, followee_id=author.pk)
    follow(readers[1], author)  # a new follow: backfill's business
    tasks.push_batch_alone(post.pk, PUSH, 0)
    assert parts(post) == {"audience": 4, "delivered": 2, "gone": 2}
    assert stored(newcomer) == [] and stored(readers[0]) == [] and stored(readers[1]) == []


def test_a_direct_post_is_hidden_from_those_not_mentioned():
    author, readers = star(3)
    post = PostFactory(author=author, visibility="direct", text=f"hello @{readers[1].username}")
    fanout.plan(post.pk, PUSH)
    tasks.push_batch_alone(post.pk, PUSH, 0)
    assert parts(post) == {"audience": 3, "delivered": 1, "skipped_hidden": 2}
    assert [stored(reader) for reader in readers] == [[], [post.pk], []]


def test_a_post_deleted_before_its_plan_has_no_audience():
    author, [reader] = star(1)
    post = PostFactory(author=author)
    actions.delete_post(author=author, post_id=post.pk)
    assert fanout.plan(post.pk, PUSH) == 0
    assert fanout.plan(post.pk, Kind.RETRACT) == 1
    tasks.push_batch_alone(post.pk, Kind.RETRACT, 0)
    assert not Delivery.objects.exclude(state="closed").exists()
    assert stored(reader) == []


def test_a_post_deleted_after_its_push_is_withdrawn_by_its_own_batch(monkeypatch):
    author, readers = star(2, away=1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    close = fanout._close

    def delete_first(*args, **kwargs):
        monkeypatch.setattr(fanout, "_close", close)
        assert stored(readers[0]) == [post.pk]
        actions.delete_post(author=author, post_id=post.pk)
        return close(*args, **kwargs)

    monkeypatch.setattr(fanout, "_close", delete_first)
    tasks.push_batch_alone(post.pk, PUSH, 0)
    assert stored(readers[0]) == []
    assert parts(post) == {"audience": 2, "skipped_hidden": 2}


def test_a_batch_whose_claim_ran_out_is_refused_by_redis_and_closes_nothing(settings):
    settings.FENCE = -1
    author, [reader] = star(1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    assert fanout.deliver(post.pk, PUSH, 0) == "late"
    assert stored(reader) == []
    assert Batch.objects.get().state == "open"


def test_a_batch_that_lost_its_lease_leaves_the_other_runs_counts():
    author, _ = star(2)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    first = fanout._claim(post.pk, PUSH, 0)
    Batch.objects.update(lease_until=None)  # ran out
    second = fanout._claim(post.pk, PUSH, 0)
    assert second.lease_no == first.lease_no + 1
    assert fanout._push(first) == "lost"
    assert fanout._push(second) == "done"


def test_a_batch_whose_attempts_are_spent_is_buried_and_counts_as_failed(settings):
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 2, 1
    author, _ = star(3)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    fanout._claim(post.pk, PUSH, 0)  # and the process dies
    Batch.objects.update(lease_until=None)
    fanout.deliver(post.pk, PUSH, 1)
    assert reconciler.bury() == 1
    assert fanout.finish(post.pk, PUSH, "reconciler")
    assert parts(post) == {"audience": 3, "delivered": 1, "failed": 2}
    assert deliveries.report(post.pk)["batches"] == {"total": 2, "done": 1, "failed": 1}


def test_a_dead_batch_driven_again_corrects_the_delivery_however_often(settings):  # 33
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 2, 1
    author, readers = star(3)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    fanout._claim(post.pk, PUSH, 0)  # and the process dies
    Batch.objects.update(lease_until=None)
    fanout.deliver(post.pk, PUSH, 1)
    reconciler.bury()
    fanout.finish(post.pk, PUSH, "reconciler")
    assert stored(readers[0]) == []
    assert reconciler.redrive(post.pk) == 1
    assert reconciler.redrive(post.pk) == 0
    assert deliveries.report(post.pk)["state"] == "running"
    for key in reconciler.nudge():
        tasks.push_batch_alone(*key, closed_by="reconciler")
    assert parts(post) == {"audience": 3, "delivered": 3}
    assert all(stored(reader) == [post.pk] for reader in readers)
    assert reconciler.redrive(post.pk) == 0 and deliveries.report(post.pk)["state"] == "done"


def test_what_waits_its_turn_is_not_sent_again_and_what_was_overtaken_is(settings):
    settings.FANOUT_BATCH = 2
    author, _ = star(6)
    first, second, third = posts = [PostFactory(author=author) for _ in range(3)]
    for minute, post in enumerate(posts):
        fanout.plan(post.pk, PUSH)
        Batch.objects.filter(post=post).update(nudged_at=f"2020-01-01T00:0{minute}Z")
    assert fanout.deliver(second.pk, PUSH, 1) == "done"
    assert {post_id for post_id, *_ in reconciler.nudge()} == {first.pk}, "the third's turn has not come"
    Batch.objects.filter(post=third, batch_no=2).update(lease_until="2020-01-01T00:05Z")
    assert reconciler.nudge() == [(third.pk, PUSH, 2)], "whoever had it died"
    assert reconciler.nudge() == []
    Batch.objects.filter(state="done").update(closed_at="2020-01-01T01:00Z")
    assert {post_id for post_id, *_ in reconciler.nudge()} == {second.pk, third.pk}, "nobody works on anything"


def test_a_retraction_reaches_all_who_follow_and_adds_up(settings):
    settings.FANOUT_BATCH = 2
    author, readers = star(5, away=1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    for number in range(3):
        tasks.push_batch_alone(post.pk, PUSH, number)
    actions.delete_post(author=author, post_id=post.pk)
    assert fanout.plan(post.pk, Kind.RETRACT) == 3
    for number in range(3):
        tasks.push_batch_alone(post.pk, Kind.RETRACT, number)
    retraction = Delivery.objects.get(post=post, kind=Kind.RETRACT)
    assert (retraction.state, retraction.delivered, retraction.skipped_inactive) == ("closed", 4, 1)
    assert all(stored(reader) == [] for reader in readers[:4])
    assert not Post.objects.live().filter(pk=post.pk).exists()


FULL, REPLICA = ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"), ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")


@pytest.mark.parametrize(
    ("command", "undo"),
    [pytest.param(*FULL, id="full"), *([] if settings.REDIS_NODES else [pytest.param(*REPLICA, id="a replica")])],
)
def test_a_redis_that_takes_no_writes_costs_no_attempt_and_no_page(api, command, undo):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    for server in masters():
        server.execute_command(command)
    try:
        assert tasks.push_batch(post.pk, PUSH, 0) == "given back"
        batch = Batch.objects.get(post=post)
        assert (batch.attempts, batch.lease_until, batch.state) == (0, None, "open")
        assert api(reader).get("/api/v1/timelines/home").status_code in (200, 206)
    finally:
        for server in masters():
            server.execute_command(undo)
    assert tasks.push_batch(post.pk, PUSH, 0) == "done"


# Many posts in one message


def rows_of(*posts) -> list[int]:
    tasks_of = Outbox.objects.filter(subject_id__in=[post.pk for post in posts], task="fan_out_post")
    return list(tasks_of.values_list("pk", flat=True))


def test_many_small_posts_are_delivered_together_each_to_its_own_readers(settings, monkeypatch):
    settings.PUSH_CHUNK = 4
    authors = [star(followers, away=followers // 3) for followers in (1, 9, 0, 3)]
    posts = [PostFactory(author=author) for author, _ in authors]
    calls, push_many = [], timelines.push_many
    monkeypatch.setattr(
        timelines, "push_many", lambda pairs, **deadline: calls.append(pairs) or push_many(pairs, **deadline)
    )
    assert tasks.fan_out_post(rows_of(*posts)) == "4 posts"
    for post, (_, readers) in zip(posts, authors, strict=True):
        away = len(readers) // 3
        counts = {"audience": len(readers), "delivered": len(readers) - away, "skipped_inactive": away}
        assert parts(post) == {part: count for part, count in counts.items() if count}
        report = deliveries.report(post.pk)
        assert (report["state"], report["closed_by"]) == ("done", "inline")
        assert all(stored(reader) == [post.pk] for reader in readers[: len(readers) - away])
    assert not Outbox.objects.filter(task="fan_out_post", done_at=None).exists()
    readers = [sum(chunk.count(",") + 1 for _, chunk in pairs) for pairs in calls]
    assert sum(readers) == 13 and all(4 <= size < 8 for size in readers[:-1])


def test_a_message_that_comes_twice_is_delivered_once():  # 4
    (author, [reader]), (other, _) = star(1), star(2)
    posts = [PostFactory(author=author), PostFactory(author=other), PostFactory(author=author)]
    row_ids = rows_of(*posts)
    tasks.fan_out_post(row_ids)
    before = [deliveries.report(post.pk) for post in posts]
    assert tasks.fan_out_post(row_ids) == "0 posts"
    Outbox.objects.update(done_at=None)  # as if its end had been lost
    assert tasks.fan_out_post(row_ids) == "3 posts"
    after = [deliveries.report(post.pk) for post in posts]
    assert [report | {"tasks": []} for report in after] == [report | {"tasks": []} for report in before]
    assert stored(reader) == [posts[2].pk, posts[0].pk]


def test_as_many_posts_go_together_as_fit_one_batch_and_large_ones_alone(settings, monkeypatch):
    settings.FANOUT_BATCH = 4
    stars = [star(followers) for followers in (3, 2, 4, 0, 2, 5)]
    posts = [PostFactory(author=author) for author, _ in stars]
    waves = []
    monkeypatch.setattr(tasks, "_publish_wave", lambda post_id, *wave: waves.append((post_id, *wave)))
    bites, deliver = [], fanout.deliver_small
    monkeypatch.setattr(fanout, "deliver_small", lambda claims: bites.append(len(claims)) or deliver(claims))
    tasks.fan_out_post(rows_of(*posts))
    assert bites == [2, 1, 1]  # 2 + 2 followers (and the post that nobody follows), then 3, then 4
    assert waves == [(posts[5].pk, PUSH, 0, 2)]
    assert [deliveries.report(post.pk)["state"] for post in posts] == ["done"] * 5 + ["running"]


def test_what_is_out_of_the_ordinary_keeps_its_meaning_among_many(settings):
    settings.PULL_ABOVE = settings.PULL_BELOW = 3
    (author, readers), (famous, _) = star(3), star(4)
    famous.refresh_from_db()
    plain, dead = PostFactory(author=author), PostFactory(author=author)
    direct = PostFactory(author=author, visibility="direct", text=f"hello @{readers[1].username}")
    cancelled, pulled, planned = PostFactory(author=author), PostFactory(author=famous), PostFactory(author=author)
    actions.delete_post(author=author, post_id=dead.pk)
    actions.cancel_delivery(post_id=cancelled.pk)
    fanout.plan(planned.pk, PUSH)
    tasks.fan_out_post(rows_of(plain, dead, direct, cancelled, pulled, planned))
    assert parts(plain) == {"audience": 3, "delivered": 3}
    assert parts(direct) == {"audience": 3, "delivered": 1, "skipped_hidden": 2}
    assert parts(pulled) == {"audience": 4, "pulled": 4}
    assert parts(dead) == parts(cancelled) == {}
    assert deliveries.report(planned.pk)["state"] == "running"  # its batch is somebody else's
    assert [stored(reader) for reader in readers] == [[plain.pk], [direct.pk, plain.pk], [plain.pk]]


def test_a_post_that_dies_among_many_is_withdrawn_and_its_neighbours_are_delivered(monkeypatch):
    author, [reader] = star(1)
    posts = [PostFactory(author=author) for _ in range(3)]
    close = fanout._close_all

    def delete_first(*args, **kwargs):
        monkeypatch.setattr(fanout, "_close_all", close)
        assert len(stored(reader)) == 3
        actions.delete_post(author=author, post_id=posts[1].pk)
        return close(*args, **kwargs)

    monkeypatch.setattr(fanout, "_close_all", delete_first)
    tasks.fan_out_post(rows_of(*posts))
    assert stored(reader) == [posts[2].pk, posts[0].pk]
    assert [parts(post) for post in posts] == [
        {"audience": 1, "delivered": 1},
        {"audience": 1, "skipped_hidden": 1},
        {"audience": 1, "delivered": 1},
    ]


def test_a_store_that_fails_among_many_burns_no_attempt_and_each_comes_again_by_itself(settings, monkeypatch):
    settings.PUSH_CHUNK = 1
    author, readers = star(2)
    posts = [PostFactory(author=author) for _ in range(2)]
    push_many = timelines.push_many

    def fail_once(*args, **kwargs):
        monkeypatch.setattr(timelines, "push_many", push_many)
        push_many(*args, **kwargs)
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(timelines, "push_many", fail_once)
    with pytest.raises(redis.ConnectionError):
        tasks.fan_out_post(rows_of(*posts))
    assert set(Batch.objects.values_list("attempts", "lease_until", "state")) == {(0, None, "open")}
    assert set(Outbox.objects.filter(task="fan_out_post").values_list("attempts", "sent_at")) == {(0, None)}
    assert tasks.fan_out_post(rows_of(*posts)) == "2 posts"  # planned already: the reconciler's
    Batch.objects.update(nudged_at="2020-01-01T00:00Z")
    for key in reconciler.nudge():
        tasks.push_batch_alone(*key, closed_by="reconciler")
    assert [parts(post) for post in posts] == [{"audience": 2, "delivered": 2}] * 2
    assert all(stored(reader) == [posts[1].pk, posts[0].pk] for reader in readers)


def test_a_run_of_many_that_is_killed_leaves_leases_that_run_out(drain):
    author, [reader] = star(1)
    posts = [PostFactory(author=author) for _ in range(2)]
    assert len(fanout.plan_small([post.pk for post in posts])) == 2  # and the process dies
    assert fanout.deliver(posts[0].pk, PUSH, 0) == "not mine"
    Batch.objects.update(lease_until=None)  # ran out
    drain()
    assert stored(reader) == [posts[1].pk, posts[0].pk]
    assert set(Batch.objects.values_list("attempts", "state")) == {(2, "done")}


def test_a_run_of_many_that_lost_its_leases_leaves_the_other_runs_counts():
    author, _ = star(2)
    posts = [PostFactory(author=author) for _ in range(2)]
    claims = list(fanout.plan_small([post.pk for post in posts]).values())
    Batch.objects.update(lease_until=None)  # ran out
    other = fanout._claim(posts[0].pk, PUSH, 0)
    fanout.deliver_small(claims)
    assert list(Batch.objects.order_by("post_id").values_list("state", "lease_no")) == [("open", 2), ("done", 1)]
    assert fanout._push(other) == "done"


def test_a_run_of_many_whose_claims_ran_out_is_refused_by_redis_and_closes_nothing(settings):
    settings.FENCE = -1
    author, [reader] = star(1)
    post = PostFactory(author=author)
    tasks.fan_out_post(rows_of(post))
    assert stored(reader) == []
    assert Batch.objects.get().state == "open"

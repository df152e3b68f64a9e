"""The fan-out of one post: ranges, counts, and what happens twice, late or in between."""

from __future__ import annotations

import pytest

from feeds import actions, fanout, tasks, timelines
from feeds.models import Batch, Delivery, Kind, Outbox, Post
from followers import relationships
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db
PUSH = Kind.PUSH


def stored(reader) -> list[int]:
    return timelines.ids(reader.pk).ids


def parts(post) -> dict[str, int]:
    report = fanout.report(post.pk)
    assert report["audience"] == sum(report[part] for part in fanout.PARTS if part != "audience")
    return {part: report[part] for part in fanout.PARTS if report[part]}


@pytest.mark.parametrize(("followers", "batches"), [(0, 0), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_any_audience_is_covered_once_and_the_delivery_closes_once(settings, followers, batches):  # 5
    settings.FANOUT_BATCH = 10
    author, readers = star(followers)
    post = PostFactory(author=author)
    assert fanout.plan(post.pk, PUSH) == batches
    assert sum(Batch.objects.filter(post=post).values_list("size", flat=True)) == followers
    for number in range(batches):
        assert fanout.report(post.pk)["state"] == "running"
        assert fanout.deliver(post.pk, PUSH, number) == "done"
        closed = fanout.finish(post.pk, PUSH, "callback")
        assert closed is (number == batches - 1)
    assert not fanout.finish(post.pk, PUSH, "reconciler")
    report = fanout.report(post.pk)
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
    row = fanout.report(post.pk)["tasks"]
    for _ in range(2):
        assert tasks.fan_out_post(Outbox.objects.get(subject_id=post.pk, task="fan_out_post").pk) == "not mine"
    assert fanout.report(post.pk)["tasks"] == row
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
    found = fanout._read_range(fanout._claim(post.pk, PUSH, 0), fanout.EVERYBODY)
    assert [chunk.count(",") + 1 for chunk in found.chunks] == [4, 4, 2]
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
    assert fanout.bury() == 1
    assert fanout.finish(post.pk, PUSH, "reconciler")
    assert parts(post) == {"audience": 3, "delivered": 1, "failed": 2}
    assert fanout.report(post.pk)["batches"] == {"total": 2, "done": 1, "failed": 1}


def test_a_dead_batch_driven_again_corrects_the_delivery_however_often(settings):  # 33
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 2, 1
    author, readers = star(3)
    post = PostFactory(author=author)
    fanout.plan(post.pk, PUSH)
    fanout._claim(post.pk, PUSH, 0)  # and the process dies
    Batch.objects.update(lease_until=None)
    fanout.deliver(post.pk, PUSH, 1)
    fanout.bury()
    fanout.finish(post.pk, PUSH, "reconciler")
    assert stored(readers[0]) == []
    assert fanout.redrive(post.pk) == 1
    assert fanout.redrive(post.pk) == 0
    assert fanout.report(post.pk)["state"] == "running"
    for key in fanout.nudge():
        tasks.push_batch_alone(*key, closed_by="reconciler")
    assert parts(post) == {"audience": 3, "delivered": 3}
    assert all(stored(reader) == [post.pk] for reader in readers)
    assert fanout.redrive(post.pk) == 0 and fanout.report(post.pk)["state"] == "done"


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

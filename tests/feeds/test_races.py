"""What changes while a batch is in the middle of its work: a batch is held at a named point, the world changes, it is let go.

The batch is alone, or in one message with another post's.

The background work of the change runs twice: while the batch is held, and after it (semantics 10, 11, 19, 20, 23, 29).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import greenlet
import pytest

from feeds import actions, deliveries, departures, fanout, home, rebuild, tasks, timelines
from feeds.models import Batch, Delivery, Kind, Outbox, Post
from feeds.posts import Cursor
from feeds.redis_client import client
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db

POINTS = {
    f"{path} {point}": (path, module, name.format(push=push), place)
    for path, push in (("alone", "push"), ("together", "push_many"))
    for point, (module, name, place) in {
        "after the claim": (fanout, "_read_ranges", "before"),
        "after the range": (timelines, "{push}", "before"),
        "after the push": (timelines, "{push}", "after"),
        "before the close": (fanout, "_close_all", "before"),
        "before the finish": (fanout, "finish_all", "before"),
    }.items()
}


@dataclass
class Scene:
    """A post on its way to two readers, its batch held. `newcomer` follows nobody yet."""

    author: Account
    reader: Account
    other: Account
    newcomer: Account
    post: Post
    let_go: Callable[[], None]


@pytest.fixture(params=POINTS, ids=lambda point: point.replace(" ", "-"))
def scene(request: Any, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(rebuild, "POLL", 0)
    author, [reader, other] = star(2)
    post, newcomer = PostFactory(author=author), AccountFactory()
    path, *point = POINTS[request.param]
    if path == "alone":
        assert fanout.plan(post.pk, Kind.PUSH) == 1
        worker = hold(monkeypatch, *point, work=lambda: tasks.push_batch_alone(post.pk, Kind.PUSH, 0))
    else:
        PostFactory(author=star(1)[0])
        row_ids = list(Outbox.objects.filter(task="fan_out_post").values_list("pk", flat=True))
        worker = hold(monkeypatch, *point, work=lambda: tasks.fan_out_post(row_ids))
    return Scene(author, reader, other, newcomer, post, worker.switch)


def hold(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, place: str, work: Callable[[], Any]
) -> greenlet.greenlet:
    """Starts the work, and stops it at its first call of the function: before the call, or after it."""
    call = getattr(module, name)

    def stop(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, call)
        result = call(*args, **kwargs) if place == "after" else None
        worker.parent.switch()
        return result if place == "after" else call(*args, **kwargs)

    monkeypatch.setattr(module, name, stop)
    worker = greenlet.greenlet(work)
    worker.switch()
    assert not worker.dead
    return worker


def shown(reader: Account) -> list[int]:
    return [post["id"] for post in home.page(reader, Cursor()).posts]


def run_each_once() -> None:
    """What the outbox has now, as far as it can be done while a batch is held: what waits for its lease is not due."""
    for row in Outbox.objects.filter(done_at=None, lease_until=None, waited=False).order_by("id"):
        getattr(tasks, row.task)([row.pk])


def settle(scene: Scene, drain: Callable[[], None]) -> None:
    """The batch goes on; then everything is worked off."""
    run_each_once()
    scene.let_go()
    drain()
    for delivery in Delivery.objects.all():
        parts = [getattr(delivery, part) for part in deliveries.PARTS]
        assert delivery.state == "closed" and parts[0] == sum(parts[1:])
    assert not Batch.objects.filter(state="open").exists()


def stored(reader: Account) -> list[int]:
    return timelines.ids(reader.pk).ids


def test_a_deleted_post_is_on_no_page_from_then_on_and_in_no_timeline_at_the_end(scene, drain):  # 10
    actions.delete_post(author=scene.author, post_id=scene.post.pk)
    assert shown(scene.reader) == shown(scene.author) == []
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == stored(scene.other) == []


def test_a_deleted_post_leaves_those_who_left_its_author_too(scene, drain):  # 11
    actions.unfollow(follower=scene.reader, followee_id=scene.author.pk)
    actions.delete_post(author=scene.author, post_id=scene.post.pk)
    settle(scene, drain)
    assert stored(scene.reader) == stored(scene.other) == []


def test_a_late_batch_does_not_bring_back_what_an_unfollow_purged(scene, drain):  # 19
    actions.unfollow(follower=scene.reader, followee_id=scene.author.pk)
    assert shown(scene.reader) == []
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == []
    assert shown(scene.other) == [scene.post.pk]


def test_a_late_batch_does_not_reach_a_timeline_rebuilt_after_an_unfollow(scene, drain):  # 19, 27
    """There was nothing to purge when the unfollow looked: it must wait for the batch all the same."""
    timelines.evict([scene.reader.pk])
    actions.unfollow(follower=scene.reader, followee_id=scene.author.pk)
    run_each_once()
    assert rebuild.rebuild(scene.reader.pk) == "built"
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == []


def test_a_late_batch_does_not_bring_back_what_a_block_purged(scene, drain):  # 19, 21
    actions.block(blocker=scene.author, blocked_id=scene.reader.pk)
    assert shown(scene.reader) == []
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == []
    assert shown(scene.other) == [scene.post.pk]


def test_who_follows_meanwhile_has_the_post_once(scene, drain):  # 20
    actions.follow(follower=scene.newcomer, followee_id=scene.author.pk)
    settle(scene, drain)
    assert shown(scene.newcomer) == stored(scene.newcomer) == [scene.post.pk]


def test_who_unfollows_and_follows_again_has_the_post_once(scene, drain):  # 19, 20
    actions.unfollow(follower=scene.reader, followee_id=scene.author.pk)
    actions.follow(follower=scene.reader, followee_id=scene.author.pk)
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == [scene.post.pk]


def test_a_cancelled_fan_out_ends_in_no_timeline(scene, drain):  # 34
    assert actions.cancel_delivery(post_id=scene.post.pk)
    assert shown(scene.reader) == []
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == stored(scene.other) == []
    assert deliveries.report(scene.post.pk)["state"] == "cancelled"


def test_a_reader_who_is_evicted_meanwhile_is_served_and_gets_the_post_with_the_rebuild(scene, drain):  # 27
    timelines.evict([scene.reader.pk])
    assert shown(scene.reader) == [scene.post.pk]
    settle(scene, drain)
    assert timelines.ids(scene.reader.pk) is None
    rebuild.rebuild(scene.reader.pk)
    assert shown(scene.reader) == stored(scene.reader) == [scene.post.pk]


def test_a_rebuild_meanwhile_has_the_post_once(scene, drain):  # 27
    assert rebuild.rebuild(scene.reader.pk) == "built"
    assert stored(scene.reader) == [scene.post.pk]
    settle(scene, drain)
    assert shown(scene.reader) == stored(scene.reader) == [scene.post.pk]


def test_a_flushed_redis_meanwhile_is_not_noticed(scene, drain):  # 28
    client().flushdb()
    assert shown(scene.reader) == [scene.post.pk]
    settle(scene, drain)
    assert shown(scene.reader) == shown(scene.other) == [scene.post.pk]


def test_an_author_who_crosses_the_threshold_meanwhile_is_read_without_hole_or_repeat(scene, drain, settings):  # 29
    settings.PULL_ABOVE = settings.PULL_BELOW = 2
    follow(scene.newcomer, scene.author)
    scene.author.refresh_from_db()
    pulled = PostFactory(author=scene.author)
    assert pulled.home_mode == "pull"
    settle(scene, drain)
    assert shown(scene.reader) == [pulled.pk, scene.post.pk]
    assert stored(scene.reader) == [scene.post.pk]


def test_a_deleted_account_leaves_no_post_anywhere(scene, drain, monkeypatch):  # 23
    actions.delete_account(account=scene.author)
    assert shown(scene.reader) == []
    settle(scene, drain)
    assert stored(scene.reader) == stored(scene.other) == []
    assert timelines.ids(scene.author.pk) is None


def test_a_reader_who_stays_away_is_evicted_and_comes_back(drain):  # 7, 27
    author, [reader] = star(1)
    first = PostFactory(author=author)
    drain()
    Account.objects.filter(pk=reader.pk).update(last_active_at=datetime.now(UTC) - timedelta(days=31))
    assert departures.evict_inactive() == 1
    assert departures.evict_inactive() == 0
    assert timelines.ids(reader.pk) is None
    second = PostFactory(author=author)
    drain()
    assert timelines.ids(reader.pk) is None
    reader.refresh_from_db()
    page = home.page(reader, Cursor())
    assert not page.built and [post["id"] for post in page.posts] == [second.pk, first.pk]
    actions.note_home_read(reader=reader, built=page.built)
    drain()
    assert stored(reader) == [second.pk, first.pk]
    assert departures.evict_inactive() == 0

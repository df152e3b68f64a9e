"""Backfill, purge and rebuild, with the races forced."""

from __future__ import annotations

import pytest

from feeds import actions, fanout, outbox, rebuild, timelines
from feeds.models import Batch, Kind, Outbox
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


def stored(reader) -> list[int]:
    return timelines.ids(reader.pk).ids


def sync(reader, author, **kwargs) -> str:
    return rebuild.sync_pair(reader.pk, author.pk, **{"deadline": 0, "waited": False} | kwargs)


def test_follow_backfills_the_authors_posts_and_keeps_the_others(drain):  # 17
    author, other = AccountFactory(), AccountFactory()
    reader = AccountFactory()
    follow(reader, other)
    posts = [PostFactory(author=author).pk, PostFactory(author=other).pk, PostFactory(author=author).pk]
    drain()
    actions.follow(follower=reader, followee_id=author.pk)
    drain()
    assert stored(reader) == posts[::-1]


def test_a_backfill_is_bounded_and_moves_the_coverage(drain, settings):  # 17
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 3, 1
    author, reader = AccountFactory(), AccountFactory()
    posts = [PostFactory(author=author).pk for _ in range(5)]
    actions.follow(follower=reader, followee_id=author.pk)
    drain()
    assert timelines.ids(reader.pk) == timelines.Stored(posts[1], posts[:1:-1])


def test_a_backfill_leaves_what_lies_below_the_coverage_to_postgresql(drain, settings):  # 17
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 3, 1
    old, author, reader = AccountFactory(), AccountFactory(), AccountFactory()
    follow(reader, author)
    early = PostFactory(author=old).pk
    for _ in range(5):
        PostFactory(author=author)
    drain()
    before = stored(reader)
    actions.follow(follower=reader, followee_id=old.pk)
    drain()
    assert stored(reader) == before and early not in before


def test_a_backfill_leaves_out_what_the_reader_may_not_see(drain):
    author, reader = AccountFactory(), AccountFactory()
    PostFactory(author=author, visibility="direct", text="to nobody")
    private = PostFactory(author=author, visibility="private")
    actions.follow(follower=reader, followee_id=author.pk)
    drain()
    assert stored(reader) == [private.pk]


def test_unfollow_purges_the_authors_posts_and_no_others(drain):  # 18
    author, [reader] = star(1)
    other = AccountFactory()
    follow(reader, other)
    PostFactory(author=author)
    stays = PostFactory(author=other)
    drain()
    actions.unfollow(follower=reader, followee_id=author.pk)
    drain()
    assert stored(reader) == [stays.pk]


def test_overtaken_and_doubled_messages_end_as_the_rows_say(drain):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    actions.unfollow(follower=reader, followee_id=author.pk)
    actions.follow(follower=reader, followee_id=author.pk)
    for row in Outbox.objects.filter(task="sync_pair").order_by("-id"):  # the later one first
        assert sync(reader, author) == "synced"
        assert row.object_id == author.pk
    assert stored(reader) == [post.pk]


def test_a_purge_waits_for_a_batch_that_was_claimed_before_it(settings, monkeypatch):  # 19
    monkeypatch.setattr(rebuild, "POLL", 0.1)
    author, [reader] = star(1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, Kind.PUSH)
    claim = fanout._claim(post.pk, Kind.PUSH, 0)
    held = fanout._read_range(claim)  # the reader is in it
    actions.unfollow(follower=reader, followee_id=author.pk)
    with pytest.raises(outbox.Later) as later:
        sync(reader, author)
    assert later.value.waited and later.value.seconds > 50
    timelines.push(post.pk, held.chunks[0], deadline=claim.deadline)
    assert stored(reader) == [post.pk]
    Batch.objects.update(state="done")
    assert sync(reader, author) == "synced"
    assert stored(reader) == []


def test_a_row_that_has_waited_looks_for_no_batches_again():
    author, [reader] = star(1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, Kind.PUSH)
    fanout._claim(post.pk, Kind.PUSH, 0)
    actions.unfollow(follower=reader, followee_id=author.pk)
    assert sync(reader, author, waited=True) == "synced"


def test_a_change_between_reading_and_writing_is_seen_by_the_second_look(monkeypatch):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    write = timelines.sync

    def unfollow_first(*args, **kwargs):
        monkeypatch.setattr(timelines, "sync", write)
        actions.unfollow(follower=reader, followee_id=author.pk)
        return write(*args, **kwargs)

    monkeypatch.setattr(timelines, "sync", unfollow_first)
    assert sync(reader, author) == "synced"
    assert post.pk not in stored(reader)


def test_a_late_write_is_refused_and_the_row_comes_again():
    author, [reader] = star(1)
    PostFactory(author=author)
    with pytest.raises(outbox.Later):
        sync(reader, author, deadline=1)
    assert stored(reader) == []


def test_posts_that_arrive_during_a_rebuild_are_neither_lost_nor_doubled(monkeypatch):
    author, [reader] = star(1, away=1)
    old = PostFactory(author=author)
    fill, new = timelines.fill, []

    def post_first(*args, **kwargs):
        monkeypatch.setattr(timelines, "fill", fill)
        post = PostFactory(author=author)
        timelines.push(post.pk, str(reader.pk), deadline=0)
        new.append(post.pk)
        return fill(*args, **kwargs)

    monkeypatch.setattr(timelines, "fill", post_first)
    assert rebuild.rebuild(reader.pk) == "built"
    assert stored(reader) == [*new, old.pk]


def test_a_deletion_during_a_rebuild_is_seen_by_the_second_reading(monkeypatch):
    author, [reader] = star(1, away=1)
    post = PostFactory(author=author)
    fill = timelines.fill

    def delete_after(*args, **kwargs):
        monkeypatch.setattr(timelines, "fill", fill)
        done = fill(*args, **kwargs)
        actions.delete_post(author=author, post_id=post.pk)
        return done

    monkeypatch.setattr(timelines, "fill", delete_after)
    assert rebuild.rebuild(reader.pk) == "built"
    assert stored(reader) == []


def test_a_backfill_reaches_a_timeline_that_is_being_built():
    author, reader = AccountFactory(), AccountFactory(away=True)
    post = PostFactory(author=author)
    timelines.begin(reader.pk, "token")
    actions.follow(follower=reader, followee_id=author.pk)
    assert sync(reader, author) == "synced"
    timelines.finish(reader.pk, "token", cover=0)
    assert stored(reader) == [post.pk]


def test_a_rebuild_overtaken_by_another_ends_quietly(monkeypatch):
    author, [reader] = star(1, away=1)
    post = PostFactory(author=author)
    fill = timelines.fill

    def another_first(*args, **kwargs):
        monkeypatch.setattr(timelines, "fill", fill)
        assert rebuild.rebuild(reader.pk) == "built"
        return fill(*args, **kwargs)

    monkeypatch.setattr(timelines, "fill", another_first)
    assert rebuild.rebuild(reader.pk) == "superseded"
    assert stored(reader) == [post.pk]

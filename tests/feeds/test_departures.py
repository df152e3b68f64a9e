"""Those who leave: what a deleted account takes with it, and what stays."""

from __future__ import annotations

import pytest

from feeds import actions, departures, fanout, notifications, outbox, rebuild, timelines, verify
from feeds.models import Batch, Bookmark, Favourite, Kind, Mention, Notification, Outbox, Post
from feeds.redis_client import client
from followers.models import Account, Follow
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


def stored(reader: Account) -> list[int]:
    return timelines.ids(reader.pk).ids


def counters(account: Account) -> tuple[int, int]:
    account.refresh_from_db()
    return account.followers_count, account.following_count


def test_tasks_of_a_deleted_account_and_of_reblogs_of_its_posts_end(drain):
    original = PostFactory()
    actions.reblog(author=PostFactory().author, original=original)
    actions.delete_account(account=original.author)
    drain()
    assert not Outbox.objects.filter(done_at=None).exists()


def test_a_deleted_accounts_posts_leave_all_timelines_and_its_own_goes(drain):  # 23
    author, readers = star(3)
    other, [reader, *_] = AccountFactory(), readers
    follow(reader, other)
    follow(author, other)
    posts = [PostFactory(author=author).pk for _ in range(3)]
    stays = PostFactory(author=other)
    drain()
    assert stored(reader) == [stays.pk, *posts[::-1]] and stored(author) == [stays.pk]
    actions.delete_account(account=author)
    drain()
    assert [stored(one) for one in readers] == [[stays.pk], [], []]
    assert not client().exists(timelines.key(author.pk))
    assert Post.objects.live().get() == stays
    assert Follow.objects.get().follower_id == reader.pk
    assert (counters(other), counters(reader), counters(author)) == ((1, 0), (0, 1), (0, 0))
    assert verify.verify().right
    actions.delete_account(account=author)
    assert departures.delete_account(author.pk) == "deleted"
    assert (counters(other), counters(reader)) == ((1, 0), (0, 1))


def test_the_counters_of_others_posts_and_its_own_are_right_afterwards(drain):
    post, account = PostFactory(), AccountFactory()
    reply = PostFactory(author=account, in_reply_to=post)
    PostFactory(author=account, in_reply_to=post)
    PostFactory(author=account, in_reply_to=reply)
    PostFactory(in_reply_to=post)
    actions.reblog(author=account, original=post)
    actions.favourite(account=account, post=post)
    actions.favourite(account=AccountFactory(), post=post)
    post.refresh_from_db()
    assert (post.replies_count, post.reblogs_count, post.favourites_count) == (3, 1, 2)
    version = post.version
    actions.delete_account(account=account)
    for _ in range(2):
        drain()
        departures.delete_account(account.pk)
        post.refresh_from_db()
        assert (post.replies_count, post.reblogs_count, post.favourites_count) == (1, 0, 1)
        account.refresh_from_db()
        assert (account.statuses_count, account.followers_count, account.following_count) == (0, 0, 0)
    assert post.version > version, "cached counts are not shown any more"
    assert Favourite.objects.count() == 1


def test_pulled_posts_on_top_hide_no_pushed_ones_from_the_purge(drain, settings):
    settings.TIMELINE_LIMIT = 2
    author, [reader] = star(1)
    PostFactory(author=author)
    drain()
    actions.set_home_mode(account=author, mode="pull")
    author.refresh_from_db()
    for _ in range(5):
        PostFactory(author=author)
    actions.delete_account(account=author)
    drain()
    assert stored(reader) == []


def test_a_batch_claimed_before_the_deletion_and_pushing_after_it_leaves_no_ghost():
    author, [reader] = star(1)
    post = PostFactory(author=author)
    fanout.plan(post.pk, Kind.PUSH)
    claim = fanout._claim(post.pk, Kind.PUSH, 0)
    held = fanout._read_range(claim)  # the post lives, the reader is in it
    actions.delete_account(account=author)
    with pytest.raises(outbox.Later):
        departures.delete_account(author.pk)
    assert Follow.objects.exists(), "whoever pushes must be able to take it back"
    timelines.push(post.pk, held.chunks[0], deadline=claim.deadline)
    assert stored(reader) == [post.pk]
    Batch.objects.update(lease_until=None)  # the process died before its close, and the lease ran out
    assert departures.delete_account(author.pk) == "deleted"
    assert stored(reader) == []
    assert fanout.deliver(post.pk, Kind.PUSH, 0) == "done"
    assert stored(reader) == []


def test_a_run_after_a_kill_in_the_middle_goes_on(monkeypatch, drain):
    monkeypatch.setattr(departures, "SLICE", 1)
    author, readers = star(3)
    follow(author, *readers)
    posts = [PostFactory(author=author) for _ in range(3)]
    drain()
    actions.delete_account(account=author)
    for step in (departures._delete_posts, departures._delete_followers, departures._delete_followees):
        with monkeypatch.context() as killed:
            killed.setattr(departures, step.__name__, die_after(step))
            with pytest.raises(KeyboardInterrupt):
                departures.delete_account(author.pk)
    assert departures.delete_account(author.pk) == "deleted"
    assert [stored(reader) for reader in readers] == [[]] * 3
    assert [counters(one) for one in (author, *readers)] == [(0, 0)] * 4
    assert not Post.objects.live().filter(pk__in=[post.pk for post in posts]).exists()


def die_after(step):
    def killed(account_id: int) -> bool:
        step(account_id)
        raise KeyboardInterrupt

    return killed


def test_a_long_deletion_is_put_off_and_goes_on_at_its_next_turn(monkeypatch):
    monkeypatch.setattr(departures, "SLICE", 1)
    monkeypatch.setattr(departures, "TURN", -1)
    author, [reader] = star(1)
    posts = [PostFactory(author=author) for _ in range(2)]
    timelines.push(posts[0].pk, str(reader.pk), deadline=0)
    actions.delete_account(account=author)
    turns = 0
    while turns < 10:
        turns += 1
        try:
            assert departures.delete_account(author.pk) == "deleted"
            break
        except outbox.Later:
            pass
    assert turns == 4, "two posts, one follower, and the end"
    assert stored(reader) == []


def test_a_rebuild_that_comes_after_the_deletion_makes_no_timeline(drain):
    account = AccountFactory()
    outbox.record("account.returned", account.pk)
    Outbox.objects.filter(task="rebuild_timeline").update(id=1 << 40)  # the last to be done
    actions.delete_account(account=account)
    drain()
    assert rebuild.rebuild(account.pk) == "gone"
    assert not client().exists(timelines.key(account.pk))


def test_nobody_is_told_of_a_deleted_account(drain):
    account, reader = AccountFactory(), AccountFactory()
    actions.follow(follower=account, followee_id=reader.pk)
    drain()
    assert notifications.unread_count(reader) == 1
    actions.delete_account(account=account)
    drain()
    assert notifications.unread_count(reader) == 0


def test_what_others_did_to_a_deleted_account_goes_slice_by_slice(drain, monkeypatch):
    monkeypatch.setattr(departures, "SLICE", 2)
    account = AccountFactory()
    for _ in range(5):
        post = PostFactory(text=f"for @{account.username}")
        actions.bookmark(account=account, post=post)
    drain()
    assert Notification.objects.filter(account=account).count() == Bookmark.objects.count() == 5
    actions.delete_account(account=account)
    drain()
    assert not any(model.objects.exists() for model in (Notification, Bookmark, Mention))

"""The rules of a home timeline, each where Redis serves the page and where PostgreSQL does (docs/semantics.md)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from feeds import actions, home, rebuild, tasks, timelines
from feeds.models import Outbox, Post
from feeds.posts import Cursor
from followers.models import Account, Mute
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


@pytest.fixture
def shown(drain: Callable[[], None]) -> Callable[[Account], list[int]]:
    """What the reader's home shows after all work is done: the same from Redis and from PostgreSQL, whatever the cursor."""

    def pages(reader: Account, limit: int) -> list[int]:
        found, max_id = list[int](), None
        while True:
            page = home.page(reader, Cursor(max_id=max_id, limit=limit))
            found += [post["id"] for post in page.posts]
            if (max_id := page.next_max_id) is None:
                return found

    def climb(reader: Account, limit: int) -> list[int]:
        found, min_id = list[int](), 0
        while page := home.page(reader, Cursor(min_id=min_id, limit=limit)).posts:
            found = [post["id"] for post in page] + found
            min_id = page[0]["id"]
        return found

    def ids(reader: Account) -> list[int]:
        drain()
        rebuild.rebuild(reader.pk)
        stored = pages(reader, 40)
        for limit in (1, 2, 3):
            assert pages(reader, limit) == climb(reader, limit) == stored
        timelines.evict([reader.pk])
        assert pages(reader, 40) == pages(reader, 2) == climb(reader, 2) == stored
        rebuild.rebuild(reader.pk)
        return stored

    return ids


def test_a_reblog_brings_what_the_reader_does_not_follow(shown):  # 13
    author, [reader] = star(1)
    original = PostFactory()
    reblog = actions.reblog(author=author, original=original)
    assert shown(reader) == [reblog.pk]


def test_of_a_post_and_its_reblogs_close_by_only_the_oldest_is_shown(shown):  # 13, rule (d)
    author, [reader] = star(1)
    others = AccountFactory.create_batch(2)
    follow(reader, *others)
    original = PostFactory(author=author)
    between = [PostFactory(author=author).pk for _ in range(3)]
    reblogs = [actions.reblog(author=other, original=original) for other in others]
    assert shown(reader) == [*between[::-1], original.pk]
    actions.delete_post(author=author, post_id=between[0])
    follow(other := AccountFactory(), author)
    assert shown(other) == [*between[:0:-1], original.pk]
    actions.unfollow(follower=reader, followee_id=author.pk)  # the next one takes its place
    assert shown(reader) == [reblogs[0].pk]
    actions.unreblog(author=others[0], original=original)
    assert shown(reader) == [reblogs[1].pk]


@pytest.mark.parametrize(("between", "superfluous"), [(39, True), (40, False)])
def test_a_reblog_forty_candidates_above_is_shown_again(shown, between, superfluous):  # rule (d)
    author, [reader] = star(1)
    other = AccountFactory()
    follow(reader, other)
    original = PostFactory(author=author)
    posts = [PostFactory(author=author).pk for _ in range(between)]
    not_shown = PostFactory(author=author, in_reply_to=PostFactory())  # rule (a): it is no candidate
    reblog = actions.reblog(author=other, original=original)
    found = shown(reader)
    assert (reblog.pk not in found) is superfluous
    assert not_shown.pk not in found and found[-between - 1 :] == [*posts[::-1], original.pk]


def test_a_followees_reblogs_can_be_hidden_and_shown_again(shown):  # rule (b)
    author, [reader] = star(1)
    own = PostFactory(author=author)
    reblog = actions.reblog(author=author, original=PostFactory())
    actions.follow(follower=reader, followee_id=author.pk, reblogs=False)
    assert shown(reader) == [own.pk]
    actions.follow(follower=reader, followee_id=author.pk)
    assert shown(reader) == [own.pk]
    actions.follow(follower=reader, followee_id=author.pk, reblogs=True)
    assert shown(reader) == [reblog.pk, own.pk]


def test_members_of_an_exclusive_list_are_not_on_home(shown):  # rule (c)
    author, [reader] = star(1)
    post = PostFactory(author=author)
    made = actions.create_list(owner=reader, title="apart", exclusive=True)
    actions.add_to_list(owner=reader, list_id=made.pk, account_ids=[author.pk])
    assert shown(reader) == []
    actions.edit_list(owner=reader, list_id=made.pk, exclusive=False)
    assert shown(reader) == [post.pk]


def test_an_unfollow_ends_a_membership(shown):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    made = actions.create_list(owner=reader, title="apart", exclusive=True)
    actions.add_to_list(owner=reader, list_id=made.pk, account_ids=[author.pk])
    actions.unfollow(follower=reader, followee_id=author.pk)
    actions.follow(follower=reader, followee_id=author.pk)
    assert shown(reader) == [post.pk]
    with pytest.raises(Account.DoesNotExist):
        actions.add_to_list(owner=reader, list_id=made.pk, account_ids=[AccountFactory().pk])


def test_a_block_hides_posts_reblogs_and_mentions_both_ways(shown):  # 21
    author, [reader] = star(1)
    other = AccountFactory()
    follow(reader, other)
    follow(author, reader, other)
    hidden = PostFactory(author=author)
    PostFactory(author=other, text=f"for @{author.username}")
    actions.reblog(author=other, original=hidden)
    harmless = PostFactory(author=other, text="for nobody")
    answered = PostFactory(author=reader)
    assert len(shown(reader)) == 4 and len(shown(author)) == 4
    actions.block(blocker=reader, blocked_id=author.pk)
    assert shown(reader) == [answered.pk, harmless.pk]
    assert answered.pk not in shown(author) and harmless.pk in shown(author)
    actions.unblock(blocker=reader, blocked_id=author.pk)
    assert hidden.pk not in shown(reader) and len(shown(reader)) == 4  # the mention and the reblog are back


def test_a_mute_hides_at_once_and_its_end_brings_back(shown):  # 22
    author, [reader] = star(1)
    other = AccountFactory()
    follow(reader, other)
    post = PostFactory(author=author)
    reblog = actions.reblog(author=other, original=PostFactory(author=author, visibility="unlisted"))
    actions.mute(account=reader, target_id=author.pk, seconds=3600)
    meanwhile = PostFactory(author=author)
    assert shown(reader) == []
    Mute.objects.update(expires_at=datetime.now(UTC) - timedelta(hours=1))
    assert shown(reader) == [meanwhile.pk, reblog.reblog_of_id, post.pk]


def test_a_page_is_refilled_where_muted_posts_are_skipped(drain):  # 22, 26
    author, [reader] = star(1)
    other = AccountFactory()
    follow(reader, other)
    wanted = [PostFactory(author=author).pk for _ in range(2)]
    for _ in range(5):
        PostFactory(author=other)
    drain()
    actions.mute(account=reader, target_id=other.pk)
    page = home.page(reader, Cursor(limit=2))
    assert [post["id"] for post in page.posts] == wanted[::-1] and page.next_max_id is None


def test_a_followed_tag_brings_public_posts_of_strangers_and_no_post_twice(shown):
    author, [reader] = star(1)
    by_stranger, by_followee = PostFactory(text="#Cats"), PostFactory(author=author, text="#cats")
    PostFactory(text="#cats", visibility="private")
    PostFactory(text="#dogs")
    assert shown(reader) == [by_followee.pk]
    actions.follow_tag(account=reader, name="cats")
    assert shown(reader) == [by_followee.pk, by_stranger.pk]
    actions.edit_post(author=by_stranger.author, post_id=by_stranger.pk, text="no tag any more")
    assert shown(reader) == [by_followee.pk]
    actions.unfollow_tag(account=reader, name="cats")
    assert shown(reader) == [by_followee.pk]


def test_an_edit_keeps_the_place_and_brings_the_rules_into_play(shown):  # 12
    author, [reader] = star(1)
    blocked = AccountFactory()
    posts = [PostFactory(author=author) for _ in range(3)]
    actions.block(blocker=reader, blocked_id=blocked.pk)
    actions.edit_post(author=author, post_id=posts[1].pk, text=f"now for @{blocked.username}")
    assert shown(reader) == [posts[2].pk, posts[0].pk]
    actions.edit_post(author=author, post_id=posts[1].pk, text="for nobody again")
    assert shown(reader) == [post.pk for post in posts[::-1]]


def test_an_edit_of_a_direct_post_reaches_whom_it_names_now(drain):  # 12, 14
    author, [reader, other] = star(2)
    post = PostFactory(author=author, text=f"for @{reader.username}", visibility="direct")
    drain()
    actions.edit_post(author=author, post_id=post.pk, text=f"for @{other.username}")
    drain()
    assert [found["id"] for found in home.page(other, Cursor()).posts] == [post.pk]
    assert timelines.ids(other.pk).ids == [post.pk]
    assert home.page(reader, Cursor()).posts == []


def test_a_pull_accounts_post_is_stored_nowhere_and_shown_everywhere(shown, drain, settings):  # 29
    settings.PULL_ABOVE = settings.PULL_BELOW = 2
    author, readers = star(3)
    author.refresh_from_db()
    post = PostFactory(author=author)
    drain()
    assert post.home_mode == "pull" and all(timelines.ids(reader.pk).ids == [] for reader in readers)
    delivery = post.deliveries.get()
    assert (delivery.state, delivery.audience, delivery.pulled, delivery.batches) == ("closed", 3, 3, 0)
    assert shown(readers[0]) == [post.pk]


def test_an_account_between_the_thresholds_stays_as_it_was(shown, settings):  # 29
    settings.PULL_ABOVE, settings.PULL_BELOW = 3, 2
    author, readers = star(4)

    def publish() -> Post:
        author.refresh_from_db()
        return PostFactory(author=author)

    posts = [publish()]
    actions.unfollow(follower=readers[3], followee_id=author.pk)
    posts.append(publish())
    actions.unfollow(follower=readers[2], followee_id=author.pk)
    actions.unfollow(follower=readers[1], followee_id=author.pk)
    posts.append(publish())
    actions.follow(follower=readers[1], followee_id=author.pk)
    posts.append(publish())
    assert [post.home_mode for post in posts] == ["pull", "pull", "push", "push"]
    assert shown(readers[0]) == shown(readers[1]) == [post.pk for post in posts[::-1]]


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_an_override_decides_whatever_the_audience(mode, settings):  # 29
    settings.PULL_ABOVE = settings.PULL_BELOW = 1
    author, _ = star(2 if mode == "push" else 0)
    actions.set_home_mode(account=author, mode=mode)
    author.refresh_from_db()
    assert PostFactory(author=author).home_mode == mode


def test_a_deleted_pull_post_is_retracted_without_a_batch(drain, settings):
    settings.PULL_ABOVE = settings.PULL_BELOW = 1
    author, [reader, _] = star(2)
    author.refresh_from_db()
    post = PostFactory(author=author)
    actions.delete_post(author=author, post_id=post.pk)
    drain()
    assert set(post.deliveries.values_list("state", "batches")) == {("closed", 0)}
    assert home.page(reader, Cursor()).posts == []


def test_a_late_task_cannot_put_an_old_text_before_readers(drain):
    """The cache's key bears the version that the page's statement read."""
    author, [reader] = star(1)
    post = PostFactory(author=author, text="old")
    rows = list(Outbox.objects.filter(task="refresh_cache"))
    actions.edit_post(author=author, post_id=post.pk, text="new")
    drain()
    for row in rows:
        Outbox.objects.filter(pk=row.pk).update(done_at=None)
        tasks.refresh_cache(row.pk)
    assert [found["text"] for found in home.page(reader, Cursor()).posts] == ["new"]

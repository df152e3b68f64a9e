"""What a home timeline shows, read through its page (semantics of docs/semantics.md by number)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from feeds import actions, home, rebuild, timelines
from feeds.models import Bookmark, ConversationMute, Outbox, Post, Tag, TagFollow
from feeds.posts import Cursor
from feeds.redis_client import client
from followers import relationships
from followers.models import Account, Block, List, ListMember, Mute
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


def ids(viewer, **cursor) -> list[int]:
    return [post["id"] for post in home.page(viewer, Cursor(**cursor)).posts]


def pages(viewer, limit: int) -> list[list[int]]:
    """All pages, from the newest to the one that has no next."""
    found, max_id = [], None
    for _ in range(100):
        page = home.page(viewer, Cursor(max_id=max_id, limit=limit))
        found.append([post["id"] for post in page.posts])
        max_id = page.next_max_id
        if max_id is None:
            return found
    raise AssertionError("no end")


def test_the_author_reads_the_own_post_at_once_whatever_redis_does():  # 1
    author = AccountFactory()
    post = PostFactory(author=author)
    assert ids(author) == [post.pk]
    timelines.evict([author.pk])
    assert ids(author) == [post.pk]


def test_followers_read_a_delivered_post_and_others_do_not(drain):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    assert ids(reader) == []
    drain()
    assert ids(reader) == [post.pk]
    assert ids(AccountFactory()) == []


def test_an_inactive_reader_is_served_by_postgresql_and_gets_no_one_entry_timeline(drain):  # 7
    author, [reader] = star(1, away=1)
    first, second = PostFactory(author=author), PostFactory(author=author)
    drain()
    assert not client().exists(timelines.key(reader.pk))
    page = home.page(reader, Cursor())
    assert [post["id"] for post in page.posts] == [second.pk, first.pk]
    assert not page.built


def test_a_page_goes_on_in_postgresql_where_the_stored_timeline_ends(drain, settings):  # 8, 25
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 5, 1
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(12)]
    drain()
    stored = timelines.ids(reader.pk)
    assert (len(stored.ids), stored.cover) == (5, posts[6])
    assert pages(reader, 4) == [posts[11:7:-1], posts[7:3:-1], posts[3::-1]]
    assert ids(reader, limit=40) == posts[::-1]


def test_pages_chained_while_posts_arrive_show_each_post_once(drain, settings):  # 25
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 5, 1
    author, [reader] = star(1)
    before = [PostFactory(author=author).pk for _ in range(10)]
    drain()
    found, max_id = [], None
    while True:
        page = home.page(reader, Cursor(max_id=max_id, limit=3))
        found += [post["id"] for post in page.posts]
        PostFactory(author=author)
        drain()
        if (max_id := page.next_max_id) is None:
            break
    assert found == before[::-1]


def test_two_posts_of_one_millisecond_both_appear_in_a_stable_order(drain):  # 9
    author, [reader] = star(1)
    moment = datetime.now(UTC)
    posts = [actions.publish_post(author=author, text=f"{n}", created_at=moment).pk for n in range(5)]
    assert len({post >> 16 for post in posts}) == 1
    drain()
    assert [post for page in pages(reader, 2) for post in page] == sorted(posts, reverse=True)


def test_a_late_post_takes_its_place_by_id_and_leaves_pages_already_read(drain):  # 16
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(3)]
    drain()
    first = home.page(reader, Cursor(limit=1))
    late = actions.publish_post(author=author, text="from the past", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    drain()
    assert ids(reader) == [*posts[::-1], late.pk]
    assert ids(reader, max_id=first.next_max_id) == [*posts[1::-1], late.pk]


def test_ids_clash_never():  # 16
    """The sequence is turned back, so that the same millisecond gives a used number again."""
    author, moment = AccountFactory(), datetime(2020, 1, 1, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('feeds_post_sequence', 5)")
        first = actions.publish_post(author=author, text="first", created_at=moment)
        cursor.execute("SELECT setval('feeds_post_sequence', 5)")
        second = actions.publish_post(author=author, text="second", created_at=moment)
    assert second.pk == first.pk + 32


def test_cursors_are_exclusive_and_min_id_gives_the_page_immediately_above(drain):  # 24
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(6)]
    drain()
    assert ids(reader, max_id=posts[3], limit=2) == [posts[2], posts[1]]
    assert ids(reader, since_id=posts[1], limit=2) == [posts[5], posts[4]]
    assert ids(reader, min_id=posts[1], limit=2) == [posts[3], posts[2]]
    assert ids(reader, max_id=posts[5], since_id=posts[3]) == [posts[4]]


def test_min_id_below_the_coverage_gives_the_page_from_postgresql(drain, settings):  # 24, 25
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 3, 1
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(8)]
    drain()
    assert ids(reader, min_id=posts[0], limit=3) == [posts[3], posts[2], posts[1]]
    assert ids(reader, min_id=posts[3], limit=3) == [posts[6], posts[5], posts[4]]
    assert ids(reader, min_id=posts[6], limit=3) == [posts[7]]


@pytest.mark.parametrize("built", [True, False])
def test_any_number_below_2_to_the_63_is_a_cursor_whether_a_post_has_it_or_not(drain, built):  # 24
    author, [reader] = star(1, away=0 if built else 1)
    posts = [PostFactory(author=author).pk for _ in range(3)]
    drain()
    assert ids(reader, max_id=(1 << 63) - 1) == posts[::-1]
    assert ids(reader, max_id=0) == []
    assert ids(reader, min_id=0) == posts[::-1]
    assert ids(reader, since_id=(1 << 63) - 1) == []
    assert ids(reader, max_id=posts[1] + 1) == [posts[1], posts[0]]  # rounded up
    assert ids(reader, max_id=posts[1] - 1) == [posts[0]]
    assert ids(reader, since_id=posts[1] - 1) == [posts[2], posts[1]]  # rounded down
    assert ids(reader, since_id=posts[1] + 1) == [posts[2]]
    assert ids(reader, min_id=posts[1] - 1) == [posts[2], posts[1]]


def test_a_deleted_post_is_gone_from_the_page_at_once_and_from_redis_at_the_end(drain):
    author, [reader] = star(1)
    gone, stays = PostFactory(author=author), PostFactory(author=author)
    drain()
    actions.delete_post(author=author, post_id=gone.pk)
    assert ids(reader) == [stays.pk]
    assert timelines.ids(reader.pk).ids == [stays.pk, gone.pk]
    drain()
    assert timelines.ids(reader.pk).ids == [stays.pk]


def test_what_a_deleted_account_wrote_is_gone_at_once_also_as_a_reblog(drain):
    author, [reader] = star(1)
    other, post = PostFactory(author=author), PostFactory()
    actions.reblog(author=author, original=post)
    drain()
    assert len(ids(reader)) == 2
    actions.delete_account(account=post.author)
    assert ids(reader) == [other.pk]
    actions.delete_account(account=author)
    assert ids(reader) == []
    assert len(timelines.ids(reader.pk).ids) == 2


def test_pages_are_refilled_where_posts_may_not_be_shown(drain):  # 26
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(9)]
    drain()
    for post_id in posts[2:8]:
        Post.objects.filter(pk=post_id).update(deleted_at=datetime.now(UTC))
    assert pages(reader, 2) == [[posts[8], posts[1]], [posts[0]]]


def test_a_page_that_the_bound_cut_goes_on_even_if_it_is_empty(drain, monkeypatch):  # 26
    monkeypatch.setattr(home, "ROUNDS", 3)  # of 2, 4 and 8 candidates
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(25)]
    drain()
    Post.objects.filter(pk__in=posts[1:]).update(deleted_at=datetime.now(UTC))
    first = home.page(reader, Cursor(limit=1))
    assert first.posts == [] and first.next_max_id == posts[11]
    assert [post for page in pages(reader, 1) for post in page] == [posts[0]]


def test_a_wrong_entry_in_redis_is_never_shown(drain):
    author, [reader] = star(1)
    stranger = PostFactory()
    client().lpush(timelines.key(reader.pk), 32 << 16, stranger.pk, "no number")
    assert ids(reader) == []


def test_a_page_goes_on_below_entries_of_which_there_is_no_row(drain):
    """As when PostgreSQL was restored from a backup older than Redis."""
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    client().lpush(timelines.key(reader.pk), *(post.pk + 32 * n for n in range(1, 6)))
    assert [one for page in pages(reader, 1) for one in page] == [post.pk]
    assert ids(reader, min_id=1, limit=1) == [post.pk]


def test_a_reply_shows_to_those_who_follow_the_one_replied_to():  # definition, rule (a)
    author, [reader] = star(1, away=1)
    other = AccountFactory()
    question = PostFactory(author=other)
    reply = PostFactory(author=author, in_reply_to=question)
    to_oneself = PostFactory(author=author, in_reply_to=reply)
    to_the_reader = PostFactory(author=author, in_reply_to=PostFactory(author=reader, text="mine"))
    shown = set(ids(reader))
    assert {to_oneself.pk, to_the_reader.pk} < shown and reply.pk not in shown
    follow(reader, other)
    assert reply.pk in ids(reader)


@pytest.mark.parametrize(
    ("visibility", "follower", "mentioned_follower", "mentioned_stranger"),
    [
        ("public", True, True, False),
        ("unlisted", True, True, False),
        ("private", True, True, False),
        ("direct", False, True, False),
    ],
)
def test_home_shows_each_visibility_to_whom_it_may(  # 14
    drain, visibility, follower, mentioned_follower, mentioned_stranger
):
    author, readers = star(2)
    stranger = AccountFactory()
    text = f"to @{readers[1].username} and @{stranger.username}"
    post = PostFactory(author=author, text=text, visibility=visibility)
    drain()
    assert (post.pk in ids(readers[0])) is follower
    assert (post.pk in ids(readers[1])) is mentioned_follower
    assert (post.pk in ids(stranger)) is mentioned_stranger
    assert ids(author) == [post.pk]
    timelines.evict([reader.pk for reader in readers])
    assert (post.pk in ids(readers[0])) is follower
    assert (post.pk in ids(readers[1])) is mentioned_follower


def test_a_home_read_asks_for_a_rebuild_once_and_keeps_the_reader_active(drain):
    author, [reader] = star(1, away=1)
    post = PostFactory(author=author)
    drain()
    for _ in range(2):
        actions.note_home_read(reader=reader, built=home.page(reader, Cursor()).built)
    assert Outbox.objects.filter(task="rebuild_timeline", subject_id=reader.pk).count() == 1
    reader.refresh_from_db()
    assert reader.last_active_at > datetime.now(UTC) - timedelta(minutes=1)
    drain()
    assert timelines.ids(reader.pk).ids == [post.pk]
    assert home.page(reader, Cursor()).built


def test_a_flushed_redis_is_not_noticed_by_readers(drain):
    author, [reader] = star(1)
    posts = [PostFactory(author=author).pk for _ in range(3)]
    drain()
    client().flushdb()
    assert ids(reader) == posts[::-1]


def test_an_unfollowed_author_is_not_shown_even_before_the_purge(drain):  # 18
    author, [reader] = star(1)
    PostFactory(author=author)
    drain()
    actions.unfollow(follower=reader, followee_id=author.pk)
    assert ids(reader) == []
    assert relationships.follow(follower_id=reader.pk, followee_id=author.pk)
    assert len(ids(reader)) == 1


FIRST_TIMES = {
    "blocks": lambda reader, author: Block.objects.create(blocker=reader, blocked=author),
    "is blocked": lambda reader, author: Block.objects.create(blocker=author, blocked=reader),
    "mutes": lambda reader, author: Mute.objects.create(account=reader, target=author),
    "makes an exclusive list": lambda reader, author: listed(reader, author, exclusive=True),
    "makes a list exclusive": lambda reader, author: List.objects.filter(
        pk=listed(reader, author, exclusive=False).pk
    ).update(exclusive=True),
}


def listed(reader, author, *, exclusive: bool) -> List:
    made = List.objects.create(owner=reader, title="apart", exclusive=exclusive)
    ListMember.objects.create(list=made, account=author)
    return made


def ever(account) -> tuple[bool, bool]:
    found = Account.objects.get(pk=account.pk)
    return found.ever_hid, found.ever_kept


@pytest.mark.parametrize("first_time", FIRST_TIMES.values(), ids=FIRST_TIMES)
def test_who_hides_for_the_first_time_is_shown_nothing_of_it_from_then_on(first_time, drain):
    """Whoever wrote the row, and however old is what the process knows of the reader."""
    author, [reader] = star(1)
    PostFactory(author=author)
    drain()
    assert len(ids(reader)) == 1 and ever(reader) == (False, False)
    first_time(reader, author)
    assert ids(reader) == [] and ever(reader) == (True, False)
    timelines.evict([reader.pk])
    assert ids(reader) == ids(reader, min_id=0) == []


def test_who_keeps_something_for_the_first_time_sees_it_from_then_on(drain):
    author, [reader] = star(1)
    post, by_stranger = PostFactory(author=author), PostFactory(text="#cats")
    drain()

    def marks() -> list[tuple[bool, bool]]:
        return [(one["bookmarked"], one["muted"]) for one in home.page(reader, Cursor()).posts]

    assert marks() == [(False, False)] and ever(reader) == (False, False)
    for rows, expected in (
        (Bookmark(account=reader, post=post), [(True, False)]),
        (ConversationMute(account=reader, conversation=post), [(False, True)]),
        (TagFollow(account=reader, tag=Tag.objects.get(name="cats")), [(False, False)] * 2),
    ):
        Account.objects.filter(pk=reader.pk).update(ever_kept=False)
        rows.save()
        assert marks() == expected and ever(reader) == (False, True)
        rows.delete()
        assert marks() == [(False, False)] and ever(reader) == (False, True), "it is not forgotten"
    assert by_stranger.pk not in ids(reader)


def test_who_writes_for_the_first_time_sees_it_from_then_on(drain):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    assert ids(reader) == [post.pk]
    own = PostFactory(author=reader)
    assert ids(reader) == [own.pk, post.pk]
    actions.delete_post(author=reader, post_id=own.pk)
    assert ids(reader) == ids(Account.objects.get(pk=reader.pk)) == [post.pk]


def test_the_first_account_that_is_pulled_is_read_from_then_on(drain, monkeypatch):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    monkeypatch.setattr(home, "_somebody_pulls", False)
    assert ids(reader) == [post.pk] and not home._somebody_pulls
    Account.objects.filter(pk=author.pk).update(home_mode_override="pull")
    pulled = PostFactory(author=author)
    drain()
    assert ids(reader) == [pulled.pk, post.pk] and home._somebody_pulls


def test_both_for_the_first_time_between_two_pages(drain):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    actions.bookmark(account=reader, post=post)
    actions.mute(account=reader, target_id=AccountFactory().pk)
    assert [one["bookmarked"] for one in home.page(reader, Cursor()).posts] == [True]
    with pytest.raises(Account.DoesNotExist):
        home.page(Account(pk=reader.pk + 1_000), Cursor())


def test_a_rebuilt_timeline_says_where_its_coverage_ends(settings):
    settings.TIMELINE_LIMIT = 3
    author, [reader] = star(1, away=1)
    posts = [PostFactory(author=author).pk for _ in range(5)]
    assert rebuild.rebuild(reader.pk) == "built"
    assert timelines.ids(reader.pk) == timelines.Stored(posts[1], posts[:1:-1])
    assert ids(reader) == posts[::-1]

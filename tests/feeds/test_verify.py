"""verify: what is wrong with a timeline is seen, and what is only on its way is not taken for it."""

import time

import pytest
from django.db.models.functions import Now

from feeds import actions, tasks, timelines, verify
from feeds.models import Delivery, Outbox, Post
from feeds.redis_client import client
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow, ring, star

pytestmark = pytest.mark.django_db


@pytest.fixture
def read(drain):
    """A reader whose timeline holds three posts, and these."""
    author, [reader] = star(1)
    posts = [PostFactory(author=author) for _ in range(3)]
    drain()
    return reader, posts


def claim(reader: Account, cover: object) -> None:
    """Has the mark say that the timeline is complete above `cover`."""
    key = timelines.key(reader.pk)
    client().lset(key, -1, f"c:{cover}:{client().lindex(key, -1)[-12:]}")


def drift() -> tuple[int, int, int]:
    report = verify.verify()
    return report.missing, report.ghosts, report.misordered


def test_timelines_that_are_right_are_counted(read):
    report = verify.verify()
    assert (report.timelines, report.entries, report.in_flight, report.absent) == (2, 3, 0, [])
    assert drift() == (0, 0, 0)
    assert report.right


def test_a_lost_entry_is_missing(read):
    reader, posts = read
    client().lrem(timelines.key(reader.pk), 0, posts[1].pk)
    assert drift() == (1, 0, 0)
    assert verify.verify().examples == [f"missing: post {posts[1].pk} of reader {reader.pk}"]


@pytest.mark.parametrize("member", ["32", "no number", "9" * 30, "-64", ""])
def test_an_entry_that_is_no_post_is_a_ghost(read, member):
    client().lpush(timelines.key(read[0].pk), member)
    assert drift() == (0, 1, 0)


def test_a_post_of_somebody_not_followed_is_a_ghost(read, drain):
    other = PostFactory()
    drain()
    client().lpush(timelines.key(read[0].pk), other.pk)
    assert drift() == (0, 1, 0)


def test_a_deleted_post_that_is_still_stored_is_a_ghost(read, drain):
    reader, posts = read
    actions.delete_post(author=posts[0].author, post_id=posts[0].pk)
    drain()
    assert drift() == (0, 0, 0)
    client().lpush(timelines.key(reader.pk), posts[0].pk)
    assert drift() == (0, 1, 0)


def test_a_direct_post_is_missing_only_where_it_is_addressed_to_the_reader(drain):
    author, [reader, other] = star(2)
    post = PostFactory(author=author, text=f"for @{reader.username}", visibility="direct")
    drain()
    assert drift() == (0, 0, 0)
    assert timelines.ids(other.pk).ids == []
    client().lrem(timelines.key(reader.pk), 0, post.pk)
    assert drift() == (1, 0, 0)


def test_an_entry_in_a_wrong_place_is_misordered_unless_it_was_just_pushed(read, settings):
    reader, posts = read
    key = timelines.key(reader.pk)
    client().lrem(key, 0, posts[0].pk)
    client().lpush(key, posts[0].pk)
    assert drift() == (0, 0, 0)
    settings.TIDY_EVERY = 1
    assert drift() == (0, 0, 1)


def test_an_entry_is_stored_once_unless_it_was_just_pushed_again(read, settings):
    reader, posts = read
    client().lpush(timelines.key(reader.pk), posts[2].pk)
    assert drift() == (0, 0, 0)
    assert verify.verify().entries == 3
    settings.TIDY_EVERY = 1
    assert drift() == (0, 0, 1)


def test_an_entry_behind_the_mark_is_misordered(read):
    reader, posts = read
    key = timelines.key(reader.pk)
    client().lrem(key, 0, posts[1].pk)
    client().rpush(key, posts[1].pk)
    assert drift() == (0, 0, 1)


def test_what_is_at_or_below_the_coverage_need_not_be_stored(read, settings):
    settings.TIDY_EVERY = 1
    reader, posts = read
    client().lrem(timelines.key(reader.pk), 0, posts[0].pk)
    claim(reader, posts[0].pk)
    assert drift() == (0, 0, 0)
    claim(reader, posts[1].pk)
    assert drift() == (0, 0, 1), "an entry at the coverage"


def test_an_entry_that_is_not_trimmed_yet_is_right(settings, drain):
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 5, 9
    author, [reader] = star(1)
    posts = [PostFactory(author=author) for _ in range(7)]
    drain()
    assert client().llen(timelines.key(reader.pk)) == 8, "seven and the mark"
    assert drift() == (0, 0, 0)
    client().lrem(timelines.key(reader.pk), 0, posts[1].pk)
    client().lrem(timelines.key(reader.pk), 0, posts[6].pk)
    assert drift() == (2, 0, 0)


def test_more_entries_than_a_trim_leaves_have_no_place(settings, drain):
    author, [_reader] = star(1)
    for _ in range(7):
        PostFactory(author=author)
    drain()
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 3, 2
    assert drift() == (0, 0, 2)


def test_a_full_timeline_is_right_after_its_trim(settings, drain):
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 5, 1
    author, _ = star(3)
    for _ in range(20):
        PostFactory(author=author)
    drain()
    assert drift() == (0, 0, 0)


def test_a_post_whose_delivery_is_open_is_in_flight(read):
    post = PostFactory(author=read[1][0].author)
    report = verify.verify()
    assert (report.missing, report.in_flight) == (0, 1)
    Delivery.objects.filter(post=post).update(state="closed")
    assert drift() == (1, 0, 0)


def test_a_deleted_post_whose_retraction_is_open_is_in_flight(read):
    post = read[1][0]
    actions.delete_post(author=post.author, post_id=post.pk)
    report = verify.verify()
    assert (report.ghosts, report.in_flight) == (0, 1)


def test_a_follow_and_an_unfollow_on_their_way_are_in_flight(read, drain):
    reader, posts = read
    other = PostFactory().author
    drain()
    actions.follow(follower=reader, followee_id=other.pk)
    actions.unfollow(follower=reader, followee_id=posts[0].author_id)
    report = verify.verify()
    assert (report.missing, report.ghosts, report.in_flight) == (0, 0, 4)
    Outbox.objects.filter(done_at=None).update(attempts=10)
    assert drift() == (1, 3, 0), "given up is not on its way"


def test_accounts_without_a_timeline_are_counted_and_are_no_drift(read):
    AccountFactory(away=True)
    timelines.evict([read[0].pk])
    report = verify.verify()
    assert (report.timelines, report.active, report.absent) == (1, 2, [read[0].pk])
    assert report.right


def test_nothing_compared_is_no_proof_while_accounts_are_active():
    assert verify.verify().right
    AccountFactory(timeline=False)
    assert not verify.verify().right


def test_a_timeline_of_another_reign_counts_as_absent(read):
    reader, _ = read
    client().lset(timelines.key(reader.pk), -1, "c:0:000000000000")
    report = verify.verify()
    assert (report.timelines, report.absent) == (1, [reader.pk])
    assert drift() == (0, 0, 0)


def test_every_account_is_looked_at_in_batches_and_shown(monkeypatch):
    monkeypatch.setattr(verify, "READERS", 2)
    ring(5)
    shown = []
    assert verify.verify(show=shown.append).timelines == 5
    assert shown == [2, 4, 5]


def test_a_sample_is_of_active_accounts(read):
    for _ in range(3):
        follow(AccountFactory(away=True), read[1][0].author)
    report = verify.verify(sample=2)
    assert report.timelines == 2
    assert verify.verify(sample=100).timelines == Account.objects.active().count() == 2


def test_a_reblog_that_got_lost_is_missing_and_a_cancelled_or_pulled_post_is_a_ghost(read, drain):
    reader, posts = read
    author = posts[0].author
    reblog = actions.reblog(author=author, original=PostFactory())
    actions.set_home_mode(account=author, mode="pull")
    author.refresh_from_db()
    pulled = PostFactory(author=author)
    drain()
    assert drift() == (0, 0, 0)
    client().lrem(timelines.key(reader.pk), 0, reblog.pk)
    assert drift() == (1, 0, 0)
    actions.cancel_delivery(post_id=posts[0].pk)
    drain()
    for post in (posts[0], pulled):
        client().lpush(timelines.key(reader.pk), post.pk)
    assert drift() == (1, 2, 0)


def test_a_mark_that_claims_too_much_hides_what_is_missing_and_one_too_high_what_is_stored(read, settings):
    settings.TIDY_EVERY = 1
    reader, posts = read
    client().lrem(timelines.key(reader.pk), 0, posts[0].pk)
    claim(reader, posts[0].pk)
    assert drift() == (0, 0, 0)
    claim(reader, posts[0].pk - 32)
    assert drift() == (1, 0, 0)
    claim(reader, posts[2].pk)
    assert drift() == (0, 0, 2)


def test_a_mark_that_no_coverage_can_have_stops_no_comparison(read):
    claim(read[0], 10**300)
    assert verify.verify().timelines == 2
    claim(read[0], "-1")
    assert verify.verify().timelines == 1, "no mark at all"


def test_readers_alone_and_a_post_alone_are_compared(read, drain):
    reader, posts = read
    other = AccountFactory()
    follow(AccountFactory(away=True), posts[0].author)
    client().lrem(timelines.key(reader.pk), 0, posts[1].pk)
    found = verify.verify_readers([reader.pk, other.pk])
    assert (found.timelines, found.entries, found.missing, found.active) == (2, 2, 1, 2)
    assert found.wrong == {reader.pk: {"missing": 1}}
    assert verify.verify_readers([other.pk]).right
    lost, kept = verify.verify_post(posts[1].pk), verify.verify_post(posts[0].pk)
    assert (lost.timelines, lost.entries, lost.missing, lost.right) == (1, 0, 1, False)
    assert (kept.timelines, kept.entries, kept.missing, kept.right) == (1, 1, 0, True)


def test_posts_of_an_account_that_is_being_deleted_are_in_flight(read):
    actions.delete_account(account=read[1][0].author)
    Post.objects.update(deleted_at=Now())
    report = verify.verify()
    assert (report.ghosts, report.in_flight) == (0, 3)


def test_the_last_look_is_kept(read):
    assert verify.last_look() == {}
    reader, posts = read
    client().lrem(timelines.key(reader.pk), 0, posts[1].pk)
    tasks.verify_sample()
    found = verify.last_look()
    assert (found["drift"], found["compared"]) == (1, 2)
    assert abs(found["seen_at"] - time.time()) < 10

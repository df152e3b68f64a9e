"""explain: one test for each answer, and the order of the answers where several hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from feeds import actions, entities, explain, fanout, home, outbox, reconciler, timelines
from feeds.models import Batch, Delivery, Kind, Outbox, Post
from feeds.posts import Cursor
from feeds.redis_client import client
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair() -> tuple[Account, Account]:
    """An author, and a reader who follows."""
    author, [reader] = star(1)
    return author, reader


def answer(reader: Account, post: Post) -> str:
    """With the page as the judge: what explain says is on the timeline is on it, and nothing else."""
    found = explain.explain(reader, post.pk)
    assert found.detail.endswith(".")
    shown = post.pk in [
        one["id"] for one in home.page(reader, Cursor(max_id=post.pk + 32, since_id=post.pk - 32)).posts
    ]
    if found.answer != "in_flight":
        assert shown is (found.answer in ("present", "pulled", "below_coverage", "no_timeline"))
    return found.answer


def test_a_delivered_post_is_present_since_its_batch_closed(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    assert answer(reader, post) == "present"
    assert explain.explain(reader, post.pk).since == entities.iso(Batch.objects.get(post=post).closed_at)


def test_a_deleted_post_is_deleted_whatever_else_holds(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    actions.block(blocker=reader, blocked_id=author.pk)
    actions.delete_post(author=author, post_id=post.pk)
    assert answer(reader, post) == "deleted"
    assert explain.explain(reader, post.pk).since is not None


def test_a_post_of_a_deleted_account_is_deleted(pair):
    author, reader = pair
    post = PostFactory(author=author)
    actions.delete_account(account=author)
    assert answer(reader, post) == "deleted"
    assert "account" in explain.explain(reader, post.pk).detail


def test_a_cancelled_post_is_deleted_from_home_timelines(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    actions.cancel_delivery(post_id=post.pk)
    assert answer(reader, post) == "deleted"
    assert "cancelled" in explain.explain(reader, post.pk).detail
    drain()
    assert answer(author, post) == "deleted"


def test_a_reblog_of_a_deleted_post_is_deleted(pair, drain):
    author, reader = pair
    original, other = PostFactory(), PostFactory()
    reblog, another = (actions.reblog(author=author, original=one) for one in (original, other))
    actions.delete_post(author=original.author, post_id=original.pk)
    actions.delete_account(account=other.author)
    drain()
    assert answer(reader, reblog) == answer(reader, another) == "deleted"


@pytest.mark.parametrize("who", ["reader", "author"])
def test_a_block_either_way_hides_and_comes_before_the_follow_that_it_ended(pair, drain, who):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    blocker, blocked = (reader, author) if who == "reader" else (author, reader)
    actions.block(blocker=blocker, blocked_id=blocked.pk)
    assert answer(reader, post) == "hidden"
    assert explain.explain(reader, post.pk).since is not None


def test_a_mute_hides_until_it_ends(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    actions.mute(account=reader, target_id=author.pk)
    assert answer(reader, post) == "hidden"
    actions.unmute(account=reader, target_id=author.pk)
    assert answer(reader, post) == "present"


def test_a_reblog_of_somebody_blocked_or_muted_and_a_mention_of_somebody_blocked_are_hidden(pair, drain):
    author, reader = pair
    blocked, muted = AccountFactory(), AccountFactory()
    found = [actions.reblog(author=author, original=PostFactory(author=one)) for one in (blocked, muted)]
    found.append(PostFactory(author=author, text=f"with @{blocked.username}"))
    drain()
    assert [answer(reader, post) for post in found] == ["present"] * 3
    actions.block(blocker=reader, blocked_id=blocked.pk)
    actions.mute(account=reader, target_id=muted.pk)
    assert [answer(reader, post) for post in found] == ["hidden"] * 3


def test_a_strangers_post_is_not_followed_even_if_it_may_not_be_seen(pair, drain):
    _, reader = pair
    public, private = PostFactory(), PostFactory(visibility="private")
    drain()
    assert answer(reader, public) == answer(reader, private) == "not_followed"


def test_a_post_of_somebody_who_was_asked_and_has_not_accepted_is_not_followed(drain):
    author, reader = AccountFactory(), AccountFactory()
    actions.edit_account(account=author, locked=True)
    actions.follow(follower=reader, followee_id=author.pk)
    post = PostFactory(author=author)
    drain()
    assert answer(reader, post) == "not_followed"
    actions.accept_follow(followee=author, follower_id=reader.pk)
    drain()
    assert answer(reader, post) == "present"


def test_a_direct_post_to_somebody_else_is_not_visible(pair, drain):
    author, reader = pair
    post = PostFactory(author=author, visibility="direct", text="a secret")
    drain()
    assert answer(reader, post) == "not_visible"


def test_a_private_post_that_a_followed_tag_brings_is_not_visible(drain):
    reader = AccountFactory()
    post = PostFactory(visibility="private", text="#tea")
    actions.follow_tag(account=reader, name="tea")
    drain()
    assert answer(reader, post) == "not_visible"


def test_a_post_by_a_member_of_an_exclusive_list_stays_on_the_list(pair, drain):
    author, reader = pair
    post = PostFactory(author=author, in_reply_to=PostFactory())  # the list comes before the rule for replies
    made = actions.create_list(owner=reader, title="loud", exclusive=True)
    actions.add_to_list(owner=reader, list_id=made.pk, account_ids=[author.pk])
    drain()
    assert answer(reader, post) == "exclusive_list"
    actions.edit_list(owner=reader, list_id=made.pk, exclusive=False)
    assert answer(reader, post) == "reply_filtered"


def test_a_reply_to_somebody_not_followed_is_filtered(pair, drain):
    author, reader = pair
    question = PostFactory()
    post = PostFactory(author=author, in_reply_to=question)
    drain()
    assert answer(reader, post) == "reply_filtered"
    follow(reader, question.author)
    assert answer(reader, post) == "present"


def test_a_reblog_by_somebody_whose_reblogs_are_not_wanted_is_filtered(pair, drain):
    author, reader = pair
    post = actions.reblog(author=author, original=PostFactory())
    drain()
    actions.follow(follower=reader, followee_id=author.pk, reblogs=False)
    assert answer(reader, post) == "reblog_filtered"


def test_a_second_reblog_just_above_the_first_is_filtered_wherever_the_timeline_is_stored(pair, drain):
    author, reader = pair
    other, original = AccountFactory(), PostFactory()
    follow(reader, other)
    first = actions.reblog(author=author, original=original)
    second = actions.reblog(author=other, original=original)
    drain()
    for _ in range(2):
        assert answer(reader, second) == "reblog_filtered"
        assert answer(reader, first) in ("present", "no_timeline")
        timelines.evict([reader.pk])


def test_a_reblog_41_posts_above_the_original_is_shown(pair, drain):
    author, reader = pair
    other, original = AccountFactory(), PostFactory(author=author)
    follow(reader, other)
    for _ in range(home.NEIGHBOURS - 1):
        PostFactory(author=author)
    near = actions.reblog(author=other, original=original)
    drain()
    assert answer(reader, near) == "reblog_filtered"
    actions.unreblog(author=other, original=original)
    PostFactory(author=author)
    far = actions.reblog(author=other, original=original)
    drain()
    assert answer(reader, far) == "present"


def test_a_post_that_was_trimmed_away_is_below_the_coverage(pair, drain, settings):
    settings.TIMELINE_LIMIT, settings.TIDY_EVERY = 3, 1
    author, reader = pair
    posts = [PostFactory(author=author) for _ in range(6)]
    drain()
    assert [answer(reader, post) for post in posts] == ["below_coverage"] * 3 + ["present"] * 3


def test_without_a_timeline_there_is_none(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    timelines.evict([reader.pk])
    Account.objects.filter(pk=reader.pk).update(evicted_at=Now())
    reader.refresh_from_db()
    assert answer(reader, post) == "no_timeline"
    assert explain.explain(reader, post.pk).since is not None


def test_own_posts_those_of_pull_accounts_and_those_of_a_followed_tag_alone_are_pulled(pair, drain):
    author, reader = pair
    own = PostFactory(author=reader)
    actions.set_home_mode(account=author, mode="pull")
    author.refresh_from_db()
    pulled = PostFactory(author=author)
    tagged = PostFactory(text="#tea")
    actions.follow_tag(account=reader, name="tea")
    drain()
    assert [answer(reader, post) for post in (own, pulled, tagged)] == ["pulled"] * 3


def test_a_post_on_its_way_is_in_flight(pair):
    author, reader = pair
    post = PostFactory(author=author)
    assert answer(reader, post) == "in_flight"
    fanout.plan(post.pk, Kind.PUSH)
    assert answer(reader, post) == "in_flight"


def test_a_new_follow_and_a_rebuild_on_their_way_are_in_flight_until_they_are_given_up(drain):
    reader, newcomer = AccountFactory(), AccountFactory(timeline=False)
    post = PostFactory()
    drain()
    follow(newcomer, post.author)
    actions.follow(follower=reader, followee_id=post.author_id)
    outbox.record("account.returned", newcomer.pk)
    assert [answer(one, post) for one in (reader, newcomer)] == ["in_flight"] * 2
    Outbox.objects.filter(done_at=None).update(attempts=outbox.ATTEMPTS)
    assert [answer(one, post) for one in (reader, newcomer)] == ["failed", "no_timeline"]


def test_a_post_whose_batch_died_has_failed_and_the_error_is_named(pair, settings):
    settings.BATCH_ATTEMPTS = 1
    author, reader = pair
    post = PostFactory(author=author)
    fanout.plan(post.pk, Kind.PUSH)
    fanout._claim(post.pk, Kind.PUSH, 0)  # and the process dies
    Batch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    reconciler.bury()
    fanout.finish(post.pk, Kind.PUSH, "reconciler")
    assert answer(reader, post) == "failed"
    assert "1 attempts ended without its closing" in explain.explain(reader, post.pk).detail


def test_a_dead_batch_of_others_is_no_reason(pair, settings):
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 1, 1
    author, reader = pair
    other = AccountFactory()
    follow(other, author)
    post = PostFactory(author=author)
    fanout.plan(post.pk, Kind.PUSH)
    fanout._claim(post.pk, Kind.PUSH, 1)
    Batch.objects.update(lease_until=None)
    reconciler.bury()
    assert [answer(one, post) for one in (reader, other)] == ["in_flight", "failed"]


def test_a_post_that_redis_lost_has_failed_and_the_way_out_is_named(pair, drain):
    author, reader = pair
    post = PostFactory(author=author)
    drain()
    client().lrem(timelines.key(reader.pk), 0, post.pk)
    assert Delivery.objects.get(post=post).state == "closed"
    assert answer(reader, post) == "failed"
    assert "verify_timelines --repair" in explain.explain(reader, post.pk).detail


def test_a_post_that_is_none_can_not_be_explained():
    with pytest.raises(Post.DoesNotExist):
        explain.explain(AccountFactory(), 32)

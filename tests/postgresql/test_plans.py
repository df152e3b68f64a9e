"""What each hot query costs among 1,000,000 follows and 1,000,000 posts: by an index, it touches no more than it returns.

That is to say: no scan of its plan touches more rows, all its loops together, than the statement returns. Three things are
allowed for, case by case: a page is made of several sources (followees, members of a list, hashtags), and may touch as much
as it returns of each; a row that the rules refuse is touched in vain; and what is answered with one row of many (a plan, a
sum) touches what it stands for, once. And what is touched is found, not passed by: five pages for each row and each descent
into an index, which is three or four pages deep here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.cache import cache

from feeds import (
    actions,
    counters,
    database,
    deliveries,
    departures,
    entities,
    fanout,
    home,
    listeners,
    notifications,
    outbox,
    posts,
    rebuild,
    reconciler,
    search,
    timelines,
    verify,
)
from feeds.models import Kind, Outbox, Post
from feeds.posts import Cursor
from followers import graph
from followers.models import Account, List
from tests.conftest import forget_messages

from . import plans
from .million import ACCOUNTS, APART, EAGER, HUGE, OLDEST, POPULAR, POSTS, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

LIMIT = 20
PAGES = 5  # for each row touched, and each descent
SPARE = 20  # pages: versions of rows that the transaction has changed already
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGE = 5  # the author of large fan-outs


@dataclass(frozen=True)
class Hot:
    """What is asked, of what `given` made before; the indexes it must use, among others; and what a scan may touch: `each`
    times what the statement returns, or `most` if that is more.
    """

    ask: Callable[[Any], object]
    by: str
    each: int = 1
    most: int = LIMIT + 1
    given: Callable[[], Any] = lambda: None


def account(one: int) -> Account:
    return Account.objects.get(pk=one)


def post(number: int) -> Post:
    return Post.objects.get(pk=OLDEST + number * APART)


def ids(*numbers: int) -> list[int]:
    return [OLDEST + number * APART for number in numbers]


def published(author: int = SMALL, **written: Any) -> Post:
    return actions.publish_post(author=account(author), text="hello #tag1 @u7", **written)


def hydrated(post_ids: list[int]) -> None:
    """From the rows alone."""
    cache.clear()
    entities._held.clear()
    assert len(entities.hydrate(entities.refs(post_ids, account(SMALL)))) == LIMIT


def small_ones() -> list[int]:
    return [published(author).pk for author in range(SMALL, SMALL + 50)]


def planned() -> int:
    post_id = published(LARGE).pk
    assert fanout.plan(post_id, Kind.PUSH) == 3
    return post_id


def claimed() -> fanout.Claim:
    claim = fanout._claim(planned(), Kind.PUSH, 0)
    assert claim
    return claim


def due() -> None:
    """Tasks, of which the relay may send those of fan-outs. In one transaction the moment is the same all the while."""
    small_ones()
    Outbox.objects.filter(done_at=None).update(due_at=EPOCH)


def relayed(_: object) -> None:
    try:
        assert outbox.publish().rows == 4 * 50
    finally:
        forget_messages()


def worked(row_ids: list[int]) -> None:
    with outbox.claimed(row_ids) as work:
        assert len(work) == 50


def waiting() -> list[int]:
    small_ones()
    return list(Outbox.objects.filter(task="fan_out_post", done_at=None).values_list("pk", flat=True))


NEWEST = Cursor(limit=LIMIT)
DEEP = Cursor(limit=LIMIT, max_id=ids(600_000)[0])
NEAREST = Cursor(limit=LIMIT, min_id=ids(600_000)[0])
FIRST, NEXT, UP = (
    graph.Cursor(limit=LIMIT),
    graph.Cursor(limit=LIMIT, max_id=500_000),
    graph.Cursor(limit=LIMIT, min_id=1),
)

POST = {
    "publish": Hot(lambda _: published(in_reply_to=post(7)), "feeds_post_pkey"),
    "reblog": Hot(lambda _: actions.reblog(author=account(SMALL), original=post(22)), "reblog_once"),
    "edit": Hot(
        lambda one: actions.edit_post(author=account(SMALL), post_id=one.pk, text="no #tag2 @u8"),
        "feeds_post_pkey mention_once post_tag_once",
        given=published,
    ),
    "delete": Hot(
        lambda one: actions.delete_post(author=account(SMALL), post_id=one.pk), "feeds_post_pkey", given=published
    ),
    "favour": Hot(
        lambda _: actions.favourite(account=account(SMALL), post=Post.objects.get(pk=POPULAR)), "favourite_once"
    ),
    "one post": Hot(lambda _: posts.get_visible(account(SMALL), ids(8)[0]), "feeds_post_pkey"),
    "hydrate": Hot(
        lambda _: hydrated(ids(*range(1, LIMIT + 1))),
        "feeds_post_pkey followers_account_pkey mention_once post_tag_once",
    ),
    "conversation": Hot(lambda _: posts.context(account(SMALL), post(7_000)), "feeds_post_pkey feeds_post_in_reply_to"),
    "who reblogged": Hot(
        lambda _: posts.reblogged_by(account(SMALL), Post.objects.get(pk=POPULAR), FIRST), "post_reblogs", each=2
    ),
    "who favoured": Hot(
        lambda _: posts.favoured_by(account(SMALL), Post.objects.get(pk=POPULAR), FIRST),
        "favourite_of_post",
        most=3 * LIMIT,  # those with whom there is a block
    ),
}
FAN_OUT = {
    "plan, large": Hot(
        lambda one: fanout.plan(one.pk, Kind.PUSH),
        "follow_index follow_followers delivery_once",
        most=40_000,  # its followers, nearly 30,000, and the last batch once more
        given=lambda: published(LARGE),
    ),
    "plan, small": Hot(fanout.plan_small, "follow_index delivery_once feeds_post_pkey", most=1_000, given=small_ones),
    "claim": Hot(
        lambda one: fanout._claim(one, Kind.PUSH, 0), "feeds_batch_pkey delivery_once feeds_post_pkey", given=planned
    ),
    "range": Hot(fanout._read_range, "follow_index feeds_post_pkey", most=10_000, given=claimed),
    "close": Hot(lambda one: fanout._close(one, fanout.Counter(delivered=one.size)), "feeds_batch_pkey", given=claimed),
    "finish": Hot(lambda one: fanout.finish(one, Kind.PUSH, "inline"), "feeds_batch_pkey", given=planned),
    "relay": Hot(relayed, "outbox_waiting outbox_in_flight feeds_outbox_pkey", most=200, given=due),
    "claim of tasks": Hot(worked, "feeds_outbox_pkey", most=50, given=waiting),
    "record": Hot(lambda one: deliveries.report(one), "delivery_once outbox_subject", given=planned),
    "records": Hot(lambda _: deliveries.page(FIRST), "delivery_open delivery_failed"),
    "reconcile": Hot(
        lambda _: (
            reconciler.reopen(),
            reconciler.nudge(),
            reconciler.bury(),
            reconciler.finish_overdue(),
            outbox.resend(),
        ),
        "batch_open delivery_open outbox_in_flight",
        given=planned,
    ),
    "gauges": Hot(
        lambda _: (outbox.gauges(), reconciler.gauges()),
        "outbox_waiting outbox_in_flight delivery_open batch_open batch_ended",
        most=250,  # what they count
        given=small_ones,
    ),
    "prune": Hot(
        lambda _: (outbox.prune(), reconciler.prune(), notifications.prune(), actions.prune_keys()),
        "feeds_outbox_pkey batch_ended feeds_notification_pkey feeds_idempotencykey_created_at",
        most=database.SLICE,
    ),
    "evict": Hot(lambda _: departures.evict_inactive(), "account_to_evict"),
}
TIMELINES = {
    "home, newest": Hot(
        lambda _: home.page(account(SMALL), NEWEST),
        "post_by_author post_pulled post_tag_timeline follow_index",
        each=5,  # hashtags
        given=lambda: rebuild.rebuild(SMALL),
    ),
    "home, without Redis": Hot(lambda _: home.page(account(SMALL), NEWEST), "post_by_author follow_following", each=10),
    "home, deep": Hot(lambda _: home.page(account(SMALL), DEEP), "post_by_author follow_following", each=10),
    "home, nearest": Hot(lambda _: home.page(account(SMALL), NEAREST), "post_by_author follow_following", each=10),
    "home, of 1,000 followees": Hot(lambda _: home.page(account(EAGER), NEWEST), "post_by_author", each=1_010),
    "author": Hot(lambda _: posts.author_timeline(account(SMALL), 2, NEWEST), "post_by_author", each=2),
    "author, deep": Hot(lambda _: posts.author_timeline(account(SMALL), 2, DEEP), "post_by_author", each=2),
    "author, nearest": Hot(lambda _: posts.author_timeline(account(SMALL), 2, NEAREST), "post_by_author", each=2),
    "author, no answers": Hot(
        lambda _: posts.author_timeline(None, 2, NEWEST, exclude_replies=True, exclude_reblogs=True),
        "post_by_author",
        each=2,
    ),
    "author, pinned": Hot(lambda _: posts.author_timeline(None, 2, NEWEST, pinned=True), "post_pinned"),
    "public": Hot(lambda _: posts.public_timeline(account(SMALL), NEWEST), "post_public", each=2),
    "public, anybody's": Hot(lambda _: posts.public_timeline(None, NEWEST), "post_public", each=2),
    "public, deep": Hot(lambda _: posts.public_timeline(account(SMALL), DEEP), "post_public", each=2),
    "public, nearest": Hot(lambda _: posts.public_timeline(account(SMALL), NEAREST), "post_public", each=2),
    "hashtag": Hot(lambda _: posts.tag_timeline(account(SMALL), "tag1", NEWEST), "post_tag_timeline", each=2),
    "hashtag, deep": Hot(lambda _: posts.tag_timeline(account(SMALL), "tag1", DEEP), "post_tag_timeline", each=2),
    "hashtag, nearest": Hot(lambda _: posts.tag_timeline(None, "tag1", NEAREST), "post_tag_timeline", each=2),
    "hashtags": Hot(
        lambda _: posts.tag_timeline(None, "tag1", NEWEST, any_of=["tag2", "tag3"], none_of=["tag4"]),
        "post_tag_timeline",
        each=2 * 3,
    ),
    "list": Hot(
        lambda _: posts.list_timeline(account(SMALL), List.objects.get(owner=SMALL).pk, NEWEST),
        "post_by_author follow_index",
        each=2 * 100,
    ),
    "favourites": Hot(lambda _: posts.favourites(account(3), FIRST), "favourite_of_account", each=2),
    "bookmarks": Hot(lambda _: posts.bookmarks(account(SMALL), FIRST), "bookmark_of_account", each=2),
    "listeners": Hot(
        lambda found: listeners.shown(found, homes=range(50_000, 51_000), lists=[1], public=range(50_000, 51_000)),
        "follow_index",
        most=20 * 1_000,  # posts, listeners
        given=lambda: ids(*range(POSTS - LIMIT, POSTS)),
    ),
    "rebuild": Hot(lambda _: rebuild._newest(SMALL), "post_by_author follow_following", each=10),
    "follow's backfill": Hot(
        lambda _: (rebuild._newest(SMALL, LARGE, above=1), rebuild._wrong(SMALL, LARGE, ids(*range(1, 801)))),
        "post_by_author follow_index feeds_post_pkey",
        most=2 * 801,  # direct posts among them
    ),
    "unfollow's look": Hot(lambda _: rebuild._claimed_batches(LARGE, SMALL), "batch_open", given=claimed),
    "verify, whom": Hot(lambda _: verify._sample(verify.SAMPLE), "followers_account_pkey", each=2),
    "verify, how many": Hot(lambda _: verify.verify(sample=0), "", most=database.COUNTED + 1),
    "verify, what": Hot(
        lambda readers: verify._wanted(dict(zip(readers, timelines.dump(readers), strict=True))),
        "post_by_author follow_following",
        most=10 * 832,
        given=lambda: [SMALL] if rebuild.rebuild(SMALL) else [],
    ),
}
PEOPLE = {
    "followers": Hot(lambda _: graph.followers(HUGE, FIRST), "follow_followers"),
    "followers, next": Hot(lambda _: graph.followers(HUGE, NEXT), "follow_followers"),
    "followers, nearest": Hot(lambda _: graph.followers(HUGE, UP), "follow_followers"),
    "following": Hot(lambda _: graph.following(EAGER, FIRST), "follow_following"),
    "requests": Hot(lambda _: graph.follow_requests(13, FIRST), "follow_request_waiting"),
    "blocks": Hot(lambda _: graph.blocks(SMALL, FIRST), "block_once", most=50),  # all that one has
    "mutes": Hot(lambda _: graph.mutes(SMALL, FIRST), "mute_once", most=50),
    "relationships": Hot(lambda _: graph.relationships(SMALL, range(1, 41)), "follow_ block_once mute_once", most=40),
    "familiar followers": Hot(lambda _: graph.familiar_followers(SMALL, HUGE, 10), "follow_index", most=10),
    "follow": Hot(lambda _: actions.follow(follower=account(SMALL), followee_id=70_000), "follow_index"),
    "unfollow": Hot(lambda _: actions.unfollow(follower=account(SMALL), followee_id=HUGE), "follow_index"),
    "block": Hot(lambda _: actions.block(blocker=account(SMALL), blocked_id=HUGE), "follow_index followers_block"),
    "notifications": Hot(lambda _: notifications.page(account(2), NEWEST), "notification_of_account", each=2),
    "notifications, nearest": Hot(
        lambda _: notifications.page(account(2), Cursor(limit=LIMIT, min_id=1)), "notification_of_account", each=2
    ),
    "unread": Hot(lambda _: notifications.unread_count(account(2)), "notification_of_account", each=2),
    "notify": Hot(
        lambda found: list(notifications.notify("post.published", [(one, 0) for one in found])),
        "mention_once feeds_post_pkey",
        most=50,
        given=small_ones,
    ),
    "accounts by name": Hot(lambda _: search.accounts(None, "u1234", limit=LIMIT), "followers_account_username"),
    "accounts by a letter": Hot(lambda _: search.accounts(None, "u", limit=LIMIT), "followers_account_username"),
    "accounts by display name": Hot(lambda _: search.accounts(None, "name77", limit=LIMIT), "account_display_name"),
    "hashtags by name": Hot(lambda _: search.tags("tag1", limit=LIMIT), "feeds_tag_name"),
    "posts by a rare word": Hot(lambda _: search.posts(account(SMALL), "word49001", limit=LIMIT), "search_words"),
    # What many say is found by going back from the newest post, until there are enough.
    "posts by a common word": Hot(lambda _: search.posts(None, "about", limit=LIMIT), "feeds_searchentry_pkey", each=2),
    "index": Hot(search.index, "feeds_post_pkey", most=50, given=small_ones),
    # By the hashtag; while the day is young, by the posts since midnight.
    "uses of a hashtag": Hot(search.count_tags, "post_tag feeds_post_pkey", most=500, given=lambda: [1, 2]),
    "counters": Hot(
        lambda _: counters._compare("post", above=ids(1_000)[0], until=ids(1_500)[0]),
        "feeds_post_pkey post_reblogs favourite_of_post",
        most=500,
    ),
    "how many posts": Hot(lambda _: database.about(Post.objects.live()), "", most=database.COUNTED + 1),
}
HOT = POST | FAN_OUT | TIMELINES | PEOPLE


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_uses_an_index_and_touches_no_more_than_it_returns(name: str, among_a_million: set[str]) -> None:
    hot = HOT[name]
    given = hot.given()
    with plans.undone():
        hot.ask(given)  # passes by, for once, what other tests have undone
    with plans.watched() as asked:
        hot.ask(given)
    assert asked
    scans = [(one, scan) for one in asked for scan in one.scans if scan.loops]
    used = {scan.index for _, scan in scans if scan.index}
    missing = [index for index in hot.by.split() if not any(one.startswith(index) for one in used)]
    for one, scan in scans:
        if scan.table in among_a_million:
            said = f"{name}: {scan}, of {one.returned} rows returned by {one.statement}"
            assert scan.index or hot.most > database.COUNTED, said
            assert scan.touched <= max(hot.each * one.returned, hot.each * (LIMIT + 1), hot.most), said
    for one in asked:
        pages = sum(scan.pages for scan in one.scans)
        found = sum(scan.touched + scan.searches for scan in one.scans)
        assert pages <= PAGES * found + SPARE, f"{name}: {pages} pages for {found} rows and descents by {one.statement}"
    assert not missing, f"{name} uses {used}"


def guess(column: str, distinct: float) -> None:
    """What PostgreSQL believes of the follows, until the transaction ends: so many values, or -1: in each row another one."""
    database.rows(
        """
        SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'followers_follow', 'attname', %(column)s::text,
            'inherited', false, 'n_distinct', %(distinct)s::real)
        """,
        column=column,
        distinct=distinct,
    )


@pytest.mark.parametrize(("followees", "followers"), [(1, 1), (1, -1), (-1, 1), (-1, -1), (-0.1, -0.1)])
def test_a_batch_reads_its_own_part_of_the_followers(
    among_a_million: set[str], followees: float, followers: float
) -> None:
    """Whatever PostgreSQL guesses. Nor those before it: that would be half a million for each batch of a million."""
    pages = []
    with plans.undone():
        guess("followee_id", followees)
        guess("follower_id", followers)
        post_id = planned()
        for batch_no in (0, 1):
            claim = fanout._claim(post_id, Kind.PUSH, batch_no)
            assert claim
            with plans.watched() as asked:
                fanout._read_range(claim)
            scans = [scan for one in asked for scan in one.scans if scan.table == "followers_follow"]
            assert [scan.index for scan in scans] == ["follow_index"]
            pages.append(scans[0].pages)
    assert pages[0] and pages[1] < 1.5 * pages[0], pages


@pytest.mark.parametrize("followees", [1, -1])
def test_who_follows_many_is_not_taken_for_one_of_the_others_who_follow_one(
    among_a_million: set[str], followees: float
) -> None:
    """Nor a large account for one of those who are followed by one."""
    assert rebuild.rebuild(EAGER) == "built"
    with plans.undone():
        guess("follower_id", -1)
        guess("followee_id", followees)
        with plans.watched() as asked:
            assert len(home.page(account(EAGER), NEWEST).refs) == LIMIT
    follows = [scan for one in asked for scan in one.scans if scan.table == "followers_follow" and scan.loops]
    assert follows and all(scan.touched <= 3 * (LIMIT + 1) for scan in follows), follows  # by, of, to whom


def test_a_page_looks_for_nothing_that_its_reader_never_did(among_a_million: set[str]) -> None:
    tables = []
    for one in (EAGER, SMALL):
        assert rebuild.rebuild(one) == "built"
        with plans.watched() as asked:
            home.page(account(one), NEWEST)
        tables.append({scan.table for page in asked for scan in page.scans})
    never_did = "block", "mute", "list", "listmember"
    never_kept = "bookmark", "conversationmute", "tagfollow", "posttag"
    either = {f"followers_{name}" for name in never_did} | {f"feeds_{name}" for name in never_kept}
    assert (tables[0] & either, tables[1] & either) == (set(), either)


def test_the_database_is_as_large_as_is_said(among_a_million: set[str]) -> None:
    counted = "SELECT (SELECT count(*) FROM followers_follow), (SELECT count(*) FROM feeds_post)"
    [(follows, found)] = database.rows(counted)
    assert follows >= 1_000_000 and found == 1_000_000
    assert Account.objects.get(pk=HUGE).followers_count == ACCOUNTS - 1

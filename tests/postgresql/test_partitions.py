"""The service on partitioned tables, as docs/partitions.sql makes them of those there were: it works, and looks into few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import IntegrityError, connection
from rest_framework.test import APIClient

from feeds import actions, database, deliveries, entities, fanout, home, posts, rebuild, search
from feeds.models import Delivery, Kind, Post
from feeds.posts import Cursor
from followers import graph
from followers.models import Account, Follow
from tests.factories import AccountFactory, PostFactory

from . import databases, plans

pytestmark = pytest.mark.django_db
SCRIPT = Path(__file__).parents[2] / "docs/partitions.sql"
NAME = "partitioned"
NEXT_YEAR = datetime(datetime.now(UTC).year + 1, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def _partitioned(django_db_setup: None) -> Iterator[str]:
    with databases.made(NAME) as url:
        databases.execute(url, databases.schema("pre-data") + databases.schema("post-data"))
        databases.execute(url, FILLED)
        databases.execute(url, SCRIPT.read_text())
        databases.execute(url, "VACUUM ANALYZE")
        yield NAME


FILLED = """
    INSERT INTO followers_account (id, username, password, display_name, note, is_superuser, is_staff, is_active,
            last_active_at, followers_count)
        SELECT n, 'before' || n, '!', '', '', false, false, true, now(), 0 FROM generate_series(1, 1000) n;
    SELECT setval('followers_account_id_seq', 1000);
    INSERT INTO followers_follow (follower_id, followee_id)
        SELECT n, 1 FROM generate_series(2, 401) n UNION ALL SELECT n, n % 100 + 3 FROM generate_series(200, 1000) n;
    UPDATE followers_account SET followers_count = 400 WHERE id = 1;
    INSERT INTO feeds_post (id, author_id, text, spoiler_text, sensitive, visibility, created_at)
        SELECT (1600000000000 + n * 1000) << 16, n % 100 + 1, 'tea', '', false, 'public', now()
        FROM generate_series(1, 1000) n;
    INSERT INTO feeds_post (id, author_id, text, spoiler_text, sensitive, visibility, created_at, reblog_of_id)
        SELECT id + 32, 500, '', '', false, 'public', now(), id FROM feeds_post WHERE (id >> 16) % 3 = 0;
    INSERT INTO feeds_delivery (post_id, kind, state) SELECT id, 'push', 'closed' FROM feeds_post;
    INSERT INTO feeds_searchentry (post_id, words) SELECT id, to_tsvector('simple', text) FROM feeds_post;
"""


@pytest.fixture
def partitioned(_partitioned: str, db: None) -> Iterator[None]:
    """The service asks a database that has just been partitioned. What it changes there is undone."""
    with databases.asked(_partitioned), plans.undone():
        yield


def touched(asked: list[plans.Asked], table: str) -> set[str]:
    """The partitions that were looked into."""
    return {scan.table for one in asked for scan in one.scans if scan.loops and scan.table.startswith(table)}


def partition_of(followee_id: int) -> str:
    [(found,)] = database.rows(
        "SELECT tableoid::regclass::text FROM followers_follow WHERE followee_id = %(one)s LIMIT 1", one=followee_id
    )
    return str(found)


def test_all_is_there_as_before_and_bears_its_name(partitioned: None) -> None:
    kinds = "SELECT relname, relkind::text FROM pg_class WHERE relname IN ('followers_follow', 'feeds_post')"
    assert set(database.rows(kinds)) == {("followers_follow", "p"), ("feeds_post", "p")}
    assert (Follow.objects.count(), Post.objects.count()) == (1201, 1333)
    [(parts,)] = database.rows("SELECT count(DISTINCT tableoid) FROM followers_follow")
    assert parts == 16
    made = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'feeds_post'::regclass"
    assert database.rows(made) == [(6,)]
    assert database.rows("SELECT feeds_post_partitions(5)") == [(0,)]
    models: tuple[type[Follow] | type[Post], ...] = (Follow, Post)
    there = {name for (name,) in database.rows("SELECT relname FROM pg_class WHERE relkind IN ('i', 'I')")}
    named = {index.name for model in models for index in model._meta.indexes}
    assert named <= there
    unchecked = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"
    assert database.rows(unchecked) == [(0,)]
    pointing = "SELECT count(*) FROM pg_constraint WHERE confrelid = 'feeds_post'::regclass AND conparentid = 0"
    assert database.rows(pointing)[0][0] >= 12


def test_a_batchs_range_looks_into_one_partition(partitioned: None, settings: pytest.FixtureRequest) -> None:
    settings.FANOUT_BATCH = 100  # type: ignore[attr-defined]
    post = PostFactory(author=Account.objects.get(pk=1))
    with plans.watched() as asked:
        assert fanout.plan(post.pk, Kind.PUSH) == 4
    counted = [scan for one in asked for scan in one.scans if "follower_id_id" in str(scan.index) and scan.touched]
    assert {scan.table for scan in counted} == {partition_of(1)}
    for number in range(4):
        claim = fanout._claim(post.pk, Kind.PUSH, number)
        assert claim
        with plans.watched() as asked:
            readers = fanout._read_range(claim)
        assert readers.found == 100
        assert touched(asked, "followers_follow") == {partition_of(1)}
        assert [scan.touched for one in asked for scan in one.scans if scan.table == partition_of(1)] == [100]


def test_small_posts_look_into_the_partitions_of_their_authors(partitioned: None) -> None:
    authors = [Account.objects.get(pk=one) for one in (3, 4)]
    made = [PostFactory(author=author).pk for author in authors]
    with plans.watched() as asked:
        claims = [claim for claim in fanout.plan_small(made).values() if claim]
        fanout._read_ranges(claims)
    assert len(claims) == 2
    assert touched(asked, "followers_follow") == {partition_of(author.pk) for author in authors}


def test_a_look_at_posts_by_their_ids_looks_into_their_years(partitioned: None) -> None:
    author = AccountFactory()
    now = PostFactory(author=author)
    later = PostFactory(author=author, created_at=NEXT_YEAR)
    coming = f"feeds_post_{NEXT_YEAR.year}"
    for wanted, years in (([now.pk], {"feeds_post_first"}), ([now.pk, later.pk], {"feeds_post_first", coming})):
        with plans.watched() as asked:
            found = entities.refs(wanted, None)
        assert [one.post_id for one in found] == wanted
        assert {scan.table for one in asked for scan in one.scans if scan.loops and "pkey" in str(scan.index)} & {
            "feeds_post_first",
            *(f"feeds_post_{NEXT_YEAR.year + n}" for n in range(5)),
        } == years
    with plans.watched() as asked:
        assert posts.get_visible(None, later.pk).pk == later.pk
    assert touched(asked, "feeds_post") == {coming}
    with plans.watched() as asked:
        page = posts.author_timeline(None, author.pk, Cursor(limit=20))
    assert [one.post_id for one in page.refs] == [later.pk, now.pk]


def test_the_service_goes_on(partitioned: None, drain: Callable[[], None], api: Callable[..., APIClient]) -> None:
    author, reader = AccountFactory.create_batch(2)
    assert api(reader).post(f"/api/v1/accounts/{author.pk}/follow").json()["following"]
    drain()
    post = PostFactory(author=author, text="tea #tag")
    later = PostFactory(author=author, created_at=NEXT_YEAR)
    drain()
    assert deliveries.report(post.pk)["delivered"] == 1
    shown = api(reader).get("/api/v1/timelines/home").json()
    assert [int(one["id"]) for one in shown] == [later.pk, post.pk]
    assert graph.followers(author.pk, graph.Cursor(limit=5)).account_ids == [reader.pk]
    again = api(reader).post(f"/api/v1/statuses/{post.pk}/reblog").json()
    assert api(reader).post(f"/api/v1/statuses/{post.pk}/reblog").json()["id"] == again["id"]
    assert post.pk in search.posts(None, "tea", limit=5)
    assert rebuild.rebuild(reader.pk) == "built"
    assert [one.post_id for one in home.page(reader, Cursor(limit=1)).refs] == [later.pk]
    assert api(author).delete(f"/api/v1/statuses/{post.pk}").status_code == 200
    assert not api(reader).post(f"/api/v1/accounts/{author.pk}/unfollow").json()["following"]
    drain()
    assert not Follow.objects.filter(followee=author).exists()
    assert not Delivery.objects.exclude(state="closed").exists()


def test_nobody_follows_twice(partitioned: None) -> None:
    with pytest.raises(IntegrityError, match="followers_follow"), plans.undone():
        Follow.objects.create(follower_id=2, followee_id=1)


def test_nobody_reblogs_a_post_twice(partitioned: None) -> None:
    """Those of before, either: what was unique by an index is so by a table of its own."""
    original, author = PostFactory(), AccountFactory()
    first = actions.reblog(author=author, original=original)
    old = Post.objects.filter(author=500).first()
    for reblogger, what in ((author.pk, original.pk), (500, old.reblog_of_id)):
        with pytest.raises(IntegrityError, match="reblog_once"), plans.undone():
            actions.publishing._publish(
                Post(author_id=reblogger, reblog_of_id=what), None, visibility="public", sensitive=False, language=None
            )
    actions.unreblog(author=author, original=original)
    assert actions.reblog(author=author, original=original).pk != first.pk


def test_a_post_without_a_year_is_refused_and_says_so(partitioned: None) -> None:
    with pytest.raises(IntegrityError, match="no partition"), plans.undone():
        PostFactory(created_at=NEXT_YEAR.replace(year=NEXT_YEAR.year + 9))
    assert connection.is_usable()

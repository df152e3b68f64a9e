"""Home and public: what is on a page, and how pages hang together."""

from __future__ import annotations

from typing import Any

import pytest

from feeds import actions, home, posts, timelines
from feeds.api import serializers
from feeds.posts import Cursor
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids, links

pytestmark = pytest.mark.django_db

BAD_CURSORS = ["x", "-1", "1.5", "1e3", "0x10", " 1", str(1 << 63), "9" * 5000, "\0", "\u0661", "1,2"]


def test_home_shows_followees_and_oneself_newest_first(api: Any, drain: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    factories.follow(alice, bob)
    first, _, second = PostFactory(author=bob), PostFactory(author=carol), PostFactory(author=alice)
    drain()
    assert ids(api(alice).get("/api/v1/timelines/home")) == [second.pk, first.pk]


def test_home_without_a_built_timeline_is_206_and_complete_and_asks_for_one(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory(away=True), AccountFactory()
    factories.follow(alice, bob)
    post = PostFactory(author=bob)
    answer = api(alice).get("/api/v1/timelines/home")
    assert answer.status_code == 206
    assert [one["id"] for one in answer.json()] == [str(post.pk)]
    drain()
    assert ids(api(alice).get("/api/v1/timelines/home/")) == [post.pk]


def test_pages_follow_their_links_back_and_forth(api: Any, drain: Any, settings: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    posts = [post.pk for post in PostFactory.create_batch(5, author=bob)][::-1]
    drain()
    for path in ("/api/v1/timelines/home", "/api/v1/timelines/public", f"/api/v1/accounts/{bob.pk}/statuses"):
        first = api(alice).get(f"{path}?limit=2&local=true&x[]=1&x[]=2")
        assert ids(first) == posts[:2]
        assert list(links(first)) == ["next", "prev"]
        assert links(first)["next"].startswith(f"{settings.BASE_URL}{path}?")
        assert "local=true" in links(first)["next"] and "x%5B%5D=1&x%5B%5D=2" in links(first)["next"]
        second = api(alice).get(links(first)["next"])
        assert ids(second) == posts[2:4]
        third = api(alice).get(links(second)["next"])
        assert ids(third) == posts[4:]
        assert list(links(third)) == ["prev"]
        assert ids(api(alice).get(links(third)["prev"])) == posts[2:4]
        assert ids(api(alice).get(links(first)["prev"])) == []


def test_cursors_are_exclusive_and_min_id_is_the_page_immediately_above(api: Any) -> None:
    a, b, c, d, e = [post.pk for post in PostFactory.create_batch(5)]
    public = "/api/v1/timelines/public"
    assert ids(api().get(public, {"max_id": c})) == [b, a]
    assert ids(api().get(public, {"since_id": b, "limit": 2})) == [e, d]
    assert ids(api().get(public, {"min_id": b, "limit": 2})) == [d, c]
    assert ids(api().get(public, {"max_id": e, "since_id": a})) == [d, c, b]
    assert ids(api().get(public, {"max_id": c + 1})) == [c, b, a]
    assert ids(api().get(public, {"max_id": (1 << 63) - 1})) == [e, d, c, b, a]
    assert ids(api().get(public, {"max_id": 0})) == []
    assert ids(api().get(public, {"max_id": "", "limit": ""})) == [e, d, c, b, a]


def test_a_limit_above_the_cap_is_the_cap(api: Any) -> None:
    author = AccountFactory()
    PostFactory.create_batch(41, author=author)
    for limit in ("41", "1000000", "9" * 50):
        assert len(api().get("/api/v1/timelines/public", {"limit": limit}).json()) == 40
    assert len(api().get("/api/v1/timelines/public").json()) == 20


@pytest.mark.parametrize("path", ["/api/v1/timelines/home", "/api/v1/timelines/public", "followers", "statuses"])
def test_wrong_cursors_and_limits_are_refused(api: Any, path: str) -> None:
    alice = AccountFactory()
    caller = api(alice)
    path = path if path.startswith("/") else f"/api/v1/accounts/{alice.pk}/{path}"
    wrong = [{name: text} for name in ("max_id", "since_id", "min_id") for text in BAD_CURSORS]
    for query in [*wrong, {"limit": "0"}, {"limit": "-1"}, {"limit": "x"}, {"limit": "\0"}, {"limit": "1.5"}]:
        answer = caller.get(path, query)
        assert answer.status_code == 400, query
        assert list(answer.json()) == ["error"]


def test_public_is_open_and_shows_public_posts_only(api: Any) -> None:
    author = AccountFactory(username="author")
    post = PostFactory(author=author)
    for visibility in ("unlisted", "private", "direct"):
        PostFactory(author=author, visibility=visibility, text="@author")
    assert ids(api().get("/api/v1/timelines/public")) == [post.pk]
    assert ids(api(author).get("/api/v1/timelines/public", {"local": "true"})) == [post.pk]
    assert ids(api().get("/api/v1/timelines/public", {"remote": "true"})) == []
    assert ids(api().get("/api/v1/timelines/public", {"only_media": "true"})) == []


def test_reading_home_keeps_the_reader_active(api: Any) -> None:
    alice = AccountFactory(away=True)
    api(alice).get("/api/v1/timelines/home")
    alice.refresh_from_db()
    assert alice.last_active_at is not None


def test_an_evicted_timeline_is_built_again_by_reading(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    post = PostFactory(author=bob)
    drain()
    timelines.evict([alice.pk])
    assert api(alice).get("/api/v1/timelines/home").status_code == 206
    drain()
    assert ids(api(alice).get("/api/v1/timelines/home")) == [post.pk]


def test_the_json_that_is_held_is_that_of_the_post(api: Any, drain: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    factories.follow(alice, bob, carol)
    first = PostFactory(author=bob, text=f"@{alice.username} #tea https://example.org <&\u2028")
    mine = PostFactory(author=alice, spoiler_text="so", sensitive=True, language="en")
    others = [
        PostFactory(author=bob, in_reply_to=first),
        PostFactory(author=bob, visibility="private"),
        PostFactory(author=bob, visibility="direct", text=f"@{alice.username}"),
        PostFactory(author=carol),
    ]
    for author, post in ((bob, mine), (alice, others[0]), (bob, PostFactory()), (alice, PostFactory(author=alice))):
        actions.reblog(author=author, original=post)
    actions.favourite(account=alice, post=first)
    actions.bookmark(account=alice, post=others[3])
    actions.pin(author=alice, post=mine)
    actions.pin(author=bob, post=first)
    actions.edit_post(author=bob, post_id=others[1].pk, text="otherwise")
    drain()
    for reader in (alice, bob, alice):
        shown = [serializers.status(post, reader) for post in home.page(reader, Cursor()).posts]
        assert len(shown) > 5 and any(status["reblog"] for status in shown)
        assert api(reader).get("/api/v1/timelines/home").json() == shown
    assert api().get(f"/api/v1/accounts/{bob.pk}/statuses").json() == [
        serializers.status(post, None) for post in posts.author_timeline(None, bob.pk, Cursor()).posts
    ]


def test_what_changes_is_on_the_next_page(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    post = PostFactory(author=bob)
    drain()
    reader, writer = api(alice), api(bob)

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = reader.get("/api/v1/timelines/home").json()[-1]
        return found

    assert not shown()["favourited"] and shown()["account"]["display_name"] == ""
    writer.put(f"/api/v1/statuses/{post.pk}", {"status": "otherwise"})
    assert shown()["content"] == "<p>otherwise</p>" and shown()["edited_at"]
    writer.patch("/api/v1/accounts/update_credentials", {"display_name": "Bob"})
    assert shown()["account"]["display_name"] == "Bob"
    for mark, field in (("favourite", "favourited"), ("bookmark", "bookmarked"), ("reblog", "reblogged")):
        for path, marked in ((mark, True), (f"un{mark}", False)):
            reader.post(f"/api/v1/statuses/{post.pk}/{path}")
            assert shown()[field] is marked and shown()["favourites_count"] == (path == "favourite")
    writer.post(f"/api/v1/statuses/{post.pk}/pin")
    assert not shown()["pinned"] and writer.get("/api/v1/timelines/home").json()[0]["pinned"]


def test_links_hold_the_url_as_it_was_asked_whatever_is_in_it(api: Any) -> None:
    PostFactory(text="#cats #größe")
    for name in ("gr%C3%B6%C3%9Fe", "a%0D%0AX-Y:%20z", "%E2%80%AE", "a%20b"):
        answer = api().get(f"/api/v1/timelines/tag/{name}?any[]=cats&limit=1")
        assert answer.status_code == 200
        assert answer.headers["Link"].isascii() and f"/api/v1/timelines/tag/{name}?any" in answer.headers["Link"]

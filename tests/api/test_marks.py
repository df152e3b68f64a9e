"""Favourites, bookmarks, pins, reblogs."""

from __future__ import annotations

from typing import Any

import pytest
from django_redis import get_redis_connection

from feeds.api import throttling
from feeds.models import Post
from followers import relationships
from followers.models import Account
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids, links, walk

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("mark", ["favourite", "bookmark"])
def test_a_mark_twice_is_one_and_can_be_taken_back_twice(api: Any, mark: str) -> None:
    post = PostFactory()
    caller, url = api(AccountFactory()), f"/api/v1/statuses/{post.pk}"
    for _ in range(2):
        status = caller.post(f"{url}/{mark}").json()
        assert (status["id"], status[f"{mark}d".replace("kd", "ked")]) == (str(post.pk), True)
        assert status["favourites_count"] == (mark == "favourite")
        assert caller.get(url).json() == status
    assert ids(caller.get(f"/api/v1/{mark}s")) == [post.pk]
    for _ in range(2):
        status = caller.post(f"{url}/un{mark}").json()
        assert (status[f"{mark}d".replace("kd", "ked")], status["favourites_count"]) == (False, 0)
    assert ids(caller.get(f"/api/v1/{mark}s")) == []


@pytest.mark.parametrize("mark", ["favourite", "bookmark"])
def test_marked_posts_are_paged_by_when_they_were_marked(api: Any, mark: str) -> None:
    caller, posts = api(AccountFactory()), [PostFactory().pk for _ in range(5)]
    for post_id in reversed(posts):
        caller.post(f"/api/v1/statuses/{post_id}/{mark}")
    assert walk(caller, f"/api/v1/{mark}s?limit=2") == [posts[:2], posts[2:4], posts[4:]]
    last = caller.get(links(caller.get(links(caller.get(f"/api/v1/{mark}s?limit=2"))["next"]))["next"])
    assert list(links(last)) == ["prev"]
    assert ids(caller.get(links(last)["prev"])) == posts[2:4]


def test_who_favoured_a_post_is_listed(api: Any) -> None:
    post, fans = PostFactory(), AccountFactory.create_batch(3)
    for fan in fans:
        api(fan).post(f"/api/v1/statuses/{post.pk}/favourite")
    url = f"/api/v1/statuses/{post.pk}/favourited_by?limit=2"
    assert walk(api(), url) == [[fans[2].pk, fans[1].pk], [fans[0].pk]]
    blocker, blocked = fans[:2]
    relationships.block(blocker_id=blocker.pk, blocked_id=blocked.pk)
    assert walk(api(blocker), url) == [[fans[2].pk, blocker.pk]]
    assert walk(api(blocked), url) == [[fans[2].pk, blocked.pk]]


def test_reblogging_twice_is_one_reblog_and_its_undo_answers_the_original(api: Any, drain: Any) -> None:
    author, reader = AccountFactory.create_batch(2)
    factories.follow(reader, author)
    post, caller = PostFactory(), api(author)
    first = caller.post(f"/api/v1/statuses/{post.pk}/reblog").json()
    second = caller.post(f"/api/v1/statuses/{post.pk}/reblog", {"visibility": "private"}).json()
    assert first == second
    assert first["id"] != str(post.pk)
    assert (first["reblogged"], first["visibility"], first["content"]) == (True, "public", "")
    assert first["account"]["id"] == str(author.pk)
    assert (first["reblog"]["id"], first["reblog"]["reblogged"]) == (str(post.pk), True)
    assert first["reblog"]["reblogs_count"] == 1
    drain()
    home = api(reader).get("/api/v1/timelines/home").json()
    assert [(one["id"], one["reblog"]["content"], one["reblogged"]) for one in home] == [
        (first["id"], first["reblog"]["content"], False)
    ]
    assert ids(api().get(f"/api/v1/statuses/{post.pk}/reblogged_by")) == [author.pk]
    assert ids(api().get(f"/api/v1/accounts/{author.pk}/statuses")) == [int(first["id"])]
    assert ids(api().get(f"/api/v1/accounts/{author.pk}/statuses?exclude_reblogs=true")) == []

    for _ in range(2):
        undone = caller.post(f"/api/v1/statuses/{post.pk}/unreblog").json()
        assert (undone["id"], undone["reblogged"], undone["reblogs_count"]) == (str(post.pk), False, 0)
    assert ids(api(reader).get("/api/v1/timelines/home")) == []


def test_marking_a_reblog_marks_its_original(api: Any) -> None:
    post = PostFactory()
    wrapper = api(AccountFactory()).post(f"/api/v1/statuses/{post.pk}/reblog").json()["id"]
    caller = api(AccountFactory())
    for mark in ("favourite", "bookmark"):
        assert caller.post(f"/api/v1/statuses/{wrapper}/{mark}").json()["id"] == str(post.pk)
    assert caller.post(f"/api/v1/statuses/{wrapper}/reblog").json()["reblog"]["id"] == str(post.pk)
    shown = caller.get(f"/api/v1/statuses/{wrapper}").json()
    assert (shown["favourited"], shown["reblog"]["favourited"]) == (True, True)
    assert caller.post(f"/api/v1/statuses/{wrapper}/unreblog").json()["id"] == str(post.pk)


def test_only_what_is_open_can_be_reblogged_and_ones_own_private_posts_privately(api: Any) -> None:
    author, follower = AccountFactory(), AccountFactory(username="bob")
    factories.follow(follower, author)
    private = PostFactory(author=author, visibility="private")
    direct = PostFactory(author=author, visibility="direct", text="@bob")
    for post in (private, direct):
        assert api(follower).post(f"/api/v1/statuses/{post.pk}/reblog").status_code == 403
        assert api(AccountFactory()).post(f"/api/v1/statuses/{post.pk}/reblog").status_code == 404
    answer = api(author).post(f"/api/v1/statuses/{private.pk}/reblog", {"visibility": "public"})
    assert answer.json()["visibility"] == "private"
    for wrong in ("direct", "everybody"):
        answer = api(follower).post(f"/api/v1/statuses/{PostFactory().pk}/reblog", {"visibility": wrong})
        assert answer.status_code == 422


def test_undoing_reblogs_has_the_limit_of_deletes(api: Any, settings: Any) -> None:
    settings.RATE_LIMITS = True
    alice = AccountFactory()
    rate = throttling.DELETES
    key = rate.key_for("account", str(alice.pk))
    get_redis_connection("default").set(key, rate.amount, ex=rate.get_expiry())
    assert api(alice).post("/api/v1/statuses/1/unreblog").status_code == 429


def test_what_one_viewer_was_shown_is_not_shown_to_another(api: Any) -> None:
    """A process keeps the JSON that it made: each time for whoever sees the same."""
    alice, bob, carol = AccountFactory(), AccountFactory(), AccountFactory()
    post = PostFactory(author=alice)
    api(alice).post(f"/api/v1/statuses/{post.pk}/pin")
    api(bob).post(f"/api/v1/statuses/{post.pk}/favourite")
    api(bob).post(f"/api/v1/statuses/{post.pk}/reblog")

    def seen(viewer: Any, author: Account) -> Any:
        caller = api(viewer) if viewer else api()
        return caller.get(f"/api/v1/accounts/{author.pk}/statuses").json()[0]

    for _ in range(2):
        for viewer in (alice, bob, carol, None):
            marks = [seen(viewer, alice), seen(viewer, bob)["reblog"]]
            for found in marks:
                assert found.get("pinned") == (None if viewer is None else viewer == alice)
                assert found.get("favourited") == (None if viewer is None else viewer == bob)
                assert found.get("reblogged") == (None if viewer is None else viewer == bob)


def test_five_posts_can_be_pinned_to_the_profile(api: Any) -> None:
    alice = AccountFactory()
    caller, posts = api(alice), [PostFactory(author=alice).pk for _ in range(6)]
    for post_id in posts[:5]:
        for _ in range(2):
            assert caller.post(f"/api/v1/statuses/{post_id}/pin").json()["pinned"] is True
    refused = caller.post(f"/api/v1/statuses/{posts[5]}/pin")
    assert refused.status_code == 422
    assert refused.json()["error"] == "Validation failed: Post limit of 5 pins reached"
    pinned = f"/api/v1/accounts/{alice.pk}/statuses?pinned=true"
    assert ids(api().get(pinned)) == posts[4::-1]
    assert caller.post(f"/api/v1/statuses/{posts[0]}/unpin").json()["pinned"] is False
    assert caller.post(f"/api/v1/statuses/{posts[5]}/pin").status_code == 200
    assert ids(api().get(pinned)) == [posts[5], *posts[4:0:-1]]
    stranger = api(AccountFactory())
    assert stranger.get(f"/api/v1/statuses/{posts[1]}").json()["pinned"] is False
    assert stranger.post(f"/api/v1/statuses/{posts[1]}/pin").status_code == 403
    caller.delete(f"/api/v1/statuses/{posts[5]}")
    assert ids(api().get(pinned)) == posts[4:0:-1]
    assert Post.objects.live().filter(pinned_at__isnull=False).count() == 4

"""Lists: their members, and their timelines."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids, walk

pytestmark = pytest.mark.django_db


def test_a_list_is_made_shown_changed_and_deleted(api: Any) -> None:
    caller, stranger = api(AccountFactory()), api(AccountFactory())
    made = caller.post("/api/v1/lists", {"title": "friends", "exclusive": "true"}).json()
    assert made == {"id": made["id"], "title": "friends", "replies_policy": "list", "exclusive": True}
    url = f"/api/v1/lists/{made['id']}"
    assert caller.get("/api/v1/lists").json() == [made]
    changed = caller.put(url, {"replies_policy": "none"}).json()
    assert changed == made | {"replies_policy": "none"}
    assert caller.get(url).json() == changed
    for method in (stranger.get, stranger.put, stranger.delete):
        assert method(url).status_code == 404
    assert stranger.get(f"/api/v1/timelines/list/{made['id']}").status_code == 404
    assert caller.delete(url).json() == {}
    assert caller.get(url).status_code == 404


@pytest.mark.parametrize(
    "wrong", [{}, {"title": ""}, {"title": "\0"}, {"title": "x" * 256}, {"title": "x", "replies_policy": "some"}, []]
)
def test_a_wrong_list_is_refused(api: Any, wrong: Any) -> None:
    answer = api(AccountFactory()).post("/api/v1/lists", wrong, format="json")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("Validation failed: ")


def test_so_many_lists_are_made_and_no_more(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.actions.graph.LISTS_MOST", 2)
    caller = api(AccountFactory())
    answers = [caller.post("/api/v1/lists", {"title": "friends"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[-1].json()["error"] == "Validation failed: limit of 2 lists reached"
    assert api(AccountFactory()).post("/api/v1/lists", {"title": "friends"}).status_code == 200


def test_followees_are_put_on_a_list_and_taken_off(api: Any) -> None:
    alice, bob, carol, dave = AccountFactory.create_batch(4)
    factories.follow(alice, bob, carol)
    caller = api(alice)
    url = f"/api/v1/lists/{caller.post('/api/v1/lists', {'title': 'x'}).json()['id']}/accounts"
    assert caller.post(url, {"account_ids[]": [bob.pk, carol.pk]}).json() == {}
    assert caller.post(url, {"account_ids": [str(carol.pk)]}, format="json").json() == {}
    assert walk(caller, f"{url}?limit=1") == [[carol.pk], [bob.pk]]
    assert ids(caller.get(f"{url}?limit=0")) == [carol.pk, bob.pk]
    for nobody in (dave.pk, 0, 1 << 63, "x"):
        assert caller.post(url, {"account_ids": [nobody]}, format="json").status_code == 404
    assert caller.post(url).status_code == 422
    assert [one["title"] for one in caller.get(f"/api/v1/accounts/{bob.pk}/lists").json()] == ["x"]
    assert caller.get(f"/api/v1/accounts/{dave.pk}/lists").json() == []

    assert caller.delete(f"{url}?account_ids[]={bob.pk}").json() == {}
    assert ids(caller.get(url)) == [carol.pk]
    assert caller.delete(url, {"account_ids": [carol.pk]}, format="json").json() == {}
    assert ids(caller.get(url)) == []


def test_an_unfollow_ends_the_membership(api: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    caller = api(alice)
    url = f"/api/v1/lists/{caller.post('/api/v1/lists', {'title': 'x'}).json()['id']}/accounts"
    caller.post(url, {"account_ids[]": [bob.pk]})
    caller.post(f"/api/v1/accounts/{bob.pk}/unfollow")
    assert ids(caller.get(url)) == []


@pytest.mark.parametrize(
    ("policy", "shown"), [("list", {"member", "me"}), ("followed", {"member", "me", "followee"}), ("none", set())]
)
def test_the_replies_policy_says_which_replies_a_list_shows(api: Any, policy: str, shown: set[str]) -> None:
    alice, bob, member, followee, stranger = AccountFactory.create_batch(5)
    factories.follow(alice, bob, member, followee)
    caller = api(alice)
    made = caller.post("/api/v1/lists", {"title": "x", "replies_policy": policy}).json()["id"]
    caller.post(f"/api/v1/lists/{made}/accounts", {"account_ids[]": [bob.pk, member.pk]})
    first = PostFactory(author=bob)
    to = {"member": member, "me": alice, "followee": followee, "stranger": stranger}
    replies = {
        name: PostFactory(author=bob, in_reply_to=PostFactory(author=who, visibility="unlisted")).pk
        for name, who in to.items()
    }
    found = ids(caller.get(f"/api/v1/timelines/list/{made}"))
    assert first.pk in found
    assert {name for name, post_id in replies.items() if post_id in found} == shown
    own = PostFactory(author=bob, in_reply_to=first)
    assert own.pk in ids(caller.get(f"/api/v1/timelines/list/{made}"))


def test_what_members_of_an_exclusive_list_write_is_not_on_home(api: Any, drain: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    factories.follow(alice, bob, carol)
    caller = api(alice)
    url = f"/api/v1/lists/{caller.post('/api/v1/lists', {'title': 'x', 'exclusive': True}).json()['id']}"
    caller.post(f"{url}/accounts", {"account_ids[]": [bob.pk]})
    his, hers = PostFactory(author=bob), PostFactory(author=carol)
    drain()
    assert ids(caller.get("/api/v1/timelines/home")) == [hers.pk]
    assert ids(caller.get(url.replace("/lists/", "/timelines/list/"))) == [his.pk]
    caller.put(url, {"exclusive": "false"})
    assert ids(caller.get("/api/v1/timelines/home")) == [hers.pk, his.pk]


def test_a_lists_timeline_is_paged(api: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    factories.follow(alice, bob, carol)
    caller = api(alice)
    made = caller.post("/api/v1/lists", {"title": "x"}).json()["id"]
    caller.post(f"/api/v1/lists/{made}/accounts", {"account_ids[]": [bob.pk, carol.pk]})
    posts = [PostFactory(author=author).pk for author in (bob, carol, bob, carol, bob)][::-1]
    assert walk(caller, f"/api/v1/timelines/list/{made}?limit=2") == [posts[:2], posts[2:4], posts[4:]]

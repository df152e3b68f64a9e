"""Who finds a post, at every door (semantics 14, 21, 22 and 30)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from feeds import actions
from feeds.models import Post
from followers.models import Account, Follow, List, Mute
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids

pytestmark = pytest.mark.django_db

OPEN = {"author", "follower", "named", "stranger", "anybody"}
MAY_SEE = {
    "public": OPEN,
    "unlisted": OPEN,
    "private": {"author", "follower", "named"},
    "direct": {"author", "named"},
}


def doors(caller: Any, post: Post, list_id: int = 0) -> set[str]:
    """Where the caller finds the post."""
    root = caller.get(f"/api/v1/statuses/{post.pk}/context").json()
    lists = {
        "home": caller.get("/api/v1/timelines/home"),
        "author": caller.get(f"/api/v1/accounts/{post.author_id}/statuses"),
        "tag": caller.get("/api/v1/timelines/tag/cats"),
        "public": caller.get("/api/v1/timelines/public"),
        "list": caller.get(f"/api/v1/timelines/list/{list_id}"),
        "ids": caller.get(f"/api/v1/statuses?id[]={post.pk}"),
        "favourites": caller.get("/api/v1/favourites"),
        "bookmarks": caller.get("/api/v1/bookmarks"),
    }
    found = {name for name, answer in lists.items() if answer.status_code == 200 and post.pk in ids(answer)}
    searched = caller.get("/api/v2/search", {"q": "purr"}).json()["statuses"]
    resolved = caller.get("/api/v2/search", {"q": f"{url(post)}"}).json()["statuses"]
    assert bool(resolved) == (caller.get(f"/api/v1/statuses/{post.pk}").status_code == 200)
    told = caller.get("/api/v1/notifications")
    if any(one["id"] == str(post.pk) for one in searched):
        found.add("search")
    if told.status_code == 200 and any(one.get("status", {}).get("id") == str(post.pk) for one in told.json()):
        found.add("notifications")
    if "error" not in root:
        found.add("context")
    for deed in ("source", "history", "reblogged_by", "favourited_by"):
        if caller.get(f"/api/v1/statuses/{post.pk}/{deed}").status_code == 200:
            found.add(deed)
    if caller.get(f"/api/v1/statuses/{post.pk}").status_code == 200:
        found.add("id")
    return found


def url(post: Post) -> str:
    return f"{settings.BASE_URL}/@{post.author.username}/{post.pk}"


@pytest.mark.parametrize("visibility", list(MAY_SEE))
def test_each_visibility_at_every_door(api: Any, drain: Any, visibility: str) -> None:  # 14, 30
    author, follower, named, stranger = (AccountFactory(username=name) for name in ("alice", "bob", "carol", "dave"))
    factories.follow(follower, author)
    factories.follow(named, author)
    factories.follow(named, follower)
    callers = {"author": api(author), "follower": api(follower), "named": api(named), "stranger": api(stranger)}
    post = PostFactory(author=author, visibility=visibility, text="purr #cats @carol")
    for account in (author, follower, named, stranger):  # as if all had seen it once, and marked it then
        actions.favourite(account=account, post=post)
        actions.bookmark(account=account, post=post)
    lists = {}
    for account in (follower, named):
        lists[account] = actions.create_list(owner=account, title="friends").pk
        actions.add_to_list(owner=account, list_id=lists[account], account_ids=[author.pk])
    drain()
    Follow.objects.filter(follower=named, followee=author).delete()  # a mention alone must do
    found = {name: doors(caller, post) for name, caller in callers.items()}
    found["follower"] |= doors(callers["follower"], post, lists[follower])
    found["anybody"] = doors(api(), post)

    by_id = {"id", "ids", "author", "search", "context", "history", "reblogged_by", "favourited_by"}
    marks = {"favourites", "bookmarks", "source"}
    for name, places in found.items():
        may = name in MAY_SEE[visibility]
        expected = by_id | (marks if name != "anybody" else set()) if may else set()
        if visibility == "public":
            expected |= {"public", "tag"}
        if may and name in ("author", "follower"):
            expected |= {"home"}
        if may and name == "follower":
            expected |= {"list"}
        if may and name == "named":
            expected |= {"notifications"}
        if name == "author":
            expected |= {"notifications"}  # of the favourites
        assert places == expected, name


@pytest.mark.parametrize("visibility", list(MAY_SEE))
def test_a_delivery_report_says_nothing_of_a_post_that_one_may_not_see(api: Any, visibility: str) -> None:  # 30
    post = PostFactory(visibility=visibility, text="#cats")
    stranger = api(AccountFactory()).get(f"/api/v1/statuses/{post.pk}/delivery")
    assert stranger.status_code == (403 if "stranger" in MAY_SEE[visibility] else 404)
    assert api(post.author).get(f"/api/v1/statuses/{post.pk}/delivery").status_code == 200


@pytest.mark.parametrize("blocker", ["alice", "bob"])
def test_a_block_hides_both_ways_at_once_at_every_door_and_unblocking_follows_nobody(
    api: Any, drain: Any, blocker: str
) -> None:  # 21
    alice, bob, carol = (AccountFactory(username=name) for name in ("alice", "bob", "carol"))
    for one, other in ((alice, bob), (bob, alice), (alice, carol), (bob, carol), (carol, alice), (carol, bob)):
        actions.follow(follower=one, followee_id=other.pk)
    his, hers = PostFactory(author=bob, text="purr @alice"), PostFactory(author=alice, text="purr @bob")
    reblogs = {one: actions.reblog(author=carol, original=one) for one in (his, hers)}
    about = {bob: PostFactory(author=carol, text="purr @alice"), alice: PostFactory(author=carol, text="purr @bob")}
    mine = actions.create_list(owner=alice, title="friends")
    actions.add_to_list(owner=alice, list_id=mine.pk, account_ids=[bob.pk, carol.pk])
    for reader, post in ((alice, his), (bob, hers)):
        actions.favourite(account=reader, post=post)
        actions.bookmark(account=reader, post=post)
    drain()
    assert {"home", "search", "notifications", "id", "favourites"} <= doors(api(alice), his)
    assert about[alice].pk in ids(api(alice).get(f"/api/v1/timelines/list/{mine.pk}"))

    who, whom = (alice, bob) if blocker == "alice" else (bob, alice)
    answer = api(who).post(f"/api/v1/accounts/{whom.pk}/block")
    assert (answer.json()["blocking"], answer.json()["following"], answer.json()["followed_by"]) == (True, False, False)
    for reader, post in ((alice, his), (bob, hers)):  # before any task has run
        caller = api(reader)
        assert doors(caller, post, mine.pk if reader == alice else 0) == set()
        home = ids(caller.get("/api/v1/timelines/home"))
        assert reblogs[post].pk not in home
        assert about[reader].pk not in home
        assert about[reader].pk not in ids(caller.get("/api/v1/timelines/public"))
        assert caller.post(f"/api/v1/statuses/{post.pk}/favourite").status_code == 404
        assert caller.post(f"/api/v1/accounts/{post.author_id}/follow").status_code == 403
    assert about[alice].pk not in ids(api(alice).get(f"/api/v1/timelines/list/{mine.pk}"))
    [stands] = api(whom).get(f"/api/v1/accounts/relationships?id[]={who.pk}").json()
    assert (stands["blocked_by"], stands["following"]) == (True, False)

    drain()
    answer = api(who).post(f"/api/v1/accounts/{whom.pk}/unblock")
    assert (answer.json()["blocking"], answer.json()["following"], answer.json()["followed_by"]) == (False,) * 3
    drain()
    assert not Follow.objects.filter(follower__in=(alice, bob), followee__in=(alice, bob)).exists()
    assert {"id", "search", "favourites"} <= doors(api(alice), his)
    assert "home" not in doors(api(alice), his)


def test_a_mute_hides_on_timelines_until_it_ends_and_the_page_is_filled(api: Any, drain: Any) -> None:  # 22
    alice, bob, carol = AccountFactory.create_batch(3)
    for author in (bob, carol):
        factories.follow(alice, author)
    by_carol = [PostFactory(author=carol).pk for _ in range(3)]
    by_bob = [PostFactory(author=bob, text="purr #cats").pk for _ in range(3)]
    drain()
    caller = api(alice)
    assert ids(caller.get("/api/v1/timelines/home?limit=3")) == by_bob[::-1]

    answer = caller.post(f"/api/v1/accounts/{bob.pk}/mute", {"duration": 60})
    assert (answer.json()["muting"], answer.json()["muting_notifications"], answer.json()["following"]) == (True,) * 3
    for door in ("/api/v1/timelines/home?limit=3", "/api/v1/timelines/public?limit=3"):
        assert ids(caller.get(door)) == by_carol[::-1]
    assert ids(caller.get("/api/v1/timelines/tag/cats")) == []
    assert caller.get("/api/v2/search", {"q": "purr"}).json()["statuses"] == []
    assert caller.get(f"/api/v1/statuses/{by_bob[0]}").status_code == 200  # who asks for it sees it
    assert ids(caller.get(f"/api/v1/accounts/{bob.pk}/statuses")) == by_bob[::-1]
    assert ids(caller.get("/api/v1/mutes")) == [bob.pk]

    Mute.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert ids(caller.get("/api/v1/timelines/home?limit=3")) == by_bob[::-1]
    assert ids(caller.get("/api/v1/mutes")) == []
    caller.post(f"/api/v1/accounts/{bob.pk}/mute")
    assert ids(caller.get("/api/v1/timelines/home?limit=3")) == by_carol[::-1]
    assert caller.post(f"/api/v1/accounts/{bob.pk}/unmute").json()["muting"] is False
    assert ids(caller.get("/api/v1/timelines/home?limit=3")) == by_bob[::-1]


def test_a_deleted_account_is_nowhere(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory(username="alice"), AccountFactory(username="bob")
    factories.follow(bob, alice)
    post = PostFactory(author=alice, text="purr #cats @bob")
    drain()
    actions.delete_account(account=alice)
    caller = api(bob)
    assert doors(caller, post) == set()
    for path in ("", "/statuses", "/followers", "/following", "/lists"):
        assert caller.get(f"/api/v1/accounts/{alice.pk}{path}").status_code == 404
    for deed in ("follow", "unfollow", "block", "unblock", "mute", "unmute"):
        assert caller.post(f"/api/v1/accounts/{alice.pk}/{deed}").status_code == 404
    assert caller.get("/api/v1/accounts/lookup?acct=alice").status_code == 404
    assert caller.get("/api/v1/accounts/search?q=alice").json() == []
    assert caller.get(f"/api/v1/accounts/relationships?id[]={alice.pk}").json() == []
    assert ids(caller.get(f"/api/v1/accounts/{bob.pk}/following")) == []
    drain()
    assert not List.objects.filter(owner=alice).exists() and Account.objects.get(pk=alice.pk).deleted_at

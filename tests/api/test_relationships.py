"""Following, blocking, muting: what is answered. What is hidden then is in test_visibility.py."""

from __future__ import annotations

from typing import Any

import pytest

from feeds import actions
from followers.models import Mute
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids, links, walk

pytestmark = pytest.mark.django_db


def test_a_follow_may_leave_out_reblogs_and_says_so(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    caller, url = api(alice), f"/api/v1/accounts/{bob.pk}/follow"
    assert caller.post(url, {"reblogs": "false"}).json()["showing_reblogs"] is False
    actions.reblog(author=bob, original=PostFactory())
    drain()
    assert ids(caller.get("/api/v1/timelines/home")) == []
    assert caller.post(url).json()["showing_reblogs"] is False  # not asked for: as it was
    assert caller.post(url, {"reblogs": True}, format="json").json()["showing_reblogs"] is True
    assert len(ids(caller.get("/api/v1/timelines/home"))) == 1
    assert caller.post(url, {"reblogs": "perhaps"}).status_code == 422


@pytest.mark.parametrize("deed", ["block", "mute"])
def test_the_blocked_and_the_muted_are_paged_the_latest_first(api: Any, deed: str) -> None:
    alice, *others = AccountFactory.create_batch(6)
    caller = api(alice)
    for other in reversed(others):
        for _ in range(2):
            assert caller.post(f"/api/v1/accounts/{other.pk}/{deed}").json()[f"{deed.rstrip('e')}ing"] is True
    expected = [other.pk for other in others]
    assert walk(caller, f"/api/v1/{deed}s?limit=2") == [expected[:2], expected[2:4], expected[4:]]
    second = caller.get(links(caller.get(f"/api/v1/{deed}s?limit=2"))["next"])
    assert ids(caller.get(links(second)["prev"])) == expected[:2]
    for _ in range(2):
        assert caller.post(f"/api/v1/accounts/{others[0].pk}/un{deed}").json()[f"{deed.rstrip('e')}ing"] is False
    assert ids(caller.get(f"/api/v1/{deed}s")) == expected[1:]


def test_a_mute_says_when_it_ends(api: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    caller = api(alice)
    caller.post(f"/api/v1/accounts/{bob.pk}/mute", {"duration": 3600})
    caller.post(f"/api/v1/accounts/{carol.pk}/mute", {"duration": 0})
    for_good, for_an_hour = caller.get("/api/v1/mutes").json()
    assert for_good["mute_expires_at"] is None and for_an_hour["mute_expires_at"].endswith("Z")


@pytest.mark.parametrize("deed", ["block", "unblock", "mute", "unmute"])
def test_nobody_to_block_or_mute_is_not_found(api: Any, deed: str) -> None:
    caller = api(AccountFactory())
    for nobody in ("0", str((1 << 63) - 1), str(1 << 63), "alice", "%00"):
        assert caller.post(f"/api/v1/accounts/{nobody}/{deed}").status_code == 404


def test_nobody_blocks_or_mutes_oneself(api: Any) -> None:
    alice = AccountFactory()
    for deed in ("block", "mute"):
        assert api(alice).post(f"/api/v1/accounts/{alice.pk}/{deed}").status_code == 422


@pytest.mark.parametrize("wrong", [{"duration": -1}, {"duration": 1 << 63}, {"duration": "x"}, {"notifications": "x"}])
def test_a_wrong_mute_is_refused(api: Any, wrong: dict[str, Any]) -> None:
    answer = api(AccountFactory()).post(f"/api/v1/accounts/{AccountFactory().pk}/mute", wrong)
    assert answer.status_code == 422
    assert not Mute.objects.exists()


SCOPES = [
    ("get", "/api/v1/blocks", "read:blocks"),
    ("get", "/api/v1/mutes", "read:mutes"),
    ("get", "/api/v1/lists", "read:lists"),
    ("get", "/api/v1/favourites", "read:favourites"),
    ("get", "/api/v1/bookmarks", "read:bookmarks"),
    ("get", "/api/v1/notifications", "read:notifications"),
    ("get", "/api/v1/notifications/unread_count", "read:notifications"),
    ("get", "/api/v1/followed_tags", "read:follows"),
    ("get", "/api/v1/follow_requests", "read:follows"),
    ("get", "/api/v1/featured_tags", "read:accounts"),
    ("get", "/api/v1/accounts/familiar_followers", "read:follows"),
    ("get", "/api/v1/markers", "read:statuses"),
    ("get", "/api/v2/search?q=x", "read:search"),
    ("get", "/api/v1/accounts/search?q=x", "read:accounts"),
    ("post", "/api/v1/accounts/0/block", "write:blocks"),
    ("post", "/api/v1/accounts/0/mute", "write:mutes"),
    ("post", "/api/v1/follow_requests/0/authorize", "write:follows"),
    ("post", "/api/v1/follow_requests/0/reject", "write:follows"),
    ("post", "/api/v1/accounts/0/remove_from_followers", "write:follows"),
    ("post", "/api/v1/accounts/0/note", "write:accounts"),
    ("post", "/api/v1/featured_tags", "write:accounts"),
    ("post", "/api/v1/lists", "write:lists"),
    ("post", "/api/v1/statuses/0/favourite", "write:favourites"),
    ("post", "/api/v1/statuses/0/bookmark", "write:bookmarks"),
    ("post", "/api/v1/statuses/0/reblog", "write:statuses"),
    ("post", "/api/v1/statuses/0/pin", "write:accounts"),
    ("post", "/api/v1/tags/cats/follow", "write:follows"),
    ("post", "/api/v1/notifications/clear", "write:notifications"),
    ("patch", "/api/v1/accounts/update_credentials", "write:accounts"),
]


@pytest.mark.parametrize(("method", "path", "scope"), SCOPES)
def test_each_door_asks_for_its_scope(api: Any, method: str, path: str, scope: str) -> None:
    alice = AccountFactory()
    assert getattr(api(alice, scope), method)(path).status_code in (200, 404, 422)
    refused = getattr(api(alice, "write:media push"), method)(path)
    assert (refused.status_code, refused.json()) == (403, {"error": "This action is outside the authorized scopes"})


def test_a_token_for_follows_also_blocks_and_mutes(api: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    caller = api(alice, "follow")
    for deed in ("mute", "unmute", "block", "unblock"):
        assert caller.post(f"/api/v1/accounts/{bob.pk}/{deed}").status_code == 200
    assert caller.post("/api/v1/lists", {"title": "x"}).status_code == 403

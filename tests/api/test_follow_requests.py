"""Accounts that are locked, and who asks to follow them."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import connection, transaction

from feeds import actions, explain, timelines
from feeds.models import Notification, Outbox
from followers.models import Account, Follow, FollowRequest
from tests import factories
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory

from .reading import ids, links, walk

pytestmark = pytest.mark.django_db

ALL = "/api/v1/follow_requests"


@pytest.fixture
def bob() -> Account:
    return locked("bob")


def locked(username: str) -> Account:
    return actions.edit_account(account=AccountFactory(username=username), locked=True)


def counters(*accounts: Account) -> list[tuple[int, int]]:
    for account in accounts:
        account.refresh_from_db()
    return [(account.followers_count, account.following_count) for account in accounts]


def told(caller: Any) -> list[tuple[str, int]]:
    return [(one["type"], int(one["account"]["id"])) for one in caller.get("/api/v1/notifications").json()]


def test_to_follow_a_locked_account_is_a_request_once(api: Any, drain: Any, bob: Account) -> None:
    alice = AccountFactory()
    url, seen = f"/api/v1/accounts/{bob.pk}/follow", f"/api/v1/accounts/relationships?id[]={alice.pk}"
    for _ in range(2):
        answer = api(alice).post(url).json()
        assert (answer["following"], answer["requested"], answer["showing_reblogs"]) == (False, True, True)
    [theirs] = api(bob).get(seen).json()
    assert (theirs["followed_by"], theirs["requested_by"], theirs["requested"]) == (False, True, False)
    assert FollowRequest.objects.count() == 1
    assert ids(api(bob).get(ALL)) == [alice.pk]
    assert ids(api(alice).get(ALL)) == []
    assert api(bob).get("/api/v1/accounts/verify_credentials").json()["source"]["follow_requests_count"] == 1
    for _ in range(2):
        drain()
        assert told(api(bob)) == [("follow_request", alice.pk)]
    assert counters(alice, bob) == [(0, 0), (0, 0)]
    assert list(Outbox.objects.filter(event__startswith="follow").values_list("event", "task")) == [
        ("follow.requested", "send_notifications")
    ]


def test_who_waits_is_shown_nothing_and_gets_nothing_pushed(api: Any, drain: Any, bob: Account) -> None:
    alice = AccountFactory()
    api(alice).post(f"/api/v1/accounts/{bob.pk}/follow")
    public, private = PostFactory(author=bob), PostFactory(author=bob, visibility="private")
    drain()
    assert ids(api(alice).get("/api/v1/timelines/home")) == timelines.ids(alice.pk).ids == []
    assert api(alice).get(f"/api/v1/statuses/{private.pk}").status_code == 404
    assert explain.explain(alice, public.pk).answer == explain.explain(alice, private.pk).answer == "not_followed"
    assert api(bob).post(f"{ALL}/{alice.pk}/authorize").status_code == 200
    drain()
    assert ids(api(alice).get("/api/v1/timelines/home")) == timelines.ids(alice.pk).ids == [private.pk, public.pk]


def test_an_accepted_request_is_a_follow_with_its_wishes_however_often(api: Any, drain: Any, bob: Account) -> None:
    alice = AccountFactory()
    wishes = {"reblogs": False, "notify": True}
    asked = api(alice).post(f"/api/v1/accounts/{bob.pk}/follow", wishes, format="json").json()
    assert (asked["showing_reblogs"], asked["notifying"]) == (False, True)
    first, second = [api(bob).post(f"{ALL}/{alice.pk}/authorize") for _ in range(2)]
    assert first.status_code == second.status_code == 200 and first.json() == second.json()
    assert (first.json()["followed_by"], first.json()["requested_by"]) == (True, False)
    follow = Follow.objects.get()
    assert (follow.follower_id, follow.followee_id, follow.reblogs, follow.notify) == (alice.pk, bob.pk, False, True)
    assert not FollowRequest.objects.exists()
    assert counters(alice, bob) == [(0, 1), (1, 0)]
    assert Outbox.objects.filter(event="follow.created", task="sync_pair").count() == 1
    drain()
    assert told(api(bob)) == [("follow", alice.pk)]
    [seen] = api(alice).get(f"/api/v1/accounts/relationships?id[]={bob.pk}").json()
    assert (seen["following"], seen["requested"], seen["notifying"]) == (True, False, True)


def test_a_rejected_or_withdrawn_request_is_no_more_and_told_no_more(api: Any, drain: Any, bob: Account) -> None:
    alice, carol = AccountFactory.create_batch(2)
    for one in (alice, carol):
        api(one).post(f"/api/v1/accounts/{bob.pk}/follow")
    drain()
    assert len(told(api(bob))) == 2
    answer = api(bob).post(f"{ALL}/{alice.pk}/reject")
    assert (answer.status_code, answer.json()["requested_by"]) == (200, False)
    for _ in range(2):
        answer = api(carol).post(f"/api/v1/accounts/{bob.pk}/unfollow")
        assert (answer.status_code, answer.json()["requested"]) == (200, False)
    assert told(api(bob)) == [] and not FollowRequest.objects.exists() and not Follow.objects.exists()
    assert not Outbox.objects.filter(event="follow.deleted").exists()
    for deed in ("authorize", "reject"):
        for nobody in (alice.pk, bob.pk, 0):
            gone = api(bob).post(f"{ALL}/{nobody}/{deed}")
            assert (gone.status_code, gone.json()) == (404, {"error": "Record not found"})


@pytest.mark.parametrize("way", [("alice", "bob"), ("bob", "alice")])
def test_a_block_either_way_ends_the_request_and_forbids_another(api: Any, bob: Account, way: tuple[str, str]) -> None:
    people = {"alice": AccountFactory(username="alice"), "bob": bob}
    blocker, blocked = people[way[0]], people[way[1]]
    follow = f"/api/v1/accounts/{bob.pk}/follow"
    api(people["alice"]).post(follow)
    api(blocker).post(f"/api/v1/accounts/{blocked.pk}/block")
    assert not FollowRequest.objects.exists()
    assert api(people["alice"]).post(follow).status_code == 403
    assert api(bob).post(f"{ALL}/{people['alice'].pk}/authorize").status_code == 404


def test_requests_are_paged_by_their_ids_the_latest_first(api: Any, bob: Account) -> None:
    others = AccountFactory.create_batch(5)
    for other in reversed(others):
        api(other).post(f"/api/v1/accounts/{bob.pk}/follow")
    expected = [other.pk for other in others]
    assert walk(api(bob), f"{ALL}?limit=2") == [expected[:2], expected[2:4], expected[4:]]
    second = api(bob).get(links(api(bob).get(f"{ALL}?limit=2"))["next"])
    assert ids(api(bob).get(links(second)["prev"])) == expected[:2]


def test_locking_keeps_followers_and_unlocking_accepts_who_waits(api: Any, drain: Any, bob: Account) -> None:
    alice, carol, dora = AccountFactory.create_batch(3)
    me = "/api/v1/accounts/update_credentials"
    api(alice).post(f"/api/v1/accounts/{bob.pk}/follow")
    assert api(bob).patch(me, {"locked": "false"}).json()["locked"] is False
    api(carol).post(f"/api/v1/accounts/{bob.pk}/follow")
    assert Follow.objects.get().follower_id == carol.pk  # at once, and alice's is on its way
    assert api(bob).patch(me, {"locked": True}, format="json").json()["locked"] is True
    for one in (carol, dora):
        api(one).post(f"/api/v1/accounts/{bob.pk}/follow", {"notify": True}, format="json")
    assert Follow.objects.get().notify
    assert sorted(ids(api(bob).get(ALL))) == [alice.pk, dora.pk]
    drain()
    assert sorted(ids(api(bob).get(ALL))) == [alice.pk, dora.pk], "it is locked again"
    api(bob).patch(me, {"locked": "0"})
    for _ in range(2):
        drain()
        assert set(Follow.objects.values_list("follower", flat=True)) == {alice.pk, carol.pk, dora.pk}
        assert counters(bob) == [(3, 0)]
    assert ids(api(bob).get(ALL)) == []


def test_who_waited_and_follows_an_account_that_was_unlocked_asks_no_more(api: Any, drain: Any, bob: Account) -> None:
    alice = AccountFactory()
    for change in (True, False):
        actions.edit_account(account=bob, locked=change)
        assert api(alice).post(f"/api/v1/accounts/{bob.pk}/follow").json()["requested"] is change
    drain()
    assert not FollowRequest.objects.exists() and counters(alice, bob) == [(0, 1), (1, 0)]


def test_a_deleted_account_takes_its_requests_along_both_ways(api: Any, drain: Any, bob: Account) -> None:
    alice, carol = AccountFactory(), locked("carol")
    api(alice).post(f"/api/v1/accounts/{bob.pk}/follow")
    api(bob).post(f"/api/v1/accounts/{carol.pk}/follow")
    actions.delete_account(account=bob)
    assert api(carol).post(f"{ALL}/{bob.pk}/authorize").status_code == 404
    drain()
    assert not FollowRequest.objects.exists() and not Follow.objects.exists()
    assert ids(api(carol).get(ALL)) == []


def test_a_follower_can_be_removed(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    factories.follow(alice, bob)
    post = PostFactory(author=bob)
    drain()
    for _ in range(2):
        answer = api(bob).post(f"/api/v1/accounts/{alice.pk}/remove_from_followers")
        assert (answer.status_code, answer.json()["followed_by"]) == (200, False)
    drain()
    assert post.pk not in timelines.ids(alice.pk).ids and counters(alice, bob) == [(0, 0), (0, 0)]


# Races: the one deed is in the middle of its transaction while the other begins.

ACCEPT = "accept", lambda alice, bob: actions.accept_follow(followee=bob, follower_id=alice.pk)
WITHDRAW = "withdraw", lambda alice, bob: actions.unfollow(follower=alice, followee_id=bob.pk)
REJECT = "reject", lambda alice, bob: actions.reject_follow(followee=bob, follower_id=alice.pk)
BLOCK = "block", lambda alice, bob: actions.block(blocker=bob, blocked_id=alice.pk)
ASK = "ask", lambda alice, bob: actions.follow(follower=alice, followee_id=bob.pk)
UNLOCK = "unlock", lambda alice, bob: actions.edit_account(account=bob, locked=False)
RACES = [
    (ACCEPT, WITHDRAW, 0),
    (WITHDRAW, ACCEPT, 0),
    (ACCEPT, ACCEPT, 1),
    (ACCEPT, REJECT, 1),
    (REJECT, ACCEPT, 0),
    (ACCEPT, BLOCK, 0),
    (BLOCK, ACCEPT, 0),
    (BLOCK, ASK, 0),
    (ACCEPT, ASK, 1),
    (UNLOCK, ASK, 1),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("first", "second", "follows"), RACES, ids=lambda deed: deed[0] if type(deed) is tuple else "")
def test_two_deeds_at_once_end_as_one_after_the_other(first: Any, second: Any, follows: int, drain: Any) -> None:
    alice, bob = AccountFactory(), locked("bob")
    actions.follow(follower=alice, followee_id=bob.pk)

    def late() -> None:
        try:
            with suppress(ObjectDoesNotExist, PermissionDenied):
                second[1](alice, bob)
        finally:
            connection.close()

    other = threading.Thread(target=late)
    with transaction.atomic():
        first[1](alice, bob)
        other.start()
        eventually(somebody_waits, "the second deed waits for the first")
    other.join()
    drain()
    assert Follow.objects.count() == follows and not FollowRequest.objects.exists()
    assert counters(alice, bob) == [(0, follows), (follows, 0)]
    events = Outbox.objects.filter(event="follow.created", task="sync_pair").count()
    assert events == Outbox.objects.filter(event="follow.deleted", task="sync_pair").count() + follows


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_a_notification_of_a_request_is_made_once(api: Any, drain: Any, bob: Account) -> None:
    alice = AccountFactory()
    for _ in range(2):
        actions.follow(follower=alice, followee_id=bob.pk)
        drain()
        actions.unfollow(follower=alice, followee_id=bob.pk)
    actions.follow(follower=alice, followee_id=bob.pk)
    drain()
    assert Notification.objects.filter(account=bob).count() == 3
    assert told(api(bob)) == [("follow_request", alice.pk)]

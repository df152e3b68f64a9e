"""Who is told of what; how far one has read."""

from __future__ import annotations

from typing import Any

import pytest

from feeds import actions, notifications
from feeds.models import Outbox
from followers.models import Account
from tests.factories import AccountFactory, PostFactory

from .reading import links, walk

pytestmark = pytest.mark.django_db

ALL = "/api/v1/notifications"


def told(caller: Any, query: str = "") -> list[tuple[str, int]]:
    return [(one["type"], int(one["account"]["id"])) for one in caller.get(f"{ALL}{query}").json()]


def notify(event: str, concerned: list[tuple[int, int]]) -> int:
    """How many were told."""
    return sum(map(len, notifications.notify(event, concerned)))


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice")


def everything(alice: Account, bob: Account) -> None:
    """Bob does to Alice all that she is told of: five times."""
    post = PostFactory(author=alice)
    actions.follow(follower=bob, followee_id=alice.pk)
    PostFactory(author=bob, text="hello @alice")
    PostFactory(author=bob, in_reply_to=post)
    actions.favourite(account=bob, post=post)
    actions.reblog(author=bob, original=post)


def test_of_a_muted_conversation_nobody_is_told_any_more(api: Any, drain: Any, alice: Account) -> None:
    bob, caller = AccountFactory(), api(alice)
    post = PostFactory(author=alice)
    answer = PostFactory(author=bob, in_reply_to=post)
    drain()
    caller.post(f"/api/v1/statuses/{answer.pk}/mute")

    def deeds(on: Any) -> None:
        PostFactory(author=bob, in_reply_to=on, text="hello @alice")
        actions.favourite(account=bob, post=post)
        actions.reblog(author=bob, original=post)
        drain()

    deeds(PostFactory(author=alice, in_reply_to=answer))
    assert told(caller) == [("mention", bob.pk)]  # what came before stays
    elsewhere = PostFactory(author=bob, text="and you, @alice?")
    drain()
    assert told(caller) == [("mention", bob.pk)] * 2
    caller.post(f"/api/v1/statuses/{post.pk}/unmute")
    actions.unfavourite(account=bob, post=post)
    actions.unreblog(author=bob, original=post)
    deeds(elsewhere)
    assert sorted(told(caller)) == [("favourite", bob.pk), *[("mention", bob.pk)] * 3, ("reblog", bob.pk)]


def test_each_cause_notifies_once_however_often_its_task_runs(api: Any, drain: Any, alice: Account) -> None:
    bob = AccountFactory()
    everything(alice, bob)
    drain()
    for row in Outbox.objects.filter(task="send_notifications"):
        assert notify(row.event, [(row.subject_id, row.object_id or 0)]) == 0
    found = api(alice).get(ALL).json()
    assert sorted(one["type"] for one in found) == ["favourite", "follow", "mention", "mention", "reblog"]
    assert all(one["created_at"].endswith("Z") and len(one["created_at"]) == 24 for one in found)
    assert all(one["account"]["id"] == str(bob.pk) for one in found)
    assert {one["type"] for one in found if "status" not in one} == {"follow"}
    assert told(api(bob)) == []
    assert api(alice).get(f"{ALL}/{found[0]['id']}").json() == found[0]
    assert api(bob).get(f"{ALL}/{found[0]['id']}").status_code == 404


def test_types_senders_and_pages_can_be_chosen(api: Any, drain: Any, alice: Account) -> None:
    bob, carol = AccountFactory.create_batch(2)
    everything(alice, bob)
    actions.follow(follower=carol, followee_id=alice.pk)
    drain()
    caller = api(alice)
    assert told(caller, "?types[]=follow") == [("follow", carol.pk), ("follow", bob.pk)]
    assert told(caller, "?types[]=follow&types[]=poll&account_id=" + str(bob.pk)) == [("follow", bob.pk)]
    assert told(caller, "?types[]=poll") == []
    assert {kind for kind, _ in told(caller, "?exclude_types[]=follow&exclude_types[]=mention")} == {
        "favourite",
        "reblog",
    }
    every = [int(one["id"]) for one in caller.get(ALL).json()]
    assert walk(caller, f"{ALL}?limit=4") == [every[:4], every[4:]]
    last = caller.get(links(caller.get(f"{ALL}?limit=4"))["next"])
    assert list(links(last)) == ["prev"]
    assert [int(one["id"]) for one in caller.get(links(last)["prev"]).json()] == every[:4]
    for wrong in ("account_id=x", f"max_id={1 << 63}", "limit=0", "types[]=%00"):
        assert caller.get(f"{ALL}?{wrong}").status_code == 400


@pytest.mark.parametrize("deed", ["block", "mute"])
def test_nobody_is_told_of_somebody_hidden_before_or_after(api: Any, drain: Any, alice: Account, deed: str) -> None:
    bob, carol = AccountFactory.create_batch(2)
    everything(alice, bob)
    drain()
    assert len(told(api(alice))) == 5
    api(alice).post(f"/api/v1/accounts/{bob.pk}/{deed}")
    assert told(api(alice)) == []
    assert api(alice).get(f"{ALL}/unread_count").json() == {"count": 0}
    api(alice).post(f"/api/v1/accounts/{carol.pk}/{deed}")
    PostFactory(author=carol, text="hello @alice")
    drain()
    api(alice).post(f"/api/v1/accounts/{carol.pk}/un{deed}")
    assert told(api(alice)) == []


def test_a_mute_may_leave_notifications(api: Any, drain: Any, alice: Account) -> None:
    bob, caller = AccountFactory(), api(alice)
    answer = caller.post(f"/api/v1/accounts/{bob.pk}/mute", {"notifications": False}, format="json").json()
    assert (answer["muting"], answer["muting_notifications"]) == (True, False)
    everything(alice, bob)
    drain()
    kept = {"follow", "mention", "favourite", "reblog"}
    assert {kind for kind, _ in told(caller)} == kept and len(told(caller)) == 5
    actions.mute(account=alice, target_id=bob.pk)
    assert told(caller) == []


def test_what_is_taken_back_is_told_no_more(api: Any, drain: Any, alice: Account) -> None:
    bob = AccountFactory()
    everything(alice, bob)
    drain()
    hers, his = alice.posts.get(), bob.posts.exclude(text="")
    api(bob).post(f"/api/v1/statuses/{hers.pk}/unfavourite")
    api(bob).post(f"/api/v1/statuses/{hers.pk}/unreblog")
    api(bob).post(f"/api/v1/accounts/{alice.pk}/unfollow")
    for post in his:
        api(bob).delete(f"/api/v1/statuses/{post.pk}")
    assert told(api(alice)) == []


def test_an_edit_that_mentions_somebody_tells_only_those_who_are_new(api: Any, drain: Any, alice: Account) -> None:
    bob, carol = AccountFactory(), AccountFactory(username="carol")
    post = PostFactory(author=bob, text="hello @alice")
    drain()
    api(bob).put(f"/api/v1/statuses/{post.pk}", {"status": "hello @alice and @carol"})
    drain()
    assert told(api(alice)) == told(api(carol)) == [("mention", bob.pk)]


def test_notifications_are_dismissed_and_cleared(api: Any, drain: Any, alice: Account) -> None:
    everything(alice, AccountFactory())
    drain()
    caller = api(alice)
    first = caller.get(ALL).json()[0]["id"]
    assert api(AccountFactory()).post(f"{ALL}/{first}/dismiss").status_code == 404
    assert caller.post(f"{ALL}/{first}/dismiss").json() == {}
    assert caller.get(f"{ALL}/{first}").status_code == caller.post(f"{ALL}/{first}/dismiss").status_code == 404
    assert len(told(caller)) == 4
    assert caller.post(f"{ALL}/clear").json() == {}
    assert told(caller) == []


def test_the_unread_are_those_above_the_marker(api: Any, drain: Any, alice: Account) -> None:
    everything(alice, AccountFactory())
    drain()
    caller = api(alice)
    assert caller.get(f"{ALL}/unread_count").json() == {"count": 5}
    second = caller.get(ALL).json()[1]["id"]
    answer = caller.post("/api/v1/markers", {"notifications[last_read_id]": second}).json()
    assert answer["notifications"]["last_read_id"] == second
    assert answer["notifications"]["updated_at"].endswith("Z")
    assert caller.get(f"{ALL}/unread_count").json() == {"count": 1}


def test_markers_never_go_back(api: Any, alice: Account) -> None:
    caller = api(alice)
    for last, version in (("5", 1), ("7", 2), ("6", 2)):
        home = caller.post("/api/v1/markers", {"home": {"last_read_id": last}}, format="json").json()["home"]
        assert home["version"] == version
    assert home["last_read_id"] == "7"
    assert caller.get("/api/v1/markers?timeline[]=home&timeline[]=notifications").json() == {"home": home}
    assert caller.get("/api/v1/markers").json() == {}
    for wrong in ({"home": {"last_read_id": 1 << 63}}, {"home": {"last_read_id": "x"}}, {"home": 1}, {"home": {}}, [1]):
        assert caller.post("/api/v1/markers", wrong, format="json").status_code == 422


def test_who_asked_to_be_told_is_told_of_each_post_by_itself(api: Any, drain: Any, alice: Account) -> None:
    bob, carol = AccountFactory.create_batch(2)
    caller, url = api(alice), f"/api/v1/accounts/{bob.pk}/follow"
    assert caller.post(url).json()["notifying"] is False
    PostFactory(author=bob, text="before")
    drain()
    assert caller.post(url, {"notify": "true"}).json()["notifying"] is True
    assert caller.post(url).json()["notifying"] is True
    actions.follow(follower=carol, followee_id=bob.pk)
    drain()
    first = PostFactory(author=bob)
    actions.reblog(author=bob, original=PostFactory())
    PostFactory(author=bob, in_reply_to=PostFactory())
    PostFactory(author=bob, visibility="direct", text="@carol")
    thread = PostFactory(author=bob, in_reply_to=first, visibility="private")
    drain()
    for row in Outbox.objects.filter(event="post.published", task="send_notifications", subject_id__gte=first.pk):
        assert notify(row.event, [(row.subject_id, 0)]) == 0
    found = caller.get(f"{ALL}?types[]=status").json()
    assert [int(one["status"]["id"]) for one in found] == [thread.pk, first.pk]
    assert told(caller) == [("status", bob.pk)] * 2 and told(api(carol)) == []
    caller.post(url, {"notify": False}, format="json")
    PostFactory(author=bob)
    drain()
    assert len(told(caller)) == 2
    caller.post(f"/api/v1/accounts/{bob.pk}/mute")
    assert told(caller) == []


def test_many_who_asked_are_told_a_slice_at_a_time(drain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "SLICE", 2)
    authors, readers = AccountFactory.create_batch(3), AccountFactory.create_batch(5)
    for author in authors:
        for reader in readers:
            actions.follow(follower=reader, followee_id=author.pk, notify=True)
    actions.block(blocker=authors[1], blocked_id=readers[2].pk)
    drain()
    posts = [PostFactory(author=author) for author in authors]
    assert notify("post.published", [(post.pk, 0) for post in posts]) == 14
    assert notify("post.published", [(post.pk, 0) for post in posts]) == 0
    for reader in readers:
        actions.reblog(author=reader, original=posts[0])
    actions.edit_post(author=authors[0], post_id=posts[0].pk, text="edited")
    assert notify("post.edited", [(post.pk, 0) for post in posts]) == 5


def test_who_reblogged_is_told_of_each_edit_once(api: Any, drain: Any, alice: Account) -> None:
    bob, carol, post = AccountFactory(), AccountFactory(), PostFactory(author=alice)
    for one in (bob, carol, alice):
        actions.reblog(author=one, original=post)
    actions.unreblog(author=carol, original=post)
    drain()
    for text in ("once", "once", "twice"):
        api(alice).put(f"/api/v1/statuses/{post.pk}", {"status": text})
        drain()
    for row in Outbox.objects.filter(task="send_notifications", event="post.edited"):
        assert notify(row.event, [(row.subject_id, 0)]) == 0
    found = api(bob).get(ALL).json()
    assert [(one["type"], one["status"]["id"], one["account"]["id"]) for one in found] == [
        ("update", str(post.pk), str(alice.pk))
    ] * 2
    assert told(api(carol)) == [] and told(api(alice)) == [("reblog", carol.pk), ("reblog", bob.pk)][1:]

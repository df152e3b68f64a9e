"""Editing a post, its history, the conversation around it; and a profile's words."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.api import throttling
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids

pytestmark = pytest.mark.django_db


def test_an_edit_keeps_the_place_and_what_was_said(api: Any, drain: Any) -> None:  # 12
    alice, reader, carol = AccountFactory(), AccountFactory(), AccountFactory(username="carol")
    factories.follow(reader, alice)
    caller = api(alice)
    first = caller.post("/api/v1/statuses", {"status": "one", "sensitive": "on"}).json()
    second = PostFactory(author=alice)
    drain()
    url = f"/api/v1/statuses/{first['id']}"
    edited = caller.put(url, {"status": "two @carol #cats", "spoiler_text": "careful"}, format="json").json()
    assert (edited["id"], edited["created_at"]) == (first["id"], first["created_at"])
    assert edited["edited_at"] and edited["spoiler_text"] == "careful"
    assert [one["acct"] for one in edited["mentions"]] == ["carol"]
    assert [one["name"] for one in edited["tags"]] == ["cats"]
    assert caller.get(url).json() == edited
    home = api(reader).get("/api/v1/timelines/home")
    assert ids(home) == [second.pk, int(first["id"])]
    assert home.json()[1]["content"] == edited["content"]

    history = api(carol).get(f"{url}/history").json()
    assert [one["content"] for one in history] == ["<p>one</p>", edited["content"]]
    assert [one["created_at"] for one in history] == [first["created_at"], edited["edited_at"]]
    assert [(one["sensitive"], one["spoiler_text"], one["poll"]) for one in history] == [
        (True, "", None),
        (True, "careful", None),
    ]
    assert history[0]["account"]["id"] == str(alice.pk)
    source = caller.get(f"{url}/source").json()
    assert source == {"id": first["id"], "text": "two @carol #cats", "spoiler_text": "careful"}
    caller.put(url, {"status": "two @carol #cats", "spoiler_text": "careful"})
    assert len(api().get(f"{url}/history").json()) == 2


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({}, 422), ({"status": ""}, 422), ({"status": "\0"}, 422), ({"status": "x" * 501}, 422), ([], 422)],
)
def test_a_wrong_edit_is_refused(api: Any, wrong: Any, status: int) -> None:
    post = PostFactory(text="as it was")
    caller = api(post.author)
    assert caller.put(f"/api/v1/statuses/{post.pk}", wrong, format="json").status_code == status
    assert caller.get(f"/api/v1/statuses/{post.pk}/source").json()["text"] == "as it was"


def test_only_the_author_edits_and_nobody_a_reblog(api: Any) -> None:
    post, alice = PostFactory(), AccountFactory()
    wrapper = api(alice).post(f"/api/v1/statuses/{post.pk}/reblog").json()["id"]
    for post_id in (post.pk, wrapper):
        assert api(alice).put(f"/api/v1/statuses/{post_id}", {"status": "x"}).status_code == 404


def test_the_conversation_around_a_post_is_shown_as_far_as_one_may_see_it(api: Any) -> None:
    alice = AccountFactory()
    first = PostFactory(author=alice)
    second = PostFactory(in_reply_to=first)
    third = PostFactory(in_reply_to=second)
    fourth = PostFactory(in_reply_to=third)
    private = PostFactory(in_reply_to=third, visibility="private")
    around = api().get(f"/api/v1/statuses/{third.pk}/context").json()
    assert [int(one["id"]) for one in around["ancestors"]] == [first.pk, second.pk]
    assert [int(one["id"]) for one in around["descendants"]] == [fourth.pk]
    around = api(private.author).get(f"/api/v1/statuses/{third.pk}/context").json()
    assert [int(one["id"]) for one in around["descendants"]] == [fourth.pk, private.pk]


def test_several_statuses_come_in_the_order_asked_without_those_hidden(api: Any) -> None:
    a, b = PostFactory(), PostFactory()
    private = PostFactory(visibility="private")
    answer = api().get(f"/api/v1/statuses?id[]={b.pk}&id[]={private.pk}&id[]=0&id[]={a.pk}&id[]={b.pk}")
    assert ids(answer) == [b.pk, a.pk]
    assert ids(api().get("/api/v1/statuses")) == []
    assert api().get("/api/v1/statuses?id[]=x").status_code == 400
    nothing = "&".join(["id[]=0"] * 39)
    assert ids(api().get(f"/api/v1/statuses?{nothing}&id[]={a.pk}&id[]={b.pk}")) == [a.pk]


def test_edits_count_as_posts(api: Any, settings: Any, monkeypatch: Any) -> None:
    settings.RATE_LIMITS = True
    monkeypatch.setattr(throttling.POSTS, "amount", 2)
    post = PostFactory()
    caller, url = api(post.author), f"/api/v1/statuses/{post.pk}"
    assert [caller.put(url, {"status": f"words {n}"}).status_code for n in range(3)] == [200, 200, 429]
    assert caller.get(f"{url}/source").json()["text"] == "words 1"
    assert caller.post("/api/v1/statuses", {"status": "x"}).status_code == 429


def test_staff_cancel_a_delivery(api: Any, drain: Any) -> None:
    author, [reader] = factories.star(1)
    post = PostFactory(author=author)
    url = f"/api/v1/statuses/{post.pk}/delivery/cancel"
    for caller in (api(author), api(reader)):
        assert caller.post(url).status_code == 403
    staff = api(AccountFactory(is_staff=True))
    for _ in range(2):
        answer = staff.post(url)
        assert (answer.status_code, answer.json()["state"], answer.json()["id"]) == (200, "cancelled", str(post.pk))
    drain()
    assert ids(api(reader).get("/api/v1/timelines/home")) == []
    assert staff.post("/api/v1/statuses/0/delivery/cancel").status_code == 404


def test_a_profile_is_edited(api: Any) -> None:
    alice = AccountFactory(username="alice")
    caller, url = api(alice), "/api/v1/accounts/update_credentials"
    me = caller.patch(url, {"display_name": "Alice", "note": "<me>", "locked": "true", "x": "y"}).json()
    assert (me["display_name"], me["note"], me["source"]["note"]) == ("Alice", "<p>&lt;me&gt;</p>", "<me>")
    assert caller.get("/api/v1/accounts/verify_credentials").json() == me
    assert caller.patch(url, {"note": ""}, format="json").json()["display_name"] == "Alice"
    for wrong in ({"display_name": "x" * 101}, {"note": "x" * 501}, {"note": "\0"}, {"display_name": ["x"]}, [1]):
        assert caller.patch(url, wrong, format="json").status_code == 422
    assert api().get(f"/api/v1/accounts/{alice.pk}").json()["display_name"] == "Alice"

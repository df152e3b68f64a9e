"""Publishing, reading and deleting posts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feeds import actions
from feeds.models import Delivery, IdempotencyKey, Outbox, Post
from tests import factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db


def nothing_was_written() -> bool:
    return not any(model.objects.exists() for model in (Post, Delivery, Outbox, IdempotencyKey))


def test_a_post_is_read_back_as_it_was_answered(api: Any, settings: Any) -> None:
    alice = api(AccountFactory(username="alice"))
    form = {"status": "x", "visibility": "unlisted", "sensitive": "on", "spoiler_text": "careful", "language": "en"}
    answer = alice.post("/api/v1/statuses", form)
    assert answer.status_code == 200
    status = answer.json()
    expected = {
        "content": "<p>x</p>",
        "visibility": "unlisted",
        "sensitive": True,
        "spoiler_text": "careful",
        "language": "en",
        "in_reply_to_id": None,
        "reblog": None,
        "card": None,
        "poll": None,
        "edited_at": None,
        "media_attachments": [],
        "mentions": [],
        "tags": [],
        "favourited": False,
        "url": f"{settings.BASE_URL}/@alice/{status['id']}",
    }
    assert status | expected == status
    assert status["account"]["username"] == "alice"
    assert status["created_at"].endswith("Z")
    assert alice.get(f"/api/v1/statuses/{status['id']}/").json() == status
    assert "favourited" not in api().get(f"/api/v1/statuses/{status['id']}").json()


def test_json_form_and_multipart_say_the_same(api: Any) -> None:
    alice = api(AccountFactory())
    for kind, body in (
        ("application/json", json.dumps({"status": "x", "sensitive": True})),
        ("application/x-www-form-urlencoded", "status=x&sensitive=1"),
        (None, {"status": "x", "sensitive": "true"}),
    ):
        status = alice.post("/api/v1/statuses", body, content_type=kind).json()
        assert (status["content"], status["sensitive"]) == ("<p>x</p>", True)


def test_text_is_escaped_and_keeps_its_lines(api: Any) -> None:
    status = api(AccountFactory()).post("/api/v1/statuses", {"status": "<b>&\nb\n\nc"}).json()
    assert status["content"] == "<p>&lt;b&gt;&amp;<br>b</p><p>c</p>"


def test_mentions_are_listed(api: Any) -> None:
    bob = AccountFactory(username="bob")
    status = api(AccountFactory()).post("/api/v1/statuses", {"status": "hi @bob and @nobody"}).json()
    assert [(one["id"], one["acct"]) for one in status["mentions"]] == [(str(bob.pk), "bob")]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"status": ""}, 422),
        ({"status": " \n "}, 422),
        ({"status": None}, 422),
        ({"status": "x" * 501}, 422),
        ({"status": "a\0b"}, 422),
        ({"status": "\ud800"}, 422),
        ({"status": ["x"]}, 422),
        ({"status": {"x": 1}}, 422),
        ({"status": True}, 422),
        ({"visibility": "everybody"}, 422),
        ({"visibility": "\ud800"}, 422),
        ({"visibility": []}, 422),
        ({"sensitive": "perhaps"}, 422),
        ({"sensitive": [1]}, 422),
        ({"spoiler_text": "y" * 500}, 422),
        ({"spoiler_text": "\0"}, 422),
        ({"language": "x" * 50}, 422),
        ({"poll": {"options": ["a", "b"]}}, 422),
        ({"scheduled_at": "2030-01-01T00:00:00Z"}, 422),
        ({"media_ids": ["1"]}, 422),
        ({"in_reply_to_id": "1"}, 404),
        ({"in_reply_to_id": "x"}, 404),
        ({"in_reply_to_id": str(1 << 63)}, 404),
        ({"in_reply_to_id": -1}, 404),
        ({"in_reply_to_id": ["1"]}, 422),
    ],
)
def test_a_wrong_post_is_refused_and_nothing_is_written(api: Any, wrong: dict[str, Any], status: int) -> None:
    answer = api(AccountFactory()).post(
        "/api/v1/statuses",
        json.dumps({"status": "x"} | wrong),
        content_type="application/json",
        HTTP_IDEMPOTENCY_KEY="key",
    )
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert nothing_was_written()


@pytest.mark.parametrize("body", ["[1]", '"x"', "3", "null", "[]"])
def test_a_body_that_is_no_object_is_refused(api: Any, body: str) -> None:
    answer = api(AccountFactory()).post("/api/v1/statuses", body, content_type="application/json")
    assert answer.status_code == 422
    assert nothing_was_written()


def test_what_one_post_says_is_not_in_the_next(api: Any) -> None:
    caller = api(AccountFactory())
    whole = {"status": "one", "spoiler_text": "careful", "language": "de", "visibility": "private"}
    assert caller.post("/api/v1/statuses", whole).status_code == 200
    assert caller.post("/api/v1/statuses", {"status": "", "language": "much too long"}).status_code == 422
    found = caller.post("/api/v1/statuses", {"status": "two"}).json()
    said = {name: found[name] for name in ("spoiler_text", "sensitive", "language", "visibility")}
    assert said == {"spoiler_text": "", "sensitive": False, "language": None, "visibility": "public"}


def test_a_link_counts_as_23_characters_at_most(api: Any) -> None:
    alice, link = AccountFactory(), f"https://example.org/{'x' * 300}"
    for status, code in (
        (f"{'y' * 476} {link}", 200),
        (f"{'y' * 477} {link}", 422),
        (f"{'y' * 430} {link} {link}", 200),
        (f"{'y' * 481} https://example.org", 422),
        (f"{'y' * 480} https://example.org", 200),
        (f"https://example.org/{'x' * 9000}", 200),
        (f"https://example.org/{'x' * 90_000}", 422),
    ):
        assert api(alice).post("/api/v1/statuses", {"status": status}).status_code == code


def test_500_characters_are_a_post(api: Any) -> None:
    assert api(AccountFactory()).post("/api/v1/statuses", {"status": "🙂" * 500}).status_code == 200


def test_form_parameters_of_things_not_built_are_refused(api: Any) -> None:
    answer = api(AccountFactory()).post("/api/v1/statuses", {"status": "x", "poll[options][]": ["a", "b"]})
    assert (answer.status_code, answer.json()["error"]) == (422, "Validation failed: Polls are not supported here")
    assert api(AccountFactory()).post("/api/v1/statuses", {"status": "x", "scheduled_at": ""}).status_code == 200


def test_the_same_idempotency_key_is_the_same_post(api: Any) -> None:
    alice, bob = api(AccountFactory()), api(AccountFactory())
    first = alice.post("/api/v1/statuses", {"status": "one"}, HTTP_IDEMPOTENCY_KEY="key")
    again = alice.post("/api/v1/statuses", {"status": "two"}, HTTP_IDEMPOTENCY_KEY="key")
    other = bob.post("/api/v1/statuses", {"status": "three"}, HTTP_IDEMPOTENCY_KEY="key")
    assert first.json() == again.json()
    assert other.json()["id"] != first.json()["id"]
    assert Post.objects.count() == 2

    alice.delete(f"/api/v1/statuses/{first.json()['id']}")
    assert alice.post("/api/v1/statuses", {"status": "one"}, HTTP_IDEMPOTENCY_KEY="key").status_code == 404


@pytest.mark.parametrize("key", ["\0", "\ud800", "x" * 256])
def test_a_broken_idempotency_key_is_refused(api: Any, key: str) -> None:
    answer = api(AccountFactory()).post("/api/v1/statuses", {"status": "x"}, HTTP_IDEMPOTENCY_KEY=key)
    assert answer.status_code == 422
    assert nothing_was_written()


def test_visibility_decides_who_finds_a_post(api: Any) -> None:
    author, follower, named = AccountFactory(), AccountFactory(), AccountFactory(username="named")
    factories.follow(follower, author)
    viewers = {"author": api(author), "follower": api(follower), "named": api(named), "anybody": api()}
    may = {
        "public": {"author", "follower", "named", "anybody"},
        "unlisted": {"author", "follower", "named", "anybody"},
        "private": {"author", "follower", "named"},
        "direct": {"author", "named"},
    }
    for visibility, expected in may.items():
        post = PostFactory(author=author, visibility=visibility, text="for @named")
        found = {
            name for name, viewer in viewers.items() if viewer.get(f"/api/v1/statuses/{post.pk}").status_code == 200
        }
        assert found == expected
        reply = {"status": "re", "in_reply_to_id": str(post.pk)}
        replied = viewers["follower"].post("/api/v1/statuses", reply)
        assert replied.status_code == (200 if "follower" in expected else 404)


def test_a_reply_knows_what_it_answers(api: Any) -> None:
    post = PostFactory()
    reply = api(AccountFactory()).post("/api/v1/statuses", {"status": "re", "in_reply_to_id": post.pk}, format="json")
    assert reply.json()["in_reply_to_id"] == str(post.pk)
    assert reply.json()["in_reply_to_account_id"] == str(post.author_id)
    assert api().get(f"/api/v1/statuses/{post.pk}").json()["replies_count"] == 1


def test_a_deleted_post_is_gone_at_once_and_its_text_handed_back(api: Any) -> None:
    alice = AccountFactory()
    post = PostFactory(author=alice, text="a <post>")
    stranger = api(AccountFactory()).delete(f"/api/v1/statuses/{post.pk}")
    assert stranger.status_code == 404
    answer = api(alice).delete(f"/api/v1/statuses/{post.pk}")
    assert (answer.status_code, answer.json()["text"], answer.json()["id"]) == (200, "a <post>", str(post.pk))
    for caller in (api(), api(alice)):
        assert caller.get(f"/api/v1/statuses/{post.pk}").status_code == 404
    assert api(alice).delete(f"/api/v1/statuses/{post.pk}").status_code == 404


def test_the_author_and_staff_watch_the_delivery(api: Any, drain: Any) -> None:
    author, readers = factories.star(3, away=1)
    post = PostFactory(author=author)
    url = f"/api/v1/statuses/{post.pk}/delivery"
    assert api(author).get(url).json()["state"] == "planned"
    drain()
    staff = AccountFactory(is_staff=True)
    for caller in (api(author), api(staff)):
        report = caller.get(url).json()
        expected = {"id": str(post.pk), "state": "done", "audience": 3, "delivered": 2, "skipped_inactive": 1}
        assert report | expected == report
    assert api(readers[0]).get(url).status_code == 403
    assert api().get(url).status_code == 401
    hidden = PostFactory(author=author, visibility="direct")
    assert api(readers[0]).get(f"/api/v1/statuses/{hidden.pk}/delivery").status_code == 404


def test_staff_alone_is_told_why_a_post_is_or_is_not_on_somebodys_home(api: Any, drain: Any) -> None:
    author, [reader] = factories.star(1)
    post = PostFactory(author=author, visibility="direct", text="not for staff")
    drain()
    url = f"/api/v1/statuses/{post.pk}/explain"
    staff = api(AccountFactory(is_staff=True))
    assert staff.get(url, {"account_id": str(reader.pk)}).json() == {
        "status_id": str(post.pk),
        "account_id": str(reader.pk),
        "answer": "not_visible",
        "since": None,
        "detail": "The post is for others: for followers of its author, or for those whom it mentions.",
    }
    assert staff.get(url).status_code == 400
    assert staff.get(url, {"account_id": "x"}).status_code == 400
    assert staff.get(url, {"account_id": "1"}).status_code == 404
    assert staff.get("/api/v1/statuses/32/explain", {"account_id": str(reader.pk)}).status_code == 404
    for caller, code in ((api(author), 403), (api(reader), 403), (api(), 401)):
        assert caller.get(url, {"account_id": str(reader.pk)}).status_code == code


def test_null_stands_for_what_a_client_does_not_say(api: Any) -> None:
    caller, nothing = (
        api(AccountFactory()),
        {"spoiler_text": None, "sensitive": None, "language": None, "media_ids": []},
    )
    nulls = nothing | {"visibility": None, "in_reply_to_id": None, "poll": None, "scheduled_at": None}
    written = caller.post("/api/v1/statuses", {"status": "x"} | nulls, format="json").json()
    plain = caller.post("/api/v1/statuses", {"status": "x"}).json()
    assert [written[name] for name in ("visibility", "sensitive", "spoiler_text", "language", "in_reply_to_id")] == [
        plain[name] for name in ("visibility", "sensitive", "spoiler_text", "language", "in_reply_to_id")
    ]
    edited = caller.put(f"/api/v1/statuses/{written['id']}", {"status": "y"} | nothing, format="json").json()
    assert (edited["content"], edited["sensitive"], edited["spoiler_text"]) == ("<p>y</p>", False, "")


def test_a_muted_conversation_says_so_on_each_of_its_posts_until_it_is_unmuted(api: Any) -> None:
    alice, bob = AccountFactory(), AccountFactory()
    caller, first, other = api(alice), PostFactory(author=bob), PostFactory(author=bob)
    answer = PostFactory(author=alice, in_reply_to=first)
    reblog = actions.reblog(author=alice, original=answer)

    def muted() -> list[bool]:
        return [caller.get(f"/api/v1/statuses/{post.pk}").json()["muted"] for post in (first, answer, reblog, other)]

    assert muted() == [False] * 4
    for _ in range(2):
        assert caller.post(f"/api/v1/statuses/{reblog.pk}/mute").json()["muted"] is True
        assert muted() == [True, True, True, False]
    written = caller.post("/api/v1/statuses", {"status": "x", "in_reply_to_id": str(answer.pk)}).json()
    assert written["muted"] is True
    assert caller.get(f"/api/v1/statuses/{written['id']}").json() == written
    shown = caller.get(f"/api/v1/accounts/{alice.pk}/statuses").json()
    assert [one["muted"] for one in shown] == [True, True, True]
    assert [one["reblog"]["muted"] for one in shown if one["reblog"]] == [True]
    assert api(bob).get(f"/api/v1/statuses/{first.pk}").json()["muted"] is False
    for _ in range(2):
        assert caller.post(f"/api/v1/statuses/{written['id']}/unmute").json()["muted"] is False
        assert muted() == [False] * 4
    for deed in ("mute", "unmute"):
        assert caller.post(f"/api/v1/statuses/0/{deed}").status_code == 404

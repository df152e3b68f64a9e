"""Signing up, looking at accounts, following."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from feeds.models import Outbox
from followers.models import Account, Follow
from tests import factories
from tests.factories import AccountFactory, PostFactory

from .reading import ids, links

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
ALICE = {"username": "alice", "email": "alice@example.org", "password": PASSWORD, "agreement": "true", "locale": "en"}


@pytest.fixture
def newcomer() -> APIClient:
    """An application that has no account yet."""
    caller = APIClient(raise_request_exception=False)
    caller.credentials(HTTP_AUTHORIZATION=f"Bearer {factories.token(None)}")
    return caller


def test_signing_up_gives_a_token_that_works(newcomer: APIClient) -> None:
    answer = newcomer.post("/api/v1/accounts", ALICE)
    assert answer.status_code == 200
    assert answer.json()["scope"] == "read write"
    newcomer.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access_token']}")
    me = newcomer.get("/api/v1/accounts/verify_credentials").json()
    assert me["acct"] == "alice"
    assert me["source"]["privacy"] == "public"
    assert Account.objects.get().check_password(PASSWORD)


@pytest.mark.parametrize(
    ("wrong", "field", "error"),
    [
        ({"username": "Has Spaces"}, "username", "ERR_INVALID"),
        ({"username": "admin"}, "username", "ERR_RESERVED"),
        ({"username": ""}, "username", "ERR_BLANK"),
        ({"username": "x" * 31}, "username", "ERR_INVALID"),
        ({"username": "a\0"}, "username", "ERR_INVALID"),
        ({"username": "TAKEN"}, "username", "ERR_TAKEN"),
        ({"email": "taken@example.org"}, "email", "ERR_TAKEN"),
        ({"email": "nobody"}, "email", "ERR_INVALID"),
        ({"email": ""}, "email", "ERR_BLANK"),
        ({"password": "short"}, "password", "ERR_TOO_SHORT"),
        ({"password": ""}, "password", "ERR_BLANK"),
        ({"agreement": "false"}, "agreement", "ERR_ACCEPTED"),
    ],
)
def test_signing_up_is_refused_field_by_field(
    newcomer: APIClient, wrong: dict[str, str], field: str, error: str
) -> None:
    AccountFactory(username="taken", email="taken@example.org")
    answer = newcomer.post("/api/v1/accounts", ALICE | wrong, format="json")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"Validation failed: {field.capitalize()}")
    assert error in [problem["error"] for problem in answer.json()["details"][field]]
    assert Account.objects.count() == 1
    assert not Outbox.objects.exists()


def test_only_an_application_with_the_scope_signs_up(api: Any) -> None:
    assert api().post("/api/v1/accounts", ALICE).status_code == 401
    assert api(AccountFactory()).post("/api/v1/accounts", ALICE).status_code == 403
    reader = APIClient()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {factories.token(None, 'read')}")
    assert reader.post("/api/v1/accounts", ALICE).status_code == 403


def test_an_account_looks_as_clients_expect(api: Any, settings: Any) -> None:
    account = AccountFactory(username="alice", display_name="Alice", note="<me>")
    shown = api().get(f"/api/v1/accounts/{account.pk}").json()
    expected = {
        "id": str(account.pk),
        "username": "alice",
        "acct": "alice",
        "url": f"{settings.BASE_URL}/@alice",
        "display_name": "Alice",
        "note": "<p>&lt;me&gt;</p>",
        "followers_count": 0,
        "last_status_at": None,
        "fields": [],
    }
    assert shown | expected == shown
    assert shown["created_at"].endswith("T00:00:00.000Z")
    assert shown["noindex"] is shown["bot"] is shown["group"] is shown["locked"] is False
    assert shown["emojis"] == shown["fields"] == shown["roles"] == []


def test_lookup_takes_a_name_in_any_case_and_with_this_host(api: Any, settings: Any) -> None:
    account = AccountFactory(username="alice")
    host = settings.BASE_URL.partition("//")[2]
    for acct in ("alice", "ALICE", "@alice", f"alice@{host}", f"@Alice@{host.upper()}"):
        answer = api().get("/api/v1/accounts/lookup", {"acct": acct})
        assert (answer.status_code, answer.json().get("id")) == (200, str(account.pk))
    for acct in ("bob", "alice@elsewhere.example", "", "a\0", "\ud800".encode(errors="surrogatepass"), "@", "a b"):
        assert api().get("/api/v1/accounts/lookup", {"acct": acct}).status_code == 404


def test_following_twice_answers_the_same_and_changes_nothing_more(api: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    first = api(alice).post(f"/api/v1/accounts/{bob.pk}/follow")
    second = api(alice).post(f"/api/v1/accounts/{bob.pk}/follow/", {"reblogs": True}, format="json")
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["following"] is True
    assert Follow.objects.count() == 1
    assert Outbox.objects.filter(task="sync_pair").count() == 1
    bob.refresh_from_db()
    assert bob.followers_count == 1

    for _ in range(2):
        answer = api(alice).post(f"/api/v1/accounts/{bob.pk}/unfollow")
        assert (answer.status_code, answer.json()["following"]) == (200, False)
    assert not Follow.objects.exists()


def test_following_oneself_or_nobody_is_refused(api: Any) -> None:
    alice = AccountFactory()
    oneself = api(alice).post(f"/api/v1/accounts/{alice.pk}/follow")
    assert oneself.status_code == 422
    assert oneself.json()["error"].startswith("Validation failed: ")
    for nobody in (
        "0",
        str(alice.pk + 1000),
        str((1 << 63) - 1),
        str(1 << 63),
        "9" * 40,
        "-1",
        "alice",
        "%00",
        "%ED%A0%80",
    ):
        for deed in ("follow", "unfollow"):
            answer = api(alice).post(f"/api/v1/accounts/{nobody}/{deed}")
            assert (answer.status_code, answer.json()) == (404, {"error": "Record not found"})
    assert not Follow.objects.exists()


def test_relationships_come_in_the_order_asked(api: Any) -> None:
    alice, bob, carol = AccountFactory.create_batch(3)
    factories.follow(alice, bob)
    factories.follow(carol, alice)
    answer = api(alice).get(f"/api/v1/accounts/relationships?id[]={carol.pk}&id[]=0&id[]={bob.pk}&id[]={carol.pk}")
    assert ids(answer) == [carol.pk, bob.pk]
    assert [(one["following"], one["followed_by"]) for one in answer.json()] == [(False, True), (True, False)]
    assert api(alice).get("/api/v1/accounts/relationships").json() == []
    assert api(alice).get("/api/v1/accounts/relationships?id[]=x").status_code == 400


def test_followers_are_paged_by_follow_ids_the_latest_first(api: Any) -> None:
    bob, *readers = AccountFactory.create_batch(6)
    for reader in reversed(readers):  # so that account ids and follow ids go in opposite directions
        factories.follow(reader, bob)
    first = api().get(f"/api/v1/accounts/{bob.pk}/followers?limit=2")
    second = api().get(links(first)["next"])
    third = api().get(links(second)["next"])
    assert ids(first) + ids(second) + ids(third) == [reader.pk for reader in readers]
    assert [len(ids(page)) for page in (first, second, third)] == [2, 2, 1]
    assert list(links(third)) == ["prev"]
    assert ids(api().get(links(third)["prev"])) == ids(second)
    assert ids(api().get(f"/api/v1/accounts/{readers[0].pk}/following")) == [bob.pk]
    assert api().get(f"/api/v1/accounts/{readers[0].pk}/followers").json() == []
    assert api().get("/api/v1/accounts/0/followers").status_code == 404


def test_an_authors_page_shows_each_viewer_what_they_may_see(api: Any) -> None:
    bob, follower, stranger = AccountFactory(username="bob"), AccountFactory(), AccountFactory(username="carol")
    factories.follow(follower, bob)
    public, unlisted = PostFactory(author=bob), PostFactory(author=bob, visibility="unlisted")
    private = PostFactory(author=bob, visibility="private")
    direct = PostFactory(author=bob, visibility="direct", text="hello @carol")
    url = f"/api/v1/accounts/{bob.pk}/statuses"
    assert ids(api().get(url)) == [unlisted.pk, public.pk]
    assert ids(api(follower).get(url)) == [private.pk, unlisted.pk, public.pk]
    assert ids(api(stranger).get(url)) == [direct.pk, unlisted.pk, public.pk]
    assert ids(api(bob).get(url)) == [direct.pk, private.pk, unlisted.pk, public.pk]


def test_an_authors_page_can_leave_out_replies(api: Any) -> None:
    bob = AccountFactory()
    post = PostFactory(author=bob)
    reply = PostFactory(author=bob, in_reply_to=PostFactory())
    url = f"/api/v1/accounts/{bob.pk}/statuses"
    assert ids(api().get(url, {"exclude_replies": "true"})) == [post.pk]
    assert ids(api().get(url, {"exclude_replies": "false"})) == [reply.pk, post.pk]
    for other in ({"pinned": "true"}, {"only_media": "1"}, {"tagged": "cats"}):
        assert api().get(url, other).json() == []
    assert api().get("/api/v1/accounts/0/statuses").status_code == 404

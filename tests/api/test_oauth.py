"""Applications, their tokens, and what tokens may do."""

from __future__ import annotations

import base64
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from oauth2_provider.models import AccessToken
from rest_framework.test import APIClient

from feeds import actions
from feeds.api import auth, throttling
from followers.models import Application
from tests import factories
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
PASSWORD = "correct horse battery"


@pytest.fixture
def app(api: Any) -> dict[str, str]:
    """A registered application's id and secret."""
    form = {"client_name": "a client", "redirect_uris": OUT_OF_BAND, "scopes": "read write"}
    answer = api().post("/api/v1/apps", form).json()
    return {"client_id": answer["client_id"], "client_secret": answer["client_secret"]}


def bearer(token: str) -> APIClient:
    caller = APIClient(raise_request_exception=False)
    caller.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return caller


def test_an_application_registers_with_json_and_with_a_form(api: Any) -> None:
    uris = ["https://example.org/back", "myapp://back"]
    expected = {
        "name": "a client",
        "website": None,
        "scopes": ["read"],
        "redirect_uri": "\n".join(uris),
        "redirect_uris": uris,
        "client_secret_expires_at": 0,
    }
    for answer in (
        api().post("/api/v1/apps", {"client_name": "a client", "redirect_uris": uris}, format="json"),
        api().post("/api/v1/apps/", {"client_name": "a client", "redirect_uris[]": uris}),
        api().post("/api/v1/apps", {"client_name": "a client", "redirect_uris": "\n".join(uris)}),
    ):
        assert answer.status_code == 200
        assert answer.json() | expected == answer.json()
        assert answer.json()["client_id"] and answer.json()["client_secret"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_name": ""},
        {"client_name": "a\0b"},
        {"redirect_uris": ""},
        {"redirect_uris": "javascript:alert(1)"},
        {"redirect_uris": "no-scheme"},
        {"redirect_uris": "http://[broken"},
        {"redirect_uris": [["nested"]]},
        {"scopes": "read everything"},
        {"website": "javascript:alert(1)"},
    ],
)
def test_an_application_that_makes_no_sense_is_refused(api: Any, wrong: dict[str, Any]) -> None:
    answer = api().post("/api/v1/apps", {"client_name": "x", "redirect_uris": OUT_OF_BAND} | wrong, format="json")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("Validation failed: ")
    assert not Application.objects.exists()


def test_a_secret_and_a_token_are_stored_as_hashes_only(api: Any, app: dict[str, str]) -> None:
    token = api().post("/oauth/token", app | {"grant_type": "client_credentials"}).json()["access_token"]
    assert app["client_secret"] not in Application.objects.get().client_secret
    assert AccessToken.objects.get().token == ""
    assert AccessToken.objects.get().token_checksum != token


def test_an_application_gets_a_token_of_its_own(api: Any, app: dict[str, str]) -> None:
    form = app | {"grant_type": "client_credentials", "scope": "read write:statuses"}
    basic = base64.b64encode(f"{app['client_id']}:{app['client_secret']}".encode()).decode()
    for answer in (
        api().post("/oauth/token", form, format="json"),
        api().post("/oauth/token/", form),
        api().post(
            "/oauth/token",
            {"grant_type": "client_credentials", "scope": form["scope"]},
            HTTP_AUTHORIZATION=f"Basic {basic}",
        ),
    ):
        assert answer.status_code == 200
        assert set(answer.json()) == {"access_token", "token_type", "scope", "created_at"}
        assert answer.json()["token_type"] == "Bearer"
        assert answer.json()["scope"] == "read write:statuses"
        assert isinstance(answer.json()["created_at"], int)
        found = bearer(answer.json()["access_token"]).get("/api/v1/apps/verify_credentials").json()
        assert (found["name"], found["scopes"], found["redirect_uris"]) == (
            "a client",
            ["read", "write"],
            [OUT_OF_BAND],
        )


def test_the_password_grant_gives_a_token_of_the_account(api: Any, app: dict[str, str], settings: Any) -> None:
    account = AccountFactory(username="alice")
    account.set_password(PASSWORD)
    account.save()
    form = app | {"grant_type": "password", "username": "Alice", "password": PASSWORD}

    answer = api().post("/oauth/token", form | {"scope": "read write"}, format="json")
    me = bearer(answer.json()["access_token"]).get("/api/v1/accounts/verify_credentials")
    assert (me.status_code, me.json()["username"]) == (200, "alice")
    assert "refresh_token" not in answer.json()

    wrong = api().post("/oauth/token", form | {"password": "not it"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")

    settings.OAUTH_PASSWORD_GRANT = False
    off = api().post("/oauth/token", form)
    assert (off.status_code, off.json()["error"]) == (400, "unsupported_grant_type")


def test_the_password_grant_has_the_limits_of_the_page(api: Any, app: dict[str, str], settings: Any) -> None:
    settings.RATE_LIMITS = settings.OAUTH_PASSWORD_GRANT = True
    settings.PASSWORD_HASHERS = ["feeds.api.hashers.ClientSecretHasher"]  # a quick one
    form = app | {"grant_type": "password", "password": "wrong"}

    def answer(name: str, address: str) -> Any:
        return api().post("/oauth/token", form | {"username": name}, REMOTE_ADDR=address)

    codes = [answer(f"nobody{turn}", "192.0.2.50").status_code for turn in range(11)]
    assert codes == [400] * 10 + [429]
    AccountFactory(username="alice")
    for turn in range(10):
        assert answer("Alice", f"192.0.2.{turn}").status_code == 400
    refused = answer("alice", "192.0.2.99")
    assert (refused.status_code, refused.json()) == (429, {"error": throttling.SENTENCES["sign_ins"]})
    assert int(refused.headers["Retry-After"]) > 0


def test_nobody_learns_by_the_password_grant_who_has_an_account(api: Any, app: dict[str, str], settings: Any) -> None:
    """Neither by the answer, nor by how long it takes."""
    settings.OAUTH_PASSWORD_GRANT = True
    for name in ("alice", "gone", "without"):
        account = AccountFactory(username=name)
        account.set_password(PASSWORD if name != "without" else None)
        account.is_active = name != "gone"
        account.save()
    told, took = [], []
    for name, password in (("alice", "x"), ("nobody", PASSWORD), ("gone", PASSWORD), ("without", PASSWORD)):
        form = app | {"grant_type": "password", "username": name, "password": password}
        began = time.process_time()
        answer = api().post("/oauth/token", form)
        took.append(time.process_time() - began)
        told.append((answer.status_code, answer.content))
    assert len(set(told)) == 1 and told[0][0] == 400
    assert max(took) < 2 * min(took), took


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"client_secret": "not it"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": ""}, 401, "invalid_client"),
        ({"scope": "read push"}, 400, "invalid_scope"),
        ({"scope": "everything"}, 400, "invalid_scope"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"grant_type": "magic"}, 400, "unsupported_grant_type"),
        ({"grant_type": ["password"]}, 400, "invalid_request"),
        ({"grant_type": "\0"}, 400, "invalid_request"),
        ({"scope": "\ud800"}, 400, "invalid_request"),
    ],
)
def test_a_token_request_that_is_wrong_says_why(
    api: Any, app: dict[str, str], wrong: dict[str, Any], status: int, error: str
) -> None:
    body = json.dumps(app | {"grant_type": "client_credentials"} | wrong)
    answer = api().post("/oauth/token", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize(
    "header", ["Basic", "Basic é", "Basic bm9jb2xvbg==", "Basic YQA6Yg==", "Basic ////", "Digest x"]
)
def test_broken_basic_authentication_is_refused(api: Any, header: str) -> None:
    answer = api().post("/oauth/token", {"grant_type": "client_credentials"}, HTTP_AUTHORIZATION=header)
    assert answer.status_code in (400, 401)


def test_a_token_is_revoked_by_the_application_that_got_it(api: Any, app: dict[str, str]) -> None:
    token = api().post("/oauth/token", app | {"grant_type": "client_credentials"}).json()["access_token"]
    form = {"client_name": "another", "redirect_uris": OUT_OF_BAND}
    other = api().post("/api/v1/apps", form).json()
    theirs = {"client_id": other["client_id"], "client_secret": other["client_secret"]}

    assert api().post("/oauth/revoke", theirs | {"token": token}).status_code == 403
    assert api().post("/oauth/revoke", {"token": token}).status_code == 403
    assert bearer(token).get("/api/v1/apps/verify_credentials").status_code == 200

    for _ in range(2):  # what is revoked can be revoked again
        answer = api().post("/oauth/revoke", app | {"token": token}, format="json")
        assert (answer.status_code, answer.json()) == (200, {})
    assert bearer(token).get("/api/v1/apps/verify_credentials").status_code == 401


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [
        ("read write", 200, 200),
        ("read", 200, 403),
        ("write", 403, 200),
        ("read:statuses", 200, 403),
        ("write:statuses", 403, 200),
        ("read:accounts follow", 403, 403),
    ],
)
def test_scopes_decide_and_a_top_level_scope_implies_its_parts(api: Any, scopes: str, reads: int, writes: int) -> None:
    caller = api(AccountFactory(), scopes)
    assert caller.get("/api/v1/timelines/home").status_code == reads
    answer = caller.post("/api/v1/statuses", {"status": "x"})
    assert answer.status_code == writes
    if writes == 403:
        assert answer.json() == {"error": "This action is outside the authorized scopes"}


def test_the_follow_scope_lets_follow(api: Any) -> None:
    assert api(AccountFactory(), "follow").post(f"/api/v1/accounts/{AccountFactory().pk}/follow").status_code == 200


def test_without_an_account_there_is_no_home(api: Any, app: dict[str, str]) -> None:
    token = api().post("/oauth/token", app | {"grant_type": "client_credentials"}).json()["access_token"]
    for caller, error in (
        (api(), "The access token is invalid"),
        (bearer("nonsense"), "The access token is invalid"),
        (bearer("\ud800"), "The access token is invalid"),
        (bearer(token), "This method requires an authenticated user"),
    ):
        answer = caller.get("/api/v1/timelines/home")
        assert (answer.status_code, answer.json()) == (401, {"error": error})


def test_a_token_ends_with_its_account(api: Any) -> None:
    account = AccountFactory()
    caller = api(account)
    account.is_active = False
    account.save()
    assert caller.get("/api/v1/timelines/public").status_code == 401


@pytest.fixture
def limited(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMITS = True
    monkeypatch.setattr(throttling.SECRETS, "amount", 3)


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"}


def try_secret(api: Any, app: dict[str, str], secret: str, address: str, way: str) -> Any:
    form = {"grant_type": "client_credentials", "token": "x"}
    if way == "basic":
        return api().post("/oauth/token", form, REMOTE_ADDR=address, **basic(app["client_id"], secret))
    return api().post(f"/oauth/{way}", form | app | {"client_secret": secret}, REMOTE_ADDR=address)


@pytest.mark.parametrize(("way", "refused"), [("token", 401), ("basic", 401), ("revoke", 403)])
def test_wrong_secrets_shut_out_the_address_that_tries_them(
    api: Any, app: dict[str, str], limited: None, way: str, refused: int
) -> None:
    codes = [try_secret(api, app, f"wrong{turn}", "192.0.2.50", way).status_code for turn in range(4)]
    assert codes == [refused] * 3 + [429]
    answer = try_secret(api, app, app["client_secret"], "192.0.2.50", way)
    assert (answer.status_code, answer.json()) == (429, {"error": throttling.SENTENCES["secrets"]})
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    unknown = {"client_id": "nobody", "client_secret": "x"}
    assert try_secret(api, unknown, "x", "192.0.2.50", way).status_code == 429
    assert try_secret(api, app, app["client_secret"], "192.0.2.51", way).status_code == 200


def test_a_right_secret_counts_for_nothing(api: Any, app: dict[str, str], limited: None) -> None:
    codes = {try_secret(api, app, app["client_secret"], "192.0.2.52", "token").status_code for _ in range(9)}
    assert codes == {200}


@pytest.mark.parametrize(("way", "refused"), [("token", 401), ("basic", 401), ("revoke", 403)])
def test_wrong_secrets_from_many_addresses_are_noted_and_keep_nobody_out_who_has_the_right_one(
    api: Any, app: dict[str, str], limited: None, way: str, refused: int
) -> None:
    codes = [try_secret(api, app, "wrong", f"198.51.100.{turn}", way).status_code for turn in range(5)]
    assert codes == [refused] * 3 + [429] * 2
    assert try_secret(api, app, app["client_secret"], "198.51.100.9", way).status_code == 200
    assert [(one.limit, one.kind, one.who) for one in throttling.refusals()] == [
        ("secrets", "client", app["client_id"])
    ]


def test_who_has_not_the_applications_secret_uses_up_nobodys_tries_to_sign_in(
    api: Any, app: dict[str, str], settings: Any
) -> None:
    settings.RATE_LIMITS = True
    form = app | {"grant_type": "password", "username": "alice", "password": "x"}
    codes = [
        api().post("/oauth/token", form | {"client_secret": "wrong"}, REMOTE_ADDR=f"192.0.2.{turn}").status_code
        for turn in range(11)
    ]
    assert set(codes) == {401}
    assert api().post("/oauth/token", form, REMOTE_ADDR="192.0.2.99").status_code == 400


@pytest.mark.parametrize("account", [True, False])
def test_made_up_tokens_count_against_the_address_and_then_even_a_right_one_is_not_looked_at(
    api: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, account: bool
) -> None:
    settings.RATE_LIMITS = True
    monkeypatch.setattr(throttling.REQUESTS, "amount", 5)
    path = f"/api/v1/{'accounts' if account else 'apps'}/verify_credentials"
    right = bearer(factories.token(AccountFactory() if account else None))
    tries = [bearer(f"made up {turn}").get(path, REMOTE_ADDR="192.0.2.53").status_code for turn in range(6)]
    assert tries == [401] * 5 + [429]
    assert right.get(path, REMOTE_ADDR="192.0.2.53").status_code == 429
    assert right.get(path, REMOTE_ADDR="192.0.2.54").status_code == 200


def test_a_token_that_was_just_used_is_refused_once_it_is_revoked_or_its_account_ends(api: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    of_alice, of_bob = api(alice), api(bob)
    for caller in (of_alice, of_bob):
        assert caller.get("/api/v1/timelines/home").status_code == 200
    AccessToken.objects.get(user=alice).revoke()
    actions.delete_account(account=bob)
    for caller in (of_alice, of_bob):
        assert caller.get("/api/v1/timelines/home").status_code == 401


def test_a_token_is_looked_up_once_in_a_while_and_again_if_it_was_revoked_meanwhile(
    api: Any, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    caller, path = api(AccountFactory()), "/api/v1/markers"  # without a timeline: no row is asked for
    with django_assert_num_queries(1):
        caller.get(path)
        caller.get(path)
    AccessToken.objects.update(expires=timezone.now())  # by another process: nothing tells this one
    assert caller.get(path).status_code == 200
    monkeypatch.setattr(auth, "KNOWN_FOR", -1)
    auth.forget_tokens()
    assert caller.get(path).status_code == 401


def test_a_token_is_known_no_longer_than_it_is_good(api: Any) -> None:
    caller, path = api(AccountFactory()), "/api/v1/markers"
    AccessToken.objects.update(expires=timezone.now() + timedelta(seconds=0.5))
    assert caller.get(path).status_code == 200
    time.sleep(0.6)
    assert caller.get(path).status_code == 401

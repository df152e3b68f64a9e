"""How a client gets a token from a person: the pages at /oauth/authorize, and the code that they end with."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection, connections
from django.db.models.functions import Now
from django.test import Client
from oauth2_provider.models import AccessToken, Grant
from rest_framework.test import APIClient

from feeds import actions, tasks
from feeds.api.auth import SCOPES
from feeds.web.scopes import WORDS, in_words
from followers.models import Account
from tests.conftest import eventually
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
BACK = "https://client.example/back"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice", email="alice@example.org", password=hashed())


@cache
def hashed() -> str:
    """Once for all tests: it takes long, as it should."""
    return make_password(PASSWORD)


@pytest.fixture
def app() -> dict[str, str]:
    return register(f"{BACK} {OUT_OF_BAND} myapp:// http://127.0.0.1:1234/back https://client.example/with?a=b")


def register(uris: str) -> dict[str, str]:
    form = {"client_name": "A <client>", "redirect_uris": uris, "scopes": "read write", "website": "https://c.example"}
    answer = APIClient().post("/api/v1/apps", form).json()
    return {"client_id": answer["client_id"], "client_secret": answer["client_secret"]}


def url(app: dict[str, str], **asked: Any) -> str:
    params = {"response_type": "code", "client_id": app["client_id"], "redirect_uri": BACK, "scope": "read"} | asked
    return f"/oauth/authorize?{urlencode({name: value for name, value in params.items() if value is not None})}"


def press(person: Client, page: Any, path: str, deed: str, **typed: str) -> Any:
    """What a browser sends of the form on the page."""
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
    return person.post(path, dict(hidden) | typed | {"deed": deed})


def sign_in(person: Client, path: str, name: str = "alice", password: str = PASSWORD, **extra: str) -> Any:
    page = person.get(path)
    assert "Sign in" in page.content.decode()
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
    return person.post(path, dict(hidden) | {"username": name, "password": password, "deed": "sign_in"}, **extra)


def signed_in() -> Client:
    person = Client(enforce_csrf_checks=True)
    person.force_login(Account.objects.get(username="alice"))
    return person


def allowed(path: str, deed: str = "allow") -> Any:
    """Where a person who is signed in and presses the button ends up."""
    person = signed_in()
    return press(person, person.get(path), path, deed)


def params_of(answer: Any) -> dict[str, str]:
    assert answer.status_code == 302, answer.content
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def exchange(app: dict[str, str], code: str, **more: Any) -> Any:
    form = app | {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK} | more
    return APIClient(raise_request_exception=False).post(
        "/oauth/token", {name: value for name, value in form.items() if value is not None}, format="json"
    )


def whoami(token: str) -> Any:
    return APIClient().get("/api/v1/accounts/verify_credentials", HTTP_AUTHORIZATION=f"Bearer {token}")


def test_a_person_signs_in_lets_a_client_in_and_it_gets_a_token(alice: Account, app: dict[str, str]) -> None:
    path = url(app, scope="read write:statuses", state="a b&c")
    person = Client(enforce_csrf_checks=True)
    assert sign_in(person, path).headers["Location"].startswith("/oauth/authorize?")
    page = person.get(path)
    shown = page.content.decode()
    assert "Let <bdi>A &lt;client&gt;</bdi> use your account?" in shown
    for words in ("https://c.example", "@alice", WORDS["read"], WORDS["write:statuses"], "client.example"):
        assert words in shown
    answer = press(person, page, path, "allow")
    assert answer.headers["Location"].startswith(f"{BACK}?")
    assert params_of(answer)["state"] == "a b&c"

    token = exchange(app, params_of(answer)["code"])
    assert token.status_code == 200
    assert set(token.json()) == {"access_token", "token_type", "scope", "created_at"}
    assert (token.json()["token_type"], token.json()["scope"]) == ("Bearer", "read write:statuses")
    assert whoami(token.json()["access_token"]).json()["username"] == "alice"


@pytest.mark.parametrize("name", ["alice", " Alice", "ALICE@example.org"])
def test_people_sign_in_by_name_or_email(alice: Account, app: dict[str, str], name: str) -> None:
    assert sign_in(Client(enforce_csrf_checks=True), url(app), name).status_code == 302


def test_whatever_is_wrong_with_a_sign_in_gets_the_same_answer(alice: Account, app: dict[str, str]) -> None:
    ended = AccountFactory(username="ended", password=hashed())
    actions.delete_account(account=ended)
    AccountFactory(username="without")
    person = Client(enforce_csrf_checks=True)
    for name, password in (
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("ended", PASSWORD),
        ("without", PASSWORD),
        ("nobody@example.org", "x"),
    ):
        answer = sign_in(person, url(app), name, password)
        assert answer.status_code == 422
        assert "There is no account with this name and this password." in answer.content.decode()
    assert "sessionid" not in person.cookies


@pytest.mark.parametrize("typed", [{"username": ""}, {"password": ""}, {"username": "a\0b"}, {"username": "x" * 999}])
def test_a_sign_in_that_makes_no_sense_is_refused(alice: Account, app: dict[str, str], typed: dict[str, str]) -> None:
    person, path = Client(), url(app)
    form = {"username": "alice", "password": PASSWORD, "deed": "sign_in"} | typed
    assert person.post(path, form).status_code == 422


def test_tries_to_sign_in_are_limited_by_address_and_by_name(
    alice: Account, app: dict[str, str], settings: Any
) -> None:
    settings.RATE_LIMITS = True
    settings.PASSWORD_HASHERS = ["feeds.api.hashers.ClientSecretHasher"]  # a quick one
    path = url(app)
    codes = [
        sign_in(Client(), path, f"nobody{turn}", REMOTE_ADDR="192.0.2.40").status_code
        for turn in range(11)
    ]  # fmt: skip
    assert codes == [422] * 10 + [429]
    for turn in range(10):
        assert sign_in(Client(), path, "Alice", "wrong", REMOTE_ADDR=f"192.0.2.{turn}").status_code == 422
    answer = sign_in(Client(), path, "alice", REMOTE_ADDR="192.0.2.99")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "try again" in answer.content.decode()


def test_force_login_asks_for_the_password_once_more_and_then_no_more(alice: Account, app: dict[str, str]) -> None:
    person, path = signed_in(), url(app, force_login="true", state="s")
    assert "Sign in" in person.get(path).content.decode()
    answer = sign_in(person, path)
    assert "force_login" not in answer.headers["Location"] and "state=s" in answer.headers["Location"]
    assert "<h1>Let" in person.get(answer.headers["Location"]).content.decode()


def test_somebody_else_signs_in_instead(alice: Account, app: dict[str, str]) -> None:
    bob = AccountFactory(username="bob", password=hashed())
    path = url(app)
    person = signed_in()
    seen_by_alice = person.get(path)
    press(person, seen_by_alice, path, "leave")
    sign_in(person, path, "bob")
    page = person.get(path)
    assert "@bob" in page.content.decode()

    page.content = page.content.replace(f'value="{bob.pk}"'.encode(), f'value="{alice.pk}"'.encode())
    stale = press(person, page, path, "allow")  # of a window where alice was signed in
    assert stale.headers["Location"].startswith("/oauth/authorize?")
    assert not Grant.objects.exists()


def test_somebody_new_makes_an_account_on_the_way(app: dict[str, str]) -> None:
    person, path = Client(enforce_csrf_checks=True), url(app, force_login="true", state="s")
    [there] = re.findall('href="(/oauth/authorize/sign_up[^"]*)"', person.get(path).content.decode())
    there = there.replace("&amp;", "&")
    typed = {"username": "Bob", "email": "bob@example.org", "password": PASSWORD, "agreement": "on"}
    answer = press(person, person.get(there), there, "", **typed)
    assert answer.status_code == 302
    assert "@bob" in (person.get(answer.headers["Location"])).content.decode()
    assert Account.objects.get().email == "bob@example.org"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"username": "alice"}, "already"),
        ({"username": "admin"}, "reserved"),
        ({"username": "a b"}, "lower-case"),
        ({"email": "ALICE@example.org"}, "already"),
        ({"email": "nowhere"}, "valid"),
        ({"password": "12345"}, "too short"),
        ({"agreement": ""}, "required"),
    ],
)
def test_an_account_that_makes_no_sense_is_not_made(
    alice: Account, app: dict[str, str], wrong: dict[str, str], says: str
) -> None:
    path = url(app).replace("authorize?", "authorize/sign_up?")
    typed = {"username": "bob", "email": "bob@example.org", "password": PASSWORD, "agreement": "on"} | wrong
    answer = Client().post(path, typed)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert Account.objects.get() == alice


def test_new_accounts_are_limited_by_address(app: dict[str, str], settings: Any) -> None:
    settings.RATE_LIMITS = True
    path = url(app).replace("authorize?", "authorize/sign_up?")

    def sign_up(number: int) -> int:
        typed = {
            "username": f"bob{number}",
            "email": f"bob{number}@example.org",
            "password": PASSWORD,
            "agreement": "on",
        }
        return Client().post(path, typed, REMOTE_ADDR="192.0.2.50").status_code

    assert [sign_up(number) for number in range(6)] == [302] * 5 + [429]


def test_saying_no_tells_the_client(alice: Account, app: dict[str, str]) -> None:
    answer = allowed(url(app, state="s"), "deny")
    assert answer.headers["Location"].startswith(f"{BACK}?")
    assert params_of(answer) | {"error": "access_denied", "state": "s"} == params_of(answer)
    assert not Grant.objects.exists()


def test_without_a_redirect_the_code_is_shown_to_be_copied(alice: Account, app: dict[str, str]) -> None:
    path = url(app, redirect_uri=OUT_OF_BAND)
    person = signed_in()
    answer = press(person, person.get(path), path, "allow")
    assert answer.headers["Location"].startswith("/oauth/authorize/native?code=")
    page = person.get(answer.headers["Location"])
    [code] = re.findall(r'<code id="code"[^>]*>(\w+)</code>', page.content.decode())
    assert exchange(app, code, redirect_uri=OUT_OF_BAND).status_code == 200
    assert "You said no" in press(person, person.get(path), path, "deny").content.decode()


@pytest.mark.parametrize("code", ["", "<b>", "x" * 65, "call us at 555 0100", "\u0661"])
def test_nobody_puts_words_on_the_page_with_the_code(code: str) -> None:
    assert Client().get("/oauth/authorize/native", {"code": code}).status_code == 404


@pytest.mark.parametrize(
    ("uri", "begins"),
    [
        ("myapp://", "myapp://?code="),
        ("http://127.0.0.1:4711/back", "http://127.0.0.1:4711/back?code="),  # another port than registered: RFC 8252
        ("https://client.example/with?a=b", "https://client.example/with?a=b&code="),
    ],
)
def test_the_redirect_is_as_it_was_registered(alice: Account, app: dict[str, str], uri: str, begins: str) -> None:
    assert allowed(url(app, redirect_uri=uri)).headers["Location"].startswith(begins)


def test_an_only_redirect_uri_need_not_be_named(alice: Account) -> None:
    app = register(BACK)
    code = params_of(allowed(url(app, redirect_uri=None)))["code"]
    assert exchange(app, code, redirect_uri=None).status_code == 200


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"client_id": None}, "client_id"),
        ({"client_id": "nobody"}, "client_id"),
        ({"client_id": "a\0b"}, "NUL"),
        ({"state": "a\0b"}, "NUL"),
        ({"redirect_uri": None}, "redirect_uri"),
        ({"redirect_uri": "https://evil.example/back"}, "redirect_uri"),
        ({"redirect_uri": f"{BACK}/more"}, "redirect_uri"),
        ({"redirect_uri": f"{BACK}?more=1"}, "redirect_uri"),
        ({"redirect_uri": f"{BACK}#more"}, "redirect_uri"),
        ({"redirect_uri": "https://evil@client.example/back"}, "redirect_uri"),
        ({"redirect_uri": "http://localhost:1234/back"}, "redirect_uri"),
        ({"redirect_uri": "https://client.example:port/back"}, "redirect_uri"),
        ({"redirect_uri": "http://[broken"}, "redirect_uri"),
        ({"redirect_uri": "javascript:alert(1)"}, "redirect_uri"),
    ],
)
def test_a_link_that_cannot_be_trusted_leads_nowhere(
    alice: Account, app: dict[str, str], asked: dict[str, Any], says: str
) -> None:
    for person in (Client(), signed_in()):
        answer = person.get(url(app, **asked))
        assert answer.status_code == 400
        assert "Location" not in answer.headers
        assert says in answer.content.decode() and "<form" not in answer.content.decode()
        assert person.post(url(app, **asked), {"deed": "allow", "account": alice.pk}).status_code in (400, 403)


def test_a_parameter_that_comes_twice_is_refused(alice: Account, app: dict[str, str]) -> None:
    assert Client().get(f"{url(app)}&redirect_uri=https://evil.example").status_code == 400


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"scope": "read push"}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
    ],
)
def test_what_a_client_may_not_ask_for_it_learns_from_who_signed_in_alone(
    alice: Account, app: dict[str, str], asked: dict[str, Any], error: str
) -> None:
    answer = Client().get(url(app, **asked))
    assert answer.status_code == 400
    assert error in answer.content.decode()

    answer = signed_in().get(url(app, state="s", **asked))
    assert answer.headers["Location"].startswith(f"{BACK}?")
    assert params_of(answer) | {"error": error, "state": "s"} == params_of(answer)

    out_of_band = signed_in().get(url(app, redirect_uri=OUT_OF_BAND, **asked))
    assert (out_of_band.status_code, "Location" in out_of_band.headers) == (400, False)


def test_without_a_scope_a_client_asks_to_read(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app, scope=None)))["code"]
    assert exchange(app, code).json()["scope"] == "read"


def test_a_code_works_once_and_a_second_try_takes_the_token_back(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    token = exchange(app, code).json()["access_token"]
    other = register(BACK)
    assert exchange(other, code).status_code == 400
    assert whoami(token).status_code == 200  # another application can't take it back

    again = exchange(app, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert again.json()["error_description"]
    assert whoami(token).status_code == 401
    assert not AccessToken.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_who_come_with_one_code_at_once_one_gets_a_token(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]

    def come(_: int) -> Any:
        try:
            return exchange(app, code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor() as pool:
        with psycopg.connect(**connection.get_connection_params()) as ours:
            ours.execute("SELECT FROM oauth2_provider_grant FOR UPDATE")
            answers = pool.map(come, range(2))
            eventually(lambda: waiting_to_delete() == 2, "both have found the code")
        codes = sorted(answers, key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in codes] == [200, 400]
    assert codes[1].json()["error"] == "invalid_grant" and codes[1].json()["error_description"]
    assert AccessToken.objects.count() == 1


def waiting_to_delete() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE%grant%'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"code": "nonsense"}, 400, "invalid_grant"),
        ({"code": None}, 400, "invalid_request"),
        ({"client_secret": "not it"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"redirect_uri": "myapp://"}, 400, "invalid_request"),
        ({"redirect_uri": None}, 400, "invalid_request"),
    ],
)
def test_a_code_is_bound_to_its_client_and_redirect(
    alice: Account, app: dict[str, str], wrong: dict[str, Any], status: int, error: str
) -> None:
    code = params_of(allowed(url(app)))["code"]
    answer = exchange(app, **({"code": code} | wrong))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]
    assert not AccessToken.objects.exists()


def test_a_code_of_another_client_is_refused(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    answer = exchange(register(BACK), code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert exchange(app, code).status_code == 200


def test_an_old_code_is_refused_and_then_deleted(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    assert actions.prune_sign_ins() == 0
    Grant.objects.update(expires=Now() - timedelta(seconds=1))
    answer = exchange(app, code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert tasks.prune()["sign_ins"] == 1
    assert not Grant.objects.exists()


def test_a_code_of_an_account_that_ended_is_refused(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    actions.delete_account(account=alice)
    assert exchange(app, code).status_code == 400


@pytest.mark.parametrize(
    ("verifier", "status"), [(VERIFIER, 200), ("w" * 50, 400), (CHALLENGE, 400), ("", 400), (None, 400)]
)
def test_with_pkce_the_code_needs_its_verifier(
    alice: Account, app: dict[str, str], verifier: str | None, status: int
) -> None:
    code = params_of(allowed(url(app, **PKCE)))["code"]
    answer = exchange(app, code, code_verifier=verifier)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"] in ("invalid_grant", "invalid_request")


def test_nobody_takes_the_challenge_out_of_a_link(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    answer = exchange(app, code, code_verifier=VERIFIER)  # of a client that had sent one
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize(("deed", "asked"), [("allow", {}), ("deny", {"state": "s"}), (None, {"scope": "push"})])
def test_every_answer_to_a_client_says_whose_it_is(
    alice: Account, app: dict[str, str], deed: str | None, asked: dict[str, str]
) -> None:
    path = url(app, **asked)
    answer = allowed(path, deed) if deed else signed_in().get(path)
    found = APIClient().get("/.well-known/oauth-authorization-server").json()
    assert found["authorization_response_iss_parameter_supported"] is True
    assert params_of(answer)["iss"] == found["issuer"]


def test_signing_in_makes_a_new_session(alice: Account, app: dict[str, str]) -> None:
    person = Client()
    person.cookies["sessionid"] = "a" * 32  # that somebody else put there
    sign_in(person, url(app))
    first = person.cookies["sessionid"].value
    assert first != "a" * 32
    sign_in(person, url(app, force_login="true"))
    assert person.cookies["sessionid"].value != first
    thief = Client()
    thief.cookies["sessionid"] = first
    assert "Sign in" in thief.get(url(app)).content.decode()


@pytest.mark.parametrize("end", [lambda alice: actions.set_password(account=alice, password=PASSWORD[::-1]),
                                 lambda alice: actions.delete_account(account=alice)])  # fmt: skip
def test_a_session_ends_with_its_password_and_with_its_account(
    alice: Account, app: dict[str, str], end: Callable[[Account], None]
) -> None:
    person = signed_in()
    assert "<h1>Let" in person.get(url(app)).content.decode()
    end(alice)
    assert "<h1>Sign in" in person.get(url(app)).content.decode()


def test_how_long_a_refusal_takes_does_not_tell_who_has_an_account(alice: Account, app: dict[str, str]) -> None:
    AccountFactory(username="without")  # has no password

    def seconds(name: str) -> float:
        began = time.thread_time()  # that of the processor: what others do beside this test is not in it
        assert sign_in(Client(), url(app), name, "wrong").status_code == 422
        return time.thread_time() - began

    names = ("alice", "nobody", "without", "nobody@example.org")
    took = {name: min(seconds(name) for _ in range(3)) for name in names}
    assert max(took.values()) < 2 * min(took.values()), took  # without a hash it would be a hundredth


def test_the_client_may_show_its_secret_by_basic_and_in_a_form(alice: Account, app: dict[str, str]) -> None:
    code = params_of(allowed(url(app)))["code"]
    basic = base64.b64encode(f"{app['client_id']}:{app['client_secret']}".encode()).decode()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    assert APIClient().post("/oauth/token/", form, HTTP_AUTHORIZATION=f"Basic {basic}").status_code == 200


def test_a_form_that_is_not_ours_is_refused(alice: Account, app: dict[str, str]) -> None:
    path = url(app)
    person = signed_in()
    answer = person.post(path, {"deed": "allow", "account": alice.pk})
    assert answer.status_code == 403
    assert "Once more, please" in answer.content.decode()
    assert not Grant.objects.exists()
    assert Client(enforce_csrf_checks=True).post(path, {"deed": "sign_in"}).status_code == 403


def test_who_signed_in_there_is_signed_in_nowhere_else(alice: Account, app: dict[str, str]) -> None:
    person = Client(enforce_csrf_checks=True)
    sign_in(person, url(app))
    for name in ("sessionid", "csrftoken"):
        cookie = person.cookies[name]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/oauth/authorize", True, "Lax")
    page = person.get(url(app))
    gone = press(person, page, url(app), "leave").cookies["sessionid"]
    assert (gone["path"], gone["max-age"]) == ("/oauth/authorize", 0)
    assert APIClient().get("/api/v1/timelines/public").cookies == {}


def test_the_pages_are_shut_to_all_but_themselves(alice: Account, app: dict[str, str]) -> None:
    person = signed_in()
    for page in (Client().get(url(app)), person.get(url(app)), person.get("/oauth/authorize/native?code=abc")):
        headers = page.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        [style] = re.findall("<style>(.*)</style>", page.content.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in headers["Content-Security-Policy"]
        assert "<script" not in page.content.decode()
    for uri, may in ((BACK, "https:"), ("myapp://", "myapp:")):
        policy = person.get(url(app, redirect_uri=uri)).headers["Content-Security-Policy"]
        assert policy.endswith(f"form-action 'self' {may}")


def test_a_page_may_have_a_trailing_slash(alice: Account, app: dict[str, str]) -> None:
    path = url(app).replace("authorize?", "authorize/?")
    assert params_of(allowed(path))["code"]


def test_every_scope_is_said_in_words_and_none_twice() -> None:
    assert set(WORDS) == SCOPES
    assert in_words(["read:statuses", "read", "write:follows", "follow", "read"]) == [WORDS["read"], WORDS["follow"]]

"""Bad input gets one clear sentence as JSON, whatever it is, and never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feeds.models import Post
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"


def one_sentence(answer: Any) -> bool:
    return answer.headers["Content-Type"] == "application/json" and isinstance(json.loads(answer.content)["error"], str)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ('{"status":', "application/json", 400),
        ('{"status": NaN}', "application/json", 400),
        (b'{"status": "\xff"}', "application/json", 400),
        ("[" * 100_000, "application/json", 400),
        ('{"status": ' + "1" * 5000 + "}", "application/json", 400),
        (b"{}", "application/json; charset=bz2", 400),
        (b"no boundary", "multipart/form-data", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        ("a=1&" * 2000, FORM, 400),
        ("status=%00", FORM, 422),
        ("status=", FORM, 422),
        ("", FORM, 422),
        (b"<status/>", "text/xml", 415),
    ],
)
def test_a_broken_body_is_refused(api: Any, body: Any, kind: str, status: int) -> None:
    answer = api(AccountFactory()).post("/api/v1/statuses", body, content_type=kind)
    assert answer.status_code == status
    assert one_sentence(answer)
    assert not Post.objects.exists()


@pytest.mark.parametrize("kind", ["application/json", FORM, "multipart/form-data; boundary=x"])
def test_a_body_of_50_mb_is_refused_unread(api: Any, kind: str) -> None:
    answer = api(AccountFactory()).post("/api/v1/statuses", b"x", content_type=kind, CONTENT_LENGTH="50000000")
    assert answer.status_code == 413
    assert one_sentence(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/api/v1/nowhere",
        "/api/v1/statuses/x",
        "/api/v1/statuses/0",
        "/api/v1/statuses/-1",
        "/api/v1/statuses/9223372036854775808",
        "/api/v1/statuses/%00",
        "/api/v1/statuses/%ED%A0%80",
        "/api/v1/accounts/9223372036854775807",
        "/api/v1/accounts/%D9%A1",
    ],
)
def test_what_is_not_there_is_not_found(api: Any, path: str) -> None:
    answer = api().get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Record not found"})


def test_a_wrong_method_is_refused(api: Any) -> None:
    answer = api(AccountFactory()).patch("/api/v1/statuses/1")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT, DELETE, HEAD, OPTIONS")
    assert one_sentence(answer)


@pytest.mark.parametrize("path", ["healthz", "metrics", "thumbnail.svg", "avatars/1.png", "headers/1.png", "api/docs"])
def test_what_is_only_read_refuses_other_methods_in_the_same_words(api: Any, path: str) -> None:
    for method in ("POST", "DELETE", "OPTIONS"):
        answer = api().generic(method, f"/{path}")
        assert (answer.status_code, answer.json()) == (405, {"error": f'Method "{method}" not allowed.'})
        assert answer.headers["Allow"] == "GET, HEAD"


def test_options_tell_nothing_but_to_a_preflight(api: Any) -> None:
    """What a route takes is in the OpenAPI document."""
    answer = api(AccountFactory()).options("/api/v1/statuses")
    assert (answer.status_code, answer.json()) == (405, {"error": 'Method "OPTIONS" not allowed.'})


def test_no_cache_keeps_an_answer_but_what_is_for_all(api: Any) -> None:
    """A cache that goes by the URL would give one account's answer to the next."""
    caller = api(AccountFactory())
    for path in ("/api/v1/timelines/home", "/api/v1/accounts/verify_credentials", "/api/v1/statuses/1", "/nowhere"):
        assert caller.get(path).headers["Cache-Control"] == "private, no-store"
    for path in ("/avatars/1.png", "/thumbnail.svg", "/api/docs"):
        assert caller.get(path).headers["Cache-Control"].startswith(("max-age", "public"))


def test_what_a_cache_keeps_it_keeps_by_the_origin_that_asked(api: Any) -> None:
    assert api().get("/api/openapi.json").headers["Vary"] == "origin"
    assert "Vary" not in api().get("/api/v1/timelines/public").headers


def test_a_wrong_host_is_refused_in_json(api: Any) -> None:
    for host in ("bad host\0", "evil.example", "evil.example"):  # a good name is remembered, a wrong one is not
        answer = api().get("/api/v1/timelines/public", HTTP_HOST=host)
        assert (answer.status_code, answer.json()) == (400, {"error": "The request is malformed"})
        assert api().get("/api/v1/timelines/public", HTTP_HOST="localhost").status_code == 200


def test_json_is_answered_whatever_a_client_accepts(api: Any) -> None:
    answer = api().get("/api/v1/timelines/public?format=xml", HTTP_ACCEPT="text/html")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_every_url_has_an_optional_trailing_slash_without_redirect(api: Any) -> None:
    alice = AccountFactory()
    for path in ("/api/v1/timelines/home", "/api/v1/accounts/verify_credentials", f"/api/v1/accounts/{alice.pk}"):
        assert api(alice).get(path).json() == api(alice).get(f"{path}/").json()
    assert api(alice).post("/api/v1/statuses/", {"status": "x"}).status_code == 200


def test_head_is_get_without_a_body(api: Any) -> None:
    answer = api(AccountFactory()).head("/api/v1/timelines/home")
    assert (answer.status_code, answer.content) == (200, b"")


def test_browsers_of_any_origin_may_call(api: Any) -> None:
    preflight = api().options(
        "/api/v1/statuses", HTTP_ORIGIN="https://app.example", HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST"
    )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for name in ("authorization", "idempotency-key"):
        assert name in preflight.headers["Access-Control-Allow-Headers"]
    answer = api().get("/api/v1/timelines/public", HTTP_ORIGIN="https://app.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Link" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in {*preflight.headers, *answer.headers}

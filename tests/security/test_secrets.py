"""No password, token, code or secret stands in clear: not in a table, not in Redis, not in a log, on no page of the admin."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import redis
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from oauth2_provider.models import Grant
from rest_framework.test import APIClient

from feeds import actions
from feeds.logs import JSON
from followers.models import Account

pytestmark = pytest.mark.django_db

PASSWORD, OTHER_PASSWORD = "correct horse battery", "staple paper ream"
BACK = "https://client.example/back"


def tables() -> str:
    """All that the database holds, as text."""
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        found = []
        for name in names:
            cursor.execute(f'SELECT t::text FROM "{name}" t')
            found += [row for (row,) in cursor.fetchall()]
    return "\n".join(found)


def stores() -> str:
    """All keys and values of every Redis."""
    found = []
    for url in {settings.REDIS_URL, settings.CACHE_URL, settings.CELERY_RESULT_BACKEND, *settings.BROKERS}:
        if url.startswith("redis"):
            client = redis.Redis.from_url(url)
            found += [repr((key, client.dump(key))) for key in client.scan_iter(count=1_000)]
    return "\n".join(found)


def press(person: Client, path: str, **typed: str) -> Any:
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', person.get(path).content.decode())
    return person.post(path, dict(hidden) | typed)


@pytest.fixture
def secrets(drain: Any, caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """Every secret of a client that registers, signs somebody up, has somebody signed in, and posts."""
    caplog.set_level(logging.DEBUG, "feeds")
    caplog.set_level(logging.DEBUG, "django")
    found = {"a password": PASSWORD, "another password": OTHER_PASSWORD}
    caller = APIClient()
    app = caller.post("/api/v1/apps", {"client_name": "c", "redirect_uris": BACK, "scopes": "read write"}).json()
    client = {"client_id": app["client_id"], "client_secret": app["client_secret"]}
    found["a client's secret"] = app["client_secret"]
    own = caller.post("/oauth/token", client | {"grant_type": "client_credentials", "scope": "read write"}).json()
    found["a client's own token"] = own["access_token"]
    signed_up = {"username": "bob", "email": "b@example.org", "password": OTHER_PASSWORD, "agreement": "true"}
    shown = {"HTTP_AUTHORIZATION": f"Bearer {own['access_token']}"}
    found["a new account's token"] = caller.post("/api/v1/accounts", signed_up, **shown).json()["access_token"]

    alice = actions.register(username="alice", email="a@example.org", password=PASSWORD)
    Account.objects.filter(pk=alice.pk).update(is_staff=True)
    person = Client()
    asked = urlencode(
        {"response_type": "code", "client_id": app["client_id"], "redirect_uri": BACK, "scope": "read write"}
    )
    path = f"/oauth/authorize?{asked}"
    press(person, path, username="alice", password=PASSWORD, deed="sign_in")
    found["a session"] = person.cookies["sessionid"].value
    codes = [
        parse_qs(urlsplit(press(person, path, deed="allow").headers["Location"]).query)["code"][0] for _ in range(2)
    ]
    found |= {"a used code": codes[0], "a code": codes[1]}
    form = client | {"grant_type": "authorization_code", "code": codes[0], "redirect_uri": BACK}
    found["a token"] = caller.post("/oauth/token", form).json()["access_token"]
    form = client | {"grant_type": "password", "username": "alice", "password": PASSWORD, "scope": "read"}
    found["a token for a password"] = caller.post("/oauth/token", form).json()["access_token"]
    shown = {"HTTP_AUTHORIZATION": f"Bearer {found['a token']}"}
    caller.post("/api/v1/statuses", {"status": "words #cats"}, **shown)
    caller.get("/api/v1/timelines/home", **shown)
    caller.get("/api/v1/timelines/home", HTTP_AUTHORIZATION=f"Bearer {found['a token']}x")
    drain()
    return found


def test_no_secret_stands_in_a_table_a_store_or_a_log(
    secrets: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert len(set(secrets.values())) == len(secrets) and all(len(value) > 8 for value in secrets.values())
    log = "\n".join(JSON().format(record) for record in caplog.get_records("setup"))
    places = {"tables": tables(), "stores": stores(), "log": log}
    assert "words #cats" in places["tables"] and "oauth/token" in log and places["stores"]
    found = [(name, place) for name, value in secrets.items() for place, text in places.items() if value in text]
    assert found == []


def test_the_code_that_was_not_used_works_and_what_is_stored_does_not(secrets: dict[str, str]) -> None:
    grant = Grant.objects.get()
    keys = list(Session.objects.values_list("session_key", flat=True))
    form = {"grant_type": "authorization_code", "client_id": grant.application.client_id, "redirect_uri": BACK}
    form["client_secret"] = secrets["a client's secret"]
    caller = APIClient(raise_request_exception=False)
    assert caller.post("/oauth/token", form | {"code": grant.code}).status_code == 400
    assert caller.post("/oauth/token", form | {"code": secrets["a code"]}).status_code == 200
    assert keys
    for key in keys:
        thief = Client()
        thief.cookies["sessionid"] = key
        assert thief.get("/admin/").status_code == 302
    person = Client()
    person.cookies["sessionid"] = secrets["a session"]
    assert (
        person.get("/admin/").status_code == 200
    )  # the key itself does open it: a browser sends it to its own path alone


def test_no_secret_is_on_a_page_of_the_admin(secrets: dict[str, str]) -> None:
    staff = Client()
    press(staff, "/admin/login/", username="alice", password=PASSWORD, next="/admin/")
    index = staff.get("/admin/").content.decode()
    lists = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', index)))
    pages = [staff.get(path).content.decode() for path in lists]
    rows = {link for page in pages for link in re.findall(r'href="(/admin/[^"?]+/change/)[^"]*"', page)}
    assert rows
    pages += [staff.get(path).content.decode() for path in rows]
    hashes = list(Account.objects.exclude(password="").values_list("password", flat=True))
    assert hashes
    known = {**secrets, **{f"a hash {number}": value for number, value in enumerate(hashes)}}
    assert [name for name, value in known.items() if any(value in page for page in pages)] == []

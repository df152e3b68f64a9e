"""What is secret is in no log of the service, nor of its stores, however it came."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from django.conf import settings
from django.db import DatabaseError, connection
from websockets.sync.client import connect

from feeds import actions
from feedsvc.run import Instance, healthy
from tests.conftest import eventually
from tests.factories import AccountFactory, token
from tests.streaming.clients import ADDRESS, ROOT, Events
from tests.streaming.conftest import streaming_answers

pytestmark = pytest.mark.e2e

BASE = f"http://127.0.0.1:{settings.PORT}"
PASSWORD = "a pass phrase for tests"
WORDS = "what nobody but she may read"


@pytest.fixture
def service(_processes: Instance, transactional_db: None) -> Any:
    _processes.start("web", "streaming")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)) and streaming_answers(), "it answers", 60)
    yield _processes
    _processes.stop("web", "streaming")


def test_tokens_passwords_and_texts_are_in_no_log(service: Instance) -> None:
    alice = AccountFactory(username="alice")
    actions.set_password(account=alice, password=PASSWORD)
    alice.refresh_from_db()
    shown = token(alice)
    app = requests.post(
        f"{BASE}/api/v1/apps", {"client_name": "A client", "redirect_uris": "urn:ietf:wg:oauth:2.0:oob"}, timeout=10
    ).json()
    link = f"{BASE}/oauth/authorize?response_type=code&client_id={app['client_id']}&state=of-mine"
    page = requests.get(link, timeout=10)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    for password, status in ((PASSWORD, 302), ("wrong" + PASSWORD, 422)):
        form = hidden | {"deed": "sign_in", "username": "alice", "password": password}
        answer = requests.post(link, form, cookies=page.cookies, timeout=10, allow_redirects=False)
        assert answer.status_code == status
        requests.post(
            f"{BASE}/oauth/token",
            {"client_id": app["client_id"], "client_secret": app["client_secret"], "grant_type": "password"}
            | {"username": "alice", "password": password},
            timeout=10,
        )
    headers = {"Authorization": f"Bearer {shown}"}
    url = f"{BASE}/api/v1/statuses?access_token={shown}"
    assert requests.post(url, {"status": WORDS}, headers=headers, timeout=10).status_code == 200
    requests.post(f"{BASE}/api/v1/statuses", {"status": WORDS, "visibility": "none"}, headers=headers, timeout=10)
    requests.get(f"{BASE}/api/v1/streaming/user?access_token={shown}", timeout=10, allow_redirects=False)
    with Events("user", access_token=shown), Events("nowhere", access_token=shown):
        pass
    with connect(f"ws://{ADDRESS}{ROOT}?stream=user&access_token={shown}"):
        pass
    with pytest.raises(DatabaseError), connection.cursor() as cursor:  # a row that is there already, and its statement
        columns = "username, password, display_name, note, is_staff, is_active, is_superuser"
        cursor.execute(
            f"INSERT INTO followers_account ({columns}) VALUES ('alice', %s, '', %s, false, true, false)",
            [alice.password, WORDS],
        )
    connection.rollback()

    eventually(lambda: "duplicate key" in logged()["postgres.log"], "what passes through supervisord is written")
    logs = logged()
    assert '"route":"oauth/authorize"' in logs["web.log"]
    for secret in (shown, PASSWORD, alice.password, app["client_secret"], settings.SECRET_KEY, WORDS, "of-mine"):
        assert [name for name, text in logs.items() if secret in text] == [], secret


def logged() -> dict[str, str]:
    return {file.name: file.read_text(errors="replace") for file in (settings.RUN_DIR / "log").iterdir()}

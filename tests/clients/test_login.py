"""Signing in as people do: the client sends them to the service's page, and gets a code for a token."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from mastodon import Mastodon, MastodonIllegalArgumentError

from .conftest import PASSWORD, TOOT

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
SCOPES = ["read", "write", "follow"]

Join = Callable[[str], Mastodon]


def allow(url: str, name: str) -> str:
    """What a person does with the link in a browser: signs in, lets the client in, and copies the code."""
    browser = requests.Session()
    page = press(browser, browser.get(url, timeout=10), deed="sign_in", username=name, password=PASSWORD)
    [account] = re.findall('name="account" value="([0-9]+)"', page.text)
    page = press(browser, page, deed="allow", account=account)
    [code] = re.findall('<code id="code"[^>]*>([A-Za-z0-9]+)</code>', page.text)
    return code


def press(browser: requests.Session, page: requests.Response, **fields: str) -> requests.Response:
    """The next page, after this one's form was sent."""
    assert page.status_code == 200, page.text
    [token] = re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    return browser.post(page.url, {"csrfmiddlewaretoken": token, **fields}, headers={"Referer": page.url}, timeout=10)


def test_a_person_lets_the_library_in(join: Join, newcomer: Callable[[], Mastodon]) -> None:
    alice, client = join("alice"), newcomer()
    code = allow(client.auth_request_url(redirect_uris=OUT_OF_BAND, scopes=SCOPES, allow_http=True), "alice")
    client.log_in(code=code, redirect_uri=OUT_OF_BAND, scopes=SCOPES, allow_http=True)
    assert client.me().id == alice.me().id
    again = newcomer()
    with pytest.raises(MastodonIllegalArgumentError):
        again.log_in(code=code, redirect_uri=OUT_OF_BAND, scopes=SCOPES, allow_http=True)


def test_a_person_lets_the_command_in(join: Join, site: str, tmp_path: Path) -> None:
    join("alice")
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    with subprocess.Popen(
        [TOOT, "login", "--instance", site], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as toot:
        try:
            assert toot.stdout and toot.stdin
            url = next(line for line in toot.stdout if line.startswith(f"{site}/oauth/authorize")).strip()
            rest, _ = toot.communicate(f"n\n{allow(url, 'alice')}\n", timeout=30)
        finally:
            toot.kill()
    assert "Successfully logged in" in rest
    whoami = subprocess.run([TOOT, "whoami"], env=env, text=True, capture_output=True, timeout=30, check=True)
    assert "alice" in whoami.stdout


def test_the_command_says_where_it_is(join: Join, toot: Callable[..., str]) -> None:
    assert "feedsvc" in toot(join("alice"), "instance")


def test_the_library_knows_what_the_server_can(join: Join) -> None:
    alice = join("alice")
    assert alice.retrieve_mastodon_version() == "4.2.10"
    assert alice.instance_v2().configuration.statuses.max_characters == 500
    assert alice.instance_v1().urls.streaming_api.startswith("ws")
    assert alice.preferences()["posting:default:visibility"] == "public"
    assert alice.instance_nodeinfo().software.name == "feedsvc"
    assert list(alice.custom_emojis()) == list(alice.conversations()) == list(alice.filters()) == []

"""The running service, and people who use it by clients that others made: Mastodon.py in this process, toot as a command.

Whatever Mastodon.py is answered is compared with the OpenAPI document. The tests run on one broker alone: no client can tell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings
from mastodon import Mastodon

from feedsvc.run import Instance
from tests import conformance
from tests.conftest import eventually

PASSWORD = "correct horse battery"
TOOT = Path(sys.executable).with_name("toot")


@pytest.fixture(scope="package")
def _web(inhabited: Instance) -> Iterator[None]:
    yield
    inhabited.stop("web")


@pytest.fixture
def site(workers: Instance, _web: None) -> str:
    """The address of the service: web process, relay and workers."""
    workers.start("web")
    eventually(lambda: answers(f"{settings.BASE_URL}/healthz"), "the web process answers")
    return str(settings.BASE_URL)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture
def newcomer(site: str) -> Callable[[], Mastodon]:
    """A client that has registered, and nobody who uses it yet."""

    def register() -> Mastodon:
        client_id, secret = Mastodon.create_app("a client", scopes=["read", "write", "follow"], api_base_url=site)
        session = requests.Session()
        session.hooks["response"].append(_compare)
        return Mastodon(client_id, secret, api_base_url=site, session=session, request_timeout=10)

    return register


@pytest.fixture
def join(newcomer: Callable[[], Mastodon]) -> Callable[[str], Mastodon]:
    """A new account with this name, signed in."""

    def sign_up(name: str) -> Mastodon:
        client = newcomer()
        client.create_account(name, PASSWORD, f"{name}@example.org", agreement=True, scopes=["read", "write", "follow"])
        return client

    return sign_up


@pytest.fixture
def toot(tmp_path: Path, site: str) -> Callable[..., str]:
    """Runs a command of toot's for whoever is signed in by Mastodon.py; what it prints."""

    def run(person: Mastodon, *arguments: str) -> str:
        name, host = person.me().username, urlsplit(site).netloc
        config = tmp_path / name / "toot/config.json"
        if not config.exists():
            config.parent.mkdir(parents=True)
            app = {
                "instance": host,
                "base_url": site,
                "client_id": person.client_id,
                "client_secret": person.client_secret,
            }
            user = {"instance": host, "username": name, "access_token": person.access_token}
            who = f"{name}@{host}"
            config.write_text(json.dumps({"apps": {host: app}, "users": {who: user}, "active_user": who}))
        env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / name)}
        done = subprocess.run(
            [TOOT, *arguments],
            env=env,
            text=True,
            capture_output=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"toot {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    return run


def _compare(answer: requests.Response, **_: Any) -> None:
    asked = urlsplit(answer.request.url or "")
    if asked.netloc != urlsplit(settings.BASE_URL).netloc:
        return  # of the process that streams
    conformance.check(
        answer.request.method or "",
        str(asked.path),
        query=None,  # a client's parameters are its own business
        sent=("", b""),
        status=answer.status_code,
        headers=answer.headers,
        content=answer.content,
    )

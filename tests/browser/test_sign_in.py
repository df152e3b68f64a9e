"""The way to a token through a real browser, with JavaScript and without it, from the real web process."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from .conftest import BASE, PASSWORD, body, complaints, fill_in, press, until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"


@pytest.fixture
def client_page() -> Iterator[HTTPServer]:
    """A client's own page on the way back: it sends on, as many do, to another one, whose path it has kept in `seen`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/back"):
                if self.path.startswith("/home"):  # and not for an icon
                    self.server.seen = self.path  # type: ignore[attr-defined]
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>The client</title>")
                return
            self.send_response(302)
            self.send_header("Location", self.path.replace("/back", f"http://localhost:{self.server.server_port}/home"))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def register(redirect_uri: str) -> dict[str, str]:
    form = {"client_name": "A client", "redirect_uris": redirect_uri, "scopes": "read write", "website": BASE}
    answer = requests.post(f"{BASE}/api/v1/apps", json=form, timeout=10).json()
    return {"client_id": answer["client_id"], "client_secret": answer["client_secret"], "redirect_uri": redirect_uri}


def link(app: dict[str, str], **more: str) -> str:
    asked = {"response_type": "code", "scope": "read write", **app, **more}
    return f"{BASE}/oauth/authorize?{urlencode({name: asked[name] for name in asked if name != 'client_secret'})}"


def sign_in(browser: webdriver.Chrome, app: dict[str, str], **more: str) -> None:
    browser.get(link(app, **more))
    fill_in(browser, "User name or e-mail", "alice")
    fill_in(browser, "Password", PASSWORD)
    press(browser, "Sign in")
    until(browser, lambda: "@alice" in body(browser))


def whoami(app: dict[str, str], code: str) -> str:
    token = requests.post(
        f"{BASE}/oauth/token", json=app | {"grant_type": "authorization_code", "code": code}, timeout=10
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{BASE}/api/v1/accounts/verify_credentials", headers=headers, timeout=10).json()
    return str(answer["username"])


def test_a_code_is_copied_from_the_page(browser: webdriver.Chrome) -> None:
    app = register(OUT_OF_BAND)
    sign_in(browser, app)
    press(browser, "Let it in")
    until(browser, lambda: "Copy this code" in body(browser))
    assert whoami(app, browser.find_element(By.ID, "code").text) == "alice"
    assert complaints(browser) == []


def test_the_browser_is_sent_back_to_the_client(browser: webdriver.Chrome, client_page: Any) -> None:
    app = register(f"http://127.0.0.1:{client_page.server_port}/back")
    sign_in(browser, app, state="of mine")
    press(browser, "Let it in")
    until(browser, lambda: browser.title == "The client")
    params = parse_qs(urlsplit(client_page.seen).query)
    assert params["state"] == ["of mine"]
    assert whoami(app, params["code"][0]) == "alice"
    assert complaints(browser) == []


def test_a_person_says_no(browser: webdriver.Chrome, client_page: Any) -> None:
    sign_in(browser, register(f"http://127.0.0.1:{client_page.server_port}/back"))
    press(browser, "No")
    until(browser, lambda: browser.title == "The client")
    assert "error=access_denied" in client_page.seen

    sign_in_again = register(OUT_OF_BAND)
    browser.get(link(sign_in_again))
    press(browser, "No")
    until(browser, lambda: "You said no" in body(browser))


def test_the_way_to_an_application_of_its_own_scheme_is_open(browser: webdriver.Chrome) -> None:
    """Nothing here can open it; that the page's own policy does not stand in the way is what can be seen."""
    sign_in(browser, register("myapp://"))
    press(browser, "Let it in")
    browser.get(f"{BASE}/thumbnail.svg")
    assert complaints(browser) == []

"""What people type is text wherever it is shown, and no address that they type is ever asked for anything."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from followers.models import Account
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

SCRIPT = """<script>alert("1")</script><img src=x onerror='alert(1)'> "'><svg/onload=alert(1)> </title></textarea>"""
LINK = "javascript:alert(document.domain)"
OURS = re.compile(r"</?(p|br|a|span)\b[^>]*>")
"""The tags of content, notes and fields."""


def harmless(html: str) -> bool:
    links = re.findall(r'href="([^"]*)"', html)
    handlers = re.search(r"<[^>]*\son\w+\s*=", html)
    return "<" not in OURS.sub("", html) and not handlers and all(re.match("https?://", link) for link in links)


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice", password="!")


def test_what_is_html_in_the_api_holds_only_our_tags(api: Any, alice: Account) -> None:
    caller = api(alice)
    texts = [
        SCRIPT,
        LINK,
        f"https://example.org/{SCRIPT}",
        f"[x]({LINK})",
        f"{LINK} https://a.example/'onclick=alert(1)",
        "#<b> @<i>",
    ]
    for text in texts:
        posted = caller.post("/api/v1/statuses", {"status": text, "spoiler_text": text[:50]}).json()
        assert harmless(posted["content"]), posted["content"]
        assert posted["spoiler_text"] == text[:50], "plain text, as it was written"
        [said] = caller.get(f"/api/v1/statuses/{posted['id']}/history").json()
        assert harmless(said["content"])
        fields = {"fields_attributes[0][name]": text[:200], "fields_attributes[0][value]": text[:200]}
        told = caller.patch(
            "/api/v1/accounts/update_credentials", {"note": text, "display_name": text[:30], **fields}
        ).json()
        assert harmless(told["note"]), told["note"]
        assert harmless(told["fields"][0]["value"]), told["fields"]
        assert told["display_name"] == text[:30].strip()


def test_pages_escape_what_an_application_says_of_itself(alice: Account) -> None:
    form = {
        "client_name": SCRIPT[:200],
        "redirect_uris": "https://client.example/",
        "website": "https://c.example/?a='b",
    }
    app = Client().post("/api/v1/apps", form).json()
    person = Client()
    path = "/oauth/authorize?" + urlencode(
        {
            "response_type": "code",
            "client_id": app["client_id"],
            "redirect_uri": "https://client.example/",
            "state": SCRIPT,
        }
    )
    shown = [
        person.get(path),
        person.get(path.replace("client_id", "client_id=x&client_id")),
        person.get(f"{path}&scope={SCRIPT}"),
    ]
    shown.append(person.get(path.replace("/oauth/authorize", "/oauth/authorize/sign_up")))
    person.force_login(alice)
    shown.append(person.get(path))
    assert "use your account" in shown[-1].content.decode()
    for page in shown:
        html = page.content.decode()
        assert "<script" not in html and "<img" not in html and "<svg" not in html and LINK not in html
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for website in (LINK, "data:text/html,x", "vbscript:x", " javascript:alert(1)"):
        assert Client().post("/api/v1/apps", form | {"website": website}).status_code == 422
        assert Client().post("/api/v1/apps", form | {"redirect_uris": website}).status_code == 422


def test_the_admin_escapes_what_people_wrote(api: Any, alice: Account, drain: Any) -> None:
    caller = api(alice)
    caller.patch("/api/v1/accounts/update_credentials", {"note": SCRIPT, "display_name": SCRIPT[:30]})
    caller.post("/api/v1/statuses", {"status": SCRIPT})
    drain()
    Account.objects.filter(pk=alice.pk).update(is_staff=True)
    staff = Client()
    staff.force_login(Account.objects.get(pk=alice.pk))
    lists = set(re.findall(r'href="(/admin/\w+/\w+/)"', staff.get("/admin/").content.decode()))
    pages = [staff.get(path).content.decode() for path in lists]
    pages += [staff.get(f"{path}?q={SCRIPT}").content.decode() for path in lists]
    rows = {link for page in pages for link in re.findall(r'href="(/admin/[^"?]+/change/)[^"]*"', page)}
    pages += [staff.get(path).content.decode() for path in rows]
    assert len(rows) >= 2
    assert not [page for page in pages if "<script>alert" in page or "<img src=x" in page or "<svg/onload" in page]


@pytest.fixture
def listening() -> Iterator[tuple[str, list[Any]]]:
    """An address on this machine, and who has come to it."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def wait() -> None:
            while True:
                try:
                    came.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=wait, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        server.shutdown(socket.SHUT_RDWR)


def test_no_address_of_a_persons_is_ever_fetched(api: Any, alice: Account, drain: Any, listening: Any) -> None:
    url, came = listening
    host = url.removeprefix("http://")
    caller = api(alice)
    app = {"client_name": url, "redirect_uris": f"{url}/back", "website": url, "scopes": "read"}
    registered = caller.post("/api/v1/apps", app).json()
    asked = urlencode({"response_type": "code", "client_id": registered["client_id"], "redirect_uri": f"{url}/back"})
    person = Client()
    person.force_login(alice)
    assert person.get(f"/oauth/authorize?{asked}").status_code == 200
    by_url = {"client_id": f"https://{host}/client.json", "redirect_uri": f"{url}/back", "response_type": "code"}
    assert person.get(f"/oauth/authorize?{urlencode(by_url)}").status_code == 400
    assert caller.post("/oauth/token", by_url | {"grant_type": "authorization_code", "code": "x"}).status_code == 401
    account = {"account": str(alice.pk), "deed": "allow"}
    assert person.post(f"/oauth/authorize?{asked}", account).headers["Location"].startswith(url)
    caller.post("/api/v1/statuses", {"status": f"{url}/card @alice@{host} {url}/@alice/1"})
    fields = {"fields_attributes[0][name]": "site", "fields_attributes[0][value]": url}
    caller.patch("/api/v1/accounts/update_credentials", {"note": url, **fields})
    for query in (url, f"{url}/@alice", f"@alice@{host}", f"alice@{host}"):
        for path in ("/api/v2/search", "/api/v1/accounts/search"):
            assert caller.get(path, {"q": query, "resolve": "true"}).status_code == 200
        assert caller.get("/api/v1/accounts/lookup", {"acct": query}).status_code in (200, 404)
    caller.get("/api/v1/timelines/public", HTTP_ORIGIN=url, HTTP_REFERER=url, HTTP_X_FORWARDED_HOST=host)
    drain()
    assert came == []
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))):  # who comes is seen
        pass
    for _ in range(100):
        if came:
            break
        threading.Event().wait(0.01)
    assert len(came) == 1

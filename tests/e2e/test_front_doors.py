"""What comes in by a socket: bodies of any kind and size at the web process, and who gets at the stores."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from django.conf import settings
from django_redis import get_redis_connection

from feeds.api import throttling
from feedsvc.run import Instance, healthy
from followers.models import Application
from tests.conftest import children, eventually, serve
from tests.factories import AccountFactory, token

pytestmark = pytest.mark.e2e

MOST = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def web(_processes: Instance, transactional_db: None) -> Iterator[Instance]:
    _processes.start("web")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web process answers", 60)
    yield _processes
    _processes.stop("web")


def opened(method: str, path: str, *headers: tuple[str, str]) -> socket.socket:
    """A request whose body is still to come."""
    client = socket.create_connection(("127.0.0.1", settings.PORT), timeout=30)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers), "", ""]
    with suppress(ConnectionError):  # it has heard enough
        client.sendall("\r\n".join(lines).encode())
    return client


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Status and body, as far as they come before the other side closes, or says how long it is."""
    got = b""
    while b"\r\n\r\n" not in got and (words := client.recv(1 << 16)):
        got += words
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
    while len(body) < length and (words := client.recv(1 << 16)):
        body += words
    return int(head.split()[1]), body


def asked(path: str, body: bytes, *, chunk: int = 0, **headers: str) -> tuple[int, bytes]:
    names = [(name.replace("_", "-"), value) for name, value in headers.items()]
    size = ("Transfer-Encoding", "chunked") if chunk else ("Content-Length", str(len(body)))
    with opened("POST", path, *names, size) as client:
        with suppress(ConnectionError):
            for start in range(0, len(body), chunk or len(body)):
                part = body[start : start + (chunk or len(body))]
                client.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunk else part)
            client.sendall(b"0\r\n\r\n" if chunk else b"")
        return answer(client)


@pytest.mark.parametrize("chunk", [0, 7])
def test_a_body_is_read_with_and_without_a_length(web, chunk):
    shown = f"Bearer {token(AccountFactory())}"
    for sent, kind in ((b'{"status": "hello"}', "application/json"), (b"status=hello", FORM)):
        status, body = asked("/api/v1/statuses", sent, chunk=chunk, Authorization=shown, Content_Type=kind)
        assert (status, json.loads(body)["content"]) == (200, "<p>hello</p>")


@pytest.mark.parametrize("chunk", [0, 1 << 16])
@pytest.mark.parametrize("kind", ["application/json", FORM, "multipart/form-data; boundary=x"])
def test_a_body_that_is_too_large_is_refused_quickly_and_is_not_kept(web, chunk, kind):
    pid = children(web.pid("web"))[0]
    before = memory(pid)
    for size in (MOST + 1, 40 * MOST):
        began = time.monotonic()
        status, body = asked("/api/v1/apps", b'"' + b"x" * size, chunk=chunk, Content_Type=kind)
        assert (status, json.loads(body)) == (413, {"error": "The request is too large"})
        assert time.monotonic() - began < 2
    assert memory(pid) - before < 20 * MOST


def memory(pid: int) -> int:
    """Bytes of it that are in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_page_takes_no_upload(web):
    file = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * (2 * MOST) + b"\r\n--x--\r\n"
    )
    status, _ = asked("/oauth/authorize", file, Content_Type="multipart/form-data; boundary=x")
    assert status == 413


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[" * MOST),
        ("application/json", b'{"a":' * (MOST // 5)),
        ("application/json", b"1" * MOST),
        (FORM, b"a=b&" * (MOST // 4)),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 10_000),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n' * 10_000,
        ),
    ],
)
def test_a_body_that_is_laborious_to_read_is_refused_quickly(web, kind, body):
    began = time.monotonic()
    status, words = asked("/api/v1/apps", body, Content_Type=kind)
    assert status in (400, 413)
    assert set(json.loads(words)) == {"error"}
    assert time.monotonic() - began < 2


def test_headers_that_never_come_hold_nobody_up(web):
    with ExitStack() as halves:
        for _ in range(20):
            half = halves.enter_context(socket.create_connection(("127.0.0.1", settings.PORT), timeout=30))
            half.sendall(b"GET /api/v1/instance HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with opened("GET", "/api/v1/instance") as client:
            assert answer(client)[0] == 200


def test_bodies_that_never_come_hold_it_up_until_their_senders_go(web):
    """As docs/operations.md says, which is why it asks for a proxy that reads bodies first."""
    for size in (("Content-Length", "10"), ("Transfer-Encoding", "chunked")):
        with ExitStack() as halves:
            for _ in range(8):
                halves.enter_context(opened("POST", "/api/v1/apps", ("Content-Type", FORM), size))
            eventually(lambda: not is_served(within=0.5), "all threads wait for bodies")
            halves.close()
            assert is_served(within=10)
    assert not Application.objects.exists()


def is_served(*, within: float) -> bool:
    with opened("GET", "/api/v1/instance") as client:
        client.settimeout(within)
        with suppress(TimeoutError):
            return answer(client)[0] == 200
    return False


def test_endless_headers_and_addresses_are_refused(web):
    with opened("GET", "/api/v1/instance", ("X-Long", "x" * 2_000_000)) as client:
        assert answer(client)[0] == 431
    with opened("GET", f"/api/v1/instance?x={'x' * 2_000_000}") as client:
        assert answer(client)[0] in (414, 431)
    with opened("GET", "/api/v1/instance", *((f"X-{number}", "x") for number in range(200))) as client:
        assert answer(client)[0] == 431
    with opened("GET", f"/api/v1/statuses?{'&'.join('id[]=1' for _ in range(1001))}") as client:
        assert answer(client)[0] == 400


def test_only_what_the_proxy_saw_counts_as_the_address(_processes, transactional_db):
    serve(_processes, RATE_LIMITS="on", TRUST_PROXY="on")
    _processes.start("web")
    try:
        eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web process answers", 60)
        key = throttling.REQUESTS.key_for("address", "203.0.113.7")
        get_redis_connection("default").set(key, throttling.REQUESTS.amount, ex=60)
        for seen in (
            [("X-Forwarded-For", "203.0.113.7")],
            [("X-Forwarded-For", "198.51.100.1, 203.0.113.7")],
            [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")],
        ):
            with opened("GET", "/api/v1/instance", *seen) as client:
                assert answer(client)[0] == 429, seen
        with opened("GET", "/api/v1/instance", ("X-Forwarded-For", "203.0.113.7, 198.51.100.1")) as client:
            assert answer(client)[0] == 200
    finally:
        _processes.stop("web")

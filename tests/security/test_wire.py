"""Bytes on the wire, to the web process and to the streaming process: no answer is a 5xx, and both go on serving."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import requests
from django.conf import settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from feedsvc.run import Instance, healthy
from tests.conftest import eventually
from tests.factories import AccountFactory, token

ROOT = "/api/v1/streaming"
STREAMING = f"127.0.0.1:{settings.STREAMING_PORT}"
BAD_HEADERS = [
    b"Authorization: Bearer \xff\x01",
    b"Authorization: Basic \xff",
    b"Authorization: " + b"x" * 50_000,
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked, gzip",
    b"Host: bad host\x01",
    b"Cookie: sessionid=\xff\xfe; =;;",
    b"X-Y\0: z",
    b"X: \0",
    b"no colon",
    b"Expect: 200-nothing",
    b"Upgrade: h2c\r\nConnection: upgrade",
    b"Sec-WebSocket-Key: x\r\nUpgrade: websocket\r\nConnection: upgrade",
    *(
        b"Content-Type: application/x-www-form-urlencoded; charset=" + name
        for name in b"bz2 undefined rot13 idna punycode utf-16 unicode_escape uu none \xff".split()
    ),
]
BAD_PATHS = [
    b"/api/v1/statuses/%00",
    b"/api/v1/tags/\xff\xfe",
    b"/api/v1/timelines/tag/%ED%A0%80?max_id=%00&limit=\xff",
    b"/api/v1/streaming/%00/../x",
    b"/api/v1/streaming/hashtag?tag=%ED%A0%80%00",
    b"/api/v1/streaming/list?list=%D9%A1",
    b"/api/v1/streaming/delivery/99999999999999999999999",
    b"//evil.example/%2e%2e",
    b"/" + b"x" * 30_000,
    b"http://evil.example/api/v1/instance",
    b"*",
]


@pytest.fixture
def both(_processes: Instance, transactional_db: None) -> Iterator[dict[str, int]]:
    ports = {"web": settings.PORT, "streaming": settings.STREAMING_PORT}
    _processes.start(*ports)
    eventually(lambda: all(well(ports)), "both answer", 60)
    yield ports
    _processes.stop("web")


def well(ports: dict[str, int]) -> list[bool]:
    web = healthy("127.0.0.1", str(ports["web"]), "/healthz")
    return [web, healthy("127.0.0.1", str(ports["streaming"]), f"{ROOT}/health")]


def status(port: int, sent: bytes) -> int:
    """Of the answer; 0 where the connection is closed without one, or goes on: a stream, or a body that is waited for."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        try:
            connection.sendall(sent)
            first = connection.recv(64)
        except OSError:
            return 0
    return int(first.split(b" ")[1]) if first.startswith(b"HTTP/") else 0


def test_no_bytes_break_the_processes(both: dict[str, int]) -> None:
    shown = f"Authorization: Bearer {token(AccountFactory())}".encode()
    sent = [
        *(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n\r\n" % (path, header)
            for path in (
                b"/api/v1/timelines/public?limit=1",
                b"/api/v1/streaming/user?x=1",
                b"/oauth/authorize?client_id=x",
            )
            for header in BAD_HEADERS
        ),
        *(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n\r\n" % (path, shown)
            for path in BAD_PATHS
        ),
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"X" * 300 + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    found = [(name, request[:150]) for name, port in both.items() for request in sent if status(port, request) >= 500]
    assert found == []
    assert well(both) == [True, True]


MESSAGES: list[str | bytes] = [
    "\0",
    '"\\ud800"',
    '{"type": "subscribe", "stream": "\\ud800"}',
    '{"type": ["subscribe"], "stream": {}}',
    '{"type": {"a": 1}}',
    '{"type": "subscribe", "stream": ["user"]}',
    '{"type": "subscribe", "stream": "hashtag", "tag": {"a": []}}',
    '{"type": "subscribe", "stream": "hashtag", "tag": "\\u0000"}',
    '{"type": "subscribe", "stream": "hashtag", "tag": "' + "x" * 1_000 + '"}',
    '{"type": "subscribe", "stream": "list", "list": -1}',
    '{"type": "subscribe", "stream": "list", "list": 9223372036854775808}',
    '{"type": "subscribe", "stream": "list", "list": 1e400}',
    '{"type": "subscribe", "stream": "list", "list": "\\u0661"}',
    '{"type": "unsubscribe", "stream": "hashtag", "tag": null}',
    '{"type": "subscribe", "stream": "__proto__", "__proto__": 1}',
    "[" * 5_000,
    "9" * 5_000,
    b"\xff\xfe",
    b'{"type": "subscribe"}',
    "x" * 200_000,
]


def test_no_message_breaks_a_websocket(both: dict[str, int]) -> None:
    shown = token(AccountFactory())
    for message in MESSAGES:
        try_out(message, shown)
    assert requests.get(f"http://{STREAMING}{ROOT}/health", timeout=5).text == "OK"


def try_out(message: str | bytes, shown: str) -> None:
    """It is answered, and the connection goes on; or it is closed with a reason."""
    with connect(f"ws://{STREAMING}{ROOT}?access_token={shown}") as socket:
        try:
            socket.send(message)
            socket.send("{}")
            answers = [json.loads(socket.recv(timeout=5))]
            while answers[-1].get("error") != "A message must be JSON, of the type subscribe or unsubscribe":
                answers.append(json.loads(socket.recv(timeout=5)))
        except ConnectionClosed as closed:
            if len(message) < 64 * 1024:  # of what is larger the rest is not read, so the close frame may be lost
                assert closed.rcvd is not None and closed.rcvd.code in (1003, 1007, 1008), closed
        else:
            assert all(set(answer) <= {"error", "status"} for answer in answers)

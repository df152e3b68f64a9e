"""How a client comes in: tokens, scopes, other sites' pages, what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from django.conf import settings
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from feeds.api.renderers import NO_PAGE, NOT_KEPT
from feeds.api.streaming.hub import HEARTBEAT
from feedsvc.run import Instance
from tests.conftest import eventually, serve
from tests.factories import AccountFactory, PostFactory, token

from .clients import ADDRESS, ROOT, Events, frame, told
from .conftest import streaming_answers

STREAM = f"ws://{ADDRESS}{ROOT}"


def get(path: str, **headers: str) -> requests.Response:
    return requests.get(f"http://{ADDRESS}{ROOT}{path}", headers=headers, timeout=10)


def test_health_is_plain_and_open_to_all(process):
    answer = get("/health")
    assert (answer.status_code, answer.text) == (200, "OK")


def test_it_is_where_the_instance_says(process, api):
    named = api().get("/api/v2/instance").json()["configuration"]["urls"]["streaming"]
    assert named == api().get("/api/v1/instance").json()["urls"]["streaming_api"]
    with connect(f"{named}{ROOT}?stream=user&access_token={token(AccountFactory())}"):
        pass


@pytest.mark.parametrize(
    "path", ["user", "user/notification", "public", "public/local", "hashtag?tag=x", "list?list=1", "direct"]
)
def test_without_a_token_no_stream_is_open(process, path):
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = get(f"/{path}", **headers)
        assert (answer.status_code, answer.json()) == (401, {"error": "The access token is invalid"})
    with pytest.raises(InvalidStatus) as refused, connect(f"{STREAM}?stream=public"):
        pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body) == {"error": "The access token is invalid"}


def test_what_browsers_are_told_comes_with_every_answer(process):
    shown = f"Bearer {token(AccountFactory())}"
    answers = [get("/health"), get("/user"), get("/nowhere", Authorization=shown), get("/list", Authorization=shown)]
    answers += [get("", Host="evil.example"), requests.post(f"http://{ADDRESS}{ROOT}/user", timeout=10)]
    assert [answer.status_code for answer in answers] == [200, 401, 404, 400, 404, 405]
    told = [answer.headers for answer in answers]
    with Events("user", access_token=token(AccountFactory())) as events:
        told.append(events.answer.headers)
    with pytest.raises(InvalidStatus) as refused, connect(f"{STREAM}?stream=public"):
        pass
    told.append(refused.value.response.headers)
    for headers in told:
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == NO_PAGE
        assert headers["Cache-Control"] == NOT_KEPT
        assert "Location" not in headers


def test_an_applications_own_token_opens_nothing(process):
    answer = get("/public", Authorization=f"Bearer {token(None)}")
    assert (answer.status_code, answer.json()["error"]) == (401, "This method requires an authenticated user")


def test_a_stream_answers_at_once_and_to_other_sites(process):
    shown = token(AccountFactory())
    with Events("user", headers={"Origin": "https://example.org"}, access_token=shown) as events:
        assert events.first == b":thump\n"
        found = events.answer.headers
        assert found["Content-Type"] == "text/event-stream"
        assert found["Access-Control-Allow-Origin"] == "*"
        assert found["Cache-Control"] == "private, no-store"
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = requests.options(f"http://{ADDRESS}{ROOT}/user", headers=asked, timeout=10)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
    assert get("/user", Origin="https://example.org").headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        ("user", "read:statuses", 200),
        ("user", "read:notifications", 403),
        ("user/notification", "read:notifications", 200),
        ("user/notification", "read:statuses", 403),
        ("public", "profile", 200),
        ("hashtag?tag=x", "write", 200),
        ("list?list=1", "write", 403),
    ],
)
def test_each_stream_asks_for_the_scopes_of_its_timeline(process, path, scopes, status):
    with requests.get(
        f"http://{ADDRESS}{ROOT}/{path}",
        headers={"Authorization": f"Bearer {token(AccountFactory(), scopes)}"},
        stream=True,
        timeout=10,
    ) as answer:
        assert answer.status_code == status
        if status == 403:
            assert answer.json() == {"error": "This action is outside the authorized scopes"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("hashtag", 400),
        ("list", 400),
        ("list?list=x", 400),
        ("list?list=99", 404),
        ("delivery/1", 404),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(process, path, status):
    answer = get(f"/{path}", Authorization=f"Bearer {token(AccountFactory())}")
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_a_websockets_token_is_taken_from_three_places(process, drain):
    reader = AccountFactory()
    shown = token(reader)
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"{STREAM}?stream=user", {"additional_headers": {"Authorization": f"Bearer {shown}"}}),
        (f"{STREAM}/?stream=user&access_token={shown}", {}),
        (f"{STREAM}?stream=user", {"subprotocols": [shown]}),
    ]
    for url, options in ways:
        with connect(url, **options) as socket:
            assert socket.subprotocol == (shown if "subprotocols" in options else None)
            post = PostFactory(author=reader)
            drain()
            assert told(socket) == (["user"], "update", str(post.pk))


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('{"type": "subscribe", "stream": "nothing"}', 400),
        ('{"type": "subscribe"}', 400),
        ('{"type": "subscribe", "stream": "hashtag"}', 400),
        ('{"type": "subscribe", "stream": "list", "list": "99"}', 404),
        ('{"type": "subscribe", "stream": "user:notification"}', 403),
        ('{"type": "sing", "stream": "user"}', 400),
        ("[1]", 400),
        ("", 400),
    ],
)
def test_a_bad_message_is_answered_and_the_connection_goes_on(frames, drain, message, status):
    reader = AccountFactory()
    socket = frames(reader, scopes="read:statuses", stream="user")
    socket.send(message)
    answer = frame(socket)
    assert set(answer) == {"error", "status"} and answer["status"] == status
    PostFactory(author=reader)
    drain()
    assert told(socket)[:2] == (["user"], "update")


def test_a_connection_may_listen_to_so_many_streams(frames):
    socket = frames(AccountFactory())
    for number in range(101):
        socket.send(json.dumps({"type": "subscribe", "stream": "hashtag", "tag": f"tag{number}"}))
    assert frame(socket) == {"error": "A connection may listen to 100 streams at most", "status": 400}


@pytest.fixture
def narrow(_processes: Instance, transactional_db: None) -> Iterator[None]:
    """Three connections of an account, and five of an address."""
    _processes.stop("streaming")
    serve(_processes, RATE_LIMITS="on", STREAMS_PER_ACCOUNT="3", STREAMS_PER_ADDRESS="5", TRUST_PROXY="on")
    _processes.start("streaming")
    eventually(streaming_answers, "the streaming process answers", 60)
    yield
    _processes.stop("streaming")


def test_connections_are_limited_by_account_and_by_address(narrow):
    alice, bob = token(AccountFactory()), token(AccountFactory())
    with ExitStack() as opened:
        for _ in range(2):
            assert opened.enter_context(Events("user", alice)).status == 200
        third = opened.enter_context(connect(f"{STREAM}?stream=user&access_token={alice}"))
        answer = get("/user", Authorization=f"Bearer {alice}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(HEARTBEAT))
        assert answer.json() == {"error": "Too many connections for this account: close one of them first"}
        with pytest.raises(InvalidStatus) as refused, connect(f"{STREAM}?access_token={alice}"):
            pass
        assert refused.value.response.status_code == 429
        for _ in range(2):
            assert opened.enter_context(Events("public", bob)).status == 200
        elsewhere = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
        assert "address" in get("/public", Authorization=f"Bearer {bob}").json()["error"]
        assert opened.enter_context(Events("public", bob, headers=elsewhere)).status == 200
        assert get("/user", Authorization=f"Bearer {alice}", **elsewhere).status_code == 429
        third.close()
        again = eventually(lambda: opens("user", alice, opened), "whoever goes makes room")
        assert again.first == b":thump\n"


def opens(path: str, shown: str, opened: ExitStack) -> Events | None:
    events = opened.enter_context(Events(path, shown))
    return events if events.status == 200 else None


def test_who_asks_for_the_head_of_a_stream_alone_is_let_go(process):
    shown = {"Authorization": f"Bearer {token(AccountFactory())}"}
    answer = requests.head(f"http://{ADDRESS}{ROOT}/user", headers=shown, timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    with socket.create_connection((settings.HOST, settings.STREAMING_PORT), timeout=5) as client:
        head = f"HEAD {ROOT}/user HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n"
        client.sendall(f"{head}Authorization: {shown['Authorization']}\r\n\r\n".encode())
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"\r\n\r\n")  # it ends, and there is no body


def test_the_web_process_sends_those_who_ask_it_to_the_streaming_process(api):
    answer = api().get("/api/v1/streaming/user/notification?access_token=x")
    assert answer.status_code == 302
    assert (
        answer["Location"]
        == f"http://localhost:{settings.STREAMING_PORT}/api/v1/streaming/user/notification?access_token=x"
    )
    assert api().get("/api/v1/streaming/health")["Location"].endswith("/api/v1/streaming/health")


def test_a_revoked_token_and_an_ended_account_close_their_connections(listen, frames):
    reader, leaver = AccountFactory.create_batch(2)
    events, socket = listen(reader, "user"), frames(leaver, stream="user")
    staying = listen(AccountFactory(), "public")
    reader.oauth2_provider_accesstoken.all().delete()
    leaver.is_active = False
    leaver.save()
    assert events.next(HEARTBEAT + 5) is None
    with pytest.raises(Exception, match="1008"):
        socket.recv(timeout=HEARTBEAT + 5)
    eventually(lambda: staying.thumps, "a sign of life", HEARTBEAT + 5)

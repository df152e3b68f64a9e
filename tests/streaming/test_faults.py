"""What may go wrong between a task and who listens: slow readers, stores that go, processes that end, and crowds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from typing import Any

import pytest
from django.conf import settings

from feeds import streaming
from feeds.models import Post
from feeds.streaming import UPDATE, Event
from followers.models import Account
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, star, token

from .clients import ADDRESS, ROOT, Events
from .conftest import streaming_answers

CROWD = 300
TOO_SLOW = b"\x88\x02\x03\xf0"  # a WebSocket's frame: closed, with the code 1008


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(streaming, "_quiet_until", 0.0)


def tell(*posts: Post) -> None:
    streaming.publish(Event(UPDATE, post.pk) for post in posts)


def deaf(account: Any, path: str) -> socket.socket:
    """A client that asks for a stream and does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((settings.HOST, settings.STREAMING_PORT))
    client.sendall(f"GET {ROOT}/{path}?access_token={token(account)} HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode())
    return client


def test_who_reads_too_slowly_is_closed_and_holds_up_nobody(listen, process, drain):
    reader, slow = AccountFactory.create_batch(2)
    events = listen(reader, "public")
    posts = [PostFactory(author=reader, text="x" * 499) for _ in range(500)]
    with deaf(slow, "public") as client:
        eventually(lambda: client.recv(1, socket.MSG_PEEK), "it is heard")
        hear_all(events, posts)
        client.settimeout(20)
        got = b""
        while words := receive(client):
            got += words
        assert 0 < got.count(b"event: update") < len(posts)


def test_a_websocket_that_is_not_read_is_closed_too(listen, frames, process):
    reader, slow = AccountFactory.create_batch(2)
    events = listen(reader, "public")
    posts = [PostFactory(author=reader, text="x" * 499) for _ in range(500)]
    with deaf_websocket(slow) as client:
        eventually(lambda: b"101" in client.recv(100, socket.MSG_PEEK), "it is heard")
        time.sleep(0.2)
        hear_all(events, posts)
        client.settimeout(20)
        got = b""
        while TOO_SLOW not in got and (words := receive(client)):
            got += words
        assert TOO_SLOW in got and 0 < got.count(b'"event":"update"') < len(posts)


def deaf_websocket(account: Any) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((settings.HOST, settings.STREAMING_PORT))
    head = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + "A" * 22 + "==",
    ]
    path = f"{ROOT}?stream=public&access_token={token(account)}"
    client.sendall("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {ADDRESS}", *head, "", ""]).encode())
    return client


def hear_all(events: Events, posts: list[Post]) -> None:
    """In their order, whoever else listens: as many at a time as a message has of a busy service."""
    for start in range(0, len(posts), 100):
        some = posts[start : start + 100]
        tell(*some)
        assert [events.next_id()[1] for _ in some] == [str(post.pk) for post in some]


def receive(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 16)
    except ConnectionError:  # the kernel gave it up
        return b""


def test_listeners_outlive_redis_and_hear_again(listen, process):
    reader = AccountFactory()
    events = listen(reader, "user")
    post = PostFactory(author=reader)
    tell(post)
    assert events.next_id() == ("update", str(post.pk))
    process.kill("cache")
    process.wait_stores(["cache"])

    hear_again(events, reader)


def hear_again(events: Events, reader: Account) -> None:
    def heard() -> bool:
        tell(PostFactory(author=reader))
        time.sleep(0.2)
        return not events.heard.empty()

    eventually(heard, "events are heard")
    last = PostFactory(author=reader)
    tell(last)
    while events.next_id() != ("update", str(last.pk)):
        pass


def test_without_redis_a_task_waits_for_nothing_and_says_so_once(process, caplog):
    process.stop("cache")
    try:
        began = time.monotonic()
        for _ in range(5):
            tell(Post(pk=32))
            time.sleep(0.15)
        assert time.monotonic() - began < 2
    finally:
        process.start("cache")
    assert [record.message[:24] for record in caplog.records if record.name == "feeds.streaming"] == [
        "nobody is told of events"
    ]


def test_a_redis_that_hangs_holds_a_task_up_for_a_second_and_the_next_ones_not_at_all(process, monkeypatch):
    monkeypatch.setattr(streaming, "QUIET_SECONDS", 30)
    tell(Post(pk=32))
    os.kill(process.pid("cache"), signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(10):
            tell(Post(pk=32))
        assert 0.9 < time.monotonic() - began < 1.9
    finally:
        os.kill(process.pid("cache"), signal.SIGCONT)


def test_an_unreadable_message_is_passed_over(listen, process):
    reader = AccountFactory()
    events = listen(reader, "user")
    hear_again(events, reader)
    for words in (b"{", b"[[1, 2, 3, 4]]", b'["update"]', b'[["later", 1]]'):
        streaming._client().publish(streaming.CHANNEL, words)
    post = PostFactory(author=reader)
    tell(post)
    assert events.next_id() == ("update", str(post.pk))


def test_the_process_stops_within_seconds_whoever_listens_and_comes_back(listen, frames, process):
    reader = AccountFactory()
    events, silent = listen(reader, "user"), frames(reader, stream="user")
    with deaf(reader, "user"):
        began = time.monotonic()
        process.stop("streaming")
        assert time.monotonic() - began < 10
    assert events.next() is None
    with pytest.raises(Exception, match="1012"):
        silent.recv(timeout=5)
    process.start("streaming")
    eventually(streaming_answers, "the streaming process answers", 60)


def test_a_crowd_hears_a_post_within_two_seconds(process, drain):
    author, readers = star(20)
    shown = [token(reader) for reader in readers]
    post = PostFactory(author=author)

    async def crowd() -> float:
        paths = [f"{('user', 'public')[n % 2]}?access_token={shown[n % len(shown)]}" for n in range(CROWD)]
        opened = await asyncio.gather(*(open_stream(path) for path in paths))
        began = time.monotonic()
        await asyncio.to_thread(tell, post)
        got = await asyncio.gather(*(next_update(reader) for reader, _ in opened))
        took = time.monotonic() - began
        for _, writer in opened:
            writer.close()
        assert set(got) == {str(post.pk)}
        return took

    assert asyncio.run(crowd()) < 2


async def open_stream(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(settings.HOST, settings.STREAMING_PORT)
    writer.write(f"GET {ROOT}/{path} HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b":thump\n\n"), 30)
    return reader, writer


async def next_update(reader: asyncio.StreamReader) -> str:
    while True:
        line = await asyncio.wait_for(reader.readline(), 30)
        if line.startswith(b"data: "):
            found: str = json.loads(line[6:])["id"]
            return found

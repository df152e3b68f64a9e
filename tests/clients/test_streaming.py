"""What happens, as it happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from mastodon import Mastodon, StreamListener

from feedsvc.run import Instance
from tests.conftest import eventually

from .conftest import answers

Join = Callable[[str], Mastodon]


@pytest.fixture
def streaming(site: str, workers: Instance) -> Iterator[None]:
    workers.start("streaming")
    address = settings.STREAMING_URL.replace("ws", "http", 1)
    eventually(lambda: answers(f"{address}/api/v1/streaming/health"), "streaming answers")
    yield
    workers.stop("streaming")


class Heard(StreamListener):
    def __init__(self) -> None:
        self.open = threading.Event()
        self.events: list[tuple[str, str]] = []

    def handle_heartbeat(self) -> None:
        self.open.set()

    def on_update(self, status: Any) -> None:
        self.events.append(("update", str(status.id)))

    def on_status_update(self, status: Any) -> None:
        self.events.append(("status.update", str(status.id)))

    def on_delete(self, status_id: Any) -> None:
        self.events.append(("delete", str(status_id)))

    def on_notification(self, notification: Any) -> None:
        self.events.append(("notification", notification.type))


def listen(stream: Callable[..., Any], *arguments: Any) -> list[tuple[str, str]]:
    """What the stream brings, as it comes, until the service ends it: to close it, the client would wait for a word more.

    The first word is a heartbeat. Till then the client is connecting, and what happens is not heard.
    """
    heard = Heard()
    stream(*arguments, heard, run_async=True, timeout=20)
    assert heard.open.wait(5)
    return heard.events


def test_home_is_streamed(streaming: None, join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    assert alice.stream_healthy()
    bob.account_follow(alice.me().id)
    heard = listen(bob.stream_user)
    post = alice.status_post("hello @bob")
    expected = {("update", str(post.id)), ("notification", "mention")}
    eventually(lambda: expected <= set(heard), "bob hears of the post and the mention", seconds=5)
    alice.status_update(post.id, "hello again, @bob")
    eventually(lambda: ("status.update", str(post.id)) in heard, "bob hears of the edit", seconds=5)
    alice.status_delete(post.id)
    eventually(lambda: ("delete", str(post.id)) in heard, "bob hears of the deletion", seconds=5)


def test_public_and_a_hashtag_are_streamed(streaming: None, join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    assert alice.stream_healthy()
    public, cats = listen(bob.stream_public), listen(bob.stream_hashtag, "cats")
    other, post = alice.status_post("hello"), alice.status_post("about #cats")
    both = {("update", str(other.id)), ("update", str(post.id))}
    eventually(lambda: both <= set(public) and cats, "both streams have what is theirs", seconds=5)
    assert cats == [("update", str(post.id))]

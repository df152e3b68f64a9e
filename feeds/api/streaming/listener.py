"""A connection that listens, and what it is told: messages, each made into bytes once for all who get it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from feeds import metrics

from .streams import Stream

QUEUE = 200  # events that may wait for a listener, besides what its socket holds: two full messages of the tasks'
NEIGHBOURS = 40  # posts of a home stream after which what a reblog shows may be told again: as on the page


class Message:
    """An event as it goes out. Everybody who gets it in the same form gets the same bytes."""

    def __init__(self, kind: str, payload: bytes) -> None:
        self.kind, self.payload = kind, payload
        self.as_event = b"event: %b\ndata: %b\n\n" % (kind.encode(), payload)
        self.frames: dict[tuple[str, ...], str] = {}

    def frame(self, label: tuple[str, ...]) -> str:
        """For a WebSocket: the payload is a string in it."""
        if label not in self.frames:
            whole = {"stream": label, "event": self.kind, "payload": self.payload.decode()}
            self.frames[label] = orjson.dumps(whole).decode()
        return self.frames[label]


Form = Callable[[Message, tuple[str, ...]], bytes | str]


class Listener:
    """A connection: to whom it belongs, what it listens to, and what waits to be sent. None in the queue ends it."""

    def __init__(self, token: Any, form: Form, *, address: str, notified: bool, thump: bytes | None = None) -> None:
        self.account_id: int = token.user_id
        self.address = address
        self.checksum: str = token.token_checksum
        self.form, self.notified, self.thump = form, notified, thump
        self.queue: asyncio.Queue[bytes | str | None] = asyncio.Queue(QUEUE)
        self.labels: dict[Stream, tuple[str, ...]] = {}
        self.told = deque[int](maxlen=NEIGHBOURS)  # posts of its home stream; of a reblog what it shows
        self.ended = False

    def tell(self, message: Message, stream: Stream) -> None:
        self.put(self.form(message, self.labels[stream]))

    def put(self, words: bytes | str) -> None:
        if self.ended:
            return
        try:
            self.queue.put_nowait(words)
        except asyncio.QueueFull:
            metrics.streaming_dropped.inc()
            self.end()

    def end(self) -> None:
        """Closes the connection when what waits is sent; at once, where too much of it waits."""
        if self.ended:
            return
        self.ended = True
        if self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
        self.queue.put_nowait(None)

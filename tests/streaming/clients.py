"""A client of Server-Sent Events."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlencode

from django.conf import settings
from websockets.sync.client import ClientConnection

ROOT = "/api/v1/streaming"
ADDRESS = f"127.0.0.1:{settings.STREAMING_PORT}"

Event = tuple[str, Any]


class Events:
    """A stream's events, as they come; None when the other side has closed it."""

    def __init__(
        self, path: str, token: str = "", headers: dict[str, str] | None = None, address: str = ADDRESS, **params: str
    ) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=60)
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        query = f"?{urlencode(params)}" if params else ""
        self.connection.request("GET", f"{ROOT}/{path}{query}", headers={**shown, **(headers or {})})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.heard = queue.Queue[Event | None]()
        self.thumps = 0
        if self.status == 200:
            self.first = self.answer.readline()
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        kind = ""
        with suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            for line in iter(self.answer.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.heard.put((kind, json.loads(value)))
                elif line.startswith(b":thump"):
                    self.thumps += 1
        self.heard.put(None)

    def next(self, seconds: float = 10) -> Event | None:
        return self.heard.get(timeout=seconds)

    def next_id(self, seconds: float = 10) -> tuple[str, str]:
        """The next event's kind, and which post, or notification, it is about."""
        event = self.next(seconds)
        assert event is not None
        return event[0], event[1]["id"] if isinstance(event[1], dict) else str(event[1])

    def error(self) -> str:
        error: str = json.loads(self.answer.read())["error"]
        return error

    def close(self) -> None:
        if self.connection.sock:
            with suppress(OSError):
                self.connection.sock.shutdown(2)
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frame(socket: ClientConnection, seconds: float = 10) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(timeout=seconds))
    return found


def told(socket: ClientConnection) -> tuple[list[str], str, str]:
    """The next frame's stream, event, and which post, or notification, it is about."""
    found = frame(socket)
    about = json.loads(found["payload"])
    return found["stream"], found["event"], about["id"] if isinstance(about, dict) else str(about)

"""Log lines: facts beside words, and the ids of the requests that what is happening goes back to.

`about` says whose work it is, and each line of this thread carries that until the next call. A request has one id, which its
outbox rows keep; a message of many rows has many. Ids, numbers and names of things only: no text, no token, nobody's name.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import orjson

SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # of an id that somebody else made

_requests: ContextVar[tuple[str, ...]] = ContextVar("requests", default=())


def new_id(given: str | None = None) -> str:
    """An id for a request: the given one, if it is sane. It is no secret: no system call."""
    return given if given and SANE.fullmatch(given) else f"{random.getrandbits(64):016x}"


def about(request_ids: Iterable[str | None]) -> None:
    """From now on this thread works for these requests; None is work that no request asked for."""
    _requests.set(tuple(dict.fromkeys(filter(None, request_ids))))


def request_id() -> str | None:
    """The request that this thread works for, if it is one: what is recorded now goes back to it."""
    found = _requests.get()
    return found[0] if len(found) == 1 else None


def say(log: logging.Logger, event: str, **facts: Any) -> None:
    """One line. A fact that is None is none."""
    log.info(event, extra={"facts": {name: value for name, value in facts.items() if value is not None}})


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """Those of the line, behind the requests' ids: one, or a list."""
    found = _requests.get()
    ids = {"request_id": found[0]} if len(found) == 1 else {"request_ids": found} if found else {}
    return ids | getattr(record, "facts", {})


class JSON(logging.Formatter):
    """One object per line."""

    def format(self, record: logging.LogRecord) -> str:
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"
        line = {"time": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line | _facts(record), default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Line(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        facts = [
            f" {name}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
            for name, value in _facts(record).items()
        ]
        return super().format(record) + "".join(facts)

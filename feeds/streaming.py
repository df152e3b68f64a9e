"""Events for those who listen: from the tasks to the streaming processes, by Redis's pub/sub.

`publish` tells of many events in one message; `events` hears them, and outlives whatever happens to Redis. A message holds
ids alone: who may hear of a post, and what it says, is looked up in the rows of now by the process where somebody listens
(listeners.py). All of it is best effort. What is told while Redis is away, or nobody hears, is told to nobody, and no task
fails for that: the timelines have it.

It is the cache's Redis, which may be lost as a cache may: the one of the timelines has pages and pushes to serve, and the
broker need not be a Redis at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import Any, NamedTuple

import orjson
import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

CHANNEL = "streaming"
UPDATE, EDIT, DELETE, NOTIFICATION = "update", "status.update", "delete", "notification"  # as the API names them
SOCKET_SECONDS = 1  # that a task waits for Redis, at most
QUIET_SECONDS = 5  # after it waited in vain, in which nothing is told: a Redis that hangs shall not hold up every task
SILENCE = 5  # seconds without a word, after which Redis is asked whether it is there; as many again, and it is not
BACK_OFF = (0.1, 0.2, 0.5, 1, 2)  # seconds between tries to hear again; the last for good

log = logging.getLogger(__name__)


class Event(NamedTuple):
    """What happened, to which post. Of a NOTIFICATION: its id, and whose it is."""

    kind: str
    subject_id: int
    account_id: int = 0


_quiet_until = 0.0  # by the monotonic clock; 0: the last one was told


def publish(events: Iterable[Event]) -> None:
    """Tells whoever hears, in one round trip. After the commit: who hears looks at the rows."""
    global _quiet_until
    told = [tuple(event) for event in events]
    if not told or time.monotonic() < _quiet_until:
        return
    try:
        _client().publish(CHANNEL, orjson.dumps(told))
    except redis.RedisError as error:
        if not _quiet_until:
            log.warning("nobody is told of events, Redis is away: %s", error)
        _quiet_until = time.monotonic() + QUIET_SECONDS
    else:
        if _quiet_until:
            log.info("events are told again")
        _quiet_until = 0.0


@cache
def _client() -> redis.Redis:
    """A connection that broke is made anew at once; one that is slow is not waited for again."""
    return redis.Redis.from_url(
        settings.CACHE_URL,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=SOCKET_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


async def events(hearing: asyncio.Event | None = None) -> AsyncIterator[list[Event]]:
    """What is told from now on, message by message, without end. `hearing` is set while Redis is heard."""
    failures = 0
    while True:
        try:
            async for told in _heard(hearing or asyncio.Event()):
                if failures:
                    log.info("events are heard again")
                failures = 0
                if told:
                    yield told
        except (redis.RedisError, OSError) as error:
            if not failures:
                log.warning("no events are heard, Redis is away: %s", error)
            failures += 1
        finally:
            if hearing:
                hearing.clear()
        await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF)) - 1])


async def _heard(hearing: asyncio.Event) -> AsyncIterator[list[Event]]:
    """Of one connection, as long as it is there: events, or nothing as a sign of life."""
    client: Any = redis.asyncio.Redis.from_url(
        settings.CACHE_URL, socket_connect_timeout=2, retry=AsyncRetry(NoBackoff(), 0)
    )
    async with client, client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(CHANNEL)
        asked = False
        while True:
            message = await channel.get_message(timeout=SILENCE)
            if message is None:  # silence, or its word that we hear
                if asked:
                    raise redis.ConnectionError("no answer")
                await channel.ping()
                asked = True
                continue
            asked = False
            hearing.set()
            yield _read(message["data"]) if message["type"] == "message" else []


def _read(message: bytes) -> list[Event]:
    try:
        return [Event(*one) for one in orjson.loads(message)]
    except (ValueError, TypeError):
        log.warning("a message on the channel %r makes no sense", CHANNEL)
        return []

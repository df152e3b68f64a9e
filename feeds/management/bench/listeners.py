"""An event on its way to a crowd of listeners: Server-Sent Events, half of them of home streams, half of the public one."""

from __future__ import annotations

import asyncio
import resource
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from oauth2_provider.models import AccessToken, set_token_value

from feeds.management.progress import progress
from followers.models import Account

from .deliveries import publish, settle
from .processes import find, pss
from .row import Row
from .stage import FOLLOWER, Stage

LISTENERS = 5_000
ROUNDS = 5
AT_ONCE = 200  # connections that are being opened
PATIENCE = 60  # seconds for all of them to be open, or to have heard
PROCESS = ("feedsvc.asgi",)


def crowd(stage: Stage) -> Iterator[Row]:
    """A post of an author whom all of them follow: from before its transaction until the last listener has its event."""
    size = min(LISTENERS, stage.followers)
    author = stage.author(size)
    if not (process := find(*PROCESS)):
        raise CommandError("the service's streaming process does not run here: `make bench` starts one")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    tokens = make_tokens(author)
    before = pss(process[0])
    try:
        seconds, held = asyncio.run(_measure(author, tokens, process[0]))
    finally:
        AccessToken.objects.filter(user__username__startswith=FOLLOWER).delete()
    settle()
    yield Row(f"an event to {size:,} listeners, commit to the last", median(seconds), "s", most=2)
    yield Row("memory of a listener", (held - before) / size, "KB")


def make_tokens(author: Account) -> list[str]:
    """Of the author's followers: larger audiences that other parts have made are none of it."""
    texts, tokens, expires = [], [], timezone.now() + timedelta(hours=1)
    for account in Account.objects.filter(follows_out__followee=author):
        texts.append(secrets.token_urlsafe(24))
        tokens.append(AccessToken(user=account, scope="read", expires=expires))
        set_token_value(tokens[-1], texts[-1])
    AccessToken.objects.bulk_create(tokens, batch_size=1_000)
    return texts


async def _measure(author: Account, tokens: list[str], process: Path) -> tuple[list[float], float]:
    """The seconds of each round, and the process's memory when all listened."""
    ears, at_once = [Ear(asyncio.get_running_loop()) for _ in tokens], asyncio.Semaphore(AT_ONCE)
    with progress("connecting", len(ears)) as show:

        async def listen(number: int, ear: Ear) -> None:
            async with at_once:
                await ear.listen(("user", "public")[number % 2], tokens[number])
                show(number)

        await asyncio.wait_for(asyncio.gather(*(listen(number, ear) for number, ear in enumerate(ears))), PATIENCE)
    held, seconds = pss(process), list[float]()
    for _ in range(ROUNDS):
        heard = [ear.hears() for ear in ears]
        began = time.perf_counter()
        await asyncio.to_thread(_publish, author)
        await asyncio.wait_for(asyncio.gather(*heard), PATIENCE)
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.5)
    for ear in ears:
        ear.transport.abort()
    return seconds, held


def _publish(author: Account) -> None:
    try:
        publish(author)
    finally:
        connection.close()  # this thread's


class Ear(asyncio.Protocol):
    """A connection that looks for one thing at a time in what it is sent, and keeps none of it."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    async def listen(self, stream: str, token: str) -> None:
        await self.loop.create_connection(lambda: self, settings.HOST, settings.STREAMING_PORT)
        found = self._look_for(b":thump")
        host = f"Host: {settings.HOST}:{settings.STREAMING_PORT}"
        words = f"GET /api/v1/streaming/{stream} HTTP/1.1\r\n{host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self.transport.write(words.encode())
        await found

    def hears(self) -> asyncio.Future[None]:
        return self._look_for(b"event: update")

    def _look_for(self, words: bytes) -> asyncio.Future[None]:
        self.words, self.rest, self.found = words, b"", self.loop.create_future()
        return self.found

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.found.done():
            self.rest += data
            if self.words in self.rest:
                self.found.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.found.done():
            self.found.set_exception(
                CommandError(f"the streaming process closed a connection: {error or 'end of file'}")
            )

"""Full timelines: what an entry costs in memory, and what a push costs compared with short timelines.

Made by the service's own verbs, of readers who need no rows, for ids are all that these verbs are given.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from statistics import fmean

from django.conf import settings

from feeds import timelines
from feeds.management.progress import progress
from feeds.redis_client import client

from .row import Row, compared
from .stage import Stage

ROUNDS = 3
READERS = 30_000
FULL, SHORT = range(1_000_000_000, 1_100_000_000), range(1_100_000_000, 1_200_000_000)  # ids that no account has
SHORT_LENGTH = 10
OVER = 100  # pushes beyond the limit, so that timelines are trimmed, and not all of them at the same post
POSTS = 48  # of a measurement, each to a random half: a third of the time between two trims of a timeline and more
SAMPLE = 100  # timelines whose entries are counted
SEED = 2016


def timelines_full(stage: Stage) -> Iterator[Row]:
    """The bytes of an entry; pushes per second into full timelines, and by the same code into short ones."""
    count = min(READERS, stage.followers)
    full, short = FULL[:count], SHORT[:count]
    pusher = Pusher()
    try:
        empty = used_memory()
        fill(full, pusher)
        shown = fmean(entries(reader) for reader in full[:: max(1, count // SAMPLE)])
        size = (used_memory() - empty) / count / shown
        yield Row(f"memory of an entry, {shown:.0f} in a timeline", size, "B", yardstick=16, most=14)
        pairs = []
        for _ in range(ROUNDS):
            before = pushes_into_short(short, pusher)
            rate = pusher.push_to_halves(full)
            pairs.append((rate, (before + pushes_into_short(short, pusher)) / 2))
        yield compared(f"pushes into full timelines, against {SHORT_LENGTH} entries", "/s", pairs, least=0.7)
    finally:
        timelines.evict(full)
        timelines.evict(short)


class Pusher:
    """Posts with ids as the service makes them: milliseconds, and a number of a sequence that decides when to trim."""

    def __init__(self) -> None:
        self.milliseconds, self.sequence = time.time_ns() // 1_000_000, 0
        self.chance = random.Random(SEED)  # noqa: S311  no secret

    def push(self, chunks: list[str]) -> float:
        """One post to all of these readers. Seconds."""
        self.milliseconds += self.chance.randrange(1, 1000)
        self.sequence += 1
        post_id = (self.milliseconds << 16) + self.sequence % 2048 * 32
        began = time.perf_counter()
        for chunk in chunks:
            timelines.push(post_id, chunk, deadline=0)
        return time.perf_counter() - began

    def push_to_halves(self, readers: Sequence[int], posts: int = POSTS) -> float:
        """Each post to another half of the readers, chosen before the clock runs. Pushes per second."""
        seconds = sum(self.push(packed(self.half(readers))) for _ in range(posts))
        return posts * (len(readers) // 2) / seconds

    def half(self, readers: Sequence[int]) -> list[int]:
        return sorted(self.chance.sample(readers, len(readers) // 2))


def fill(readers: Sequence[int], pusher: Pusher) -> None:
    """To the limit and beyond, the last posts to halves: from then on some timeline or other is due to be trimmed."""
    chunks = packed(readers)
    for chunk in chunks:
        timelines.build_empty(chunk)
    with progress("posts to fill timelines", settings.TIMELINE_LIMIT + 2 * OVER) as show:
        for done in range(settings.TIMELINE_LIMIT):
            pusher.push(chunks)
            show(done)
        pusher.push_to_halves(readers, 2 * OVER)


def pushes_into_short(readers: Sequence[int], pusher: Pusher) -> float:
    """Timelines made for this measurement, since pushes make them longer."""
    timelines.evict(readers)
    chunks = packed(readers)
    for chunk in chunks:
        timelines.build_empty(chunk)
    for _ in range(SHORT_LENGTH):
        pusher.push(chunks)
    return pusher.push_to_halves(readers)


def packed(readers: Sequence[int], chunk: int = settings.PUSH_CHUNK) -> list[str]:
    return [",".join(map(str, readers[start : start + chunk])) for start in range(0, len(readers), chunk)]


def entries(reader_id: int) -> int:
    """That a reader may be shown: what lies beyond the limit until the next trim counts as a cost of the others."""
    stored = timelines.ids(reader_id)
    return min(len(stored.ids), settings.TIMELINE_LIMIT) if stored else 0


def used_memory() -> int:
    return int(client().info("memory")["used_memory"])

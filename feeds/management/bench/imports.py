"""The import of a follow graph, against COPY of its follows alone, into a table with the same indexes and into a bare one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import accumulate
from statistics import mean

from django.db import connection

from feeds import importing
from feeds.database import changed

from .row import Row, compared
from .stage import Stage, free_numbers

EDGES, PER_ACCOUNT = 300_000, 5.4  # as in graphs of who reshares whom
STEEPNESS = 0.8  # of the power law: the n-th account is followed n ** -STEEPNESS as often as the first
BLOCK = 1 << 16  # bytes
SEED = 2016
BARE = "followers_follow"
INDEXED = f"{BARE} INCLUDING ALL"  # its indexes and constraints; it has no foreign keys, which would not be included


def graph(stage: Stage) -> Iterator[Row]:
    """Accounts, follows, counters, timelines: follows per second. COPY makes no accounts, counters or timelines."""
    edges = power_law(min(EDGES, 10 * stage.followers))
    before = [copy_rate(edges, like) for like in (INDEXED, BARE)]
    base = free_numbers()
    began = time.perf_counter()
    done = importing.import_graph((base + follower, base + followee) for follower, followee in edges)
    rate = done.new_follows / (time.perf_counter() - began)
    after = [copy_rate(edges, like) for like in (INDEXED, BARE)]
    indexed, bare = (mean(rates) for rates in zip(before, after, strict=True))
    name = f"import of {done.new_follows:,} follows of {done.new_accounts:,} accounts"
    yield compared(f"{name}, against COPY with the same indexes", "/s", [(rate, indexed)], least=0.3)
    yield compared(f"{name}, against COPY without any index", "/s", [(rate, bare)])


def power_law(count: int) -> list[tuple[int, int]]:
    """Different edges (follower, followee), none to oneself; many follow few, as everywhere."""
    chance = random.Random(SEED)  # noqa: S311  no secret
    accounts = range(1, int(count / PER_ACCOUNT) + 2)
    popularity = list(accumulate(account**-STEEPNESS for account in accounts))
    edges = dict[tuple[int, int], None]()
    while len(edges) < count:
        followers = chance.choices(accounts, k=count - len(edges))
        followees = chance.choices(accounts, cum_weights=popularity, k=len(followers))
        edges |= {edge: None for edge in zip(followers, followees, strict=True) if edge[0] != edge[1]}
    return list(edges)


def copy_rate(edges: list[tuple[int, int]], like: str) -> float:
    """Rows per second of a COPY of bytes that were made before, commit included: what psql's \\copy does at best."""
    lines = "".join(f"{n}\t{a}\t{b}\t2026-01-01 00:00:00Z\tt\tf\n" for n, (a, b) in enumerate(edges)).encode()
    changed("DROP TABLE IF EXISTS bench_follow")
    changed(f"CREATE TABLE bench_follow (LIKE {like})")
    try:
        with connection.cursor() as cursor:
            began = time.perf_counter()
            columns = "id, follower_id, followee_id, created_at, reblogs, notify"
            with cursor.copy(f"COPY bench_follow ({columns}) FROM STDIN") as copy:
                for start in range(0, len(lines), BLOCK):
                    copy.write(lines[start : start + BLOCK])
            return len(edges) / (time.perf_counter() - began)
    finally:
        changed("DROP TABLE bench_follow")

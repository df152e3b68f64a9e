"""How else a timeline could be stored: what a push costs, and an entry, in layouts that were tried and dropped.

Each is the least that it takes: a push that finds out whether there is a timeline of this reign, adds, and trims. Full
timelines, of keys and readers of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.conf import settings

from feeds.management.progress import progress
from feeds.redis_client import client

from .row import Row
from .stage import Stage
from .storage import packed, used_memory

READERS = 3_000
FULL, OVER = 800, 32  # entries, and so many more at most until a trim
POSTS = 64  # each to a random half
AT_ONCE = 10  # timelines that are built by one call
SEED = 2016

_HEAD = """
    local call, full, over, mark = redis.call, 800, 32, 'c:0123456789ab'
    local function key_of(reader) return 'bench:{' .. reader % 128 .. '}:' .. reader end
"""
_BUILD = """
    local ids = {{}}
    for id in string.gmatch(ARGV[1], '%d+') do ids[#ids + 1] = id end
    for reader in string.gmatch(ARGV[2], '%d+') do
      local key, length = key_of(reader), full + reader % over
      {}
    end
"""
_PUSH = """
    local id, score = ARGV[1], '-' .. ARGV[1]
    local seldom = (id / 32) % 8 == 0
    local function trim(key)
      call('ZREMRANGEBYRANK', key, full, -1)
      call('ZADD', key, 0, mark)
    end
    for reader in string.gmatch(ARGV[2], '%d+') do
      local key = key_of(reader)
      {}
    end
"""


@dataclass(frozen=True)
class Layout:
    """Lua: what makes a timeline of the first `length` of `ids`, newest first, and what pushes `id`."""

    name: str
    build: str
    push: str
    config: tuple[tuple[str, int], ...] = ()


_SORTED_SET = """
    for i = 1, length do call('ZADD', key, '-' .. ids[i], ids[i]) end
    call('ZADD', key, 0, mark)"""
_PUSH_SORTED = """
    if call('ZRANGE', key, -1, -1, 'WITHSCORES')[1] == mark then
      call('ZADD', key, score, id)
      if seldom and call('ZCARD', key) > full + over then trim(key) end
    end"""
_LIST = """
    call('RPUSH', key, unpack(ids, 1, length))
    call('RPUSH', key, mark)"""
_PUSH_LIST = """
    if {looked} then
      local length = call('LPUSHX', key, id)
      if length % over == 0 and length > full + 1 then
        call('LTRIM', key, 0, full - 1)
        call('RPUSH', key, mark)
      end
    end"""

LAYOUTS = (
    Layout("one list, each mark looked at", _LIST, _PUSH_LIST.format(looked="call('LINDEX', key, -1) == mark")),
    Layout(
        "a sorted set of 32 and a list behind it",
        """
        local head = length % over + 1
        for i = 1, head do call('ZADD', key, '-' .. ids[i], ids[i]) end
        call('ZADD', key, 0, mark)
        call('RPUSH', key .. ':s', unpack(ids, head + 1, full))""",
        """
        if call('ZRANGE', key, -1, -1, 'WITHSCORES')[1] == mark then
          call('ZADD', key, score, id)
          if seldom and call('ZCARD', key) > over then
            local head = call('ZREVRANGE', key, 1, -1)
            call('ZREMRANGEBYRANK', key, 0, -2)
            if call('LPUSH', key .. ':s', unpack(head)) > full - over then call('LTRIM', key .. ':s', 0, full - over - 1) end
          end
        end""",
    ),
    Layout("a sorted set, as a listpack", _SORTED_SET, _PUSH_SORTED, (("zset-max-listpack-entries", 1024),)),
    Layout("a sorted set, as a skiplist", _SORTED_SET, _PUSH_SORTED, (("zset-max-listpack-entries", 128),)),
)
PLAIN = Layout("one list", _LIST, _PUSH_LIST.format(looked="true"))


def others(stage: Stage) -> Iterator[Row]:
    """Each against one list of which the key's existence is enough, which is what is stored."""
    readers = range(1, min(READERS, stage.followers) + 1)
    plain = [measure(PLAIN, readers) for _ in range(2)]
    yield Row(f"pushes into {FULL} entries: {PLAIN.name}", *_shape(plain, None))
    for layout in LAYOUTS:
        found = [measure(layout, readers) for _ in range(2)]
        yield Row(f"pushes into {FULL} entries: {layout.name}", *_shape(found, plain))
        yield Row(f"memory of an entry: {layout.name}", found[0][1], "B")


def _shape(found: list[tuple[float, float]], plain: list[tuple[float, float]] | None) -> tuple[Any, ...]:
    rate = median(one for one, _ in found)
    if plain is None:
        return rate, "/s"
    yardstick = median(one for one, _ in plain)
    return rate, "/s", yardstick, rate / yardstick


def measure(layout: Layout, readers: range) -> tuple[float, float]:
    """Pushes per second, bytes of an entry."""
    server, chance = client(), random.Random(SEED)  # noqa: S311  no secret
    before: dict[str, Any] = {name: server.config_get(name)[name] for name, _ in layout.config}
    push = server.register_script(_HEAD + _PUSH.format(layout.push))
    post_id = time.time_ns() // 1_000_000 << 16
    try:
        for name, value in layout.config:
            server.config_set(name, value)
        empty = used_memory()
        build(layout, readers, post_id)
        size = (used_memory() - empty) / len(readers) / (FULL + OVER / 2)
        seconds = 0.0
        for n in range(POSTS):
            chunks = packed(sorted(chance.sample(readers, len(readers) // 2)))
            began = time.perf_counter()
            for chunk in chunks:
                push(args=[post_id + (n + 1) * 32, chunk])
            seconds += time.perf_counter() - began
    finally:
        for name, was in before.items():
            server.config_set(name, was)
        forget(readers)
    return POSTS * (len(readers) // 2) / seconds, size


def build(layout: Layout, readers: range, newest: int) -> None:
    script = client().register_script(_HEAD + _BUILD.format(layout.build))
    ids = ",".join(str(newest - n * 977 * 32) for n in range(FULL + OVER))
    with progress(f"timelines as {layout.name}", len(readers)) as show:
        for n, chunk in enumerate(packed(readers, AT_ONCE)):
            script(args=[ids, chunk])
            show((n + 1) * AT_ONCE)


def forget(readers: range) -> None:
    for start in range(0, len(readers), settings.PUSH_CHUNK):
        keys = [f"bench:{{{reader % 128}}}:{reader}" for reader in readers[start : start + settings.PUSH_CHUNK]]
        client().unlink(*keys, *(f"{key}:s" for key in keys))

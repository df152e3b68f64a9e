"""Home timelines in Redis, and the only owner of their keys. lua/head.lua says what a timeline looks like.

Verbs for many readers (`push`, `push_many`, `remove`, `purge`, `build_empty`, `evict`) take their ids packed in a string,
'1,2,3', as PostgreSQL gives them: Python never touches the single follower. Verbs for one reader are what a page (`page`),
a changed follow (`ids`, `sync`) and a rebuild (`begin`, `fill`, `finish`) need. Each verb is one atomic call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import redis
from django.conf import settings

from .models import ID_END
from .redis_client import client

PREFIX = "home:"
BUCKETS = 128  # of the keys' hash tags, as in head.lua: all keys of a bucket lie in one slot of a cluster
ABANDONED_AFTER = 120  # seconds a timeline may stay half built


@dataclass(frozen=True)
class Stored:
    """Ids as stored, and the coverage: every pushed post above it is stored."""

    cover: int
    ids: list[int]


@dataclass(frozen=True)
class Dump:
    """A timeline just as Redis holds it: every (member, score) but the mark, in Redis's order."""

    state: str  # 'absent', 'building' or 'built'
    cover: int
    entries: list[tuple[str, float]]
    mark_is_last: bool


def key(reader_id: int) -> str:
    return f"{PREFIX}{{{reader_id % BUCKETS}}}:{reader_id}"


def push(post_id: int, readers: str, *, deadline: int) -> int | None:
    """Adds the post where a timeline exists. How many of the readers have one, or None if it came after the deadline."""
    limits = (settings.TIMELINE_LIMIT, settings.TRIM_SLACK, settings.TRIM_EVERY)
    found = _call("push", PREFIX, deadline, post_id, *limits, readers)
    return None if found < 0 else found


def push_many(pairs: list[tuple[int, str]], *, deadline: int) -> list[int] | None:
    """`push` for many (post id, readers) pairs: how many of each pair's readers have a timeline, or None if late."""
    limits = (settings.TIMELINE_LIMIT, settings.TRIM_SLACK, settings.TRIM_EVERY)
    found = _call("push_many", PREFIX, deadline, *limits, *chain.from_iterable(pairs))
    return None if found == -1 else found


def remove(post_id: int, readers: str) -> int:
    """Takes the post out. How many of the readers have a timeline."""
    return _call("remove", PREFIX, post_id, readers)


def purge(post_ids: list[int], readers: str) -> None:
    """Takes all of these posts out of the readers' timelines."""
    _call("purge", PREFIX, ",".join(map(str, post_ids)), readers)


def build_empty(readers: str) -> int:
    """For readers whose followees have not posted anything yet: an empty timeline, complete to the first post."""
    return _call("build_empty", PREFIX, readers)


def evict(reader_ids: Iterable[int]) -> None:
    """Timelines of readers who are away, or of whom too much changed at once. They are rebuilt when read."""
    readers = iter(reader_ids)
    while some := list(islice(readers, settings.PUSH_CHUNK)):
        client().unlink(*(key(reader_id) for reader_id in some))


def page(reader_id: int, *, below: int, above: int, count: int, nearest: bool = False) -> Stored | None:
    """At most `count` ids in above < id < below: the newest, newest first, or the nearest to `above`, oldest first.

    None where no built timeline is. What is at or below `cover` must come from PostgreSQL.
    """
    found = _call(
        "page", key(reader_id), settings.TIMELINE_LIMIT, below, above, count, "nearest" if nearest else "newest"
    )
    return Stored(int(found[0]), [int(post_id) for post_id in found[1:]]) if found else None


def ids(reader_id: int) -> Stored | None:
    """All that is stored, also while it is being built (coverage 0 then). None where no timeline is."""
    found = _call("ids", key(reader_id))
    return Stored(int(found[0]), [int(post_id) for post_id in found[1:]]) if found else None


def sync(reader_id: int, *, add: list[int], remove: list[int], floor: int, deadline: int) -> bool:
    """Adds, removes, and raises the coverage to `floor` (0: leaves it). False if it came after the deadline."""
    return _call("sync", key(reader_id), deadline, settings.TIMELINE_LIMIT, floor, len(add), *add, *remove) >= 0


def begin(reader_id: int, token: str) -> None:
    """Starts a rebuild: from here on pushes are collected, and readers served by PostgreSQL."""
    _call("begin", key(reader_id), token, ABANDONED_AFTER)


def fill(reader_id: int, token: str, *, add: list[int], remove: list[int]) -> bool:
    """Puts ids into the timeline that `token` began. False if another rebuild has taken it over."""
    return bool(_call("fill", key(reader_id), token, len(add), *add, *remove))


def finish(reader_id: int, token: str, *, cover: int) -> bool:
    """Ends the rebuild: readers are served from here, above `cover`. False if another rebuild has taken it over."""
    return bool(_call("finish", key(reader_id), token, cover, settings.TIMELINE_LIMIT))


def dump(reader_ids: list[int]) -> list[Dump]:
    """What is stored, read without any script, for whoever checks what the scripts do."""
    asked = client().pipeline(transaction=False)
    asked.info("replication")
    for reader_id in reader_ids:
        # Not zrange(): the library would convert each score to text and back, which takes longer than all the rest.
        asked.execute_command("ZRANGE", key(reader_id), 0, -1, "WITHSCORES")
    info, *stored = asked.execute()
    reign = info["master_replid"][:12]
    return [_read_dump(entries, reign) for entries in stored]


def _read_dump(entries: list[Any], reign: str) -> Dump:
    if entries and isinstance(entries[0], str):  # RESP2 has no pairs
        entries = list(zip(entries[::2], map(float, entries[1::2]), strict=True))
    at = next((n for n in range(len(entries) - 1, -1, -1) if entries[n][0].endswith(f":{reign}")), None)
    if at is None:
        return Dump("absent", 0, entries, mark_is_last=False)
    mark, score = entries.pop(at)
    if mark.startswith("b:"):
        return Dump("building", 0, entries, mark_is_last=at == len(entries))
    return Dump("built", int(min(max(-score, 0), ID_END)), entries, mark_is_last=at == len(entries))


def ping() -> bool:
    """Whether Redis answers, and shows the reign that every mark needs (a rewriting proxy may not)."""
    try:
        return len(client().info("replication")["master_replid"]) == 40
    except (redis.RedisError, KeyError):
        return False


def _call(script: str, key_: str, *args: Any) -> Any:
    return _script(script)(keys=[key_], args=args, client=client())


@cache
def _script(name: str) -> Any:
    folder = Path(__file__).parent / "lua"
    return client().register_script((folder / "head.lua").read_text() + (folder / f"{name}.lua").read_text())

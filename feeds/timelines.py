"""Home timelines in Redis, and the only owner of their keys. lua/head.lua says what a timeline looks like.

Verbs for many readers (`push`, `remove`, `purge`, `build_empty`, `evict`) take their ids packed in a string, '1,2,3', as
PostgreSQL gives them: Python never touches the single follower. Verbs for one reader are what a page (`page`), a changed
follow (`ids`, `sync`) and a rebuild (`begin`, `fill`, `finish`) need. Each of them is one atomic call; `sweep`, after a
failover, is many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import redis
from django.conf import settings

from .models import ID_END
from .redis_client import client, own

PREFIX = "home:"
SWEPT = "swept"  # the key of the reign under which no timeline of an earlier one is left
BUCKETS = 128  # of the keys' hash tags, as in head.lua: all keys of a bucket lie in one slot of a cluster
ABANDONED_AFTER = 120  # seconds a timeline may stay half built
SWEPT_AT_ONCE = 1_000  # keys of a call


@dataclass(frozen=True)
class Stored:
    """Ids as stored, and the coverage: every pushed post above it is stored."""

    cover: int
    ids: list[int]


@dataclass(frozen=True)
class Dump:
    """A timeline just as Redis holds it: every element but the mark, in Redis's order."""

    state: str  # 'absent', 'building' or 'built'
    cover: int
    entries: list[str]
    mark_at: int  # how many of them stand before the mark


def key(reader_id: int) -> str:
    return f"{PREFIX}{{{reader_id % BUCKETS}}}:{reader_id}"


def push(post_id: int, readers: str, *, deadline: int) -> int | None:
    """Adds the post where a timeline exists. How many of the readers have one, or None if it came after the deadline."""
    found = push_many([(post_id, readers)], deadline=deadline)
    return None if found is None else found[0]


def push_many(posts: list[tuple[int, str]], *, deadline: int) -> list[int] | None:
    """The same for several posts, each with readers of its own: for each how many of them have a timeline."""
    found: list[int] | None = _call("push", [PREFIX, SWEPT], deadline, *chain.from_iterable(posts))
    return found


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
    found = _call("page", key(reader_id), below, above, count, "nearest" if nearest else "newest")
    return Stored(int(found[0]), [int(post_id) for post_id in found[1:]]) if found else None


def ids(reader_id: int) -> Stored | None:
    """All that is stored, also while it is being built (coverage 0 then). None where no timeline is."""
    found = _call("ids", key(reader_id))
    return Stored(int(found[0]), [int(post_id) for post_id in found[1:]]) if found else None


def sync(reader_id: int, *, add: list[int], remove: list[int], floor: int, deadline: int) -> bool:
    """Adds, removes, and raises the coverage to `floor` (0: leaves it). False if it came after the deadline."""
    return _call("sync", key(reader_id), deadline, floor, len(add), *add, *remove) >= 0


def begin(reader_id: int, token: str) -> None:
    """Starts a rebuild: from here on pushes are collected, and readers served by PostgreSQL."""
    _call("begin", key(reader_id), token, ABANDONED_AFTER)


def fill(reader_id: int, token: str, *, add: list[int], remove: list[int]) -> bool:
    """Puts ids into the timeline that `token` began. False if another rebuild has taken it over."""
    return bool(_call("fill", key(reader_id), token, len(add), *add, *remove))


def finish(reader_id: int, token: str, *, cover: int) -> bool:
    """Ends the rebuild: readers are served from here, above `cover`. False if another rebuild has taken it over."""
    return bool(_call("finish", key(reader_id), token, cover))


def sweep() -> int | None:
    """Drops the timelines of earlier reigns, after a failover, and has pushes know it. How many keys it looked at.

    None if there was nothing to do: almost always, and one call says so. Until it is done pushes look at each mark.
    """
    if _call("swept", SWEPT, ""):
        return None
    # Asked for before the first key is: after a failover meanwhile the walk goes on elsewhere, and has to begin again.
    seen, reigns = 0, {_call("sweep", [])}
    keys = client().scan_iter(match=f"{PREFIX}*", count=SWEPT_AT_ONCE)
    while some := list(islice(keys, SWEPT_AT_ONCE)):
        reigns.add(_call("sweep", some))
        seen += len(some)
    if len(reigns) == 1:
        _call("swept", SWEPT, reigns.pop())
    return seen


def dump(reader_ids: list[int]) -> list[Dump]:
    """What is stored, read without any script, for whoever checks what the scripts do."""
    asked = client().pipeline(transaction=False)
    asked.info("replication")
    for reader_id in reader_ids:
        asked.lrange(key(reader_id), 0, -1)
    info, *stored = asked.execute()
    reign = info["master_replid"][:12]
    return [_read_dump(entries, reign) for entries in stored]


def _read_dump(entries: list[str], reign: str) -> Dump:
    mark = re.compile(rf"(?:c:(\d+)|b:\w+):{reign}")
    for at in reversed(range(len(entries))):
        if found := mark.fullmatch(entries[at]):
            rest = entries[:at] + entries[at + 1 :]
            state, cover = ("building", 0) if found[1] is None else ("built", min(int(found[1]), ID_END))
            return Dump(state, cover, rest, mark_at=at)
    return Dump("absent", 0, entries, mark_at=0)


def ping() -> bool:
    """Whether Redis answers, and shows the reign that every mark needs (a rewriting proxy may not)."""
    try:
        return len(client().info("replication")["master_replid"]) == 40
    except (redis.RedisError, KeyError):
        return False


def clock() -> float | None:
    """Redis's clock, which every deadline is compared with: seconds since 1970, or None if it does not answer."""
    try:
        seconds, microseconds = client().time()
    except redis.RedisError:
        return None
    return seconds + microseconds / 1e6


def _call(script: str, keys: str | list[str], *args: Any) -> Any:
    keys = [keys] if isinstance(keys, str) else keys
    known = _script(script, settings.TIMELINE_LIMIT, settings.TIDY_EVERY)
    connection = own()
    try:
        connection.send_command("EVALSHA", known.sha, len(keys), *keys, *args)
        return connection.read_response()
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.NoScriptError):
        # redis-py's own way: it tries again, and takes twice as long
        return known(keys=keys, args=args, client=client())
    except BaseException:
        connection.disconnect()  # the next call must not read an answer to this one
        raise


@cache
def _script(name: str, limit: int, every: int) -> Any:
    folder = Path(__file__).parent / "lua"
    text = (folder / "head.lua").read_text() + (folder / f"{name}.lua").read_text()
    return client().register_script(f"local limit, every = {limit}, {every}\n{text}")

"""Home timelines in Redis, and the only owner of their keys. lua/head.lua says what a timeline looks like.

Verbs for many readers (`push`, `remove`, `purge`, `build_empty`) take their ids packed in a string, '1,2,3', as PostgreSQL
gives them: Python never touches the single follower. Verbs for one reader are what a page (`page`), a changed follow (`ids`,
`sync`) and a rebuild (`begin`, `fill`, `finish`) need. Each of them is one atomic call; `sweep`, after a failover, is many.

In a cluster verbs for many readers are a call for each bucket, and Python deals the ids out: nobody above knows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from hiredis import pack_command
from redis.exceptions import AskError, NoScriptError, RedisClusterException

from .models import ID_END
from .redis_client import MOVING, Call, by_master, client, masters, own, scatter

PREFIX = "home:"
SWEPT = "swept"  # the key of the reign under which no timeline of an earlier one is left; in a cluster one per bucket
BUCKETS = 128  # of the keys' hash tags, as in head.lua: all keys of a bucket lie in one slot of a cluster
ABANDONED_AFTER = 120  # seconds a timeline may stay half built
SWEPT_AT_ONCE = 1_000  # keys of a call
ERRORS = (redis.RedisError, RedisClusterException)


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
    return _call_many("push", posts, deadline)


def remove(post_id: int, readers: str) -> int:
    """Takes the post out. How many of the readers have a timeline."""
    return sum(_call_many("remove", [(post_id, readers)]) or ())


def purge(post_ids: list[int], readers: str) -> None:
    """Takes all of these posts out of the readers' timelines."""
    _call_many("purge", [(",".join(map(str, post_ids)), readers)])


def build_empty(readers: str) -> int:
    """For readers whose followees have not posted anything yet: an empty timeline, complete to the first post."""
    return sum(_call_many("build_empty", [(readers,)]) or ())


def evict(reader_ids: Iterable[int]) -> None:
    """Timelines of readers who are away, or of whom too much changed at once. They are rebuilt when read."""
    readers = iter(reader_ids)
    while some := list(islice(readers, settings.PUSH_CHUNK)):
        _call_many("evict", [(",".join(map(str, some)),)])


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

    None if there was nothing to do: almost always, and one look says so. Until it is done pushes look at each mark. In a
    cluster it is done, or to be done again, for each bucket by itself, since each may come to another master.
    """
    parts = _parts()
    swept = _call_each("swept", [Call([key], [""]) for key in parts.values()])
    reigns: dict[str, set[Any]] = {prefix: set() for prefix, done in zip(parts, swept, strict=True) if done != 1}
    if not reigns:
        return None

    def drop(keys: dict[str, list[str]]) -> None:
        for prefix, reign in zip(keys, _call_each("sweep", [Call(some) for some in keys.values()]), strict=True):
            reigns[prefix].add(reign)

    # Asked for before the first key is: after a failover meanwhile the walk goes on elsewhere, and has to begin again.
    drop({prefix: [prefix] for prefix in reigns})
    seen = 0
    for server in masters():
        keys = server.scan_iter(match=f"{PREFIX}*", count=SWEPT_AT_ONCE)
        while some := list(islice(keys, SWEPT_AT_ONCE)):
            drop({prefix: of_part for prefix, of_part in _by_part(some).items() if prefix in reigns})
            seen += len(some)
    through = {prefix: found for prefix, found in reigns.items() if len(found) == 1 and MOVING not in found}
    _call_each("swept", [Call([parts[prefix]], [reign]) for prefix, [reign] in through.items()])
    return seen


def dump(reader_ids: list[int]) -> list[Dump]:
    """What is stored, read without any script, for whoever checks what the scripts do."""
    found: dict[str, Dump] = {}
    for server, keys in by_master([key(reader_id) for reader_id in reader_ids]).items():
        asked = server.pipeline(transaction=False)
        asked.info("replication")
        for one in keys:
            asked.lrange(one, 0, -1)
        info, *stored = (_unless_moved(answer) for answer in asked.execute(raise_on_error=False))
        found |= {
            one: _read_dump(entries, info["master_replid"][:12]) for one, entries in zip(keys, stored, strict=True)
        }
    return [found[key(reader_id)] for reader_id in reader_ids]


def _unless_moved(answer: Any) -> Any:
    """What is on the move in a cluster is dumped as absent, which it is or will be."""
    if isinstance(answer, Exception) and not isinstance(answer, AskError):
        raise answer
    return [] if isinstance(answer, Exception) else answer


def _read_dump(entries: list[str], reign: str) -> Dump:
    mark = re.compile(rf"(?:c:(\d+)|b:\w+):{reign}")
    for at in reversed(range(len(entries))):
        if found := mark.fullmatch(entries[at]):
            rest = entries[:at] + entries[at + 1 :]
            state, cover = ("building", 0) if found[1] is None else ("built", min(int(found[1]), ID_END))
            return Dump(state, cover, rest, mark_at=at)
    return Dump("absent", 0, entries, mark_at=0)


def ping() -> bool:
    """Whether Redis answers, all masters of it, and shows the reign that every mark needs (a rewriting proxy may not)."""
    try:
        return all(len(server.info("replication")["master_replid"]) == 40 for server in masters())
    except (*ERRORS, KeyError):
        return False


def clock() -> float | None:
    """Redis's clock, which every deadline is compared with: seconds since 1970, or None if it does not answer.

    Of several masters' the one that is the furthest from ours.
    """
    try:
        times = [seconds + microseconds / 1e6 for seconds, microseconds in (server.time() for server in masters())]
    except ERRORS:
        return None
    return max(times, key=lambda one: abs(one - time.time()))


def _call(script: str, keys: str | list[str], *args: Any) -> Any:
    keys = [keys] if isinstance(keys, str) else keys
    known = _script(script, settings.TIMELINE_LIMIT, settings.TIDY_EVERY)
    if settings.REDIS_NODES:
        return scatter(known, [Call(keys, args)])[0]
    connection = own()
    try:
        connection.send_packed_command([pack_command(("EVALSHA", known.sha, len(keys), *keys, *args))])
        return connection.read_response()
    except (redis.ConnectionError, redis.TimeoutError, NoScriptError):
        # redis-py's own way: it tries again, and takes twice as long
        return known(keys=keys, args=args, client=client())
    except BaseException:
        connection.disconnect()  # the next call must not read an answer to this one
        raise


def _call_each(script: str, calls: list[Call]) -> list[Any]:
    if settings.REDIS_NODES:
        return scatter(_script(script, settings.TIMELINE_LIMIT, settings.TIDY_EVERY), calls)
    return [_call(script, [*call.keys], *call.args) for call in calls]


def _call_many(script: str, items: Sequence[tuple[Any, ...]], *first: Any) -> list[int] | None:
    """Calls a script for many readers, the last part of each item. A number for each item, or None if it came too late."""
    if not settings.REDIS_NODES:
        found: list[int] | None = _call(script, [PREFIX, SWEPT], *first, *chain.from_iterable(items))
        return found
    numbers, single = [0] * len(items), list[tuple[int, Call]]()
    dealt = deal(items)
    calls = [Call(part, [*first, *chain.from_iterable(item for _, item in its)]) for part, its in dealt.items()]
    for (part, its), answer in zip(dealt.items(), _call_each(script, calls), strict=True):
        if answer is None:
            return None
        if answer is MOVING:  # each timeline is at one of two nodes, and only its own key says at which
            single += [
                (place, Call([part[0] + reader], [*first, *others, reader]))
                for place, (*others, readers) in its
                for reader in readers.split(",")
            ]
            continue
        for (place, _), number in zip(its, answer, strict=True):
            numbers[place] += number
    answers = _call_each(script, [call for _, call in single]) if single else []
    for (place, _), answer in zip(single, answers, strict=True):
        if answer is None:
            return None
        numbers[place] += answer[0]
    return numbers


def deal(items: Sequence[tuple[Any, ...]]) -> dict[tuple[str, str], list[tuple[int, tuple[Any, ...]]]]:
    """The items, numbered, by buckets: in each bucket those of their readers that belong there."""
    dealt: dict[tuple[str, str], list[tuple[int, tuple[Any, ...]]]] = {}
    parts = list(_parts().items())
    for place, (*others, readers) in enumerate(items):
        buckets: list[list[str]] = [[] for _ in parts]
        for reader in filter(None, readers.split(",")):
            buckets[int(reader) % BUCKETS].append(reader)
        for part, some in zip(parts, buckets, strict=True):
            if some:
                dealt.setdefault(part, []).append((place, (*others, ",".join(some))))
    return dealt


@cache
def _parts() -> dict[str, str]:
    """What is on one node for sure, all of it or each bucket: the prefix of its keys, and the key of its swept reign."""
    if not settings.REDIS_NODES:
        return {PREFIX: SWEPT}
    return {f"{PREFIX}{{{bucket}}}:": f"{SWEPT}:{{{bucket}}}" for bucket in range(BUCKETS)}


def _by_part(keys: list[str]) -> dict[str, list[str]]:
    if not settings.REDIS_NODES:
        return {PREFIX: keys}
    found: dict[str, list[str]] = {}
    for one in keys:
        found.setdefault(one[: one.rindex(":") + 1], []).append(one)
    return found


@cache
def _script(name: str, limit: int, every: int) -> Any:
    folder = Path(__file__).parent / "lua"
    text = (folder / "head.lua").read_text() + (folder / f"{name}.lua").read_text()
    return client().register_script(f"local limit, every = {limit}, {every}\n{text}")

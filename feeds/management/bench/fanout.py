"""The fan-out of one post to FOLLOWERS accounts, and who is held up by it: readers, and authors of small audiences."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from feeds.redis_client import client
from followers.models import Account

from . import peers
from .deliveries import POLL, fan_out, milliseconds, publish, settle
from .processes import Memory
from .reader import Reader
from .row import Row, compared, p99
from .stage import Stage
from .yardstick import Yardstick

ROUNDS = 3
STREAM_SHARE = 20  # of the followers one in so many is enough for the slowest of the peers
SMALL = 100  # followers of the post that is published meanwhile
SMALL_EVERY = 0.1  # seconds
# Of the first one the workers have yet to connect to everything, and each process to copy pages that it shared till then.
WARM_UPS = 2
SMALL_SAMPLES = 100  # on the idle system, before and after
SMALL_ROUNDS = 9  # fan-outs to all: of fewer the p99 of what comes meanwhile is the slowest one
GROWTH = (1000, 100, 10, 1)  # of the followers


def whole(stage: Stage) -> Iterator[Row]:
    """All of it, against what Redis can do, and against the fan-out of most tutorials."""
    author, size = stage.author(stage.followers), stage.followers
    name = f"fan-out to {size:,}"
    for _ in range(WARM_UPS):
        fan_out(author, size)
        settle()
    memory = Memory()
    runs, tutorial = [], []
    with Yardstick(size) as yardstick:
        before = yardstick.measure()
        for n in range(ROUNDS):
            report = fan_out(author, size, meanwhile=memory.look)
            after = yardstick.measure()
            runs.append((report["seconds"], (before + after) / 2))
            tutorial.append(peers.plain_redis_py(range(n * size // ROUNDS, (n + 1) * size // ROUNDS)))
            before = yardstick.measure()
            settle()
        stream = peers.stream_framework(range(max(1, size // STREAM_SHARE)))
    rates = [(size / seconds, zadds) for seconds, zadds in runs]
    yield compared(f"{name}, against plain ZADDs", "/s", rates, least=0.55)
    pairs = [(rate, peer) for (rate, _), peer in zip(rates, tutorial, strict=True)]
    yield compared(f"{name}, against plain redis-py", "/s", pairs, least=4)
    rate = median(rate for rate, _ in rates)
    yield Row(f"{name}, against Stream-Framework's algorithm", rate, "/s", stream, rate / stream)
    yield Row(f"{name}, commit to the last", median(seconds for seconds, _ in runs), "s", most=seconds_allowed(size))
    if memory.workers:
        yield Row(f"memory of the workers during a {name}, more than before", memory.peak - memory.before, "MB", most=8)


def readers(stage: Stage) -> Iterator[Row]:
    """Pages of 20 ids of one stored timeline, idle and while the fan-out runs."""
    author, size = stage.author(stage.followers), stage.followers
    reader_id = author.follows_in.values_list("follower_id", flat=True)[size // 2]
    with Reader(reader_id) as idle:
        time.sleep(ROUNDS)
    busy: list[float] = []
    for _ in range(ROUNDS):
        with Reader(reader_id) as reader:
            fan_out(author, size)
        busy += reader.milliseconds
        settle()
    yield Row("a page of 20 ids, idle, p99", p99(idle.milliseconds), "ms")
    yield Row(f"a page of 20 ids during a fan-out to {size:,}, p99", p99(busy), "ms", most=15)


def fairness(stage: Stage) -> Iterator[Row]:
    """Posts to 100 followers, one after another, idle and while fan-outs to all run."""
    author, small = stage.author(stage.followers), stage.author(min(SMALL, stage.followers))
    _published_alone(small)  # workers that have just started are slow at first
    busy, idle = list[int](), _published_alone(small)
    for _ in range(SMALL_ROUNDS):
        fan_out(author, stage.followers, every=SMALL_EVERY, meanwhile=lambda: busy.append(publish(small)))
        settle()
    idle += _published_alone(small)
    alone, beside = p99(milliseconds(idle)), p99(milliseconds(busy))
    name = f"a post to {SMALL} during a fan-out to {stage.followers:,}, p99, against idle"
    yield Row(name, beside, "ms", alone, beside / alone, most=3)


def _published_alone(author: Account) -> list[int]:
    post_ids = []
    for _ in range(SMALL_SAMPLES):
        post_ids.append(publish(author))
        time.sleep(SMALL_EVERY)
    settle()
    return post_ids


def growth(stage: Stage) -> Iterator[Row]:
    """The cost of one follower, by the number of followers."""
    sizes = [stage.followers // part for part in GROWTH if stage.followers >= part]
    costs = defaultdict[int, list[float]](list)  # microseconds per follower
    for size in reversed(sizes):
        stage.author(size)
    for _ in range(ROUNDS):
        for size in sizes:
            report = fan_out(stage.author(size), size, every=POLL / 10)
            costs[size].append(report["seconds"] / size * 1e6)
            settle()
    for size in sizes[:-2]:
        yield Row(f"cost of a follower of {size:,}", median(costs[size]), "us")
    if len(sizes) > 1:
        tenth, all_of_them = sizes[-2:]
        pairs = list(zip(costs[all_of_them], costs[tenth], strict=True))
        yield compared(f"cost of a follower of {all_of_them:,}, against {tenth:,}", "us", pairs, most=1.2)


def seconds_allowed(followers: int) -> float | None:
    """For a million. Twitter named 3.5 seconds as its median; a build of Valkey without its own allocator takes longer."""
    if followers != 1_000_000:
        return None
    return 6 if "valkey_version" in client().info("server") else 3.5

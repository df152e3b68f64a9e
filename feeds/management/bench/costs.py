"""What things cost, by parts, in processor time: what `manage.py capacity` plans with (docs/scale.md).

Each deed is done many times with little else going on, and what the parts use when idle is taken off. Deeds that contain
others are measured together, and the others taken off: a fan-out to 10,000 is a message, a post and 10,000 followers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from statistics import median

from django.conf import settings
from django.db import transaction

from feeds import outbox, rebuild, timelines
from feeds.database import changed, rows
from feeds.management.commands.create_account import new_token
from feeds.models import Post, PostMode
from followers.models import Account

from . import small
from .cpu import PARTS, spent
from .deliveries import fan_out, milliseconds, patient, settle
from .load import CONNECTIONS, SECONDS, load
from .processes import held
from .row import Row
from .stage import AUTHOR, Stage, made, vacuum
from .web import AN_HOUR, FOLLOWEES, WORDS, hide_and_keep, make_reader, service

Costs = dict[str, float]  # by part: seconds of one deed; and `elsewhere`: cores that others had meanwhile

# What takes part in a fan-out's message, in those of the other tasks, in a batch of a chord, in an answer
FAN_OUT = ("relay", "fanout", "streaming", "timelines", "broker", "postgres")
OTHERS = ("relay", "others", "streaming", "cache", "broker", "postgres")
CHORD = ("fanout", "bulk", "timelines", "broker", "postgres")
HTTP = ("web", "timelines", "cache", "postgres")

IDLE_SECONDS = 4
ALONE, WITH_TASKS = 60, 15  # posts, one after another; those whose other tasks are waited for take half a second each
CROWD = 5_000  # posts at once
WIDE, LARGE = 10, 3  # fan-outs: of one batch, of all followers
CALLS = 5_000  # script calls of one reader each; a fiftieth as many of PUSH_CHUNK
NOBODY = 1_300_000_000  # the first of ids that no account has
FEW = 50  # accounts that a reader follows, who are then pulled
POSTS_EACH = 20
TABLES = {
    "feeds_post": "id",
    "feeds_delivery": "post_id",
    "feeds_batch": "post_id",
    "feeds_outbox": "subject_id",
    "feeds_searchentry": "post_id",
}
"""What a post without any mention or hashtag leaves behind, and by which column."""


def parts(stage: Stage) -> Iterator[Row]:
    """The rows' names are what capacity/calibration.py looks for."""
    yield Row("cores of the machine", os.cpu_count() or 1, "")
    everybody, wide_size = stage.followers, min(stage.followers, settings.FANOUT_BATCH)
    nobody, wide, large = stage.author(1), stage.author(wide_size), stage.author(everybody)
    authors = small.make_authors(stage)
    crowd = min(CROWD, everybody)
    audience = sum(islice(cycle(authors.values()), crowd)) / crowd
    published = list[int]()
    for author, size in ((nobody, 1), (wide, wide_size), (large, everybody)):
        fan_out(author, size)  # the workers connect to everything
    settle()
    with spent() as used:
        time.sleep(IDLE_SECONDS)
    idle = {part: seconds / IDLE_SECONDS for part, seconds in used.items()}

    def cost(deed: Callable[[], object], count: int) -> Costs:
        return _each(deed, count, idle)

    with _without_other_tasks():
        alone = cost(lambda: published.extend(_alone(nobody, ALONE)), ALONE)
    settle()
    with_tasks = cost(lambda: _with_tasks(nobody, WITH_TASKS), WITH_TASKS)
    ids = list[int]()
    with _without_other_tasks():
        together = cost(lambda: ids.extend(_together(authors, crowd)), crowd)
    tasks = cost(settle, crowd)
    seconds = list[float]()
    one_batch = cost(lambda: _fan_outs(wide, wide_size, WIDE), WIDE)
    all_of_them = cost(lambda: seconds.extend(_fan_outs(large, everybody, LARGE)), LARGE)
    follower = _scaled(_minus(one_batch, with_tasks), 1 / max(1, wide_size - 1))
    post = _minus(together, _scaled(follower, audience))
    message = _minus(alone, post, follower)
    others = [task for task in outbox.TASKS["post.published"] if task != "fan_out_post"]
    messages = len(others) + sum(task in outbox.CHAINED for task in others)
    task_message = _scaled(_minus(with_tasks, alone, tasks), 1 / messages)
    yield from _rows("a follower", follower, "fanout", "timelines", "postgres")
    yield from _rows("a small post", post, *FAN_OUT)
    yield from _rows("a message of small posts", message, *FAN_OUT)
    yield from _rows("the other tasks of a post", tasks, *OTHERS)
    yield from _rows("a message of other tasks", task_message, *OTHERS)
    if everybody > settings.FANOUT_BATCH:
        batches = -(-everybody // settings.FANOUT_BATCH)
        batch = _minus(all_of_them, with_tasks, _scaled(follower, everybody))
        yield from _rows("a batch of a chord", _scaled(batch, 1 / batches), *CHORD)
    yield Row("a post alone, commit to closed, p50", median(milliseconds(published)), "ms")
    timed = (
        (f"{crowd:,} posts to {audience:.0f} each at once", max(milliseconds(ids)) / 1000, together),
        (f"a post to {everybody:,} alone", median(seconds), all_of_them),
    )
    for what, took, costs in timed:
        yield Row(f"{what}, commit to the last", took, "s")
        yield Row(f"cores that others had meanwhile: {what}", costs["elsewhere"], "")
    yield from _sizes(ids)
    yield from _of_redis(cost)
    yield from _of_http(stage, cost)


def _each(deed: Callable[[], object], count: int, idle: Costs) -> Costs:
    began = time.monotonic()
    with spent() as used:
        deed()
        seconds = time.monotonic() - began
    costs = {part: max(0.0, used[part] - idle[part] * seconds) / count for part in PARTS}
    return costs | {"elsewhere": used["elsewhere"] / seconds}


def _minus(whole: Costs, *parts_of_it: Costs) -> Costs:
    return {part: max(0.0, whole[part] - sum(one[part] for one in parts_of_it)) for part in PARTS}


def _scaled(costs: Costs, by: float) -> Costs:
    return {part: seconds * by for part, seconds in costs.items()}


def _rows(deed: str, costs: Costs, *by: str) -> Iterator[Row]:
    """Of the parts that have to do with it. What is less than a hundredth of the deed is noise."""
    own = {part: costs[part] for part in by}
    for part, seconds in own.items():
        if seconds > sum(own.values()) / 100:
            yield Row(f"CPU of {deed}: {part}", seconds * 1e6, "us")


@contextmanager
def _without_other_tasks() -> Iterator[None]:
    """What a post starts beside its fan-out waits."""
    with ExitStack() as stack:
        for worker in settings.WORKERS:
            if not {"fanout", "fanout_bulk"} & {*worker.queues}:
                stack.enter_context(held("celery", ",".join(worker.queues)))
        yield


def _alone(author: Account, count: int) -> list[int]:
    """Each is delivered before the next one is published."""
    ids, patience = list[int](), patient("nothing was delivered")
    for _ in range(count):
        ids += small.record([author.pk])
        while not rows("SELECT 1 FROM feeds_delivery WHERE post_id = %(id)s AND state = 'closed'", id=ids[-1]):
            patience.check(len(ids))
            time.sleep(0.005)
    return ids


def _with_tasks(author: Account, count: int) -> None:
    for _ in range(count):
        small.record([author.pk])
        settle()


def _together(authors: dict[int, int], count: int) -> list[int]:
    with transaction.atomic():
        ids = small.record(list(islice(cycle(authors), count)))
    small.wait(ids, authors)
    return ids


def _fan_outs(author: Account, followers: int, count: int) -> list[float]:
    """Each with its other tasks done before the next one. Seconds until each was delivered."""
    seconds = []
    for _ in range(count):
        seconds.append(fan_out(author, followers, every=0.05)["seconds"])
        settle()
    return seconds


def _of_redis(cost: Callable[[Callable[[], object], int], Costs]) -> Iterator[Row]:
    """A script call, and in it a reader who has no timeline."""

    def push(calls: int, size: int) -> Costs:
        readers = ",".join(map(str, range(NOBODY, NOBODY + size)))
        return cost(lambda: [timelines.push(32, readers, deadline=0) for _ in range(calls)], calls)

    one, many = push(CALLS, 1)["timelines"], push(CALLS // 50, settings.PUSH_CHUNK)["timelines"]
    reader = max(0.0, many - one) / (settings.PUSH_CHUNK - 1)
    yield from _rows("a follower without a timeline", {"timelines": reader}, "timelines")
    yield from _rows("a script call", {"timelines": max(0.0, one - reader)}, "timelines")


def _sizes(ids: list[int]) -> Iterator[Row]:
    """Of the posts' rows copied into tables of their own, indexes included: what they take without gaps."""
    for table, column in TABLES.items():
        changed("DROP TABLE IF EXISTS bench_copy")
        changed(f"CREATE TABLE bench_copy (LIKE {table} INCLUDING ALL)")
        try:
            count = changed(f"INSERT INTO bench_copy SELECT * FROM {table} WHERE {column} = ANY(%(ids)s)", ids=ids)
            [(size,)] = rows("SELECT pg_total_relation_size('bench_copy')")
            yield Row(f"bytes of a row: {table}", size / max(1, count), "B")
        finally:
            changed("DROP TABLE bench_copy")


def _of_http(stage: Stage, cost: Callable[[Callable[[], object], int], Costs]) -> Iterator[Row]:
    done = list[float]()

    def ask(path: str, tokens: list[str], body: str = "") -> Costs:
        done.clear()
        whole = cost(lambda: done.append(load(f"{service()}{path}", tokens, body=body).per_second * SECONDS), 1)
        return _scaled(whole, 1 / done[0])

    home, few, many = "/api/v1/timelines/home", _reader_of_few(stage), make_reader(stage)
    for reader in (few, many):
        hide_and_keep(reader)  # the dearer reader is planned for
    of_many = ask(home, [new_token(many)])
    of_few = ask(home, [new_token(few)])
    _let_be_pulled(few)
    of_pulled = ask(home, [new_token(few)])
    followee = _scaled(_minus(of_many, of_few), 1 / (min(FOLLOWEES, stage.followers) - FEW))
    yield from _rows("a page", _minus(of_few, _scaled(followee, FEW)), *HTTP)
    yield from _rows("a followee of a page", followee, *HTTP)
    yield from _rows("a pull account of a page", _scaled(_minus(of_pulled, of_few), 1 / FEW), *HTTP)
    tokens = [new_token(made(f"{AUTHOR}_post_{n}")) for n in range(CONNECTIONS)]
    with held("manage.py", "relay"):
        requests = ask("/api/v1/statuses", tokens, body="status=" + WORDS.strip().replace(" ", "+"))
    yield from _rows("a request to post", requests, *HTTP)


def _reader_of_few(stage: Stage) -> Account:
    """Who follows some accounts with some posts each."""
    ids = stage.graph((1, followee) for followee in range(2, FEW + 2))
    authors = [account_id for number, account_id in ids.items() if number > 1]
    moment = time.time_ns() // 1_000_000 - 2 * AN_HOUR  # older than the other reader's
    Post.objects.bulk_create(
        Post(
            pk=(moment - n) << 16,
            author_id=authors[n % FEW],
            text=WORDS,
            created_at=datetime.fromtimestamp((moment - n) / 1000, UTC),
        )
        for n in range(FEW * POSTS_EACH)
    )
    vacuum()
    rebuild.rebuild(ids[1])
    return Account.objects.get(pk=ids[1])


def _let_be_pulled(reader: Account) -> None:
    """What the reader's timeline has now is fetched by each page instead."""
    authors = Account.objects.filter(follows_in__follower=reader)
    authors.update(ever_pulled=True)
    Post.objects.filter(author__in=authors).update(home_mode=PostMode.PULL)
    vacuum()
    rebuild.rebuild(reader.pk)

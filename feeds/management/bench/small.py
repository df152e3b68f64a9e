"""Posts of small accounts: how many per second, against one trivial Celery task for each, and how soon at a steady rate."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from celery import current_app
from django.core.management.base import CommandError
from django.db import transaction

from feeds import outbox, reconciler
from feeds.database import prepared, rows
from feeds.management.progress import progress

from .deliveries import POLL, milliseconds, patient, settle
from .row import Row, compared, p99
from .stage import Stage

ROUNDS = 2  # each leaves the posts' other tasks, four times as many, to be waited for
POSTS = 5_000
AUTHORS, READERS = 500, 10_000
MOST = 200  # followers of an author; few have so many, the mean is a third of it
SEED = 2016
RATE, SECONDS = 300, 6  # posts per second, and for how long
WARM_UP = 100  # posts before: workers that have just started connect, and load, with the first they get
TICK = 0.01  # seconds: what is due then is committed together
TRIVIAL_POLL = 0.02  # seconds: of the trivial tasks the end is not in a row, but seen
QUEUE = "fanout"
TRIVIAL = "celery.accumulate"  # every worker has it; it gives back its arguments, which nobody keeps


def throughput(stage: Stage) -> Iterator[Row]:
    """Posts that are committed at once, until the last delivery is closed."""
    count, authors = min(POSTS, stage.followers), make_authors(stage)
    pairs = []
    before = trivial_tasks(count)
    for _ in range(ROUNDS):
        rate = posts(authors, count)
        settle()
        after = trivial_tasks(count)
        pairs.append((rate, (before + after) / 2))
        before = after
    yield compared(f"{count:,} small posts, against trivial Celery tasks", "/s", pairs, least=4)


def latency(stage: Stage) -> Iterator[Row]:
    """Posts that are committed at a steady rate, each until its delivery is closed."""
    authors = make_authors(stage)
    wait(record(list(islice(authors, WARM_UP))), authors)
    turns, published = cycle(authors), list[int]()
    began = time.monotonic()
    while (now := time.monotonic() - began) < SECONDS:
        if due := int(now * RATE) - len(published):
            published += record(list(islice(turns, due)))
        time.sleep(max(0, TICK - (time.monotonic() - began - now)))
    wait(published, authors)
    offered = len(published) / SECONDS
    yield Row(f"a small post at {offered:.0f}/s, commit to closed, p99", p99(milliseconds(published)), "ms", most=60)


def make_authors(stage: Stage) -> dict[int, int]:
    """With 0 to MOST followers among the READERS. How many, by their ids."""
    chance = random.Random(SEED)  # noqa: S311  no secret
    sizes = {author: int(MOST * (author / AUTHORS) ** 2) for author in range(1, AUTHORS + 1)}
    readers = range(AUTHORS + 1, AUTHORS + 1 + READERS)
    edges = [(author, readers[0]) for author in sizes]  # so that those without followers are accounts, too
    edges += [(reader, author) for author, size in sizes.items() for reader in chance.sample(readers, size)]
    ids = stage.graph(edges)
    shuffled = chance.sample(list(sizes), AUTHORS)
    return {ids[author]: sizes[author] for author in shuffled}


def posts(authors: dict[int, int], count: int) -> float:
    """Posts per second, by the authors in turn."""
    with transaction.atomic():
        published = record(list(islice(cycle(authors), count)))
        [(committed,)] = rows("SELECT clock_timestamp()")
    wait(published, authors)
    [(seconds,)] = rows(
        "SELECT extract(epoch FROM max(finished_at) - %(since)s)::float FROM feeds_delivery WHERE post_id = ANY(%(ids)s)",
        since=committed,
        ids=published,
    )
    return len(published) / seconds


def record(author_ids: list[int]) -> list[int]:
    """What actions.publish_post writes for a public text without names, for many posts by one statement. Their ids."""
    found = prepared(
        f"""
        WITH post AS (
            INSERT INTO feeds_post (id, author_id, text, created_at, spoiler_text, sensitive, visibility, home_mode)
            SELECT feeds_post_id(clock_timestamp()), author_id, 'a small post', now(), '', false, 'public', 'push'
            FROM unnest(%(author_ids)s::bigint[]) WITH ORDINALITY author (author_id, turn) ORDER BY turn
            RETURNING id),
        delivery AS (INSERT INTO feeds_delivery (post_id, kind, state) SELECT id, 'push', 'queued' FROM post),
        asked AS ({outbox.asking("post.published", "(SELECT id, NULL::bigint FROM post) change (subject_id, object_id)")})
        SELECT id, {outbox.WAKE} FROM post ORDER BY id
        """,
        author_ids=author_ids,
        request_id=None,
    )
    return [post_id for post_id, _ in found]


def wait(post_ids: list[int], authors: dict[int, int]) -> None:
    """Until all is delivered of these posts by the authors in turn."""
    patience = patient("nothing was delivered")
    with progress("delivering small posts", len(post_ids)) as show:
        while left := reconciler.gauges()["deliveries_open"]:
            patience.check(left)
            show(len(post_ids) - left)
            time.sleep(POLL)
    [(delivered,)] = rows("SELECT sum(delivered) FROM feeds_delivery WHERE post_id = ANY(%(ids)s)", ids=post_ids)
    audience = sum(islice(cycle(authors.values()), len(post_ids)))
    if delivered != audience:
        raise CommandError(f"{delivered:,} of {audience:,} followers have the small posts")


def trivial_tasks(count: int) -> float:
    """Tasks per second, from sending the first one until the queue is empty: the last few may still run."""
    patience = patient("no task was taken")
    began = time.perf_counter()
    with current_app.producer_or_acquire() as producer:
        for _ in range(count):
            current_app.send_task(TRIVIAL, queue=QUEUE, producer=producer)
    while left := queued():
        patience.check(left)
        time.sleep(TRIVIAL_POLL)
    return count / (time.perf_counter() - began)


def queued() -> int:
    with current_app.connection_for_read() as broker:
        channel: Any = broker.default_channel
        try:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)
        except broker.channel_errors:
            return 0  # Redis knows no empty queues

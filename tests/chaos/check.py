"""After the fault: wait until the service is at rest, then compare every acknowledged post with what is read."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from django.conf import settings
from django.db.models import F, Sum
from kombu import Connection

from feeds import timelines
from feeds.models import Batch, Delivery, Notification, Outbox, Post
from tests import factories
from tests.chaos.load import Load
from tests.chaos.world import Graph

NOTHING_MOVES = 60  # seconds after which nobody will do what is left
MOST = 300  # seconds to come to rest, however slow the machine is
PARTS = ("delivered", "skipped_inactive", "skipped_hidden", "pulled", "gone", "failed")


@dataclass
class Verdict:
    """What the check found. Everything but `acknowledged`, `reruns` and `seconds` has to be nothing."""

    acknowledged: int = 0
    reruns: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)  # posts, or deliveries to a reader
    doubled: list[str] = field(default_factory=list)  # posts, deliveries, notifications
    ghosts: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # records that do not add up

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.doubled or self.ghosts or self.wrong)


def rest(since: float, connect: Callable[[], Connection]) -> float:
    """Seconds from `since` until nothing is left to be done: outbox, deliveries and queues are empty.

    On a busy machine a backlog takes its time. What must not be is that it stays as it is.
    """
    began = moved = time.monotonic()
    before: dict[str, int] = {}
    while left := what_is_left(connect):
        now = time.monotonic()
        if left != before:
            before, moved = left, now
        assert now < min(moved + NOTHING_MOVES, began + MOST), (
            f"not at rest after {now - began:.0f} s, and for {now - moved:.0f} s the same: {left}; "
            f"load average {os.getloadavg()[0]:.1f}"
        )
        time.sleep(0.1)
    return time.monotonic() - since


def what_is_left(connect: Callable[[], Connection]) -> dict[str, int]:
    left = {
        "outbox": Outbox.objects.filter(done_at=None).count(),
        "deliveries": Delivery.objects.exclude(state="closed").count(),
        "batches": Batch.objects.filter(state="open").count(),
    }
    if not any(left.values()):
        left["messages"] = waiting_messages(connect)
    return {name: count for name, count in left.items() if count}


def waiting_messages(connect: Callable[[], Connection]) -> int:
    """Messages in the queues, of a Redis broker also those that a worker took and did not acknowledge.

    What RabbitMQ set apart is not waiting for anybody.
    """
    with connect() as broker:
        channel: Any = broker.default_channel
        queues = [name for name in settings.CELERY_TASK_QUEUES if name != "dead"]
        if settings.ON_REDIS:
            return sum(channel.client.llen(name) for name in queues) + channel.client.hlen("unacked")
        return sum(channel.queue_declare(name, passive=True).message_count for name in queues)


def check(load: Load, graph: Graph, url: str, *, lossy: bool = False, moving: bool = False) -> Verdict:
    """Compares posts, records, timelines, pages and notifications with what was acknowledged.

    `lossy`: timelines were lost on the way; then followers without one are counted as inactive, and pages tell.
    `moving`: others followed and unfollowed meanwhile; then an audience is what the record says.
    """
    verdict = Verdict(acknowledged=len(load.acknowledged), reruns=reruns())
    written = _posts(load, graph, verdict)
    _records(load, graph, verdict, lossy=lossy, moving=moving)
    _timelines(graph, written, verdict)
    _pages(graph, written, verdict, url)
    _notifications(load, graph, verdict)
    return verdict


def reruns() -> int:
    """Runs of a batch or of a task's row beyond its first."""
    batches = Batch.objects.filter(lease_no__gt=1).aggregate(more=Sum(F("lease_no") - 1))["more"] or 0
    return batches + (Outbox.objects.filter(lease_no__gt=1).aggregate(more=Sum(F("lease_no") - 1))["more"] or 0)


def _posts(load: Load, graph: Graph, verdict: Verdict) -> dict[int, list[str]]:
    """The ids of each author's posts. Each acknowledged one must be there, none that was deleted, and no text twice."""
    written: dict[int, list[str]] = {}
    for place, author in enumerate(graph.authors):
        found = list(Post.objects.live().filter(author=author).order_by("-id").values_list("id", "text"))
        written[place] = [str(post_id) for post_id, _ in found]
        for text, times in Counter(text for _, text in found).items():
            if times > 1:
                verdict.doubled.append(f"{times} posts of {author}: {text}")
    ids = {place: set(found) for place, found in written.items()}
    verdict.lost += [
        f"post {post.post_id}" for post in load.acknowledged if (post.post_id in ids[post.author]) == post.deleted
    ]
    return written


def _records(load: Load, graph: Graph, verdict: Verdict, *, lossy: bool, moving: bool) -> None:
    for post in load.acknowledged:
        if post.deleted:
            continue
        records = list(Delivery.objects.filter(post_id=post.post_id, kind="push").values())
        if len(records) != 1:
            verdict.wrong.append(f"{len(records)} delivery records of {post.post_id}")
            continue
        [record] = records
        audience = record["audience"] if moving else graph.audiences[post.author]
        reached = record["delivered"] + (record["skipped_inactive"] if lossy else 0) + (record["gone"] if moving else 0)
        sums = sum(record[part] for part in PARTS)
        if (record["audience"], sums, reached + record["failed"]) != (audience, audience, audience):
            verdict.wrong.append(f"{post.post_id} to {audience}: { {part: record[part] for part in PARTS} }")


def _expected(graph: Graph, written: dict[int, list[str]], followed: int) -> list[str]:
    """The home timeline of a reader who follows all authors with more than `followed` followers. Newest first."""
    posts = [post_id for place, found in written.items() if graph.audiences[place] > followed for post_id in found]
    return sorted(posts, key=int, reverse=True)


def _failed(post_ids: list[str]) -> set[str]:
    """Posts of which a batch is dead: who did not get them is counted as failed, and not lost."""
    return set(map(str, Batch.objects.filter(post_id__in=post_ids, state="dead").values_list("post_id", flat=True)))


def _timelines(graph: Graph, written: dict[int, list[str]], verdict: Verdict) -> None:
    """Every stored timeline, as Redis has it. Readers between two audiences follow the same authors.

    That an entry is twice in the front of a list is how a push that came twice looks there; pages show it once.
    """
    borders = sorted({0, *graph.audiences})
    for first, last in itertools.pairwise(borders):
        expected = _expected(graph, written, first)
        wanted, failed = set(expected[: settings.TIMELINE_LIMIT]), _failed(expected)
        for start in range(first, last, 500):
            readers = graph.readers[start : min(start + 500, last)]
            for reader, dump in zip(readers, timelines.dump([reader.pk for reader in readers]), strict=True):
                if dump.state != "built":
                    continue
                found = set(dump.entries)
                if found == wanted:
                    continue
                above = {post_id for post_id in wanted if int(post_id) > dump.cover}
                verdict.lost += [f"{post_id} to {reader}" for post_id in above - found - failed]
                verdict.ghosts += [f"{post_id} to {reader}" for post_id in found - set(expected)]


def _pages(graph: Graph, written: dict[int, list[str]], verdict: Verdict, url: str) -> None:
    """Home over HTTP, page by page, of readers on both sides of each border. Nothing may be there twice."""
    for place in sorted({0, *(near for size in graph.audiences for near in (size - 1, size) if near >= 0)}):
        if place >= len(graph.readers):
            continue
        reader = graph.readers[place]
        expected = _expected(graph, written, place)
        found = _home(url, factories.token(reader), len(expected))
        failed = _failed(expected)
        verdict.lost += [f"{post_id} on {reader}'s pages" for post_id in set(expected) - set(found) - failed]
        verdict.ghosts += [f"{post_id} on {reader}'s pages" for post_id in set(found) - set(expected)]
        verdict.doubled += [f"{post_id} on {reader}'s pages" for post_id, n in Counter(found).items() if n > 1]


def _home(url: str, token: str, most: int) -> list[str]:
    found: list[str] = []
    address = f"{url}/api/v1/timelines/home?limit=40"
    while len(found) <= most:
        answer = requests.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code in (200, 206), answer.text
        found += [status["id"] for status in answer.json()]
        if "next" not in answer.links:
            break
        address = answer.links["next"]["url"]
    return found


def _notifications(load: Load, graph: Graph, verdict: Verdict) -> None:
    """Each acknowledged post that mentions the first reader told them so, once."""
    told = Counter(Notification.objects.filter(account=graph.readers[0]).values_list("post_id", flat=True))
    verdict.doubled += [f"{times} notifications of {post_id}" for post_id, times in told.items() if times > 1]
    mentions = [post for post in load.acknowledged if "@" in post.text and not post.deleted]
    verdict.lost += [f"notification of {post.post_id}" for post in mentions if int(post.post_id or 0) not in told]

"""The replay of recorded activity as posts of today."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError

from feeds import actions
from feeds.database import rows
from feeds.management.arguments import positive, rate
from feeds.management.files import bad_line, number, records
from feeds.management.progress import progress
from feeds.management.waiting import Patience
from followers.models import Account

TYPES = {b"RT": "reposted u{}", b"MT": "mentioned @u{}", b"RE": "answered u{}"}
POLL = 0.5  # seconds
STALLED_AFTER = 120  # seconds in which no delivery is closed


@dataclass
class Deed:
    """What one actor did in one second: a post. `line` is the first of its lines."""

    line: int
    actor: int
    events: list[tuple[bytes, int]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """As many of its events as fit, each once."""
        text = ", ".join(dict.fromkeys(TYPES[kind].format(target) for kind, target in self.events))
        return text if len(text) <= actions.TEXT_MAX else text[: actions.TEXT_MAX - 3].rsplit(",", 1)[0] + ", …"


class Command(BaseCommand):
    help = (
        "Publishes the events of FILE as posts of today: 'actor target unix_ts type' per line, where type is RT, MT or RE; "
        "in the order of time; .gz too. What an actor did within a second is one post. Actor N is the user uN: import the "
        "graph first (import_graph); only who refers to nobody else is registered here. Ends when all the posts are "
        "delivered, and says how fast that was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--limit", type=positive, metavar="N", help="only the first N events")
        parser.add_argument("--rate", type=rate, metavar="R", help="posts per second; without it as fast as it goes")
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, file: Path, limit: int | None, **options: Any) -> None:
        deeds = list(read(file, limit))
        authors = find_authors(file, deeds)
        began = time.monotonic()
        post_ids = publish(deeds, authors, options["rate"])
        published = time.monotonic()
        wait(post_ids)
        figures = measure(deeds, post_ids, published - began, time.monotonic() - began)
        self.stdout.write(
            "{events:,} events, {posts:,} posts at {posts_per_second:,}/s, {deliveries:,} deliveries at "
            "{deliveries_per_second:,}/s, {seconds} s; from commit to delivered {p50_ms} ms (p50), {p99_ms} ms (p99)".format(
                **figures
            )
        )
        if options["json"]:
            self.stdout.write(json.dumps(figures))


def read(path: Path, limit: int | None) -> Iterator[Deed]:
    """The deeds of each second, actors in the order of their first event. The file is in the order of time."""
    second, deeds = -1, dict[int, Deed]()
    for line, words in islice(records(path), limit):
        numbers = [number(word) for word in words[:3]]
        if len(words) != 4 or None in numbers or words[3] not in TYPES:
            raise bad_line(path, line, "not 'actor target unix_ts type', three decimal numbers and RT, MT or RE")
        actor, target, moment = cast(list[int], numbers)
        if moment != second:
            yield from deeds.values()
            second, deeds = moment, {}
        deeds.setdefault(actor, Deed(line, actor)).events.append((words[3], target))
    yield from deeds.values()


def find_authors(path: Path, deeds: list[Deed]) -> dict[int, Account]:
    """The actors' accounts. Who only ever refers to themselves is in no follow graph: they are registered here."""
    names = {f"u{deed.actor}": deed.actor for deed in deeds}
    authors = {names[account.username]: account for account in Account.objects.filter(username__in=names)}
    alone = dict[int, None]()
    for deed in deeds:
        if deed.actor not in authors:
            if any(target != deed.actor for _, target in deed.events):
                raise bad_line(
                    path, deed.line, f"there is no account u{deed.actor}: import the graph first (import_graph)"
                )
            alone[deed.actor] = None
    for actor in alone:
        authors[actor] = actions.register(username=f"u{actor}", email=None, password=None)
    return authors


def publish(deeds: list[Deed], authors: dict[int, Account], rate: float | None) -> list[int]:
    post_ids: list[int] = []
    began = time.monotonic()
    with progress("publishing", len(deeds)) as show:
        for deed in deeds:
            if rate:
                time.sleep(max(0.0, began + len(post_ids) / rate - time.monotonic()))
            post_ids.append(actions.publish_post(author=authors[deed.actor], text=deed.text).pk)
            show(len(post_ids))
    return post_ids


def wait(post_ids: list[int]) -> None:
    """Until the deliveries of all the posts are closed. Raises CommandError if nothing moves any more."""
    patience = Patience(STALLED_AFTER, "no delivery was closed for {} s: are relay and workers running?")
    ours = set(post_ids)
    with progress("delivering", len(ours)) as show:
        while ours & (still_open := open_deliveries()):
            closed = len(ours - still_open)
            show(closed)
            patience.check(closed)
            time.sleep(POLL)
        show(len(ours))


def open_deliveries() -> set[int]:
    return {
        post_id for (post_id,) in rows("SELECT post_id FROM feeds_delivery WHERE state <> 'closed' AND kind = 'push'")
    }


def measure(deeds: list[Deed], post_ids: list[int], publishing: float, seconds: float) -> dict[str, float]:
    [(deliveries, failed, p50, p99)] = rows(
        """
        SELECT coalesce(sum(delivered), 0), coalesce(sum(failed), 0),
            coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), 0),
            coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), 0)
        FROM (SELECT *, extract(epoch FROM finished_at - queued_at) * 1000 AS ms FROM feeds_delivery
            WHERE kind = 'push' AND post_id = ANY(%(posts)s::bigint[])) d
        """,
        posts=post_ids,
    )
    if failed:
        raise CommandError(f"{failed:,} deliveries failed: see the error of dead batches (feeds_batch)")
    return {
        "events": sum(len(deed.events) for deed in deeds),
        "posts": len(post_ids),
        "deliveries": int(deliveries),
        "seconds": round(seconds, 2),
        "posts_per_second": round(len(post_ids) / max(publishing, 0.001), 1),
        "deliveries_per_second": round(int(deliveries) / max(seconds, 0.001), 1),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
    }

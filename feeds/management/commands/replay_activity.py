"""The replay of recorded activity as posts, replies and reblogs of today."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections import Counter
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
from feeds.models import Post
from followers.models import Account

REBLOG, MENTION, REPLY = b"RT", b"MT", b"RE"
POLL = 0.5  # seconds
STALLED_AFTER = 120  # seconds in which nothing is delivered, and nobody told


@dataclass
class Deed:
    """What one actor did in one second. `line` is the first of its lines."""

    line: int
    actor: int
    events: list[tuple[bytes, int]] = field(default_factory=list)

    @property
    def mentioned(self) -> list[int]:
        return [target for kind, target in self.events if kind == MENTION]

    @property
    def text(self) -> str:
        """Those mentioned, each once, as many as fit."""
        text = "mentioned " + ", ".join(dict.fromkeys(f"@u{target}" for target in self.mentioned))
        return text if len(text) <= actions.TEXT_MAX else text[: actions.TEXT_MAX - 3].rsplit(",", 1)[0] + ", …"


class Command(BaseCommand):
    help = (
        "Repeats the events of FILE today: 'actor target unix_ts type' per line, in the order of time; .gz too. RT is a "
        "reblog of the target's newest post so far, RE a reply to it, MT a post that mentions the target: one for all that "
        "the actor mentioned within a second. A target that has no post yet in the replay gets one first (seeded). Number N "
        "is the user uN: import the graph first (import_graph); only who refers to nobody else is registered here. Ends "
        "when all posts are delivered and everybody concerned is told, and says how fast that was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--limit", type=positive, metavar="N", help="only the first N events")
        parser.add_argument("--rate", type=rate, metavar="R", help="posts per second; without it as fast as it goes")
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, file: Path, limit: int | None, **options: Any) -> None:
        events, accounts = find_accounts(file, limit)
        replay = Replay(accounts, options["rate"])
        with progress("publishing", events) as show:
            for deed in read(file, limit):
                replay.repeat(deed)
                show(replay.events)
        published = time.monotonic()
        wait(replay)
        figures = measure(replay, published - replay.began, time.monotonic() - replay.began)
        self.stdout.write(
            "{events:,} events, {posts:,} posts at {posts_per_second:,}/s ({mentions:,} with mentions, {reblogs:,} reblogs, "
            "{replies:,} replies, {seeded:,} seeded), {deliveries:,} deliveries at {deliveries_per_second:,}/s, {seconds} s; "
            "from commit to delivered {p50_ms} ms (p50), {p99_ms} ms (p99)".format(**figures)
        )
        if options["json"]:
            self.stdout.write(json.dumps(figures))


def read(path: Path, limit: int | None) -> Iterator[Deed]:
    """The deeds of each second, actors in the order of their first event. The file is in the order of time."""
    second, deeds = -1, dict[int, Deed]()
    for line, words in islice(records(path), limit):
        numbers = [number(word) for word in words[:3]]
        if len(words) != 4 or None in numbers or words[3] not in (REBLOG, MENTION, REPLY):
            raise bad_line(path, line, "not 'actor target unix_ts type', three decimal numbers and RT, MT or RE")
        actor, target, moment = cast(list[int], numbers)
        if moment != second:
            yield from deeds.values()
            second, deeds = moment, {}
        deeds.setdefault(actor, Deed(line, actor)).events.append((words[3], target))
    yield from deeds.values()


def find_accounts(path: Path, limit: int | None) -> tuple[int, dict[int, Account]]:
    """How many events there are, and the accounts of actors and targets; all lines are read, and none is held.

    Who only ever refers to themselves is in no follow graph: they are registered here.
    """
    events, where, alone = 0, dict[int, int](), dict[int, bool]()
    for deed in read(path, limit):
        events += len(deed.events)
        for one in (deed.actor, *(target for _, target in deed.events)):
            where.setdefault(one, deed.line)
            alone[one] = alone.get(one, True) and all({deed.actor, target} == {one} for _, target in deed.events)
    names = {f"u{one}": one for one in where}
    accounts = {names[found.username]: found for found in Account.objects.filter(username__in=names, is_active=True)}
    unknown = [one for one in where if one not in accounts]
    for one in unknown:
        if not alone[one]:
            raise bad_line(path, where[one], f"there is no account u{one}: import the graph first (import_graph)")
    for one in unknown:
        accounts[one] = actions.register(username=f"u{one}", email=None, password=None)
    return events, accounts


class Replay:
    """The deeds so far. Holds an id for each account, and of the posts the first and the last one only."""

    def __init__(self, accounts: dict[int, Account], rate: float | None) -> None:
        self.accounts, self.rate = accounts, rate
        self.newest: dict[int, int] = {}  # by account: its newest post that is no reblog
        self.first = self.last = 0
        self.events = self.published = 0
        self.counts = Counter(mentions=0, replies=0, seeded=0)
        self.began = time.monotonic()

    def repeat(self, deed: Deed) -> None:
        if deed.mentioned:
            self.counts["mentions"] += 1
            self.publish(deed.actor, deed.text)
        for kind, target in deed.events:
            if kind == REBLOG:
                self.reblog(deed.actor, target)
            elif kind == REPLY:
                self.counts["replies"] += 1
                self.publish(deed.actor, f"answered u{target}", in_reply_to=self.newest_of(target))
        self.events += len(deed.events)

    def reblog(self, actor: int, target: int) -> None:
        """A post that the actor has reblogged before stays reblogged once."""
        original = self.newest_of(target)
        self.keep_the_rate()
        self.note(actions.reblog(author=self.accounts[actor], original=original))

    def newest_of(self, target: int) -> Post:
        if target not in self.newest:
            self.counts["seeded"] += 1
            self.publish(target, "wrote something before")
        return Post.objects.get(pk=self.newest[target])

    def publish(self, author: int, text: str, in_reply_to: Post | None = None) -> None:
        self.keep_the_rate()
        post = actions.publish_post(author=self.accounts[author], text=text, in_reply_to=in_reply_to)
        self.newest[author] = post.pk
        self.note(post)

    def note(self, post: Post) -> None:
        self.first, self.last = self.first or post.pk, max(self.last, post.pk)
        self.published += 1

    def keep_the_rate(self) -> None:
        if self.rate:
            time.sleep(max(0.0, self.began + self.published / self.rate - time.monotonic()))

    def ours(self) -> dict[str, Any]:
        """For OURS."""
        return {
            "first": self.first,
            "last": self.last,
            "authors": [account.pk for account in self.accounts.values()],
        }


OURS = "p.id BETWEEN %(first)s AND %(last)s AND p.author_id = ANY(%(authors)s::bigint[])"
"""The posts of a replay: what these accounts wrote while it ran. A list of them would grow with the file."""


def wait(replay: Replay) -> None:
    """Until all the posts' deliveries are closed and their notifications made. Raises CommandError if nothing moves."""
    patience = Patience(STALLED_AFTER, "nothing was delivered for {} s: are relay and workers running?")
    with progress("delivering", replay.published) as show:
        while any(left := still_open(replay)):
            show(max(0, replay.published - max(left)))
            patience.check(left)
            time.sleep(POLL)
        show(replay.published)


def still_open(replay: Replay) -> tuple[int, int]:
    """How many deliveries are not closed, and how many posts' notifications not made."""
    [left] = rows(
        f"""
        SELECT (SELECT count(*) FROM feeds_delivery d JOIN feeds_post p ON p.id = d.post_id
                WHERE d.state <> 'closed' AND d.kind = 'push' AND {OURS}),
            (SELECT count(*) FROM feeds_outbox w JOIN feeds_post p ON p.id = w.subject_id
             WHERE w.done_at IS NULL AND w.task = 'send_notifications' AND w.event = 'post.published' AND {OURS})
        """,
        **replay.ours(),
    )
    return cast(tuple[int, int], left)


def measure(replay: Replay, publishing: float, seconds: float) -> dict[str, float]:
    [(posts, reblogs, deliveries, failed, p50, p99)] = rows(
        f"""
        SELECT count(*), count(*) FILTER (WHERE reblog), coalesce(sum(delivered), 0), coalesce(sum(failed), 0),
            coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), 0),
            coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), 0)
        FROM (SELECT d.delivered, d.failed, p.reblog_of_id IS NOT NULL AS reblog,
                extract(epoch FROM d.finished_at - d.queued_at) * 1000 AS ms
            FROM feeds_delivery d JOIN feeds_post p ON p.id = d.post_id WHERE d.kind = 'push' AND {OURS}) d
        """,
        **replay.ours(),
    )
    if failed:
        raise CommandError(f"{failed:,} deliveries failed: see the error of dead batches (feeds_batch)")
    return {
        "events": replay.events,
        "posts": posts,
        "reblogs": reblogs,
        **replay.counts,
        "deliveries": int(deliveries),
        "seconds": round(seconds, 2),
        "posts_per_second": round(posts / max(publishing, 0.001), 1),
        "deliveries_per_second": round(int(deliveries) / max(seconds, 0.001), 1),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
    }

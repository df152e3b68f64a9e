"""The measurement of a fan-out on the running instance."""

from __future__ import annotations

import json
import re
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from feeds import actions, fanout, importing
from feeds.database import changed, rows
from feeds.management.arguments import positive
from feeds.management.progress import progress
from feeds.management.waiting import Patience
from feeds.management.yardstick import Yardstick
from followers.models import Account

AUTHOR, FOLLOWER = "bench_author", "bench_f"
POLL = 0.25  # seconds
LOOK_EVERY = 1.0  # seconds, at the memory: a look costs the machine some 10 ms
STALLED_AFTER = 60  # seconds in which nothing is delivered
LOCK = 0x62656E6368  # an advisory lock's number: "bench"


class Command(BaseCommand):
    help = (
        "Measures the running service. `bench fanout` makes N active followers of an author of its own, publishes one post, "
        "and says how long it took from the commit to the closed delivery; before and after that, how fast the same Redis "
        "takes as many plain ZADDs, which is the yardstick. At the end the follows and timelines are removed; the accounts "
        f"({AUTHOR}, {FOLLOWER}1, ...) stay for the next run, inactive. Not for an instance that people use."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
        subject = subjects.add_parser("fanout", help="one post to many followers")
        subject.add_argument("--followers", type=positive, default=100_000, metavar="N", help="default 100000")
        subject.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, followers: int, **options: Any) -> None:
        if not rows("SELECT pg_try_advisory_lock(%(lock)s)", lock=LOCK)[0][0]:
            raise CommandError("another bench is running on this instance")
        changed("SET statement_timeout = '10min'")
        author = Account.objects.filter(username=AUTHOR).first()
        author = author or actions.register(username=AUTHOR, email=None, password=None)
        try:
            release(author)  # what a killed run left
            make_audience(author, followers)
            with Yardstick(followers) as yardstick:
                before = yardstick.measure()
                self.stdout.write(f"yardstick before: {before:,.0f} ZADDs/s")
                memory = Memory()
                report = fan_out(author, followers, memory)
                after = yardstick.measure()
                self.stdout.write(f"yardstick after: {after:,.0f} ZADDs/s")
        finally:
            release(author)
        figures = shape(followers, report, (before + after) / 2)
        self.tell(report, memory, figures)
        if options["json"]:
            self.stdout.write(json.dumps(figures))
        if report["delivered"] != followers:
            raise CommandError(f"{report['delivered']:,} of {followers:,} followers have the post")

    def tell(self, report: dict[str, Any], memory: Memory, figures: dict[str, Any]) -> None:
        self.stdout.write(
            "{delivered:,} followers in {seconds} s: {deliveries_per_second:,}/s, {ratio} of the yardstick".format(
                **figures
            )
        )
        self.stdout.write(f"{report['batches']['total']} batches, closed by {report['closed_by']}")
        if memory.before:
            self.stdout.write(
                f"memory of the workers: {memory.before / 1024:.0f} MB before, {memory.peak / 1024:.0f} MB at most"
            )


def release(author: Account) -> None:
    with progress("releasing followers") as show:
        importing.release_audience(author, prefix=FOLLOWER, show=show)


def make_audience(author: Account, followers: int) -> None:
    with progress("making followers", followers) as show:
        importing.make_audience(author, prefix=FOLLOWER, size=followers, show=show)
    # In a service that runs for long these have been vacuumed; here it must not begin in the middle of the measurement.
    changed("VACUUM ANALYZE followers_follow, followers_account")


def fan_out(author: Account, followers: int, memory: Memory) -> dict[str, Any]:
    """Publishes a post, and waits until its delivery is closed. Returns the report."""
    post = actions.publish_post(author=author, text="a post to measure its fan-out")
    patience = Patience(STALLED_AFTER, "nothing was delivered for {} s: are relay and workers running?")
    with progress("delivering", followers) as show:
        while (report := fanout.report(post.pk))["state"] != "done":
            show(report["delivered"])
            patience.check((report["state"], report["delivered"]))
            memory.look()
            time.sleep(POLL)
        show(report["delivered"])
    return report


def shape(followers: int, report: dict[str, Any], yardstick: float) -> dict[str, Any]:
    rate = report["delivered"] / report["seconds"]
    return {
        "followers": followers,
        "seconds": report["seconds"],
        "deliveries_per_second": round(rate),
        "yardstick_per_second": round(yardstick),
        "ratio": round(rate / yardstick, 3),
        "delivered": report["delivered"],
    }


class Memory:
    """What this instance's Celery processes hold together, in KB: shared pages are divided among them (Linux's PSS)."""

    def __init__(self) -> None:
        self.processes = [path for path in Path("/proc").glob("[0-9]*") if self.is_worker(path)]
        self.before = self.peak = self.now()
        self.looked = time.monotonic()

    def look(self) -> None:
        if time.monotonic() > self.looked + LOOK_EVERY:
            self.peak = max(self.peak, self.now())
            self.looked = time.monotonic()

    def now(self) -> int:
        return sum(map(self.of, self.processes))

    @staticmethod
    def is_worker(path: Path) -> bool:
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            return False
        return b"celery" in command and b"worker" in command and f"RUN_DIR={settings.RUN_DIR}".encode() in environment

    @staticmethod
    def of(path: Path) -> int:
        try:
            found = re.search(r"^Pss: *(\d+) kB", (path / "smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) if found else 0

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

AUTHOR, SMALL_AUTHOR = "bench_author", "bench_small"
FOLLOWER = {AUTHOR: "bench_f", SMALL_AUTHOR: "bench_small_f"}  # how the names of their followers begin
SMALL = 100  # followers of the post that is published meanwhile
POLL = 0.25  # seconds
LOOK_EVERY = 1.0  # seconds, at the memory: a look costs the machine some 10 ms
STALLED_AFTER = 60  # seconds in which nothing is delivered
LOCK = 0x62656E6368  # an advisory lock's number: "bench"


class Command(BaseCommand):
    help = (
        "Measures the running service. `bench fanout` makes N active followers of an author of its own, publishes one post, "
        "and says how long it took from the commit to the closed delivery; before and after that, how fast the same Redis "
        "takes as many plain ZADDs, which is the yardstick. While the post is on its way a small one is published. At the "
        f"end follows and timelines are removed; the accounts ({AUTHOR}, {FOLLOWER[AUTHOR]}1, ...) stay for the next run, "
        "inactive. Not for an instance that people use."
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
        author, small = made(AUTHOR), made(SMALL_AUTHOR)
        try:
            release(author, small)  # what a killed run left
            make_audience(author, followers)
            make_audience(small, SMALL)
            with Yardstick(followers) as yardstick:
                before = yardstick.measure()
                self.stdout.write(f"yardstick before: {before:,.0f} ZADDs/s")
                memory = Memory()
                report, meanwhile = fan_out(author, followers, small, memory)
                after = yardstick.measure()
                self.stdout.write(f"yardstick after: {after:,.0f} ZADDs/s")
        finally:
            release(author, small)
        figures = shape(followers, report, (before + after) / 2)
        self.tell(report, meanwhile, memory, figures)
        if options["json"]:
            self.stdout.write(json.dumps(figures))
        if report["delivered"] != followers:
            raise CommandError(f"{report['delivered']:,} of {followers:,} followers have the post")

    def tell(self, report: dict[str, Any], meanwhile: dict[str, Any], memory: Memory, figures: dict[str, Any]) -> None:
        self.stdout.write(
            "{delivered:,} followers in {seconds} s: {deliveries_per_second:,}/s, {ratio} of the yardstick".format(
                **figures
            )
        )
        self.stdout.write(f"{report['batches']['total']} batches, closed by {report['closed_by']}")
        when = "before" if meanwhile["finished_at"] < report["finished_at"] else "after"
        self.stdout.write(
            f"a post to {SMALL} followers, published meanwhile: delivered to {meanwhile['delivered']} in "
            f"{meanwhile['seconds']} s, {when} the large one ended"
        )
        if memory.before:
            self.stdout.write(
                f"memory of the workers: {memory.before / 1024:.0f} MB before, {memory.peak / 1024:.0f} MB at most"
            )


def made(name: str) -> Account:
    return Account.objects.filter(username=name).first() or actions.register(username=name, email=None, password=None)


def release(*authors: Account) -> None:
    for author in authors:
        with progress("releasing followers") as show:
            importing.release_audience(author, prefix=FOLLOWER[author.username], show=show)


def make_audience(author: Account, followers: int) -> None:
    with progress("making followers", followers) as show:
        importing.make_audience(author, prefix=FOLLOWER[author.username], size=followers, show=show)
    # In a service that runs for long these have been vacuumed; here it must not begin in the middle of the measurement.
    changed("VACUUM ANALYZE followers_follow, followers_account")


def fan_out(author: Account, followers: int, small: Account, memory: Memory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Publishes a post, and a small one while it is on its way; waits until both are delivered. Returns both reports."""
    post = actions.publish_post(author=author, text="a post to measure its fan-out")
    patience = Patience(STALLED_AFTER, "nothing was delivered for {} s: are relay and workers running?")
    meanwhile = None
    with progress("delivering", followers) as show:
        while True:
            report = fanout.report(post.pk)
            show(report["delivered"])
            if meanwhile is None and report["delivered"]:
                meanwhile = actions.publish_post(author=small, text="a small post meanwhile").pk
            other = fanout.report(meanwhile) if meanwhile else {"state": ""}
            if report["state"] == other["state"] == "done":
                return report, other
            patience.check((report["state"], report["delivered"], other["state"]))
            memory.look()
            time.sleep(POLL)


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

"""The demonstration: a made graph, a few posts over HTTP, one of them watched until every follower has it."""

from __future__ import annotations

import html
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from feeds.management.commands.create_account import new_token
from feeds.management.progress import print_table, progress
from feeds.management.waiting import Patience
from followers.models import Account

ACCOUNTS = 13_000
LARGEST = 12_400  # followers of the first account; the n-th has LARGEST / n ** DECLINE, as in many real graphs
DECLINE = 1.2
SEED = 2016
BIG, MIDDLE, SMALL, READER = 1, 20, 400, ACCOUNTS  # numbers of accounts; the reader follows the other three
STEP = 100_000  # between the numbers of one demonstration's accounts and the next one's
POLL = 0.1  # seconds
STALLED_AFTER = 30  # seconds in which nothing is delivered


class Command(BaseCommand):
    help = (
        f"Shows the running service at work: makes a follow graph of {ACCOUNTS:,} accounts, posts over HTTP as a small, a "
        "middling and the biggest of them, shows the biggest fan-out's progress, and a follower's home timeline. Each run "
        "makes accounts of its own. `make demo` starts a service for it."
    )

    def handle(self, **_: Any) -> None:
        base = free_numbers()
        file = settings.RUN_DIR / "demo-graph.txt"
        write_graph(file, base)
        self.stdout.write(f"A follow graph, made up (power law, seed {SEED}): {file}")
        call_command("import_graph", str(file), stdout=self.stdout)
        users = {n: User.get(base + n) for n in (BIG, MIDDLE, SMALL, READER)}
        self.stdout.write(f"\nPosts over HTTP, at {settings.BASE_URL}:")
        posts = [self.post(users[n], text) for n, text in TEXTS]
        report = watch(users[BIG], posts[-1])
        for user, post in zip((users[SMALL], users[MIDDLE]), posts[:-1], strict=True):
            check_delivery(user, watch(user, post))
        check_delivery(users[BIG], report)
        self.show_home(users[READER], posts)
        self.show_delivery(report)
        self.stdout.write(
            f"\nAll of it is right: {report['delivered']:,} of {users[BIG].followers:,} followers of {users[BIG].name} have "
            f"the post, {report['seconds']} s after its commit; {users[READER].name} reads all {len(posts)} posts."
        )

    def post(self, user: User, text: str) -> str:
        began = time.monotonic()
        status = user.call("POST", "/api/v1/statuses", {"status": text})
        milliseconds = (time.monotonic() - began) * 1000
        self.stdout.write(f"  {user.name}, {user.followers:,} followers: answered in {milliseconds:.0f} ms")
        return str(status["id"])

    def show_home(self, reader: User, posts: list[str]) -> None:
        home = reader.call("GET", "/api/v1/timelines/home")
        lines = [(status["created_at"][11:23], status["account"]["acct"], plain(status["content"])) for status in home]
        self.stdout.write(f"\nThe home timeline of {reader.name}, GET /api/v1/timelines/home:")
        print_table(self.stdout, ("at (UTC)", "account", "post"), lines)
        if [status["id"] for status in home] != posts[::-1]:
            raise CommandError(f"the home timeline of {reader.name} does not show the {len(posts)} posts, newest first")

    def show_delivery(self, report: dict[str, Any]) -> None:
        facts: dict[str, object] = {
            "state": f"{report['state']}, closed by {report['closed_by']}",
            "batches": report["batches"]["total"],
            **{name: report[name] for name in ("audience", *PARTS, "seconds", "deliveries_per_second")},
        }
        self.stdout.write(f"\nThe delivery of the biggest post, GET /api/v1/statuses/{report['id']}/delivery:")
        print_table(self.stdout, ("", "#"), facts.items())


TEXTS = (
    (SMALL, "Hello from a small account."),
    (MIDDLE, "Hello from an account in the middle."),
    (BIG, "Hello, everybody: twelve thousand of you."),
)
PARTS = ("delivered", "skipped_inactive", "skipped_hidden", "pulled", "gone", "failed")


@dataclass(frozen=True)
class User:
    """One account, using the API."""

    name: str
    followers: int
    token: str

    @classmethod
    def get(cls, number: int) -> User:
        account = Account.objects.get(username=f"u{number}")
        return cls(account.username, account.followers_count, new_token(account))

    def call(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310  BASE_URL is http or https, the settings see to it
            settings.BASE_URL + path,
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise CommandError(f"{method} {path} was answered by {error.code}: {error.read(500).decode()}") from error
        except (OSError, ValueError) as error:
            raise CommandError(f"{method} {settings.BASE_URL}{path} failed: {error}") from error


def free_numbers() -> int:
    """Below the first number of accounts that no demonstration has made yet."""
    return next(base for base in count(0, STEP) if not Account.objects.filter(username=f"u{base + BIG}").exists())


def write_graph(file: Path, base: int) -> None:
    with file.open("w") as lines:
        lines.write("# follower followee: made by the demo\n")
        lines.writelines(f"{base + follower} {base + followee}\n" for follower, followee in edges())


def edges() -> Iterator[tuple[int, int]]:
    """Everybody's followers are chosen at random, but always the same."""
    chance = random.Random(SEED)  # noqa: S311  no secret
    yield from ((READER, followee) for followee in (BIG, MIDDLE, SMALL))
    for followee in range(1, ACCOUNTS):
        for follower in chance.sample(range(1, ACCOUNTS), int(LARGEST / followee**DECLINE)):
            if follower != followee:
                yield follower, followee


def watch(user: User, post_id: str) -> dict[str, Any]:
    """Until the delivery is done. Returns its report."""
    patience = Patience(STALLED_AFTER, "nothing was delivered for {} s: are relay and workers running?")
    with progress(f"delivering the post of {user.name}", user.followers, line_every=0) as show:
        while (report := user.call("GET", f"/api/v1/statuses/{post_id}/delivery"))["state"] != "done":
            show(report["delivered"])
            patience.check((report["state"], report["delivered"]))
            time.sleep(POLL)
        show(report["delivered"])
    return dict(report)


def check_delivery(user: User, report: dict[str, Any]) -> None:
    if not report["audience"] == report["delivered"] == sum(report[part] for part in PARTS) == user.followers:
        raise CommandError(f"{user.name} has {user.followers:,} followers, but the delivery says {report}")


def plain(content: str) -> str:
    return html.unescape(content.removeprefix("<p>").removesuffix("</p>"))

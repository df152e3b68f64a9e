"""What came of a load test: its requests, as Locust counted them, beside its deliveries, as PostgreSQL recorded them.

`tell` waits until the posts are delivered, compares all timelines with PostgreSQL, prints one table, and writes into the
run's folder deliveries.csv (a line per post), summary.json (the whole in figures) and chart.svg.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from feeds import verify
from feeds.management.progress import print_table, progress
from feedsvc import workers
from followers.models import Account

from . import chart, deliveries, population
from .deliveries import Delivered

PREFIX = "http"  # of the names of Locust's files
STATUSES = "POST /api/v1/statuses"
WRITING = (STATUSES, f"{STATUSES} (answer)", f"{STATUSES}/:id/reblog")  # names of requests that make a post
SHOWN = 5  # reasons of failed requests


@dataclass(frozen=True)
class Requests:
    """Of one method and name. `milliseconds`: how many took so many, in Locust's steps (two digits)."""

    name: str
    count: int
    failures: int
    milliseconds: Counter[int]


@dataclass(frozen=True)
class Run:
    """All requests of a run. Moments are unix seconds, by the clock of who made the requests."""

    began: float
    ended: float
    users: int
    requests: list[Requests]
    reasons: list[str]  # why requests failed, the most frequent ones
    broken: list[str]  # what broke in Locust's users: by an answer that nobody had thought of

    @property
    def seconds(self) -> float:
        return max(self.ended - self.began, 0.001)


def read(folder: Path) -> Run:
    """From the files of Locust and of our locustfile. Raises CommandError."""
    try:
        found = json.loads((folder / f"{PREFIX}_requests.json").read_text())
        users = max((moment.users for moment in chart.history(folder)), default=0)
    except (OSError, ValueError, LookupError) as unreadable:
        raise CommandError(f"there is no load test's result in {folder}: {unreadable}") from unreadable
    entries = found["entries"]
    if not any(entry["num_requests"] for entry in entries):
        raise CommandError("no request was made: see locust.log")
    return Run(
        began=min(entry["start_time"] for entry in entries),
        ended=max(entry["last_request_timestamp"] or 0 for entry in entries),
        users=users,
        requests=[_requests(entry) for entry in entries],
        reasons=_reasons(found["errors"]),
        broken=[f"{one['count']} times in the locustfile: {one['message']}" for one in found["exceptions"]],
    )


def _requests(entry: dict[str, Any]) -> Requests:
    took = Counter({int(took): count for took, count in entry["response_times"].items()})
    return Requests(f"{entry['method']} {entry['name']}", entry["num_requests"], entry["num_failures"], took)


def _reasons(errors: list[dict[str, Any]]) -> list[str]:
    said = []
    for one in sorted(errors, key=lambda one: -one["occurrences"])[:SHOWN]:
        why = one["error"].removeprefix("CatchResponseError('").removesuffix("')")
        said.append(f"  {one['occurrences']} times {one['method']} {one['name']}: {why}")
    return said


def tell(folder: Path) -> int:
    """0 if each request was answered rightly, each post delivered, each timeline is right; else 1. Raises CommandError."""
    run, (authors, newest) = read(folder), population.read(folder)
    deliveries.wait(authors)
    posts = deliveries.made(authors, began=run.began, ended=run.ended, after=newest)
    with progress("verifying timelines", Account.objects.count()) as show:
        report = verify.verify(show=show)
    write_deliveries(folder, posts)
    figures = summary(run, posts, accounts=len(authors))
    (folder / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "chart.svg").write_text(chart.draw(folder))
    print_table(sys.stdout, ("", "#count", "#failed", "#per second", "#p50 ms", "#p99 ms"), lines(run, posts))
    wrong = [*failed_requests(run), *failed_deliveries(run, posts)]
    if not report.right:
        wrong += [f"timelines: {report.drift:,} entries differ from PostgreSQL", *report.examples]
    print(f"{report.timelines:,} timelines with {report.entries:,} entries compared with PostgreSQL")
    print(f"files: {folder}/summary.json, report.html, chart.svg, {PREFIX}_stats.csv, deliveries.csv")
    print("\n".join(wrong) if wrong else "all of it is right")
    return 1 if wrong else 0


def lines(run: Run, posts: list[Delivered]) -> Iterable[tuple[object, ...]]:
    for one in sorted(run.requests, key=lambda one: one.name.split(" ", 1)[::-1]):
        yield _line(one.name, one.count, one.failures, run.seconds, one.milliseconds)
    count, failures = (sum(getattr(one, name) for one in run.requests) for name in ("count", "failures"))
    yield _line("all requests", count, failures, run.seconds, together(run))
    took = Counter(post.milliseconds for post in posts)
    yield _line("posts, commit to delivered", len(posts), sum(post.failed > 0 for post in posts), run.seconds, took)
    delivered, failed = (sum(getattr(post, name) for post in posts) for name in ("delivered", "failed"))
    yield _line("deliveries into timelines", delivered, failed, run.seconds, Counter())


def _line(name: str, count: int, failed: int, seconds: float, took: Counter[Any]) -> tuple[object, ...]:
    return (
        name,
        count,
        failed,
        round(count / seconds, 1),
        *(round(percentile(took, share)) for share in (0.5, 0.99) if took),
    )


def summary(run: Run, posts: list[Delivered], *, accounts: int) -> dict[str, Any]:
    """What summary.json says; a capacity planner reads it."""
    reads = sum(one.count for one in run.requests if one.name.startswith("GET "))
    return {
        "seconds": round(run.seconds, 1),
        "users": run.users,
        "accounts": accounts,
        "posts": len(posts),
        "posts_per_second": round(len(posts) / run.seconds, 2),
        "reads_per_second": round(reads / run.seconds, 1),
        "deliveries": sum(post.delivered for post in posts),
        "audiences": {str(size): count for size, count in sorted(Counter(post.audience for post in posts).items())},
        "delivery_ms": _percentiles(Counter(post.milliseconds for post in posts)),
        "http_ms": _percentiles(together(run)),
        "settings": {"FANOUT_BATCH": settings.FANOUT_BATCH, "WORKERS": os.environ.get("WORKERS", workers.DEFAULT)},
    }


def _percentiles(took: Counter[Any]) -> dict[str, float]:
    return {"p50": round(percentile(took, 0.5), 1), "p99": round(percentile(took, 0.99), 1)}


def together(run: Run) -> Counter[int]:
    return sum((one.milliseconds for one in run.requests), Counter[int]())


def percentile(took: Counter[Any], share: float) -> float:
    """The least value that at least this share does not exceed; 0.0 of none."""
    values = sorted(took)
    for value, below in zip(values, accumulate(took[value] for value in values), strict=True):
        if below >= share * took.total():
            return float(value)
    return 0.0


def failed_requests(run: Run) -> list[str]:
    failures = sum(one.failures for one in run.requests)
    return [f"{failures:,} requests failed", *run.reasons, *run.broken] if failures else run.broken


def failed_deliveries(run: Run, posts: list[Delivered]) -> list[str]:
    written = sum(one.count - one.failures for one in run.requests if one.name in WRITING)
    if written and not posts:
        return [f"{written:,} posts were written, and none is here: was another service used?"]
    failed = sum(post.failed > 0 for post in posts)
    return [f"{failed:,} posts did not reach all their followers: see manage.py deliveries list"] if failed else []


def write_deliveries(folder: Path, posts: list[Delivered]) -> None:
    with (folder / "deliveries.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(field.name for field in fields(Delivered))
        out.writerows(astuple(post) for post in posts)

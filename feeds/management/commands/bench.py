"""The measurement of the running service: each part's rows as they are measured, and all of them in one table."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

from feeds.management.arguments import positive
from feeds.management.bench import cluster, costs, fanout, imports, layouts, listeners, load, small, storage, web
from feeds.management.bench.deliveries import settle
from feeds.management.bench.row import Row
from feeds.management.bench.stage import Stage
from feeds.management.progress import print_table
from feeds.redis_client import client

PARTS: dict[str, Callable[[Stage], Iterator[Row]]] = {
    "fanout": fanout.whole,
    "readers": fanout.readers,
    "growth": fanout.growth,
    "small": small.throughput,
    "latency": small.latency,
    "fairness": fanout.fairness,
    "home": web.home,
    "post": web.post,
    "listeners": listeners.crowd,
    "storage": storage.timelines_full,
    "layouts": layouts.others,
    "import": imports.graph,
    "cluster": cluster.of_masters,
    "costs": costs.parts,
}
COLUMNS = ("what", "#measured", "#yardstick", "#ratio (of all runs)", "target", "")


class Command(BaseCommand):
    help = (
        "Measures the running service against yardsticks of the same run, and prints one table; docs/performance.md "
        "explains its rows. Targets are for people to judge by: a missed one is no failure, but a post that not everybody "
        "got is. At the end follows, posts and timelines are removed; accounts (bench_..., u10000...) stay, "
        "inactive. Not for an instance that people use."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--followers", type=positive, default=1_000_000, metavar="N", help="default 1000000")
        parser.add_argument("--only", type=parts, default=list(PARTS), metavar="PART,...", help=", ".join(PARTS))
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, followers: int, only: list[str], **options: Any) -> None:
        found = []
        self.stdout.write(machine())
        with Stage(followers) as stage:
            for name in only:
                settle()
                for row in PARTS[name](stage):
                    self.stdout.write(row.sentence())
                    found.append(row)
        self.stdout.write(f"\n{machine()}")
        print_table(self.stdout, COLUMNS, [row.cells() for row in found])
        if options["json"]:
            self.stdout.write(json.dumps({"rows": [row.facts() for row in found]}))


def parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise ArgumentTypeError(f"there is no part {unknown[0]!r}, but {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def machine() -> str:
    """What was measured on. Absolute figures say nothing without it, and some targets depend on the server."""
    server = client().info("server")
    redis = f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {server['redis_version']}"
    version = connection.cursor().connection.info.server_version
    return f"{redis}, PostgreSQL {version // 10_000}.{version % 10_000}, {os.cpu_count()} cores, HTTP by {load.by()}"

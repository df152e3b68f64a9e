"""The import of a follow graph from a file."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from feeds import importing
from feeds.management.arguments import share
from feeds.management.files import bad_line, number, records
from feeds.management.progress import progress

SHOW_EVERY = 1_000  # lines


class Command(BaseCommand):
    help = (
        "Makes accounts and follows from FILE: 'follower followee' per line, two decimal numbers; .gz too; lines that begin "
        "with # are headers. Account N becomes the user uN, active, with an empty home timeline. What is there already "
        "stays as it is, so that a second run changes nothing. A bad line is named, and nothing of its file is imported. "
        "May run beside live traffic; whoever is in FILE can't post or follow until it ends."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument(
            "--inactive",
            type=share,
            default=0.0,
            metavar="SHARE",
            help="this share of the new accounts (0 to 1, always the same ones) was never active and has no timeline",
        )

    def handle(self, *, file: Path, inactive: float, **_: Any) -> None:
        began = time.monotonic()
        try:
            done = importing.import_graph(edges(file), inactive=inactive)
        except OperationalError as error:
            raise CommandError(f"nothing was imported, the database said: {str(error).strip()}") from error
        rebuilds = f", {done.rebuilds:,} timelines to be rebuilt" if done.rebuilds else ""
        self.stdout.write(
            f"{done.edges:,} edges: {done.new_accounts:,} new accounts, {done.new_follows:,} new follows{rebuilds}"
            f" in {time.monotonic() - began:.1f} s"
        )


def edges(path: Path) -> Iterator[tuple[int, int]]:
    with progress(f"reading {path.name}") as show:
        for count, (line, words) in enumerate(records(path)):
            numbers = [number(word) for word in words]
            if len(numbers) != 2 or None in numbers:
                raise bad_line(path, line, "not 'follower followee', two decimal numbers below 2^63")
            follower, followee = cast(list[int], numbers)
            if follower == followee:
                raise bad_line(path, line, f"account {follower} can't follow itself")
            yield follower, followee
            if count % SHOW_EVERY == 0:
                show(count)

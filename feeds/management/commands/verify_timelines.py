"""The comparison of home timelines with PostgreSQL."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError

from feeds import verify
from feeds.management.arguments import positive
from feeds.management.progress import print_table, progress
from feeds.verify import Report
from followers.models import Account


class Command(BaseCommand):
    help = (
        "Compares home timelines in Redis with what PostgreSQL says they should hold. missing: not stored, though above the "
        "timeline's coverage; ghosts: stored, though deleted or not followed; misordered: not where the id belongs. Exits "
        "with 1 if there is any of it, or if there was nothing to compare although accounts are active. What is still on "
        "its way counts as in flight."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sample", type=positive, metavar="N", help="only N active accounts, chosen at random")
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, sample: int | None, **options: Any) -> None:
        began = time.monotonic()
        accounts = Account.objects.count() if sample is None else sample
        try:
            with progress("verifying timelines", accounts) as show:
                report = verify.verify(sample=sample, show=show)
        except redis.RedisError as error:
            raise CommandError(f"Redis did not answer: {error}") from error
        self.tell(report, time.monotonic() - began)
        if options["json"]:
            self.stdout.write(json.dumps(shape(report)))
        if not report.right:
            sys.exit(1)

    def tell(self, report: Report, seconds: float) -> None:
        facts = {
            "timelines compared": report.timelines,
            "entries": report.entries,
            "missing": report.missing,
            "ghosts": report.ghosts,
            "misordered": report.misordered,
            "in flight": report.in_flight,
            "active accounts": report.active,
            "of them without a timeline": report.absent,
        }
        print_table(self.stdout, ("", "#"), facts.items())
        for example in report.examples:
            self.stdout.write(f"  {example}")
        verdict = "right" if report.right else "DRIFT" if report.timelines else "NOTHING COMPARED"
        self.stdout.write(f"{verdict}, in {seconds:.1f} s")


def shape(report: Report) -> dict[str, int]:
    """`repaired` is for a repair, which this command does not know yet."""
    return {
        "timelines": report.timelines,
        "entries": report.entries,
        "missing": report.missing,
        "ghosts": report.ghosts,
        "misordered": report.misordered,
        "repaired": 0,
    }

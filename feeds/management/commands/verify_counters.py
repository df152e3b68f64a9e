"""The comparison of stored counters with the rows that they count."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand

from feeds import counters
from feeds.counters import Drift
from feeds.management.progress import print_table, progress
from feeds.models import Post
from followers.models import Account

SHOWN = 100  # wrong counters that are named
TOTALS = {"account": Account.objects, "post": Post.objects}


class Command(BaseCommand):
    help = (
        "Compares the counters stored on accounts (followers, following, statuses) and on posts (replies, reblogs, "
        "favourites) with the rows that they count, while the service goes on. Exits with 1 if one is wrong. With --repair "
        "each that is wrong is counted anew, with nobody's change of that moment lost: then it exits with 0. It may be "
        "stopped and begun again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="count anew what is wrong")

    def handle(self, *, repair: bool, **_: Any) -> None:
        began = time.monotonic()
        compared: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        named: list[Drift] = []
        for kind in counters.KINDS:
            for drift in look(kind, compared, repair=repair):
                wrong[drift.counter] += 1
                if len(named) < SHOWN:
                    named.append(drift)
        self.tell(compared, wrong, named, repair=repair)
        verdict = "right" if not wrong else "mended" if repair else "DRIFT"
        self.stdout.write(f"{verdict}, in {time.monotonic() - began:.1f} s")
        if wrong and not repair:
            sys.exit(1)

    def tell(self, compared: Counter[str], wrong: Counter[str], named: list[Drift], *, repair: bool) -> None:
        lines = ((name, compared[kind], wrong[name]) for kind, about in counters.KINDS.items() for name in about.counts)
        print_table(self.stdout, ("counter", "#compared", "#mended" if repair else "#wrong"), lines)
        if named:
            columns = ("of", "counter", "#was" if repair else "#stored", "#counted")
            print_table(self.stdout, columns, ((one.called, one.counter, one.stored, one.counted) for one in named))
        if wrong.total() > len(named):
            self.stdout.write(f"and {wrong.total() - len(named):,} more")


def look(kind: str, compared: Counter[str], *, repair: bool) -> Iterator[Drift]:
    """What is wrong; with `repair` what was, by the moment of its mending."""
    with progress(f"comparing the counters of {kind}s", TOTALS[kind].count()) as show:

        def done(count: int) -> None:
            compared[kind] = count
            show(count)

        mended = 0
        for drift in counters.find(kind, done):
            if not repair:
                yield drift
            elif drift.row_id != mended:  # a row's counters are mended together
                mended = drift.row_id
                yield from counters.mend(kind, mended)

"""A plan for a load: what it asks for, what to have for it, and how long posts will take."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter

from feeds.management.arguments import positive, quantity, share
from feeds.management.capacity import calibration, check, plan, population
from feeds.management.capacity.demand import Plan
from feeds.management.capacity.table import Table
from feeds.management.commands.import_graph import edges
from feeds.management.progress import print_table

EXAMPLES = """
Two examples:

  capacity --accounts 1M --active 0.3 --followers-p50 61 --followers-p99 3k --followers-max 200k --posts-per-second 12
        A service of a million accounts: what to buy, and how soon posts arrive.

  capacity --from-database --posts-per-second 50 --pull-above 100k
        This instance's accounts and follows, if they posted 50 times a second, and nobody with more than 100,000
        followers were pushed.

Numbers may end in k, M, G or T. docs/scale.md explains every row, and works Twitter's load of 2013 through it.
"""
PAGES_PER_POST = 50  # as Twitter's 300,000 reads and 6,000 posts per second in 2013
ACTIVE = 0.3
HELP_WIDTH = 100  # characters


class Formatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Examples keep their lines."""


class Command(BaseCommand):
    help = fill(
        "Plans for a load: deliveries, messages, memory, nodes, workers and rows, what pushing costs against pulling for "
        "each threshold, and by a simulation how long posts take to arrive. It asks for nothing of the running service, "
        "and changes nothing. What things cost was measured (`--calibration`); the rest is arithmetic and a simulation.",
        width=HELP_WIDTH,
    )

    def create_parser(self, *words: str, **options: Any) -> Any:
        return super().create_parser(*words, **options, epilog=EXAMPLES, formatter_class=Formatter)

    def add_arguments(self, parser: ArgumentParser) -> None:
        whom = parser.add_argument_group("whose posts (one of the three)")
        whom.add_argument(
            "--accounts", type=quantity, metavar="N", help="and what half, 99 %% and all of them stay below:"
        )
        for name in ("p50", "p99", "max"):
            whom.add_argument(f"--followers-{name}", type=quantity, metavar="N")
        whom.add_argument("--from-database", action="store_true", help="this instance's accounts and their followers")
        whom.add_argument("--graph", type=Path, metavar="FILE", help="a follow graph, as import_graph takes it")
        load = parser.add_argument_group("how much of it")
        load.add_argument("--posts-per-second", type=quantity, metavar="N")
        load.add_argument("--reads-per-second", type=quantity, metavar="N", help="pages of home; else 50 for each post")
        load.add_argument("--active", type=share, metavar="SHARE", help="of the accounts; they have a timeline (0.3)")
        load.add_argument(
            "--deliveries-per-second", type=quantity, metavar="N", help="if known: what share of followers is active"
        )
        have = parser.add_argument_group("what there may be")
        have.add_argument("--pull-above", type=threshold, metavar="N", help="followers, or none (setting PULL_ABOVE)")
        have.add_argument("--busy", type=share, default=0.6, metavar="SHARE", help="of the time, on the average (0.6)")
        have.add_argument("--node-memory", type=quantity, default=64e9, metavar="BYTES", help="of a Redis (64G)")
        have.add_argument("--copies", type=copies, default=2, metavar="N", help="of each timeline, replicas too (2)")
        parser.add_argument(
            "--calibration",
            type=Path,
            default=calibration.DEFAULT,
            metavar="FILE",
            help='the output of `make bench ARGS="--only storage,costs --json"`; else one that came with the source',
        )
        parser.add_argument(
            "--check",
            type=Path,
            metavar="FILE",
            help="no plan: predict what `make load` has measured (.run/load/summary.json), or `make bench ARGS=--json` has "
            "timed, and say how wrong that is",
        )
        parser.add_argument("--cores", type=positive, metavar="N", help="of the machine of --check (as calibrated)")
        parser.add_argument(
            "--elsewhere",
            type=quantity,
            default=0.0,
            metavar="CORES",
            help="that other programs on that machine had meanwhile, Locust among them (0)",
        )
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, **options: Any) -> None:
        try:
            costs = calibration.read(options["calibration"])
            tables = [*self.tables(options, costs)]
        except ValueError as wrong:  # an Unfit of one of the rooms
            raise CommandError(str(wrong)) from wrong
        self.stdout.write(f"What things cost was measured: {costs.measured}")
        for table in tables:
            self.stdout.write(f"\n{table.title}")
            print_table(self.stdout, table.columns, table.cells())
        if options["json"]:
            self.stdout.write(json.dumps({table.name: table.facts() for table in tables}))

    def tables(self, options: dict[str, Any], costs: calibration.Calibration) -> Iterator[Table]:
        if options["check"]:
            return check.tables(options["check"], costs, cores=options["cores"], elsewhere=options["elsewhere"])
        return plan.tables(asked(options), costs)


def asked(options: dict[str, Any]) -> Plan:
    """Raises CommandError."""
    posts = options["posts_per_second"]
    if not posts:
        raise CommandError("how many posts per second? Give --posts-per-second, above 0")
    if not options["busy"]:
        raise CommandError("nothing can be planned that is busy for no share of its time: give --busy above 0")
    whom = of_whom(options)
    reads, deliveries = options["reads_per_second"], options["deliveries_per_second"]
    reach, reach_by = whom.active, "as of all accounts"
    if deliveries is not None:
        reach, reach_by = deliveries / posts / whom.mean, "fitted to --deliveries-per-second"
        if reach > 1:
            most = posts * whom.mean
            raise CommandError(f"these posts have {most:,.0f} followers a second: fewer than --deliveries-per-second")
    return Plan(
        population=whom,
        posts=posts,
        pages=posts * PAGES_PER_POST if reads is None else reads,
        pages_by=f"assumed: {PAGES_PER_POST} for each post" if reads is None else "given",
        reach=reach,
        reach_by=reach_by,
        pull_above=options["pull_above"] or settings.PULL_ABOVE,
        busy=options["busy"],
        node_bytes=options["node_memory"],
        copies=options["copies"],
    )


def of_whom(options: dict[str, Any]) -> population.Population:
    figures = [options[name] for name in ("accounts", "followers_p50", "followers_p99", "followers_max")]
    given = [any(one is not None for one in figures), options["from_database"], options["graph"] is not None]
    if sum(given) != 1:
        raise CommandError(
            "whose posts? Give either --accounts with --followers-p50, -p99 and -max, or --graph, or --from-database"
        )
    active = options["active"]
    if options["from_database"]:
        if active is not None:
            raise CommandError("--active is read from the database with --from-database")
        return population.of_database(settings.INACTIVE_DAYS)
    active = ACTIVE if active is None else active
    if options["graph"]:
        return population.of_graph(edges(options["graph"]), active=active)
    if None in figures:
        raise CommandError("--accounts, --followers-p50, --followers-p99 and --followers-max belong together")
    accounts, p50, p99, largest = figures
    return population.fitted(p50=p50, p99=p99, largest=largest, accounts=int(accounts), active=active)


def threshold(text: str) -> float:
    return math.inf if text == "none" else quantity(text)


def copies(text: str) -> int:
    if text not in ("1", "2", "3", "4", "5"):
        raise ArgumentTypeError(f"1 to 5 copies are expected, not {text!r}")
    return int(text)

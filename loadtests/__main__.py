"""The command of the load tests: `python -m loadtests WORD`, where manage.py runs; `make load` starts a service for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import cast

import django
from django.core.management.base import CommandError

from feeds.management.arguments import positive
from feeds.management.files import bad_line, number, records
from feeds.management.progress import print_table, progress
from feedsvc.embedded import dies_with_parent, still_free
from feedsvc.run import ROOT, end, tail
from loadtests import chart, shape

PAGE_PORT = 8089  # Locust's own
LATE = 60  # seconds after its time in which a load has to have ended
PATIENCE = 20  # seconds that Locust has for its end when it is asked for that
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}  # seconds

RUN = (
    "Makes a population, lets Locust's users act for it, waits until their posts are delivered, compares all timelines with "
    "PostgreSQL, and prints what came of it. Exits with 1 if a request failed, a post was not delivered or a timeline is "
    "wrong. Files go to RUN_DIR: report.html, http_stats.csv, deliveries.csv, chart.svg, summary.json. Other arguments go to "
    "Locust: --pace, --reads-per-post, --processes, ..."
)
UI = (
    "The same, with Locust's page to start and stop loads and to watch them. Enter ends it: then it prints what came of the "
    "last load."
)
PREPARE = (
    "Makes the accounts that a load acts for, follows between them, a history of posts, and a token for each; writes them to "
    "population.json in RUN_DIR. For a service elsewhere: run it there, and take the file to where Locust runs."
)
RESULTS = (
    "The end of `run` by itself: for a load that Locust made elsewhere, with --csv http. Run it where the service is, with "
    "population.json and Locust's files http_* in RUN_DIR."
)
SHAPE = (
    "Derives the figures that loads are made of (loadtests/shape.json) from recorded activity: GRAPH has 'follower followee' "
    "per line, ACTIVITY 'actor target unix_ts type' in order of time, with types RT (repost), RE (reply), MT (mention)."
)


def main() -> int:
    args, more = parser().parse_known_args()
    if more and not args.locust:
        parser().error(f"unknown arguments: {' '.join(more)}")
    try:
        return int(args.word(args, more) or 0)
    except CommandError as error:
        print(f"loadtests: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def parser() -> ArgumentParser:
    whole = ArgumentParser(
        prog="python -m loadtests", description="Load tests; each of the words has a --help of its own."
    )
    words = whole.add_subparsers(metavar="run|ui|prepare|results|chart|shape", required=True)

    def word(name: str, help_: str, description: str, run: object, *, locust: bool = False) -> ArgumentParser:
        made = words.add_parser(name, help=help_, description=description, allow_abbrev=False)
        made.set_defaults(word=run, locust=locust)
        return made

    running, page = (
        word("run", "all of it", RUN, run, locust=True),
        word("ui", "all of it, with Locust's page", UI, ui, locust=True),
    )
    for one in (running, page):
        one.add_argument(
            "--users", type=positive, default=20, metavar="N", help="of Locust, best a multiple of 20 (20)"
        )
        one.add_argument("--time", type=seconds, default=30, metavar="T", help="such as 30s, 5m or 1h (30s)")
    page.add_argument("--port", type=positive, default=PAGE_PORT, metavar="N", help=f"of Locust's page ({PAGE_PORT})")
    preparing = word("prepare", "make accounts", PREPARE, prepare)
    for one in (running, page, preparing):
        one.add_argument("--accounts", type=positive, default=10_000, metavar="N", help="about so many (10000)")
        one.add_argument("--history", type=positive, default=1_000, metavar="N", help="posts before it begins (1000)")
    word("results", "tell what came of a load", RESULTS, results)
    drawing = word("chart", "draw a run", "Draws the run whose files are in FOLDER, as an SVG.", draw)
    drawing.add_argument("folder", type=Path, metavar="FOLDER")
    deriving = word("shape", "derive figures from recorded activity", SHAPE, derive)
    deriving.add_argument("graph", type=Path, metavar="GRAPH")
    deriving.add_argument("activity", type=Path, metavar="ACTIVITY")
    deriving.add_argument("--record", default="", metavar="TEXT", help="what it is, by whom, under which licence")
    deriving.add_argument("--json", action="store_true", help="as shape.json has it, not as a table")
    return whole


def seconds(text: str) -> int:
    if not (found := re.fullmatch(r"([1-9][0-9]{0,5})([smh]?)", text)):
        raise ArgumentTypeError(f"a time such as 30s, 5m or 1h is expected, not {text!r}")
    return int(found[1]) * UNITS[found[2]]


def run(args: Namespace, more: list[str]) -> int:
    folder = prepared(args)
    locust = start_locust(args, folder, "--headless", "--stop-timeout", "10", *more)
    try:
        with progress("seconds of load", args.time) as show:
            began = time.monotonic()
            while locust.poll() is None:
                passed = int(time.monotonic() - began)
                if passed > args.time + LATE:
                    raise CommandError(f"Locust does not end: see {folder / 'locust.log'}")
                show(min(passed, args.time))
                time.sleep(0.2)
    finally:
        end(locust, seconds=PATIENCE)
    return tell(folder, locust)


def ui(args: Namespace, more: list[str]) -> int:
    folder, port = prepared(args), still_free(args.port, "Locust's page")
    locust = start_locust(args, folder, "--web-host", "127.0.0.1", "--web-port", str(port), *more)
    try:
        print(f"Locust's page: http://127.0.0.1:{port}")
        print("Enter ends it, and tells what came of the last load; Ctrl-C ends it without that.", flush=True)
        wait_for_enter(locust)
        # At SIGINT Locust writes its report. But Python raises that as an exception wherever it is just then, and somebody
        # there may catch it. The SIGTERM of `end` its event loop takes: no report, but all that the results are made of.
        locust.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            locust.wait(PATIENCE)
    finally:
        end(locust, seconds=PATIENCE)
    return tell(folder, locust)


def wait_for_enter(locust: subprocess.Popen[bytes]) -> None:
    """Or until it ends by itself, which is all where there is nobody to press a key."""
    listening = True
    while locust.poll() is None:
        if not listening:
            time.sleep(1)
        elif select([sys.stdin], [], [], 1)[0]:
            if sys.stdin.readline():
                return
            listening = False


def start_locust(args: Namespace, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    from django.conf import settings

    for old in folder.glob("http_*"):  # an earlier load's must not be taken for this one's
        old.unlink()
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", settings.BASE_URL]
    command += ["-u", str(args.users), "-r", str(args.users), "-t", f"{args.time}s", "--only-summary"]
    command += ["--csv", str(folder / "http"), "--csv-full-history", "--html", str(folder / "report.html")]
    command += ["--population", str(folder / "population.json"), *more]
    # A shell in the background, and whoever it starts, ignores it; but Locust is ended by it, with its report.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (folder / "locust.log").open("w") as log:
        return subprocess.Popen(
            dies_with_parent(*command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def tell(folder: Path, locust: subprocess.Popen[bytes]) -> int:
    """Locust's own 1 says that requests failed, which the results do as well."""
    from loadtests import results

    if locust.returncode not in (0, 1):
        raise CommandError(f"Locust failed:\n{tail((folder / 'locust.log').read_text())}")
    return results.tell(folder) or locust.returncode


def prepare(args: Namespace, _: Sequence[str]) -> None:
    prepared(args)


def prepared(args: Namespace) -> Path:
    """Makes a population, and returns the folder for all files."""
    folder = set_up()
    from loadtests import population

    began = time.monotonic()
    made = population.prepare(shape.stored(), size=args.accounts, history=args.history, folder=folder)
    print(f"{made:,} accounts and {args.history:,} posts made in {time.monotonic() - began:.0f} s", flush=True)
    return folder


def results(args: Namespace, _: Sequence[str]) -> int:
    folder = set_up()
    from loadtests import results

    return results.tell(folder)


def set_up() -> Path:
    """What asks the service's stores needs its settings. Returns RUN_DIR."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
    django.setup()
    from django.conf import settings

    return Path(settings.RUN_DIR)


def draw(args: Namespace, _: Sequence[str]) -> None:
    try:
        print(chart.draw(args.folder), end="")
    except (OSError, LookupError, ValueError) as unreadable:
        raise CommandError(f"there is no load test's result in {args.folder}: {unreadable}") from unreadable


def derive(args: Namespace, _: Sequence[str]) -> None:
    try:
        found = shape.derive(edges(args.graph), events(args.activity), args.record)
    except ValueError as useless:
        raise CommandError(str(useless)) from useless
    if args.json:
        print(shape.as_json(found))
    else:
        print_shape(found)


def edges(path: Path) -> Iterator[tuple[int, int]]:
    for line, words in records(path):
        numbers = [number(word) for word in words]
        if len(numbers) != 2 or None in numbers:
            raise bad_line(path, line, "not 'follower followee', two decimal numbers")
        yield cast(tuple[int, int], tuple(numbers))


def events(path: Path) -> Iterator[tuple[int, int, int, str]]:
    for line, words in records(path):
        numbers = [number(word) for word in words[:3]]
        if len(words) != 4 or None in numbers or (kind := words[3].decode(errors="replace")) not in shape.KINDS:
            raise bad_line(path, line, "not 'actor target unix_ts type', three decimal numbers and RT, MT or RE")
        actor, target, second = cast(list[int], numbers)
        yield actor, target, second, kind


def print_shape(found: shape.Shape) -> None:
    facts = [(name, value) for name, value in vars(found).items() if name != "classes"]
    shown = [(name, ", ".join(_words(value))) for name, value in facts]
    print_table(sys.stdout, ("figure", ""), shown)
    columns = ("#followers from", "#share of accounts", "#of them act", "#share of deeds")
    print_table(sys.stdout, columns, (tuple(vars(one).values()) for one in found.classes))


def _words(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} {figure:,}" for name, figure in value.items()]
    return [
        f"{one:,}" if isinstance(one, int | float) else str(one)
        for one in (value if isinstance(value, list) else [value])
    ]


if __name__ == "__main__":
    sys.exit(main())

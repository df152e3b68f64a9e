"""Scenarios: which of them run, the load and the check around each fault, and the table at the end.

`make test` runs the fast ones of its broker, small; `make chaos` all that make sense on BROKER, at full size.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import requests
from django.conf import settings

from feedsvc.run import Instance
from tests.chaos import check
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.world import FAKETIME, FAST, FULL, Graph, House
from tests.conftest import database_url, eventually, workers_answer

BROKER = "redis" if settings.ON_REDIS else "rabbitmq"
FULL_SIZE = bool(os.environ.get("CHAOS"))
SEED = int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
ONLY = {int(number) for number in os.environ.get("ONLY", "").split(",") if number}

rows: list[Row] = []


@dataclass
class Row:
    number: int
    title: str
    faults: int
    seconds: float
    verdict: check.Verdict


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if (mark := item.get_closest_marker("scenario")) and not _runs(mark)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _runs(mark: pytest.Mark) -> bool:
    number, brokers = mark.args[0], mark.kwargs.get("on", ("redis", "rabbitmq"))
    if number == 24 and not FAKETIME:
        return False
    if FULL_SIZE:
        return BROKER in brokers and (not ONLY or number in ONLY)
    return BROKER in mark.kwargs.get("fast", ())


@pytest.fixture
def house(inhabited: Instance, transactional_db: None, request: pytest.FixtureRequest) -> Iterator[House]:
    """The service's processes with fault points, running on the tests' database."""
    mark = request.node.get_closest_marker("scenario")
    cluster = Cluster(settings.RUN_DIR / "cluster") if mark.kwargs.get("cluster") else None
    house = House(inhabited, FULL if FULL_SIZE else FAST, database_url(), SEED, cluster)
    house.set_up()
    yield house
    house.faults.disarm()


@pytest.fixture
def chaos(house: House, request: pytest.FixtureRequest) -> Chaos:
    mark = request.node.get_closest_marker("scenario")
    chaos = Chaos(house, Graph.make(house.scale), *mark.args)
    eventually(chaos.answers, "the web process answers", 60)
    eventually(house.cluster.served if house.cluster else workers_answer, "three workers answer", 90)
    return chaos


class Chaos:
    """One scenario: `under_load` posts all the while, then waits for rest, checks, and adds a row to the table."""

    def __init__(self, house: House, graph: Graph, number: int, title: str) -> None:
        self.house, self.graph, self.number, self.title = house, graph, number, title
        self.faults = 0  # injected from outside; those at fault points are counted by themselves
        self.verdict = check.Verdict()

    def answers(self, url: str | None = None) -> bool:
        try:
            return requests.get(f"{url or self.house.url}/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def load(self, **values: float) -> Load:
        return Load(self.house.urls, self.graph, seed=SEED, **{"rate": self.house.scale.rate, **values})

    @contextmanager
    def under_load(
        self, *, lossy: bool = False, moving: bool = False, before: int = 20, after: int = 40, **values: float
    ) -> Iterator[Load]:
        """So many posts before the fault and after it are acknowledged, at least."""
        with self.load(**values) as load:
            load.wait(before)
            yield load
            healed = time.monotonic()
            load.wait(after, seconds=60)
        seconds = check.rest(healed, self.house.connect)
        self.faults += self.house.faults.happened()
        self.house.faults.disarm()
        self.verdict = check.check(load, self.graph, self.house.urls[0], lossy=lossy, moving=moving)
        rows.append(Row(self.number, self.title, self.faults, seconds, self.verdict))
        assert self.verdict.faultless, self.verdict
        assert self.verdict.acknowledged >= before + after
        assert self.faults, "nothing was injected: the scenario proves nothing"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not rows:
        return
    write = terminalreporter.write_line
    size = FULL if FULL_SIZE else FAST
    write("")
    write(f"chaos on {BROKER}, {size.name} size (SEED={SEED}): audiences {', '.join(map(str, size.audiences))}")
    if FULL_SIZE and not FAKETIME:
        write("24 was left out, it needs libfaketime: apt install libfaketime")
    write("")
    write("| | scenario | faults | posts acknowledged | reruns | seconds to heal | lost | doubled | ghosts |")
    write("|---|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row.number):
        found = row.verdict
        counts = (len(found.lost), len(found.doubled), len(found.ghosts))
        figures = (row.faults, found.acknowledged, found.reruns, f"{row.seconds:.1f}", *counts)
        write(f"| {row.number} | {row.title} | " + " | ".join(map(str, figures)) + " |")

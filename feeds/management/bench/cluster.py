"""Pushes into a Redis Cluster of one master and of three, against a single server: all of them servers of this part's own.

Two processes push, as those of a `worker-bulk` do, to each in turn, and the others rest. On few processors all masters and
those who push share them. So beside the rate stands what a second of the busiest master's processor time was good for: that
is the limit where each master has a processor of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import redis
from django.conf import settings
from django.core.management.base import CommandError

from feeds.management.progress import progress
from feeds.redis_client import masters

from . import nodes
from .pusher import POSTS
from .row import Row, compared
from .stage import Stage
from .storage import FULL

ROUNDS = 7
PUSHERS = 2
READERS = 20_000  # of each
STOP_SECONDS = 10


class Run(NamedTuple):
    rate: float  # pushes per second
    capacity: float  # pushes per second of the busiest master's processor time
    dealing: float  # the share of the time that Python takes to deal ids out


def of_masters(stage: Stage) -> Iterator[Row]:
    """The single server is the yardstick of both clusters."""
    with ExitStack() as end:
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir=settings.RUN_DIR)))
        ports = nodes.free_ports(5)
        password = secrets.token_urlsafe(24)
        targets = [Target(folder, some, password, end) for some in (ports[:1], ports[1:2], ports[2:])]
        alone, *clusters = targets
        alone.start(cluster=False)
        for target in clusters:
            target.start(cluster=True)
        with progress("rounds", ROUNDS) as show:
            for done in range(ROUNDS):
                for target in targets:
                    target.measure()
                show(done + 1)
        for target in clusters:
            name = f"a cluster of {len(target.servers)}, against a single server"
            pairs = zip(target.runs, alone.runs, strict=True)
            rates, capacities = zip(*(((a.rate, b.rate), (a.capacity, b.capacity)) for a, b in pairs), strict=True)
            yield compared(f"pushes into {name}", "/s", rates)
            yield compared(f"pushes for each second of the busiest master's processor, {name}", "/s", capacities)
        share = median(run.dealing for run in clusters[-1].runs)
        yield Row(f"of pushes into a cluster of {len(ports[2:])}, what Python takes to deal ids out", share * 100, "%")


class Target:
    """Servers on these ports, and processes that push into them; all end with the stack."""

    def __init__(self, folder: Path, ports: list[int], password: str, end: ExitStack) -> None:
        self.folder, self.ports, self.password, self.end = folder, ports, password, end
        self.servers: list[redis.Redis] = []
        self.pushers: list[subprocess.Popen[str]] = []
        self.runs: list[Run] = []

    def start(self, *, cluster: bool) -> None:
        for port in self.ports:
            folder = self.folder / str(port)
            folder.mkdir()
            conf = nodes.CONF.format(port=port, bus=port + 1, password=self.password, folder=folder)
            (folder / "conf").write_text(conf if cluster else conf.replace("cluster-enabled yes", "cluster-enabled no"))
            self._run(server(), str(folder / "conf"))
            self.servers.append(nodes.connect(port, self.password))
        address = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        if cluster:
            nodes.form(self.ports, self.password, masters=len(self.ports))
        else:
            nodes.wait(lambda: nodes.answers(self.servers[0]), "the server answers")
        url = f"redis{'+cluster' if cluster else ''}://:{self.password}@{address}"
        for n in range(PUSHERS):
            own = (str(FULL[n * READERS]), str(READERS))
            self.pushers.append(self._run(sys.executable, "-m", "feeds.management.bench.pusher", *own, url=url))
        for pusher in self.pushers:
            said(pusher, "ready")

    def _run(self, *command: str, url: str = "") -> subprocess.Popen[str]:
        """A process that ends with this one, whatever ends it."""
        env = os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings", "REDIS_URL": url}
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env=env,
            cwd=settings.BASE_DIR,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if url else subprocess.DEVNULL,
        )
        self.end.callback(end_process, process)
        return process

    def measure(self) -> None:
        before = [processor_seconds(one) for one in self.servers]
        for pusher in self.pushers:
            tell(pusher)
        found = [json.loads(said(pusher)) for pusher in self.pushers]
        busiest = max(processor_seconds(one) - was for one, was in zip(self.servers, before, strict=True))
        pushes = PUSHERS * READERS * POSTS
        seconds = max(seconds for seconds, _ in found)
        self.runs.append(Run(pushes / seconds, pushes / busiest, max(dealing for _, dealing in found) / seconds))


def server() -> str:
    """The program that has this instance's timelines."""
    told = Path(masters()[0].info("server")["executable"])
    # Of a Redis that was started by its name alone this is the name in the folder where that was done.
    found = told if told.is_file() else shutil.which(told.name)
    if not found:
        raise CommandError(f"the part cluster starts servers of its own, and {told} is not on this machine")
    return str(found)


def processor_seconds(one: redis.Redis) -> float:
    used = one.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def tell(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        process.stdin.write("\n")
        process.stdin.flush()


def said(process: subprocess.Popen[str], expected: str = "") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line or expected not in line:
        raise CommandError("a process of the part cluster ended early")
    return line


def end_process(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(STOP_SECONDS)

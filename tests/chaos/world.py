"""The world of a scenario: a graph with audiences of chosen sizes, the service's real processes, and ways to hurt them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis
from django.conf import settings

from feeds import importing
from feedsvc import embedded, run
from feedsvc.celery import app
from feedsvc.run import Instance
from followers.models import Account
from tests import factories
from tests.chaos.cluster import Cluster
from tests.chaos.points import Fault
from tests.conftest import BROKER, eventually
from tests.machines import Machine

WORKERS = ("worker-fanout", "worker-bulk", "worker")
FAKETIME = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@dataclass(frozen=True)
class Scale:
    """How large a scenario is. A batch is `batch` followers; `times` are settings, in seconds."""

    name: str
    batch: int
    large: int  # followers of the largest account
    rate: float  # posts/s
    times: dict[str, str]

    @property
    def audiences(self) -> list[int]:
        return [0, 1, 2, self.batch, self.batch + 1, self.large]

    @property
    def env(self) -> dict[str, str]:
        return {"FANOUT_BATCH": str(self.batch), **self.times}


FAST_TIMES = {"FENCE": "2", "LEASE": "12", "TASK_TIME_LIMIT": "4", "RECONCILE_EVERY": "1", "BATCH_ATTEMPTS": "2"}
FULL_TIMES = {"FENCE": "7", "LEASE": "17", "TASK_TIME_LIMIT": "7", "RECONCILE_EVERY": "2", "BATCH_ATTEMPTS": "3"}
FAST = Scale("fast", 10, 250, 20, FAST_TIMES)
FULL = Scale("full", 1_000, 25_000, 20, FULL_TIMES)  # design.md's times divided by four


@dataclass
class Graph:
    """Authors, each with a token and with the first so many readers as followers: reader 0 follows everybody."""

    authors: list[Account]
    tokens: list[str]
    audiences: list[int]
    readers: list[Account]

    @classmethod
    def make(cls, scale: Scale) -> Graph:
        authors = [factories.AccountFactory(username=f"author{size}") for size in scale.audiences]
        for author, size in zip(authors, scale.audiences, strict=True):
            if size:
                importing.make_audience(author, prefix="reader", size=size, show=lambda done: None)
        readers = sorted(Account.objects.filter(username__startswith="reader"), key=lambda one: int(one.username[6:]))
        return cls(authors, [factories.token(author) for author in authors], scale.audiences, readers)

    def largest(self) -> int:
        return self.audiences.index(max(self.audiences))


class Faults:
    """Arms the fault points of points.py, and counts what happened there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arm(self, point: str, act: str, **values: object) -> None:
        """At `point`, a function's name with .before or .after, of all processes, from now on."""
        new = self.folder / "new"
        new.write_text(json.dumps(asdict(Fault(act, **values))))
        new.rename(self.folder / point)

    def happened(self) -> int:
        """How many faults there were: passes that took a number, less those that were to be skipped."""
        armed = [path for path in self.folder.iterdir() if path.suffix in (".before", ".after")]
        return sum(
            max(0, len(list(self.folder.glob(f"{path.name}.*"))) - json.loads(path.read_text())["skip"])
            for path in armed
        )

    def disarm(self) -> None:
        """First the faults, then the numbers that were taken."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.suffix not in (".before", ".after")):
            path.unlink()


class House:
    """The service's processes: what tests do to them, and what is left in the broker."""

    def __init__(
        self, services: Instance, scale: Scale, database_url: str, seed: int, cluster: Cluster | None = None
    ) -> None:
        """With a cluster that one is the broker."""
        self.services = services
        self.cluster = cluster
        self.connect = cluster.connect if cluster else app.connection_for_read
        self.scale = scale
        self.random = random.Random(seed)
        self.folder = settings.RUN_DIR / "faults"
        self.folder.mkdir(exist_ok=True)
        self.faults = Faults(self.folder)
        self.env = {
            "DATABASE_URL": database_url,
            "FAULTS": str(self.folder),
            "TMPDIR": str(settings.RUN_DIR),
            **scale.env,
        }
        self.url = self.env["BASE_URL"] = f"http://127.0.0.1:{settings.PORT}"
        self.urls = [self.url]  # of all web processes
        # Results have a server of their own, so that they can be lost alone: the cache's, another database of it.
        self.env["CELERY_RESULT_BACKEND"] = urlunsplit(urlsplit(settings.CACHE_URL)._replace(path="/1"))
        if cluster:
            self.env["CELERY_BROKER_URL"] = cluster.url

    def set_up(self, **env: str) -> None:
        """Lets the service consist of the processes with the fault points in them, and starts it."""
        programs = run.services(host="127.0.0.1", port=str(settings.PORT), env=self.env | env)
        nodes = self.cluster.programs if self.cluster else []
        self.services.add(*nodes, *(replace(program, command=_with_points(program.command)) for program in programs))
        if self.cluster:
            self.services.start(*(node.name for node in nodes))
            self.cluster.wait()  # a queue is laid on the nodes that are there
        self.services.start(*self.services.services)

    def set_up_machines(self) -> list[Machine]:
        """The service on two machines, each with all of the processes."""
        folder = run.empty(settings.RUN_DIR / "machines")
        machines = [Machine(number, folder / str(number), self.env) for number in (1, 2)]
        programs = [program for machine in machines for program in machine.programs]
        self.services.add(*(replace(program, command=_with_points(program.command)) for program in programs))
        self.services.start(*self.services.services)
        self.urls = [machine.url for machine in machines]
        return machines

    def set_up_skewed(self, name: str, offset: str) -> None:
        """The service with one program whose wall clock is wrong by `offset`, such as +1h."""
        wrong = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.set_up()
        others = self.services.services
        self.services.add(*(others | {name: replace(others[name], env={**others[name].env, **wrong})}).values())
        self.services.start(*self.services.services)

    def start_again(self, *names: str) -> None:
        self.services.stop(*names)
        self.services.start(*names)

    def children(self, *names: str) -> list[int]:
        running = filter(None, map(self._pid, names))
        return [child for parent in running for child in _children(parent)]

    def kill_child(self) -> bool:
        """kill -9 of some process of a worker's pool, chosen by the seed."""
        found = self.children("worker-fanout", "worker-bulk")
        if not found:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(found), signal.SIGKILL)
        return True

    def kill(self, name: str) -> None:
        """kill -9 of a program with all of its children, of a worker its pool; supervisord starts it again.

        One that is being started is waited for.
        """
        parent = eventually(lambda: self._pid(name), f"{name} runs")
        for pid in (parent, *_children(parent)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pid(self, name: str) -> int | None:
        with suppress(ProcessLookupError):
            return self.services.pid(name)
        return None

    def signal(self, name: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.services.pid(name), number)

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """The programs, their children included, stand still: connections stay open, and nobody answers."""
        pids = [pid for name in names for pid in _family(self.services.pid(name))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def down(self, *names: str, crash: bool = False) -> Iterator[None]:
        """The programs are stopped; with `crash` they are killed first."""
        for name in names:
            if crash:
                self.services.kill(name)
        self.services.stop(*names)
        try:
            yield
        finally:
            self.services.start(*names)

    @contextmanager
    def small_disk(self) -> Iterator[Disk]:
        """A broker whose data lies on a disk of some megabytes. It begins without messages."""
        if BROKER == "rabbitmq":
            yield Alarm(self)
            return
        real = self.services.stores[BROKER]
        folder = settings.RUN_DIR / BROKER
        mount = f"mount -t tmpfs -o size=8m tmpfs {folder}"
        own = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$0" "$@"')
        with self.down(BROKER):
            small = replace(real, name="broker-on-a-small-disk", command=(*own, *real.command))
            self.services.add(*self.services.services.values(), small)
            self.services.start(*self.services.services)
            yield Disk(Path(f"/proc/{self.services.pid(small.name)}/root{folder}"))
            self.services.stop(small.name)

    @contextmanager
    def replica(self, store: str) -> Iterator[Replica]:
        """A second server that follows the store's."""
        master = urlsplit(settings.REDIS_URL)
        port = embedded.still_free(None, "a replica")
        folder = settings.RUN_DIR / "replica"
        folder.mkdir(exist_ok=True)
        own = f"port {port}\ndir {folder}\nmasterauth {master.password}\nreplicaof 127.0.0.1 {master.port}\n"
        conf = folder / "conf"
        conf.write_text((settings.RUN_DIR / f"{store}.conf").read_text() + own)
        command = embedded.dies_with_parent(str(embedded.valkey_server()), str(conf))
        self.services.add(*self.services.services.values(), embedded.Program("replica", command))
        self.services.start(*self.services.services)
        found = Replica(port, master.password or "")
        found.wait()
        yield found

    def broker_port(self) -> int:
        return urlsplit(settings.CELERY_BROKER_URL).port or 0

    def rabbitmqctl(self, *command: str) -> None:
        program = self.services.stores["rabbitmq"]
        tool = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
        subprocess.run([tool, *command], env=os.environ | program.env, check=True, capture_output=True, timeout=30)


class Disk:
    """A file system of a process's own, seen through /proc."""

    def __init__(self, folder: Path) -> None:
        self.filler = folder / "filler"

    @contextmanager
    def full(self) -> Iterator[None]:
        with suppress(OSError), self.filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        try:
            yield
        finally:
            self.filler.unlink()


class Replica:
    def __init__(self, port: int, password: str) -> None:
        self.port, self.password = port, password
        self.client = redis.Redis(port=port, password=password, decode_responses=True)

    def wait(self) -> None:
        """Until it has what its master has."""
        retry = (redis.ConnectionError, KeyError)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(*retry):
                if self.client.info("replication")["master_link_status"] == "up":
                    return
            time.sleep(0.05)
        raise TimeoutError("the replica does not follow")

    def stop_following(self) -> None:
        self.client.execute_command("REPLICAOF", "NO", "ONE")


class Alarm(Disk):
    """RabbitMQ looks at the disk itself, and stops before it is full."""

    def __init__(self, house: House) -> None:
        self.house = house

    @contextmanager
    def full(self) -> Iterator[None]:
        self.house.rabbitmqctl("set_disk_free_limit", "1000000GB")
        try:
            yield
        finally:
            self.house.rabbitmqctl("set_disk_free_limit", "50MB")


def _with_points(command: tuple[str, ...]) -> tuple[str, ...]:
    """A worker, or the relay, with the fault points; other programs as they are."""
    words = list(command)
    if "worker" in words:
        words[words.index("feedsvc")] = "tests.chaos.points"
    if "relay" in words:
        words[words.index("relay") - 2 :] = [sys.executable, "-m", "tests.chaos.points", "relay"]
    return tuple(words)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _family(pid: int) -> list[int]:
    return [pid, *(member for child in _children(pid) for member in _family(child))]


def results() -> redis.Redis:
    return redis.Redis.from_url(urlunsplit(urlsplit(settings.CACHE_URL)._replace(path="/1")))


class Proxy:
    """A TCP proxy on a port of its own, for cuts in the network: `reset` breaks connections, `swallow` lets bytes vanish."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.swallowing = False
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(self.target, timeout=2)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.swallowing:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> int:
        """Ends each connection with an RST. How many there were."""
        ends, self.open = self.open, []
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                end.shutdown(socket.SHUT_RDWR)
                end.close()
        return len(ends) // 2

    def close(self) -> None:
        self.listener.close()
        self.reset()


def broker_through(port: int) -> dict[str, str]:
    """The broker's address, at another port."""
    address = urlsplit(settings.CELERY_BROKER_URL)
    host = f"{address.username or ''}:{address.password}@127.0.0.1:{port}"
    return {"CELERY_BROKER_URL": urlunsplit(address._replace(netloc=host))}

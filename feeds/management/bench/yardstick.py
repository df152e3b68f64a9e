"""How fast this Redis takes what a fan-out must at least do: one ZADD for each follower, to keys that exist.

The commands' bytes are made before the clock starts; eight connections each have a pipeline of 100 on its way. Where
redis-benchmark is installed it measures the same as well, and the higher of the two counts.
"""

from __future__ import annotations

import re
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import CommandError

KEY = "bench:%012d"  # as redis-benchmark writes it, out of bench:__rand_int__
CONNECTIONS = 8
PIPELINE = 100  # commands
PREPARED = 100_000  # commands whose bytes are held at a time
TIMEOUT = 10  # seconds


class Yardstick:
    """`size` keys, made at the start and removed at the end, and ZADDs to them."""

    def __init__(self, size: int) -> None:
        url = urlsplit(settings.REDIS_URL)
        if url.scheme != "redis":
            raise CommandError("the yardstick speaks to redis:// addresses only")
        self.size = size
        self.host, self.port = url.hostname or "localhost", url.port or 6379
        self.user, self.password = unquote(url.username or ""), unquote(url.password or "")
        self.database = url.path.strip("/") or "0"
        self.post_id = time.time_ns() // 1_000_000 << 16  # as long as a post's, and another one each time
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Yardstick:
        self.sockets = [self.connect() for _ in range(CONNECTIONS)]
        self.measure_here()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(command("UNLINK", KEY % n) for n in range(self.size))
        for connection in self.sockets:
            connection.close()

    def measure(self) -> float:
        """ZADDs per second."""
        return max(self.measure_here(), self.measure_by_redis_benchmark())

    def measure_here(self) -> float:
        entry = self.entry()
        return self.size / self.run(command("ZADD", KEY % n, *entry) for n in range(self.size))

    def entry(self) -> tuple[str, str]:
        """Score and member."""
        self.post_id += 32
        return f"-{self.post_id}", str(self.post_id)

    def measure_by_redis_benchmark(self) -> float:
        path = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
        if path is None:
            return 0.0
        server = ["-h", self.host, "-p", str(self.port), "--dbnum", self.database, "-q"]
        login = [*(["--user", self.user] if self.user else []), *(["-a", self.password] if self.password else [])]
        load = ["-c", "50", "-P", str(PIPELINE), "-r", str(self.size), "-n", str(self.size)]
        zadd = ["zadd", "bench:__rand_int__", *self.entry()]
        line = [path, *server, *login, *load, *zadd]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
        found = re.findall(r"([\d.]+|inf) requests per second", done.stdout)
        if done.returncode or not found:
            raise CommandError(f"{path} failed: {done.stderr.strip() or done.stdout.strip()}")
        return 0.0 if found[-1] == "inf" else float(found[-1])  # of so few that no clock could tell

    def connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        login = [word for word in (self.user, self.password) if word]
        for line in (*([command("AUTH", *login)] if login else []), command("SELECT", self.database)):
            connection.sendall(line)
            if (answer := connection.recv(1000)) != b"+OK\r\n":
                raise CommandError(f"Redis refused the yardstick: {answer.decode(errors='replace').strip()}")
        return connection

    def run(self, commands: Iterator[bytes]) -> float:
        """Sends all of them, each of which is answered by a number. The seconds from sending to the last answer."""
        seconds = 0.0
        while pipelines := prepare(commands):
            seconds += self.send(pipelines)
        return seconds

    def send(self, pipelines: list[tuple[int, bytes]]) -> float:
        began = time.perf_counter()
        with selectors.DefaultSelector() as selector:
            waiting = dict.fromkeys(self.sockets, 0)  # answers to come
            for connection in self.sockets:
                selector.register(connection, selectors.EVENT_READ)
                feed(connection, pipelines, waiting)
            while any(waiting.values()):
                ready = selector.select(TIMEOUT)
                if not ready:
                    raise CommandError(f"Redis did not answer the yardstick for {TIMEOUT} s")
                for found, _ in ready:
                    connection = found.fileobj  # type: ignore[assignment]  # we registered sockets
                    waiting[connection] -= answers(connection)
                    if not waiting[connection]:
                        feed(connection, pipelines, waiting)
        return time.perf_counter() - began


def command(*words: str) -> bytes:
    """As Redis's protocol wants it; the words are ASCII."""
    return (f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)).encode()


def prepare(commands: Iterator[bytes]) -> list[tuple[int, bytes]]:
    """The next commands, as pipelines: how many commands, and their bytes."""
    pipelines = []
    for _ in range(PREPARED // PIPELINE):
        some = list(islice(commands, PIPELINE))
        if not some:
            break
        pipelines.append((len(some), b"".join(some)))
    return pipelines


def feed(connection: socket.socket, pipelines: list[tuple[int, bytes]], waiting: dict[socket.socket, int]) -> None:
    if pipelines:
        waiting[connection], lines = pipelines.pop()
        connection.sendall(lines)


def answers(connection: socket.socket) -> int:
    data = connection.recv(65536)
    if not data or b"-" in data:
        raise CommandError(f"Redis refused the yardstick: {data[:200].decode(errors='replace').strip()}")
    return data.count(b"\n")

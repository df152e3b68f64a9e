"""What `make test` runs: the suite in two sessions, what is end-to-end in it and knows the broker once more, on RabbitMQ, and
what is about stored timelines once more, in a Redis Cluster.

They share nothing but the machine. Those with the service's processes are mostly waiting, and run beside the first one and
the cluster's, which compute; what they say comes when these have ended. Without RabbitMQ one line says what was left
out. Where CI=true nothing may be left out: there it is an error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from feedsvc import embedded

WITH_PROCESSES = [f"tests/{room}" for room in ("browser", "clients", "e2e", "load", "streaming")]
ON_RABBITMQ = {"BROKER": "rabbitmq"}
KNOW_NO_BROKER = ("commands/test_bench.py", "e2e/test_static.py")
END_TO_END = ["-m", "e2e or rabbitmq", *(f"--ignore=tests/{one}" for one in KNOW_NO_BROKER)]
IN_CLUSTER = {"TIMELINES": "cluster"}
STORED = [
    f"tests/feeds/test_{subject}.py"
    for subject in "cluster timelines timelines_model fanout home rebuild races departures verify".split()
]


def main() -> int:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell in the background ignores it, and so would sessions
    on_both = embedded.has_rabbitmq()
    beside = {"with the service's processes": ({}, WITH_PROCESSES)}
    if on_both:
        beside["the end-to-end tests on RabbitMQ"] = (ON_RABBITMQ, END_TO_END)
    with ExitStack() as end:
        sessions = {name: end.enter_context(started(env, options)) for name, (env, options) in beside.items()}
        code = subprocess.run(pytest([f"--ignore={room}" for room in WITH_PROCESSES]), check=False).returncode
        print("\nstored timelines, in a Redis Cluster:", flush=True)
        code = subprocess.run(pytest(STORED), env=os.environ | IN_CLUSTER, check=False).returncode or code
        for name, (session, said) in sessions.items():
            print(f"\n{name}:", flush=True)
            code = session.wait() or code
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout)
    return code if on_both else code or leave_out()


def pytest(options: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *options]


@contextmanager
def started(env: dict[str, str], options: list[str]) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A session, and the file that it writes to."""
    with tempfile.TemporaryFile("w+") as said:
        session = subprocess.Popen(
            pytest(options), env=os.environ | env, text=True, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield session, said
        finally:
            session.send_signal(signal.SIGINT)  # it cleans up after itself; has it ended, nothing happens
            session.wait()


def leave_out() -> int:
    """Says so. The exit code: 1 where CI counts on all of them."""
    print(f"left out: {how_many()} end-to-end tests on RabbitMQ (apt-get install rabbitmq-server)", file=sys.stderr)
    return int(os.environ.get("CI") == "true")


def how_many() -> int:
    listed = subprocess.run(
        pytest([*END_TO_END, "--collect-only", "-q"]),
        env=os.environ | ON_RABBITMQ,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return sum("::" in line for line in listed.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main())

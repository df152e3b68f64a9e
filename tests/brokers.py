"""What `make test` runs: the suite, and beside it what is end-to-end in it once more, on RabbitMQ.

The two share nothing but the machine, and the one is mostly waiting while the other computes. What the second one says
comes when the first has ended. Without RabbitMQ one line says what was left out. Where CI=true nothing may be left out:
there it is an error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from feedsvc import embedded

ON_RABBITMQ = {"BROKER": "rabbitmq"}
END_TO_END = ("-m", "e2e or rabbitmq")


def main() -> int:
    if not embedded.has_rabbitmq():
        return pytest() or leave_out()
    with tempfile.TemporaryFile("w+") as said, on_rabbitmq(said) as beside:
        code = pytest()
        print("\nthe end-to-end tests on RabbitMQ:", flush=True)
        code = beside.wait() or code
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout)
    return code


def pytest() -> int:
    return subprocess.run([sys.executable, "-m", "pytest"], check=False).returncode


@contextmanager
def on_rabbitmq(said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pytest", *END_TO_END]
    beside = subprocess.Popen(command, env=os.environ | ON_RABBITMQ, text=True, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield beside
    finally:
        beside.send_signal(signal.SIGINT)  # it cleans up after itself; has it ended, nothing happens
        beside.wait()


def leave_out() -> int:
    """Says so. The exit code: 1 where CI counts on all of them."""
    print(f"left out: {how_many()} end-to-end tests on RabbitMQ (apt-get install rabbitmq-server)", file=sys.stderr)
    return int(os.environ.get("CI") == "true")


def how_many() -> int:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", *END_TO_END, "--collect-only", "-q"],
        env=os.environ | ON_RABBITMQ,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return sum("::" in line for line in listed.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main())

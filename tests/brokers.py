"""What `make test` runs: the suite, and then what is end-to-end in it once more, on RabbitMQ.

Without RabbitMQ one line says what was left out. Where CI=true nothing may be left out: there it is an error.
"""

from __future__ import annotations

import os
import subprocess
import sys

from feedsvc import embedded

ON_RABBITMQ = {"BROKER": "rabbitmq"}
END_TO_END = ("-m", "e2e or rabbitmq")


def main() -> int:
    return pytest() or (pytest(*END_TO_END, env=ON_RABBITMQ) if embedded.has_rabbitmq() else leave_out())


def pytest(*args: str, env: dict[str, str] | None = None) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *args], env=os.environ | (env or {}), check=False).returncode


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

"""Requests over HTTP on eight connections, as fast as they are answered.

By wrk where that is installed, else by generator.py; either is a process of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.core.management.base import CommandError

CONNECTIONS = 8
SECONDS = 3
TIMEOUT = 30  # seconds, for all of it
FOLDER = Path(__file__).parent
UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


@dataclass(frozen=True)
class Load:
    per_second: float
    p50: float  # milliseconds
    p99: float


def by() -> str:
    """What makes the requests."""
    return "wrk" if shutil.which("wrk") else "a generator of its own"


def load(url: str, tokens: list[str], *, body: str = "") -> Load:
    """GET, or with a body POST, each request with the next of the tokens. Every answer must be 200."""
    return _by_wrk(url, tokens, body) if shutil.which("wrk") else _by_ourselves(url, tokens, body)


def _by_wrk(url: str, tokens: list[str], body: str) -> Load:
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "10s", "--latency"]
    said = _run(["wrk", *options, "-s", str(FOLDER / "wrk.lua"), url, "--", body, *tokens])
    if failed := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .+", said):
        raise CommandError(f"{url} failed under load: {failed[0]}")
    [per_second] = re.findall(r"Requests/sec: +([\d.]+)", said)
    percentiles = {name: float(n) * UNITS[unit] for name, n, unit in re.findall(r"(\d+)% +([\d.]+)([a-z]+)", said)}
    return Load(float(per_second), percentiles["50"], percentiles["99"])


def _by_ourselves(url: str, tokens: list[str], body: str) -> Load:
    address = urlsplit(url)
    order = {
        "address": (address.hostname, address.port),
        "requests": [request(url, token, body) for token in tokens],
        "connections": CONNECTIONS,
        "seconds": SECONDS,
    }
    said = json.loads(_run([sys.executable, str(FOLDER / "generator.py")], json.dumps(order)))
    if said["failed"]:
        raise CommandError(f"{url} failed under load: {said['failed']}")
    return Load(said["per_second"], said["p50"], said["p99"])


def request(url: str, token: str, body: str = "") -> str:
    """What goes over the wire."""
    address = urlsplit(url)
    lines = [
        f"{'POST' if body else 'GET'} {address.path} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: Bearer {token}",
    ]
    if body:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise CommandError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout

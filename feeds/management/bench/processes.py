"""The running instance's processes, as Linux shows them: found, held, and the memory of its workers."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

LOOK_EVERY = 1.0  # seconds, at the memory: a look costs the machine some 10 ms


def find(*words: str) -> list[Path]:
    """Folders in /proc of this instance's processes with these words on their command lines, the oldest first."""
    found = [path for path in Path("/proc").glob("[0-9]*") if set(words) <= {*command(path)} and _is_ours(path)]
    return sorted(found, key=lambda path: int(path.name))


def command(process: Path) -> list[str]:
    return _strings(process / "cmdline")


def environment(process: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in _strings(process / "environ") if "=" in line)


def _is_ours(process: Path) -> bool:
    return environment(process).get("RUN_DIR") == str(settings.RUN_DIR)


def _strings(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:  # it has ended, or is somebody else's
        return []


@contextmanager
def held(*words: str) -> Iterator[None]:
    """Lets this instance's processes with these words do nothing for a while; then they go on where they were."""
    pids = [int(path.name) for path in find(*words)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Memory:
    """What this instance's Celery processes hold together, in MB: shared pages are divided among them (Linux's PSS)."""

    def __init__(self) -> None:
        self.workers = find("celery", "worker")
        self.before = self.peak = self.now()
        self.looked = time.monotonic()

    def look(self) -> None:
        if time.monotonic() > self.looked + LOOK_EVERY:
            self.peak = max(self.peak, self.now())
            self.looked = time.monotonic()

    def now(self) -> float:
        return sum(map(pss, self.workers)) / 1024


def pss(process: Path) -> int:
    """What a process holds, in KB."""
    try:
        found = re.search(r"^Pss: *(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0

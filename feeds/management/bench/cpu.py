"""Processor seconds by parts of the running instance: what each kind of process, and each store, has used.

    with spent() as used:
        ...
    used["timelines"]        seconds, of all cores; what the parts use when nothing happens is not taken off
    used["elsewhere"]        what other programs on this machine had meanwhile, the measurement itself among them

A clock on the wall says how busy a shared machine is; this says what a deed costs.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.management.base import CommandError

from feeds.database import rows
from feeds.redis_client import masters

from .processes import command, find

PARTS = ("web", "streaming", "relay", "fanout", "bulk", "others", "timelines", "broker", "cache", "postgres")
"""`others` are the workers of a write's other tasks; `broker` has the chords' counters with it."""

TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def spent() -> Iterator[dict[str, float]]:
    before, used = _processes(), dict[str, float]()
    stores, machine = _redis_seconds(), _machine()
    yield used
    used.update(dict.fromkeys(PARTS, 0.0))
    machine = _machine() - machine
    for process, (part, seconds) in _processes().items():
        used[part] += seconds - before.get(process, (part, 0.0))[1]
    for part, seconds in _redis_seconds().items():
        used[part] += seconds - stores[part]
    used["elsewhere"] = max(0.0, machine - sum(used.values()))


def _machine() -> float:
    """All that its processors have been busy with, in seconds."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / TICK


def _processes() -> dict[Path, tuple[str, float]]:
    """Each process's part and seconds. Our own connection to PostgreSQL is left out: it is the measurement's."""
    [(ours, *_), *others] = rows(
        "SELECT pid FROM pg_stat_activity ORDER BY pid <> pg_backend_pid()"  # and PostgreSQL's own processes
    )
    found = {Path(f"/proc/{pid}"): "postgres" for (pid,) in others if pid != ours}
    if not any(path.exists() for path in found):
        raise CommandError("PostgreSQL's processes are not on this machine: what they cost can't be seen from here")
    found |= dict.fromkeys(find("feedsvc.wsgi:application"), "web")
    found |= dict.fromkeys(find("feedsvc.asgi"), "streaming")
    found |= dict.fromkeys(find("manage.py", "relay"), "relay")
    found |= {path: _of_worker(command(path)) for path in find("celery", "worker")}
    found |= {path: "broker" for path in find() if _name(path) == "beam.smp"}  # RabbitMQ
    return {path: (part, seconds) for path, part in found.items() if (seconds := _seconds(path)) is not None}


def _of_worker(words: Sequence[str]) -> str:
    queues = words[words.index("-Q") + 1].split(",")
    return "fanout" if "fanout" in queues else "bulk" if "fanout_bulk" in queues else "others"


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def _seconds(process: Path) -> float | None:
    """In user and kernel mode; None of one that has ended."""
    try:
        fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICK


def _redis_seconds() -> dict[str, float]:
    """As each server says itself, wherever it is. One that serves two purposes counts for the first."""
    used = defaultdict[str, float](float, timelines=sum(map(_of_redis, masters())))
    seen = {urlsplit(settings.REDIS_URL).netloc}
    for part, urls in {
        "cache": [settings.CACHE_URL],
        "broker": [*settings.BROKERS, settings.CELERY_RESULT_BACKEND],
    }.items():
        for url in urls:
            if url.startswith("redis") and (server := urlsplit(url).netloc) not in seen:
                seen.add(server)
                with redis.Redis.from_url(url, socket_timeout=5) as client:
                    used[part] += _of_redis(client)
    return dict.fromkeys(("timelines", "cache", "broker"), 0.0) | used


def _of_redis(server: redis.Redis) -> float:
    said: Any = server.info("cpu")
    return float(said["used_cpu_user"] + said["used_cpu_sys"])

"""Fault points in the service's own processes, without a line for them in the service.

Workers that are started with `-A tests.chaos.points`, and a relay with `python -m tests.chaos.points relay`, are the real
ones, but the functions in `_points` look before and after each call whether a fault is armed there. A fault is a file in the
folder FAULTS, named by its point, that holds a `Fault` as JSON; `Faults` (world.py) writes and counts them. Of all processes
together, `skip` passes go by, then so many `times` the fault happens: each pass takes a number by creating a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init

from feedsvc.celery import app

ROLE = "relay" if __name__ == "__main__" else "worker"
FOLDER = Path(os.environ.get("FAULTS", "none"))

if "VISIBILITY_TIMEOUT" in os.environ:
    app.conf.broker_transport_options |= {"visibility_timeout": int(os.environ["VISIBILITY_TIMEOUT"])}


@dataclass(frozen=True)
class Fault:
    """What happens: kill (this process), kill_worker (its parent, too), raise, hang and go on, exhaust (memory), twice."""

    act: str
    times: int = 1
    skip: int = 0
    seconds: float = 0
    match: dict[str, Any] = field(default_factory=dict)  # attributes of the call's first argument
    role: str = ""  # of the process, 'worker' or 'relay'; any


def _points() -> list[tuple[Any, str]]:
    import kombu.messaging
    from celery.backends.redis import RedisBackend

    from feeds import fanout, outbox, reconciler, timelines

    return [
        (fanout, "_claim"),
        (fanout, "_push"),
        (fanout, "_read_ranges"),
        (fanout, "_close_all"),
        (fanout, "plan"),
        (fanout, "finish_all"),
        (reconciler, "nudge"),
        (outbox, "resend"),
        (timelines, "push_many"),
        (RedisBackend, "on_chord_part_return"),
        (RedisBackend, "_chord_publish_claim_expires"),
        (kombu.messaging.Producer, "publish"),
    ]


def install(**_: object) -> None:
    for owner, name in _points():
        setattr(owner, name, _with_faults(name, getattr(owner, name)))


def _with_faults(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    before, after = FOLDER / f"{name}.before", FOLDER / f"{name}.after"

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        _pass(before, args)
        result = plain(*args, **kwargs)
        if _pass(after, args) == "twice":
            plain(*args, **kwargs)
        return result

    return call


def _pass(point: Path, args: tuple[Any, ...]) -> str | None:
    try:
        fault = Fault(**json.loads(point.read_text()))
    except FileNotFoundError:
        return None
    if fault.role not in ("", ROLE):
        return None
    if any(getattr(args[0], name, None) != value for name, value in fault.match.items()):
        return None
    if not fault.skip <= _number(point, fault.skip + fault.times) < fault.skip + fault.times:
        return None
    match fault.act:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill_worker":
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError(f"a fault at {point.name}")
        case "hang":
            time.sleep(fault.seconds)
        case "exhaust":
            # As a machine that has no more to give: the next allocation of any size fails.
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
            try:
                bytearray(2 << 30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return fault.act


def _number(point: Path, most: int) -> int:
    """Which pass of all processes this is, from 0 on; `most` if it is one of those behind."""
    for number in range(most):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{point}.{number}", os.O_CREAT | os.O_EXCL))
            return number
    return most


worker_process_init.connect(install, weak=False)

if __name__ == "__main__":
    import django
    from django.core.management import execute_from_command_line

    django.setup()
    install()
    execute_from_command_line(["manage.py", *sys.argv[1:]])

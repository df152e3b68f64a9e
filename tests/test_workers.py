"""The setting WORKERS: which worker serves which queues."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCServer

import pytest

from feedsvc import run, workers


def commands(**env: str) -> dict[str, str]:
    programs = run.services(host="127.0.0.1", port="8000", env=env)
    return {program.name: " ".join(program.command) for program in programs if program.name.startswith("worker")}


def test_by_default_fan_outs_small_and_large_have_workers_of_their_own() -> None:
    found = commands()
    assert set(found) == {"worker-fanout", "worker-bulk", "worker"}
    assert "nice -n 0" in found["worker-fanout"] and "-Q fanout -c 2" in found["worker-fanout"]
    assert "nice -n 5" in found["worker-bulk"] and "-Q fanout_bulk -c 2" in found["worker-bulk"]
    assert "nice -n 5" in found["worker"] and "-Q search,notifications,cache,upkeep -c 2" in found["worker"]


def test_queues_can_have_workers_of_their_own_and_more_than_one() -> None:
    found = commands(WORKERS="fanout:4 fanout:1 fanout_bulk:3 search:1 notifications,cache:1 upkeep,cache:1")
    assert {
        name: command.partition("-Q ")[2].rpartition(" --without-gossip")[0] for name, command in found.items()
    } == {
        "worker-fanout": "fanout -c 4",
        "worker-fanout-2": "fanout -c 1",
        "worker-bulk": "fanout_bulk -c 3",
        "worker-search": "search -c 1",
        "worker": "notifications,cache -c 1",
        "worker-2": "upkeep,cache -c 1",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fanout:2 fanout_bulk:2 search,cache,upkeep:2", "nobody serve notifications"),
        ("fanout:2 fanout_bulk:2 search,notifications,cache,upkep:2", "'upkep', which is no queue"),
        ("fanout:2 fanout_bulk,search,notifications,cache,upkeep:2", "fanout_bulk needs a worker of its own"),
        ("fanout:0 fanout_bulk:2 search,notifications,cache,upkeep:2", "'fanout:0'"),
        ("fanout fanout_bulk:2 search,notifications,cache,upkeep:2", "'fanout'"),
        ("fanout:two fanout_bulk:2 search,notifications,cache,upkeep:2", "'fanout:two'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="WORKERS") as refused:
        workers.parse(text)
    assert says in str(refused.value)


def test_the_relay_has_as_many_fan_outs_in_flight_as_processes_serve_them() -> None:
    def in_flight(**env: Any) -> str:
        return subprocess.run(
            [sys.executable, "-c", "from django.conf import settings; print(settings.OUTBOX_IN_FLIGHT)"],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings"} | env,
            text=True,
            capture_output=True,
            timeout=30,
            check=True,
        ).stdout.strip()

    assert in_flight() == "2"
    many = "fanout:4 fanout:1 fanout_bulk:2 search,notifications,cache,upkeep:2"
    assert in_flight(WORKERS=many) == "5"
    assert in_flight(WORKERS=many, OUTBOX_IN_FLIGHT="3") == "3"


def test_a_program_that_has_just_been_killed_is_stopped_although_supervisord_starts_it_again(tmp_path: Path) -> None:
    """By a supervisord that answers as it did once: asked to stop, it found no process, and then it started one."""
    instance = run.Instance(tmp_path, [])
    states, asked = iter(["EXITED", "RUNNING", "STOPPING", "STOPPED"]), list[str]()

    def info(_: str) -> dict[str, str]:
        asked.append(next(states))
        return {"statename": asked[-1]}

    def stop(name: str, _: bool) -> bool:
        if asked[-1] != "RUNNING":
            raise Fault(70, f"NOT_RUNNING: {name}")
        return True

    with SimpleXMLRPCServer(("127.0.0.1", instance.port), logRequests=False) as supervisord:
        supervisord.register_function(info, "supervisor.getProcessInfo")
        supervisord.register_function(stop, "supervisor.stopProcess")
        serving = Thread(target=supervisord.serve_forever, daemon=True)
        serving.start()
        instance.stop("timelines")
        supervisord.shutdown()
        serving.join()
    assert asked == ["EXITED", "RUNNING", "STOPPING", "STOPPED"]

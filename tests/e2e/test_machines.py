"""The service on two machines, which share PostgreSQL, the Redises and the broker, and nothing else.

Without the marker e2e, since nothing here depends on the broker, and fourteen processes take a while to start.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pytest
import requests
from django.db.models.functions import Now

from feeds import verify
from feeds.models import Delivery, Heartbeat, Outbox
from feedsvc.run import Instance, healthy
from followers.models import Account
from tests.conftest import SMALL, children, database_url, eventually, workers_answer
from tests.e2e.test_pipeline import home
from tests.factories import star, token
from tests.machines import Machine
from tests.streaming.clients import ROOT, Events

SAYS = {"web": "request", "relay": "sent", "worker-fanout": "task", "worker-bulk": "task", "worker": "task"}
"""What a process logs of its work. Beat and the streaming process are seen otherwise."""


@pytest.fixture
def machines(inhabited: Instance, transactional_db: None, tmp_path: Path) -> Iterator[list[Machine]]:
    """Two, with all processes running."""
    env = {**SMALL, "DATABASE_URL": database_url(), "LOG_FORMAT": "json"}
    found = [Machine(number, tmp_path / f"machine-{number}", env) for number in (1, 2)]
    inhabited.add(*(program for machine in found for program in machine.programs))
    inhabited.start(*inhabited.services)
    for machine in found:
        for port, path in ((machine.port, "/healthz"), (machine.port + 1, f"{ROOT}/health")):
            eventually(lambda port=port, path=path: healthy("127.0.0.1", str(port), path), "it answers", 90)
    eventually(lambda: workers_answer(6), "six workers answer", 90)
    yield found
    inhabited.stop(*inhabited.services)


def test_two_of_each_share_the_work_without_a_disk_and_one_of_each_is_enough(
    inhabited: Instance, machines: list[Machine], api: Any
) -> None:
    author, readers = star(25)
    shown = token(readers[0])
    with ExitStack() as opened:
        heard = [opened.enter_context(Events("user", shown, address=machine.streaming)) for machine in machines]
        posts = post_until_each_has_worked(inhabited, machines, author)
        all_delivered(posts)
        for events in heard:
            assert {events.next_id(30) for _ in posts} == {("update", post_id) for post_id in posts}
        for name in inhabited.services:
            assert files_written_by(inhabited.pid(name)) == []
        beats(inhabited, without="beat-1")
        one, two = ("web", "worker-fanout", "worker", "streaming"), ("relay", "worker-bulk", "beat")
        kill(inhabited, [*(machines[0].name(name) for name in one), *(machines[1].name(name) for name in two)])
        left = [publish(machines[1], author) for _ in range(5)]
        all_delivered(left)
        assert {heard[1].next_id(30)[1] for _ in left} == set(left)
    assert seen_after_now("relay", "beat", "workers")
    posts = sorted(posts + left, key=int, reverse=True)
    assert home(api, readers[0]) == posts[:20]
    report = verify.verify()
    assert report.right and not report.drift, report
    assert report.entries == len(posts) * len(readers)
    assert [list(machine.folder.iterdir()) for machine in machines] == [[], []]


def publish(machine: Machine, author: Account) -> str:
    shown = {"Authorization": f"Bearer {token(author)}"}
    answer = requests.post(f"{machine.url}/api/v1/statuses", {"status": "hello"}, headers=shown, timeout=10)
    assert answer.status_code == 200, answer.text
    post_id: str = answer.json()["id"]
    return post_id


def post_until_each_has_worked(services: Instance, machines: list[Machine], author: Account) -> list[str]:
    """Chance says which relay, and which worker, takes something up: so many posts that all have."""
    names = [machine.name(program) for machine in machines for program in SAYS]
    posts: list[str] = []
    for machine in itertools.cycle(machines):
        posts.append(publish(machine, author))
        if not (idle := [name for name in names if not lines(services, name)]):
            return posts
        assert len(posts) < 200, f"no work for {idle}"
    raise AssertionError


def lines(services: Instance, name: str) -> int:
    """How many, about its work."""
    what = f'"message":"{SAYS[name.rpartition("-")[0]]}"'
    return services.log(name).read_text().count(what)


def all_delivered(post_ids: list[str]) -> None:
    of_these = Delivery.objects.filter(post_id__in=post_ids)
    eventually(lambda: of_these.filter(state="closed", delivered=25).count() == len(post_ids), "all are delivered", 60)
    eventually(lambda: not Outbox.objects.filter(done_at=None).exists(), "the outbox is worked off")


def beats(services: Instance, *, without: str) -> None:
    """The other one does."""
    services.stop(without)
    assert seen_after_now("beat")
    services.start(without)


def seen_after_now(*parts: str) -> bool:
    [(now,)] = Heartbeat.objects.annotate(now=Now()).values_list("now")[:1]
    return bool(
        eventually(
            lambda: Heartbeat.objects.filter(part__in=parts, seen_at__gt=now).count() == len(parts), f"{parts} are seen"
        )
    )


def kill(services: Instance, names: Iterable[str]) -> None:
    """-9, with all that they started; none comes back."""
    for name in names:
        pid = services.pid(name)
        for one in (pid, *children(pid)):
            os.kill(one, signal.SIGKILL)
        services.stop(name)


def files_written_by(pid: int) -> list[str]:
    """Files that it, and what it started, have open to write to, and that others could find."""
    found = []
    for process in (pid, *children(pid)):
        for opened in Path(f"/proc/{process}/fd").iterdir():
            info = Path(f"/proc/{process}/fdinfo/{opened.name}").read_text()
            flags = int(info.partition("flags:")[2].split()[0], 8)
            if flags & os.O_ACCMODE != os.O_RDONLY and S_ISREG(opened.stat().st_mode):
                found.append(str(opened.readlink()))
    return [name for name in found if not name.endswith(" (deleted)")]

"""What tests share: clean stores, a client of the API, the background work run here or by real workers."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from kombu.exceptions import OperationalError
from rest_framework.test import APIClient

from feeds import outbox, tasks
from feeds.models import Batch, Delivery, Outbox
from feeds.redis_client import client
from feedsvc import run
from feedsvc.celery import app
from feedsvc.run import Instance
from followers.models import Account
from tests import conformance, factories

# Small, so that small audiences make chords, and that what was killed is noticed soon.
SMALL = {"FANOUT_BATCH": "10", "RECONCILE_EVERY": "1", "FENCE": "4", "LEASE": "14"}
WORKERS = ("relay", "worker-fanout", "worker-bulk", "worker", "beat")
RESULTS = settings.CACHE_URL.removesuffix("/0") + "/1"  # the workers', apart from the broker: it can go away by itself
GET_CHROMIUM = "apt-get install chromium chromium-driver"
GET_REDIS = "apt-get install redis-server"
LEFT_OUT = pytest.StashKey[list[str]]()
BROKER = "broker" if settings.ON_REDIS else "rabbitmq"  # the program


@pytest.hookimpl(trylast=True)  # of what is asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only makes sense on RabbitMQ, or in a cluster, is none of a session without; what misses something is left out."""
    others = _marked(items, "rabbitmq") if settings.ON_REDIS else []
    others += [] if settings.REDIS_NODES else _marked(items, "cluster")
    config.stash[LEFT_OUT] = []
    for marker, what, there, get in (
        ("browser", "in a browser", shutil.which("chromium") and shutil.which("chromedriver"), GET_CHROMIUM),
        ("tls", "with a Redis that has TLS", shutil.which("redis-server"), GET_REDIS),
    ):
        if not there and (left_out := _marked(items, marker)):
            said = f"{len(left_out)} tests {what} ({get})"
            if os.environ.get("CI") == "true":
                raise pytest.UsageError(f"nothing may be left out here: {said}")
            config.stash[LEFT_OUT].append(said)
            others += left_out
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _marked(items: list[pytest.Item], marker: str) -> list[pytest.Item]:
    return [item for item in items if item.get_closest_marker(marker)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for said in config.stash.get(LEFT_OUT, []):
        terminalreporter.write_line(f"left out: {said}")


@pytest.fixture(autouse=True)
def apart(request: pytest.FixtureRequest, services: Instance) -> None:
    """Keeps a test from its neighbours: Redis is empty, and no worker of an earlier one takes up what this one commits.

    PostgreSQL's rows are pytest-django's business; its sequences go on, so that each test has ids of its own.
    """
    used, marker = set(request.fixturenames), request.node.get_closest_marker("django_db")
    if marker or "db" in used or "transactional_db" in used:
        client().flushdb()
        cache.clear()
    commits = "transactional_db" in used or (marker and marker.kwargs.get("transaction"))
    if commits and not used & {"workers", "house"} and services.services:
        services.stop(*WORKERS)


@pytest.fixture(autouse=True, scope="session")
def _documented() -> Iterator[None]:
    """Whatever a test is answered by the API is as the OpenAPI document says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(APIClient, "request", conformance.checked)
        yield
    assert conformance.unasked() == [], "docs/api.md names tests that are about something else"


@pytest.fixture
def api(db: None) -> Callable[..., APIClient]:
    """A client of the API: `api()` is anybody, `api(account)` has a token of the account's."""

    def make(account: Account | None = None, scopes: str = "read write") -> APIClient:
        caller = APIClient(raise_request_exception=False)
        if account is not None:
            caller.credentials(HTTP_AUTHORIZATION=f"Bearer {factories.token(account, scopes)}")
        return caller

    return make


@pytest.fixture
def drain(db: None) -> Callable[[], None]:
    """Does here, in this process, what relay and workers would: every open outbox row, then every open batch."""

    def run() -> None:
        while open_rows := Outbox.objects.filter(done_at=None, lease_until=None).order_by("id"):
            for task, row_ids in outbox.messages(list(open_rows.values_list("task", "id", "attempts"))):
                result = getattr(tasks, task)(row_ids)
                if task in outbox.CHAINED:
                    getattr(tasks, outbox.CHAINED[task])(result)
        for batch in Batch.objects.filter(state="open"):
            tasks.push_batch_alone(batch.post_id, batch.kind, batch.batch_no)

    return run


def database_url() -> str:
    """The tests' database, for processes of the service."""
    database = settings.DATABASES["default"]
    url = f"postgres://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}/"
    return f"{url}{connection.settings_dict['NAME']}"


@pytest.fixture(scope="session")
def inhabited(services: Instance, django_db_setup: None) -> Iterator[Instance]:
    """For those who let the service's processes use the tests' database: they end before it is dropped."""
    yield services
    services.stop(*services.services)


@pytest.fixture
def _processes(inhabited: Instance) -> Instance:
    """The service's processes, on the tests' database. Any of them may be running, or none."""
    serve(inhabited)
    return inhabited


def serve(services: Instance, **env: str) -> None:
    """Let the service's processes be those with these settings. None is started; those that are there already go on."""
    addresses = {"DATABASE_URL": database_url(), "CELERY_RESULT_BACKEND": RESULTS}
    env = {**addresses, "LOG_FORMAT": "json", "TMPDIR": str(settings.RUN_DIR), **SMALL, **env}
    services.add(*run.services(host="127.0.0.1", port=str(settings.PORT), env=env))


@pytest.fixture
def workers(_processes: Instance, transactional_db: None) -> Iterator[Instance]:
    """Relay, workers and beat, running. On a busy machine their start takes longer than anything that a test waits for."""
    _processes.start(*WORKERS)
    eventually(workers_answer, "three workers answer", 90)
    yield _processes
    eventually(lambda: not Outbox.objects.filter(done_at=None).exists(), "the outbox is worked off")
    eventually(lambda: not Delivery.objects.exclude(state="closed").exists(), "all deliveries are closed")


def workers_answer(many: int = 3) -> bool:
    """So many of them."""
    try:
        return len(app.control.inspect(timeout=1, limit=many).ping() or ()) == many
    except (redis.ConnectionError, OSError, OperationalError):  # of a broker that a test before this one stopped
        return False


def children(pid: int) -> list[int]:
    """A worker's processes, by their numbers."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def messages(queue: str) -> list[tuple[list[Any], int]]:
    """What waits in the queue, and goes on waiting: of each message the task's arguments, and how many bytes its body has."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        found = list(iter(lambda: channel.basic_get(queue), None))
        for message in found:
            channel.basic_reject(message.delivery_tag, requeue=True)
        bodies = [message.body if isinstance(message.body, bytes) else message.body.encode() for message in found]
        return [(json.loads(body)[0], len(body)) for body in bodies]


def forget_messages() -> None:
    """As if the broker had lost its disk."""
    with app.connection_for_write() as connection:
        for queue in settings.CELERY_TASK_QUEUES:
            connection.default_channel.queue_purge(queue)


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Waits for something true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found

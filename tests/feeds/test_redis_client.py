"""The connections to Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from feeds import redis_client, timelines
from feeds.database import REDIS_AWAY
from feeds.models import ID_END
from feedsvc import embedded


@contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def unconnected(monkeypatch):
    """Connections of before are none of this test's."""
    monkeypatch.setattr(redis_client, "_local", type(redis_client._local)())
    redis_client.client.cache_clear()
    yield
    redis_client.client.cache_clear()


@pytest.fixture
def impatient(monkeypatch, unconnected):
    monkeypatch.setattr(redis_client, "ANSWERS_IN", 0.2)


@pytest.fixture
def by_a_socket(monkeypatch, unconnected):
    """A server that listens on no port, but on a file."""
    with tempfile.TemporaryDirectory(prefix="feedsvc-") as folder:  # a socket's path must be short
        path = Path(folder) / "valkey"
        server = [
            str(embedded.valkey_server()),
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = subprocess.Popen(embedded.dies_with_parent(*server, signal="KILL"), stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not path.exists():
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.01)
            monkeypatch.setattr(settings, "REDIS_URL", f"unix://{path}")
            yield
        finally:
            process.kill()
            process.wait()


def test_a_redis_that_answers_no_more_is_away_and_soon_back(services, impatient):
    def page():
        return timelines.page(1, below=ID_END, above=0, count=1)

    assert page() is None
    with stopped(services.pid("timelines")):
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(REDIS_AWAY):
                page()
            assert time.monotonic() - began < 5
    assert page() is None


def test_timelines_may_lie_behind_a_socket(by_a_socket):
    assert timelines.ping()
    timelines.build_empty("1")
    assert timelines.push(64, "1,2", deadline=0) == 1
    assert timelines.page(1, below=ID_END, above=0, count=2).ids == [64]

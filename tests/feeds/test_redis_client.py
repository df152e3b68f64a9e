"""The connections to Redis."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

import pytest

from feeds import redis_client, timelines
from feeds.database import REDIS_AWAY
from feeds.models import ID_END


@contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def impatient(monkeypatch):
    """Connections of before, and their patience, are none of this test's."""
    monkeypatch.setattr(redis_client, "ANSWERS_IN", 0.2)
    monkeypatch.setattr(redis_client, "_local", type(redis_client._local)())
    redis_client.client.cache_clear()
    yield
    redis_client.client.cache_clear()


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

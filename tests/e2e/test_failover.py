"""Several brokers in CELERY_BROKER_URL: the service works as long as one of them does."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.conf import settings

from feedsvc.run import Instance
from tests.conftest import WORKERS, eventually, serve, workers_answer
from tests.e2e.test_pipeline import delivery, home, publish, tasks_of
from tests.factories import star

pytestmark = pytest.mark.e2e

GONE = "redis://127.0.0.1:1/0" if settings.ON_REDIS else "amqp://127.0.0.1:1//"


def health() -> dict[str, str] | None:
    try:
        parts: dict[str, str] = requests.get(f"http://127.0.0.1:{settings.PORT}/healthz", timeout=10).json()["parts"]
    except requests.ConnectionError:
        return None
    return parts


def test_all_is_well_when_the_first_broker_refuses_and_the_second_works(workers: Instance, api: Any) -> None:
    serve(workers, CELERY_BROKER_URL=f"{GONE};{settings.CELERY_BROKER_URL}")
    try:
        workers.start("web", *WORKERS)
        eventually(workers_answer, "three workers answer", 90)
        author, readers = star(25)
        caller = api(author)
        post_id = publish(caller)
        report = delivery(caller, post_id, 120)
        assert (report["closed_by"], report["delivered"]) == ("callback", 25)
        assert home(api, readers[0]) == [post_id]
        task = tasks_of(caller, post_id)["fan_out_post"]
        assert (task["attempts"], task["error"]) == (1, None)
        eventually(lambda: set((health() or {"": "down"}).values()) == {"up"}, "all parts are up", 60)
    finally:
        serve(workers)
        workers.start(*WORKERS)

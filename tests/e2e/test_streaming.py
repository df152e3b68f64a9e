"""A post from HTTP to those who listen, through relay, broker, worker, Redis and the streaming process."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from django.conf import settings
from websockets.sync.client import connect

from feeds.models import Outbox
from feedsvc.run import Instance, healthy
from tests.conftest import eventually
from tests.factories import star, token
from tests.streaming.clients import ADDRESS, ROOT, Events, told
from tests.streaming.conftest import streaming_answers

pytestmark = pytest.mark.e2e


@pytest.fixture
def service(workers: Instance) -> Any:
    workers.start("web", "streaming")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)) and streaming_answers(), "it answers", 60)
    yield workers
    workers.stop("web")


def publish(shown: str, status: str) -> str:
    url = f"http://127.0.0.1:{settings.PORT}/api/v1/statuses"
    answer = requests.post(url, {"status": status}, headers={"Authorization": f"Bearer {shown}"}, timeout=10)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["id"]
    return found


def test_a_post_is_on_a_followers_websocket_within_two_seconds(service):
    author, [reader] = star(1)
    shown = token(author)
    publish(shown, "so that everything has been connected once")
    with connect(f"ws://{ADDRESS}{ROOT}?stream=user&access_token={token(reader)}") as socket:
        eventually(lambda: not Outbox.objects.filter(done_at=None).exists(), "nothing is left to be done")
        began = time.monotonic()
        post_id = publish(shown, "hello")
        while (found := told(socket))[2] != post_id:
            pass
        assert time.monotonic() - began < 2
        assert found == (["user"], "update", post_id)


def test_a_killed_worker_tells_once(service):
    author, [reader] = star(1)
    shown = token(author)
    with Events("user", token(reader)) as events:
        posts = []
        for number in range(10):
            posts.append(publish(shown, f"post {number}"))
            if number == 4:
                service.kill("worker-fanout")
        heard = [events.next_id(60) for _ in posts]
        eventually(lambda: not Outbox.objects.filter(done_at=None).exists(), "nothing is left to be done", 60)
        last = publish(shown, "the last one")
        assert events.next_id() == ("update", last), "nothing came twice"
    assert sorted(heard) == [("update", post_id) for post_id in posts]

"""What gets in by the broker and the caches: JSON, and no orders to the workers. Nothing is pickled, nor would be."""

from __future__ import annotations

import json
import pickle
import pickletools
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from kombu import Exchange, Producer

from feeds.models import Delivery
from feedsvc.celery import app
from feedsvc.run import Instance
from tests.conftest import RESULTS, database_url, eventually
from tests.factories import PostFactory, star

pytestmark = pytest.mark.e2e


def pickled(value: bytes) -> bool:
    """Text ends where a pickle has not begun: one that ends with a stop, and has an opcode before it."""
    with suppress(Exception):
        return value.endswith(b".") and len(list(pickletools.genops(value))) > 1
    return False


def values(url: str) -> list[tuple[bytes, bytes]]:
    """All that a Redis holds, key by key, value by value. What is not there any more when it is looked at is left out."""
    client, found = redis.Redis.from_url(url), []
    for key in client.scan_iter(count=1_000):
        kind = client.type(key)
        with suppress(redis.ResponseError):
            if kind == b"string":
                found.append((key, client.get(key) or b""))
            elif kind == b"list":
                found += [(key, value) for value in client.lrange(key, 0, -1)]
            elif kind == b"hash":
                found += [(key, value) for pair in client.hgetall(key).items() for value in pair]
            elif kind == b"set":
                found += [(key, value) for value in client.smembers(key)]
            elif kind == b"zset":
                found += [(key, value) for value in client.zrange(key, 0, -1)]
    return found


def test_settings_name_json_and_nothing_else() -> None:
    assert app.conf.task_serializer == app.conf.result_serializer == app.conf.event_serializer == "json"
    assert app.conf.accept_content == app.conf.result_accept_content == ["json"]
    assert settings.CACHES["default"]["OPTIONS"]["SERIALIZER"] == "feeds.cache.JSON"
    assert settings.SESSION_SERIALIZER == "django.contrib.sessions.serializers.JSONSerializer"
    ours = [path for folder in ("feeds", "feedsvc", "followers") for path in (settings.BASE_DIR / folder).rglob("*.py")]
    assert len(ours) > 100
    words = ("pickle", "marshal", "yaml.load", "shelve", "dill")
    found = [(path.name, word) for path in ours for word in words if f"import {word}" in path.read_text()]
    assert found == []


def test_what_goes_over_the_wire_is_json(workers: Instance) -> None:
    author, _ = star(25)
    workers.stop("worker-bulk")
    post = PostFactory(author=author, text="words #cats")
    bodies: list[bytes] = []

    def waiting() -> bool:
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            message = channel.basic_get("fanout_bulk")
            if message is not None:
                channel.basic_reject(message.delivery_tag, requeue=True)
                assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
                bodies.append(message.body if isinstance(message.body, bytes) else message.body.encode())
        return bool(bodies)

    eventually(waiting, "a batch waits")
    assert all(isinstance(json.loads(body), list) for body in bodies)
    urls = [RESULTS, settings.CACHE_URL, settings.REDIS_URL]
    urls += [url for url in settings.BROKERS if url.startswith("redis")]
    seen = [(url, *pair) for url in urls for pair in values(url)]
    workers.start("worker-bulk")
    eventually(lambda: Delivery.objects.get(post=post, kind="push").state == "closed", "it is delivered")
    seen += [(url, *pair) for url in urls for pair in values(url)]
    assert len({key for _, key, _ in seen}) > 3
    assert pickled(pickle.dumps({"a": 1})) and not pickled(b'{"a": 1}')
    assert [(url, key) for url, key, value in seen if pickled(value)] == []


class Harm:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = str(path)


def test_a_pickle_in_a_queue_or_in_the_cache_is_refused_and_does_no_harm(workers: Instance, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    headers = {"task": "fan_out_post", "id": "harm", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
    with app.connection_for_write() as connection:
        producer = Producer(connection.default_channel)
        for kind, encoding in (("application/x-python-serialize", "binary"), ("application/json", "utf-8")):
            producer.publish(
                pickle.dumps(((Harm(harm),), {}, {})),
                routing_key="fanout",
                exchange=Exchange(""),
                headers=headers,
                content_type=kind,
                content_encoding=encoding,
            )
    redis.Redis.from_url(settings.CACHE_URL).set(cache.make_key("harm"), pickle.dumps(Harm(harm)))
    with suppress(ValueError):
        cache.get("harm")
    post = PostFactory()
    eventually(lambda: Delivery.objects.get(post=post).state == "closed", "the worker goes on")
    time.sleep(0.2)
    assert not harm.exists()
    pickle.loads(pickle.dumps(Harm(harm)))  # noqa: S301  ours, made a moment ago
    assert harm.exists(), "it would have"


def test_whoever_gets_at_the_broker_learns_no_password_by_it_and_stops_no_worker(workers: Instance) -> None:
    """Celery's remote control would tell all settings, those of the other stores among them, and take any order."""
    pids = {name: workers.pid(name) for name in ("worker-fanout", "worker-bulk", "worker")}
    asked = app.control.inspect(timeout=1)
    told = [asked.conf(with_defaults=True), asked.report()]
    passwords = {urlsplit(url).password or "" for url in (database_url(), settings.REDIS_URL, settings.CACHE_URL)}
    assert [word for word in passwords if word in repr(told)] == []
    app.control.cancel_consumer("fanout")
    app.control.pool_shrink(5)
    app.control.rate_limit("fan_out_post", "1/h")
    app.control.shutdown()
    assert len(asked.ping() or ()) == 3
    posts = PostFactory.create_batch(3)
    eventually(
        lambda: not Delivery.objects.filter(post__in=posts).exclude(state="closed").exists(), "all are delivered"
    )
    assert {name: workers.pid(name) for name in pids} == pids

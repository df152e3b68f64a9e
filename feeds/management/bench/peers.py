"""How others fan out, in one process without Celery: to as many timelines, the yardstick's keys, which nobody looks for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import redis
from django.conf import settings

from .yardstick import KEY

CHUNK = 1_000  # followers of a pipeline
STREAM_CHUNK = 100  # followers of one of Stream-Framework's tasks


def plain_redis_py(followers: range) -> float:
    """Followers per second: pipelines of ZADD and ZREMRANGEBYRANK. So most tutorials do it."""
    peer = _client()
    post_id = _post_id()
    began = time.perf_counter()
    for some in _chunks(followers, CHUNK):
        pipeline = peer.pipeline(transaction=False)
        for n in some:
            _add(pipeline, n, post_id)
        pipeline.execute()
    return len(followers) / (time.perf_counter() - began)


def stream_framework(followers: range) -> float:
    """Followers per second by Stream-Framework's algorithm: for each follower a pipeline that adds, then trims.

    A task has STREAM_CHUNK followers; here they are done one after another.
    """
    peer = _client()
    post_id = _post_id()

    def task(some: Iterable[int]) -> None:
        for n in some:
            pipeline = peer.pipeline(transaction=False)
            _add(pipeline, n, post_id)
            pipeline.execute()

    began = time.perf_counter()
    for some in _chunks(followers, STREAM_CHUNK):
        task(some)
    return len(followers) / (time.perf_counter() - began)


def _chunks(followers: range, size: int) -> Iterator[range]:
    return (followers[start : start + size] for start in range(0, len(followers), size))


def _add(pipeline: redis.client.Pipeline, n: int, post_id: int) -> None:
    pipeline.zadd(KEY % n, {str(post_id): -post_id})
    pipeline.zremrangebyrank(KEY % n, settings.TIMELINE_LIMIT, -1)


def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10)


def _post_id() -> int:
    return time.time_ns() // 1_000_000 << 16

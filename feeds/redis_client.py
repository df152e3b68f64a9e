"""The connection to the Redis that holds home timelines. Only timelines.py (and streaming.py) use it."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings


@cache
def client() -> redis.Redis:
    """One pool per process, made at first use. Every wait is bounded; a script call takes milliseconds."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=2,
        socket_keepalive=True,
        health_check_interval=30,
    )

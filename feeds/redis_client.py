"""The connections to the Redis that holds home timelines. Only timelines.py uses it."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

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


_local = threading.local()


def own() -> Any:
    """A connection that is this thread's alone: to borrow one for each call takes longer than the call.

    It connects when it is used, and again after an error. A process that was forked makes others than its parent's.
    """
    connection = getattr(_local, "connection", None)
    if connection is None or connection.pid != os.getpid():
        pool = client().connection_pool
        connection = _local.connection = pool.connection_class(**pool.connection_kwargs)
    return connection

"""A process that pushes to timelines of its own in its REDIS_URL, whenever it reads a line: for bench/cluster.py.

It is given the first of its readers and how many, and answers each line by one: the seconds of POSTS posts to all of them,
and how many of these Python took to deal the readers out to a cluster's buckets.
"""

from __future__ import annotations

import json
import sys
import time

import django

POSTS = 10


def main(first: int, count: int) -> None:
    django.setup()
    from django.conf import settings

    from feeds import timelines

    from .storage import Pusher, packed

    chunks, pusher = packed(range(first, first + count)), Pusher()
    for chunk in chunks:
        timelines.build_empty(chunk)
    timelines.sweep()
    pusher.push(chunks)
    print("ready", flush=True)
    for _ in sys.stdin:
        seconds = sum(pusher.push(chunks) for _ in range(POSTS))
        began = time.perf_counter()
        for chunk in chunks if settings.REDIS_NODES else ():
            timelines.deal([(pusher.milliseconds << 16, chunk)])
        print(json.dumps([seconds, (time.perf_counter() - began) * POSTS]), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

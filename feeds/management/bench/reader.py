"""Somebody who reads a home timeline all the while: a process of its own, so that nothing else waits in its clock.

    with Reader(account_id) as reader:
        ...
    reader.milliseconds      what each page took

It runs this file: one page of the stored timeline every few milliseconds until its standard input is closed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time

from django.core.management.base import CommandError

EVERY = 0.003  # seconds from one page to the next: enough of them for a p99, without taking a core
PAGE = 20  # ids
TIMEOUT = 30  # seconds until it must have begun, and ended


class Reader:
    def __init__(self, reader_id: int) -> None:
        self.reader_id = reader_id
        self.milliseconds: list[float] = []

    def __enter__(self) -> Reader:
        command = [sys.executable, "-m", __name__, str(self.reader_id)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None  # noqa: S101  for mypy: it is a pipe
        if (
            not select.select([self.process.stdout], [], [], TIMEOUT)[0]
            or self.process.stdout.readline() != "reading\n"
        ):
            self.process.kill()
            raise CommandError("the reader of a home timeline did not start")
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            answer = self.process.communicate("", timeout=TIMEOUT)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise CommandError("the reader of a home timeline did not stop") from None
        if not failed:
            if self.process.returncode:
                raise CommandError("the reader of a home timeline failed")
            self.milliseconds = json.loads(answer)


def main(reader_id: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
    django.setup()
    from feeds import timelines
    from feeds.models import ID_END

    def page() -> timelines.Stored | None:
        return timelines.page(reader_id, below=ID_END, above=0, count=PAGE)

    if page() is None:
        sys.exit("there is no built timeline to be read")
    print("reading", flush=True)
    samples = []
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        began = time.perf_counter()
        page()
        samples.append((time.perf_counter() - began) * 1000)
    print(json.dumps(samples))


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The yardsticks' web process, started beside the service's: the same command, its flags and its environment included.

So the two differ in the application alone, whatever the service is run with (feedsvc/run.py says that).
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress

from django.conf import settings
from django.core.management.base import CommandError

from .processes import command, environment, find

SERVICE, OURS = "feedsvc.wsgi:application", "feeds.management.bench.wsgi:application"
READY_SECONDS, STOP_SECONDS = 60, 10


class Site:
    def __enter__(self) -> Site:
        web = find(SERVICE)
        if not web:
            raise CommandError("the service's web process does not run here: `make bench` starts one")
        port = free_port()
        words = command(web[0])
        words[words.index(SERVICE)] = OURS
        words[words.index("--port") + 1] = str(port)
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            words,
            env=environment(web[0]),
            cwd=settings.BASE_DIR,
            stdout=subprocess.DEVNULL,
            stderr=(settings.RUN_DIR / "log" / "bench-site.log").open("w"),
        )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/nothing", timeout=5):  # noqa: S310
                return
            time.sleep(0.1)
        raise CommandError("the yardsticks' web process does not answer: see bench-site.log in RUN_DIR/log")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

"""The streaming process: `python -m feedsvc.asgi`, on HOST and STREAMING_PORT."""

import os
import resource
import socket
from pathlib import Path

import django
import uvicorn
from django.conf import settings
from prometheus_client.multiprocess import mark_process_dead

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
django.setup()

from feeds.api.streaming.doors import application, hub  # noqa: E402  Django must be ready

# Of one listener the kernel holds so much at most, beside what asyncio does. By itself it would take megabytes for each
# that does not read.
SEND_BUFFER = 64 * 1024  # bytes
UNREAD = 10_000  # milliseconds without a byte getting through, after which the kernel gives a connection up
STOP_SECONDS = 5


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hub.close()  # no listener goes by itself, and uvicorn would wait for them
        await super().shutdown(sockets)


def listening() -> socket.socket:
    """What is set here, each connection inherits."""
    family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)
    listener.bind((settings.HOST, settings.STREAMING_PORT))
    return listener


def forget_the_dead() -> None:
    """A process that was killed could not say that its listeners have gone (the gauge of /metrics)."""
    for left in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "none")).glob("gauge_live*.db"):
        pid = left.stem.rpartition("_")[2]
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)


def main() -> None:
    """Each listener is a file: as many as the machine allows."""
    forget_the_dead()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=64 * 1024,  # bytes of a client's message
        ws_per_message_deflate=False,  # each listener's frames would be packed anew
        log_config=None,  # Django's
        access_log=False,
        backlog=4096,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    Server(config).run(sockets=[listening()])


if __name__ == "__main__":
    main()

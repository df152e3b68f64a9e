"""Requests over HTTP where there is no wrk: `generator.py`, its order as JSON on standard input, its result on the output.

It makes nothing and parses little while the clock runs: the requests' bytes are given, and of an answer it reads the status,
the length, and as many bytes. Without Django, so that it starts at once.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from itertools import cycle
from typing import Any

TIMEOUT = 10  # seconds for an answer


class Connection:
    """One request at a time; `received` says when its answer is whole."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self.answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def received(self) -> bool:
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return False
        _, found, length = head.lower().partition(b"content-length:")
        # A server that was not told the length sends chunks, the last one empty.
        return len(body) >= int(length.split(b"\r", 1)[0]) if found else body.endswith(b"0\r\n\r\n")


def run(order: dict[str, Any]) -> dict[str, Any]:
    requests = cycle([request.encode() for request in order["requests"]])
    milliseconds: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(order["connections"]):
            connection = Connection(tuple(order["address"]))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(requests))
        began = time.perf_counter()
        while time.perf_counter() < began + order["seconds"]:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise ConnectionError(f"no answer for {TIMEOUT} s")
            for key, _ in ready:
                connection = key.data
                if connection.received():
                    milliseconds.append((time.perf_counter() - connection.sent_at) * 1000)
                    status = connection.answer[9:12]
                    if status != b"200":
                        raise ConnectionError(f"an answer {status.decode(errors='replace')}")
                    connection.send(next(requests))
        seconds = time.perf_counter() - began
    milliseconds.sort()
    count = len(milliseconds)
    return {
        "failed": "" if count else "no answer in time",
        "per_second": count / seconds,
        "p50": milliseconds[count // 2] if count else 0,
        "p99": milliseconds[count * 99 // 100] if count else 0,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(run(json.load(sys.stdin))))
    except OSError as error:
        print(json.dumps({"failed": str(error)}))

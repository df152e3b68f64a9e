"""PostgreSQL by an address that asks for TLS: what settings make of it, in processes of their own.

The embedded PostgreSQL has no TLS. Before it stands a door that speaks it, as PostgreSQL would, and passes on what comes.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from django.conf import settings

pytestmark = pytest.mark.e2e

SSL_REQUEST = bytes.fromhex("00000008 04d2162f")  # what libpq asks before it says anything else
ASK = "from django.db import connection as c; k = c.cursor(); k.execute('SELECT 6 * 7'); print(*k.fetchone())"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[int]:
    """The port, on 127.0.0.1 and 127.0.0.2 alike; the certificate is for the first, by the authority in ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ExitStack() as opened:
        first = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = first.getsockname()[1]
        second = opened.enter_context(socket.create_server(("127.0.0.2", port)))
        for listener in (first, second):
            threading.Thread(target=let_in, args=(listener, context), daemon=True).start()
            opened.callback(listener.shutdown, socket.SHUT_RDWR)
        yield port


def let_in(listener: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=pass_on, args=(client, context), daemon=True).start()


def pass_on(client: socket.socket, context: ssl.SSLContext) -> None:
    """Who does not ask for TLS is not heard."""
    inner = urlsplit(settings.DATABASE_URL)
    with client, suppress(OSError):
        if client.recv(8) != SSL_REQUEST:
            return
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as outer,
            socket.create_connection((inner.hostname, inner.port), timeout=30) as postgresql,
        ):
            outer.settimeout(30)
            threading.Thread(target=pump, args=(postgresql, outer), daemon=True).start()
            pump(outer, postgresql)


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while words := source.recv(1 << 16):
            target.sendall(words)
        target.shutdown(socket.SHUT_RDWR)


def test_a_certificate_must_be_of_the_named_authority_and_of_the_host(door: int, tmp_path: Path) -> None:
    inner = urlsplit(settings.DATABASE_URL)
    asked = {
        ("127.0.0.1", "verify-full", "ca.pem"): "",
        ("127.0.0.1", "verify-full", "other.pem"): "certificate verify failed",
        ("127.0.0.2", "verify-full", "ca.pem"): 'does not match host name "127.0.0.2"',
        ("127.0.0.1", "disable", "ca.pem"): "server closed the connection",
    }
    started = {
        (host, mode, ca): subprocess.Popen(
            [sys.executable, "-c", ASK],
            env=os.environ
            | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings"}
            | {"DATABASE_URL": f"postgres://{inner.username}:{inner.password}@{host}:{door}{inner.path}"
               f"?sslmode={mode}&sslrootcert={tmp_path / ca}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host, mode, ca in asked
    }  # fmt: skip
    for what, said in asked.items():
        out, error = started[what].communicate(timeout=60)
        assert (out.strip(), said in error) == ("" if said else "42", True), (what, error)

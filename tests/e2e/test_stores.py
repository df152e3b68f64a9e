"""Who gets at the embedded stores: nobody from another machine, and on this one who has the password."""

from __future__ import annotations

import ipaddress
import socket
import xmlrpc.client
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import requests
from amqp import AccessRefused, Connection
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from feedsvc.run import Instance
from tests.conftest import children

pytestmark = pytest.mark.e2e

VALKEYS = {settings.REDIS_URL, settings.CACHE_URL, settings.CELERY_RESULT_BACKEND} | (
    set(settings.BROKERS) if settings.ON_REDIS else set()
)


@pytest.mark.parametrize("url", sorted(VALKEYS), ids=range(len(VALKEYS)))
def test_a_valkey_answers_nothing_without_its_password(url: str) -> None:
    address = urlsplit(url)
    for password in (None, "wrong"):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(
                host=address.hostname or "", port=address.port or 0, password=password, retry=Retry(NoBackoff(), 0)
            ).ping()


def test_postgresql_wants_the_password_of_everybody(services: Instance) -> None:
    rules = [
        line.split()
        for line in (services.run_dir / "postgres/pg_hba.conf").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules and {rule[-1] for rule in rules} == {"scram-sha-256"}
    address = urlsplit(settings.DATABASE_URL)
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(
                host=address.hostname, port=address.port, user="feedsvc", dbname="feedsvc", password=password
            )


def test_supervisord_takes_no_orders_without_its_password(services: Instance) -> None:
    door = f"127.0.0.1:{services.port}/RPC2"
    for user in ("", "feedsvc:@", "feedsvc:wrong@"):
        with pytest.raises(xmlrpc.client.ProtocolError, match="401"):
            xmlrpc.client.ServerProxy(f"http://{user}{door}").supervisor.shutdown()
    assert requests.get(f"http://127.0.0.1:{services.port}/", timeout=10).status_code == 401
    assert services.rpc.getState()["statename"] == "RUNNING"


@pytest.mark.rabbitmq
def test_rabbitmq_knows_no_guest() -> None:
    address = urlsplit(settings.BROKERS[0])
    for name, password in (("guest", "guest"), ("feedsvc", "wrong")):
        with pytest.raises(AccessRefused):
            Connection(
                f"{address.hostname}:{address.port}", userid=name, password=password, connect_timeout=5
            ).connect()


def test_whatever_listens_listens_on_this_machine_alone(_processes: Instance, transactional_db: None) -> None:
    """The stores, what they bring with them (RabbitMQ's port mapper and its port for other nodes), and the service."""
    _processes.start("web", "streaming")
    try:
        found = [one for pid in descendants(_processes.supervisord.pid) for one in listening(pid)]
        assert len(found) >= len(_processes.stores) + 1
        assert all(address.is_loopback for address, _ in found), found
    finally:
        _processes.stop("web", "streaming")


def descendants(pid: int) -> list[int]:
    return [pid, *(found for child in children(pid) for found in descendants(child))]


def listening(pid: int) -> list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Where the process accepts connections (state 0A of /proc/net/tcp)."""
    links = [link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in links if name.startswith("socket:")}
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and inode in inodes:
                host, port = local.split(":")
                words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
                found.append((ipaddress.ip_address(socket.inet_ntop(family, b"".join(words))), int(port, 16)))
    return found

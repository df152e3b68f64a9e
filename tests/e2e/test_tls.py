"""The stores by rediss:// and amqps://, with certificates, and by the ACL users of docs/operations.md.

Debian's redis-server has TLS; the embedded Valkey, as it comes in its wheel, has none, and nor has the embedded PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import redis.asyncio
import requests
import trustme
from django.conf import settings
from kombu import Connection

from feeds.management.bench import nodes
from feeds.models import Delivery
from feedsvc import embedded, run
from feedsvc.run import Instance, healthy
from feedsvc.settings import _address
from tests.conftest import WORKERS, eventually, serve
from tests.factories import star, token
from tests.streaming.clients import Events
from tests.streaming.conftest import streaming_answers

pytestmark = [pytest.mark.e2e, pytest.mark.tls]

USERS = re.findall(r"^    (user \w+ on >)PASSWORD (.*)$", (run.ROOT / "docs/operations.md").read_text(), re.MULTILINE)
PASSWORD = "a-password-of-tests"


class Store(NamedTuple):
    port: int
    folder: Path

    def url(self, user: str, database: int = 0, ca: str = "ca.pem") -> str:
        return f"rediss://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}?ssl_ca_certs={self.folder / ca}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's, for 127.0.0.1, the authority's that made it, and another authority's."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    return folder


@pytest.fixture(scope="module")
def store(certificates: Path) -> Iterator[Store]:
    """A Redis that speaks TLS alone, and knows the users of docs/operations.md and one that may do everything."""
    with started(certificates, {}) as found:
        yield found


@pytest.fixture(scope="module")
def cluster(certificates: Path) -> Iterator[Store]:
    """Such a one that is a cluster, by itself."""
    bus = embedded.still_free(None, "redis")
    own = {"cluster-enabled": "yes", "cluster-port": bus, "cluster-config-file": "nodes.conf", "tls-cluster": "yes"}
    with started(certificates, own) as found:
        root = redis.Redis.from_url(found.url("root"), decode_responses=True)
        root.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: nodes.is_well(root), "it has all slots")
        yield found


@contextmanager
def started(certificates: Path, own: dict[str, Any]) -> Iterator[Store]:
    port = embedded.still_free(None, "redis")
    lines = [f"{name}{PASSWORD} {rules}" for name, rules in USERS]
    lines += ["user default off", f"user root on >{PASSWORD} ~* &* +@all"]
    (certificates / "users.acl").write_text("\n".join(lines) + "\n")
    conf = {
        "port": 0,
        "tls-port": port,
        "bind": "127.0.0.1",
        "tls-cert-file": certificates / "cert.pem",
        "tls-key-file": certificates / "key.pem",
        "tls-ca-cert-file": certificates / "ca.pem",
        "tls-auth-clients": "no",
        "aclfile": certificates / "users.acl",
        "save": '""',
        "dir": certificates,
        **own,
    }
    (certificates / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in conf.items()))
    command = embedded.dies_with_parent("redis-server", str(certificates / "redis.conf"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found = Store(port, certificates)
    try:
        eventually(lambda: answers(found.url("root")), "redis-server answers")
        yield found
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    with suppress(redis.ConnectionError):
        return bool(redis.Redis.from_url(url).ping())
    return False


def test_a_post_goes_its_whole_way_over_tls_by_users_who_may_do_no_more(
    _processes: Instance, transactional_db: None, store: Store
) -> None:
    author, readers = star(25)
    addresses = {
        "REDIS_URL": store.url("timelines", 0),
        "CACHE_URL": store.url("cache", 1),
        "CELERY_BROKER_URL": store.url("broker", 2),
        "CELERY_RESULT_BACKEND": store.url("results", 3),
    }
    root = redis.Redis.from_url(store.url("root"))
    root.acl_log_reset()
    serve(_processes, RATE_LIMITS="on", **addresses)
    names = (*WORKERS, "web", "streaming")
    _processes.start(*names)
    try:
        service = f"http://127.0.0.1:{settings.PORT}"
        eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web process answers", 60)
        eventually(streaming_answers, "the streaming process answers", 60)
        whole = eventually(lambda: up(service), "all parts are up", 60)
        assert whole["parts"]["broker"] == "up"
        shown = {"Authorization": f"Bearer {token(readers[0])}"}
        with Events("user", token(readers[1])) as heard:
            mine = {"Authorization": f"Bearer {token(author)}"}
            posted = requests.post(f"{service}/api/v1/statuses", {"status": "hello"}, headers=mine, timeout=10)
            assert (posted.status_code, posted.headers["X-RateLimit-Remaining"]) == (200, "299")
            post_id = posted.json()["id"]
            assert heard.next_id(30) == ("update", post_id)
        eventually(lambda: Delivery.objects.get(post=post_id, kind="push").state == "closed", "it is delivered", 60)
        assert Delivery.objects.get(post=post_id, kind="push").closed_by == "callback", "the chord counted"
        for status in (206, 200):  # the first read asks for a timeline, which is built from the rows
            home = eventually(lambda status=status: read(service, shown, status), f"home answers {status}", 30)
            assert [one["id"] for one in home.json()] == [post_id]
        refused = [(entry["username"], entry["reason"], entry["object"], entry["context"]) for entry in root.acl_log()]
        assert not refused
    finally:
        _processes.stop(*names)


def test_a_cluster_is_reached_over_tls_by_a_user_who_may_do_no_more(cluster: Store) -> None:
    """All verbs of a stored timeline, in a process of its own, whose settings name the cluster."""
    lines = """
import django
django.setup()
from feeds import timelines as t
import time
ids = [1 << 50, 2 << 50]
assert t.ping() and abs(t.clock() - time.time()) < 5
assert t.build_empty("7,8,9") == 3 and t.push_many([(ids[0], "7,8,10"), (ids[1], "9")], deadline=0) == [2, 1]
t.purge([ids[1]], "9")
assert t.sweep() == 3 and t.sweep() is None
assert t.page(7, below=3 << 50, above=0, count=9).ids == t.ids(8).ids == [ids[0]] and t.dump([9])[0].state == "built"
assert t.remove(ids[0], "7,8,9") == 3 and t.sync(7, add=[ids[1]], remove=[], floor=0, deadline=0)
t.begin(8, "token")
assert t.fill(8, "token", add=ids, remove=[]) and t.finish(8, "token", cover=0)
t.evict([7, 8, 9])
"""
    root = redis.Redis.from_url(cluster.url("root"))
    root.acl_log_reset()
    url = cluster.url("timelines").replace("rediss://", "rediss+cluster://").replace("/0?", "?")
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings", "REDIS_URL": url}
    subprocess.run([sys.executable, "-c", lines], env=env, timeout=30, check=True)
    assert root.acl_log() == []


def up(service: str) -> Any:
    found = requests.get(f"{service}/healthz", timeout=10).json()
    return found if found["status"] == "up" else None


def read(service: str, shown: dict[str, str], status: int) -> requests.Response | None:
    answer = requests.get(f"{service}/api/v1/timelines/home", headers=shown, timeout=10)
    return answer if answer.status_code == status else None


def test_a_user_may_do_nothing_dangerous(store: Store) -> None:
    assert len(USERS) == 4
    for name, _ in USERS:
        user = redis.Redis.from_url(store.url(name.split()[1]))
        for command in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "KEYS *", "SHUTDOWN", "MONITOR"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*command.split())


@pytest.mark.parametrize("client", ["redis", "asyncio", "broker"])
def test_a_certificate_of_another_authority_is_refused(store: Store, client: str) -> None:
    for ca, good in (("ca.pem", True), ("other.pem", False)):
        url = _address("CELERY_BROKER_URL", store.url("root", ca=ca), "rediss")  # what settings make of it
        if good:
            reach(client, url)
        else:
            with pytest.raises(Exception, match=re.escape("CERTIFICATE_VERIFY_FAILED")):
                reach(client, url)


def reach(client: str, url: str) -> None:
    if client == "redis":
        redis.Redis.from_url(url).ping()
    elif client == "asyncio":

        async def ping() -> None:
            async with redis.asyncio.Redis.from_url(url) as connection:
                await connection.ping()

        asyncio.run(ping())
    else:
        with Connection(url) as broker:
            broker.default_channel.client.ping()


def test_rabbitmqs_certificate_is_looked_at_and_whose_it_is(certificates: Path) -> None:
    """By what settings make of the address. As far as the handshake: behind it nobody speaks AMQP here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as named:
        port = named.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)) as other:
            for listener in (named, other):
                threading.Thread(target=shake_hands, args=(context, listener), daemon=True).start()
            for host, ca, said in (
                ("127.0.0.1", "ca.pem", ""),
                ("127.0.0.1", "other.pem", "CERTIFICATE_VERIFY_FAILED"),
                ("127.0.0.2", "ca.pem", "certificate is not valid for"),
            ):
                error = tried(f"amqps://feedsvc:x@{host}:{port}//?ssl_ca_certs={certificates / ca}")
                assert (said in error) if said else ("SSL" not in error), error


def shake_hands(context: ssl.SSLContext, listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(client, server_side=True) as spoken:
                spoken.recv(8)


def tried(url: str) -> str:
    """What a process with this broker says of its failure to reach it."""
    words = """
import json
from feedsvc.celery import app
with app.connection_for_write() as broker:
    try:
        broker.connect()
    except Exception as error:
        print(json.dumps(repr(error)))
"""
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings", "CELERY_BROKER_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", words], env=env, capture_output=True, text=True, timeout=30, check=True
    )
    found: str = json.loads(done.stdout)
    return found

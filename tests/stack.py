"""The stores under the tests: a pytest plugin that starts a PostgreSQL and three Valkeys for one session.

BROKER=rabbitmq has it start a RabbitMQ, too, for the end-to-end tests, and TIMELINES=cluster a cluster of three masters and
three replicas, which home timelines are in.

Loaded by `-p tests.stack` (pyproject.toml), early enough that Django's settings find the addresses. Everything lives in
a new folder .run/test-... and is gone at the end, also when pytest is killed. The `services` fixture is the running
Instance: end-to-end tests add the service's processes to it, and stop, kill and start them and the stores.
"""

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from feeds.management.bench import nodes
from feedsvc import embedded, run

FOLDERS = run.ROOT / ".run"
# What the user may have set for a service of theirs must not reach the tests, least of all the addresses.
OURS = (
    *embedded.URLS,
    *(
        "SECRET_KEY",
        "PORT",
        "HOST",
        "BASE_URL",
        "STREAMING_PORT",
        "STREAMING_URL",
        "ALLOWED_HOSTS",
        "TRUST_PROXY",
        "METRICS_TOKEN",
        "WORKERS",
        "DATABASE_REPLICA_URLS",
        "REPLICA_MAX_LAG",
    ),
)

ON_CLUSTER = os.environ.get("TIMELINES") == "cluster"
MASTERS, REPLICAS = 3, 3

instance: run.Instance


@pytest.hookimpl(wrapper=True)  # a wrapper comes before pytest-django, which reads the settings in this same hook
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    options = early_config.known_args_namespace
    if not (options.help or options.version):
        for name in OURS:
            os.environ.pop(name, None)
        os.environ |= {"ENVIRONMENT": "development", "RATE_LIMITS": "off"}
        if options.collectonly:
            os.environ |= embedded.addresses(embedded.needed(asked()), {})  # well formed, and nobody is there
            if ON_CLUSTER:
                os.environ["REDIS_URL"] = "redis+cluster://127.0.0.1:1"
        else:
            start()
    return (yield)


def start() -> None:
    global instance
    sweep()
    FOLDERS.mkdir(exist_ok=True)
    run_dir = Path(tempfile.mkdtemp(prefix="test-", dir=FOLDERS))
    os.environ["RUN_DIR"] = str(run_dir)
    end = ExitStack()
    atexit.register(end.close)
    end.callback(shutil.rmtree, run_dir, ignore_errors=True)
    try:
        lock = end.enter_context(run.locked(run_dir))
        ports, password = nodes.free_ports(MASTERS + REPLICAS) if ON_CLUSTER else [], secrets.token_urlsafe(24)
        if ports:
            masters = ",".join(f"127.0.0.1:{port}" for port in ports[:MASTERS])
            os.environ["REDIS_URL"] = f"redis+cluster://:{password}@{masters}"
        os.environ["PORT"] = embedded.prepare(run_dir, asked(), fsync=False)["PORT"]
        stores = [*embedded.stores(run_dir, asked()), *(node(run_dir, port, password) for port in ports)]
        instance = end.enter_context(run.Instance(run_dir, stores, lock=lock))
        instance.start(*instance.stores)
        if ports:
            nodes.form(ports, password, masters=MASTERS)
    except embedded.Unfit as reason:
        raise pytest.UsageError(str(reason)) from None


def asked() -> dict[str, str]:
    """Which stores the session is to have."""
    return {"BROKER": os.environ.get("BROKER", "redis"), "REDIS_URL": os.environ.get("REDIS_URL", "")}


def node(run_dir: Path, port: int, password: str) -> embedded.Program:
    """One of the cluster's servers, which is named after its port."""
    folder = run_dir / f"node-{port}"
    folder.mkdir(mode=0o700)
    conf = nodes.CONF.format(port=port, bus=port + 1, password=password, folder=embedded.escaped(folder))
    embedded.write_private(folder / "conf", conf)
    command = embedded.dies_with_parent(str(embedded.valkey_server()), str(folder / "conf"))
    return embedded.Program(folder.name, command, stop_signal="KILL")  # as a fault stops it; it has nothing to save


def sweep() -> None:
    """Remove the folders of sessions that were killed: those whose lock nobody holds."""
    for lock in FOLDERS.glob("test-*/lock"):
        with lock.open() as file:
            if run.try_lock(file):
                shutil.rmtree(lock.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def services() -> run.Instance:
    return instance

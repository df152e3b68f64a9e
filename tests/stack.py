"""The stores under the tests: a pytest plugin that starts a PostgreSQL and three Valkeys for one session.

BROKER=rabbitmq has it start a RabbitMQ, too, for the end-to-end tests.

Loaded by `-p tests.stack` (pyproject.toml), early enough that Django's settings find the addresses. Everything lives in
a new folder .run/test-... and is gone at the end, also when pytest is killed. The `services` fixture is the running
Instance: end-to-end tests add the service's processes to it, and stop, kill and start them and the stores.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

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

instance: run.Instance


@pytest.hookimpl(wrapper=True)  # a wrapper comes before pytest-django, which reads the settings in this same hook
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    options = early_config.known_args_namespace
    if not (options.help or options.version):
        for name in OURS:
            os.environ.pop(name, None)
        os.environ |= {"ENVIRONMENT": "development", "RATE_LIMITS": "off"}
        if options.collectonly:
            os.environ |= embedded.addresses(embedded.needed(broker()), {})  # well formed, and nobody is there
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
        os.environ["PORT"] = embedded.prepare(run_dir, broker(), fsync=False)["PORT"]
        instance = end.enter_context(run.Instance(run_dir, embedded.stores(run_dir, broker()), lock=lock))
        instance.start(*instance.stores)
    except embedded.Unfit as reason:
        raise pytest.UsageError(str(reason)) from None


def broker() -> dict[str, str]:
    return {"BROKER": os.environ.get("BROKER", "redis")}


def sweep() -> None:
    """Remove the folders of sessions that were killed: those whose lock nobody holds."""
    for lock in FOLDERS.glob("test-*/lock"):
        with lock.open() as file:
            if run.try_lock(file):
                shutil.rmtree(lock.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def services() -> run.Instance:
    return instance

"""A wrong value stops every process at its start, with one line that names it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

SECRET = "x" * 40


def start(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from django.conf import settings; settings.DEBUG"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings"} | env,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("names", "env"),
    [
        ("PORT", {"PORT": "eighty"}),
        ("PORT", {"PORT": "70000"}),
        ("ENVIRONMENT", {"ENVIRONMENT": "staging"}),
        ("RATE_LIMITS", {"RATE_LIMITS": "perhaps"}),
        ("DATABASE_URL", {"DATABASE_URL": "sqlite:///x"}),
        ("DATABASE_REPLICA_URLS", {"DATABASE_REPLICA_URLS": "postgres://a/x;redis://b"}),
        ("REPLICA_MAX_LAG", {"REPLICA_MAX_LAG": "0"}),
        ("REDIS_URL", {"REDIS_URL": "redis://127.0.0.1:port"}),
        ("REDIS_URL", {"REDIS_URL": "redis+cluster://127.0.0.1:7000,127.0.0.1:port"}),
        ("name nodes", {"REDIS_URL": "redis+cluster://127.0.0.1:7000,"}),
        ("no database", {"REDIS_URL": "redis+cluster://127.0.0.1:7000/1"}),
        ("redis+cluster://", {"REDIS_URL": "http+cluster://127.0.0.1:7000"}),
        ("CELERY_BROKER_URL", {"CELERY_BROKER_URL": "http://127.0.0.1"}),
        ("CELERY_BROKER_URL", {"CELERY_BROKER_URL": "amqp://127.0.0.1;"}),
        ("CELERY_BROKER_URL", {"CELERY_BROKER_URL": "redis://127.0.0.1;redis://127.0.0.1:port"}),
        ("of one kind", {"CELERY_BROKER_URL": "redis://127.0.0.1;amqp://127.0.0.1"}),
        ("FANOUT_BATCH", {"FANOUT_BATCH": "0"}),
        ("LOG_FORMAT", {"LOG_FORMAT": "xml"}),
        ("KEEP_BATCHES", {"KEEP_BATCHES": "-1"}),
        ("WORKERS", {"WORKERS": "fanout:2"}),
        ("LEASE", {"LEASE": "30", "FENCE": "30"}),
        ("BASE_URL", {"BASE_URL": "example.org"}),
        ("STREAMING_PORT", {"STREAMING_PORT": "0"}),
        ("STREAMING_URL", {"STREAMING_URL": "http://example.org"}),
        ("SECRET_KEY", {"ENVIRONMENT": "production", "SECRET_KEY": "short"}),
        ("ALLOWED_HOSTS", {"ENVIRONMENT": "production", "SECRET_KEY": SECRET}),
    ],
)
def test_a_wrong_value_is_named_in_one_line(names, env):
    ended = start(**env)
    assert ended.returncode == 1
    assert ended.stderr.startswith("feedsvc: ") and ended.stderr.count("\n") == 1
    assert names in ended.stderr


@pytest.mark.parametrize("urls", ["amqp://a:5672//;amqps://b:5671//", "redis://:word@a/0;redis://:word@b:6380/0"])
def test_brokers_of_one_kind_may_be_several(urls):
    ended = start(CELERY_BROKER_URL=urls)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("url", "nodes"),
    [
        ("redis://a:7000", []),
        (
            "redis+cluster://feeds:word@a:7000,[::1]:7001",
            ["redis://feeds:word@a:7000", "redis://feeds:word@[::1]:7001"],
        ),
        ("rediss+cluster://a?ssl_ca_certs=/ca.pem", ["rediss://a?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"]),
    ],
)
def test_home_timelines_may_lie_in_a_cluster(url, nodes):
    assert said_by("print(s.REDIS_NODES)", REDIS_URL=url) == str(nodes)


def test_whoever_is_reached_by_tls_shows_a_certificate_that_is_looked_at():
    """In each of the four addresses, whatever else stands in them; unless they say themselves that none is wanted."""
    named = {
        "REDIS_URL": "rediss://:word@a:6379/0?ssl_ca_certs=/ca.pem",
        "CACHE_URL": "rediss://:word@b:6379/0",
        "CELERY_BROKER_URL": "rediss://:word@c/0;rediss://:word@d/0?ssl_ca_certs=/ca.pem",
        "CELERY_RESULT_BACKEND": "rediss://:word@e/0?ssl_cert_reqs=none",
    }
    asked = "s.REDIS_URL, s.CACHE_URL, *s.BROKERS, s.CELERY_RESULT_BACKEND"
    found = said_by(f"print({asked}, sep=chr(10))", **named).split()
    looked_at = "ssl_cert_reqs=required"
    given = [url for urls in named.values() for url in urls.split(";")]
    assert found == [
        f"{given[0]}&{looked_at}",
        f"{given[1]}?{looked_at}",
        f"{given[2]}?{looked_at}",
        f"{given[3]}&{looked_at}",
        given[4],
    ]


def test_each_of_celerys_settings_has_its_reason():
    names = {name.removeprefix("CELERY_").lower() for name in dir(settings) if name.startswith("CELERY_")}
    text = (settings.BASE_DIR / "docs/operations.md").read_text().partition("## Why Celery")[2]
    assert {name for name in names if f"`{name}`" not in text} == {"broker_url", "result_backend"}  # these are README's


def test_production_starts_with_a_secret_and_hosts_and_without_the_password_grant():
    ended = start(ENVIRONMENT="production", SECRET_KEY=SECRET, ALLOWED_HOSTS="example.org")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"PORT": "9000"}, "ws://localhost:9001"),
        ({"PORT": "9000", "STREAMING_PORT": "9100"}, "ws://localhost:9100"),
        ({"BASE_URL": "https://example.org", "STREAMING_PORT": "4000"}, "wss://example.org:4000"),
        ({"BASE_URL": "http://[::1]:9000", "STREAMING_PORT": "4000"}, "ws://[::1]:4000"),
        ({"STREAMING_URL": "wss://stream.example.org/"}, "wss://stream.example.org"),
    ],
)
def test_clients_are_told_where_to_stream(env, url):
    assert said_by("print(s.STREAMING_URL)", **env) == url


def said_by(line: str, **env: str) -> str:
    started = subprocess.run(
        [sys.executable, "-c", f"from django.conf import settings as s; {line}"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings"} | env,
        text=True,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return started.stdout.strip()

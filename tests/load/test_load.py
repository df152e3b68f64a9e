"""Load tests: a short one against the running service, what its results say, and what they must not keep quiet about."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.core.management.base import CommandError

from feeds import timelines
from feeds.models import Delivery, Post
from feeds.redis_client import client
from feedsvc import run
from feedsvc.embedded import dies_with_parent, still_free
from feedsvc.run import Instance, healthy
from followers.models import Account
from loadtests import population, results, shape
from tests.conftest import SMALL, database_url, eventually

KEYS = """seconds users accounts posts posts_per_second reads_per_second deliveries audiences delivery_ms http_ms
settings""".split()
KINDS = ("GET /api/v1/timelines/home", "POST /api/v1/statuses", "POST /api/v1/accounts/:id/follow", "all requests")


@pytest.fixture
def web(workers: Instance, settings: Any) -> Iterator[None]:
    settings.BASE_URL = f"http://127.0.0.1:{settings.PORT}"
    workers.start("web")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web server answers", 90)
    yield
    workers.stop("web")


def environment() -> dict[str, str]:
    """Of a command that uses the tests' service."""
    found = {"DATABASE_URL": database_url(), "BASE_URL": f"http://127.0.0.1:{settings.PORT}"}
    return os.environ | SMALL | found


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m loadtests` with these words, ended at the end."""
    command, pipe = dies_with_parent(sys.executable, "-m", "loadtests", *words), subprocess.PIPE
    process = subprocess.Popen(command, cwd=run.ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        run.end(process, seconds=10)


def load(folder: Path) -> None:
    """Two seconds of requests for the folder's population."""
    said = (folder / "locust.log").open("w")
    words = ["-f", "loadtests/locustfile.py", "--headless", "-u", "20", "-r", "20", "-t", "2s", "--reads-per-post", "3"]
    files = ["--csv", str(folder / "http"), "--csv-full-history", "--population", str(folder / "population.json")]
    command = dies_with_parent(sys.executable, "-m", "locust", *words, *files)
    subprocess.run(command, cwd=run.ROOT, env=environment(), stdout=said, stderr=said, timeout=60, check=False)


def prepare(folder: Path) -> None:
    population.prepare(shape.stored(), size=200, history=20, folder=folder)


def test_a_load_ends_with_0_and_its_files_say_what_came_of_it(web):
    words = ("--users", "20", "--time", "8s", "--accounts", "300", "--history", "30", "--pace", "5")
    with started("run", *words, "--reads-per-post", "5") as command:  # so that there is something of each kind
        said, _ = command.communicate(timeout=150)
    assert command.returncode == 0, said
    assert all(f" {kind} " in said for kind in KINDS) and said.splitlines()[-1] == "all of it is right"
    summary = json.loads((settings.RUN_DIR / "summary.json").read_text())
    assert list(summary) == KEYS
    assert summary["settings"] == {
        "FANOUT_BATCH": 10,
        "WORKERS": "fanout:2 fanout_bulk:2 search,notifications,cache,upkeep:2",
    }
    assert (summary["users"], 5 < summary["seconds"] < 40) == (20, True)
    posts = Post.objects.exclude(text__startswith="history").filter(author__username__startswith="u")
    assert summary["posts"] == posts.count() > 0
    assert summary["accounts"] == Account.objects.filter(username__startswith="u").count() > 200
    records = Delivery.objects.filter(post__in=posts)
    assert summary["deliveries"] == sum(records.values_list("delivered", flat=True))
    assert sum(int(size) * count for size, count in summary["audiences"].items()) == sum(
        records.values_list("audience", flat=True)
    )
    for figures in (summary["delivery_ms"], summary["http_ms"]):
        assert 0 < figures["p50"] <= figures["p99"]
    assert 0 < summary["posts_per_second"] < summary["reads_per_second"]
    with (settings.RUN_DIR / "http_stats.csv").open() as file:
        assert "Aggregated" in [row["Name"] for row in csv.DictReader(file)]
    assert "requests/s" in (settings.RUN_DIR / "chart.svg").read_text()
    assert "/api/v1/timelines/home" in (settings.RUN_DIR / "report.html").read_text()
    assert (settings.RUN_DIR / "population.json").stat().st_mode & 0o77 == 0, "it has tokens"


@pytest.mark.django_db
@pytest.mark.parametrize(("size", "said"), [(1, "nobody follows another"), (1_000_000, "fewer than 1,000,000")])
def test_a_population_too_small_or_too_large_is_refused(size, said, tmp_path):
    with pytest.raises(CommandError, match=said):
        population.prepare(shape.stored(), size=size, history=1, folder=tmp_path)
    assert not list(tmp_path.iterdir()) and not Account.objects.exists()


def test_a_timeline_that_is_wrong_is_told_and_the_exit_code_is_1(web, tmp_path, capsys):
    prepare(tmp_path)
    load(tmp_path)
    assert results.tell(tmp_path) == 0, capsys.readouterr().out
    post = Post.objects.filter(author__followers_count__gt=0, text__startswith="history").first()
    reader = post.author.follows_in.first().follower_id
    assert client().lrem(timelines.key(reader), 0, post.pk) == 1
    assert results.tell(tmp_path) == 1
    said = capsys.readouterr().out
    assert "timelines: 1 entries differ" in said and f"missing: post {post.pk} of reader {reader}" in said
    assert "requests failed" not in said and "none is here" not in said
    (tmp_path / "population.json").write_text(json.dumps({"after": 0, "accounts": []}))
    assert results.tell(tmp_path) == 1
    assert "posts were written, and none is here" in capsys.readouterr().out, (
        "these are not the accounts that wrote them"
    )


def test_requests_that_fail_are_told_with_their_reasons_and_the_exit_code_is_1(web, tmp_path, capsys):
    prepare(tmp_path)
    people = json.loads((tmp_path / "population.json").read_text())
    for one in people["accounts"][::2]:
        one["token"] = "of nobody"
    (tmp_path / "population.json").write_text(json.dumps(people))
    load(tmp_path)
    assert results.tell(tmp_path) == 1
    said = capsys.readouterr().out
    assert "requests failed" in said and ": answered by 401" in said
    assert "timelines:" not in said


@pytest.mark.parametrize("hears", [True, False], ids=["which ends when asked", "which loses its interrupt"])
def test_a_load_is_started_and_stopped_on_locusts_page(web, hears, tmp_path):
    port = str(still_free(None, "the page"))
    address = f"http://127.0.0.1:{port}"

    def shown(path: str = "/") -> str:
        try:
            return requests.get(address + path, timeout=10).text
        except requests.ConnectionError:
            return ""

    deaf = tmp_path / "deaf.py"
    deaf.write_text("import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n")
    more = [] if hears else ["-f", f"loadtests/locustfile.py,{deaf}"]
    with started("ui", "--port", port, "--accounts", "200", "--history", "20", *more) as command:
        assert any(f"Locust's page: {address}" in line for line in command.stdout), "it says where"
        eventually(lambda: "<title>Locust</title>" in shown(), "the page is there")
        asked = {"user_count": "20", "spawn_rate": "20", "run_time": "30s"}
        assert requests.post(f"{address}/swarm", data=asked, timeout=10).json()["success"]
        eventually(lambda: json.loads(shown("/stats/requests"))["total_rps"] > 0, "there are requests")
        assert requests.post(f"{address}/stop", timeout=10).json()["success"]
        said, _ = command.communicate("\n", timeout=90)
    assert (command.returncode, said.splitlines()[-1]) == (0, "all of it is right")
    assert not shown(), "the page is gone"

"""bench: made accounts, yardsticks, one table, and nothing left behind."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from feeds.management.bench import (
    cluster,
    costs,
    cpu,
    deliveries,
    fanout,
    generator,
    imports,
    listeners,
    load,
    small,
    stage,
    storage,
    web,
)
from feeds.management.bench.row import Row, compared, p99
from feeds.management.bench.yardstick import Yardstick
from feeds.models import Bookmark, Post
from feeds.redis_client import client
from feedsvc.run import Instance, healthy
from followers.models import Account, Follow, Mute
from tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

FACTS = {"name", "value", "yardstick", "ratio", "target", "met"}


def run_bench(*words: str) -> list[str]:
    out = StringIO()
    call_command("bench", *words, stdout=out)
    return out.getvalue().splitlines()


def measure(only: str, followers: int) -> list[dict[str, Any]]:
    lines = run_bench("--only", only, "--followers", str(followers), "--json")
    assert any(line.startswith("┃ what ") for line in lines), "there is a table"
    rows: list[dict[str, Any]] = json.loads(lines[-1])["rows"]
    assert all(set(row) == FACTS for row in rows)
    return rows


def left() -> tuple[int, int, int, int]:
    """Follows, posts, active readers; the yardsticks' keys and home timelines but for those of authors."""
    readers = Account.objects.exclude(username__startswith=stage.AUTHOR)
    authors = {f"home:{{{pk % 128}}}:{pk}" for pk in Account.objects.values_list("pk", flat=True)}
    homes = set(client().scan_iter("home:*")) - (authors - {f"home:{{{r.pk % 128}}}:{r.pk}" for r in readers})
    return (
        Follow.objects.count(),
        Post.objects.count(),
        readers.filter(last_active_at__isnull=False).count(),
        len(client().keys("bench:*")) + len(homes),
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short round of everything."""
    for room in (cluster, fanout, listeners, small, storage, web):
        monkeypatch.setattr(room, "ROUNDS", 1)
    monkeypatch.setattr(fanout, "SMALL_SAMPLES", 3)
    monkeypatch.setattr(fanout, "SMALL_ROUNDS", 2)
    monkeypatch.setattr(load, "SECONDS", 1)
    for name, value in {"POSTS": 20, "AUTHORS": 6, "READERS": 30, "MOST": 25, "RATE": 20, "SECONDS": 1}.items():
        monkeypatch.setattr(small, name, value)
    quicker = {
        "IDLE_SECONDS": 0.3,
        "ALONE": 3,
        "WITH_TASKS": 2,
        "CROWD": 20,
        "WIDE": 1,
        "LARGE": 1,
        "CALLS": 100,
        "FEW": 4,
    }
    for name, value in quicker.items():
        monkeypatch.setattr(costs, name, value)
    monkeypatch.setattr(web, "FOLLOWEES", 30)
    monkeypatch.setattr(web, "POST_ROUNDS", 1)


@pytest.fixture
def web_process(workers: Instance, settings: Any) -> Iterator[None]:
    workers.start("web")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web server answers", seconds=90)
    yield
    workers.stop("web")


@pytest.mark.e2e
def test_a_fan_out_is_measured_and_taken_back_and_a_second_run_finds_the_accounts(workers, quick):
    whole, tutorial, stream, seconds, memory = measure("fanout", 60)
    assert whole["name"] == "fan-out to 60, against plain ZADDs"
    assert whole["ratio"] == pytest.approx(whole["value"] / whole["yardstick"])
    assert (whole["target"], tutorial["target"], stream["target"]) == (">= 0.55", ">= 4", None)
    assert seconds["value"] == pytest.approx(60 / whole["value"])
    assert (memory["yardstick"], memory["target"]) == (None, "<= 8")
    assert left() == (0, 0, 0, 0)
    made = set(Account.objects.filter(username__startswith=stage.FOLLOWER))
    # So many that a fan-out is not over before a post of the others' has been tried.
    names = [row["name"] for row in measure("fairness,growth,readers", 1_200)]
    assert names == [
        "a page of 20 ids, idle, p99",
        "a page of 20 ids during a fan-out to 1,200, p99",
        "cost of a follower of 1",
        "cost of a follower of 12",
        "cost of a follower of 1,200, against 120",
        "a post to 100 during a fan-out to 1,200, p99, against idle",
    ], "in the order of the table, whatever was asked for first"
    assert left() == (0, 0, 0, 0)
    assert made < set(Account.objects.filter(username__startswith=stage.FOLLOWER))


@pytest.mark.e2e
def test_small_posts_are_measured_and_taken_back(workers, quick):
    throughput, latency = measure("small,latency", 100)
    assert throughput["name"] == "20 small posts, against trivial Celery tasks"
    assert throughput["ratio"] > 0
    assert 0 < latency["value"] < 10_000
    assert left() == (0, 0, 0, 0)


@pytest.mark.e2e
def test_the_service_is_measured_over_http_beside_a_web_process_of_the_yardsticks(web_process, quick):
    rate, of_everything, tail, middle, of_references, post, held = measure("home,post", 30)
    assert all(row["yardstick"] > 0 for row in (rate, of_everything, tail, middle, of_references, post, held))
    reader = Account.objects.get(ever_hid=True)
    assert reader.ever_kept and not Mute.objects.exists() and not Bookmark.objects.exists()
    assert (post["target"], held["target"]) == (">= 0.7", None)
    for row, target in ((middle, ">= 10"), (of_references, ">= 6")):
        assert row["target"] == target
        assert row["ratio"] == pytest.approx(row["yardstick"] / row["value"]), "how many times faster"
    assert left() == (0, 0, 0, 0)


@pytest.mark.e2e
def test_what_things_cost_is_measured_by_parts_so_that_a_plan_can_be_made_of_it(web_process, quick, settings):
    settings.TIMELINE_LIMIT = 40
    found = {row["name"]: row["value"] for row in measure("storage,costs", 60)}
    assert left() == (0, 0, 0, 0)
    assert found["cores of the machine"] == os.cpu_count()
    assert found["CPU of a page: web"] > found["CPU of a page: timelines"], "Python takes longer than Redis"
    assert 0 < found["a post alone, commit to closed, p50"] < 10_000
    assert 100 < found["bytes of a row: feeds_post"] < 100_000
    assert sum(name.startswith("cores that others had meanwhile: ") for name in found) == 2
    whole, machine = sum(value for name, value in found.items() if name.startswith("CPU of a request")), 10e6
    assert 0 < whole < machine, "a request takes no ten seconds"
    assert {name.split(": ")[-1] for name in found if name.startswith("CPU of ")} <= set(cpu.PARTS)


@pytest.mark.e2e
def test_a_crowd_of_listeners_is_measured(workers, quick, settings):
    workers.start("streaming")
    path = "/api/v1/streaming/health"
    eventually(lambda: healthy("127.0.0.1", str(settings.STREAMING_PORT), path), "the streaming process answers", 90)
    seconds, memory = measure("listeners", 40)
    assert (seconds["name"], seconds["target"]) == ("an event to 40 listeners, commit to the last", "<= 2")
    assert 0 < seconds["value"] < 10
    assert memory["value"] < 10_000
    assert left() == (0, 0, 0, 0)


def test_timelines_and_imports_are_measured_and_taken_back(quick, settings):
    settings.TIMELINE_LIMIT = 40
    memory, full, graph, bare = measure("storage,import", 50)
    assert (memory["name"], memory["yardstick"], memory["target"]) == (
        "memory of an entry, 40 in a timeline",
        16,
        "<= 14",
    )
    assert 5 < memory["value"] < 500
    assert full["ratio"] > 0
    name = "import of 500 follows of 93 accounts, against COPY "
    assert (graph["name"], graph["target"]) == (name + "with the same indexes", ">= 0.3")
    assert (bare["name"], bare["target"]) == (name + "without any index", None)
    assert left() == (0, 0, 0, 0)


def test_clusters_are_measured_and_end(quick, monkeypatch, settings):
    monkeypatch.setattr(cluster, "READERS", 300)
    monkeypatch.setattr(cluster, "PUSHERS", 1)
    pushes, processor, _, processors, dealing = measure("cluster", 10)
    assert pushes["name"] == "pushes into a cluster of 1, against a single server"
    assert processors["name"].startswith("pushes for each second of the busiest master's processor, a cluster of 3")
    assert min(row["ratio"] for row in (pushes, processor, processors)) > 0
    assert 0 < dealing["value"] < 100
    assert not list(settings.RUN_DIR.glob("cluster-*"))


def test_without_workers_it_gives_up_with_a_sentence_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(deliveries, "STALLED_AFTER", 0.5)
    with pytest.raises(CommandError, match="are relay and workers running"):
        run_bench("--followers", "10")
    assert left() == (0, 0, 0, 0)
    assert not Account.objects.exclude(followers_count=0, following_count=0).exists()


def test_what_a_killed_run_left_is_cleared_by_the_next(monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(deliveries, "STALLED_AFTER", 0.5)
        killed.setattr(stage, "release", lambda: None)
        with pytest.raises(CommandError):
            run_bench("--followers", "10")
    stage.Stage(10).graph([(1, 2), (2, 3)])
    Post.objects.create(pk=32, author=Account.objects.get(username=f"u{stage.NUMBERS + 1}"), created_at=timezone.now())
    assert left()[:3] == (12, 1, 13)
    monkeypatch.setattr(deliveries, "STALLED_AFTER", 0.5)
    with pytest.raises(CommandError):
        run_bench("--followers", "20")
    assert left() == (0, 0, 0, 0)


def test_without_a_web_process_it_says_so(quick, monkeypatch):
    with pytest.raises(CommandError, match="web process does not run here"):
        run_bench("--only", "home", "--followers", "10")
    assert left() == (0, 0, 0, 0)


def test_the_yardstick_adds_to_keys_that_exist_and_removes_them():
    with Yardstick(1234) as yardstick:
        assert yardstick.measure() > 1000
        keys = list(client().scan_iter("bench:*"))
        assert len(keys) == 1234
        assert {client().zcard(key) for key in keys} <= {2, 3}, "redis-benchmark, where it is installed, adds to some"
    assert not client().keys("bench:*")


@pytest.mark.parametrize("followers", ["0", "-5", "many", "1.5"])
def test_a_number_of_followers_that_makes_no_sense_is_refused(followers):
    with pytest.raises(CommandError, match="a whole number from 1 on"):
        run_bench(f"--followers={followers}")


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(CommandError, match="there is no part 'hom', but fanout, readers, "):
        run_bench("--only=post,hom")


def test_the_graph_is_a_power_law_without_doubles():
    edges = imports.power_law(5000)
    assert len(set(edges)) == 5000
    assert not any(follower == followee for follower, followee in edges)
    followed = [followee for _, followee in edges]
    assert followed.count(1) > 10 * followed.count(400) > 0


def test_a_row_is_the_median_of_its_runs():
    row = compared("pushes", "/s", [(10, 10), (30, 10), (20, 10)], least=2)
    assert (row.value, row.yardstick, row.ratio, row.met) == (20, 10, 2, True)
    assert row.cells() == ("pushes", "20 /s", "10 /s", "2 (1 to 3)", ">= 2", "met")
    assert Row("pages", 16, "ms", most=15).met is False
    assert Row("seconds", 3, "s").met is None
    assert p99(list(range(1000))) == 990
    with pytest.raises(CommandError, match="more FOLLOWERS"):
        p99([])


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    said: list[str] = []

    def do_POST(self) -> None:
        self.said.append(
            f"{self.headers['Authorization']}: {self.rfile.read(int(self.headers['Content-Length'])).decode()}"
        )
        self.send_response(200 if self.path == "/good" else 503)
        if self.headers["Authorization"] == "Bearer one":
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 100_000)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_without_wrk_a_generator_of_our_own_makes_the_requests(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load.by() == "a generator of its own"
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = load.load(f"{address}/good", ["one", "two"], body="status=Hello")
        assert found.per_second == pytest.approx(len(Answer.said), rel=0.2)
        assert set(Answer.said) == {"Bearer one: status=Hello", "Bearer two: status=Hello"}
        assert 0 < found.p50 <= found.p99
        with pytest.raises(CommandError, match="failed under load: an answer 503"):
            load.load(f"{address}/bad", ["one"], body="status=Hello")
        server.shutdown()
    with pytest.raises(ConnectionRefusedError):
        generator.Connection(("127.0.0.1", server.server_port))

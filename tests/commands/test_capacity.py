"""capacity: its sums against a pencil's, its simulation against queueing theory, and what it says of wrong input."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from feeds.management.capacity import calibration, plan, population, simulation
from feeds.management.capacity.calibration import Calibration
from feeds.management.capacity.demand import DAY, Demand, Plan
from feeds.management.capacity.population import Population
from feeds.management.capacity.simulation import Clock, Load, Machines, Process, Station, wait
from tests.factories import AccountFactory, star

# Microseconds, by deed and part: round ones, so that sums can be made in one's head.
COSTS = {
    "a follower": {"timelines": 2, "postgres": 1, "fanout": 1},
    "a small post": {"fanout": 100, "postgres": 200, "relay": 50},
    "a message of small posts": {"fanout": 2_000, "postgres": 1_000, "relay": 1_000},
    "the other tasks of a post": {"others": 300, "postgres": 300},
    "a message of other tasks": {"others": 2_000, "relay": 500},
    "a batch of a chord": {"bulk": 3_000, "fanout": 500, "postgres": 1_000},
    "a follower without a timeline": {"timelines": 1},
    "a script call": {"timelines": 40},
    "a page": {"web": 1_000, "postgres": 500, "timelines": 100},
    "a followee of a page": {"postgres": 1},
    "a pull account of a page": {"postgres": 5},
    "a request to post": {"web": 1_000, "postgres": 1_000},
}
OTHERS = {
    "cores of the machine": 2,
    "memory of an entry, 800 in a timeline": 10,
    "a post alone, commit to closed, p50": 12,
    "50 posts to 60 each at once, commit to the last": 1,
    "cores that others had meanwhile: 50 posts to 60 each at once": 0.5,
    "a post to 30,000 alone, commit to the last": 2,
    "fan-out to 50,000, commit to the last": 1,
    "cost of a follower of 40,000, against 4,000": 3,
    **{f"bytes of a row: {table}": 200 for table in ("feeds_post", "feeds_delivery", "feeds_outbox", "feeds_batch")},
}
HUNDRED = {100.0: 1.0}
ONE = Machines(fanout=2, bulk=2, others=2, cores=2)
TWITTER = {"p50": 61, "p99": 3_000, "largest": 31e6, "accounts": 500_000_000, "active": 0.3}
SOME = ("--accounts", "1M", "--followers-p50", "61", "--followers-p99", "3k", "--followers-max", "200k")


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """As `make bench ARGS="--only storage,costs --json"` prints it."""
    costs = {f"CPU of {deed}: {part}": us for deed, parts in COSTS.items() for part, us in parts.items()}
    rows = [{"name": name, "value": value} for name, value in (costs | OTHERS).items()]
    file = tmp_path / "bench.txt"
    file.write_text(f"a table for people\n{json.dumps({'rows': rows})}\nfeedsvc: stopping\n")
    return file


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan's simulation of so many posts; others say themselves for how long."""
    monkeypatch.setattr(plan, "SIMULATED", 2_000)


@pytest.fixture
def costs(measured: Path) -> Calibration:
    return calibration.read(measured)


def people(audiences: dict[float, float], accounts: int = 1_000, active: float = 0.3) -> Population:
    return Population(audiences, accounts, active, "made up")


def run(*words: str) -> str:
    out = StringIO()
    call_command("capacity", *words, stdout=out)
    return out.getvalue()


def told(*words: str) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = json.loads(run(*words, "--json").splitlines()[-1])
    return tables


def value(table: list[dict[str, Any]], what: str) -> Any:
    return next(line["value"] for line in table if line["what"] == what)


# the population


def test_a_population_has_the_percentiles_that_it_was_fitted_to():
    fitted = population.fitted(**TWITTER)
    assert sum(fitted.audiences.values()) == pytest.approx(1)
    assert fitted.percentile(0.5) == pytest.approx(61, rel=0.01)
    assert fitted.percentile(0.99) == pytest.approx(3_000, rel=0.05)
    assert fitted.largest == 31e6
    # Of 500 million one is the largest: the power law's exponent, and its mean above a threshold (Pareto's).
    steep = math.log(0.01 * 500e6) / math.log(31e6 / 3_000)
    above = 0.01 * (100_000 / 3_000) ** -steep * 100_000 * steep / (steep - 1)
    assert fitted.above(100_000) == pytest.approx(above, rel=0.05)
    # A lognormal's mean below its 99th percentile, with sigma = log(3000 / 61) / 2.326
    sigma = math.log(3_000 / 61) / 2.3263
    body = 61 * math.exp(sigma**2 / 2) * 0.5 * (1 + math.erf((2.3263 - sigma) / math.sqrt(2)))
    assert fitted.mean - fitted.above(3_000) == pytest.approx(body, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"p99": 50}, "half of the authors"),
        ({"largest": 2_000}, "half of the authors"),
        ({"accounts": 1_000_000}, "nobody can have 31,000,000"),
        ({"accounts": 500, "largest": 400, "p99": 300}, "fewer than 1,000 accounts"),
        ({"p50": 10, "p99": 100, "accounts": 31_000_000}, "has no mean"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(wrong, why):
    with pytest.raises(population.Unfit, match=why):
        population.fitted(**(TWITTER | wrong))


@pytest.mark.django_db
def test_a_population_is_read_from_the_database(measured):
    star(3, away=1)  # an author whom three follow, one of them not active
    AccountFactory(is_active=False)
    tables = told("--from-database", "--posts-per-second", "10", "--calibration", str(measured))
    assert value(tables["given"], "accounts") == 4
    assert value(tables["given"], "followers of a post's author, mean") == 0.75
    assert value(tables["given"], "largest") == 3
    assert value(tables["asked_for"], "deliveries: pushes into timelines") == 10 * 0.75 * 0.75, (
        "three of four are active"
    )


def test_a_population_is_read_from_a_graph(measured, tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text("# follower followee\n1 2\n1 3\n2 3\n")
    tables = told(
        *("--graph", str(file), "--posts-per-second", "30", "--active", "0.5", "--calibration", str(measured))
    )
    assert value(tables["given"], "accounts") == 3
    assert value(tables["given"], "largest") == 2
    assert value(tables["asked_for"], "followers that batches go through, without a timeline too") == 30
    assert value(tables["asked_for"], "deliveries: pushes into timelines") == 15


# the sums


def test_a_plan_s_sums_are_those_of_a_pencil(costs, settings):
    settings.FANOUT_BATCH, settings.TIMELINE_LIMIT = 10_000, 800
    of = people({0.0: 0.5, 100.0: 0.4, 20_000.0: 0.1})
    demand = Demand(Plan(of, posts=10, pages=100, reach=0.5), costs)
    assert demand.followers == pytest.approx(10 * (0.4 * 100 + 0.1 * 20_000))
    assert demand.deliveries == pytest.approx(demand.followers / 2)
    assert (demand.small, demand.batches, demand.callbacks) == (pytest.approx(9), pytest.approx(2), pytest.approx(1))
    assert demand.timeline_bytes == pytest.approx(300 * 800 * 10)
    assert demand.rows == pytest.approx(
        {
            "feeds_post": 10 * DAY,
            "feeds_delivery": 10 * DAY,
            "feeds_outbox": 40 * DAY,  # fan-out, notifications, search, cache
            "feeds_batch": (4 + 2) * DAY,  # a small post that nobody follows has none
            "feeds_searchentry": 10 * DAY,
        }
    )
    cores = demand.cores()
    assert cores["Redis, pushes"] == pytest.approx(20_400 * 1.5e-6), "half of them have a timeline"
    assert cores["Redis, pages"] == pytest.approx(100 * 100e-6)
    # by the mean reader, who follows 1,020 active authors
    assert cores["PostgreSQL, pages"] == pytest.approx(100 * (500e-6 + 1_020e-6))
    assert cores["web, pages"] == pytest.approx(0.1)


def test_whom_pages_fetch_costs_no_push(costs, settings):
    settings.FANOUT_BATCH = 10_000
    of = people({0.0: 0.5, 100.0: 0.4, 20_000.0: 0.1})
    pushed = Demand(Plan(of, posts=10, pages=100, reach=0.5), costs)
    demand = Demand(Plan(of, posts=10, pages=100, reach=0.5, pull_above=10_000), costs)
    assert demand.deliveries == pytest.approx(10 * 40 * 0.5)
    assert (demand.batches, demand.small) == (0, pytest.approx(10)), "their posts are planned all the same"
    assert demand.pull_followees(10_000) == pytest.approx(0.1 * 20_000 * 0.5)
    added = demand.cores()["PostgreSQL, pages"] - pushed.cores()["PostgreSQL, pages"]
    assert added == pytest.approx(100 * 1_000 * 5e-6)


def test_nodes_are_as_many_as_memory_or_work_asks_for(costs):
    few = Demand(Plan(people(HUNDRED, accounts=100_000), 1, 1, 1.0, node_bytes=50e6), costs)
    assert few.nodes() == math.ceil(100_000 * 0.3 * 800 * 10 / 50e6)
    busy = Demand(Plan(people(HUNDRED), 10_000, 0, 1.0, busy=0.5), costs)
    assert busy.nodes() * 0.5 >= 10_000 * 100 * 2e-6, "a million pushes of 2 us"
    assert busy.nodes() > few.nodes()


def test_a_busier_relay_sends_fuller_messages(costs):
    messages = [Demand(Plan(people(HUNDRED), rate, 0, 1.0), costs).messages["fanout"] for rate in (10, 1_000, 20_000)]
    assert messages == [pytest.approx(10), pytest.approx(1_000 / 21), pytest.approx(200)], "with 1, 21 and 100 posts"


# the simulation


def sojourns(station: Callable[[Clock], Station], *, rate: float, service: Callable[[random.Random], float]) -> float:
    """The mean of 40,000 arrivals by a Poisson process."""
    clock, chance, took = Clock(), random.Random(1), list[float]()
    served = station(clock)

    def customer() -> Process:
        began = clock.now
        yield served.serve(service(chance))
        took.append(clock.now - began)

    def arrivals() -> Process:
        for _ in range(40_000):
            yield wait(clock, chance.expovariate(rate))
            clock.start(customer())

    clock.start(arrivals())
    clock.run()
    assert len(took) == 40_000
    return fmean(took)


def test_one_server_with_constant_service_is_an_m_d_1_queue():
    mean = sojourns(lambda clock: Station(clock, 1), rate=0.8, service=lambda _: 1.0)
    assert mean == pytest.approx(1 + 0.8 / (2 * (1 - 0.8)), rel=0.06), "Pollaczek and Khinchine"


def test_several_servers_with_exponential_service_are_an_m_m_c_queue():
    mean = sojourns(lambda clock: Station(clock, 3), rate=2.4, service=lambda chance: chance.expovariate(1))
    load, servers = 2.4, 3
    waits = load**servers / math.factorial(servers) * servers / (servers - load)
    erlang_c = waits / (sum(load**n / math.factorial(n) for n in range(servers)) + waits)
    assert mean == pytest.approx(1 + erlang_c / (servers - load), rel=0.06)


def test_a_sliced_server_shares_itself_so_that_short_work_need_not_wait_for_long():
    """Processor sharing: the mean is service / (1 - load), whatever the distribution, where in turn it would be 27.5."""
    mean = sojourns(
        lambda clock: Station(clock, 1, slice_=0.25),
        rate=0.5,
        service=lambda chance: 0.5 if chance.random() < 0.95 else 10.5,
    )
    assert mean == pytest.approx(1 / (1 - 0.5), rel=0.12)


def test_who_weighs_half_is_served_half_as_much():
    clock, done = Clock(), {1.0: 0, 0.5: 0}
    station = Station(clock, 1, slice_=0.01)

    def always(weight: float) -> Process:
        while True:
            yield station.serve(1.0, weight)
            done[weight] += 1

    clock.start(always(1.0))
    clock.start(always(0.5))
    clock.run(300)
    assert done[1.0] / 200 == pytest.approx(1, abs=0.02)
    assert done[0.5] / 100 == pytest.approx(1, abs=0.02)


def test_a_post_alone_takes_what_was_measured(costs):
    assert simulation.at_once(costs, ONE, [0]) == pytest.approx(0.012 - 0.001, rel=0.01), "without the request's own"


def test_a_chord_has_a_message_for_each_batch_and_a_callback_for_each_wave(costs, settings):
    settings.FANOUT_BATCH = 100
    service = simulation.Service(costs, ONE)
    service.commit(45_000, 0.0)
    service.clock.start(service.relay())
    service.clock.run(3600, lambda: service.open)
    assert service.outcome.messages["fanout_bulk"] == 450
    assert service.outcome.messages["fanout"] == 1 + 3, "200, 200 and 50 batches"


def test_more_to_do_takes_longer_and_more_hands_do_it_sooner(costs):
    def p99(rate: float, machines: Machines) -> float:
        found = simulation.run(costs, machines, people(HUNDRED, active=1.0), Load(rate, 5)).percentile(0.99)
        assert found is not None
        return found

    assert p99(10, ONE) < p99(200, ONE) < p99(600, ONE)
    beside = [p99(50, Machines(fanout=2, bulk=2, others=2, cores=2, elsewhere=cores)) for cores in (0, 1, 1.5, 1.8)]
    assert beside == sorted(beside)
    assert beside[-1] > 1.5 * beside[0]
    large = [simulation.at_once(costs, Machines(2, bulk, 2, nodes=4), [1_000_000]) for bulk in (1, 2, 8)]
    assert large == sorted(large, reverse=True)
    assert large[0] / large[1] == pytest.approx(2, rel=0.15)


def test_where_more_comes_than_can_be_done_posts_are_left_over(costs):
    outcome = simulation.run(costs, ONE, people({10_000.0: 1.0}, active=1.0), Load(120, 5), patience=1)
    assert outcome.unfinished > 50, "120 posts of 40 ms each, on two cores"
    assert outcome.loads["postgres"] == pytest.approx(1, abs=0.05), "the machine"


def test_pages_beside_them_slow_posts_down(costs):
    def mean(pages: float) -> float:
        load = Load(50, 10, pages_per_second=pages)
        outcome = simulation.run(costs, ONE, people(HUNDRED, active=1.0), load, page=costs.page)
        return fmean(one.seconds for one in outcome.arrived)

    assert 1.1 * mean(0) < mean(900)


def test_the_same_run_says_the_same(costs):
    def once() -> list[simulation.Arrived]:
        return simulation.run(costs, ONE, people(HUNDRED, active=1.0), Load(100, 2)).arrived

    assert once() == once()


def test_a_run_that_would_not_end_is_given_up(costs, monkeypatch):
    monkeypatch.setattr(simulation, "EVENTS", 1_000)
    with pytest.raises(simulation.Unfit, match="more than 1,000 events"):
        simulation.run(costs, ONE, people(HUNDRED), Load(1_000, 60))


# the command


def test_a_plan_is_printed_with_what_was_assumed(measured):
    said = run(*SOME, "--posts-per-second", "12", "--calibration", str(measured))
    assert said.startswith(f"What things cost was measured: {measured}")
    assert "assumed: 50 for each post" in said
    assert "DOES NOT HOLD" not in said
    tables = told(*SOME, "--posts-per-second", "12", "--calibration", str(measured))
    assert value(tables["given"], "pages of home/s") == 600
    assert len(tables["push_or_pull"]) == 5
    assert [line["published at once"] for line in tables["of_bench"]] == [
        "50 posts to 60",
        "1 post to 30,000",
        "1 post to 50,000",
        "1 post to 40,000",
    ]
    assert tables["of_bench"][-1]["measured"] == "120 ms", "3 us for each of 40,000"
    assert value(tables["arrival"], "posts that had not arrived when it ended") == 0


def test_known_deliveries_say_who_of_the_followers_is_active(measured):
    words = (*SOME, "--posts-per-second", "12", "--calibration", str(measured))
    tables = told(*words, "--deliveries-per-second", "300")
    assert value(tables["asked_for"], "deliveries: pushes into timelines") == pytest.approx(300)
    with pytest.raises(CommandError, match="fewer than --deliveries-per-second"):
        run(*words, "--deliveries-per-second", "1M")


def test_what_no_machine_helps_is_said(measured):
    said = run(*SOME, "--posts-per-second", "6k", "--reads-per-second", "0", "--calibration", str(measured))
    assert "DOES NOT HOLD" in said


def test_the_calibration_that_comes_along_can_be_planned_with():
    shipped = calibration.read(calibration.DEFAULT)
    assert "make bench" in shipped.measured
    assert "2026-" in shipped.measured
    assert 5 < shipped.entry_bytes < 30


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "how many posts per second"),
        (("--posts-per-second", "0", *SOME), "how many posts per second"),
        (("--posts-per-second", "-1", *SOME), "a number is expected"),
        (("--posts-per-second", "6x", *SOME), "a number is expected"),
        (("--posts-per-second", "nan", *SOME), "a number is expected"),
        (("--posts-per-second", "1"), "whose posts"),
        (("--posts-per-second", "1", *SOME, "--from-database"), "whose posts"),
        (("--posts-per-second", "1", "--accounts", "1M"), "belong together"),
        (("--posts-per-second", "1", "--from-database", "--active", "0.5"), "read from the database"),
        (("--posts-per-second", "1", *SOME, "--followers-max", "2M"), "nobody can have 2,000,000"),
        (("--posts-per-second", "1", *SOME, "--active", "2"), "from 0 to 1"),
        (("--posts-per-second", "1", *SOME, "--busy", "0"), "--busy above 0"),
        (("--posts-per-second", "1", *SOME, "--copies", "0"), "1 to 5 copies"),
        (("--posts-per-second", "1", "--graph", "/nowhere"), "can't be read"),
        (("--posts-per-second", "1", *SOME, "--calibration", "/nowhere"), "can't be read"),
        (("--check", "/nowhere"), "can't be read"),
    ],
)
def test_bad_input_is_one_sentence(words, why):
    with pytest.raises(CommandError, match=why) as refused:
        run(*words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not have the rows"),
        ("[]", "does not have the rows"),
        ('{"rows": [{"name": "a"}]}', "does not have the rows"),
        ('{"rows": []}', "does not say what a follower costs"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text, why):
    file = tmp_path / "bench.txt"
    file.write_text(text)
    with pytest.raises(CommandError, match=why):
        run("--posts-per-second", "1", *SOME, "--calibration", str(file))


# what was measured against what is predicted


def summary(**changed: Any) -> dict[str, Any]:
    """As `make load` writes it."""
    return {
        "seconds": 10.0,
        "users": 20,
        "accounts": 1_000,
        "posts": 200,
        "posts_per_second": 20.0,
        "reads_per_second": 100.0,
        "deliveries": 10_000,
        "audiences": {"0": 100, "100": 100},
        "delivery_ms": {"p50": 20.0, "p99": 100.0},
        "http_ms": {"p50": 5.0, "p99": 20.0},
        "settings": {"FANOUT_BATCH": 10_000, "WORKERS": "fanout:2 fanout_bulk:2 search,notifications,cache,upkeep:2"},
        **changed,
    }


def checked(file: Path, measured: Path, found: dict[str, Any], *words: str) -> dict[str, dict[str, Any]]:
    file.write_text(json.dumps(found))
    tables = told("--check", str(file), "--calibration", str(measured), *words)
    return {line["what"][-3:]: line for line in tables["check"]}


def test_a_load_that_was_measured_is_predicted_and_the_error_said(measured, tmp_path):
    file = tmp_path / "summary.json"
    first = checked(file, measured, summary())
    p50, p99 = (first[name]["predicted, ms"] for name in ("p50", "p99"))
    assert 12 <= p50 < p99, "no sooner than a post alone"
    assert first["p50"]["error"] == f"{(p50 - 20) / 20:+.0%}"
    again = checked(file, measured, summary(delivery_ms={"p50": p50, "p99": p99 / 2}))
    assert (again["p50"]["error"], again["p99"]["error"]) == ("+0%", "+100%")


def test_what_the_bench_has_timed_is_predicted_too(measured, tmp_path):
    file = tmp_path / "all.txt"
    rows = {"50 small posts, against trivial Celery tasks": 1_000, "fan-out to 20,000, commit to the last": 0.1}
    file.write_text(json.dumps({"rows": [{"name": name, "value": value} for name, value in rows.items()]}))
    [small, large] = told("--check", str(file), "--calibration", str(measured))["of_bench"]
    assert (small["published at once"], small["measured"]) == ("50 posts to 66", "50 ms")
    assert (large["published at once"], large["measured"]) == ("1 post to 20,000", "100 ms")
    assert small["error"][0] in "+-"


def test_what_else_a_machine_does_is_taken_into_account(measured, tmp_path):
    file, busy = tmp_path / "summary.json", summary(posts_per_second=150, reads_per_second=300)
    alone = checked(file, measured, busy)
    beside = checked(file, measured, busy, "--elsewhere", "1")
    on_many = checked(file, measured, busy, "--cores", "16")
    assert on_many["p99"]["predicted, ms"] < alone["p99"]["predicted, ms"] < beside["p99"]["predicted, ms"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": {}},
        {"audiences": {"many": 3}},
        {"delivery_ms": {"p50": None, "p99": 3}},
        {"posts": 0},
        {"delivery_ms": {"p50": 0, "p99": 0}},
    ],
)
def test_a_file_that_is_no_summary_of_a_load_is_refused(measured, tmp_path, wrong):
    with pytest.raises(CommandError, match=r"no summary|no post was delivered"):
        checked(tmp_path / "summary.json", measured, summary(**wrong))

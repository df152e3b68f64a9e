"""shape: what loads are made of, from files; and the picture of a run."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from loadtests import __main__ as command
from loadtests import chart, population, results, shape

GRAPH = "# follower followee\n" + "".join(f"{n} 1\n" for n in range(2, 12)) + "3 2\n"
# At the second 60 account 2 reposts and answers: one deed. In the later half 4 turns to 1 again, and for the first time to 3.
ACTIVITY = "# actor target unix_ts type\n2 1 60 RE\n2 1 60 RT\n4 1 61 MT\n4 1 130 RT\n4 3 130 RT\n5 1 150 RT\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "graph.gz").write_bytes(gzip.compress(GRAPH.encode()))
    (tmp_path / "activity").write_text(ACTIVITY)
    return [str(tmp_path / "graph.gz"), str(tmp_path / "activity")]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["loadtests", *words])
    return command.main()


def test_figures_are_derived_from_a_graph_and_an_activity(files, monkeypatch, capsys):
    assert run(monkeypatch, "shape", *files, "--record", "made up", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["record"], found["accounts"], found["follows"], found["deeds"]) == ("made up", 11, 11, 4)
    assert found["kinds"] == {"RT": 0.75, "RE": 0, "MT": 0.25}
    assert found["never_act"] == pytest.approx(8 / 11, abs=1e-4)
    assert found["most_followers"] == pytest.approx(10 / 11, abs=1e-4)
    assert (found["celebrity_deeds"], found["celebrity_follows"]) == (0, pytest.approx(10 / 11, abs=1e-4))
    assert found["audience"] == {"mean": 0.2, "p50": 0, "p90": 1, "p99": 1}
    assert (found["new_actors"], found["new_ties"]) == (0.5, 1), "account 5; 4 to 3, and 5 to 1"
    assert [one["least"] for one in found["classes"]] == [0, 1, 8]
    assert run(monkeypatch, "shape", *files) == 0
    assert "most_followers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("graph", "activity", "said"),
    [
        ("1 2\n1 x\n", ACTIVITY, "line 2: not 'follower followee'"),
        (GRAPH, "1 2 3 XX\n", "line 1: not 'actor target unix_ts type'"),
        (GRAPH, "1 2 RT\n", "line 1: not 'actor target unix_ts type'"),
        (GRAPH, "# nothing\n", "at least one follow and one deed"),
        ("", ACTIVITY, "at least one follow and one deed"),
    ],
    ids=["graph", "kind", "words", "no deed", "no follow"],
)
def test_files_of_another_kind_are_refused(graph, activity, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "graph").write_text(graph)
    (tmp_path / "activity").write_text(activity)
    assert run(monkeypatch, "shape", str(tmp_path / "graph"), str(tmp_path / "activity")) == 1
    assert said in capsys.readouterr().err


def test_what_is_stored_is_whole_and_a_population_is_like_it():
    stored = shape.stored()
    assert sum(one.share for one in stored.classes) == pytest.approx(1, abs=0.01)
    assert sum(one.deeds for one in stored.classes) == pytest.approx(1, abs=0.01)
    for tenths in (stored.actors, stored.followings, stored.minutes):
        assert (len(tenths), sum(tenths) / 10) == (10, pytest.approx(1, abs=0.01))
    people = population.drawn(stored, 5_000)
    assert people == population.drawn(stored, 5_000)
    without = sum(one.followers == 0 for one in people) / len(people)
    assert without == pytest.approx(stored.classes[0].share, abs=0.01)
    assert max(one.followers for one in people) == round(stored.most_followers * 5_000)
    edges = list(population.edges(people))
    assert all(follower != followee for follower, followee in edges)
    followed = Counter(followee for _, followee in edges)
    assert all(followed[place] <= one.followers for place, one in enumerate(people))
    assert len(edges) > 0.9 * sum(one.followers for one in people)


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 1_000])
def test_tenths_are_in_order_and_1_in_the_mean(size):
    chance = random.Random(size)
    found = shape.tenths([chance.expovariate(1) for _ in range(size)])
    assert (len(found), found) == (10, sorted(found))
    if size % 10 == 0:
        assert sum(found) / 10 == pytest.approx(1, abs=0.01)


def test_the_last_load_is_drawn_in_powers_of_ten(tmp_path, monkeypatch, capsys):
    columns = "Timestamp,User Count,Type,Name,Requests/s,50%,99%\n"
    lines = ["1,0,,Aggregated,0,N/A,N/A", "2,9,,Aggregated,7,1,1", "3,0,,Aggregated,0,N/A,N/A"]
    lines += [f"{10 + n},4,,Aggregated,{50 + n},5,{40 * n}\n{10 + n},4,GET,/x,1,1,1" for n in range(1, 40)]
    (tmp_path / "http_stats_history.csv").write_text(columns + "\n".join(lines) + "\n")
    (tmp_path / "deliveries.csv").write_text("at,audience,delivered,failed,milliseconds\n20.5,7,7,0,33\n21,7,7,0,5\n")
    facts = {"users": 4, "accounts": 900, "seconds": 39.0, "posts": 2, "deliveries": 14}
    (tmp_path / "summary.json").write_text(json.dumps(facts))
    assert [moment.users for moment in chart.history(tmp_path)] == [4] * 39
    assert run(monkeypatch, "chart", str(tmp_path)) == 0
    drawn = capsys.readouterr().out
    assert "4 users of 900 accounts for 39 s: 2 posts, 14 deliveries" in drawn
    assert ">10,000<" in drawn and ">100,000<" not in drawn
    assert "requests/s (89)" in drawn and "delivery p99 (33)" in drawn
    assert run(monkeypatch, "chart", str(tmp_path / "nowhere")) == 1
    assert "no load test's result" in capsys.readouterr().err
    with pytest.raises(CommandError, match="there is no load test's result in"):
        results.tell(tmp_path / "nowhere")


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("8s", 8), ("2m", 120), ("1h", 3600)])
def test_a_time_may_have_a_unit(text, seconds):
    assert command.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1", "3 s", "soon", "1d"])
def test_a_time_that_makes_no_sense_is_refused(text, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "run", f"--time={text}")
    assert "a time such as 30s, 5m or 1h" in capsys.readouterr().err

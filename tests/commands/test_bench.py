"""bench: a made audience, a yardstick, and nothing left behind."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds.management.commands import bench
from feeds.management.yardstick import Yardstick
from feeds.models import Post
from feeds.redis_client import client
from followers.models import Account, Follow

pytestmark = pytest.mark.django_db(transaction=True)


def run_bench(*words: str) -> list[str]:
    out = StringIO()
    call_command("bench", "fanout", *words, stdout=out)
    return out.getvalue().splitlines()


def left() -> tuple[int, int, int, int]:
    return (
        Follow.objects.count(),
        Post.objects.count(),
        Account.objects.active().exclude(username__in=bench.FOLLOWER).count(),
        len(client().keys("bench:*")) + len(client().keys("home:*")),
    )


@pytest.mark.e2e
def test_every_follower_is_delivered_to_by_a_chord_and_taken_back(workers):
    lines = run_bench("--followers", "250", "--json")
    figures = json.loads(lines[-1])
    assert (figures["followers"], figures["delivered"]) == (250, 250)
    assert "25 batches, closed by callback" in lines
    assert any(line.startswith("a post to 100 followers, published meanwhile: delivered to 100 in ") for line in lines)
    assert figures["ratio"] == pytest.approx(250 / figures["seconds"] / figures["yardstick_per_second"], abs=0.01)
    assert set(figures) == set("followers seconds deliveries_per_second yardstick_per_second ratio delivered".split())
    assert left()[:3] == (0, 0, 0)
    figures = json.loads(run_bench("--followers", "30", "--json")[-1])
    assert figures["delivered"] == 30
    assert Account.objects.count() == 250 + 100 + 2, "the accounts of the first run serve the second"


def test_without_workers_it_gives_up_with_a_sentence_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(bench, "STALLED_AFTER", 0.5)
    with pytest.raises(CommandError, match="are relay and workers running"):
        run_bench("--followers", "10")
    assert left() == (0, 0, 0, 0)
    author = Account.objects.get(username=bench.AUTHOR)
    assert (author.followers_count, author.following_count) == (0, 0)
    assert not Account.objects.exclude(following_count=0).exists()


def test_what_a_killed_run_left_is_cleared_by_the_next(monkeypatch):
    monkeypatch.setattr(bench, "STALLED_AFTER", 0.5)
    release = bench.release
    monkeypatch.setattr(bench, "release", lambda *authors: None)
    with pytest.raises(CommandError):
        run_bench("--followers", "10")
    assert left()[:3] == (110, 1, 110)
    monkeypatch.setattr(bench, "release", release)
    with pytest.raises(CommandError):
        run_bench("--followers", "20")
    assert left() == (0, 0, 0, 0)


def test_the_yardstick_adds_to_keys_that_exist_and_removes_them():
    with Yardstick(1234) as yardstick:
        assert yardstick.measure() > 1000
        keys = list(client().scan_iter("bench:*"))
        assert len(keys) == 1234
        assert {client().llen(key) for key in keys[:50]} == {2}
    assert not client().keys("bench:*")


@pytest.mark.parametrize("followers", ["0", "-5", "many", "1.5"])
def test_a_number_of_followers_that_makes_no_sense_is_refused(followers):
    with pytest.raises(CommandError, match="a whole number from 1 on"):
        run_bench(f"--followers={followers}")

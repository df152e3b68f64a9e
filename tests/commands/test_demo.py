"""demo: the whole way over HTTP, on a graph small enough for a test."""

from collections import Counter
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds.management.commands import demo
from feedsvc.run import Instance, healthy
from followers.models import Account
from tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def small_world(monkeypatch):
    for name, value in {"ACCOUNTS": 60, "LARGEST": 50, "MIDDLE": 5, "SMALL": 10, "READER": 60}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "TEXTS", ((10, "small"), (5, "middle"), (1, "everybody, & <all>")))


@pytest.fixture
def web(workers: Instance, settings) -> Iterator[None]:
    settings.BASE_URL = f"http://127.0.0.1:{settings.PORT}"
    workers.start("web")
    eventually(lambda: healthy("127.0.0.1", str(settings.PORT)), "the web server answers")
    yield
    workers.stop("web")


@pytest.mark.e2e
def test_posts_over_http_reach_a_follower_and_each_run_has_its_own_accounts(small_world, web):
    for _ in range(2):
        out = StringIO()
        call_command("demo", stdout=out)
    assert "done, closed by callback" in out.getvalue()
    assert "everybody, & <all>" in out.getvalue()
    assert out.getvalue().splitlines()[-1].startswith("All of it is right: 50 of 50 followers of u100001")
    assert Account.objects.filter(username__in=["u1", "u100001"]).count() == 2


def test_it_ends_with_a_sentence_where_nobody_answers(small_world, settings):
    settings.BASE_URL = "http://127.0.0.1:1"
    with pytest.raises(CommandError, match=r"POST http://127.0.0.1:1/api/v1/statuses failed: .*refused"):
        call_command("demo", stdout=StringIO())


def test_the_graph_is_always_the_same_and_its_largest_account_has_more_than_12_000_followers():
    edges = list(demo.edges())
    assert edges == list(demo.edges())
    assert len(set(edges)) == len(edges) == 55_328
    assert all(follower != followee for follower, followee in edges)
    largest = Counter(followee for _, followee in edges).most_common(3)
    assert largest[0][0] == demo.BIG
    assert [followers for _, followers in largest] == sorted((followers for _, followers in largest), reverse=True)
    assert largest[0][1] >= 12_000
    assert {(demo.READER, followee) for followee in (demo.BIG, demo.MIDDLE, demo.SMALL)} <= set(edges)

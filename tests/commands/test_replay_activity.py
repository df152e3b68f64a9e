"""replay_activity: recorded events become posts, and the command waits until they are delivered."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds.management.commands import replay_activity
from feeds.models import Post
from followers.models import Account
from tests.factories import AccountFactory, follow

pytestmark = pytest.mark.django_db(transaction=True)

EVENTS = """# actor target unix_ts type
1 2 1455385362 MT
2 1 1455385362 RE
1 3 1455385362 RT
1 3 1455385363 RT
9 9 1455385363 MT
2 1 1455385364 RT
"""


@pytest.fixture
def activity(tmp_path):
    def write(text: str = EVENTS):
        path = tmp_path / "activity.txt"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def people():
    people = [AccountFactory(username=f"u{n}") for n in (1, 2, 3)]
    follow(people[1], people[0])
    follow(people[2], people[0], people[1])
    return people


def replay(path, *words: str) -> list[str]:
    out = StringIO()
    call_command("replay_activity", str(path), *words, stdout=out)
    return out.getvalue().splitlines()


@pytest.mark.e2e
def test_what_an_actor_did_within_a_second_is_one_post_and_reaches_the_followers(people, activity, workers):
    figures = json.loads(replay(activity(), "--json")[-1])
    assert (figures["events"], figures["posts"], figures["deliveries"]) == (6, 5, 2 + 1 + 2 + 0 + 1)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert set(figures) == set(
        "events posts deliveries seconds posts_per_second deliveries_per_second p50_ms p99_ms".split()
    )
    texts = Post.objects.order_by("id").values_list("author__username", "text")
    assert list(texts) == [
        ("u1", "mentioned @u2, reposted u3"),
        ("u2", "answered u1"),
        ("u1", "reposted u3"),
        ("u9", "mentioned @u9"),
        ("u2", "reposted u1"),
    ]


@pytest.mark.e2e
def test_a_limit_counts_events_and_a_rate_posts(people, activity, workers):
    figures = json.loads(replay(activity(), "--limit", "4", "--rate", "10", "--json")[-1])
    assert (figures["events"], figures["posts"]) == (4, 3)
    assert figures["seconds"] >= 0.2


def test_without_workers_it_gives_up_with_a_sentence(people, activity, monkeypatch):
    monkeypatch.setattr(replay_activity, "STALLED_AFTER", 0.5)
    with pytest.raises(CommandError, match="are relay and workers running"):
        replay(activity())


def test_an_unknown_actor_is_named_by_its_line_and_nothing_is_published(people, activity):
    with pytest.raises(CommandError, match=r"activity.txt, line 5: there is no account u8: import the graph first"):
        replay(activity("# header\n1 2 5 RT\n2 1 5 RT\n7 7 6 MT\n8 1 6 RT\n"))
    assert not Post.objects.exists()
    assert Account.objects.count() == 3


@pytest.mark.parametrize("line", ["1 2 5", "1 2 5 RT x", "1 x 5 RT", "1 2 5 LIKE", "1 2 -5 RT"])
def test_a_bad_line_is_named_and_nothing_is_published(people, activity, line):
    with pytest.raises(CommandError, match=r"activity.txt, line 2: not 'actor target unix_ts type'"):
        replay(activity(f"1 2 5 RT\n{line}\n"))
    assert not Post.objects.exists()


@pytest.mark.parametrize("words", [("--limit", "0"), ("--rate", "0"), ("--rate", "inf"), ("--rate", "fast")])
def test_limits_and_rates_that_make_no_sense_are_refused(activity, words):
    with pytest.raises(CommandError, match="is expected"):
        replay(activity(), *words)


def test_a_long_second_is_cut_to_the_longest_text_of_a_post():
    deed = replay_activity.Deed(1, 1, [(b"RT", 10**15 + n) for n in range(100)])
    assert len(deed.text) <= 500
    assert deed.text.endswith(", …")

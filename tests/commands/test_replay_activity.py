"""replay_activity: recorded events become posts, and the command waits until they are delivered."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds.management.commands import replay_activity
from feeds.models import Delivery, Notification, Post
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow

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
def test_reposts_mentions_and_replies_are_what_they_are_called_and_reach_followers_and_the_told(
    people, activity, workers
):
    figures = json.loads(replay(activity(), "--json")[-1])
    counts = {"events": 6, "posts": 6, "mentions": 2, "replies": 1, "reblogs": 2, "seeded": 1}
    assert figures | counts == figures
    assert figures["deliveries"] == 2 + 0 + 2 + 1 + 0 + 1
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert set(figures) == set(counts) | set(
        "deliveries seconds posts_per_second deliveries_per_second p50_ms p99_ms".split()
    )
    one, two, three = people
    told = Notification.objects.values_list("account", "from_account", "type")
    assert sorted(told) == sorted(
        [
            (two.pk, one.pk, "mention"),
            (three.pk, one.pk, "reblog"),
            (one.pk, two.pk, "mention"),
            (one.pk, two.pk, "reblog"),
        ]
    )


def publish(path) -> replay_activity.Replay:
    """The replay without the waiting."""
    _, accounts = replay_activity.find_accounts(path, None)
    done = replay_activity.Replay(accounts, None)
    for deed in replay_activity.read(path, None):
        done.repeat(deed)
    return done


def written() -> list[tuple[str, str, str | None, str | None]]:
    """Author, text, whose post is reblogged, whose is answered."""
    fields = ("author__username", "text", "reblog_of__author__username", "in_reply_to__author__username")
    return list(Post.objects.order_by("id").values_list(*fields))


def test_each_second_of_an_actor_becomes_a_post_for_its_mentions_and_one_for_each_repost_and_reply(people, activity):
    publish(activity())
    assert written() == [
        ("u1", "mentioned @u2", None, None),
        ("u3", "wrote something before", None, None),
        ("u1", "", "u3", None),
        ("u2", "answered u1", None, "u1"),
        ("u9", "mentioned @u9", None, None),
        ("u2", "", "u1", None),
    ]


def test_all_mentions_of_a_second_are_one_post_and_the_newest_post_is_never_a_reblog(people, activity):
    publish(activity("1 2 5 MT\n1 3 5 MT\n1 2 5 MT\n2 1 6 RT\n3 2 7 RT\n3 2 7 RE\n"))
    assert written() == [
        ("u1", "mentioned @u2, @u3", None, None),
        ("u2", "", "u1", None),
        ("u2", "wrote something before", None, None),
        ("u3", "", "u2", None),
        ("u3", "answered u2", None, "u2"),
    ]


def test_a_repost_refers_to_the_targets_newest_post(people, activity):
    done = publish(activity("1 2 5 MT\n1 3 6 MT\n2 1 7 RT\n2 1 8 RT\n"))
    [reblog] = Post.objects.exclude(reblog_of=None)
    assert reblog.reblog_of_id == done.newest[1] == Post.objects.filter(author=people[0]).latest("id").pk


@pytest.mark.e2e
def test_a_limit_counts_events_and_a_rate_posts(people, activity, workers):
    figures = json.loads(replay(activity(), "--limit", "4", "--rate", "10", "--json")[-1])
    assert (figures["events"], figures["posts"]) == (4, 4)
    assert figures["seconds"] >= 0.3


def test_without_workers_it_gives_up_with_a_sentence(people, activity, monkeypatch):
    monkeypatch.setattr(replay_activity, "STALLED_AFTER", 0.5)
    with pytest.raises(CommandError, match="are relay and workers running"):
        replay(activity())


def test_an_unknown_target_is_named_by_its_line_and_nothing_is_published(people, activity):
    with pytest.raises(CommandError, match=r"activity.txt, line 2: there is no account u8: import the graph first"):
        replay(activity("1 2 5 RT\n1 8 6 MT\n8 8 7 MT\n"))
    assert not Post.objects.exists()


def test_it_waits_for_notifications_too(people, activity, drain):
    done = publish(activity())
    assert replay_activity.still_open(done) == (6, 6)
    Delivery.objects.update(state="closed")
    assert replay_activity.still_open(done) == (0, 6)
    PostFactory(author=AccountFactory())
    drain()
    assert replay_activity.still_open(done) == (0, 0)


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
    deed = replay_activity.Deed(1, 1, [(b"MT", 10**15 + n) for n in range(100)])
    assert len(deed.text) <= 500
    assert deed.text.endswith(", …")

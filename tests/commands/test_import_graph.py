"""import_graph: a follow graph from a file, all of it or nothing."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import StringIO
from threading import Event

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from feeds import actions, fanout, timelines
from feeds.database import rows
from feeds.models import Outbox
from followers.models import Account, Follow, FollowRequest
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, follow

pytestmark = pytest.mark.django_db(transaction=True)

GRAPH = "# follower followee\n1 2\n1 3\n2 3\n\n10 1\n1 2\n"


def import_graph(path, *words: str) -> str:
    out = StringIO()
    call_command("import_graph", str(path), *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def graph(tmp_path):
    def write(text):
        path = tmp_path / "graph.txt"
        path.write_text(text)
        return path

    return write


def account(number: int) -> Account:
    return Account.objects.get(username=f"u{number}")


def everything():
    accounts = Account.objects.order_by("id").values()
    return list(accounts), list(Follow.objects.order_by("id").values()), list(Outbox.objects.values())


def test_accounts_follows_and_counters_are_made(graph):
    said = import_graph(graph(GRAPH))
    assert said.startswith("4 edges: 4 new accounts, 4 new follows")
    edges = {(follow.follower.username, follow.followee.username) for follow in Follow.objects.all()}
    assert edges == {("u1", "u2"), ("u1", "u3"), ("u2", "u3"), ("u10", "u1")}
    counts = {a.username: (a.followers_count, a.following_count) for a in Account.objects.all()}
    assert counts == {"u1": (1, 2), "u2": (1, 1), "u3": (2, 0), "u10": (0, 1)}
    assert not account(1).has_usable_password()


def test_a_follow_that_is_imported_is_asked_for_no_more(graph):
    one, two = AccountFactory(username="u1"), AccountFactory(username="u2")
    actions.edit_account(account=two, locked=True)
    actions.follow(follower=one, followee_id=two.pk)
    import_graph(graph("1 2\n"))
    assert Follow.objects.get().followee_id == two.pk and not FollowRequest.objects.exists()


def test_new_accounts_are_active_with_an_empty_complete_timeline(graph):
    import_graph(graph(GRAPH))
    assert Account.objects.active().count() == 4
    assert all(timelines.ids(reader.pk) == timelines.Stored(0, []) for reader in Account.objects.all())


def test_a_share_of_the_accounts_is_inactive_always_the_same_ones(graph):
    path = graph("".join(f"{n} 1000\n" for n in range(200)))
    import_graph(path, "--inactive", "0.5")
    away = {a.username for a in Account.objects.filter(last_active_at=None)}
    assert 70 < len(away) < 130
    assert all(timelines.ids(a.pk) is None for a in Account.objects.filter(username__in=away))
    Account.objects.all().delete()
    import_graph(path, "--inactive", "0.5")
    assert {a.username for a in Account.objects.filter(last_active_at=None)} == away


def test_a_second_run_changes_nothing(graph):
    path = graph(GRAPH)
    import_graph(path)
    before = everything()
    assert import_graph(path).startswith("4 edges: 0 new accounts, 0 new follows")
    assert everything() == before


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "graph"
    path.write_bytes(gzip.compress(GRAPH.encode()))
    import_graph(path)
    assert Follow.objects.count() == 4


@pytest.mark.parametrize(
    "line",
    ["7", "7 8 9", "7 x", "-7 8", "7 1.5", "7 9223372036854775808", "٧ 8", "7 7", "\x00 8", "7" * 2000],  # noqa: RUF001
)
def test_a_bad_line_is_named_and_nothing_of_its_file_is_imported(graph, line):
    with pytest.raises(CommandError, match=r"graph.txt, line 4: "):
        import_graph(graph(f"# header\n1 2\n\n{line}\n3 4\n"))
    assert everything() == ([], [], [])


def test_a_missing_and_a_broken_file_are_refused_with_a_sentence(tmp_path):
    with pytest.raises(CommandError, match="can't be read: No such file"):
        import_graph(tmp_path / "none.txt")
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"1 2\n" * 1000)[:-10])
    with pytest.raises(CommandError, match="can't be read"):
        import_graph(broken)
    assert everything() == ([], [], [])


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "much"])
def test_a_share_is_a_number_from_0_to_1(graph, share):
    with pytest.raises(CommandError, match="a number from 0 to 1"):
        import_graph(graph(GRAPH), f"--inactive={share}")


def test_accounts_and_follows_that_exist_stay_as_they_are(graph):
    one, two = AccountFactory(username="u1", away=True), AccountFactory(username="u2")
    follow(one, two)
    import_graph(graph(GRAPH))
    assert account(1).pk == one.pk
    assert account(1).last_active_at is None
    assert (account(1).followers_count, account(1).following_count) == (1, 2)
    assert (account(2).followers_count, account(2).following_count) == (1, 1)


def test_an_account_that_somebody_makes_meanwhile_is_taken_as_it_is(graph):
    made = Event()

    def register() -> None:
        with closing(connection), transaction.atomic():
            AccountFactory(username="u2")
            made.set()
            eventually(lambda: rows("SELECT 1 FROM pg_locks WHERE NOT granted"), "the import waits for the name")

    with ThreadPoolExecutor() as pool:
        other = pool.submit(register)
        assert made.wait(10)
        assert import_graph(graph(GRAPH)).startswith("4 edges: 3 new accounts, 4 new follows")
        other.result()
    assert (account(2).followers_count, account(2).following_count) == (1, 1)
    assert set(account(2).follows_in.values_list("follower__username", flat=True)) == {"u1"}


def test_a_post_published_after_the_import_reaches_its_followers(graph):
    import_graph(graph(GRAPH))
    post = PostFactory(author=account(3))
    fanout.plan(post.pk, "push")
    fanout.deliver(post.pk, "push", 0)
    assert timelines.ids(account(1).pk).ids == timelines.ids(account(2).pk).ids == [post.pk]


def test_readers_of_a_followee_who_has_posted_get_a_rebuild(graph, drain):
    old = AccountFactory(username="u2")
    post = PostFactory(author=AccountFactory(username="u3"))
    drain()
    said = import_graph(graph(GRAPH))
    assert "2 timelines to be rebuilt" in said
    assert timelines.ids(account(1).pk) is None, "until then PostgreSQL serves it"
    drain()
    assert timelines.ids(account(1).pk).ids == timelines.ids(old.pk).ids == [post.pk]


def test_a_rebuild_in_work_is_done_again_after_the_import(graph):
    reader = AccountFactory(username="u2")
    PostFactory(author=AccountFactory(username="u3"))
    work = Outbox.objects.create(task="rebuild_timeline", subject_id=reader.pk)
    Outbox.objects.filter(pk=work.pk).update(sent_at="2026-01-01T00:00Z", lease_no=1, lease_until="2100-01-01T00:00Z")
    import_graph(graph(GRAPH))
    work.refresh_from_db()
    assert (work.sent_at, work.lease_until, work.lease_no) == (None, None, 2), "what it read may be of before"

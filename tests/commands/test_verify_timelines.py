"""verify_timelines: its exit code, and its last line."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds import rebuild, timelines
from feeds.models import Delivery
from feeds.redis_client import client
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db


def verify_timelines(*words: str) -> tuple[int, list[str]]:
    out = StringIO()
    try:
        call_command("verify_timelines", *words, stdout=out)
    except SystemExit as end:
        return int(end.code), out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


@pytest.fixture
def reader(drain):
    author, [reader] = star(1)
    PostFactory(author=author)
    drain()
    return reader


def test_right_timelines_end_with_0_and_their_figures(reader):
    code, lines = verify_timelines("--json")
    figures = {"timelines": 2, "entries": 1, "missing": 0, "ghosts": 0, "misordered": 0, "repaired": 0}
    assert (code, json.loads(lines[-1])) == (0, figures)


def test_drift_ends_with_1_and_is_named(reader):
    key = timelines.key(reader.pk)
    [entry] = client().lrange(key, 0, -2)
    client().lrem(key, 0, entry)
    code, lines = verify_timelines()
    assert code == 1
    assert f"  missing: post {entry} of reader {reader.pk}" in lines
    assert lines[-1].startswith("DRIFT")


def test_no_timeline_at_all_ends_with_1_while_accounts_are_active(reader):
    assert verify_timelines("--sample", "1")[0] == 0
    client().flushdb()
    code, lines = verify_timelines("--json")
    assert code == 1
    assert json.loads(lines[-1])["timelines"] == 0


@pytest.mark.parametrize("sample", ["0", "-1", "many"])
def test_a_sample_is_a_number_from_1_on(sample):
    with pytest.raises(CommandError, match="a whole number from 1 on"):
        verify_timelines(f"--sample={sample}")


def lose_an_entry(reader, entries):
    client().lrem(timelines.key(reader.pk), 0, entries[0])


def add_a_ghost(reader, entries):
    stranger = PostFactory(author=AccountFactory())
    Delivery.objects.update(state="closed")
    client().lpush(timelines.key(reader.pk), stranger.pk)


def spoil_the_order(reader, entries):
    key = timelines.key(reader.pk)
    client().linsert(key, "AFTER", entries[-1], entries[0])


def lower_the_mark(reader, entries):
    key = timelines.key(reader.pk)
    client().lrem(key, 0, entries[-1])  # below a mark at its place it would be right
    set_mark(key, "0")


def raise_the_mark(reader, entries):
    set_mark(timelines.key(reader.pk), entries[0])


def set_mark(key, cover):
    client().lset(key, -1, f"c:{cover}:{client().lindex(key, -1)[-12:]}")


def drop_the_key(reader, entries):
    client().delete(timelines.key(reader.pk))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lose_an_entry, "1 missing"),
        (add_a_ghost, "1 ghosts"),
        (spoil_the_order, "1 misordered"),
        (lower_the_mark, "1 missing"),
        (raise_the_mark, "2 misordered"),
        (drop_the_key, "absent"),
    ],
)
@pytest.mark.parametrize("scope", [(), ("--reader", "bob")])
def test_each_damage_is_mended_and_right_at_the_second_look(damage, what, scope, drain, settings):
    settings.TIDY_EVERY = 1  # nothing has just been pushed
    author, reader = AccountFactory(), AccountFactory(username="bob")
    follow(reader, author)
    for _ in range(2):
        PostFactory(author=author)
    drain()
    before = timelines.dump([reader.pk])
    damage(reader, client().lrange(timelines.key(reader.pk), 0, -2))
    drain()
    assert timelines.dump([reader.pk]) != before
    code, lines = verify_timelines(*scope)
    assert code == (0 if what == "absent" and not scope else 1), "PostgreSQL serves whose timeline is absent"
    code, lines = verify_timelines("--repair", "--json", *scope)
    assert (code, json.loads(lines[-1])["repaired"]) == (0, 1)
    assert f"  repaired: timeline of reader {reader.pk} ({what})" in lines
    assert timelines.dump([reader.pk]) == before
    code, lines = verify_timelines("--repair", "--json", *scope)
    assert (code, json.loads(lines[-1])["repaired"]) == (0, 0)


def test_a_repair_that_did_not_help_ends_with_1(reader, monkeypatch):
    lose_an_entry(reader, client().lrange(timelines.key(reader.pk), 0, -2))
    monkeypatch.setattr(
        rebuild, "NEWEST", rebuild.NEWEST.replace("p.id FROM", "p.id FROM (SELECT 1 WHERE false) none,", 1)
    )
    code, lines = verify_timelines("--repair")
    assert code == 1
    assert lines[-1].startswith("DRIFT")


def test_an_empty_redis_is_mended_as_a_whole(reader):
    client().flushdb()
    code, lines = verify_timelines("--repair", "--json")
    assert (code, json.loads(lines[-1])["repaired"]) == (0, 2)


def test_one_post_is_looked_for_in_its_audience_and_mended(reader):
    [entry] = client().lrange(timelines.key(reader.pk), 0, -2)
    assert verify_timelines("--post", entry)[0] == 0
    lose_an_entry(reader, [entry])
    assert verify_timelines("--post", entry)[0] == 1
    assert verify_timelines("--post", entry, "--repair")[0] == 0
    assert timelines.ids(reader.pk).ids == [int(entry)]


def test_a_reader_and_a_post_that_nobody_knows_are_named():
    with pytest.raises(CommandError, match="there is no account 'nobody'"):
        verify_timelines("--reader", "nobody")
    with pytest.raises(CommandError, match="there is no post 32"):
        verify_timelines("--post", "32")
    with pytest.raises(CommandError, match="not allowed with"):
        verify_timelines("--post", "32", "--sample", "1")

"""verify_timelines: its exit code, and its last line."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds import timelines
from feeds.redis_client import client
from tests.factories import PostFactory, star

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
    [entry] = client().zrange(key, 0, -2)
    client().zrem(key, entry)
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

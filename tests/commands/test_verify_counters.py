"""verify_counters: its tables, and its exit code."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from feeds.models import Post
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow

pytestmark = pytest.mark.django_db


def verify_counters(*words: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("verify_counters", *words, stdout=out)
    except SystemExit as end:
        return int(end.code), out.getvalue()
    return 0, out.getvalue()


def cells(said: str, first: str) -> list[str]:
    [line] = [line for line in said.splitlines() if line.startswith(f"│ {first} ")]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.fixture
def post() -> Post:
    alice, bob = AccountFactory(username="alice"), AccountFactory(username="bob")
    follow(bob, alice)
    return PostFactory(author=alice)


def test_right_counters_end_with_0(post):
    code, said = verify_counters()
    assert code == 0 and "right, in" in said
    assert cells(said, "followers_count") == ["2", "0"] and cells(said, "replies_count") == ["1", "0"]


def test_drift_ends_with_1_is_shown_and_changes_nothing(post):
    Account.objects.filter(username="alice").update(followers_count=1_005)
    Post.objects.update(favourites_count=-1)
    for _ in range(2):
        code, said = verify_counters()
        assert code == 1 and "DRIFT, in" in said
        assert cells(said, "account alice") == ["followers_count", "1,005", "1"]
        assert cells(said, f"post {post.pk}") == ["favourites_count", "-1", "0"]
        assert cells(said, "followers_count") == ["2", "1"] and cells(said, "following_count") == ["2", "0"]


def test_a_repair_ends_with_0_says_what_was_wrong_and_has_nothing_to_do_afterwards(post):
    Account.objects.update(followers_count=9, following_count=9)
    code, said = verify_counters("--repair")
    assert code == 0 and "mended, in" in said
    assert cells(said, "followers_count") == ["2", "2"] and cells(said, "following_count") == ["2", "2"]
    code, said = verify_counters("--repair")
    assert code == 0 and "right, in" in said
    assert dict(Account.objects.values_list("username", "followers_count")) == {"alice": 1, "bob": 0}


def test_of_many_the_first_are_named(post, monkeypatch):
    monkeypatch.setattr("feeds.management.commands.verify_counters.SHOWN", 1)
    Account.objects.update(statuses_count=9)
    code, said = verify_counters()
    assert code == 1 and "account alice" in said and "account bob" not in said and "and 1 more" in said

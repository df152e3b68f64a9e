"""delete_account, set_home_mode, rebuild_search_index: what a person does to a running service now and then."""

import builtins
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from feeds import search
from feeds.models import Post, SearchEntry
from followers.models import Account
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db


def run(command: str, *words: str) -> str:
    out = StringIO()
    call_command(command, *words, stdout=out)
    return out.getvalue().strip()


def test_an_account_is_deleted_once_however_often_it_is_asked_for(drain):
    post = PostFactory(author=AccountFactory(username="alice"))
    assert run("delete_account", "Alice", "--yes").startswith("account alice is deleted;")
    deleted_at = Account.objects.get(username="alice").deleted_at
    drain()
    assert not Post.objects.live().filter(pk=post.pk).exists()
    assert run("delete_account", "alice", "--yes").startswith("account alice is deleted already")
    assert Account.objects.get(username="alice").deleted_at == deleted_at


@pytest.mark.parametrize(
    ("typed", "deleted"), [("yes", True), (" YES ", True), ("y", False), ("", False), (None, False)]
)
def test_without_yes_it_asks(monkeypatch, typed, deleted):
    alice = AccountFactory(username="alice")

    def answer(question: str) -> str:
        assert question.startswith("Delete alice, 0 posts, 0 followers?")
        if typed is None:
            raise EOFError
        return typed

    monkeypatch.setattr(builtins, "input", answer)
    if deleted:
        run("delete_account", "alice")
    else:
        with pytest.raises(CommandError, match="nothing was deleted"):
            run("delete_account", "alice")
    alice.refresh_from_db()
    assert (alice.deleted_at is not None) is deleted


def test_the_next_post_is_pushed_or_pulled_as_was_said_until_auto():
    alice = AccountFactory(username="alice")
    for mode, home_mode in (("pull", "pull"), ("push", "push"), ("pull", "pull"), ("auto", "push")):
        assert run("set_home_mode", "alice", mode) == f"the next post of alice will reach home timelines by {home_mode}"
        alice.refresh_from_db()
        if mode != "auto":
            assert PostFactory(author=alice).home_mode == home_mode
    assert alice.home_mode_override is None


def test_names_and_modes_that_nobody_knows_are_refused():
    with pytest.raises(CommandError, match="there is no account 'nobody'"):
        run("delete_account", "nobody", "--yes")
    with pytest.raises(CommandError, match="there is no account 'nobody'"):
        run("set_home_mode", "nobody", "push")
    AccountFactory(username="alice")
    with pytest.raises(CommandError, match="invalid choice: 'both'"):
        run("set_home_mode", "alice", "both")


def test_the_search_index_is_made_anew(monkeypatch, capsys):
    monkeypatch.setattr(search, "SLICE", 2)
    posts = [PostFactory(text=f"tea {n}") for n in range(3)]
    SearchEntry.objects.filter(post=posts[0].pk).delete()
    assert search.posts(None, "tea", limit=10) == []
    assert run("rebuild_search_index") == "3 posts indexed"
    assert search.posts(None, "tea", limit=10) == [post.pk for post in posts[::-1]]
    run("rebuild_search_index")
    assert SearchEntry.objects.count() == 3

"""Stored counters: what is wrong is found and mended, and nobody's change of that moment is lost or counted twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.db import connection, transaction
from django.db.models import F

from feeds import actions, counters
from feeds.models import Post
from followers.models import Account
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, follow


@dataclass
class World:
    """`author` wrote `post` and `older`; `reader` follows the author and favoured `post`; `other` has done nothing yet."""

    author: Account
    reader: Account
    other: Account
    post: Post
    older: Post


def make() -> World:
    author, reader, other = AccountFactory.create_batch(3)
    older, post = PostFactory(author=author), PostFactory(author=author)
    follow(reader, author)
    actions.favourite(account=reader, post=post)
    PostFactory(author=reader, in_reply_to=post)
    actions.reblog(author=reader, original=post)
    return World(author, reader, other, post, older)


def spoil(world: World) -> None:
    """Each counter of the author and of the post, up or down."""
    Account.objects.filter(pk=world.author.pk).update(
        followers_count=F("followers_count") + 5, following_count=7, statuses_count=F("statuses_count") - 1
    )
    Post.objects.filter(pk=world.post.pk).update(replies_count=9, reblogs_count=0, favourites_count=0)


def drift() -> list[counters.Drift]:
    return [one for kind in counters.KINDS for one in counters.find(kind)]


def facts(world: World) -> dict[str, int]:
    return {
        **Account.objects.values("followers_count", "following_count", "statuses_count").get(pk=world.author.pk),
        **Post.objects.values("replies_count", "reblogs_count", "favourites_count").get(pk=world.post.pk),
    }


@pytest.mark.django_db
@pytest.mark.parametrize("slice_", [1, 2, 500])
def test_what_is_wrong_is_found_whatever_the_slices_and_mended_once(monkeypatch, slice_):
    monkeypatch.setattr(counters, "SLICE", slice_)
    world, done = make(), []
    assert drift() == []
    right = facts(world)
    version = Account.objects.get(pk=world.author.pk).version
    spoil(world)
    found = drift()
    assert {one.counter: (one.stored, one.counted) for one in found} == {
        "followers_count": (6, 1),
        "following_count": (7, 0),
        "statuses_count": (1, 2),
        "replies_count": (9, 1),
        "reblogs_count": (0, 1),
        "favourites_count": (0, 1),
    }
    assert {one.called for one in found} == {f"account {world.author.username}", f"post {world.post.pk}"}
    assert counters.mend("account", world.author.pk) == found[:3]
    assert counters.mend("account", world.author.pk) == []
    assert list(counters.find("post", done.append)) == counters.mend("post", world.post.pk)
    assert done[-1] == Post.objects.count()
    assert (drift(), facts(world)) == ([], right)
    assert Account.objects.get(pk=world.author.pk).version == version + 1, "what is cached is that of another version"


@pytest.mark.django_db
def test_what_people_do_leaves_no_drift(drain):
    world = make()
    actions.follow(follower=world.author, followee_id=world.reader.pk)
    actions.block(blocker=world.author, blocked_id=world.reader.pk)
    actions.unfavourite(account=world.reader, post=world.post)
    actions.unreblog(author=world.reader, original=world.post)
    actions.delete_post(author=world.author, post_id=world.older.pk)
    follow(world.other, world.author)
    assert drift() == []
    actions.delete_account(account=world.author)
    actions.delete_account(account=world.reader)
    drain()
    assert drift() == []
    assert Account.objects.get(pk=world.author.pk).statuses_count == 0


DEEDS: dict[str, tuple[Callable[[World], object], dict[str, int]]] = {
    "a follow": (lambda w: actions.follow(follower=w.other, followee_id=w.author.pk), {"followers_count": 1}),
    "an unfollow": (lambda w: actions.unfollow(follower=w.reader, followee_id=w.author.pk), {"followers_count": -1}),
    "following": (lambda w: actions.follow(follower=w.author, followee_id=w.other.pk), {"following_count": 1}),
    "a post": (lambda w: PostFactory(author=w.author), {"statuses_count": 1}),
    "a deletion": (lambda w: actions.delete_post(author=w.author, post_id=w.older.pk), {"statuses_count": -1}),
    "a reply": (lambda w: PostFactory(author=w.other, in_reply_to=w.post), {"replies_count": 1}),
    "a reblog": (lambda w: actions.reblog(author=w.other, original=w.post), {"reblogs_count": 1}),
    "a favourite": (lambda w: actions.favourite(account=w.other, post=w.post), {"favourites_count": 1}),
    "an unfavourite": (lambda w: actions.unfavourite(account=w.reader, post=w.post), {"favourites_count": -1}),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_change_that_is_not_committed_when_a_repair_begins_is_counted_once(deed):
    """The repair waits for its lock, and counts afterwards."""
    world = make()
    do, change = DEEDS[deed]
    right = facts(world)
    spoil(world)
    wrong, in_the_middle = drift(), threading.Event()

    def work() -> None:
        with transaction.atomic():
            do(world)
            in_the_middle.set()
            eventually(somebody_waits, "the repair waits for the row")

    other = beside(work)
    assert in_the_middle.wait(30)
    mend(wrong)
    other.join()
    assert (drift(), facts(world)) == ([], added(right, change))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_change_that_comes_between_a_repairs_count_and_its_writing_is_counted_once(deed, monkeypatch):
    """It waits for the row, and adds to what the repair wrote."""
    world = make()
    do, change = DEEDS[deed]
    right, write, others = facts(world), counters._write, []
    spoil(world)

    def write_late(*args) -> None:
        if not others:
            others.append(beside(lambda: do(world)))
            eventually(somebody_waits, "the change waits for the row")
        write(*args)

    monkeypatch.setattr(counters, "_write", write_late)
    wrong = [one for one in drift() if one.counter in change]
    mend(wrong)
    others[0].join()
    monkeypatch.setattr(counters, "_write", write)
    mend(drift())  # the row that the deed has nothing to do with
    assert (drift(), facts(world)) == ([], added(right, change))


def mend(wrong: list[counters.Drift]) -> None:
    for kind, row_id in dict.fromkeys((one.kind, one.row_id) for one in wrong):
        counters.mend(kind, row_id)


def added(right: dict[str, int], change: dict[str, int]) -> dict[str, int]:
    return {name: count + change.get(name, 0) for name, count in right.items()}


def beside(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]

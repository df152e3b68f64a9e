"""toot, the command, against the running service."""

from __future__ import annotations

import json
from collections.abc import Callable

from mastodon import Mastodon

from tests.conftest import eventually

Join = Callable[[str], Mastodon]
Toot = Callable[..., str]


def test_posts_are_written_read_and_deleted(join: Join, toot: Toot) -> None:
    alice = join("alice")
    assert "alice" in toot(alice, "whoami")
    post = json.loads(toot(alice, "post", "hello from a terminal", "--json"))
    assert post["content"] == "<p>hello from a terminal</p>"
    answer = json.loads(toot(alice, "post", "and more", "--reply-to", post["id"], "--json"))
    thread = toot(alice, "thread", post["id"])
    assert thread.index("hello from a terminal") < thread.index("and more")
    assert "hello from a terminal" in toot(alice, "timeline", "--public", "--once")
    assert "hello from a terminal" in toot(alice, "timeline", "--account", "alice", "--once")
    toot(alice, "delete", answer["id"])
    assert "and more" not in toot(alice, "timeline", "--public", "--once")


def test_a_follower_reads_home(join: Join, toot: Toot) -> None:
    alice, bob = join("alice"), join("bob")
    toot(bob, "follow", "alice")
    assert "alice" in toot(bob, "following", "bob")
    assert "bob" in toot(alice, "followers", "alice")
    toot(alice, "post", "to my followers")
    eventually(lambda: "to my followers" in toot(bob, "timeline", "--once"), "the post is at home", seconds=10)
    toot(bob, "unfollow", "alice")
    assert "to my followers" not in toot(bob, "timeline", "--once")


def test_posts_are_marked_and_found(join: Join, toot: Toot) -> None:
    alice, bob = join("alice"), join("bob")
    post = str(alice.status_post("about #cats").id)
    toot(bob, "favourite", post)
    toot(bob, "reblog", post)
    toot(bob, "bookmark", post)
    toot(alice, "pin", post)
    assert "bob" in toot(alice, "reblogged_by", post)
    assert "about" in toot(bob, "bookmarks", "--once")
    found = bob.status(post)
    assert (found.favourited, found.reblogged, found.bookmarked) == (True, True, True)
    for undo in ("unfavourite", "unreblog", "unbookmark"):
        toot(bob, undo, post)
    toot(alice, "unpin", post)
    found = bob.status(post)
    assert (found.favourited, found.reblogged, found.bookmarked) == (False, False, False)
    assert "cats" in toot(bob, "search", "cats")
    assert "alice" in toot(bob, "search", "alice")


def test_lists_tags_blocks_and_mutes(join: Join, toot: Toot) -> None:
    alice, bob = join("alice"), join("bob")
    toot(bob, "follow", "alice")
    toot(bob, "lists", "create", "friends")
    toot(bob, "lists", "add", "friends", "alice")
    assert "alice" in toot(bob, "lists", "accounts", "friends")
    toot(bob, "tags", "follow", "cats")
    assert "cats" in toot(bob, "tags", "followed")
    toot(bob, "mute", "alice")
    assert "alice" in toot(bob, "muted")
    toot(bob, "unmute", "alice")
    toot(bob, "block", "alice")
    assert "alice" in toot(bob, "blocked")
    toot(bob, "unblock", "alice")
    toot(alice, "follow", "bob")
    eventually(lambda: "alice" in toot(bob, "notifications"), "bob is told of the follow", seconds=10)

"""Mastodon.py, the library, against the running service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mastodon import Mastodon, MastodonAPIError, MastodonNotFoundError, MastodonUnauthorizedError

from tests.conftest import eventually

from .conftest import PASSWORD

Join = Callable[[str], Mastodon]


def test_an_app_registers_and_an_account_signs_up_in_and_out(newcomer: Callable[[], Mastodon]) -> None:
    client = newcomer()
    token = client.create_account("alice", PASSWORD, "alice@example.org", agreement=True, scopes=["read", "write"])
    assert token
    assert client.app_verify_credentials().name == "a client"
    assert client.me().username == "alice"
    again = newcomer()
    again.log_in("alice@example.org", PASSWORD, scopes=["read", "write"], allow_http=True)
    assert again.me().id == client.me().id
    again.revoke_access_token(allow_http=True)
    again.access_token = token
    assert again.me().username == "alice"


def test_a_wrong_sign_up_says_what_is_wrong(newcomer: Callable[[], Mastodon]) -> None:
    _, wrong = newcomer().create_account(
        "a b", PASSWORD, "alice@example.org", agreement=True, scopes=["read", "write"], return_detailed_error=True
    )
    assert {field for field, problems in wrong["details"].items() if problems} == {"username"}


def test_a_profile_is_edited_and_looked_up(join: Join) -> None:
    alice = join("alice")
    alice.account_update_credentials(display_name="Alice", note="Hello <b>you</b>")
    found = join("bob").account_lookup("alice")
    assert (found.display_name, found.note) == ("Alice", "<p>Hello &lt;b&gt;you&lt;/b&gt;</p>")


def test_a_post_is_answered_edited_and_deleted(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    post = alice.status_post("hello", visibility="public", spoiler_text="a greeting", language="en")
    assert bob.status(post.id).content == "<p>hello</p>"
    answer = bob.status_reply(post, "hello yourself")
    assert [one.id for one in alice.status_context(post.id).descendants] == [answer.id]
    assert [one.username for one in answer.mentions] == ["alice"]
    assert alice.status_update(post.id, "hello, world", spoiler_text="").edited_at
    assert [one.content for one in bob.status_history(post.id)] == ["<p>hello</p>", "<p>hello, world</p>"]
    assert alice.status_source(post.id).text == "hello, world"
    assert alice.status_delete(post.id).text == "hello, world"
    with pytest.raises(MastodonNotFoundError):
        bob.status(post.id)


def test_the_same_key_is_the_same_post(join: Join) -> None:
    alice = join("alice")
    first, second = (alice.status_post("once", idempotency_key="a key") for _ in range(2))
    assert first.id == second.id


def test_a_follower_has_a_post_within_two_seconds(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    assert bob.account_follow(alice.me().id).following
    eventually(lambda: alice.account_followers(alice.me().id), "the follow counts")
    post = alice.status_post("to my followers", visibility="private")
    eventually(lambda: [one.id for one in bob.timeline_home()] == [post.id], "the post is at home", seconds=2)


def test_two_hundred_posts_are_paged_both_ways(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    bob.account_follow(alice.me().id)
    written = [alice.status_post(f"post {number}").id for number in range(200)][::-1]
    eventually(lambda: bob.timeline_home(limit=1)[0].id == written[0], "the last post is at home")
    eventually(lambda: len(bob.fetch_remaining(bob.timeline_home())) == 200, "all of them are")
    for first in (
        bob.timeline_home(limit=20),
        bob.timeline_public(limit=20),
        bob.account_statuses(alice.me().id, limit=20),
    ):
        down, last = walk(first, bob.fetch_next)
        assert down == written
        up, _ = walk(last, bob.fetch_previous)
        assert [id_ for page in pages(up) for id_ in page] == written


def walk(page: Any, turn: Callable[[Any], Any]) -> tuple[list[Any], Any]:
    """The ids of this page and those after it, as they came, and the last page that was not empty."""
    found, last = [], page
    while page:
        found += [one.id for one in page]
        page, last = turn(page), page
    return found, last


def pages(found: list[Any], size: int = 20) -> list[list[Any]]:
    """Pages that came from the oldest to the newest, each newest first: in the order of a walk down."""
    return [found[start : start + size] for start in range(0, len(found), size)][::-1]


def test_what_is_marked_is_found_again(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    post = alice.status_post("look at this")
    assert bob.status_favourite(post.id).favourited
    assert bob.status_bookmark(post.id).bookmarked
    reblog = bob.status_reblog(post.id)
    assert (reblog.reblog.id, reblog.reblog.reblogged) == (post.id, True)
    assert alice.status_pin(post.id).pinned
    assert bob.status_mute(reblog.id).muted
    assert not bob.status_unmute(post.id).muted
    assert [one.id for one in bob.favourites()] == [one.id for one in bob.bookmarks()] == [post.id]
    assert [one.username for one in alice.status_favourited_by(post.id)] == ["bob"]
    assert [one.username for one in alice.status_reblogged_by(post.id)] == ["bob"]
    assert [one.id for one in bob.account_statuses(alice.me().id, pinned=True)] == [post.id]
    assert bob.status_unreblog(post.id).id == post.id
    assert not bob.status_unfavourite(post.id).favourited
    assert not bob.status_unbookmark(post.id).bookmarked
    assert not alice.status_unpin(post.id).pinned
    assert list(bob.favourites()) == list(bob.bookmarks()) == []


def test_lists_and_hashtags(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    with pytest.raises(MastodonNotFoundError):
        bob.list_accounts_add(bob.list_create("strangers").id, [alice.me().id])
    bob.account_follow(alice.me().id)
    cats = bob.list_create("cats")
    bob.list_accounts_add(cats.id, [alice.me().id])
    assert [one.username for one in bob.list_accounts(cats.id)] == ["alice"]
    assert [one.title for one in bob.account_lists(alice.me().id)] == ["cats"]
    post = alice.status_post("about #cats")
    assert [one.id for one in bob.timeline_list(cats.id)] == [post.id]
    assert [one.id for one in bob.timeline_hashtag("cats")] == [post.id]
    assert bob.list_update(cats.id, "dogs").title == "dogs"
    bob.list_accounts_delete(cats.id, [alice.me().id])
    assert list(bob.list_accounts(cats.id)) == []
    bob.list_delete(cats.id)
    assert bob.tag_follow("cats").following
    assert [one.name for one in bob.followed_tags()] == ["cats"]
    assert not bob.tag_unfollow("cats").following


def test_search_finds_accounts_posts_and_hashtags(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    post = alice.status_post("the purring of #cats")
    assert [one.username for one in bob.search_v2("ali", result_type="accounts").accounts] == ["alice"]
    assert [one.name for one in bob.search_v2("cat", result_type="hashtags").hashtags] == ["cats"]
    assert [one.id for one in bob.search_v2(post.url, resolve=True).statuses] == [post.id]
    eventually(lambda: [one.id for one in bob.search_v2("purring").statuses] == [post.id], "the post is found")
    assert [one.username for one in bob.account_search("@alice")] == ["alice"]


def test_a_block_and_a_mute_hide(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    bob.account_follow(alice.me().id)
    post = alice.status_post("hello")
    eventually(lambda: [one.id for one in bob.timeline_home()] == [post.id], "the post is at home")
    assert bob.account_mute(alice.me().id).muting
    assert list(bob.timeline_home()) == []
    assert [one.username for one in bob.mutes()] == ["alice"]
    assert not bob.account_unmute(alice.me().id).muting
    assert bob.account_block(alice.me().id).blocking
    assert [one.username for one in bob.blocks()] == ["alice"]
    with pytest.raises(MastodonNotFoundError):
        alice.status_favourite(bob.status_post("not for alice").id)
    assert not bob.account_unblock(alice.me().id).blocking
    [relationship] = bob.account_relationships([alice.me().id])
    assert (relationship.following, relationship.blocking) == (False, False)


def test_notifications_come_are_read_and_go(join: Join) -> None:
    alice, bob = join("alice"), join("bob")
    post = alice.status_post("hello")
    bob.account_follow(alice.me().id)
    bob.status_favourite(post.id)
    bob.status_reblog(post.id)
    bob.status_post("hello @alice")
    kinds = {"follow", "favourite", "reblog", "mention"}
    eventually(lambda: {one.type for one in alice.notifications()} == kinds, "alice is told of all")
    [mention] = alice.notifications(types=["mention"])
    assert (mention.account.username, mention.status.content.count("alice")) == ("bob", 2)
    assert {one.type for one in alice.notifications(exclude_types=["mention"])} == kinds - {"mention"}
    newest = alice.notifications()[0].id
    assert alice.markers_set(["notifications"], [newest])["notifications"].last_read_id == newest
    assert alice.markers_get(["notifications"])["notifications"].version == 1
    alice.notifications_dismiss(mention.id)
    assert len(alice.notifications()) == 3
    alice.notifications_clear()
    assert list(alice.notifications()) == []


def test_what_is_wrong_raises_the_library_s_errors(join: Join) -> None:
    alice = join("alice")
    with pytest.raises(MastodonAPIError, match="Validation failed"):
        alice.status_post("")
    with pytest.raises(MastodonNotFoundError, match="Record not found"):
        alice.status(1)
    alice.access_token = "wrong"
    with pytest.raises(MastodonUnauthorizedError, match="The access token is invalid"):
        alice.me()

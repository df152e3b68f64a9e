"""Accounts that choose their followers, and the rest of a profile."""

from __future__ import annotations

from collections.abc import Callable

from mastodon import Mastodon

from tests.conftest import eventually

Join = Callable[[str], Mastodon]


def test_a_locked_account_chooses_its_followers(join: Join) -> None:
    alice, bob, carol = join("alice"), join("bob"), join("carol")
    assert alice.account_update_credentials(locked=True).locked
    for person in (bob, carol):
        relationship = person.account_follow(alice.me().id)
        assert (relationship.following, relationship.requested) == (False, True)
    assert [one.username for one in alice.follow_requests()] == ["carol", "bob"]
    eventually(
        lambda: [one.type for one in alice.notifications()] == ["follow_request"] * 2, "alice is told of both requests"
    )
    assert alice.follow_request_authorize(bob.me().id).followed_by
    assert not alice.follow_request_reject(carol.me().id).followed_by
    assert list(alice.follow_requests()) == []
    post = alice.status_post("to those whom I chose", visibility="private")
    eventually(lambda: [one.id for one in bob.timeline_home()] == [post.id], "the post is at bob's home")
    assert list(carol.timeline_home()) == []


def test_a_profile_has_fields_and_hashtags(join: Join) -> None:
    alice = join("alice")
    me = alice.account_update_credentials(fields=[("site", "https://example.org"), ("likes", "cats")], bot=True)
    assert [(one.name, "example.org" in one.value) for one in me.fields] == [("site", True), ("likes", False)]
    assert me.bot
    alice.status_post("about #cats")
    featured = alice.featured_tag_create("cats")
    assert [one.name for one in alice.featured_tags()] == ["cats"]
    alice.featured_tag_delete(featured.id)
    assert list(alice.featured_tags()) == []

"""Who may do what to what: every route that names an object, for each kind of caller, by the rules at the head.

The rules are docs/semantics.md's, "Who may see a post", once more and in Python. What one may not see has one answer
everywhere: 404, and the same words as for what never was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from feeds import actions
from feeds.api.streaming import streams
from feeds.api.urls import ROUTES
from feeds.models import Notification, Post
from followers.models import Account
from tests import factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db

NOT_FOUND = {"error": "Record not found"}
NEVER_WAS = 9_000_000_000_000_000_000
ACTORS = """anybody application stranger follower waiting mentioned blocked blocking muted muting author staff deleted
    read_only""".split()


@dataclass
class World:
    """alice is locked, and the author of everything; `reblogger` knows nobody. Her posts name whom a block then parts."""

    people: dict[str, Account]
    posts: dict[str, Post]
    named: dict[str, int]  # other objects, all of them alice's
    texts: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def world(drain: Callable[[], None]) -> World:
    names = [name for name in ACTORS if name not in ("anybody", "application", "author", "read_only")]
    people = {name: AccountFactory(username=name) for name in (*names, "reblogger")}
    alice = people["author"] = people["read_only"] = AccountFactory(username="alice", locked=True)
    people["staff"].is_staff = True
    people["staff"].save()
    for name in ("follower", "deleted"):
        actions.follow(follower=people[name], followee_id=alice.pk)
        actions.accept_follow(followee=alice, follower_id=people[name].pk)
    factories.follow(alice, people["stranger"])
    actions.follow(follower=people["waiting"], followee_id=alice.pk)
    words = "#cats @mentioned @blocked @blocking"
    posts = {kind: PostFactory(author=alice, visibility=kind, text=words) for kind in SEEN_BY}
    for kind in ("public", "unlisted"):
        posts[f"reblog of {kind}"] = actions.reblog(author=people["reblogger"], original=posts[kind])
    posts["reblog of private"] = actions.reblog(author=alice, original=posts["private"])
    posts["deleted"] = PostFactory(author=alice, text=words)
    actions.favourite(account=people["stranger"], post=posts["public"])
    actions.feature_tag(account=alice, name="cats")
    actions.read_until(account=alice, timeline="home", last_read_id=1)
    drain()
    actions.delete_post(author=alice, post_id=posts["deleted"].pk)
    actions.block(blocker=alice, blocked_id=people["blocked"].pk)
    actions.block(blocker=people["blocking"], blocked_id=alice.pk)
    actions.mute(account=alice, target_id=people["muted"].pk)
    actions.mute(account=people["muting"], target_id=alice.pk)
    kept = actions.create_list(owner=alice, title="friends")
    actions.add_to_list(owner=alice, list_id=kept.pk, account_ids=[people["stranger"].pk])
    notification = Notification.objects.get(account=alice, type="favourite")
    named = {"list": kept.pk, "notification": notification.pk, "featured": alice.featured_tags.get().pk}
    texts = {name: factories.token(people.get(name), "read write") for name in ACTORS if name != "anybody"}
    texts["read_only"] = factories.token(alice, "read")
    actions.delete_account(account=people["deleted"])
    drain()
    return World(people, posts, named, texts)


# The rules

SEEN_BY = {"public": "everybody", "unlisted": "everybody", "private": "follower mentioned", "direct": "mentioned"}
SEEN_BY_AS_REBLOG = SEEN_BY | {"private": "follower"}  # the reblog is private, too, and names nobody
APART = ("blocked", "blocking")


def may_see(actor: str, kind: str) -> bool:
    """A post of alice's; the reblogs are by her, or by somebody with whom nobody has anything to do."""
    if kind == "deleted" or actor in APART:
        return False
    seen_by = (SEEN_BY_AS_REBLOG if kind.startswith("reblog") else SEEN_BY)[kind.removeprefix("reblog of ")]
    return seen_by == "everybody" or actor in ("author", "read_only", *seen_by.split())


def owns(actor: str, kind: str) -> bool:
    return actor in ("author", "read_only") and kind not in ("reblog of public", "reblog of unlisted")


class Case(NamedTuple):
    actor: str
    kind: str  # of the post

    @property
    def seen(self) -> bool:
        return may_see(self.actor, self.kind)


def read(case: Case) -> int:
    return 200 if case.seen else 404


def own(case: Case) -> int:
    """Of what is not one's own it is not said that it is there."""
    return 200 if owns(case.actor, case.kind) and case.seen else 404


def edit(case: Case) -> int:
    return own(case) if not case.kind.startswith("reblog") else 404


def pin(case: Case) -> int:
    """Who sees it knows that it is there."""
    if not case.seen:
        return 404
    if not owns(case.actor, case.kind):
        return 403
    return 422 if case.kind.startswith("reblog") or case.kind == "direct" else 200


def unpin(case: Case) -> int:
    return 404 if not case.seen else 200 if owns(case.actor, case.kind) else 403


def reblog(case: Case) -> int:
    if not case.seen:
        return 404
    mine = owns(case.actor, case.kind) and case.kind.endswith("private")
    return 200 if mine or case.kind.endswith(("public", "unlisted")) else 403


def record(case: Case) -> int:
    """Of a delivery: also of a post that is deleted, for whoever wrote it."""
    if case.actor == "staff" or owns(case.actor, case.kind):
        return 200
    return 403 if case.seen else 404


def staff(case: Case) -> int:
    return 200 if case.actor == "staff" else 403


def staff_of_live(case: Case) -> int:
    return 404 if case.actor == "staff" and case.kind == "deleted" else staff(case)


Rule = Callable[[Case], int]
POSTS: dict[str, tuple[Rule, dict[str, Any]]] = {
    "GET statuses/ID": (read, {}),
    "GET statuses/ID/context": (read, {}),
    "GET statuses/ID/history": (read, {}),
    "GET statuses/ID/source": (read, {}),
    "GET statuses/ID/reblogged_by": (read, {}),
    "GET statuses/ID/favourited_by": (read, {}),
    "PUT statuses/ID": (edit, {"status": "other words"}),
    "DELETE statuses/ID": (own, {}),
    "POST statuses": (read, {"status": "an answer", "in_reply_to_id": "ID"}),
    "POST statuses/ID/favourite": (read, {}),
    "POST statuses/ID/unfavourite": (read, {}),
    "POST statuses/ID/bookmark": (read, {}),
    "POST statuses/ID/unbookmark": (read, {}),
    "POST statuses/ID/reblog": (reblog, {}),
    "POST statuses/ID/unreblog": (read, {}),
    "POST statuses/ID/pin": (pin, {}),
    "POST statuses/ID/unpin": (unpin, {}),
    "POST statuses/ID/mute": (read, {}),
    "POST statuses/ID/unmute": (read, {}),
    "GET statuses/ID/delivery": (record, {}),
    "GET statuses/ID/explain": (staff, {"account_id": "READER"}),
    "POST statuses/ID/delivery/cancel": (staff_of_live, {}),
    "POST statuses/ID/delivery/replay": (staff, {}),
    "POST statuses/ID/delivery/drop": (staff, {}),
}
FOR_ALL = """statuses/ID statuses/ID/context statuses/ID/history statuses/ID/reblogged_by statuses/ID/favourited_by
    accounts/ID accounts/ID/statuses accounts/ID/followers accounts/ID/following accounts/ID/featured_tags""".split()
"""What is read without a token, too."""

OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "GET lists/ID": ("list", {}),
    "PUT lists/ID": ("list", {"title": "others"}),
    "DELETE lists/ID": ("list", {}),
    "GET lists/ID/accounts": ("list", {}),
    "POST lists/ID/accounts": ("list", {"account_ids": ["STRANGER"]}),
    "DELETE lists/ID/accounts": ("list", {"account_ids": ["STRANGER"]}),
    "GET timelines/list/ID": ("list", {}),
    "GET notifications/ID": ("notification", {}),
    "POST notifications/ID/dismiss": ("notification", {}),
    "DELETE featured_tags/ID": ("featured", {}),
    "POST follow_requests/ID/authorize": ("waiting", {}),
    "POST follow_requests/ID/reject": ("waiting", {}),
}
"""What is there for its owner alone."""

ANY, NOT_ONESELF, NOT_APART = range(3)
ACCOUNTS: dict[str, int] = {
    "GET accounts/ID": ANY,
    "GET accounts/ID/statuses": ANY,
    "GET accounts/ID/followers": ANY,
    "GET accounts/ID/following": ANY,
    "GET accounts/ID/featured_tags": ANY,
    "GET accounts/ID/lists": ANY,
    "POST accounts/ID/follow": NOT_APART,
    "POST accounts/ID/unfollow": ANY,
    "POST accounts/ID/remove_from_followers": ANY,
    "POST accounts/ID/note": ANY,
    "POST accounts/ID/block": NOT_ONESELF,
    "POST accounts/ID/unblock": ANY,
    "POST accounts/ID/mute": NOT_ONESELF,
    "POST accounts/ID/unmute": ANY,
}
"""An account is there for everybody, until it is deleted; who may not read its posts finds none."""

NO_OBJECTS = """timelines/tag/<str:name> tags/<str:name> tags/<str:name>/follow tags/<str:name>/unfollow streaming/<path:rest>
    avatars/<id:account_id>.png headers/<id:account_id>.png""".split()
"""Words that are everybody's, pictures that are there for every number, and what leads to another process."""


def outcome(actor: str, door: str, found: Callable[[], int]) -> int:
    """What stands before any rule: who calls, and with which scopes."""
    method, path = door.split()
    if actor == "deleted":
        return 401
    if actor in ("anybody", "application"):
        return found() if method == "GET" and path in FOR_ALL else 401
    if actor == "read_only" and method != "GET":
        return 403
    return found()


def ask(world: World, actor: str, door: str, object_id: int, body: dict[str, Any]) -> Any:
    """Whatever it changes is undone."""
    method, path = door.split()
    ids = {"ID": object_id, "STRANGER": world.people["stranger"].pk, "READER": world.people["follower"].pk}
    filled = {name: _filled(value, ids) for name, value in body.items()}
    caller = APIClient(raise_request_exception=False)
    if actor != "anybody":
        caller.credentials(HTTP_AUTHORIZATION=f"Bearer {world.texts[actor]}")
    call = getattr(caller, method.lower())
    with transaction.atomic():
        answer = call(f"/api/v1/{path.replace('ID', str(object_id))}", filled, **{} if method == "GET" else JSON)
        transaction.set_rollback(True)
    return answer


JSON = {"format": "json"}


def _filled(value: Any, ids: dict[str, int]) -> Any:
    return [_filled(one, ids) for one in value] if isinstance(value, list) else str(ids.get(value, value))


def wrong(answer: Any, expected: int, *what: str) -> Iterator[str]:
    if answer.status_code != expected:
        yield f"{' '.join(what)}: {answer.status_code} and not {expected}: {answer.content[:100]!r}"
    elif expected == 404 and answer.json() != NOT_FOUND:
        yield f"{' '.join(what)}: another 404: {answer.content[:100]!r}"


@pytest.mark.parametrize("actor", ACTORS)
def test_each_caller_meets_each_object_by_each_verb_as_the_rules_say(world: World, actor: str) -> None:
    found = [*meets_posts(world, actor), *meets_what_is_owned(world, actor), *meets_accounts(world, actor)]
    assert found == []
    if actor != "deleted":
        check_lists_of_posts(world, actor)
    if actor != "anybody":
        check_streams(world, actor)


def meets_posts(world: World, actor: str) -> Iterator[str]:
    for kind, post in world.posts.items():
        for door, (rule, body) in POSTS.items():
            expected = outcome(actor, door, lambda rule=rule, kind=kind: rule(Case(actor, kind)))  # type: ignore[misc]
            yield from wrong(ask(world, actor, door, post.pk, body), expected, door, kind)


def meets_what_is_owned(world: World, actor: str) -> Iterator[str]:
    """Nobody lets oneself in: for the one who waits there is no such request, either."""
    for door, (kind, body) in OWN.items():
        object_id = world.named.get(kind) or world.people[kind].pk
        expected = outcome(actor, door, lambda: 200 if actor in ("author", "read_only") else 404)
        yield from wrong(ask(world, actor, door, object_id, body), expected, door)


def meets_accounts(world: World, actor: str) -> Iterator[str]:
    """alice, and one that is deleted."""
    alice, gone = world.people["author"].pk, world.people["deleted"].pk
    for door, rule in ACCOUNTS.items():
        oneself = actor == "author" and rule != ANY
        status = 422 if oneself else 403 if rule == NOT_APART and actor in APART else 200
        yield from wrong(ask(world, actor, door, alice, {}), outcome(actor, door, lambda code=status: code), door)
        yield from wrong(ask(world, actor, door, gone, {}), outcome(actor, door, lambda: 404), door, "deleted")


def check_lists_of_posts(world: World, actor: str) -> None:
    seen = {str(post.pk) for kind, post in world.posts.items() if may_see(actor, kind)}
    hers = {str(post.pk) for post in world.posts.values() if post.author == world.people["author"]}
    shown = ask(world, actor, "GET statuses", 0, {"id[]": [str(post.pk) for post in world.posts.values()]})
    assert {one["id"] for one in shown.json()} == seen
    shown = ask(world, actor, f"GET accounts/{world.people['author'].pk}/statuses", 0, {})
    assert {one["id"] for one in shown.json()} == seen & hers
    if actor not in ("anybody", "application", "author", "read_only"):
        assert ask(world, actor, "GET markers", 0, {"timeline[]": "home"}).json() == {}
        assert ask(world, actor, "GET follow_requests", 0, {}).json() == []


def check_streams(world: World, actor: str) -> None:
    def status(ask: Callable[[], object]) -> int:
        try:
            ask()
        except streams.Refused as refused:
            return refused.status
        return 200

    text = world.texts[actor]
    if actor in ("deleted", "application"):
        assert status(lambda: streams.token(text)) == 401
        return
    shown = streams.token(text)
    for kind, post in world.posts.items():
        found = status(lambda post=post: streams.delivery(post.pk, shown))  # type: ignore[misc]
        assert found == record(Case(actor, kind)), kind
    listed = status(lambda: streams.asked("list", {"list": str(world.named["list"])}, shown))
    assert listed == (200 if actor in ("author", "read_only") else 404)


def test_what_may_not_be_seen_is_answered_as_what_never_was(world: World) -> None:
    """But for the request's own id, byte for byte."""
    for door, (rule, body) in POSTS.items():
        if rule(Case("stranger", "direct")) == 404:
            hidden = ask(world, "stranger", door, world.posts["direct"].pk, body)
            never = ask(world, "stranger", door, NEVER_WAS, body)
            ours = [dict(answer.headers) | {"X-Request-Id": ""} for answer in (hidden, never)]
            assert (hidden.status_code, hidden.content, ours[0]) == (never.status_code, never.content, ours[1]), door


def test_every_route_that_names_an_object_is_in_the_matrix() -> None:
    named = {re.sub(r"<\w+:\w+>", "ID", route.removeprefix("api/v1/")) for route in ROUTES if "<" in route}
    asked = {door.split()[1] for table in (POSTS, OWN, ACCOUNTS) for door in table}
    others = {re.sub(r"<\w+:\w+>", "ID", route) for route in NO_OBJECTS}
    assert named - asked - others == set(), "routes without a rule"
    for route, view in ROUTES.items():
        path = re.sub(r"<\w+:\w+>", "ID", route.removeprefix("api/v1/"))
        if "<id:" in route and path not in others:
            methods = {name.upper() for name in "get post put patch delete".split() if hasattr(view.cls, name)}
            doors = {door.split()[0] for table in (POSTS, OWN, ACCOUNTS) for door in table if door.split()[1] == path}
            assert methods == doors, path

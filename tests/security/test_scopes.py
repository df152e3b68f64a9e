"""Which token opens which route: a table of its own, after the API's description, against what the views say.

Each line is a method, a route, and what it asks for: a scope (any of several, with `|`), and who may come.
    anybody      no token is needed; one that is shown must have the scope
    application  an application's own token will do
    account      only an account's token (what most lines say by saying nothing)
    open         no token is looked at
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from feeds.api.auth import SCOPES
from feeds.api.streaming import streams
from feeds.api.urls import ROUTES
from followers.models import Account
from tests import factories
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

INVALID = "The access token is invalid"
OUTSIDE = "This action is outside the authorized scopes"
NEEDS_USER = "This method requires an authenticated user"

TABLE = """
    POST   /apps                                          open
    GET    /apps/verify_credentials                       application
    POST   /accounts                    write:accounts    application
    GET    /accounts                    read:accounts     anybody
    GET    /accounts/verify_credentials read:accounts|profile
    PATCH  /accounts/update_credentials write:accounts
    GET    /accounts/lookup             read:accounts     anybody
    GET    /accounts/search             read:accounts
    GET    /accounts/ID                 read:accounts     anybody
    GET    /accounts/ID/statuses        read:statuses     anybody
    GET    /accounts/ID/followers       read:accounts     anybody
    GET    /accounts/ID/following       read:accounts     anybody
    GET    /accounts/ID/featured_tags   read:accounts     anybody
    GET    /accounts/ID/lists           read:lists
    GET    /accounts/relationships      read:follows
    GET    /accounts/familiar_followers read:follows
    POST   /accounts/ID/follow          write:follows
    POST   /accounts/ID/unfollow        write:follows
    POST   /accounts/ID/remove_from_followers write:follows
    POST   /accounts/ID/note            write:accounts
    POST   /accounts/ID/block           write:blocks
    POST   /accounts/ID/unblock         write:blocks
    POST   /accounts/ID/mute            write:mutes
    POST   /accounts/ID/unmute          write:mutes
    GET    /blocks                      read:blocks
    GET    /mutes                       read:mutes
    GET    /follow_requests             read:follows
    POST   /follow_requests/ID/authorize write:follows
    POST   /follow_requests/ID/reject   write:follows
    GET    /statuses                    read:statuses     anybody
    POST   /statuses                    write:statuses
    GET    /statuses/ID                 read:statuses     anybody
    PUT    /statuses/ID                 write:statuses
    DELETE /statuses/ID                 write:statuses
    GET    /statuses/ID/source          read:statuses
    GET    /statuses/ID/history         read:statuses     anybody
    GET    /statuses/ID/context         read:statuses     anybody
    GET    /statuses/ID/reblogged_by    read:statuses     anybody
    GET    /statuses/ID/favourited_by   read:statuses     anybody
    POST   /statuses/ID/favourite       write:favourites
    POST   /statuses/ID/unfavourite     write:favourites
    POST   /statuses/ID/bookmark        write:bookmarks
    POST   /statuses/ID/unbookmark      write:bookmarks
    POST   /statuses/ID/reblog          write:statuses
    POST   /statuses/ID/unreblog        write:statuses
    POST   /statuses/ID/pin             write:accounts
    POST   /statuses/ID/unpin           write:accounts
    POST   /statuses/ID/mute            write:mutes
    POST   /statuses/ID/unmute          write:mutes
    GET    /statuses/ID/delivery        read:statuses
    GET    /statuses/ID/explain         read:statuses
    POST   /statuses/ID/delivery/cancel write:statuses
    POST   /statuses/ID/delivery/replay write:statuses
    POST   /statuses/ID/delivery/drop   write:statuses
    GET    /admin/deliveries            read:statuses
    GET    /favourites                  read:favourites
    GET    /bookmarks                   read:bookmarks
    GET    /timelines/home              read:statuses
    GET    /timelines/public            read:statuses     anybody
    GET    /timelines/tag/ID            read:statuses     anybody
    GET    /timelines/list/ID           read:lists
    GET    /lists                       read:lists
    POST   /lists                       write:lists
    GET    /lists/ID                    read:lists
    PUT    /lists/ID                    write:lists
    DELETE /lists/ID                    write:lists
    GET    /lists/ID/accounts           read:lists
    POST   /lists/ID/accounts           write:lists
    DELETE /lists/ID/accounts           write:lists
    GET    /tags/ID                     read:follows     anybody
    POST   /tags/ID/follow              write:follows
    POST   /tags/ID/unfollow            write:follows
    GET    /followed_tags               read:follows
    GET    /featured_tags               read:accounts
    POST   /featured_tags               write:accounts
    GET    /featured_tags/suggestions   read:accounts
    DELETE /featured_tags/ID            write:accounts
    GET    /api/v2/search               read:search       anybody
    GET    /notifications               read:notifications
    GET    /notifications/unread_count  read:notifications
    GET    /notifications/ID            read:notifications
    POST   /notifications/clear         write:notifications
    POST   /notifications/ID/dismiss    write:notifications
    GET    /markers                     read:statuses
    POST   /markers                     write:statuses
    GET    /preferences                 read:accounts
    GET    /filters                     read:filters
    GET    /api/v2/filters              read:filters
    GET    /conversations               read:statuses
    GET    /scheduled_statuses          read:statuses
    GET    /suggestions                 read
    GET    /api/v2/suggestions          read
    GET    /endorsements                read:accounts
    GET    /domain_blocks               read:blocks
    POST   /media                       write:media
    POST   /api/v2/media                write:media
    POST   /oauth/token                                   open
    POST   /oauth/revoke                                  open
    GET    /instance                                      open
    GET    /api/v2/instance                               open
    GET    /instance/extended_description                 open
    GET    /.well-known/oauth-authorization-server        open
    GET    /.well-known/nodeinfo                          open
    GET    /nodeinfo/2.0                                  open
"""
QUIET = """/custom_emojis /announcements /directory /trends /trends/tags /trends/statuses
    /trends/links /instance/rules /instance/peers /instance/activity /instance/domain_blocks
    /instance/translation_languages""".split()
"""What is not built, and empty: anybody may GET it, with any token or none."""

Line = tuple[str, str, tuple[str, ...], str]


def table() -> list[Line]:
    lines = []
    for line in TABLE.strip().splitlines():
        method, path, *rest = line.split()
        who = rest.pop() if rest and rest[-1] in ("anybody", "application", "open") else "account"
        lines.append((method, path, tuple(rest[0].split("|")) if rest else (), who))
    return lines + [("GET", path, (), "anybody") for path in QUIET]


def short(route: str) -> str:
    return re.sub(r"<\w+:\w+>", "ID", f"/{route}").replace("/api/v1/", "/")


def test_every_route_and_method_has_its_line() -> None:
    views = {short(route): view for route, view in ROUTES.items() if hasattr(view, "cls")}
    there = {
        (method.upper(), path)
        for path, view in views.items()
        for method in "get post put patch delete".split()
        if hasattr(view.cls, method)
    }
    lines = [(method, path) for method, path, _, _ in table()]
    assert len(lines) == len(set(lines))
    assert set(lines) == there


@pytest.fixture
def token(db: None) -> Callable[..., str]:
    made: dict[Any, str] = {}

    def find(account: Account | None, scopes: set[str]) -> str:
        key = account, frozenset(scopes)
        if key not in made:
            made[key] = factories.token(account, " ".join(sorted(scopes)))
        return made[key]

    return find


def test_each_route_wants_a_token_of_a_fitting_scope(token: Callable[..., str]) -> None:
    alice, wrong = AccountFactory(), []

    def check(line: Line, shown: str | None, expected: str | None, what: str) -> None:
        """None: it passes, whatever the route says then."""
        method, path, _, _ = line
        url = path if path.startswith(("/api/", "/oauth/", "/nodeinfo", "/.well")) else f"/api/v1{path}"
        caller = APIClient(raise_request_exception=False)
        if shown is not None:
            caller.credentials(HTTP_AUTHORIZATION=f"Bearer {shown}")
        body = {} if method == "GET" else {"format": "json"}
        answer = getattr(caller, method.lower())(url.replace("ID", "1"), **body)
        said = answer.json().get("error") if isinstance(answer.json(), dict) else None
        status = {INVALID: 401, NEEDS_USER: 401, OUTSIDE: 403, None: answer.status_code}[expected]
        good = said == expected if expected else said not in (INVALID, NEEDS_USER, OUTSIDE)
        if not good or answer.status_code != status or answer.status_code >= 500:
            wrong.append(f"{method} {path} {what}: {answer.status_code} {said}")

    for line in table():
        _, _, scopes, who = line
        check(line, None, None if who in ("anybody", "open") else INVALID, "without a token")
        check(line, "nonsense", INVALID if who != "open" else None, "with a made-up token")
        if who == "open":
            continue
        implying = {implied for scope in scopes for implied in enough(scope)}
        for scope in sorted(implying):
            check(line, token(alice, {scope}), None, f"with {scope}")
        everything_else = set(SCOPES) - implying
        if scopes:
            check(line, token(alice, everything_else), OUTSIDE, "with every other scope")
        else:
            check(line, token(alice, {"push"}), None, "with any scope")
        lone = None if who in ("anybody", "application") else NEEDS_USER
        check(line, token(None, implying or {"read"}), lone, "with an application's own token")
    assert wrong == []


def enough(scope: str) -> set[str]:
    """Those that the API's description says contain it, itself among them."""
    verb, _, what = scope.partition(":")
    found = {scope, verb}
    return found | {"follow"} if what in ("blocks", "follows", "mutes") else found


def test_streams_want_the_scopes_of_their_timelines(token: Callable[..., str]) -> None:
    alice = AccountFactory()
    asked = {
        "user": {"read:statuses"},
        "user:notification": {"read:notifications"},
        "list": {"read:lists", "read:statuses"},
    }
    for name, scopes in asked.items():
        implying = {implied for scope in scopes for implied in enough(scope)}
        for held, passes in [({one}, True) for one in implying] + [(set(SCOPES) - implying, False)]:
            shown = streams.token(token(alice, held))
            try:
                streams.asked(name, {"list": "1"}, shown)
                status = 200
            except streams.Refused as refused:
                status = refused.status
            assert (status != 403) is passes, (name, held)

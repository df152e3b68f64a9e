"""What callers claim: another host, somebody else's key, a cursor that is not theirs, columns that no form has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from feeds import actions
from feeds.models import Post
from followers.models import Account, Application
from tests import factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db


def call(method: str, path: str, account: Account | None, body: Any = None, **headers: str) -> Any:
    """As the test client sends it: what is not documented is sent, too."""
    shown = f"Bearer {factories.token(account)}"
    sent = "" if body is None else json.dumps(body)
    return Client().generic(method, path, sent, "application/json", HTTP_AUTHORIZATION=shown, **headers)


def test_whatever_host_a_request_names_links_are_ours(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    alice = AccountFactory(username="alice")
    PostFactory.create_batch(2, author=alice, text="words #cats @alice")
    claimed = {
        "HTTP_HOST": "evil.example",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_FORWARDED": "host=evil.example",
    }
    for path in (
        f"/api/v1/accounts/{alice.pk}/statuses?limit=1",
        "/api/v2/instance",
        "/.well-known/oauth-authorization-server",
        "/.well-known/nodeinfo",
        "/api/v1/streaming/user",
    ):
        answer = call("GET", path, alice, **claimed)
        assert answer.status_code in (200, 302), path
        assert "evil.example" not in f"{answer.headers}{answer.content}", path
    assert (
        call("GET", f"/api/v1/accounts/{alice.pk}/statuses?limit=1", alice)
        .headers["Link"]
        .startswith(f"<{settings.BASE_URL}/")
    )


def test_an_idempotency_key_is_its_accounts_own() -> None:
    alice, bob = AccountFactory.create_batch(2)
    said = {"status": "hello", "visibility": "direct"}
    first, again, others = (
        call("POST", "/api/v1/statuses", who, said, HTTP_IDEMPOTENCY_KEY="k").json() for who in (alice, alice, bob)
    )
    assert first["id"] == again["id"] != others["id"]
    assert others["account"]["id"] == str(bob.pk)


def test_a_cursor_of_somebody_elses_page_shows_ones_own_alone(drain: Any) -> None:
    alice, bob, *others = AccountFactory.create_batch(6)
    posts = PostFactory.create_batch(4)
    for who in (alice, bob):
        mine = PostFactory(author=who)
        for post, other in zip(posts, others, strict=True):
            actions.favourite(account=who, post=post)
            actions.bookmark(account=who, post=post)
            actions.favourite(account=other, post=mine)
            actions.mute(account=who, target_id=other.pk, notifications=False)
    drain()
    for path in ("favourites", "bookmarks", "mutes", "notifications"):
        page = call("GET", f"/api/v1/{path}?limit=2", alice)
        link = re.findall(r"<http://[^/]+([^>]+)>", page.headers["Link"])
        assert len(link) == 2 and len(page.json()) == 2
        own = {one["id"] for one in call("GET", f"/api/v1/{path}?limit=40", bob).json()}
        assert len(own) == 4
        for forged in (*link, f"/api/v1/{path}?max_id={(1 << 63) - 1}", f"/api/v1/{path}?min_id=0"):
            assert {one["id"] for one in call("GET", forged, bob).json()} <= own, (path, forged)


COLUMNS = {
    "id": 7,
    "pk": 7,
    "is_staff": True,
    "is_superuser": True,
    "is_active": True,
    "deleted_at": None,
    "followers_count": 9_999,
    "home_mode": "none",
    "home_mode_override": "pull",
    "created_at": "2001-01-01T00:00:00Z",
    "password": "another long phrase",
    "email": "other@example.org",
    "username": "other",
    "version": 99,
}


def test_no_column_is_set_but_what_a_form_has() -> None:
    alice, bob = AccountFactory(username="alice", email="a@example.org"), AccountFactory()
    before = Account.objects.filter(pk=alice.pk).values(*(COLUMNS.keys() - {"version"})).get()
    assert call("PATCH", "/api/v1/accounts/update_credentials", alice, COLUMNS | {"note": "words"}).status_code == 200
    after = Account.objects.filter(pk=alice.pk).values("note", *(COLUMNS.keys() - {"version"})).get()
    assert after == before | {"note": "words"}
    author = {"author": bob.pk, "author_id": bob.pk, "account_id": bob.pk, "replies_count": 9, "pinned_at": "now"}
    made = call("POST", "/api/v1/statuses", alice, COLUMNS | author | {"status": "hello"}).json()
    post = Post.objects.get()
    assert (str(post.pk), post.author, post.home_mode, post.replies_count) == (made["id"], alice, "push", 0)
    assert post.created_at.year > 2001 and post.pinned_at is None and post.version == 1
    listed = call("POST", "/api/v1/lists", alice, author | {"title": "friends", "owner": bob.pk, "owner_id": bob.pk})
    assert listed.status_code == 200 and alice.lists.count() == 1 and not bob.lists.exists()
    signed_up = {"username": "carol", "email": "c@example.org", "password": "correct horse", "agreement": True}
    assert call("POST", "/api/v1/accounts", None, COLUMNS | signed_up).status_code == 200
    carol = Account.objects.get(username="carol")
    assert not (carol.is_staff or carol.is_superuser or carol.home_mode_override or carol.followers_count)


def test_an_application_does_not_say_what_it_may() -> None:
    claimed = {"client_id": "mine", "client_secret": "mine", "client_type": "public", "skip_authorization": True}
    form = {
        "client_name": "c",
        "redirect_uris": "https://client.example/",
        "authorization_grant_type": "implicit",
        "user": 1,
    }
    answer = Client().post("/api/v1/apps", form | claimed)
    app = Application.objects.get()
    assert answer.json()["client_id"] == app.client_id != "mine"
    assert (app.client_type, app.skip_authorization, app.user) == ("confidential", False, None)

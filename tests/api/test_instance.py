"""What the server says of itself, and what it answers where it has nothing."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from django.conf import settings as conf
from django.db import connection

from feeds import actions, database
from feeds.api.auth import SCOPES
from followers.models import Account
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db

VERSION = "4.2.10 (compatible; feedsvc 0.1.0)"


def test_both_versions_of_the_instance_say_the_same(api: Any) -> None:
    one, two = api().get("/api/v1/instance").json(), api().get("/api/v2/instance/").json()
    host = f"localhost:{conf.PORT}"
    assert (one["uri"], two["domain"]) == (host, host)
    assert one["version"] == two["version"] == VERSION
    assert one["title"] == two["title"] == "feedsvc"
    assert one["urls"]["streaming_api"] == two["configuration"]["urls"]["streaming"] == conf.STREAMING_URL
    assert one["thumbnail"] == two["thumbnail"]["url"]
    assert one["languages"] == two["languages"] == ["en"]
    assert one["registrations"] is two["registrations"]["enabled"] is True
    assert one["approval_required"] is two["registrations"]["approval_required"] is False
    assert one["rules"] == two["rules"] == []
    assert one["configuration"] == {name: two["configuration"][name] for name in one["configuration"]}
    assert two["configuration"]["translation"] == {"enabled": False}
    assert "api_versions" not in two
    for name in ("short_description", "description", "email", "stats", "invites_enabled", "contact_account"):
        assert name in one
    assert two["contact"] == {"email": one["email"], "account": None}


def test_the_limits_are_those_of_the_service(api: Any) -> None:
    limits = api().get("/api/v1/instance").json()["configuration"]
    longest = limits["statuses"]["max_characters"]
    alice = AccountFactory()
    assert api(alice).post("/api/v1/statuses", {"status": "x" * longest}).status_code == 200
    assert api(alice).post("/api/v1/statuses", {"status": "x" * (longest + 1)}).status_code == 422
    assert limits["statuses"]["max_media_attachments"] == limits["polls"]["max_options"] == 0
    assert limits["accounts"]["max_pinned_statuses"] == actions.PINS_MAX


def test_the_stats_count_who_and_what_is_there(api: Any) -> None:
    alice, away = AccountFactory(), AccountFactory(away=True)
    actions.delete_account(account=AccountFactory())
    actions.delete_post(author=alice, post_id=PostFactory(author=alice).pk)
    PostFactory(author=away)
    assert api().get("/api/v1/instance").json()["stats"] == {"user_count": 2, "status_count": 1, "domain_count": 0}
    assert api().get("/api/v2/instance").json()["usage"] == {"users": {"active_month": 1}}
    usage = api().get("/nodeinfo/2.0").json()["usage"]
    assert usage == {"users": {"total": 2, "activeMonth": 1, "activeHalfyear": 1}, "localPosts": 1}


def test_the_stats_are_counted_once_in_a_while(api: Any, django_assert_max_num_queries: Any) -> None:
    api().get("/api/v1/instance")
    with django_assert_max_num_queries(1):  # whom to contact
        api().get("/api/v1/instance")


def test_very_many_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    AccountFactory.create_batch(5)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE followers_account")
    assert database.about(Account.objects.all()) == 5
    monkeypatch.setattr(database, "COUNTED", 3)
    assert database.about(Account.objects.filter(is_active=True)) in (4, 5)  # what it counted, at least


def test_the_contact_is_the_first_of_staff(api: Any) -> None:
    AccountFactory()
    staff = AccountFactory(username="staff1", is_staff=True)
    AccountFactory(is_staff=True)
    assert api().get("/api/v1/instance").json()["contact_account"]["id"] == str(staff.pk)
    contact = api().get("/api/v2/instance").json()["contact"]["account"]
    assert contact == api().get(f"/api/v1/accounts/{staff.pk}").json()


def test_the_version_is_that_of_the_package() -> None:
    assert tomllib.loads((conf.BASE_DIR / "pyproject.toml").read_text())["project"]["version"] == conf.VERSION


def test_the_thumbnail_is_a_picture(api: Any) -> None:
    url = api().get("/api/v1/instance").json()["thumbnail"]
    answer = api().get(url.removeprefix(conf.BASE_URL))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")


def test_the_instance_is_told_to_whoever_asks_even_with_a_token_that_is_none(api: Any) -> None:
    for path in ("/api/v1/instance", "/api/v2/instance", "/nodeinfo/2.0", "/.well-known/oauth-authorization-server"):
        assert api().get(path, HTTP_AUTHORIZATION="Bearer nonsense").status_code == 200


def test_preferences_are_what_the_account_posts_with(api: Any) -> None:
    alice = AccountFactory()
    source = api(alice).get("/api/v1/accounts/verify_credentials").json()["source"]
    assert api(alice).get("/api/v1/preferences/").json() == {
        "posting:default:visibility": source["privacy"],
        "posting:default:sensitive": source["sensitive"],
        "posting:default:language": source["language"],
        "reading:expand:media": "default",
        "reading:expand:spoilers": False,
        "reading:autoplay:gifs": False,
    }
    assert api().get("/api/v1/preferences").status_code == 401
    assert api(alice, "write").get("/api/v1/preferences").status_code == 403


def test_oauth_libraries_find_their_way(api: Any, settings: Any) -> None:
    found = api().get("/.well-known/oauth-authorization-server").json()
    base = conf.BASE_URL
    assert found["issuer"] == base
    assert found["authorization_endpoint"] == f"{base}/oauth/authorize"
    assert found["token_endpoint"] == f"{base}/oauth/token"
    assert found["revocation_endpoint"] == f"{base}/oauth/revoke"
    assert found["app_registration_endpoint"] == f"{base}/api/v1/apps"
    assert set(found["scopes_supported"]) == SCOPES
    assert (found["response_types_supported"], found["code_challenge_methods_supported"]) == (["code"], ["S256"])
    assert found["grant_types_supported"] == ["authorization_code", "client_credentials", "password"]
    settings.OAUTH_PASSWORD_GRANT = False
    found = api().get("/.well-known/oauth-authorization-server/").json()
    assert found["grant_types_supported"] == ["authorization_code", "client_credentials"]


def test_nodeinfo_is_found_and_tells_the_software(api: Any) -> None:
    [link] = api().get("/.well-known/nodeinfo").json()["links"]
    found = api().get(link["href"].removeprefix(conf.BASE_URL)).json()
    assert found["software"] == {"name": "feedsvc", "version": "0.1.0"}
    assert (found["version"], found["protocols"], found["openRegistrations"]) == ("2.0", [], True)


@pytest.mark.parametrize(
    "path",
    """v1/custom_emojis v1/announcements v1/directory v1/trends v1/trends/tags v1/trends/statuses v1/trends/links
    v1/instance/rules v1/instance/peers v1/instance/activity v1/instance/domain_blocks""".split(),
)
def test_what_is_not_built_is_empty_for_everybody(api: Any, path: str) -> None:
    for slash in ("", "/"):
        answer = api().get(f"/api/{path}{slash}")
        assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    "path",
    """v1/filters v2/filters v1/conversations v1/scheduled_statuses v1/suggestions v2/suggestions v1/endorsements
    v1/domain_blocks""".split(),
)
def test_what_is_not_built_is_empty_for_those_with_a_token(api: Any, path: str) -> None:
    answer = api(AccountFactory()).get(f"/api/{path}")
    assert (answer.status_code, answer.json()) == (200, [])
    assert api().get(f"/api/{path}").status_code == 401
    assert api(AccountFactory(), "write").get(f"/api/{path}").status_code == 403


def test_what_else_is_empty_keeps_its_shape(api: Any) -> None:
    assert api().get("/api/v1/instance/translation_languages").json() == {}
    assert api().get("/api/v1/instance/extended_description").json() == {"updated_at": None, "content": ""}
    assert api(AccountFactory()).get("/api/v1/push/subscription").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/media", "/api/v2/media/"])
def test_media_are_refused_unread(api: Any, path: str) -> None:
    answer = api(AccountFactory()).post(path, b"x", content_type="multipart/form-data; boundary=y")
    assert answer.status_code == 422
    assert answer.json()["error"] == "Validation failed: Media are not supported here"
    assert api(AccountFactory(), "read").post(path).status_code == 403


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/v1/instance", "GET"),
        ("/api/v1/statuses/1", "DELETE"),
        ("/api/v1/accounts/update_credentials", "PATCH"),
        ("/oauth/token", "POST"),
        ("/oauth/revoke", "POST"),
        ("/.well-known/oauth-authorization-server", "GET"),
        ("/nodeinfo/2.0", "GET"),
    ],
)
def test_browsers_of_any_origin_may_call_all_of_it(api: Any, path: str, method: str) -> None:
    answer = api().options(path, HTTP_ORIGIN="https://app.example", HTTP_ACCESS_CONTROL_REQUEST_METHOD=method)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert {"*", "authorization"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))


def test_no_script_of_another_origin_reads_the_pages(api: Any) -> None:
    answer = api().get("/oauth/authorize", HTTP_ORIGIN="https://app.example")
    assert "Access-Control-Allow-Origin" not in answer.headers

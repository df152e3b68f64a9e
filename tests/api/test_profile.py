"""What accounts say of themselves, what they look like, and what their posts are by default."""

from __future__ import annotations

import struct
import zlib
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from feeds import actions
from feeds.models import Outbox
from followers.models import Account
from tests import factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db

ME, EDIT = "/api/v1/accounts/verify_credentials", "/api/v1/accounts/update_credentials"
FORM = "application/x-www-form-urlencoded"

FLAT = {
    "display_name": "Alice",
    "note": "about @bob",
    "locked": "true",
    "bot": "1",
    "discoverable": "false",
    "source[privacy]": "unlisted",
    "source[sensitive]": "on",
    "source[language]": "de",
    "fields_attributes[0][name]": "Site",
    "fields_attributes[0][value]": "https://example.org/?a&b",
    "fields_attributes[1][name]": "<Pet>",
    "fields_attributes[1][value]": "a cat",
}
NESTED = {
    "display_name": "Alice",
    "note": "about @bob",
    "locked": True,
    "bot": True,
    "discoverable": False,
    "source": {"privacy": "unlisted", "sensitive": True, "language": "de"},
    "fields_attributes": [{"name": "Site", "value": "https://example.org/?a&b"}, {"name": "<Pet>", "value": "a cat"}],
    "never_heard_of": {"x": 1},
}


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice")


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (FLAT, {}),
        (urlencode(FLAT), {"content_type": FORM}),
        (NESTED, {"format": "json"}),
        (NESTED | {"fields_attributes": dict(enumerate(NESTED["fields_attributes"]))}, {"format": "json"}),
    ],
    ids=["multipart", "form", "json", "json, fields by number"],
)
def test_a_profile_is_edited_whole_by_each_kind_of_body(api: Any, alice: Account, body: Any, how: Any) -> None:
    answer = api(alice).patch(EDIT, body, **how)
    assert answer.status_code == 200, answer.content
    mine = api(alice).get(ME).json()
    assert answer.json() == mine
    assert mine["source"] == {
        "privacy": "unlisted",
        "sensitive": True,
        "language": "de",
        "note": "about @bob",
        "fields": [
            {"name": "Site", "value": "https://example.org/?a&b", "verified_at": None},
            {"name": "<Pet>", "value": "a cat", "verified_at": None},
        ],
        "follow_requests_count": 0,
        "discoverable": False,
        "hide_collections": False,
    }
    shown = api().get(f"/api/v1/accounts/{alice.pk}").json()
    assert {name: value for name, value in mine.items() if name not in ("source", "role")} == shown
    assert (shown["display_name"], shown["note"]) == ("Alice", "<p>about @bob</p>")
    assert (shown["locked"], shown["bot"], shown["discoverable"]) == (True, True, False)
    assert shown["fields"][0]["value"].startswith('<a href="https://example.org/?a&amp;b"')
    assert shown["fields"][1] == {"name": "<Pet>", "value": "a cat", "verified_at": None}
    posted = api(alice).post("/api/v1/statuses", {"status": "x"}).json()["account"]
    assert {**posted, "statuses_count": 0, "last_status_at": None} == shown


def test_what_an_edit_leaves_out_stays(api: Any, alice: Account) -> None:
    api(alice).patch(EDIT, FLAT)
    before = api(alice).get(ME).json()
    for body, how in (({}, {}), ({"unknown": "x"}, {}), ({}, {"format": "json"}), ("", {"content_type": FORM})):
        assert api(alice).patch(EDIT, body, **how).json() == before
    for body, how in (({"source[language]": ""}, {}), ({"source": {"language": None}}, {"format": "json"})):
        api(alice).patch(EDIT, {"source[language]": "fr"})
        source = api(alice).patch(EDIT, body, **how).json()["source"]
        assert source == before["source"] | {"language": None}
    cleared = {f"fields_attributes[{place}][{part}]": "" for place in (0, 1) for part in ("name", "value")}
    assert api(alice).patch(EDIT, cleared).json()["fields"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"display_name": "x" * 101},
        {"display_name": "a\0"},
        {"note": "x" * 501},
        {"locked": "perhaps"},
        {"source": {"privacy": "direct"}},
        {"source": {"sensitive": "x"}},
        {"source": {"language": "x" * 20}},
        {"source": "x"},
        {"fields_attributes": "x"},
        {"fields_attributes": ["x"]},
        {"fields_attributes": [{"name": "x" * 256}]},
        {"fields_attributes": [{"name": ["x"]}]},
        {"fields_attributes": [{"name": str(n)} for n in range(5)]},
        ["x"],
    ],
)
def test_a_wrong_profile_is_refused_and_changes_nothing(api: Any, alice: Account, wrong: Any) -> None:
    before = api(alice).get(ME).json()
    body = wrong | {"bot": True} if isinstance(wrong, dict) else wrong
    answer = api(alice).patch(EDIT, body, format="json")
    assert answer.status_code == 422 and answer.json()["error"].startswith("Validation failed: "), answer.content
    assert api(alice).get(ME).json() == before and not Outbox.objects.filter(event="account.edited").exists()


@pytest.mark.parametrize(("name", "what"), [("avatar", "Avatars"), ("header", "Header images")])
def test_a_picture_can_not_be_uploaded_and_the_answer_says_so(api: Any, alice: Account, name: str, what: str) -> None:
    answer = api(alice).patch(EDIT, {name: SimpleUploadedFile("me.png", b"\x89PNG"), "display_name": "Alice"})
    assert (answer.status_code, answer.json()["error"]) == (422, f"Validation failed: {what} are not supported here")
    assert api(alice).get(ME).json()["display_name"] == ""


def test_posts_are_by_default_as_their_author_set_it_a_moment_ago(api: Any, alice: Account) -> None:
    caller = api(alice)

    def post(**fields: Any) -> tuple[str, bool, str | None]:
        written = caller.post("/api/v1/statuses", {"status": "x"} | fields, format="json").json()
        assert caller.get(f"/api/v1/statuses/{written['id']}").json() == written
        return written["visibility"], written["sensitive"], written["language"]

    assert post() == ("public", False, None)
    caller.patch(EDIT, {"source": {"privacy": "private", "sensitive": True, "language": "de"}}, format="json")
    assert post() == post(visibility="", sensitive=None, language="") == ("private", True, "de")
    assert post(visibility="public", sensitive=False, language="en") == ("public", False, "en")
    assert post(sensitive=False, spoiler_text="beware") == ("private", True, "de")
    other = PostFactory(visibility="public")
    wrapper = caller.post(f"/api/v1/statuses/{other.pk}/reblog").json()
    assert (wrapper["visibility"], wrapper["sensitive"], wrapper["language"]) == ("public", False, None)


def test_each_account_has_pictures_of_its_own_that_are_kept_for_good(api: Any, alice: Account, settings: Any) -> None:
    shown = api().get(f"/api/v1/accounts/{alice.pk}").json()
    found = {}
    for kind, size in (("avatar", (400, 400)), ("header", (600, 200))):
        assert shown[kind] == shown[f"{kind}_static"] == f"{settings.BASE_URL}/{kind}s/{alice.pk}.png"
        answer = api().get(shown[kind].removeprefix(settings.BASE_URL))
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
        assert {"public", "immutable", "max-age=31536000"} == set(answer["Cache-Control"].split(", "))
        assert pixels(answer.content) == size and len(answer.content) < 4096
        found[kind] = answer.content
        assert api().get(f"/{kind}s/{alice.pk}.png").content == answer.content
        assert api().get(f"/{kind}s/{alice.pk + 1}.png").content != answer.content
        for nothing in ("x", "-1", str(1 << 63)):
            assert api().get(f"/{kind}s/{nothing}.png").status_code == 404


def test_pictures_ask_no_store(api: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert api().get("/avatars/7.png").status_code == api().get(f"/headers/{(1 << 63) - 1}.png").status_code == 200


def pixels(png: bytes) -> tuple[int, int]:
    """How wide and how high it is, if it is whole."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        length, name = struct.unpack(">I4s", png[place : place + 8])
        data = png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(name + data)
        chunks[name] = data
        place += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = zlib.decompress(chunks[b"IDAT"])
    assert len(lines) == height * (width + 1) and max(lines) < len(chunks[b"PLTE"]) // 3
    return width, height


def test_a_note_on_an_account_is_ones_own(api: Any, alice: Account) -> None:
    bob, url = AccountFactory(), f"/api/v1/accounts/{alice.pk}/note"
    for comment in ("a friend", "a good friend"):
        assert api(bob).post(url, {"comment": comment}).json()["note"] == comment
    assert api(alice).get(f"/api/v1/accounts/relationships?id[]={bob.pk}").json()[0]["note"] == ""
    assert api(bob).get(f"/api/v1/accounts/relationships?id[]={alice.pk}").json()[0]["note"] == "a good friend"
    assert api(bob).post(url, {"comment": "x" * 2001}).status_code == 422
    assert api(bob).post(url).json()["note"] == ""
    assert api(bob).post("/api/v1/accounts/0/note", {"comment": "x"}).status_code == 404


def test_several_accounts_come_in_the_order_asked(api: Any, alice: Account) -> None:
    bob, gone = AccountFactory.create_batch(2)
    actions.delete_account(account=gone)
    asked = "&".join(f"id[]={one}" for one in (bob.pk, gone.pk, alice.pk, 0, bob.pk))
    assert [one["id"] for one in api().get(f"/api/v1/accounts?{asked}").json()] == [str(bob.pk), str(alice.pk)]
    assert api().get("/api/v1/accounts").json() == []
    assert api().get("/api/v1/accounts?id[]=x").status_code == 400


def test_familiar_followers_are_those_whom_one_follows_oneself(api: Any, alice: Account) -> None:
    bob, carol, dora = AccountFactory.create_batch(3)
    factories.follow(alice, bob, carol)
    for follower in (bob, dora):
        factories.follow(follower, AccountFactory(username=f"of_{follower.username}"))
    of_bob, of_dora = Account.objects.filter(username__startswith="of_").order_by("pk")
    factories.follow(carol, of_bob)
    answer = api(alice).get(f"/api/v1/accounts/familiar_followers?id[]={of_bob.pk}&id[]={of_dora.pk}&id[]=0").json()
    assert [one["id"] for one in answer] == [str(of_bob.pk), str(of_dora.pk), "0"]
    assert [[int(who["id"]) for who in one["accounts"]] for one in answer] == [[bob.pk, carol.pk], [], []]


def test_tags_are_featured_with_how_often_they_were_used(api: Any, alice: Account, settings: Any) -> None:
    caller, url = api(alice), "/api/v1/featured_tags"
    for text in ("#Cats #dogs", "#cats", "#cats"):
        last = PostFactory(author=alice, text=text)
    PostFactory(author=alice, text="#cats", visibility="private")
    PostFactory(text="#cats")
    assert [one["name"] for one in caller.get(f"{url}/suggestions").json()] == ["cats", "dogs"]
    first, second = [caller.post(url, {"name": "#Cats"}) for _ in range(2)]
    assert first.status_code == second.status_code == 200 and first.json() == second.json()
    assert first.json() | {"id": ""} == {
        "id": "",
        "name": "cats",
        "url": f"{settings.BASE_URL}/@alice/tagged/cats",
        "statuses_count": "3",
        "last_status_at": f"{last.created_at:%Y-%m-%d}",
    }
    never = caller.post(url, {"name": "Ants"}, format="json").json()
    assert (never["statuses_count"], never["last_status_at"]) == ("0", None)
    other = caller.post(url, {"name": "Grün"}).json()
    assert (other["name"], other["url"]) == ("grün", f"{settings.BASE_URL}/@alice/tagged/gr%C3%BCn")
    caller.delete(f"{url}/{other['id']}")
    assert caller.get(url).json() == api().get(f"/api/v1/accounts/{alice.pk}/featured_tags").json()
    assert [one["name"] for one in caller.get(url).json()] == ["ants", "cats"]
    assert [one["name"] for one in caller.get(f"{url}/suggestions").json()] == ["dogs"]
    for wrong in ("a b", "42", "", "#"):
        assert caller.post(url, {"name": wrong}).status_code == 422
    bob = api(AccountFactory())
    assert bob.delete(f"{url}/{never['id']}").status_code == 404
    assert caller.delete(f"{url}/{never['id']}").json() == {}
    assert caller.delete(f"{url}/{never['id']}").status_code == 404
    for n in range(9):
        caller.post(url, {"name": f"t{n}"})
    assert caller.post(url, {"name": "more"}).status_code == 422
    assert caller.post(url, {"name": "cats"}).status_code == 200

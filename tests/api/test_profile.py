"""What accounts say of themselves, what they look like, and what their posts are by default."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest

from followers.models import Account
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice")


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

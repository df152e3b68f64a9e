"""What tests of the API read from answers."""

from __future__ import annotations

import re
from typing import Any


def ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [int(one["id"]) for one in answer.json()]


def links(answer: Any) -> dict[str, str]:
    return {rel: url for url, rel in re.findall(r'<([^>]+)>; rel="(\w+)"', answer.headers.get("Link", ""))}


def walk(caller: Any, url: str) -> list[list[int]]:
    """All pages from this one on, by their links."""
    pages = []
    while url:
        answer = caller.get(url)
        pages.append(ids(answer))
        url = links(answer).get("next", "")
    return pages

"""What people write: one tokenizer finds mentions, hashtags and links, and one renderer makes safe HTML of a text.

linkify-it finds where each begins and ends; only http and https are links. All else is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from urllib.parse import quote

from linkify_it import LinkifyIt

_NAME = re.compile(r"[a-z0-9_]{1,30}(?![\w@])", re.ASCII | re.IGNORECASE)
_HASHTAG = re.compile(r"(?=\d*[^\W\d])\w{1,100}(?!\w)")  # a number alone is no hashtag
_PARAGRAPH, _BEFORE = re.compile(r"\n{2,}"), re.compile(r"[\w@/&#]\Z")


def _after(pattern: re.Pattern[str]) -> dict[str, object]:
    """The library's rule for what follows a sign: how long it is, 0 where it is nothing."""

    def length(finder: LinkifyIt, text: str, start: int) -> int:
        found = None if _BEFORE.match(text[max(start - 2, 0) : start - 1]) else pattern.match(text, start)
        return found.end() - start if found else 0

    return {"validate": length, "normalize": lambda finder, match: None}


_FINDER = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False})
for _schema in ("ftp:", "mailto:", "//"):
    _FINDER.add(_schema, None)
_FINDER.add("@", _after(_NAME))
_FINDER.add("#", _after(_HASHTAG))


@dataclass(frozen=True)
class Token:
    """text[start:end] is a 'mention', a 'hashtag' or a 'link'. `value`: the username, the tag's name, the URL."""

    kind: str
    start: int
    end: int
    value: str


@lru_cache(maxsize=32)  # what is published is looked at three times: for mentions, for hashtags, to be rendered
def tokens(text: str) -> tuple[Token, ...]:
    kinds = {"@": "mention", "#": "hashtag"}
    return tuple(
        Token(
            kind := kinds.get(match.schema, "link"),
            match.index,
            match.last_index,
            match.url if kind == "link" else match.raw[1:].lower(),
        )
        for match in _FINDER.match(text) or []
    )


def mentions(text: str) -> list[str]:
    """The usernames in their order, each once; whether they exist is not known here."""
    return list(dict.fromkeys(token.value for token in tokens(text) if token.kind == "mention"))


def hashtags(text: str) -> list[str]:
    """The names of the tags in their order, each once, in lower case."""
    return list(dict.fromkeys(token.value for token in tokens(text) if token.kind == "hashtag"))


def render(text: str, base_url: str, mentioned: Mapping[str, str]) -> str:
    """The text as HTML paragraphs. `mentioned`: the URLs of those who exist, by username; others stay plain text."""
    if not text:
        return ""
    html, end = [], 0
    for token in tokens(text):
        html.append(escape(text[end : token.start]))
        html.append(_link(token, text[token.start : token.end], base_url, mentioned))
        end = token.end
    html.append(escape(text[end:]))
    whole = "".join(html).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(f"<p>{part.replace(chr(10), '<br>')}</p>" for part in _PARAGRAPH.split(whole.strip("\n")))


def _link(token: Token, shown: str, base_url: str, mentioned: Mapping[str, str]) -> str:
    if token.kind == "link":
        return f'<a href="{escape(token.value)}" rel="nofollow noopener noreferrer" target="_blank">{escape(shown)}</a>'
    if token.kind == "hashtag":
        href, inner = tag_url(base_url, token.value), f"#<span>{escape(shown[1:])}</span>"
        return f'<a href="{escape(href)}" class="mention hashtag" rel="tag">{inner}</a>'
    if (url := mentioned.get(token.value)) is None:
        return escape(shown)
    inner = f"@<span>{escape(shown[1:])}</span>"
    return f'<span class="h-card"><a href="{escape(url)}" class="u-url mention">{inner}</a></span>'


def tag_url(base_url: str, name: str) -> str:
    """In ASCII, as a URL has to be: clients take others for broken."""
    return f"{base_url}/tags/{quote(name)}"

"""Mentions, hashtags and links in what people write, and the HTML that is made of it."""

from __future__ import annotations

import time

import pytest

from feeds import text


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("hello @Alice, @bob.", ["alice", "bob"]),
        ("(@alice) @alice", ["alice"]),
        ("mail@alice x@bob @carol@elsewhere.example @@dave", []),
        ("@" + "a" * 31, []),
        ("https://example.org/@alice", []),
    ],
)
def test_mentions(written, found):
    assert text.mentions(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("#Cats and #cats, #dogs.", ["cats", "dogs"]),
        ("#größe #日本語 #a_b #1st", ["größe", "日本語", "a_b", "1st"]),
        ("#1 #123 a#b ##c &#39; https://example.org/#part", []),
        ("#" + "a" * 101, []),
    ],
)
def test_hashtags(written, found):
    assert text.hashtags(written) == found


@pytest.mark.parametrize(
    ("written", "html"),
    [
        ("x", "<p>x</p>"),
        ("", ""),
        ("a\nb\r\n\r\n\r\nc", "<p>a<br>b</p><p>c</p>"),
        ("<script>alert('&')</script>", "<p>&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;</p>"),
        (
            "see https://example.org/a?b=1&c=2.",
            '<p>see <a href="https://example.org/a?b=1&amp;c=2" rel="nofollow noopener noreferrer" target="_blank">'
            "https://example.org/a?b=1&amp;c=2</a>.</p>",
        ),
        ("javascript:alert(1) ftp://example.org //x.org", "<p>javascript:alert(1) ftp://example.org //x.org</p>"),
        ("#Cats", '<p><a href="http://here/tags/cats" class="mention hashtag" rel="tag">#<span>Cats</span></a></p>'),
        ("#Öl", '<p><a href="http://here/tags/%C3%B6l" class="mention hashtag" rel="tag">#<span>Öl</span></a></p>'),
        (
            "@Alice @nobody",
            '<p><span class="h-card"><a href="http://here/@alice" class="u-url mention">@<span>Alice</span></a></span>'
            " @nobody</p>",
        ),
    ],
)
def test_a_text_becomes_safe_html(written, html):
    assert text.render(written, "http://here", {"alice": "http://here/@alice"}) == html


def test_a_quote_does_not_break_out_of_a_link():
    html = text.render('https://example.org/"onmouseover="x', "http://here", {})
    assert html.count('"') == 6 and "&quot;" in html


@pytest.mark.parametrize(
    "evil", ["@a", "#a", "https://", "http://a.b", "@", "#", "#a#a", "@a@", "https://a.b/(", "mailto:"]
)
def test_no_text_takes_long(evil):
    began = time.monotonic()
    text.render(evil * (2_000 // len(evil)), "http://here", {})
    assert time.monotonic() - began < 1  # quadratic ones take many times that

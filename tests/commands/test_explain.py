"""explain: one line, for people or as JSON."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.factories import PostFactory, star

pytestmark = pytest.mark.django_db


def explain(*words: object) -> str:
    out = StringIO()
    call_command("explain", *map(str, words), stdout=out)
    return out.getvalue().strip()


def test_the_reason_is_said_in_a_word_and_a_sentence(drain):
    author, [reader] = star(1)
    post = PostFactory(author=author)
    drain()
    assert explain(reader.username.upper(), post.pk).startswith("present, since 20")
    assert explain(reader.username, post.pk).endswith("The reader's timeline in Redis holds the post.")
    other = PostFactory()
    assert json.loads(explain(reader.username, other.pk, "--json")) == {
        "status_id": str(other.pk),
        "account_id": str(reader.pk),
        "answer": "not_followed",
        "since": None,
        "detail": "The reader follows neither the author nor a hashtag of the post.",
    }


def test_whom_and_what_nobody_knows_is_named(drain):
    author, _ = star(1)
    with pytest.raises(CommandError, match="there is no account 'nobody'"):
        explain("nobody", 32)
    with pytest.raises(CommandError, match="there is no post 32"):
        explain(author.username, 32)
    for wrong in ("x", "-1", 1 << 63, ""):
        with pytest.raises(CommandError, match="the id of a post is expected"):
            explain(author.username, f"{wrong}")

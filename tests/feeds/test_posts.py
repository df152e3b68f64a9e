"""Posts as rows: what the rows of before have to learn."""

from __future__ import annotations

from importlib import import_module

import pytest

from feeds import database
from feeds.models import Post
from tests.factories import PostFactory

pytestmark = pytest.mark.django_db


def test_an_older_answer_learns_what_its_conversation_began_with():
    """The migration's statement, on posts as they were before it."""
    first = PostFactory()
    answer = PostFactory(in_reply_to=first)
    last = PostFactory(in_reply_to=answer)
    began = {first.pk: None, answer.pk: first.pk, last.pk: first.pk}
    assert dict(Post.objects.values_list("pk", "conversation")) == began
    Post.objects.update(conversation=None)
    database.changed(import_module("feeds.migrations.0011_conversation_mute").BEGINNINGS)
    assert dict(Post.objects.values_list("pk", "conversation")) == began

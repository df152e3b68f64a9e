"""Those who leave: what a deleted account takes with it, and what stays."""

from __future__ import annotations

import pytest

from feeds import actions, entities
from feeds.models import Post
from tests.factories import PostFactory

pytestmark = pytest.mark.django_db


def test_tasks_of_a_deleted_account_and_of_reblogs_of_its_posts_end(drain):
    original = PostFactory()
    reblog = actions.reblog(author=PostFactory().author, original=original)
    actions.delete_account(account=original.author)
    drain()
    assert entities.hydrate(entities.refs([original.pk, reblog.pk]), None) == []
    with pytest.raises(Post.DoesNotExist):
        entities.post(reblog)

"""Who of those that listen is shown a post: what it costs to ask. Who it is: tests/streaming."""

from __future__ import annotations

import pytest
from django.db import connection

from feeds import actions, listeners
from followers.models import Account
from tests.factories import AccountFactory, PostFactory, follow
from tests.postgresql import plans

pytestmark = pytest.mark.django_db

FOLLOWERS, LISTENING = 20_000, 300


@pytest.fixture
def popular() -> tuple[Account, list[Account]]:
    """An author with FOLLOWERS, of whom some exist."""
    author, *readers = AccountFactory.create_batch(11)
    for reader in readers:
        follow(reader, author)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO followers_follow (follower_id, followee_id)
            SELECT n, %(author)s FROM generate_series(10000001, 10000000 + %(followers)s) n
            UNION ALL SELECT 20000000 + n, 10000000 + n %% 100 FROM generate_series(1, %(followers)s) n;
            UPDATE followers_account SET followers_count = %(followers)s + 10 WHERE id = %(author)s;
            ANALYZE followers_follow
            """,
            {"author": author.pk, "followers": FOLLOWERS},
        )
    return author, readers


@pytest.mark.parametrize("popular_one", [True, False])
def test_a_post_costs_as_many_looks_as_listen_and_not_as_many_as_follow(popular, popular_one):
    author, readers = popular
    other = AccountFactory()
    follow(readers[0], other)
    found = actions.create_list(owner=readers[1], title="friends")
    actions.add_to_list(owner=readers[1], list_id=found.pk, account_ids=[author.pk])
    actions.mute(account=readers[2], target_id=author.pk)
    post = PostFactory(author=author if popular_one else other, text="hello #news")
    listening = [reader.pk for reader in readers] + list(range(10_000_001, 10_000_001 + LISTENING))
    with plans.watched() as asked:
        [heard] = listeners.shown([post.pk], homes=listening, lists=[found.pk], public=listening).values()
        actions.delete_post(author=post.author, post_id=post.pk)
        [gone] = listeners.taken_back([post.pk], homes=listening, lists=[found.pk]).values()
    if popular_one:
        muting = readers[2].pk
        assert (heard.home, heard.lists, heard.hidden_from) == ({*listening} - {muting}, {found.pk}, {muting})
        assert gone.home == {*listening}
    else:
        assert heard.home == gone.home == {readers[0].pk}
    assert (heard.public, heard.tags) == (gone.public, gone.tags) == (True, ["news"])
    for one in asked:
        for scan in one.scans:
            assert scan.touched < 5 * LISTENING, (one.statement, scan)

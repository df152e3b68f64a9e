"""Timelines that PostgreSQL serves alone: what they cost."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import pytest
from django.db import connection

from feeds import actions, database, home, notifications, posts, timelines
from feeds.models import Post
from feeds.posts import Cursor
from followers import graph
from tests.factories import AccountFactory, PostFactory, follow

pytestmark = pytest.mark.django_db


@pytest.fixture
def many():
    """A reader among 20,000 posts, a reblog of each third one, and 20,000 mentions; PostgreSQL knows how many."""
    reader, author, other = AccountFactory.create_batch(3)
    follow(reader, author)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO feeds_post (id, author_id, text, spoiler_text, sensitive, visibility, created_at)
            SELECT (1600000000000 + n) << 16, %(author)s, '', '', false, 'public', now() FROM generate_series(1, 20000) n;
            INSERT INTO feeds_post (id, author_id, text, spoiler_text, sensitive, visibility, created_at, reblog_of_id)
            SELECT id + 32, %(other)s, '', '', false, 'public', now(), id FROM feeds_post WHERE (id >> 16) %% 3 = 0;
            INSERT INTO feeds_mention (post_id, account_id) SELECT id, %(other)s FROM feeds_post WHERE reblog_of_id IS NULL;
            INSERT INTO feeds_tag (name) VALUES ('cats');
            INSERT INTO feeds_posttag (post_id, tag_id) SELECT p.id, t.id FROM feeds_post p, feeds_tag t;
            ANALYZE feeds_post; ANALYZE feeds_mention; ANALYZE feeds_posttag
            """,
            {"author": author.pk, "other": other.pk},
        )
    actions.block(blocker=reader, blocked_id=AccountFactory().pk)
    return reader, author, other


def test_no_page_reads_a_whole_table(many):
    """PostgreSQL would read all posts, or all mentions, to make a hash of them, for a page that asks for two."""
    reader, author, other = many
    post = PostFactory(author=author)
    made = actions.create_list(owner=reader, title="a list")
    actions.add_to_list(owner=reader, list_id=made.pk, account_ids=[author.pk])
    actions.follow_tag(account=reader, name="cats")
    cursor = Cursor(limit=2)
    asked = []
    with connection.execute_wrapper(partial(remember, asked)):
        posts.public_timeline(reader, cursor)
        posts.author_timeline(reader, other.pk, cursor)
        posts.tag_timeline(reader, "cats", cursor)
        posts.list_timeline(reader, made.pk, cursor)
        posts.reblogged_by(reader, post, graph.Cursor(limit=2))
        posts.favourites(reader, graph.Cursor(limit=2))
        home.page(reader, cursor)
        home.page(reader, Cursor(limit=2, min_id=1))
        timelines.evict([reader.pk])
        home.page(reader, cursor)
        home.page(reader, Cursor(limit=2, min_id=1))
        notifications.page(reader, cursor)
    read = [one for one in asked if one[0].lstrip().startswith(("SELECT", "WITH"))]
    assert len(read) > 15 and any(is_prepared for *_, is_prepared in read)
    for statement, values, is_prepared in read:
        for node in nodes(plan(statement, values, is_prepared)):
            read = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
            assert node["Node Type"] != "Seq Scan" or read < 1000, (statement, node)


def remember(asked, execute, statement, values, many, context):
    asked.append((statement, values, isinstance(context["cursor"].cursor, database._Prepared)))
    return execute(statement, values, many, context)


def plan(statement, values, is_prepared):
    """As PostgreSQL executed it. What is prepared has one plan for all values."""
    with connection.cursor() as cursor:
        if is_prepared:
            text, names = database._numbered(statement)
            cursor.execute(b"PREPARE asked AS " + text)
            statement, values = f"EXECUTE asked ({', '.join(['%s'] * len(names))})", [values[name] for name in names]
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", values)
        [(found,)] = cursor.fetchall()
        if is_prepared:
            cursor.execute("DEALLOCATE asked")
    return found[0]["Plan"]


def nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


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

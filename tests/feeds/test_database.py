"""Prepared statements: inside a transaction and outside, when they fail, and when their connection is gone."""

from __future__ import annotations

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction

from feeds.database import is_away, prepared, rows
from feeds.models import Tag

INSERT = "INSERT INTO feeds_tag (name) VALUES (%(name)s) RETURNING id, name"


@pytest.mark.django_db(transaction=True)
def test_a_prepared_statement_commits_alone_and_is_undone_with_its_transaction():
    [(kept_id, name)] = prepared(INSERT, name="kept")
    with transaction.atomic():
        prepared(INSERT, name="undone")
        transaction.set_rollback(True)
    assert (kept_id, name) == (Tag.objects.get().pk, "kept")


@pytest.mark.django_db(transaction=True)
def test_a_prepared_statement_fails_as_any_other_and_works_again():
    prepared(INSERT, name="cats")
    with pytest.raises(IntegrityError, match="feeds_tag"):
        prepared(INSERT, name="cats")
    with pytest.raises(DataError):
        prepared("SELECT 1 / %(by)s::int", by=0)
    assert prepared(INSERT, name="dogs")[0][1] == "dogs"


@pytest.mark.django_db
def test_one_text_takes_values_of_other_types():
    for value, found in ((1, "1"), ("one", "one"), (None, None), ([1, 2], "{1,2}"), (True, "true")):
        assert prepared("SELECT %(value)s::text", value=value) == [(found,)]


@pytest.mark.django_db(transaction=True)
def test_a_late_prepared_statement_is_the_statements_fault_and_a_lost_connection_is_not():
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 20")
    with pytest.raises(OperationalError) as late:
        prepared("SELECT pg_sleep(%(seconds)s::int)", seconds=5)
    assert not is_away(late.value)

    with psycopg.connect(connection.connection.info.dsn, password=connection.connection.info.password) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    with pytest.raises(OperationalError) as lost:
        prepared(INSERT, name="cats")
    assert is_away(lost.value)
    connection.close_if_unusable_or_obsolete()
    assert prepared(INSERT, name="cats")[0][1] == "cats" == rows("SELECT name FROM feeds_tag")[0][0]

"""How the subjects talk SQL where the ORM has no words for it, and what counts as a failing store.

Statements run in autocommit on the primary (the protocol counts on that), unless the caller opened a transaction.
"""

from __future__ import annotations

from typing import Any

import redis
from django.db import InterfaceError, OperationalError, connection
from psycopg.errors import QueryCanceled

STORE_ERRORS = (OperationalError, InterfaceError, redis.ConnectionError, redis.TimeoutError)
"""PostgreSQL or Redis is gone or late: the work is given back, to be done again soon."""


def is_away(error: BaseException) -> bool:
    """Whether a store error is the store's fault, and costs no attempt. That a statement is too slow for its bound is not."""
    return not isinstance(error.__cause__, QueryCanceled)


def exists(select: str) -> str:
    """SQL: whether the SELECT, a look-up by an index, finds a row.

    OFFSET 0 keeps PostgreSQL from reading the whole table once, to make a hash of it: it expects to be asked for many rows
    where a page ends after a few.
    """
    return f"EXISTS ({select} OFFSET 0)"


def likely(condition: str) -> str:
    """SQL: the condition, of which PostgreSQL shall guess that every other row meets it.

    It would multiply its guesses at the parts, think that a page has to look at all rows for the few that are left, and sort
    the table rather than follow an index. Of a work row's state it would guess that next to none is open, and go through the
    index of all open ones for those whose ids it was given.
    """
    return f"CASE WHEN {condition} THEN true ELSE false END"


def rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows that a SELECT, or a RETURNING, gives."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def changed(statement: str, **values: Any) -> int:
    """How many rows an INSERT, UPDATE or DELETE touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount

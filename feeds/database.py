"""How the subjects talk SQL where the ORM has no words for it, and what counts as a failing store.

Statements run in autocommit on the primary (the protocol counts on that), unless the caller opened a transaction.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import psycopg
import redis
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections
from psycopg.errors import QueryCanceled
from psycopg.types.numeric import Int8

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


def prepared(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """As `rows`, for a statement that every page or post needs: each connection has PostgreSQL plan it once, not each time.

    So its plan must be good whatever the values (settings.py forces that one), and its text one of few: values go in by
    name alone. Type a parameter by a cast where PostgreSQL could not tell.
    """
    database = connections[DEFAULT_DB_ALIAS]  # what `connection` looks up again for each of its attributes
    with database.cursor() as cursor:  # for its looks after the connection; what it would send, it binds by itself
        cursor.cursor = _Preparing(database.connection)
        cursor.execute(statement, values)
        return cursor.fetchall()


class _Preparing(psycopg.RawCursor[Any]):
    """Prepares what it executes, and lets PostgreSQL bind the values."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
        text, names = _numbered(query)
        return super().execute(text, [_typed(params[name]) for name in names], prepare=True)


def _typed(value: Any) -> Any:
    """Numbers as bigint: else their types, and with them the statement, would depend on how large they are. Lists of numbers
    as text, for the same reason, and since psycopg would look at each of them.
    """
    if type(value) is int:
        return Int8(value)
    return f"{{{','.join(map(str, value))}}}" if type(value) is list and value and type(value[0]) is int else value


@cache
def _numbered(statement: str) -> tuple[bytes, list[str]]:
    """PostgreSQL's own way to name parameters, $1 for the first %(name)s, and the names in their order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    numbers = {name: f"${place}" for place, name in enumerate(names, 1)}
    return re.sub(r"%\((\w+)\)s", lambda found: numbers[found[1]], statement).replace("%%", "%").encode(), names

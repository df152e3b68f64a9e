"""The two ways in which the subjects talk SQL where the ORM has no words for it, and what counts as a failing store.

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

"""The two ways in which the subjects talk SQL where the ORM has no words for it, and what counts as a failing store.

Statements run in autocommit on the primary (the protocol counts on that), unless the caller opened a transaction.
"""

from __future__ import annotations

from typing import Any

import redis
from django.db import InterfaceError, OperationalError, connection

STORE_ERRORS = (OperationalError, InterfaceError, redis.ConnectionError, redis.TimeoutError)
"""PostgreSQL or Redis is gone or late. Not the work's fault: it is given back, and no attempt is burned."""


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

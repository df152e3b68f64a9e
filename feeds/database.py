"""How the subjects talk SQL where the ORM has no words for it, and what counts as a failing store.

Statements run in autocommit on the primary (the protocol counts on that), unless the caller opened a transaction; reads
that may lag on the replica that replicas.py has chosen.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import redis
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections
from django.db.models import QuerySet
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.errors import QueryCanceled, error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.types.numeric import Int8

REDIS_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,  # a replica that was, or will be, the master
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,  # none of the nodes can be reached, or none has the slot
    redis.exceptions.AskError,  # or MOVED: a slot that does not come to rest
    redis.exceptions.TryAgainError,
)
"""Redis is gone or late, or can't be written to for now; or a cluster is being rebuilt."""

STORE_ERRORS = (OperationalError, InterfaceError, *REDIS_AWAY)
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


_asked_of: ContextVar[str] = ContextVar("asked_of", default=DEFAULT_DB_ALIAS)


def asked_of() -> str:
    """The alias of the database that is read: the primary, but for what replicas.py sends elsewhere."""
    return _asked_of.get()


@contextmanager
def asking(alias: str) -> Iterator[None]:
    """What is read meanwhile is asked of that database; what is written, or prepared, of the primary all the same."""
    before = _asked_of.set(alias)
    try:
        yield
    finally:
        _asked_of.reset(before)


def rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows that a SELECT, or a RETURNING, gives."""
    with connections[asked_of()].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def changed(statement: str, **values: Any) -> int:
    """How many rows an INSERT, UPDATE or DELETE touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount


COUNTED = 100_000  # rows that `about` counts: some milliseconds


def about(queryset: QuerySet[Any]) -> int:
    """How many rows there are: counted, or, if there are more than that, as PostgreSQL guesses when it plans to read them."""
    found = queryset.order_by()[: COUNTED + 1].count()
    if found <= COUNTED:
        return found
    [planned] = json.loads(queryset.order_by().explain(format="json"))
    return max(found, int(planned["Plan"]["Plan Rows"]))


@contextmanager
def alone(lock: int) -> Iterator[bool]:
    """Whether the caller is inside by itself: of all who come with the same number, on all machines, one is let in, and
    nobody waits.
    """
    [(inside,)] = rows("SELECT pg_try_advisory_lock(%(lock)s)", lock=lock)
    try:
        yield inside
    finally:
        if inside:
            rows("SELECT pg_advisory_unlock(%(lock)s)", lock=lock)


SLICE = 5_000  # rows that one statement deletes: its locks, and what it writes, are soon done with
SWEEP_SECONDS = 3  # that one sweep takes at most: what is left is for the next one


def swept(delete: str, **values: Any) -> int:
    """How many rows went, by a DELETE of %(slice)s rows at most, executed until it finds fewer."""
    gone, until = 0, time.monotonic() + SWEEP_SECONDS
    while (found := changed(delete, slice=SLICE, **values)) == SLICE and time.monotonic() < until:
        gone += found
    return gone + found


def prepared(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """As `rows`, for a statement that every page or post needs: each connection has PostgreSQL plan it once, not each time.

    So its plan must be good whatever the values (settings.py forces that one), and its text one of few: values go in by
    name alone. Type a parameter by a cast where PostgreSQL could not tell.
    """
    return _executed(statement, values).rows()


def prepared_lines(statement: str, **values: Any) -> list[bytes]:
    """The same of rows of one column, none of them NULL, as PostgreSQL writes them down."""
    return _executed(statement, values).lines()


def _executed(statement: str, values: dict[str, Any]) -> _Prepared:
    database: Any = connections[DEFAULT_DB_ALIAS]  # what `connection` looks up again for each of its attributes
    database.close_if_health_check_failed()
    database.ensure_connection()
    found = _local.__dict__.get("prepared")
    if found is None or found.connection is not database.connection:
        found = _local.prepared = _Prepared(database.connection)
    if database.execute_wrappers or database.force_debug_cursor:  # somebody watches
        database._prepare_cursor(found).execute(statement, values)
    else:  # what is left of Django's cursor, of which the rest takes longer than all this
        with database.wrap_database_errors:
            found.execute(statement, values)
    return found


_local = threading.local()


class _Prepared:
    """As much of a cursor as Django asks for, by libpq and by what psycopg knows of types. There is one for each connection.

    A cursor of psycopg's takes twice as long: it can do a great deal more.
    """

    _query = None  # Django's log has no words for it

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.adapters = AdaptersMap(connection.adapters)
        # Else a number's type, and with it the statement, would depend on how large it is.
        self.adapters.register_dumper(int, self.adapters.get_dumper(Int8, PyFormat.BINARY))
        self.types = Transformer(self)
        self.names = _names.setdefault(connection, {})

    def execute(self, statement: str, values: dict[str, Any]) -> None:
        text, names = _numbered(statement)
        if not self.connection.autocommit:
            self.connection.execute("")  # begins the transaction, unless that is done
        types = self.types
        typed = [_array(values[name]) if type(values[name]) is list else values[name] for name in names]
        sent: Any = types.dump_sequence(typed, [PyFormat.AUTO] * len(names))
        name = self._name(text, types.types or ())
        self.result = self._succeeded(self.connection.pgconn.exec_prepared(name, sent, types.formats))

    def rows(self) -> list[tuple[Any, ...]]:
        self.types.set_pgresult(self.result)
        return self.types.load_rows(0, self.result.ntuples, tuple)

    def lines(self) -> list[bytes]:
        value: Any = self.result.get_value
        return [value(row, 0) for row in range(self.result.ntuples)]

    def _name(self, text: bytes, types: tuple[int, ...]) -> bytes:
        """The statement's, on this connection: given with the first execution, when PostgreSQL plans it."""
        if (name := self.names.get((text, types))) is None:
            name = b"statement %d" % len(self.names)
            self._succeeded(self.connection.pgconn.prepare(name, text, types))
            self.names[text, types] = name
        return name

    def _succeeded(self, result: PGresult) -> PGresult:
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        if self.connection.closed:
            raise psycopg.OperationalError(result.get_error_message())
        raise error_from_result(result)


_names: WeakKeyDictionary[psycopg.Connection[Any], dict[tuple[bytes, tuple[int, ...]], bytes]] = WeakKeyDictionary()
"""What each connection has prepared, by text and types."""


def _array(values: list[Any]) -> Any:
    """A list of numbers as text: psycopg would look at each of them."""
    return f"{{{','.join(map(str, values))}}}" if values and type(values[0]) is int else values


@cache
def _numbered(statement: str) -> tuple[bytes, list[str]]:
    """PostgreSQL's own way to name parameters, $1 for the first %(name)s, and the names in their order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    numbers = {name: f"${place}" for place, name in enumerate(names, 1)}
    return re.sub(r"%\((\w+)\)s", lambda found: numbers[found[1]], statement).replace("%%", "%").encode(), names

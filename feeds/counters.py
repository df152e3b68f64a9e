"""The counters stored on accounts and posts, compared with the rows that they count.

Whoever changes what is counted writes the counter in the same transaction. So one statement sees both or neither, and what
differs in it is drift, also while the service goes on. PostgreSQL compares a range of ids at a time; only drift comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import transaction

from .database import changed, rows

SLICE = 500  # rows compared by one statement
PATIENCE = (
    "5min"  # for a slice in which somebody has a great many followers; and for the lock of a row that an import holds
)


@dataclass(frozen=True)
class Kind:
    """A table with counters: by the counter's name what it counts, of the table's row `r`; and what its rows are called."""

    table: str
    called: str
    counts: dict[str, str]


KINDS = {
    "account": Kind(
        "followers_account",
        "'account ' || username",
        {
            "followers_count": "SELECT count(*) FROM followers_follow WHERE followee_id = r.id",
            "following_count": "SELECT count(*) FROM followers_follow WHERE follower_id = r.id",
            "statuses_count": "SELECT count(*) FROM feeds_post WHERE author_id = r.id AND deleted_at IS NULL",
        },
    ),
    "post": Kind(
        "feeds_post",
        "'post ' || id",
        {
            "replies_count": "SELECT count(*) FROM feeds_post WHERE in_reply_to_id = r.id AND deleted_at IS NULL",
            "reblogs_count": "SELECT count(*) FROM feeds_post WHERE reblog_of_id = r.id AND deleted_at IS NULL",
            "favourites_count": "SELECT count(*) FROM feeds_favourite WHERE post_id = r.id",
        },
    ),
}


@dataclass(frozen=True)
class Drift:
    """A counter that is not the number of the rows."""

    kind: str
    row_id: int
    called: str
    counter: str
    stored: int
    counted: int


def find(kind: str, show: Callable[[int], None] = lambda done: None) -> Iterator[Drift]:
    """The counters of the kind that are wrong, in the order of ids. `show` is told how many rows are done."""
    last = done = 0
    while ids := _next(kind, last):
        yield from _compare(kind, above=last, until=ids[-1])
        last, done = ids[-1], done + len(ids)
        show(done)


def mend(kind: str, row_id: int) -> list[Drift]:
    """Counts the row's counters anew, under its lock. What was wrong by then.

    Nobody's change is lost, nor counted twice. The count is a statement of its own, which begins when we have the lock: it
    sees every change whose counter is written, for to write it takes the lock that we waited for. A change that it does not
    see has its counter still to write; that waits for us, and then adds to what we wrote.
    """
    with _patiently():
        rows(f"SELECT 1 FROM {KINDS[kind].table} WHERE id = %(id)s FOR NO KEY UPDATE", id=row_id)
        found = _compare(kind, above=row_id - 1, until=row_id)
        if found:
            _write(kind, row_id, found)
    return found


def _next(kind: str, last: int) -> list[int]:
    found = rows(
        f"SELECT id FROM {KINDS[kind].table} WHERE id > %(last)s ORDER BY id LIMIT %(slice)s", last=last, slice=SLICE
    )
    return [row_id for (row_id,) in found]


def _compare(kind: str, *, above: int, until: int) -> list[Drift]:
    about = KINDS[kind]
    counted = ", ".join(f"({count}) AS {name}_now" for name, count in about.counts.items())
    pairs = ", ".join(f"('{name}', {name}, {name}_now)" for name in about.counts)
    with _patiently():
        found = rows(
            f"""
            SELECT id, called, c.* FROM (
                SELECT *, {about.called} AS called, {counted} FROM {about.table} r
                WHERE id > %(above)s AND id <= %(until)s ORDER BY id OFFSET 0) r
            CROSS JOIN LATERAL (VALUES {pairs}) c (counter, stored, counted) WHERE stored <> counted
            """,
            above=above,
            until=until,
        )
    return [Drift(kind, *columns) for columns in found]


def _write(kind: str, row_id: int, found: list[Drift]) -> None:
    """With a new version, since counters are part of what is cached under it."""
    counters = ", ".join(f"{drift.counter} = %({drift.counter})s" for drift in found)
    changed(
        f"UPDATE {KINDS[kind].table} SET {counters}, version = version + 1 WHERE id = %(id)s",
        id=row_id,
        **{drift.counter: drift.counted for drift in found},
    )


@contextmanager
def _patiently() -> Iterator[None]:
    """A transaction in which a statement may take longer than a page's."""
    with transaction.atomic():
        changed(f"SET LOCAL statement_timeout = '{PATIENCE}'; SET LOCAL lock_timeout = '{PATIENCE}'")
        yield

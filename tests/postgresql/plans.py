"""How PostgreSQL executes what the service asks: each statement as it was sent, and which rows and pages its scans touched.

`watched` explains every statement in the moment before it is executed: the very text with the very values, and of what is
prepared the very statement that the connection has prepared, with its one plan for all values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction
from psycopg.adapt import PyFormat

from feeds import database


@dataclass(frozen=True)
class Scan:
    """One scan of a table, all its loops together. `touched`: rows given, and rows looked at in vain."""

    table: str
    index: str | None
    touched: int
    searches: int  # descents through an index
    pages: int
    loops: int  # 0: it was not needed


@dataclass(frozen=True)
class Asked:
    """A statement of the service's, how it was executed, and how many rows it gave or changed."""

    statement: str
    plan: dict[str, Any]
    scans: list[Scan]
    returned: int


@contextmanager
def watched() -> Iterator[list[Asked]]:
    """What is asked meanwhile. Each statement is executed twice, the first time undone: in a transaction."""
    asked: list[Asked] = []
    with connection.execute_wrapper(partial(_explain, asked)):
        yield asked


@contextmanager
def undone() -> Iterator[None]:
    """What is changed meanwhile."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _explain(asked: list[Asked], execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
    if statement.lstrip("\n (").startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
        plan = _plan(context["cursor"].cursor, statement, values)
        asked.append(Asked(statement, plan, list(_scans(plan)), _returned(plan)))
    return execute(statement, values, many, context)


def _plan(asking: Any, statement: str, values: Any) -> dict[str, Any]:
    if isinstance(asking, database._Prepared):
        text, names = database._numbered(statement)
        values = [database._array(values[name]) if type(values[name]) is list else values[name] for name in names]
        asking.types.dump_sequence(values, [PyFormat.AUTO] * len(names))
        statement = f'EXECUTE "{asking._name(text, asking.types.types or ()).decode()}"'
        statement += f" ({', '.join(['%s'] * len(names))})" if names else ""
    with undone(), connection.connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", values)
        [(found,)] = cursor.fetchall()
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


def _returned(plan: dict[str, Any]) -> int:
    """What a change without RETURNING gives is what it changed."""
    if plan["Node Type"] == "ModifyTable" and not plan["Actual Rows"]:
        return _rows(plan["Plans"][0])
    return _rows(plan)


def _scans(node: dict[str, Any]) -> Iterator[Scan]:
    parts = node.get("Plans", [])
    if "Relation Name" in node and node["Node Type"] != "ModifyTable":
        indexes = [node, *_bitmaps(node)]
        in_vain = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
        yield Scan(
            table=node["Relation Name"],
            index=next((one["Index Name"] for one in indexes if "Index Name" in one), None),
            touched=round((node["Actual Rows"] + in_vain) * node["Actual Loops"]),
            searches=sum(one.get("Index Searches", 0) for one in indexes),
            pages=_pages(node) - sum(_pages(part) for part in parts if part["Parent Relationship"] != "Outer"),
            loops=round(node["Actual Loops"]),
        )
    for part in parts:
        yield from _scans(part)


def _bitmaps(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The scans of indexes from which a table's scan has its bitmap."""
    for part in node.get("Plans", []):
        if part["Node Type"].startswith("Bitmap") and part["Node Type"] != "Bitmap Heap Scan":
            yield part
            yield from _bitmaps(part)


def _rows(node: dict[str, Any]) -> int:
    return round(node["Actual Rows"] * node["Actual Loops"])


def _pages(node: dict[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))

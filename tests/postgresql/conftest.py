"""Databases beside the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feeds.database import rows

from . import databases, million, plans


@pytest.fixture(scope="module")
def _million(django_db_setup: None) -> Iterator[str]:
    with million.million("million"):
        yield "million"


@pytest.fixture
def among_a_million(_million: str, db: None) -> Iterator[set[str]]:
    """What the service asks it asks of a database of a million follows and posts; its large tables. Changes are undone."""
    with databases.asked(_million), plans.undone():
        yield {name for (name,) in rows("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 5000")}

"""The table of docs/api.md: every route is in it, no other, and each with a test that is there.

That the test asks for the route: conformance.unasked, at the end of a session (conftest.py).
"""

from __future__ import annotations

import ast

from feeds.web import urls as pages
from feedsvc.run import ROOT
from tests import conformance
from tests.api.test_schema import routes


def test_every_route_is_in_the_table_and_no_other() -> None:
    listed = [f"{row.method} {row.path}" for row in conformance.rows()]
    there = {conformance.row_path(route) for route in routes() | routes(pages.ROUTES)}
    assert len(listed) == len(set(listed)), "a route is there twice"
    assert there - set(listed) == set(), "missing in docs/api.md"
    assert set(listed) - there == set(), "in docs/api.md, and not there"


def test_each_row_names_a_test_that_is_there() -> None:
    known: dict[str, set[str]] = {}
    for row in conformance.rows():
        assert row.state in ("done", "empty", "refused"), row
        file, _, name = row.test.partition("::")
        if file not in known:
            tree = ast.parse((ROOT / file).read_text())
            known[file] = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
        assert name in known[file], row

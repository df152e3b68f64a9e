"""Whether the service keeps to its OpenAPI document: every answer that a test gets from the API is compared with it.

    checked    takes the place of APIClient.request (conftest.py)
    check      the same of one exchange, however it was had
    rows       the table of docs/api.md, each with the test that it names
    unasked    those of them whose test ran, and asked for something else

What is asked for must be known, too: a test that sends a parameter on purpose that nobody knows names it in UNKNOWN.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from django.test.client import FakePayload
from django.urls import Resolver404, resolve
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from rest_framework.test import APIClient

from feeds.api import docs, schema, urls
from feedsvc.run import ROOT

UNKNOWN = set("exclude_unreviewed format local locale media_ids never_heard_of poll scheduled_at unknown x x[]".split())
"""What tests send on purpose and no form knows: made-up names, and those of things that are not built."""

ROW = re.compile(r"^\| `([A-Z]+) /([^`]+)` \| (\w+) \| `([^`]+::\w+)` \|$", re.MULTILINE)

_request = APIClient.request
_asked: dict[str, set[str]] = defaultdict(set)
"""`METHOD path`, as docs/api.md writes it, by the test that asked for it."""


def checked(client: APIClient, **environ: Any) -> Any:
    """A request of the test client's, and its answer, which must be as documented."""
    body = environ["wsgi.input"].read() if "wsgi.input" in environ else b""
    answer = _request(client, **environ | {"wsgi.input": FakePayload(body)})
    check(
        environ["REQUEST_METHOD"],
        answer.wsgi_request.path_info,
        query=environ.get("QUERY_STRING", ""),
        sent=(environ.get("CONTENT_TYPE", ""), body),
        status=answer.status_code,
        headers=answer.headers,
        content=answer.content,
    )
    return answer


def check(
    method: str, path: str, *, query: str | None, sent: tuple[str, bytes], status: int, headers: Any, content: bytes
) -> None:
    """Fails with one line that says which answer, and what is wrong with it. `query` is None: no parameter is looked at."""
    if method in ("HEAD", "OPTIONS"):
        return
    if wrong := _wrong(method, path, query, sent, status, headers, content):
        pytest.fail(f"{method} {path} answered {status}, which is not as documented: {wrong}", pytrace=False)


class Row(NamedTuple):
    method: str
    path: str
    state: str
    test: str


def rows() -> list[Row]:
    return [Row(*found) for found in ROW.findall((ROOT / "docs/api.md").read_text())]


def row_path(route: str) -> str:
    return re.sub(r"<\w+:(\w+)>", r":\1", route)


def unasked() -> list[str]:
    """Pages for people are left out: no test asks for them by APIClient."""
    ours = {row_path(route) for route in urls.ROUTES}
    named = [(row.test, f"{row.method} {row.path}") for row in rows() if row.path in ours]
    return [f"{test} does not ask for {route}" for test, route in named if test in _asked and route not in _asked[test]]


def _wrong(
    method: str, path: str, query: str | None, sent: tuple[str, bytes], status: int, headers: Any, content: bytes
) -> str | None:
    try:
        route = resolve(path).route.rstrip("/")
    except Resolver404:
        return None if status in (400, 404) and _is_error(content) else "there is no such route"
    if route not in urls.ROUTES:
        return None  # a page for people
    known = documented()["paths"].get(schema.path(route))
    if known is None:
        return f"the route {route} is not documented"
    operation = known.get(method.lower())
    _asked[os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].partition("[")[0]].add(f"{method} {row_path(route)}")
    if operation is None:
        return None if status in (400, 405) else f"{method} is not documented"
    if query is not None and status < 400 and (unknown := _unknown(operation, query, sent) - UNKNOWN):
        return f"{', '.join(sorted(unknown))} is no documented parameter"
    if status == 400 and "400" not in operation["responses"] and _is_error(content):
        return None  # a malformed request to what takes nothing: Django's own refusal
    if str(status) not in operation["responses"]:
        return "no such status is documented"
    response = _resolved(operation["responses"][str(status)])
    if "Link" in headers and "Link" not in response.get("headers", {}):
        return "there is a header Link"
    if "content" not in response:
        return None
    kind = headers["Content-Type"].partition(";")[0]
    if kind not in response["content"]:
        return f"its type is {kind}, not {' or '.join(response['content'])}"
    if kind != "application/json" or "schema" not in response["content"][kind]:
        return None
    error = best_match(_validator(method, route, status).iter_errors(json.loads(content)))
    return error and f"{error.json_path}: {error.message[:300]}"


def _is_error(content: bytes) -> bool:
    return json.loads(content).keys() == {"error"}


def _unknown(operation: Any, query: str, sent: tuple[str, bytes]) -> set[str]:
    """The names that were sent and are not known. `x` is as good as `x[]`."""
    known = {one["name"] for one in operation.get("parameters", ())}  # a DELETE may say them in its body, too
    kind, body = sent
    if told := operation.get("requestBody", {}).get("content", {}).get(kind.partition(";")[0]):
        known |= _resolved(told["schema"])["properties"].keys()
    asked = {name for name, _ in parse_qsl(query, keep_blank_values=True)} | _names(kind, body)
    numbered = {name: re.sub(r"\[\d+\]", "[0]", name) for name in asked}
    return {name for name, first in numbered.items() if not known & {first, f"{first}[]", first.removesuffix("[]")}}


def _names(kind: str, body: bytes) -> set[str]:
    if kind.startswith("application/json"):
        return set(json.loads(body)) if body else set()
    if kind.startswith("multipart/"):
        return {name.decode() for name in re.findall(rb'; name="([^"]*)"', body)}
    if kind.startswith("application/x-www-form-urlencoded"):
        return {name for name, _ in parse_qsl(body.decode(), keep_blank_values=True)}
    return set()


@cache
def documented() -> Any:
    return json.loads(docs.document())


def _resolved(part: Any) -> Any:
    if "$ref" not in part:
        return part
    *_, kind, name = part["$ref"].split("/")
    return documented()["components"][kind][name]


@cache
def _validator(method: str, route: str, status: int) -> Draft202012Validator:
    response = _resolved(documented()["paths"][schema.path(route)][method.lower()]["responses"][str(status)])
    body = response["content"]["application/json"]["schema"]
    return Draft202012Validator(body | {"components": documented()["components"]})

"""The OpenAPI document: it is valid, tells of every route and no other, and its page needs nothing from elsewhere.

That every answer is as it says: tests/conformance.py.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from drf_spectacular.validation import validate_schema

from feeds.api import docs, reference, schema, serializers, urls
from tests import conformance
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db


def routes(table: dict[str, Any] = urls.ROUTES) -> set[str]:
    """`METHOD route`, as the views have them."""
    found = set()
    for route, view in table.items():
        handler = getattr(view, "cls", None) or getattr(view, "view_class", None)
        methods = [name for name in "get post put patch delete".split() if hasattr(handler, name)] if handler else []
        found |= {f"{method.upper()} {route}" for method in methods}
        found |= set() if handler else {f"{method} {route}" for method in schema.plain_methods(route) or ["GET"]}
    return found


def operations() -> dict[str, Any]:
    """The document's, by `METHOD path`."""
    paths = conformance.documented()["paths"]
    return {f"{method.upper()} {path}": told for path, methods in paths.items() for method, told in methods.items()}


def test_the_document_is_valid(api: Any) -> None:
    answer = api().get("/api/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    validate_schema(answer.json())
    again = api().get("/api/openapi.json", HTTP_IF_NONE_MATCH=answer.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_whatever_the_document_refers_to_is_in_it() -> None:
    document = conformance.documented()
    for place in set(re.findall(r'"\$ref":"#/([^"]+)"', docs.document().decode())):
        part = document
        for name in place.split("/"):
            assert name in part, place
            part = part[name]


def test_every_route_is_described_and_nothing_else_is() -> None:
    described = set(reference.OPERATIONS)
    assert routes() - described == set(), "not described in feeds/api/reference.py"
    assert described - routes() == set(), "described in feeds/api/reference.py, and not there"
    paths = {f"{method} {schema.path(route)}" for method, _, route in (key.partition(" ") for key in described)}
    assert operations().keys() == paths


def test_each_operation_names_the_scopes_that_its_view_asks_for() -> None:
    for key in reference.OPERATIONS:
        method, _, route = key.partition(" ")
        view = getattr(urls.ROUTES[route], "cls", object)(**getattr(urls.ROUTES[route], "initkwargs", {}))
        security = operations()[f"{method} {schema.path(route)}"]["security"]
        named = {scope for way in security for scopes in way.values() for scope in scopes}
        assert named == set(getattr(view, "scopes", {}).get(method, "").split()), key
        assert ({} in security) == (method in getattr(view, "anonymous", ())), key


def test_no_two_operations_have_the_same_name() -> None:
    names = [told["operationId"] for told in operations().values()]
    assert sorted(names) == sorted(set(names))


def test_every_parameter_of_a_page_and_its_link_are_described() -> None:
    home = operations()["GET /api/v1/timelines/home"]
    assert [one["name"] for one in home["parameters"]] == ["max_id", "since_id", "min_id", "limit"]
    assert {"Link", "X-RateLimit-Remaining"} <= home["responses"]["206"]["headers"].keys()
    assert set(home["responses"]) == {"200", "206", "400", "401", "403", "429", "503"}


def test_a_body_may_be_json_or_a_form_with_brackets() -> None:
    content = operations()["POST /api/v1/apps"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
    assert "redirect_uris[]" in content["multipart/form-data"]["schema"]["properties"]
    markers = operations()["POST /api/v1/markers"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert "home[last_read_id]" in markers["properties"]


def test_an_answer_with_a_field_too_many_is_found(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = serializers.source
    monkeypatch.setattr(serializers, "source", lambda entity: told(entity) | {"secret": 1})
    post = PostFactory()
    with pytest.raises(pytest.fail.Exception, match=r"GET .*/source answered 200, which .*'secret' was unexpected"):
        api(post.author).get(f"/api/v1/statuses/{post.pk}/source")


def test_an_answer_with_a_wrong_type_is_found(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = serializers.account
    monkeypatch.setattr(serializers, "account", lambda entity: told(entity) | {"id": entity["id"]})
    alice = AccountFactory()
    with pytest.raises(pytest.fail.Exception, match=r"\$\.id: .* is not of type 'string'"):
        api().get(f"/api/v1/accounts/{alice.pk}")


def test_a_parameter_that_nobody_knows_is_found(api: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="colour is no documented parameter"):
        api().get("/api/v1/timelines/public?colour=red")


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script_but_its_own(api: Any) -> None:
    answer = api().get("/api/docs")
    page = answer.content.decode()
    assert answer.headers["Content-Security-Policy"] == docs.POLICY
    assert "unsafe" not in docs.POLICY
    assert all(url.startswith("/") for url in re.findall(r'(?:src|href)="([^"]+)"', page))
    assert docs.allowed(re.findall("<script>(.+?)</script>", page, re.DOTALL)[0]) in docs.POLICY

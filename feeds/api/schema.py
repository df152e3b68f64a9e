"""The OpenAPI document, made by drf-spectacular of what views, urls.py, forms.py, shapes.py and reference.py say.

    document()    all of it, as a dict

drf-spectacular walks the routes and knows forms. What else a view's operation is made of (`operation`) it could not know: our
views say scopes and rates by attributes, and reference.py's table the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.urls import is_valid_path
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from msgspec.json import schema_components
from rest_framework import serializers

from . import reference, throttling, urls
from .auth import SCOPES
from .reference import Operation
from .shapes import Error, Id, ValidationFailed

Schema = dict[str, Any]

REF = "#/components/schemas/{name}"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
ABOUT = """A part of the Mastodon client API, and what this service has beyond it.

* **Ids** are decimal numbers in strings, and grow with time.
* **Pages** are asked for by `max_id` (older), `since_id` (the newest above) and `min_id` (immediately above), and come newest
  first. The header `Link` has the URLs of the next page and the previous one; its ids need not be those of the items.
* **Bodies** may be JSON, forms or multipart, with `name[]` for each of several values. A trailing slash may be left out.
  Parameters that are not known are ignored.
* **Errors** are `{"error": "one sentence"}`. What the caller may not see is 404.
* **Tokens** are sent as `Authorization: Bearer ...`. `read` and `write` contain what begins with them; `follow` contains
  blocks, follows and mutes.
* **Streams** are in a process of their own, at `configuration.urls.streaming` of `/api/v2/instance`: Server-Sent Events at
  `/api/v1/streaming/user`, `user/notification`, `public`, `public/local`, `hashtag?tag=`, `list?list=`, and all of them by
  WebSocket at `/api/v1/streaming`.
* **Home and notifications** may lag a little; everything else shows at once what was written.
"""
FAILURES = {
    400: "A parameter, or the body, can't be read",
    401: "The access token is missing, or invalid",
    403: "The token's scopes do not cover it, or it is not allowed",
    404: "There is no such thing, or the caller may not see it",
    413: "The body is too large",
    415: "The body is of a kind that is not known here",
    422: "Something that was sent is not as it must be",
    429: "Too many requests: wait for `Retry-After` seconds",
    503: "The service is unavailable right now",
}
HEADERS: dict[str, tuple[Any, str]] = {
    "Link": (str, 'URLs of other pages: `<...>; rel="next"`, older ones, then `rel="prev"`, newer ones'),
    "X-Request-Id": (str, "Names this request in the logs"),
    "X-RateLimit-Limit": (int, "How many requests the window has that has least left"),
    "X-RateLimit-Remaining": (int, "How many are left in it"),
    "X-RateLimit-Reset": (str, "When it ends, in ISO 8601"),
    "Retry-After": (int, "Seconds"),
    "WWW-Authenticate": (str, "Bearer"),
}
RATES = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def document() -> Schema:
    found: Schema = SchemaGenerator(urlconf="feeds.api.urls").get_schema(public=True)
    return found


def once(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Each route has a twin with a slash at its end: told once, in words."""
    return [endpoint for endpoint in endpoints if not endpoint[1].endswith("/")]


def complete(result: Schema, **_: Any) -> Schema:
    """What drf-spectacular does not find: views that are no REST framework's, entities, failures, how to sign in."""
    for route, view in urls.ROUTES.items():
        if not hasattr(view, "cls"):
            result["paths"][path(route)] = {
                method.lower(): operation(f"{method} {route}", None) for method in plain_methods(route)
            }
    components = result.setdefault("components", {})
    components["schemas"] = dict(sorted((components.get("schemas", {}) | entities()).items()))
    components["responses"] = {str(status): failure(status) for status in FAILURES}
    components["headers"] = {
        name: {"schema": shape(kind), "description": meaning} for name, (kind, meaning) in HEADERS.items()
    }
    components["securitySchemes"] = security_schemes()
    result["info"]["description"] = ABOUT
    result["servers"] = [{"url": "/"}]
    result["tags"] = [{"name": name} for name in reference.GROUPS]
    return result


class Described(AutoSchema):
    """One view's operations."""

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Schema:
        self.path, self.path_regex, self.path_prefix = path, path_regex, path_prefix
        self.method, self.registry = method, registry
        key = f"{method} {path_regex}"
        takes = reference.OPERATIONS[key].takes
        made = operation(key, self.view)
        if takes is not None:
            made["requestBody"] = self._body(takes(partial=reference.OPERATIONS[key].partial))
        return made

    def _body(self, form: serializers.Serializer) -> Schema:
        as_json = self.resolve_serializer(form, "request").ref
        names = dict(self._form_names(form))
        flat = names.keys() == form.fields.keys()
        as_form = as_json if flat else {"type": "object", "properties": names}
        kinds = {"application/json": as_json} | dict.fromkeys(FORMS, as_form)
        told = {kind: {"schema": schema} for kind, schema in kinds.items()}
        return {"content": told, "required": any(field.required for field in form.fields.values())}

    def _form_names(self, form: serializers.Serializer) -> Iterator[tuple[str, Schema]]:
        """In a form `x[]` is one of several, `x[y]` a part, and `x[0][y]` a part of the first."""
        for name, field in form.fields.items():
            if isinstance(field, serializers.Serializer):
                for part, schema in self._form_names(field):
                    yield f"{name}[{part}]", schema
            else:
                schema = self._map_serializer_field(field, "request")
                parts = schema.get("items", {}).get("properties", {})
                yield from ((f"{name}[0][{part}]", of_part) for part, of_part in parts.items())
                if not parts:
                    yield f"{name}[]" if isinstance(field, serializers.ListField) else name, schema


class Words(OpenApiSerializerFieldExtension):
    target_class = "feeds.api.forms.Words"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        return {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class Ids(OpenApiSerializerFieldExtension):
    target_class = "feeds.api.forms.Id"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        return shape(Id)


class Pairs(OpenApiSerializerFieldExtension):
    target_class = "feeds.api.forms.ProfileFields"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        properties = {"name": {"type": "string"}, "value": {"type": "string"}}
        return {"type": "array", "items": {"type": "object", "properties": properties}, "maxItems": 4}


def operation(key: str, view: Any) -> Schema:
    """Of `METHOD route`; `view` is None where it is no class of REST framework's."""
    told, (method, route) = reference.OPERATIONS[key], key.split(" ", 1)
    made: Schema = {
        "operationId": f"{method.lower()}_{re.sub('[^a-z0-9]+', '_', re.sub('<.*?>', 'one', route))}",
        "tags": [reference.GROUP[key]],
        "summary": told.summary + (". For staff" if told.staff else ""),
    }
    if rates := [rate for rate in getattr(view, "rates", {}).get(method, ()) if rate is not throttling.PUSHES]:
        made["description"] = f"At most {rates[0].amount} in {rates[0].get_expiry() // 60} minutes."
    if parameters := [*path_parameters(route), *map(parameter, told.query)]:
        made["parameters"] = parameters
    return made | {"security": security(told, method, view), "responses": responses(told, method, route, view)}


def path(route: str) -> str:
    return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route)


def plain_methods(route: str) -> list[str]:
    """Those of the table: such a view does not say."""
    return [key.split(" ")[0] for key in reference.OPERATIONS if key.split(" ", 1)[1] == route]


def path_parameters(route: str) -> Iterator[Schema]:
    for kind, name in re.findall(r"<(\w+):(\w+)>", route):
        yield {"name": name, "in": "path", "required": True, "schema": shape(Id if kind == "id" else str)}


def parameter(name: str) -> Schema:
    kind, meaning = reference.PARAMETERS[name]
    return {
        "name": name,
        "in": "header" if name in reference.HEADERS else "query",
        "required": name in reference.REQUIRED,
        "description": meaning,
        "schema": shape(kind),
    }


def security(told: Operation, method: str, view: Any) -> list[dict[str, list[str]]]:
    """Any one of these will do; {}: no token at all."""
    if view is None or not view.authentication_classes:
        return []
    scopes = getattr(view, "scopes", {}).get(method, "").split()
    schemes = ["Client"] if told.client else ["Account", "Token"]
    if getattr(view, "app_token", False) and not told.client:
        schemes.append("Client")
    ways = [{scheme: [scope] if scope else []} for scope in scopes or [""] for scheme in schemes]
    return ways + ([{}] if method in getattr(view, "anonymous", ()) else [])


def responses(told: Operation, method: str, route: str, view: Any) -> Schema:
    headers = ["X-Request-Id", *(["Link"] if told.paged else ()), *(RATES if limited(route) else ())]
    answer = {
        "description": told.summary,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {told.answer: {}} if isinstance(told.answer, str) else content(told.answer),
    }
    refusals = {
        status: {"description": FAILURES[status], "content": content(told.error)}
        if told.error and status in (400, 401, 403)
        else {"$ref": f"#/components/responses/{status}"}
        for status in failures(told, method, route, view)
    }
    elsewhere = {"description": "Nothing: it is elsewhere, or as it was"}
    done = {status: elsewhere if status in (302, 304) else answer for status in told.also}
    if told.answer:
        done[200] = answer
    both = done | refusals
    return {str(status): both[status] for status in sorted(both)}


def failures(told: Operation, method: str, route: str, view: Any) -> set[int]:
    found = set(told.fails)
    if told.query or told.takes:
        found |= {400}
    if told.takes:
        found |= {413, 415} | (set() if told.error else {422})
    if "<" in route:
        found |= {404}
    if limited(route):
        found |= {429}
    if view is not None:
        found |= {503}
        found |= {401} if view.authentication_classes else set()
        found |= {403} if told.staff or told.client or method in getattr(view, "scopes", {}) else set()
    return found


def limited(route: str) -> bool:
    return f"/{route}".startswith(throttling.LIMITED)


def failure(status: int) -> Schema:
    headers = {401: ["WWW-Authenticate"], 429: ["Retry-After", *RATES]}.get(status, [])
    made = {"description": FAILURES[status], "content": content(ValidationFailed if status == 422 else Error)}
    return made | ({"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers}} if headers else {})


def content(kind: Any) -> Schema:
    return {"application/json": {"schema": shape(kind)}}


def shape(kind: Any) -> Schema:
    [found], _ = schema_components((kind,), ref_template=REF)
    return found


def entities() -> Schema:
    """What the answers are made of. They have no other keys."""
    kinds = [told.answer for told in reference.OPERATIONS.values() if not isinstance(told.answer, str | None)]
    errors = [told.error for told in reference.OPERATIONS.values() if told.error]
    _, found = schema_components([*kinds, *errors, Error, ValidationFailed], ref_template=REF)
    for entity in found.values():
        if "properties" in entity:
            entity["additionalProperties"] = False
    return found


def security_schemes() -> Schema:
    scopes = {scope: meaning(scope) for scope in sorted(SCOPES)}
    token = f"{settings.BASE_URL}/oauth/token"
    flows: Schema = {}
    if is_valid_path("/oauth/authorize"):
        authorize = f"{settings.BASE_URL}/oauth/authorize"
        flows["authorizationCode"] = {"authorizationUrl": authorize, "tokenUrl": token, "scopes": scopes}
    if settings.OAUTH_PASSWORD_GRANT:
        flows["password"] = {"tokenUrl": token, "scopes": scopes}
    return {
        "Account": {"type": "oauth2", "description": "A token of an account's", "flows": flows},
        "Client": {
            "type": "oauth2",
            "description": "A token of a client's own",
            "flows": {"clientCredentials": {"tokenUrl": token, "scopes": scopes}},
        },
        "Token": {"type": "http", "scheme": "bearer", "description": "An account's token, however it was had"},
    }


def meaning(scope: str) -> str:
    verb, _, what = scope.partition(":")
    if verb in ("read", "write"):
        return f"{'Read' if verb == 'read' else 'Change'} {what or 'everything'}"
    return {"follow": "Follow, block and mute", "push": "Has no effect: not built", "profile": "Read one's own name"}[
        verb
    ]

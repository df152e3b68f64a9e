"""What no client should send, in each place of each route: refused in one sentence, or ignored; never a 500, and nothing
changes by what was refused.

The places are those of feeds/api/reference.py: parameters of the path and the query, and the fields of the forms, of which
each is sent as JSON, as a form and as multipart. `make test` takes a part of the cases, the same each time; LONG=1 all.
"""

from __future__ import annotations

import json
import os
import random
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from rest_framework.serializers import ListField, Serializer

from feeds import actions
from feeds.api import forms, reference
from feeds.api.operations import Heartbeat
from followers.models import Account
from tests import conformance, factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db

LONG = os.environ.get("LONG") == "1"
PART = 700  # cases of each kind in `make test`, of some thousands
SEED = 7

# As bytes: some are no UTF-8.
TEXTS: list[bytes] = [
    b"",
    b"\0",
    b"a\0b",
    b"\x01\x1f\x7f",
    b"\r\nX-Other: y",
    b"\xff\xfe",
    b"\xc0\xaf",  # an overlong slash
    b"\xed\xa0\x80",  # half of a surrogate pair
    "\u202eabc\u2066".encode(),  # another direction
    "\ufeff\ufffe\uffff".encode(),
    "é".encode() * 300,
    b"x" * 10_000,
    b"9223372036854775807",
    b"9223372036854775808",
    b"9" * 400,
    b"-1",
    b"0",
    b"1.5",
    b"1e400",
    b"NaN",
    b"Infinity",
    "\u0661\u0662".encode(),  # digits, elsewhere
    b"true",
    b"null",
    b"__proto__",
    b"' OR 1=1 --",
    b"%s%n{0}${x}{{x}}",
    b"<script>alert(1)</script>",
    b"../../etc/passwd",
    b"javascript:alert(1)",
    b"http://127.0.0.1:1/",
    b"a b\tc",
]
# What only JSON can say, as it is written there.
JSON: list[bytes] = [
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\udc00\\ud800"',
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-0.0",
    b"9223372036854775808",
    b"1" * 400,
    b"1" * 5_000,
    b"NaN",
    b"-Infinity",
    b"[]",
    b"{}",
    b"[null]",
    b"[[[[]]]]",
    b'["\\ud800", 1, {"a": []}]',
    b'{"__proto__": {"x": 1}, "constructor": []}',
    b'{"last_read_id": [1]}',
    b'{"0": {"name": "\\ud800", "value": {}}}',
    b"[" + b"1," * 5_000 + b"1]",
    b"[" * 400 + b"]" * 400,
    b'"' + b"x" * 100_000 + b'"',
    b'"a", "a": "b"',
]
GOOD: dict[str, dict[str, Any]] = {
    "ApplicationForm": {"client_name": "a client", "redirect_uris": ["https://client.example/"]},
    "RegistrationForm": {"username": "bob", "email": "b@example.org", "password": "correct horse", "agreement": True},
    "OAuthForm": {"grant_type": "password", "client_id": "x", "client_secret": "x", "username": "a", "password": "b"},
    "StatusForm": {"status": "words"},
    "EditForm": {"status": "words"},
    "ListForm": {"title": "friends"},
    "AccountIdsForm": {"account_ids": ["1"]},
    "FeaturedTagForm": {"name": "cats"},
}
"""What a form wants beside the field that is looked at."""


class Case(NamedTuple):
    method: str
    url: str
    body: bytes = b""
    kind: str = "application/x-www-form-urlencoded"
    token: str = ""  # "application", else alice's


def operations() -> Iterator[tuple[str, str, reference.Operation]]:
    for key, told in reference.OPERATIONS.items():
        method, route = key.split(" ", 1)
        yield method, f"/{route}", told


def filled(route: str, ids: dict[str, int]) -> str:
    return re.sub(r"<\w+:(\w+)>", lambda found: str(ids.get(found[1], "cats")), route)


def in_paths(ids: dict[str, int]) -> Iterator[Case]:
    for method, route, _ in operations():
        for name in re.findall(r"<\w+:\w+>", route):
            for text in TEXTS:
                yield Case(method, filled(route.replace(name, quote(text, safe="")), ids))


def in_queries(ids: dict[str, int]) -> Iterator[Case]:
    for method, route, told in operations():
        for name in told.query:
            for text in TEXTS:
                need = {one: "a" for one in reference.REQUIRED if one in told.query and one != name}
                rest = "".join(f"&{one}={value}" for one, value in need.items())
                yield Case(method, f"{filled(route, ids)}?{name}={quote(text)}{rest}")
        yield Case(method, f"{filled(route, ids)}?{'id[]=1&' * 5_000}", b"{}", "application/json")
        yield Case(method, f"{filled(route, ids)}?\0=%00&%ff=%ff&__proto__[x]=1&[]=&=", b"{}", "application/json")


def in_bodies(ids: dict[str, int]) -> Iterator[Case]:
    for method, route, told in operations():
        if told.takes is None:
            continue
        url, good = filled(route, ids), GOOD.get(told.takes.__name__, {})
        token = "application" if told.client else ""
        for name, field in told.takes(partial=told.partial).fields.items():
            rest = {one: value for one, value in good.items() if one != name}
            for written in JSON:
                start = json.dumps(rest)[:-1] + (", " if rest else "")
                yield Case(method, url, f'{start}"{name}": '.encode() + written + b"}", "application/json", token)
            for sent, text in ((one, text) for one in names(name, field) for text in TEXTS):
                pairs = [*((f"{one}", str(value)) for one, value in rest.items()), (sent, text)]
                yield Case(method, url, b"&".join(_pair(*pair) for pair in pairs), token=token)
                parts = b"".join(_part(*pair) for pair in pairs)
                yield Case(method, url, parts + b"--x--\r\n", "multipart/form-data; boundary=x", token)
        for body in (b"", b"[]", b"null", b'"x"', b"1", b"{", b'{"a":}', b"\xff", b'{"\\ud800": 1}', b"[" * 50_000):
            yield Case(method, url, body, "application/json", token)


def names(name: str, field: Any) -> list[str]:
    if isinstance(field, Serializer):
        return [f"{name}[{part}]" for part in field.fields]
    if isinstance(field, forms.ProfileFields):
        return [name, f"{name}[0][name]", f"{name}[0][value]", f"{name}[x][name]"]
    return [name, f"{name}[]"] if isinstance(field, ListField) else [name]


def _pair(name: str, value: str | bytes) -> bytes:
    return f"{quote(name)}={quote(value)}".encode()


def _part(name: str, value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


@pytest.fixture
def alice() -> Account:
    return AccountFactory(username="alice")


@pytest.fixture
def world(alice: Account) -> dict[str, Any]:
    post = PostFactory(author=alice, text="words #cats")
    ids = {"post_id": post.pk, "account_id": AccountFactory(username="carol").pk}
    ids["list_id"] = actions.create_list(owner=alice, title="friends").pk
    ids["featured_id"] = actions.feature_tag(account=alice, name="dogs").pk
    return {"ids": ids, "alice": factories.token(alice), "application": factories.token(None)}


def contents() -> list[Any]:
    """What all tables hold: how many rows, and a sum of what they say. Heartbeats go on, whatever is asked."""
    models = [model for model in apps.get_models(include_auto_created=True) if model is not Heartbeat]
    tables = sorted({model._meta.db_table for model in models})
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', count(*), sum(hashtext(t::text)::bigint) FROM {table} t" for table in tables
            )
        )
        return sorted(cursor.fetchall())  # PostgreSQL reads many tables side by side, and gives what is ready first


@contextmanager
def undone() -> Iterator[Callable[[], None]]:
    """What is given takes back all that was done since the beginning, any number of times: one statement, where a savepoint
    of its own for each request would be three.
    """
    with transaction.atomic():
        place = transaction.savepoint()

        def undo() -> None:
            transaction.set_rollback(False)  # which a failed statement has asked for
            transaction.savepoint_rollback(place)

        yield undo
        undo()


def send(world: dict[str, Any], case: Case, **extra: Any) -> Any:
    caller = Client(raise_request_exception=False)
    shown = {"HTTP_AUTHORIZATION": f"Bearer {world[case.token or 'alice']}"} | extra
    return caller.generic(case.method, case.url, case.body, content_type=case.kind, **shown)


def wrong(answer: Any, method: str) -> str | None:
    """Of the API's answers: a status that is documented, and of what is refused one sentence in JSON."""
    status = answer.status_code
    if status >= 500:
        return f"{status}"
    if status >= 400 and method != "HEAD":
        if answer.headers["Content-Type"] != "application/json":
            return f"{status} is {answer.headers['Content-Type']}"
        said = json.loads(answer.content)
        if not isinstance(said.get("error"), str) or set(said) - {"error", "details", "error_description"}:
            return f"{status} says {said}"
    if method in ("HEAD", "OPTIONS"):
        return None
    path = answer.wsgi_request.path_info
    return conformance._wrong(method, path, None, ("", b""), status, answer.headers, answer.content)


@pytest.mark.parametrize("place", [in_paths, in_queries, in_bodies], ids=lambda place: place.__name__)
def test_nothing_that_is_sent_breaks_a_route_or_changes_what_it_was_refused(world: dict[str, Any], place: Any) -> None:
    cases = list(place(world["ids"]))
    if not LONG:
        cases = random.Random(SEED).sample(cases, min(PART, len(cases)))
    found, before = [], contents()
    with undone() as undo:
        for case in cases:
            answer = send(world, case)
            problem = wrong(answer, case.method)
            failed = connection.needs_rollback  # a statement has: it took everything back
            if problem is None and answer.status_code >= 400 and not failed and contents() != before:
                problem = f"{answer.status_code}, and something has changed"
            undo()
            if problem:
                found.append(f"{problem}: {case.method} {case.url[:150]} {case.body[:200]!r} {case.kind}")
    assert found == []


# Headers

ABSURD = [
    "",
    " ",
    "\0",
    "\x7f",
    "é\xff",
    "\u202e".encode().decode("latin-1"),
    "\r\nX: y",
    "x" * 100_000,
    "-1",
    "[]",
    "%00",
]
HEADERS: dict[str, list[str]] = {
    "HTTP_AUTHORIZATION": [
        "Bearer",
        "Bearer  ",
        "Bearer \0",
        "bearer é",
        f"Bearer {'x' * 100_000}",
        "Basic",
        "Basic !",
        *(f"Basic {b64encode(one).decode()}" for one in (b"\xff\xfe", b"\0:\0", b"a", b":", b"a:\xed\xa0\x80")),
        "Digest x",
    ],
    "HTTP_IDEMPOTENCY_KEY": ["é" * 255, "x" * 256],
    "HTTP_HOST": ["bad host", "localhost:99999999", "[::1", "a@b", "evil.example", "localhost\0", ".", "localhost/x"],
    "HTTP_COOKIE": [
        "sessionid",
        "=;=;",
        'sessionid="\\000\\000\\000\\000\\000\\000\\000\\000"',
        "sessionid=" + "é" * 20,
    ],
    "HTTP_X_FORWARDED_FOR": ["127.0.0.1, \0", "," * 10_000],
    "HTTP_X_FORWARDED_HOST": ["evil.example"],
    "HTTP_X_FORWARDED_PROTO": ["https", "javascript"],
    "HTTP_X_REQUEST_ID": [],
    "HTTP_ORIGIN": ["null", "http://[", "javascript:"],
    "HTTP_REFERER": ["http://["],
    "HTTP_ACCEPT": ["text/html;q=x", "*/*;" * 1_000],
    "HTTP_ACCEPT_LANGUAGE": ["," * 1_000],
    "HTTP_ACCEPT_ENCODING": ["gzip;q=nan"],
    "HTTP_IF_NONE_MATCH": ['"x', "*"],
    "HTTP_IF_MODIFIED_SINCE": ["Mon, 99 Foo 99999"],
    "HTTP_RANGE": ["bytes=9-1"],
    "HTTP_LINK": ["<x>; rel"],
    "HTTP_X_HTTP_METHOD_OVERRIDE": ["DELETE"],
    "CONTENT_LENGTH": ["x", "-1", "9" * 30, "1.5"],
    "CONTENT_TYPE": [
        "/",
        *(
            f"{kind}; charset={charset}"
            for kind in ("application/json", "application/x-www-form-urlencoded", "text/html")
            for charset in ("none", "utf-16", "x" * 1_000)
        ),
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 1_000}",
        "multipart/form-data; boundary=é",
        "multipart/mixed; boundary=x",
        "application/xml",
    ],
}
TOGETHER = HEADERS.keys() - {
    "HTTP_AUTHORIZATION", "HTTP_IDEMPOTENCY_KEY", "HTTP_HOST", "HTTP_ORIGIN", "CONTENT_LENGTH", "CONTENT_TYPE"
}  # fmt: skip
ASKED = [
    Case("GET", "/api/v1/timelines/public"),
    Case("GET", "/api/v1/timelines/home"),
    Case("POST", "/api/v1/statuses", b"status=words"),
    Case("POST", "/oauth/token", b"grant_type=client_credentials"),
    Case("POST", "/oauth/revoke", b"token=x"),
    Case("OPTIONS", "/api/v1/statuses"),
    Case("HEAD", "/api/v1/instance"),
    Case("GET", "/nowhere"),
]


def header_sets() -> Iterator[dict[str, str]]:
    """Alone what a request may be refused for, and so hides all others; the rest many at a time."""
    for name in HEADERS.keys() - TOGETHER:
        yield from ({name: text} for text in [*HEADERS[name], *ABSURD])
    most = max(len(HEADERS[name]) for name in TOGETHER)
    for turn in range(most + len(ABSURD)):
        yield {name: texts[turn] for name in TOGETHER if len(texts := [*HEADERS[name], *ABSURD]) > turn}


def test_no_header_breaks_a_route(world: dict[str, Any]) -> None:
    found = []
    with undone() as undo:
        for case in ASKED:
            for headers in header_sets():
                answer = send(world, case, **headers)
                undo()
                if problem := wrong(answer, case.method):
                    shown = {name: text[:60] for name, text in headers.items()}
                    found.append(f"{problem}: {case.method} {case.url} {shown}")
    assert found == []


def test_headers_that_are_sent_together_are_not_refused(world: dict[str, Any]) -> None:
    """Else one would hide the others."""
    for case in ASKED[:2]:
        statuses = {send(world, case, **headers).status_code for headers in header_sets() if headers.keys() <= TOGETHER}
        assert statuses <= {200, 206}


@pytest.mark.parametrize("route", ["api/v1/timelines/public", "api/v1/statuses", "nowhere"])
def test_what_methods_there_are_not_is_answered_in_json(world: dict[str, Any], route: str) -> None:
    for method in ("TRACE", "CONNECT", "PROPFIND", "X" * 300, "DELETE"):
        answer = send(world, Case(method, f"/{route}"))
        assert answer.status_code in (404, 405), method
        assert set(answer.json()) == {"error"}, method


# Pages

PAGES = [
    "/oauth/authorize",
    "/oauth/authorize/sign_up",
    "/oauth/authorize/native",
    "/admin/login/",
    "/admin/",
    "/admin",
]


@pytest.fixture
def link() -> str:
    form = {"client_name": "a client", "redirect_uris": "https://client.example/"}
    registered = Client().post("/api/v1/apps", form).json()
    return f"response_type=code&client_id={registered['client_id']}&redirect_uri=https://client.example/"


def test_nothing_that_is_sent_breaks_a_page(link: str, world: dict[str, Any], settings: Any) -> None:
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[::-1]  # the quick one: each try of a password takes long
    found = []
    fields = "username email password agreement deed account next csrfmiddlewaretoken".split()
    for path in PAGES:
        asked = [
            *(
                Case("GET", f"{path}?{link}&{name}={quote(text)}")
                for name in ("code", "state", "scope", "next")
                for text in TEXTS
            ),
            *(Case("GET", f"{path}?client_id={quote(text)}&response_type=code") for text in TEXTS),
            *(
                Case("POST", f"{path}?{link}", b"username=a&password=b&deed=sign_in&" + _pair(name, text))
                for name in fields
                for text in TEXTS
            ),
            *(Case("POST", f"{path}?{link}", b"username\0=\xff", kind) for kind in HEADERS["CONTENT_TYPE"]),
        ]
        before = contents()
        with undone() as undo:
            for case in asked if LONG else random.Random(SEED).sample(asked, 25):
                answer = Client(raise_request_exception=False).generic(
                    case.method, case.url, case.body, content_type=case.kind
                )
                if answer.status_code >= 500 or (answer.status_code >= 400 and contents() != before):
                    found.append(f"{answer.status_code}: {case}"[:300])
                undo()
            for name, text in page_headers():
                for method in ("GET", "POST") if LONG else ("POST",):
                    answer = Client(raise_request_exception=False).generic(
                        method, f"{path}?{link}", b"username=a", **{"CONTENT_TYPE": FORM, name: text}
                    )
                    undo()
                    if answer.status_code >= 500:
                        found.append(f"{answer.status_code}: {method} {path} {name}: {text[:60]!r}")
    assert found == []


def page_headers() -> Iterator[tuple[str, str]]:
    for name in ("HTTP_COOKIE", "HTTP_HOST", "HTTP_ORIGIN", "HTTP_REFERER", "CONTENT_TYPE"):
        yield from ((name, text) for text in [*HEADERS[name], *ABSURD])
    for cookie in ("sessionid", "csrftoken", "messages"):
        yield from (("HTTP_COOKIE", f"{cookie}={value}") for value in COOKIES)


FORM = "application/x-www-form-urlencoded"
COOKIES = [
    "",
    "x",
    "é" * 20,
    '"\\000\\000\\000\\000\\000\\000\\000\\000\\000"',
    "x" * 5_000,
    '"\\355\\240\\200\\355\\240\\200aaaa"',
]


def test_nothing_that_staff_send_breaks_the_admin(alice: Account) -> None:
    alice.is_staff = True
    alice.save()
    staff = Client(raise_request_exception=False)
    staff.force_login(alice)
    index = staff.get("/admin/").content.decode()
    lists = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', index)))
    assert len(lists) > 3
    for path in lists:
        for text in TEXTS if LONG else TEXTS[1::4]:
            for url in (
                f"{path}?q={quote(text)}",
                f"{path}?p={quote(text)}",
                f"{path}?state={quote(text)}&o={quote(text)}",
            ):
                assert staff.get(url).status_code < 500, url
            assert staff.get(f"{path}{quote(text, safe='')}/change/").status_code < 500, path
            chosen = b"action=" + quote(text).encode() + b"&_selected_action=" + quote(text).encode()
            assert staff.generic("POST", path, chosen, content_type=FORM).status_code < 500, path

"""What the OpenAPI document allows, and what it does not, as schemathesis makes it up, sent to the service by an account.

No 5xx, no status, header, media type or body that is not documented. The same examples each time; LONG=1 makes more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from feeds import actions
from feeds.api import reference
from feeds.api.schema import path
from tests import factories
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db

EXAMPLES = 200 if os.environ.get("LONG") == "1" else 4  # of each operation and mode
BEYOND = {
    "positive_data_acceptance",  # what a text, a name or a password must be like is more than a schema says
    "negative_data_rejection",  # unknown parameters are ignored, and numbers in a text's place are text: on purpose
    "unsupported_method",  # Django and REST framework answer these; tests/api/test_errors.py looks at it
}
STREAMS = [key for key in reference.OPERATIONS if "streaming" in key]  # each leads to another process


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """The test's, whose transaction is undone. As the test client does it, and feedsvc/wsgi.py."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@cache
def document() -> Any:
    load_all_checks()
    return schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("key", [key for key in reference.OPERATIONS if key not in STREAMS])
def test_an_answer_is_as_documented_whatever_is_asked(key: str, mode: GenerationMode) -> None:
    alice = AccountFactory(username="alice")
    PostFactory(author=alice, text="words #cats")
    actions.create_list(owner=alice, title="friends")
    told, (method, route) = reference.OPERATIONS[key], key.split(" ", 1)
    shown = {"Authorization": f"Bearer {factories.token(None if told.client else alice)}"}
    checks = [check for check in CHECKS.get_all() if check.__name__ not in BEYOND]

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=document()[path(route)][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        with transaction.atomic():
            answer = case.call(headers=shown)
            case.validate_response(answer, checks=checks, headers=shown)
            transaction.set_rollback(True)

    try:
        ask()
    except Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE and not (told.takes or told.query or "<id:" in route), (
            "nothing to do wrong"
        )

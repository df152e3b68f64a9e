"""What RabbitMQ set apart, as a person sees it."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from feedsvc.celery import app
from tests.conftest import eventually, forget_messages, messages

pytestmark = [pytest.mark.e2e, pytest.mark.rabbitmq]


def dead_letters(*words: object) -> str:
    out = StringIO()
    call_command("deliveries", "dead-letters", *map(str, words), stdout=out)
    return out.getvalue()


def set_apart(*row_ids: int) -> None:
    """Sends a message, and refuses it."""
    with app.connection_for_write() as connection:
        queue = app.amqp.queues["fanout"](connection.default_channel)
        app.send_task("fan_out_post", (list(row_ids),))
        eventually(queue.get, "the message is there").reject()


@pytest.fixture
def dead(transactional_db: Any) -> Iterator[None]:
    """Nothing is set apart, and no worker runs."""
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():  # as workers do
            queue(connection.default_channel).declare()
    forget_messages()
    yield
    forget_messages()


def test_what_was_set_apart_is_listed_until_it_is_discarded(dead: None) -> None:
    assert dead_letters() == dead_letters("--discard") == "no message is set apart\n"
    set_apart(7, 8)
    eventually(lambda: messages("dead"), "it is set apart")
    for _ in range(2):
        said = dead_letters()
        assert all(word in said for word in ("fan_out_post", "([7, 8],)", "fanout", "rejected"))
    assert [args for args, _ in messages("dead")] == [[[7, 8]]], "it is as it was"
    assert "1 messages are discarded" in dead_letters("--discard")
    assert dead_letters() == "no message is set apart\n"


def test_no_more_are_discarded_than_are_shown(dead: None) -> None:
    for row_id in (1, 2, 3):
        set_apart(row_id)
    eventually(lambda: len(messages("dead")) == 3, "they are set apart")
    said = dead_letters("--discard", "--limit", 2)
    assert "([1],)" in said and "([2],)" in said and "([3],)" not in said and "maybe more" in said
    assert [args for args, _ in messages("dead")] == [[[3]]]

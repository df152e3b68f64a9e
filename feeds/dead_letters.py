"""Messages that RabbitMQ set apart, in the queue `dead`: what ended its worker time and again.

For people to look at. Nothing is lost with them: the reconciler deals with their rows as with those of any lost message.
"""

from __future__ import annotations

from dataclasses import dataclass

from celery import current_app
from kombu import Message


@dataclass(frozen=True)
class DeadLetter:
    """The task and its arguments; the queue it was in, and why it was taken out of there (RabbitMQ's word) the first time."""

    task: str
    args: str
    queue: str
    reason: str


def look(*, most: int, discard: bool = False) -> list[DeadLetter]:
    """The oldest of them, which stay there unless they are to be discarded. What comes meanwhile stays in any case.

    Raises kombu's OperationalError.
    """
    with current_app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1)
        queue = current_app.amqp.queues["dead"](connection.default_channel)
        queue.declare()  # as each worker does
        held: list[Message] = []  # none is given back before all were had: it would come again
        while len(held) < most and (message := queue.get()):
            held.append(message)
        for message in held:
            if discard:
                message.ack()
            else:
                message.requeue()
    return [_read(message) for message in held]


def _read(message: Message) -> DeadLetter:
    """By its headers alone: whatever it is, it can be shown."""
    names = ("task", "argsrepr", "x-first-death-queue", "x-first-death-reason")
    return DeadLetter(*(str(message.headers.get(name, "-")) for name in names))

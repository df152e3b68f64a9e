"""The relay: sends what the outbox holds to the broker. Run one or several; they share the work."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, connection
from redis import RedisError

from feeds import outbox
from feeds.models import Heartbeat

HEARTBEAT_EVERY = 5  # seconds
PACE = 0.01  # seconds from one round that sent something to the next: a message costs the same with more in it
PACE_IN_A_CROWD = 0.02  # the same if it sent some fan-outs together, but no full message of them
SOON = 0.005  # seconds to the next look while somebody is about to commit, and then twice as many
BACK_OFF = (
    0.2,
    0.4,
    0.8,
    1.6,
    3.2,
    5,
)  # seconds between tries while PostgreSQL or the broker is away; the last for good
BROKER_ERRORS = (*outbox.BROKER_ERRORS, RedisError)  # a Redis whose disk is full answers, but takes nothing

log = logging.getLogger("feeds.relay")


def rest(fan_outs: int) -> float:
    """Seconds until the next round, after one that sent so many fan-outs."""
    return PACE_IN_A_CROWD if 1 < fan_outs < outbox.MOST else PACE


class Command(BaseCommand):
    help = (
        "Publishes the outbox's rows to the broker as they are committed (NOTIFY, and a poll of OUTBOX_POLL seconds "
        "behind it). Runs until TERM or INT. Several may run side by side, on any machine."
    )
    stopping = False
    away = ""  # what was, when it was last asked
    away_since = 0.0
    failures = 0  # in a row

    def handle(self, **_: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        log.info("the relay begins")
        while not self.stopping:
            try:
                outbox.listen()
                self.relay()
            except (OperationalError, InterfaceError, *BROKER_ERRORS) as error:
                self.failed("the broker" if isinstance(error, BROKER_ERRORS) else "PostgreSQL", error)
                connection.close()
                time.sleep(BACK_OFF[min(self.failures, len(BACK_OFF)) - 1])

    def relay(self) -> None:
        """Where posts come several at a time it rests, and looks: nobody needs to call it, which costs those who post."""
        seen, called, soon = 0.0, False, SOON
        while not self.stopping:
            if time.monotonic() > seen + HEARTBEAT_EVERY:
                Heartbeat.objects.record("relay")
                seen = time.monotonic()
            sent = outbox.publish()
            if self.failures and (sent.rows or self.away != "the broker"):
                self.recovered()
            if called and sent.fan_outs > 1:
                outbox.be_left_alone()
                called = False
            if sent.rows:
                time.sleep(rest(sent.fan_outs))
                soon = SOON
            if called or outbox.CHANNEL not in sent.wake:
                outbox.wait(sent)
            elif not sent.rows and not (called := outbox.be_called()):
                outbox.wait(sent._replace(pause=min(soon, sent.pause)))
                soon = min(2 * soon, outbox.PAUSE)

    def failed(self, what: str, error: Exception) -> None:
        """One line for an outage, however many tries it takes. What could not be sent stays in the outbox."""
        self.failures += 1
        if what != self.away:
            self.away, self.away_since = what, time.monotonic()
            why = str(error).strip() or type(error).__name__  # a connection that RabbitMQ lost has no words
            log.warning("%s is away, what is due waits in the outbox: %s", what, why)

    def recovered(self) -> None:
        log.info("%s is back after %.0f s", self.away, time.monotonic() - self.away_since)
        self.away, self.failures = "", 0

    def stop(self, *_: Any) -> None:
        self.stopping = True

"""The relay: sends what the outbox holds to the broker. Run one or several; they share the work."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, connection
from kombu.exceptions import OperationalError as BrokerError

from feeds import outbox
from feeds.models import Heartbeat

HEARTBEAT_EVERY = 5  # seconds
PACE = 0.01  # seconds from one round that sent something to the next: a message costs the same with more in it
BACK_OFF_MOST = 5  # seconds between tries while a store or the broker is away

log = logging.getLogger("feeds.relay")


class Command(BaseCommand):
    help = (
        "Publishes the outbox's rows to the broker as they are committed (NOTIFY, and a poll of OUTBOX_POLL seconds "
        "behind it). Runs until TERM or INT. Several may run side by side, on any machine."
    )
    stopping = False

    def handle(self, **_: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        failures = 0
        while not self.stopping:
            try:
                outbox.listen()
                log.info("the relay listens")
                failures = 0
                self.relay()
            except (OperationalError, InterfaceError, BrokerError) as error:
                failures += 1
                pause = min(BACK_OFF_MOST, 0.1 * 2**failures)
                log.warning("can't relay, next try in %.1f s: %s", pause, str(error).strip())
                connection.close()
                time.sleep(pause)

    def relay(self) -> None:
        seen = 0.0
        while not self.stopping:
            if time.monotonic() > seen + HEARTBEAT_EVERY:
                Heartbeat.objects.record("relay")
                seen = time.monotonic()
            sent = outbox.publish()
            if sent.rows:
                time.sleep(PACE)
            outbox.wait(sent)

    def stop(self, *_: Any) -> None:
        self.stopping = True

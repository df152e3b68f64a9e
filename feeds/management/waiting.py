"""How long a command waits for others: as long as something moves."""

from __future__ import annotations

import time

from django.core.management.base import CommandError


class Patience:
    """Ends, with CommandError, when `check` was given the same progress for so many seconds."""

    def __init__(self, seconds: float, sentence: str) -> None:
        self.seconds, self.sentence = seconds, sentence
        self.progress: object = None
        self.since = time.monotonic()

    def check(self, progress: object) -> None:
        if progress != self.progress:
            self.progress, self.since = progress, time.monotonic()
        elif time.monotonic() > self.since + self.seconds:
            raise CommandError(self.sentence.format(f"{self.seconds:.0f}"))

"""Text files of numbers and words, one record a line, as the commands read them; gzipped ones too."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.core.management.base import CommandError

NUMBER_END = 1 << 63
LINE_MOST = 1_000  # bytes; a longer one is no record, and nobody wants it in memory


def records(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """The number and the words of each line that is neither empty nor a header (#). Raises CommandError."""
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_MOST), b""), 1):
                if len(line) == LINE_MOST:
                    raise bad_line(path, number, f"longer than {LINE_MOST:,} bytes")
                if not line.startswith(b"#") and (words := line.split()):
                    yield number, words
    except (OSError, EOFError, zlib.error) as error:
        raise CommandError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error


def _open(path: Path) -> IO[bytes]:
    """By the first two bytes, not by the name."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")  # type: ignore[return-value]  # GzipFile is no IO by name


def number(word: bytes) -> int | None:
    """The decimal number below 2^63 that the word is, or None."""
    if not word.isdigit() or len(word) > 19:
        return None
    return value if (value := int(word)) < NUMBER_END else None


def bad_line(path: Path, number: int, what: str) -> CommandError:
    return CommandError(f"{path}, line {number}: {what}")

"""What a command shows: how far it is, and its figures.

    with progress("publishing", total=len(posts)) as show:
        for done, post in enumerate(posts, 1):
            ...
            show(done)

On a terminal that is a bar, elsewhere a plain line every few seconds; on standard error, so that standard output has the
results alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

LINE_EVERY = 5.0  # seconds
FILE_WIDTH = 160  # characters: where there is no terminal, nobody is served by breaking a line of a table


@contextmanager
def progress(what: str, total: int | None = None, line_every: float = LINE_EVERY) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told how much is done by now. Without a total it counts."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield _Lines(what, total, line_every).show


def _bar() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


class _Lines:
    def __init__(self, what: str, total: int | None, every: float) -> None:
        self.what, self.of, self.every = what, f" of {total:,}" if total is not None else "", every
        self.said, self.said_at = -1, time.monotonic()

    def show(self, done: int) -> None:
        if done != self.said and time.monotonic() >= self.said_at + self.every:
            sys.stderr.write(f"{self.what}: {done:,}{self.of}\n")
            sys.stderr.flush()
            self.said, self.said_at = done, time.monotonic()


def print_table(out: Any, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """`out` is a command's self.stdout. A column of figures is named with a leading '#', and stands to the right."""
    table = Table(show_header=any(name.strip("#") for name in columns))
    for name in columns:
        table.add_column(name.strip("#"), justify="right" if name.startswith("#") else "left")
    for line in lines:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int | float) else escape(str(cell)) for cell in line))
    console = Console(file=out, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table)

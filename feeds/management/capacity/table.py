"""A table of a plan: for people in words, for machines by its names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from feeds.management.bench.row import figure

Cell = float | str | None
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Table:
    """`lines`: what, and for each further column a figure or words. `name` is its key in the JSON."""

    name: str
    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]

    def cells(self) -> Iterator[list[str]]:
        for line in self.lines:
            yield [words(cell) for cell in line]

    def facts(self) -> list[dict[str, Any]]:
        names = [name.strip("#") for name in self.columns]
        return [dict(zip(names, line, strict=True)) for line in self.lines]


def words(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if float(cell).is_integer() else figure(cell)


def size(count: float) -> str:
    """Bytes, as people say them."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{figure(count / unit)} {name}"
    return f"{figure(count)} B"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{figure(seconds * 1000)} ms"
    return f"{figure(seconds)} s" if seconds < 120 else f"{figure(seconds / 60)} min"


def bars(samples: Iterable[float], edges: Sequence[float], width: int = 40) -> list[tuple[str, int, str]]:
    """A histogram: up to which edge, how many, and a bar."""
    counts = [0] * (len(edges) + 1)
    for sample in samples:
        counts[sum(sample > edge for edge in edges)] += 1
    most = max(counts) or 1
    names = [f"up to {duration(edge)}" for edge in edges] + ["longer"]
    return [(name, count, "#" * round(width * count / most)) for name, count in zip(names, counts, strict=True)]

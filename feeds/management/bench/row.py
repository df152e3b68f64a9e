"""A line of the table: what was measured, the yardstick of the same run beside it, and what is aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.core.management.base import CommandError


@dataclass(frozen=True)
class Row:
    """A target (`least`, `most`) is one for the ratio, or for the value where there is no ratio. `runs`: all the ratios."""

    name: str
    value: float
    unit: str
    yardstick: float | None = None
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    runs: Sequence[float] = ()

    @property
    def met(self) -> bool | None:
        judged = self.value if self.ratio is None else self.ratio
        if self.least is not None:
            return judged >= self.least
        return judged <= self.most if self.most is not None else None

    @property
    def target(self) -> str | None:
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else None

    def cells(self) -> tuple[str, ...]:
        """The words of the table's line."""
        spread = f" ({figure(min(self.runs))} to {figure(max(self.runs))})" if len(self.runs) > 1 else ""
        return (
            self.name,
            f"{figure(self.value)} {self.unit}",
            "" if self.yardstick is None else f"{figure(self.yardstick)} {self.unit}",
            "" if self.ratio is None else figure(self.ratio) + spread,
            self.target or "",
            {None: "", True: "met", False: "missed"}[self.met],
        )

    def sentence(self) -> str:
        name, value, yardstick, ratio, target, met = self.cells()
        words = {"yardstick": yardstick, "ratio": ratio, "target": target and f"{target}: {met}"}
        return ", ".join([f"{name}: {value}", *(f"{word} {said}" for word, said in words.items() if said)])

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        return {name: getattr(self, name) for name in ("name", "value", "yardstick", "ratio", "target", "met")}


def compared(name: str, unit: str, pairs: Sequence[tuple[float, float]], **target: float) -> Row:
    """A row of several runs, each a value and its yardstick: the medians, and the median of their ratios."""
    ratios = [value / yardstick for value, yardstick in pairs]
    value, yardstick = (median(column) for column in zip(*pairs, strict=True))
    return Row(name, value, unit, yardstick, median(ratios), runs=ratios, **target)


def p99(samples: Sequence[float]) -> float:
    """The value that one sample in a hundred is above."""
    if not samples:
        raise CommandError("there was no time to take a single sample: measure more FOLLOWERS")
    return sorted(samples)[min(len(samples) - 1, len(samples) * 99 // 100)]


def figure(value: float) -> str:
    """Three digits are more than a shared machine is worth."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""A run as a picture: how long requests and deliveries took, and how many requests there were, second by second.

Drawn of Locust's http_stats_history.csv and of deliveries.csv, as an SVG without any library: two panels of lines, time to
the right, milliseconds by powers of ten. Every percentile is of the ten seconds before.
"""

from __future__ import annotations

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WINDOW = 10  # seconds: Locust's own for its percentiles of now
WIDTH, LEFT, RIGHT = 860, 56, 160  # pixels; to the right of the lines stand their names
UPPER, LOWER = (50, 270), (310, 410)  # top and bottom of the panels
APART = 15  # pixels between two names
PARTS = 3  # of an axis

Point = tuple[float, float]
Place = Callable[[float], float]


@dataclass(frozen=True)
class Moment:
    """A second of the run; milliseconds of the window before it, None if nothing was asked in it."""

    at: float
    users: int
    per_second: float
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Line:
    name: str
    colour: str
    points: list[Point]  # seconds since the beginning, and the figure


def history(folder: Path) -> list[Moment]:
    """The seconds of the last load: on Locust's page one may start several. Raises OSError, LookupError, ValueError."""
    moments: list[Moment] = []
    with (folder / "http_stats_history.csv").open() as file:
        for row in csv.DictReader(file):
            if row["Name"] != "Aggregated":
                continue
            if int(row["User Count"]) and moments and not moments[-1].users:
                moments.clear()
            p50, p99 = (float(row[name]) if row[name] != "N/A" else None for name in ("50%", "99%"))
            moments.append(Moment(float(row["Timestamp"]), int(row["User Count"]), float(row["Requests/s"]), p50, p99))
    return [moment for moment in moments if moment.users]


def deliveries(folder: Path, moments: Sequence[Moment]) -> Iterator[tuple[float, float]]:
    """Of each moment the 99th percentile of the posts in the window before it."""
    with (folder / "deliveries.csv").open() as file:
        posts = [(float(row["at"]), float(row["milliseconds"])) for row in csv.DictReader(file)]
    times = [at for at, _ in posts]
    for moment in moments:
        begin, end = (bisect_right(times, at) for at in (moment.at - WINDOW, moment.at))
        if took := sorted(ms for _, ms in posts[begin:end]):
            yield moment.at, took[math.ceil(len(took) * 0.99) - 1]


def draw(folder: Path) -> str:
    """The SVG. Raises OSError where the folder has no run."""
    moments, summary = history(folder), json.loads((folder / "summary.json").read_text())
    began = moments[0].at if moments else 0.0
    times = [
        Line("HTTP p50", "#7aa6d8", [(one.at - began, one.p50) for one in moments if one.p50]),
        Line("HTTP p99", "#1f5fa8", [(one.at - began, one.p99) for one in moments if one.p99]),
        Line("delivery p99", "#d2691e", [(at - began, ms) for at, ms in deliveries(folder, moments)]),
    ]
    rate = Line("requests/s", "#3a7d44", [(one.at - began, one.per_second) for one in moments])
    across = _linear((0, max((seconds for seconds, _ in rate.points), default=1) or 1), (LEFT, WIDTH - RIGHT))
    shown = _powers([ms for line in times for _, ms in line.points])
    up = _logarithmic((shown[0], shown[-1]), (UPPER[1], UPPER[0]))
    step = _step(max((figure for _, figure in rate.points), default=1))
    steps = [step * n for n in range(PARTS + 1)]
    along = _linear((0, steps[-1]), (LOWER[1], LOWER[0]))
    parts = [
        _text(LEFT, 22, _title(summary), size=14),
        _text(LEFT, 40, "milliseconds; percentiles of the 10 s before", colour="#555"),
        *_grid(shown, up),
        *_lines(times, across, up),
        _text(LEFT, LOWER[0] - 10, "requests per second", colour="#555"),
        *_grid(steps, along),
        *_lines([rate], across, along),
        *_seconds(across, rate.points),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 450" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="450" fill="#fff"/>', *parts, "</svg>\n"])


def _title(summary: dict[str, float]) -> str:
    return (
        f"{summary['users']:,} users of {summary['accounts']:,} accounts for {summary['seconds']:.0f} s: "
        f"{summary['posts']:,} posts, {summary['deliveries']:,} deliveries"
    )


def _grid(figures: Sequence[float], place: Place) -> Iterator[str]:
    for figure in figures:
        y = place(figure)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield _text(LEFT - 6, y + 4, f"{figure:,}", anchor="end", colour="#555")


def _seconds(across: Place, points: Sequence[Point]) -> Iterator[str]:
    last = points[-1][0] if points else 0
    for second in range(0, int(last) + 1, _step(last)):
        yield _text(across(second), LOWER[1] + 18, f"{second} s", anchor="middle", colour="#555")


def _lines(lines: Sequence[Line], across: Place, up: Place) -> Iterator[str]:
    """Each with its name at its end, and no two names on top of each other."""
    free = math.inf
    for line in sorted((line for line in lines if line.points), key=lambda line: -up(line.points[-1][1])):
        path = "L".join(f"{across(seconds):.1f} {up(figure):.1f}" for seconds, figure in line.points)
        yield f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="2" stroke-linejoin="round"/>'
        free = min(up(line.points[-1][1]) + 4, free - APART)
        yield _text(WIDTH - RIGHT + 8, free, f"{line.name} ({line.points[-1][1]:,.0f})", colour=line.colour)


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _powers(figures: Sequence[float]) -> list[int]:
    """Those of ten between which all figures lie; two at least."""
    logarithms = [math.log10(max(figure, 1)) for figure in figures] or [0]
    first = math.floor(min(logarithms))
    return [10**n for n in range(first, max(first + 1, math.ceil(max(logarithms))) + 1)]


def _linear(figures: Point, pixels: Point) -> Place:
    (low, high), (begin, end) = figures, pixels
    return lambda figure: begin + (figure - low) / (high - low) * (end - begin)


def _logarithmic(figures: Point, pixels: Point) -> Place:
    place = _linear((math.log10(figures[0]), math.log10(figures[1])), pixels)
    return lambda figure: place(math.log10(max(figure, figures[0])))


def _step(most: float) -> int:
    """A round number of which PARTS are at least so much."""
    power = 10 ** math.floor(math.log10(max(most / PARTS, 1)))
    return next(power * n for n in (1, 2, 5, 10) if PARTS * power * n >= most)

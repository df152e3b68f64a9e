"""What things cost: the rows of `make bench ARGS="--only storage,costs --json"`, as the planner asks for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feeds.management.bench import small

DEFAULT = Path(__file__).parent / "calibration.json"
"""Measured on the machine that docs/scale.md names. Its last line is the bench's; `measured` says when, where and how."""

Costs = Mapping[str, float]  # processor seconds by part, as in bench/cpu.py
DEEDS = {
    "follower": "a follower",
    "post": "a small post",
    "message": "a message of small posts",
    "tasks": "the other tasks of a post",
    "task_message": "a message of other tasks",
    "batch": "a batch of a chord",
    "absent": "a follower without a timeline",
    "call": "a script call",
    "page": "a page",
    "followee": "a followee of a page",
    "pulled": "a pull account of a page",
    "request": "a request to post",
}


class Unfit(ValueError):
    """The file can't be planned with; its text says why."""


@dataclass(frozen=True)
class AtOnce:
    """So many posts, to so many followers each, that were published together, and seconds until the last was delivered. On a
    machine of which other programs had so many cores meanwhile.
    """

    posts: int
    followers: int
    seconds: float
    elsewhere: float


@dataclass(frozen=True)
class Calibration:
    """Each deed's costs; bytes of a timeline's entry, and of a row of each of a post's tables; seconds of a post alone."""

    costs: Mapping[str, Costs]
    entry_bytes: float
    row_bytes: Mapping[str, float]
    alone: float
    at_once: Sequence[AtOnce]
    cores: int
    measured: str

    def __getattr__(self, deed: str) -> Costs:
        try:
            return self.costs[deed]
        except KeyError:
            raise AttributeError(deed) from None

    def total(self, deed: str) -> float:
        return sum(self.costs[deed].values())


def read(path: Path) -> Calibration:
    """Of a file with what the bench printed. Raises Unfit."""
    said, found = read_rows(path)
    costs = {deed: _parts(found, f"CPU of {name}: ") for deed, name in DEEDS.items()}
    if missing := [name for deed, name in DEEDS.items() if not costs[deed]]:
        raise Unfit(f"{path} does not say what {missing[0]} costs: measure with more than FANOUT_BATCH followers")
    return Calibration(
        costs,
        entry_bytes=_of(found, path, "memory of an entry"),
        row_bytes={name.split(": ")[1]: value for name, value in found.items() if name.startswith("bytes of a row: ")},
        alone=_of(found, path, "a post alone, commit to closed, p50") / 1000,
        at_once=[*at_once(found)],
        cores=round(_of(found, path, "cores of the machine")),
        measured=str(said.get("measured", path)),
    )


def read_rows(path: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """What the bench said, and its rows: their values by their names. Raises Unfit."""
    try:
        lines = [line for line in path.read_text().splitlines() if line.startswith("{")]  # the rest is for people
        said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return said, {row["name"]: float(row["value"]) for row in said["rows"]}
    except OSError as error:
        raise Unfit(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unfit(f'{path} does not have the rows of `make bench ARGS="--only storage,costs --json"`') from error


def _parts(found: Mapping[str, float], beginning: str) -> dict[str, float]:
    """From microseconds."""
    return {name.removeprefix(beginning): us / 1e6 for name, us in found.items() if name.startswith(beginning)}


def at_once(found: Mapping[str, float]) -> Iterator[AtOnce]:
    """Of the rows of the parts `costs`, `fanout`, `growth` and `small`."""
    for name, value in found.items():
        if match := re.fullmatch(r"((a|[\d,]+) posts? to ([\d,]+) (?:each at once|alone)), commit to the last", name):
            elsewhere = found.get(f"cores that others had meanwhile: {match[1]}", 0.0)
            yield AtOnce(1 if match[2] == "a" else _number(match[2]), _number(match[3]), value, elsewhere)
        elif match := re.fullmatch(r"fan-out to ([\d,]+), commit to the last", name):
            yield AtOnce(1, _number(match[1]), value, 0.0)
        elif match := re.fullmatch(r"cost of a follower of ([\d,]+)(, against .+)?", name):
            yield AtOnce(1, _number(match[1]), value * _number(match[1]) / 1e6, 0.0)
        elif match := re.fullmatch(r"([\d,]+) small posts, against .+", name):
            yield AtOnce(_number(match[1]), small.MOST // 3, _number(match[1]) / value, 0.0)


def _number(words: str) -> int:
    return int(words.replace(",", ""))


def _of(found: Mapping[str, float], path: Path, beginning: str) -> float:
    for name, value in found.items():
        if name.startswith(beginning):
            return value
    raise Unfit(f"{path} does not say: {beginning}")

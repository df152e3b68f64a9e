"""How wrong the simulation is: given what `make load` or `make bench` has measured on one machine, its answer is held against
that. docs/scale.md has the errors that were found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from . import calibration, simulation
from .calibration import AtOnce, Calibration
from .population import of_posts
from .simulation import Load, one_machine
from .table import Cell, Table, duration

SECONDS = 60  # of a load that are simulated at most


class Unfit(ValueError):
    """The file is no summary of a load test; its text says why."""


def tables(path: Path, costs: Calibration, *, cores: int | None = None, elsewhere: float = 0.0) -> Iterator[Table]:
    """`elsewhere`: how many cores other programs on the machine had meanwhile, whoever asked among them."""
    if _is_of_bench(path):
        yield of_bench([*calibration.at_once(calibration.read_rows(path)[1])], costs, cores=cores)
        return
    said = read(path)
    posts, followers = said["posts"], _followers(said["audiences"])
    reach = min(1.0, said["deliveries"] / followers) if followers else 1.0
    people = of_posts(said["audiences"], accounts=said["accounts"], active=reach)
    load = Load(said["posts_per_second"], min(SECONDS, said["seconds"]), said["reads_per_second"])
    machines = one_machine(_workers(said["settings"]["WORKERS"]), cores or costs.cores, elsewhere=elsewhere)
    outcome = simulation.run(costs, machines, people, load, page=costs.page, batch=said["settings"]["FANOUT_BATCH"])
    measured = said["delivery_ms"]
    lines: list[tuple[Cell, ...]] = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        predicted = (outcome.percentile(share) or 0.0) * 1000
        error = (predicted - measured[name]) / measured[name]
        lines.append((f"a post until it is delivered, {name}", predicted, measured[name], f"{error:+.0%}"))
    title = (
        f"{posts:,} posts in {said['seconds']:.0f} s by {said['users']:,} users, to {followers / posts:,.0f} followers each, "
        f"and {said['reads_per_second']:.0f} pages/s; {machines.cores} cores, of which others had {elsewhere:g}"
    )
    yield Table("check", title, ("what", "#predicted, ms", "#measured, ms", "#error"), lines)
    busy = [(part, f"{part_load:.0%}") for part, part_load in outcome.loads.items()]
    yield Table("busy", "Busy, as simulated", ("what", "#share of its time"), [busy[0]])


def of_bench(found: Sequence[AtOnce], costs: Calibration, *, cores: int | None = None) -> Table:
    """Posts that were published at once, on one machine with the workers of the settings."""
    lines: list[tuple[Cell, ...]] = []
    workers = [(each.queues, each.processes) for each in settings.WORKERS]
    for one in found:
        machines = one_machine(workers, cores or costs.cores, elsewhere=one.elsewhere)
        predicted = simulation.at_once(costs, machines, [one.followers] * one.posts)
        error = f"{(predicted - one.seconds) / one.seconds:+.0%}"
        name = f"{one.posts:,} post{'s' * (one.posts > 1)} to {one.followers:,}"
        lines.append((name, one.elsewhere, duration(predicted), duration(one.seconds), error))
    title = f"How wrong the simulation is about what `make bench` has timed, on {cores or costs.cores} cores"
    columns = ("published at once", "#cores that others had", "#predicted", "#measured", "#error")
    return Table("of_bench", title, columns, lines)


def _is_of_bench(path: Path) -> bool:
    """It has a line for programs, which a load's file is as a whole."""
    try:
        return any(line.startswith('{"rows": ') for line in path.read_text().splitlines())
    except OSError:
        return False  # which `read` will say


def read(path: Path) -> dict[str, Any]:
    """Raises Unfit."""
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        figures = [said[name] for name in ("seconds", "posts", "posts_per_second", "reads_per_second", "deliveries")]
        figures += [said["delivery_ms"]["p50"], said["delivery_ms"]["p99"], said["settings"]["FANOUT_BATCH"]]
        figures += said["audiences"].values()
        [float(one) for one in (*figures, *said["audiences"])]
        _workers(said["settings"]["WORKERS"]), said["users"], said["accounts"]
    except OSError as error:
        raise Unfit(f"{path} can't be read: {error.strerror}: `make load` writes it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unfit(f"{path} is no summary as `make load` writes it: {error}") from error
    if not (said["posts"] and said["delivery_ms"]["p50"] > 0 and said["delivery_ms"]["p99"] > 0):
        raise Unfit(f"{path}: no post was delivered in that load")
    return said


def _followers(audiences: dict[str, int]) -> float:
    return sum(float(followers) * posts for followers, posts in audiences.items())


def _workers(text: str) -> list[tuple[list[str], int]]:
    """Of a setting WORKERS that a service ran with."""
    words = [word.rpartition(":") for word in text.split()]
    return [(queues.split(","), int(size)) for queues, _, size in words]

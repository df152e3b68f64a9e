"""A plan as tables: what goes in, what is asked for, what to have, push against pull, and how long posts take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from django.conf import settings

from feeds import timelines
from feeds.management.bench.row import figure

from . import check, simulation
from .calibration import Calibration
from .demand import Demand, Plan
from .population import Population
from .simulation import Load, Outcome
from .table import Cell, Table, bars, duration, size

THRESHOLDS = (10_000, 100_000, 1_000_000, 10_000_000, math.inf)
SIMULATED = 40_000  # posts, and no more than
SECONDS = 20  # of them
NODE_STEPS = 200_000  # pushes of a group to a node: a large cluster is simulated for a shorter while
EDGES = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)  # seconds, of the histogram


def tables(plan: Plan, costs: Calibration) -> Iterator[Table]:
    demand = Demand(plan, costs)
    yield given(plan)
    yield asked_for(demand)
    yield to_have(demand)
    yield rows_of_a_day(demand)
    yield push_or_pull(demand)
    outcome = simulated(demand)
    yield arrival(demand, outcome)
    yield Table("histogram", "How many posts arrived, simulated", ("within", "#posts", ""), _bars(outcome))
    yield largest_by_processes(demand)
    yield first_to_give_way(demand)
    yield check.of_bench(costs.at_once, costs)


def given(plan: Plan) -> Table:
    people = plan.population
    lines: list[tuple[Cell, ...]] = [
        ("accounts", people.accounts, people.source),
        ("active ones: they have a timeline", f"{people.active:.0%}", ""),
        ("followers of a post's author, mean", people.mean, people.source),
        ("p50", people.percentile(0.5), ""),
        ("p99", people.percentile(0.99), ""),
        ("largest", people.largest, ""),
        ("of these followers with a timeline", f"{plan.reach:.1%}", plan.reach_by),
        ("posts/s", plan.posts, "given; each account posts as often as any other"),
        ("pages of home/s", plan.pages, plan.pages_by),
        ("pulled: authors with more followers than", _followers(plan.pull_above), "their posts are fetched by pages"),
        ("busy on the average, at most", f"{plan.busy:.0%}", ""),
    ]
    return Table("given", "What goes in", ("what", "#value", "where it is from"), lines)


def asked_for(demand: Demand) -> Table:
    messages, nodes = demand.messages, demand.nodes()
    lines: list[tuple[Cell, ...]] = [
        ("deliveries: pushes into timelines", demand.deliveries, "/s"),
        ("followers that batches go through, without a timeline too", demand.followers, "/s"),
        ("posts that fit one batch", demand.small, "/s"),
        ("small posts in a message of theirs", demand.rows_in_message, ""),
        ("batches of chords", demand.batches, "/s"),
        *((f"Celery messages: {queue}", count, "/s") for queue, count in messages.items()),
        ("Celery messages, all", sum(messages.values()), "/s"),
        ("Redis: timelines", demand.timelines, ""),
        (
            "Redis: memory of them, one copy, all full",
            size(demand.timeline_bytes),
            f"{demand.costs.entry_bytes:.1f} B an entry",
        ),
        ("Redis: script calls", demand.calls(nodes), f"/s, to {timelines.BUCKETS} buckets" if nodes > 1 else "/s"),
        *(
            (f"{'processes' if part.startswith('workers') else 'processors'}: {part}", cores, "busy")
            for part, cores in demand.cores(nodes).items()
        ),
    ]
    return Table("asked_for", "What is asked for, on the average", ("what", "#value", ""), lines)


def to_have(demand: Demand) -> Table:
    plan, machines, nodes = demand.plan, demand.machines(), demand.nodes()
    cores = demand.cores(nodes)
    by_memory = math.ceil(demand.timeline_bytes / plan.node_bytes)
    reason = f"for the memory, {size(plan.node_bytes)} each" if nodes <= by_memory else "for the pushes and pages"
    busy = plan.busy

    def processes(*parts: str) -> int:
        return max(1, math.ceil(sum(cores[part] for part in parts) / busy))

    lines: list[tuple[Cell, ...]] = [
        ("Redis for timelines: nodes", nodes, reason),
        ("the same with their copies", nodes * plan.copies, f"{plan.copies} of each timeline"),
        ("memory of a node", size(demand.timeline_bytes / nodes), "of timelines"),
        ("relays", machines.relays, f"{figure(demand.relay_rate)} posts/s each, at most"),
        ("processes of workers for fanout", machines.fanout, "also OUTBOX_IN_FLIGHT"),
        ("processes of workers for fanout_bulk", machines.bulk, ""),
        ("processes of workers for the other tasks", machines.others, ""),
        ("web processes", processes("web, pages", "web, posts"), "each executes Python on one processor at a time"),
        ("processors of PostgreSQL for writes", machines.postgres_cores, "one primary has to have them"),
        (
            "processors of PostgreSQL for pages",
            processes("PostgreSQL, pages"),
            "of the same one: a page of home is never asked of a replica",
        ),
        ("processors of the broker", processes("broker"), ""),
        ("processors of the cache", processes("cache"), ""),
        ("processors, all of them", _all_processors(demand), "a worker's process and a node of Redis take one each"),
    ]
    return Table("to_have", f"What to have, busy for {busy:.0%} of its time", ("what", "#value", ""), lines)


def _all_processors(demand: Demand) -> int:
    cores = demand.cores(demand.nodes())
    replicas = demand.nodes() * (demand.plan.copies - 1)
    return math.ceil(sum(cores.values()) / demand.plan.busy) + replicas


def rows_of_a_day(demand: Demand) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for table, count in demand.rows.items():
        bytes_ = demand.costs.row_bytes.get(table, 0.0)
        days = demand.kept.get(table)
        stay = size(count * bytes_ * (days or 365)) + (f" ({days} days)" if days else " a year")
        lines.append((table, count, size(count * bytes_), stay))
    whole = sum(demand.rows.values())
    in_bytes = sum(count * demand.costs.row_bytes.get(table, 0.0) for table, count in demand.rows.items())
    lines.append(("all", whole, size(in_bytes), ""))
    title = "PostgreSQL: new rows of a day, of posts without mentions and hashtags; bytes with indexes"
    return Table("rows", title, ("table", "#rows/day", "#bytes/day", "#what stays"), lines)


def push_or_pull(demand: Demand) -> Table:
    """For each threshold; against pushing everything."""
    all_pushed = Demand(replace(demand.plan, pull_above=math.inf), demand.costs)
    most = _push_cores(all_pushed)
    lines: list[tuple[Cell, ...]] = []
    for threshold in THRESHOLDS:
        some = Demand(replace(demand.plan, pull_above=threshold), demand.costs)
        pulled = some.pull_followees(threshold)
        saved, added = most - _push_cores(some), pulled * demand.costs.total("pulled") * demand.plan.pages
        largest = max(some.pushed, default=0.0)
        lines.append(
            (
                _followers(threshold),
                some.deliveries,
                1 - some.deliveries / all_pushed.deliveries,
                pulled,
                saved,
                added,
                saved - added,
                duration(slowest(some, round(largest))) if largest else "-",
            )
        )
    shown = [(*line[:2], f"{line[2]:.1%}", *line[3:]) for line in lines]
    columns = (
        *("pulled above", "#deliveries/s", "#pushes saved", "#pull accounts a page asks"),
        *("#processors saved", "#added by pages", "#gain", "#the largest pushed post, alone"),
    )
    return Table(
        "push_or_pull", "Push against pull, by the number of followers above which posts are pulled", columns, shown
    )


def _push_cores(demand: Demand) -> float:
    cores = demand.cores()
    return sum(cores[part] for part in ("workers of small fan-outs", "workers of large fan-outs"))


def slowest(demand: Demand, followers: int, bulk: int = 0) -> float | None:
    """Seconds of a post to so many, beside no other, on what the plan has, or with so many processes for its batches."""
    load, machines = Load(posts_per_second=0, seconds=1), demand.machines()
    if bulk:
        machines = replace(machines, bulk=bulk)
    outcome = simulation.run(demand.costs, machines, _reached(demand), load, largest=followers, patience=3600)
    return outcome.percentile(1)


def simulated(demand: Demand) -> Outcome:
    """Posts as they come, and the largest pushed one among them."""
    machines, posts = demand.machines(), demand.plan.posts
    steps = (
        posts * machines.nodes * max(1 / demand.rows_in_message, demand.small_followers / posts / settings.FANOUT_BATCH)
    )
    seconds = min(SECONDS, SIMULATED / posts, NODE_STEPS / steps)
    largest = round(max(demand.pushed, default=0.0))
    return simulation.run(
        demand.costs, machines, _reached(demand), Load(posts, seconds), largest=largest, patience=3600
    )


def _reached(demand: Demand) -> Population:
    """As the simulation takes it: those whose posts are pulled have no followers to be pushed to."""
    pushed = dict(demand.pushed)
    pushed[0.0] = pushed.get(0.0, 0.0) + 1 - sum(pushed.values())
    return replace(demand.plan.population, audiences=pushed, active=demand.plan.reach)


def arrival(demand: Demand, outcome: Outcome) -> Table:
    batch = settings.FANOUT_BATCH
    largest = round(max(demand.pushed, default=0.0))
    found = [one.seconds for one in outcome.arrived if one.followers == largest]
    lines: list[tuple[Cell, ...]] = [
        ("posts that arrived", len(outcome.arrived), ""),
        ("all posts: p50", duration(outcome.percentile(0.5)), ""),
        ("p99", duration(outcome.percentile(0.99)), ""),
        (f"posts to {batch:,} or fewer: p50", duration(outcome.percentile(0.5, up_to=batch)), ""),
        ("p99", duration(outcome.percentile(0.99, up_to=batch)), ""),
        (f"posts to more than {batch:,}: p50", duration(outcome.percentile(0.5, above=batch)), "by a chord"),
        ("p99", duration(outcome.percentile(0.99, above=batch)), ""),
        (f"the post to {largest:,}", duration(max(found, default=None)), "one was among them"),
        ("posts whose other tasks waited when the last one came", outcome.waiting_tasks, ""),
        (
            "posts that had not arrived when it ended",
            outcome.unfinished,
            "more than can be done" if outcome.unfinished else "",
        ),
        *((f"Celery messages: {queue}", messages, "/s") for queue, messages in sorted(outcome.per_second.items())),
        *((f"busy: {part}", f"{load:.0%}", "") for part, load in outcome.loads.items()),
    ]
    title = "How long posts take, from the beginning of their transaction to the closed delivery: simulated"
    return Table("arrival", title, ("what", "#value", ""), lines)


def _bars(outcome: Outcome) -> list[tuple[Cell, ...]]:
    found = [*bars((one.seconds for one in outcome.arrived), EDGES)]
    last = max((place for place, (_, count, _) in enumerate(found) if count), default=0)
    return [*found[: last + 1]]


def largest_by_processes(demand: Demand) -> Table:
    """What more workers for large fan-outs would do."""
    largest, machines = round(max(demand.pushed, default=0.0)), demand.machines()
    lines: list[tuple[Cell, ...]] = []
    for factor in (1, 4, 16):
        processes = machines.bulk * factor
        lines.append((processes, duration(slowest(demand, largest, processes))))
    title = f"The post to {largest:,}, beside no other, by the processes for fanout_bulk"
    return Table("largest", title, ("#processes", "#until the last has it"), lines)


def first_to_give_way(demand: Demand) -> Table:
    """What can't be had by having more of it, in the order in which it ends."""
    cores = demand.cores(demand.nodes())
    posts = demand.plan.posts
    primary = (cores["PostgreSQL, writes"] + cores["PostgreSQL, pages"]) / posts
    pushes = (cores["Redis, pushes"] + cores["Redis, pages"]) / posts
    lines: list[tuple[Cell, ...]] = [
        (
            "the other tasks: one message of each at a time",
            demand.other_tasks_rate,
            "notifications, search and cache fall behind",
        ),
        (
            "PostgreSQL's primary, of 64 processors",
            64 * demand.plan.busy / primary,
            "it has all posts and all pages of home",
        ),
        (
            f"Redis, {timelines.BUCKETS} nodes",
            timelines.BUCKETS * demand.plan.busy / pushes,
            "a bucket lies on one node",
        ),
    ]
    lines.sort(key=lambda line: float(line[1] or 0))
    judged = [(*line, "holds" if float(line[1] or 0) >= posts else "DOES NOT HOLD") for line in lines]
    columns = ("what", "#posts/s at most", "then", f"at {figure(posts)} posts/s")
    return Table("limits", "What more machines do not help", columns, judged)


def _followers(threshold: float) -> Cell:
    return "none is pulled" if threshold == math.inf else threshold

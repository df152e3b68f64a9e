"""What a load asks for, in figures that a pencil can check: sums over the population, times the calibration's costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from feeds import outbox, timelines
from feeds.management.commands.relay import PACE, PACE_IN_A_CROWD

from .calibration import Calibration
from .population import Population
from .simulation import Machines

DAY = 86_400  # seconds
TASKS = outbox.TASKS["post.published"]
OTHER_TASKS = [task for task in TASKS if task != "fan_out_post"]


@dataclass(frozen=True)
class Plan:
    """What is asked for, and what may be used for it.

    `reach`: the share of a post's followers who have a timeline. `pull_above`: authors with more followers are pulled.
    `busy`: the share of its time that a process, a processor or a node shall be busy on the average. `node_bytes`: of a node
    of Redis for timelines; `copies` of each timeline are held.
    """

    population: Population
    posts: float  # per second
    pages: float  # per second
    reach: float
    pages_by: str = ""  # where the figure is from
    reach_by: str = ""
    pull_above: float = math.inf
    busy: float = 0.6
    node_bytes: float = 64e9
    copies: int = 1


@dataclass(frozen=True)
class Demand:
    plan: Plan
    costs: Calibration

    # per second

    @property
    def pushed(self) -> Mapping[float, float]:
        """The share of posts, by followers, that is pushed."""
        return self.plan.population.at_most(self.plan.pull_above)

    @property
    def followers(self) -> float:
        """Followers that batches go through."""
        return self.plan.posts * sum(followers * share for followers, share in self.pushed.items())

    @property
    def deliveries(self) -> float:
        """Pushes into a timeline that exists."""
        return self.followers * self.plan.reach

    @property
    def small(self) -> float:
        """Posts that fit one batch, and need no chord. Those that are pulled go the same way, and have no followers there."""
        large = sum(share for followers, share in self.pushed.items() if followers > settings.FANOUT_BATCH)
        return self.plan.posts * (1 - large)

    @property
    def batches(self) -> float:
        """Of chords."""
        return self.plan.posts * sum(
            share * math.ceil(followers / settings.FANOUT_BATCH)
            for followers, share in self.pushed.items()
            if followers > settings.FANOUT_BATCH
        )

    @property
    def callbacks(self) -> float:
        """Ends of waves of chords."""
        return self.plan.posts * sum(
            share * math.ceil(followers / settings.FANOUT_BATCH / settings.CHORD_MEMBERS)
            for followers, share in self.pushed.items()
            if followers > settings.FANOUT_BATCH
        )

    @property
    def rows_in_message(self) -> float:
        """Small posts in a message: what comes during the relay's rest, and no more than MOST. The busier, the fuller."""
        sending = self.costs.message.get("relay", 0)
        if self.plan.posts * (PACE + sending) <= 1:
            return 1.0
        return min(outbox.MOST, self.plan.posts * (PACE_IN_A_CROWD + sending))

    @property
    def messages(self) -> dict[str, float]:
        """By queue. Of the other tasks at most one message of each is on its way, so they collect more than fan-outs do."""
        large = self.plan.posts - self.small
        rows = min(outbox.MOST, max(self.rows_in_message, self.plan.posts * outbox.LINGER.total_seconds()))
        others = self.plan.posts / rows
        return {
            "fanout": self.small / self.rows_in_message + large + self.callbacks,
            "fanout_bulk": self.batches,
            "notifications": others,
            "search": 2 * others,
            "cache": others,
        }

    # memory and rows

    @property
    def timelines(self) -> float:
        return self.plan.population.accounts * self.plan.population.active

    @property
    def timeline_bytes(self) -> float:
        """All timelines full, one copy of each."""
        return self.timelines * settings.TIMELINE_LIMIT * self.costs.entry_bytes

    @property
    def rows(self) -> dict[str, float]:
        """New rows of a day, by table, of posts without mentions and hashtags."""
        without_followers = sum(share for followers, share in self.pushed.items() if followers < 1)
        pulled = 1 - sum(self.pushed.values())
        return {
            "feeds_post": self.plan.posts * DAY,
            "feeds_delivery": self.plan.posts * DAY,
            "feeds_outbox": self.plan.posts * DAY * len(TASKS),
            "feeds_batch": (self.small - self.plan.posts * (without_followers + pulled) + self.batches) * DAY,
            "feeds_searchentry": self.plan.posts * DAY,
        }

    @property
    def kept(self) -> dict[str, int | None]:
        """For how many days; None is for good."""
        return {"feeds_outbox": settings.KEEP_OUTBOX.days, "feeds_batch": settings.KEEP_BATCHES.days}

    # processors

    @property
    def push_seconds(self) -> float:
        """Of Redis, for one follower of a batch, with or without a timeline."""
        there, absent = self.costs.follower.get("timelines", 0), self.costs.absent["timelines"]
        return self.plan.reach * there + (1 - self.plan.reach) * absent

    def calls(self, nodes: int) -> float:
        """Script calls per second: for each batch one to each bucket, where there are nodes."""
        if nodes == 1:
            return 0.0
        groups = max(self.small / self.rows_in_message, self.small_followers / settings.FANOUT_BATCH)
        return (groups + self.batches) * timelines.BUCKETS

    @property
    def small_followers(self) -> float:
        small = {followers: share for followers, share in self.pushed.items() if followers <= settings.FANOUT_BATCH}
        return self.plan.posts * sum(followers * share for followers, share in small.items())

    def cores(self, nodes: int = 1) -> dict[str, float]:
        """Processors that are busy all the time, by part, and what PostgreSQL and Redis have to do for pages apart."""
        one, rate = self.costs, self.plan.posts
        messages = self.small / self.rows_in_message + rate - self.small

        def of(part: str) -> float:
            followers = one.follower.get(part, 0) * self.followers
            fan_outs = messages * one.message.get(part, 0) + self.small * one.post.get(part, 0) + followers
            others = rate * one.tasks.get(part, 0) + rate / outbox.MOST * 4 * one.task_message.get(part, 0)
            return fan_outs + others + self.batches * one.batch.get(part, 0) + rate * one.request.get(part, 0)

        redis = self.followers * self.push_seconds + self.calls(nodes) * one.call["timelines"]
        small = self.small * one.post.get("timelines", 0) + self.batches * one.batch.get("timelines", 0)
        return {
            "web, pages": self.plan.pages * self.page("web"),
            "web, posts": of("web"),
            "relay": of("relay"),
            "workers of small fan-outs": self.wall_of_small(nodes),
            "workers of large fan-outs": self.wall_of_large(nodes),
            "workers of the other tasks": self.wall_of_others(),
            "broker": of("broker"),
            "cache": of("cache") + self.plan.pages * self.page("cache"),
            "Redis, pushes": redis + small,
            "Redis, pages": self.plan.pages * self.page("timelines"),
            "PostgreSQL, writes": of("postgres"),
            "PostgreSQL, pages": self.plan.pages * self.page("postgres"),
        }

    def page(self, part: str) -> float:
        """Seconds of a page by the mean reader: by whom so many are followed, and so many of these are pulled."""
        followees, pulled = self.followees, self.pull_followees(self.plan.pull_above)
        each = self.costs.followee.get(part, 0) * followees + self.costs.pulled.get(part, 0) * pulled
        return self.costs.page.get(part, 0) + each

    @property
    def followees(self) -> float:
        """Of an active reader, if active accounts are those that post: each follow of an active reader is one of them."""
        return self.plan.population.mean * self.plan.reach

    def pull_followees(self, threshold: float) -> float:
        return self.plan.population.above(threshold) * self.plan.reach

    def wall(self, deed: str, worker: str, nodes: int = 1) -> float:
        """Seconds for which a deed holds a worker's process: its own, PostgreSQL's, the broker's, and Redis's, which are at
        it all at once.
        """
        costs = getattr(self.costs, deed)
        own = sum(seconds for part, seconds in costs.items() if part in (worker, "broker", "postgres", "cache"))
        return own + costs.get("timelines", 0) / nodes

    def wall_of_follower(self, nodes: int) -> float:
        own = {part: seconds for part, seconds in self.costs.follower.items() if part not in ("timelines", "relay")}
        return sum(own.values()) + self.push_seconds / nodes

    def wall_of_small(self, nodes: int) -> float:
        calls = timelines.BUCKETS / nodes * self.costs.call["timelines"] if nodes > 1 else 0
        groups = max(self.small / self.rows_in_message, self.small_followers / settings.FANOUT_BATCH)
        messages = self.small / self.rows_in_message + self.plan.posts - self.small
        return (
            messages * self.wall("message", "fanout", nodes)
            + self.small * self.wall("post", "fanout", nodes)
            + self.small_followers * self.wall_of_follower(nodes)
            + groups * calls
        )

    def wall_of_large(self, nodes: int) -> float:
        calls = timelines.BUCKETS / nodes * self.costs.call["timelines"] if nodes > 1 else 0
        followers = self.followers - self.small_followers
        return self.batches * (self.wall("batch", "bulk", nodes) + calls) + followers * self.wall_of_follower(nodes)

    def wall_of_others(self) -> float:
        each = self.wall("task_message", "others") * 4 / outbox.MOST + self.wall("tasks", "others")
        return self.plan.posts * each

    # what is bought

    def nodes(self) -> int:
        """Of Redis, for the pushes and pages, or for the memory, whichever takes more. Copies come on top."""
        by_memory = math.ceil(self.timeline_bytes / self.plan.node_bytes)
        nodes = max(1, by_memory)
        while nodes < timelines.BUCKETS:
            cores = self.cores(nodes)
            if cores["Redis, pushes"] + cores["Redis, pages"] <= nodes * self.plan.busy:
                break
            nodes += 1
        return nodes

    def machines(self) -> Machines:
        nodes = self.nodes()
        cores, busy = self.cores(nodes), self.plan.busy
        return Machines(
            fanout=max(1, math.ceil(cores["workers of small fan-outs"] / busy)),
            bulk=max(2, math.ceil(cores["workers of large fan-outs"] / busy)),
            others=max(1, math.ceil(cores["workers of the other tasks"] / busy)),
            relays=max(1, math.ceil(self.plan.posts / self.relay_rate / busy)),
            nodes=nodes,
            postgres_cores=max(1, math.ceil(cores["PostgreSQL, writes"] / busy)),
            redis_speed=1 - cores["Redis, pages"] / nodes,
        )

    @property
    def relay_rate(self) -> float:
        """Posts per second that one relay sends at most: a full message of fan-outs in each round, and a rest."""
        fan_out = self.costs.message.get("relay", 0) + outbox.MOST * self.costs.post.get("relay", 0)
        return outbox.MOST / (PACE + fan_out + self.costs.task_message.get("relay", 0))

    @property
    def other_tasks_rate(self) -> float:
        """Posts per second whose other tasks get done: of each task one message at a time, with MOST rows at most."""
        slowest = 2 * self.wall("task_message", "others")  # update_search_index, and what is chained to it
        rows = outbox.MOST * self.wall("tasks", "others") / len(OTHER_TASKS)
        return outbox.MOST / (slowest + rows + PACE + self.costs.task_message.get("relay", 0))

"""How long posts take to arrive: queues and batches, event by event, as outbox.py, tasks.py and fanout.py let them happen.

Posts arrive by a Poisson process. The relay sends as `outbox.publish` does: up to MOST small posts in a message, while fewer
messages than OUTBOX_IN_FLIGHT are on their way, then a rest; what nobody waits for behind them. A worker's process
works on one message at a time, and waits in it for PostgreSQL and Redis. A large post is a chord: its batches go to the bulk
workers, CHORD_MEMBERS at a time.

What a step costs comes from the calibration. Where it is spent is a `Station`: on one machine all parts share its
processors; on many each part has its own, and a batch is pushed to all nodes of Redis at once.

A simulation is a Clock and processes, generators that yield what they wait for: a function that is given how to go on.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from django.conf import settings

from feeds import outbox, timelines
from feeds.management.commands.relay import rest

from .calibration import Calibration, Costs
from .population import Population

Resume = Callable[[], None]
Step = Callable[[Resume], None]
Process = Iterator[Step]

EVENTS = 2_000_000  # of a run: some ten seconds of ours, then it gives up
SLICE = 0.002  # seconds for which a shared processor serves one before it turns to the next
NICE = 335 / 1024  # the share of a process that is niced by 5, as Linux weighs it, beside one that is not
NEIGHBOUR = 16.0  # the weight of what others do beside: what they had was measured, so they get it
THREADS = 4  # of the web process (feedsvc/run.py)
SEED = 2013


class Unfit(ValueError):
    """What was asked for can't be simulated; its text says why."""


class Clock:
    def __init__(self) -> None:
        self.now, self.events = 0.0, 0
        self.due: list[tuple[float, int, Resume]] = []
        self.numbers = count()

    def after(self, seconds: float, resume: Resume) -> None:
        heapq.heappush(self.due, (self.now + seconds, next(self.numbers), resume))

    def start(self, process: Process) -> None:
        def go_on() -> None:
            step = next(process, None)
            if step:
                step(go_on)

        self.after(0, go_on)

    def run(self, until: float = math.inf, while_: Callable[[], object] = lambda: True) -> None:
        while self.due and self.due[0][0] <= until and while_():
            self.events += 1
            if self.events > EVENTS:
                raise Unfit(f"to simulate this load takes more than {EVENTS:,} events, which is too many")
            self.now, _, resume = heapq.heappop(self.due)
            resume()


def wait(clock: Clock, seconds: float) -> Step:
    return lambda resume: clock.after(seconds, resume)


def together(steps: list[Step]) -> Step:
    """All of them at once, until the last is done."""

    def begin(resume: Resume) -> None:
        left = len(steps)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                resume()

        for step in steps:
            step(one_less)

    return begin


@dataclass(order=True)
class Job:
    tag: float
    number: int
    seconds: float = field(compare=False)
    weight: float = field(compare=False)
    resume: Resume = field(compare=False)


class Station:
    """So many servers, alike. In slices, they turn to whoever has been served least for its weight, by the virtual time of
    processor sharing (Parekh and Gallager, 1993). With an endless slice that is first come, first served. `speed`: what
    others leave of a server.
    """

    def __init__(self, clock: Clock, servers: int, *, slice_: float = math.inf, speed: float = 1.0) -> None:
        self.clock, self.servers, self.slice, self.speed = clock, servers, slice_, speed
        self.free, self.virtual, self.busy, self.weight = servers, 0.0, 0.0, 0.0
        self.waiting: list[Job] = []

    def serve(self, seconds: float, weight: float = 1.0) -> Step:
        def begin(resume: Resume) -> None:
            if seconds <= 0:
                resume()
                return
            job = Job(self.virtual, next(self.clock.numbers), seconds / self.speed, weight, resume)
            heapq.heappush(self.waiting, job)
            self.weight += weight
            self.go_on()

        return begin

    def go_on(self) -> None:
        while self.free and self.waiting:
            job = heapq.heappop(self.waiting)
            self.free -= 1
            part = min(self.slice, job.seconds)
            self.busy += part
            self.clock.after(part, lambda job=job, part=part: self.done(job, part))  # type: ignore[misc]

    def done(self, job: Job, part: float) -> None:
        self.free += 1
        self.virtual += part / max(self.weight, self.servers)
        job.seconds -= part
        if job.seconds > 1e-12:
            job.tag += part / job.weight
            heapq.heappush(self.waiting, job)
        else:
            self.weight -= job.weight
            job.resume()
        self.go_on()

    def load(self, seconds: float) -> float:
        """The share of its time that it was busy."""
        return self.busy / self.servers / seconds


class Pool:
    """So many, each used by one at a time, in the order of asking: a worker's processes."""

    def __init__(self, clock: Clock, size: int) -> None:
        self.clock, self.free = clock, size
        self.waiting: deque[Resume] = deque()

    def take(self) -> Step:
        def begin(resume: Resume) -> None:
            if self.free:
                self.free -= 1
                resume()
            else:
                self.waiting.append(resume)

        return begin

    def give(self) -> None:
        if self.waiting:
            self.clock.after(0, self.waiting.popleft())
        else:
            self.free += 1


class Bell:
    """Rung before somebody waits, it is heard at once. Who waits goes on after so many seconds in any case."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.rung = clock, False
        self.waiting: dict[int, Resume] = {}

    def ring(self) -> None:
        self.rung = not self.waiting
        for number in list(self.waiting):
            self.wake(number)

    def wait(self, seconds: float) -> Step:
        def begin(resume: Resume) -> None:
            if self.rung:
                self.rung = False
                resume()
                return
            number = next(self.clock.numbers)
            self.waiting[number] = resume
            self.clock.after(seconds, lambda: self.wake(number))

        return begin

    def wake(self, number: int) -> None:
        if number in self.waiting:
            self.clock.after(0, self.waiting.pop(number))


@dataclass(frozen=True)
class Machines:
    """What there is. `cores` None: each part on its own; else all parts share so many on one machine."""

    fanout: int  # processes
    bulk: int
    others: int
    relays: int = 1
    cores: int | None = None
    elsewhere: float = 0.0  # cores of the one machine that other programs have, on the average
    nodes: int = 1  # of the timelines' Redis
    postgres_cores: int = 1
    redis_speed: float = 1.0  # what reads leave of a node
    postgres_speed: float = 1.0


def one_machine(workers: Iterable[tuple[Collection[str], int]], cores: int, *, elsewhere: float = 0.0) -> Machines:
    """One with so many cores, and with workers, each of some queues with so many processes, as in the setting WORKERS."""
    processes = Counter[str]()
    for queues, size in workers:
        processes["fanout" if "fanout" in queues else "bulk" if "fanout_bulk" in queues else "others"] += size
    fanout, bulk, others = (max(1, processes[name]) for name in ("fanout", "bulk", "others"))
    return Machines(fanout, bulk, others, cores=cores, elsewhere=elsewhere)


@dataclass(frozen=True)
class Load:
    """Posts by a population for so many seconds; and what else is asked for by HTTP on a shared machine."""

    posts_per_second: float
    seconds: float
    pages_per_second: float = 0.0


@dataclass(frozen=True)
class Arrived:
    """One post: how many followers, and the seconds from the beginning of its transaction until its delivery was closed."""

    followers: int
    seconds: float


@dataclass
class Outcome:
    arrived: list[Arrived] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)  # by queue
    per_second: dict[str, float] = field(default_factory=dict)  # of these, as long as posts came
    unfinished: int = 0
    waiting_tasks: int = 0  # rows of a task that were not sent when the last post came
    loads: dict[str, float] = field(default_factory=dict)

    def percentile(self, share: float, *, above: int = -1, up_to: float = math.inf) -> float | None:
        """Seconds, of posts to more than `above` followers and at most `up_to`."""
        found = sorted(one.seconds for one in self.arrived if above < one.followers <= up_to)
        return found[min(len(found) - 1, int(len(found) * share))] if found else None


@dataclass
class Post:
    followers: int
    began: float
    batches_left: int = 0


class Service:
    """The service, with nothing to do yet."""

    def __init__(
        self, calibration: Calibration, machines: Machines, *, active: float = 1.0, batch: int | None = None
    ) -> None:
        self.costs, self.machines, self.active = calibration, machines, active
        self.batch = batch or settings.FANOUT_BATCH
        self.clock, self.chance = Clock(), random.Random(SEED)  # noqa: S311  no secret
        self.fanout, self.bulk, self.others = (
            Pool(self.clock, size) for size in (machines.fanout, machines.bulk, machines.others)
        )
        # The web process works on so many requests at a time, and executes Python for one of them.
        self.threads, self.python = Pool(self.clock, THREADS), Pool(self.clock, 1)
        self.stations = self._stations()
        self.nodes = [self._node() for _ in range(machines.nodes)]
        self.waiting: list[deque[Post]] = [deque() for _ in outbox.AUDIENCES]
        self.tasks: dict[str, deque[float]] = {task: deque() for task in outbox.PATIENT}
        self.in_flight = 0
        self.tasks_in_flight: Counter[str] = Counter()
        self.bell, self.done = Bell(self.clock), Bell(self.clock)
        self.waits_for_done = False
        self.outcome, self.open = Outcome(), 0
        for n in range(math.ceil(machines.elsewhere)):
            self.clock.start(self.neighbour(min(1.0, machines.elsewhere - n)))

    def _stations(self) -> dict[str, Station]:
        cores = self.machines.cores
        if cores:
            machine = Station(self.clock, cores, slice_=SLICE)
            return dict.fromkeys(("web", "streaming", "relay", "worker", "broker", "cache", "postgres"), machine)
        alone = {part: Station(self.clock, 1 << 20) for part in ("web", "streaming", "relay", "worker", "cache")}
        postgres = Station(self.clock, self.machines.postgres_cores, speed=self.machines.postgres_speed)
        return alone | {"broker": Station(self.clock, 1), "postgres": postgres}

    def _node(self) -> Station:
        if self.machines.cores:
            return self.stations["postgres"]
        return Station(self.clock, 1, speed=self.machines.redis_speed)

    # what is spent

    def spend(self, costs: Costs, times: float = 1.0, weight: float = 1.0) -> Process:
        """One part after the other: the worker waits for each. `weight` is that of its own share of the processor."""
        for part, seconds in costs.items():
            if part in ("fanout", "bulk", "others"):
                yield self.stations["worker"].serve(seconds * times, weight)
            elif part == "streaming":  # hears of it, and nobody waits for that
                self.clock.start(iter([self.stations["streaming"].serve(seconds * times)]))
            elif part in ("broker", "cache", "postgres"):
                yield self.stations[part].serve(seconds * times)

    def push(self, followers: int) -> Process:
        """To all nodes at once; on each a call for each bucket that it has, or for each thousand on a single one."""
        nodes, costs = len(self.nodes), self.costs
        each = followers / nodes
        with_timeline = self.active * costs.follower.get("timelines", 0)
        calls = min(each, math.ceil(timelines.BUCKETS / nodes)) if nodes > 1 else each / settings.PUSH_CHUNK
        seconds = each * (with_timeline + (1 - self.active) * costs.absent["timelines"])
        seconds += calls * costs.call["timelines"] * (nodes > 1)  # else they are in a follower's share
        if self.machines.cores and nodes == 1:
            yield self.nodes[0].serve(seconds)
        else:
            yield together([node.serve(seconds) for node in self.nodes])

    def deliver(self, followers: int, weight: float = 1.0) -> Process:
        """The steps of a batch, but for what it costs in itself."""
        without = {part: seconds for part, seconds in self.costs.follower.items() if part not in ("timelines", "relay")}
        yield from self.spend(without, followers, weight)
        yield from self.push(followers)

    # what happens

    def publish(self, followers: int) -> Process:
        """A request: what comes before the transaction is not in the delivery's time, and what is in it is."""
        self.open += 1
        if self.machines.cores:
            yield from self.ask({"web": self.costs.request.get("web", 0)})
        began = self.clock.now
        yield self.stations["postgres"].serve(self.costs.request.get("postgres", 0))
        self.open -= 1
        self.commit(followers, began)

    def commit(self, followers: int, began: float) -> None:
        self.open += 1
        batches = math.ceil(followers / self.batch)
        post = Post(followers, began, batches)
        self.waiting[(batches > 1) + (batches > 10)].append(post)
        for task in self.tasks.values():
            task.append(self.clock.now)
        self.bell.ring()

    def ask(self, costs: Costs) -> Process:
        """By HTTP, of the one web process."""
        yield self.threads.take()
        yield self.python.take()
        yield self.stations["web"].serve(costs.get("web", 0))
        self.python.give()
        for part in ("postgres", "cache"):
            yield self.stations[part].serve(costs.get(part, 0))
        yield self.nodes[0].serve(costs.get("timelines", 0))
        self.threads.give()

    def come(self, population: Population, load: Load) -> Process:
        sample = population.sampler(self.chance)
        while True:
            yield wait(self.clock, self.chance.expovariate(load.posts_per_second))
            if self.clock.now > load.seconds:
                break
            self.clock.start(self.publish(sample()))
        self.outcome.per_second = {queue: count / load.seconds for queue, count in self.outcome.messages.items()}
        self.outcome.waiting_tasks = max(len(task) for task in self.tasks.values())

    def read(self, load: Load, page: Costs) -> Process:
        while load.pages_per_second:
            yield wait(self.clock, self.chance.expovariate(load.pages_per_second))
            if self.clock.now > load.seconds:
                break
            self.clock.start(self.ask(page))

    def neighbour(self, share: float) -> Process:
        """Of another program, which has so much of a core whatever we would like."""
        while True:
            yield self.stations["worker"].serve(SLICE if share < 1 else math.inf, NEIGHBOUR)
            if share < 1:
                yield wait(self.clock, self.chance.expovariate(share / (1 - share) / SLICE))

    def relay(self) -> Process:
        while True:
            sent = fan_outs = full_up = 0
            if self.in_flight < self.limit:
                for audience, lane in enumerate(self.waiting):
                    most = outbox.MOST_LARGE if audience else outbox.MOST
                    posts = [lane.popleft() for _ in range(min(most, len(lane)))]
                    if posts:
                        self.in_flight += 1
                        sent += 1
                        fan_outs += len(posts)
                        yield from self.send("fanout", len(posts))
                        self.clock.start(self.fan_out_large(posts[0]) if audience else self.fan_out_small(posts))
            elif any(self.waiting):
                full_up = 1
            for task in [task for task in self.tasks if self.may_go(task)]:
                due = self.tasks[task]
                rows = [due.popleft() for _ in range(min(outbox.MOST, len(due)))]
                self.tasks_in_flight[task] += 1
                sent += 1
                yield from self.send("others", len(rows))
                self.clock.start(self.do_other(task, len(rows)))
            if sent:
                yield wait(self.clock, rest(fan_outs))
            # As outbox.Sent says what is waited for: a done message where one was in the way, else a new row.
            self.waits_for_done = any(self.is_due(task) for task in self.tasks)
            if full_up:
                yield self.done.wait(outbox.PAUSE)
            elif self.waits_for_done:
                yield self.bell.wait(outbox.PAUSE)
            elif not any(self.waiting):
                linger = outbox.LINGER.total_seconds()
                yield self.bell.wait(linger if any(self.tasks.values()) else settings.OUTBOX_POLL)

    def is_due(self, task: str) -> bool:
        """Whether the task's rows would be sent if none of its messages were on its way."""
        if not self.tasks[task]:
            return False
        age = self.clock.now - self.tasks[task][0]
        if self.is_behind(age):
            return age >= outbox.LINGER.total_seconds() and len(self.waiting[0]) <= outbox.MOST
        return True

    def is_behind(self, age: float) -> bool:
        """Fan-outs, and it has not waited for too long."""
        return bool(self.in_flight or any(self.waiting)) and age <= outbox.PATIENCE.total_seconds()

    def may_go(self, task: str) -> bool:
        """Behind the fan-outs one message at a time, else one of each task."""
        if not self.is_due(task) or self.tasks_in_flight[task]:
            return False
        behind = self.is_behind(self.clock.now - self.tasks[task][0])
        return not behind or not sum(self.tasks_in_flight.values())

    def send(self, queue: str, rows: int) -> Process:
        self.outcome.messages[queue] += 1
        message, row = (self.costs.message, self.costs.post) if queue == "fanout" else (self.costs.task_message, {})
        yield self.stations["relay"].serve(message.get("relay", 0) + rows * row.get("relay", 0))

    def fan_out_small(self, posts: list[Post]) -> Process:
        """The smallest first, as many at a time as fit one batch together."""
        yield self.fanout.take()
        yield wait(self.clock, self.delay)
        yield from self.spend(self.costs.message)
        posts.sort(key=lambda post: post.followers)
        while posts:
            group, size = list[Post](), 0
            while posts and (not group or size + posts[0].followers <= self.batch):
                group.append(posts.pop(0))
                size += group[-1].followers
            yield from self.spend(self.costs.post, len(group))
            yield self.nodes[0].serve(self.costs.post.get("timelines", 0) * len(group) / len(self.nodes))
            yield from self.deliver(size)
            for post in group:
                self.finish(post)
        self.fanned_out()

    def fan_out_large(self, post: Post) -> Process:
        yield self.fanout.take()
        yield wait(self.clock, self.delay)
        yield from self.spend(self.costs.message)
        yield from self.publish_wave(post, post.batches_left)
        self.fanned_out()

    def fanned_out(self) -> None:
        self.fanout.give()
        self.in_flight -= 1
        self.message_is_done()

    def message_is_done(self) -> None:
        self.done.ring()
        if self.waits_for_done:
            self.bell.ring()

    def publish_wave(self, post: Post, left: int) -> Process:
        members = min(left, settings.CHORD_MEMBERS)
        yield from self.spend(_only(self.costs.batch, "fanout"), members)
        pending = [members]
        for n in range(members):
            size = min(self.batch, post.followers - (math.ceil(post.followers / self.batch) - left + n) * self.batch)
            self.clock.start(self.push_batch(post, size, pending, left - members))

    def push_batch(self, post: Post, followers: int, pending: list[int], left: int) -> Process:
        self.outcome.messages["fanout_bulk"] += 1
        yield self.bulk.take()
        yield from self.spend(_without(self.costs.batch, "fanout"), weight=NICE)
        yield self.nodes[0].serve(self.costs.batch.get("timelines", 0) / len(self.nodes))
        yield from self.deliver(followers, NICE)
        self.bulk.give()
        pending[0] -= 1
        if not pending[0]:
            self.clock.start(self.record_delivery(post, left))

    def record_delivery(self, post: Post, left: int) -> Process:
        """The chord's callback: the next wave, or the end. It goes by the queue of the small ones."""
        self.outcome.messages["fanout"] += 1
        yield self.fanout.take()
        if left:
            yield from self.publish_wave(post, left)
        else:
            self.finish(post)
        self.fanout.give()

    def finish(self, post: Post) -> None:
        self.open -= 1
        self.outcome.arrived.append(Arrived(post.followers, self.clock.now - post.began))

    def do_other(self, task: str, rows: int) -> Process:
        yield self.others.take()
        messages = 1 + (task in outbox.CHAINED)
        self.outcome.messages["others"] += messages - 1
        yield from self.spend(self.costs.task_message, messages, NICE)
        yield from self.spend(self.costs.tasks, rows / len(self.tasks), NICE)
        self.others.give()
        self.tasks_in_flight[task] -= 1
        self.message_is_done()

    @property
    def limit(self) -> int:
        """OUTBOX_IN_FLIGHT: the processes that serve fan-outs."""
        return self.machines.fanout

    @property
    def delay(self) -> float:
        """What a post alone took beyond what it cost: commits that wait for the disk, and processes that wake up."""
        spent = sum(seconds for part, seconds in self.costs.message.items() if part != "streaming")
        spent += sum(seconds for part, seconds in self.costs.post.items() if part != "streaming")
        return max(0.0, self.costs.alone - spent - self.costs.request.get("postgres", 0))


def run(
    calibration: Calibration,
    machines: Machines,
    population: Population,
    load: Load,
    *,
    page: Costs | None = None,
    largest: int = 0,
    batch: int | None = None,
    patience: float = 60.0,
) -> Outcome:
    """Posts of the population for load.seconds, and, where `largest` is given, one to so many after a tenth of that.

    Ends when all have arrived, or so many seconds of `patience` after the last was published: then some are unfinished, as
    they are where there is more to do than can be done. Raises Unfit.
    """
    service = Service(calibration, machines, active=population.active, batch=batch)
    for _ in range(machines.relays):
        service.clock.start(service.relay())
    if load.posts_per_second:
        service.clock.start(service.come(population, load))
    service.clock.start(service.read(load, page or {}))
    if largest:
        service.clock.after(load.seconds / 10, lambda: service.clock.start(service.publish(largest)))
    service.clock.run(load.seconds + patience, lambda: service.clock.now <= load.seconds or service.open)
    outcome = service.outcome
    outcome.unfinished = service.open
    outcome.loads = {
        part: station.load(service.clock.now) for part, station in service.stations.items() if station.servers < 1 << 20
    }
    outcome.loads["timelines"] = max(node.load(service.clock.now) for node in service.nodes)
    return outcome


def at_once(calibration: Calibration, machines: Machines, audiences: list[int]) -> float:
    """Seconds until the last of these posts is delivered, that were committed by one transaction."""
    service = Service(calibration, machines)
    for followers in audiences:
        service.commit(followers, 0.0)
    service.clock.start(service.relay())
    service.clock.run(3600, lambda: service.open)
    return max(one.seconds for one in service.outcome.arrived)


def _only(costs: Costs, part: str) -> Mapping[str, float]:
    return {part: costs.get(part, 0.0)}


def _without(costs: Costs, part: str) -> Mapping[str, float]:
    return {name: seconds for name, seconds in costs.items() if name != part}

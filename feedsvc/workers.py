"""Which worker serves which queues, with how many processes: the setting WORKERS, for the settings and for the runner.

A word per worker, `QUEUE,QUEUE,...:PROCESSES`. Each queue must be served; large fan-outs by workers that serve nothing else,
so that they hold up nobody. The standard library only: the runner needs it before Django can be set up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

QUEUES = ("fanout", "fanout_bulk", "search", "notifications", "cache", "upkeep")
DEFAULT = "fanout:2 fanout_bulk:2 search,notifications,cache,upkeep:2"


@dataclass(frozen=True)
class Worker:
    """A worker's name, its queues, and how many processes it has."""

    name: str
    queues: tuple[str, ...]
    processes: int

    @property
    def nice(self) -> int:
        """Where all share a processor, small fan-outs go first: on them people wait."""
        return 0 if "fanout" in self.queues else 5


def asked(environ: Mapping[str, str]) -> list[Worker]:
    return parse(environ.get("WORKERS") or DEFAULT)


def parse(text: str) -> list[Worker]:
    """The workers; ValueError with one clear sentence if they make no sense."""
    workers: dict[str, Worker] = {}
    for word in text.split():
        worker = _worker(word, taken=workers)
        workers[worker.name] = worker
    served = {queue for worker in workers.values() for queue in worker.queues}
    if missing := [queue for queue in QUEUES if queue not in served]:
        raise ValueError(f"WORKERS lets nobody serve {', '.join(missing)}: each queue needs a worker")
    return list(workers.values())


def _worker(word: str, *, taken: Mapping[str, Worker]) -> Worker:
    names, colon, processes = word.partition(":")
    queues = tuple(names.split(","))
    if not colon or not processes.isdecimal() or not int(processes):
        raise ValueError(f"WORKERS must be words like fanout:2 or search,cache:1 (queues:processes), not {word!r}")
    if unknown := [queue for queue in queues if queue not in QUEUES]:
        raise ValueError(f"WORKERS names {unknown[0]!r}, which is no queue: there are {', '.join(QUEUES)}")
    if "fanout_bulk" in queues and len(queues) > 1:
        raise ValueError(
            f"WORKERS has {word!r}: fanout_bulk needs a worker of its own, else it holds up the other queues"
        )
    return Worker(_name(queues, taken), queues, int(processes))


def _name(queues: tuple[str, ...], taken: Mapping[str, Worker]) -> str:
    """As the queue, if it is one: worker-fanout, worker-bulk; else worker. Further ones of that name are numbered."""
    name = f"worker-{queues[0].removeprefix('fanout_')}" if len(queues) == 1 else "worker"
    numbered = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
    return next(one for one in numbered if one not in taken)

"""The shape of recorded activity, as the few figures that the load tests are made of. No names, ids or times are left in it.

`python -m loadtests shape GRAPH ACTIVITY` derives the figures from two files, as import_graph and replay_activity take
them; shape.json has those of the record that it names. A deed is what one actor did in one second, of whatever many lines.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).with_name("shape.json")
KINDS = ("RT", "RE", "MT")  # a deed of several kinds counts as the first of these
CELEBRITIES = 100  # one in so many accounts, the most followed ones
MINUTE = 60  # seconds


@dataclass(frozen=True)
class Class:
    """Accounts whose followers have the same number of binary digits. `share` is of all accounts, `deeds` of all deeds."""

    least: int  # followers
    share: float
    acting: float  # the share of them that ever did anything
    deeds: float


@dataclass(frozen=True)
class Shape:
    """`tenths`: of values in order, the mean of each tenth of them, against the mean of all; so these are 1 in the mean."""

    record: str  # what was recorded, by whom, under which licence
    accounts: int
    follows: int
    deeds: int
    hours: float
    kinds: dict[str, float]  # shares of the deeds: RT reposts, RE replies, MT posts that mention somebody
    never_act: float  # share of the accounts
    most_followers: float  # the most that one account has, as a share of all accounts
    celebrity_deeds: float  # share of the deeds that are done by the most followed hundredth of the accounts
    celebrity_follows: float  # share of the follows that lead to them
    audience: dict[str, float]  # followers of who did a deed: mean, p50, p90, p99
    new_actors: float  # of a deed in the later half of the record: its actor was not seen before
    new_ties: float  # and so many of its targets this actor had not turned to before
    actors: list[float]  # tenths of the deeds of those who act
    followings: list[float]  # tenths of how many each account follows
    minutes: list[float]  # tenths of the deeds of each minute
    classes: list[Class]


def stored(file: Path = FILE) -> Shape:
    facts = json.loads(file.read_text())
    return Shape(**facts | {"classes": [Class(**one) for one in facts["classes"]]})


def as_json(shape: Shape) -> str:
    return json.dumps(asdict(shape), indent=1)


def derive(edges: Iterable[tuple[int, int]], events: Iterable[tuple[int, int, int, str]], record: str) -> Shape:
    """Of edges (follower, followee) and events (actor, target, unix seconds, kind) in order of time. Raises ValueError."""
    followers, followings = Counter[int](), Counter[int]()
    for follower, followee in edges:
        followings[follower] += 1
        followers[followee] += 1
    deeds = defaultdict[tuple[int, int], list[tuple[str, int]]](list)
    for actor, target, second, kind in events:
        deeds[second, actor].append((kind, target))
    if not followers or not deeds:
        raise ValueError("a shape needs at least one follow and one deed")
    done = Counter(actor for _, actor in deeds)
    accounts = sorted(
        followers.keys() | followings.keys() | done.keys(), key=lambda account: (followers[account], account)
    )
    celebrities = accounts[-max(1, len(accounts) // CELEBRITIES) :]
    kinds = Counter(min((kind for kind, _ in did), key=KINDS.index) for did in deeds.values())
    minutes = Counter(second // MINUTE for second, _ in deeds)
    audiences = sorted(followers[actor] for _, actor in deeds)
    new_actors, new_ties = _later_half(list(deeds.items()))
    return Shape(
        record=record,
        accounts=len(accounts),
        follows=followers.total(),
        deeds=len(deeds),
        hours=round((max(minutes) - min(minutes) + 1) / 60, 2),
        kinds={kind: _rounded(kinds[kind] / len(deeds)) for kind in KINDS},
        never_act=_rounded(1 - len(done) / len(accounts)),
        most_followers=_rounded(max(followers.values()) / len(accounts)),
        celebrity_deeds=_rounded(sum(done[account] for account in celebrities) / len(deeds)),
        celebrity_follows=_rounded(sum(followers[account] for account in celebrities) / followers.total()),
        audience={
            "mean": round(sum(audiences) / len(audiences), 1),
            **{f"p{per_cent}": audiences[len(audiences) * per_cent // 100] for per_cent in (50, 90, 99)},
        },
        new_actors=new_actors,
        new_ties=new_ties,
        actors=tenths(list(done.values())),
        followings=tenths([followings[account] for account in accounts]),
        minutes=tenths([minutes[minute] for minute in range(min(minutes), max(minutes) + 1)]),
        classes=_classes(accounts, followers, done),
    )


def tenths(values: Sequence[float]) -> list[float]:
    ordered, mean = sorted(values), sum(values) / len(values)
    cuts = [len(ordered) * n // 10 for n in range(11)]
    parts = [ordered[begin : max(end, begin + 1)] for begin, end in pairwise(cuts)]
    return [_rounded(sum(part) / len(part) / mean) for part in parts]


def _classes(accounts: Sequence[int], followers: Counter[int], done: Counter[int]) -> list[Class]:
    members = defaultdict[int, list[int]](list)
    for account in accounts:
        members[followers[account].bit_length()].append(account)
    return [
        Class(
            least=1 << digits >> 1,
            share=_rounded(len(some) / len(accounts)),
            acting=_rounded(sum(account in done for account in some) / len(some)),
            deeds=_rounded(sum(done[account] for account in some) / done.total()),
        )
        for digits, some in sorted(members.items())
    ]


def _later_half(deeds: list[tuple[tuple[int, int], list[tuple[str, int]]]]) -> tuple[float, float]:
    """Of a deed there: how often its actor, and how many of its targets, are new. At first everybody is."""
    actors, ties = set[int](), set[tuple[int, int]]()
    counts = [(0, 0)]
    for (_, actor), did in deeds:
        actors.add(actor)
        ties.update((actor, target) for _, target in did if target != actor)
        counts.append((len(actors), len(ties)))
    half = len(deeds) // 2
    later = len(deeds) - half
    return _rounded((counts[-1][0] - counts[half][0]) / later), _rounded((counts[-1][1] - counts[half][1]) / later)


def _rounded(share: float) -> float:
    """To four digits: more would say nothing."""
    return float(f"{share:.4g}")

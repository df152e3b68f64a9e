"""How many followers the authors of posts have: a histogram, wherever it comes from.

Every figure of a plan is a sum over it: no formula of some distribution stands anywhere else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist

from django.db import transaction

from feeds.database import rows

BINS = 2_000  # of a fitted distribution
SLOW = "10min"  # for a look at every account


class Unfit(ValueError):
    """The figures contradict each other; its text says which."""


@dataclass(frozen=True)
class Population:
    """`audiences`: the share of posts by their authors' number of followers, all shares together 1."""

    audiences: Mapping[float, float]
    accounts: int
    active: float  # the share of accounts that read; only they have a timeline
    source: str

    @property
    def mean(self) -> float:
        """Followers of a post's author."""
        return sum(followers * share for followers, share in self.audiences.items())

    @property
    def largest(self) -> float:
        return max(self.audiences)

    def percentile(self, share: float) -> float:
        reached = 0.0
        for followers, part in sorted(self.audiences.items()):
            reached += part
            if reached >= share - 1e-12:
                return followers
        return self.largest

    def above(self, threshold: float) -> float:
        """Followers of a post's author, where those with `threshold` or fewer count as none."""
        return sum(followers * share for followers, share in self.audiences.items() if followers > threshold)

    def at_most(self, threshold: float) -> dict[float, float]:
        """The histogram without those above; its shares add up to less than 1."""
        return {followers: share for followers, share in self.audiences.items() if followers <= threshold}

    def sampler(self, chance: random.Random) -> Sampler:
        return Sampler([*self.audiences], [*accumulate(self.audiences.values())], chance)


@dataclass(frozen=True)
class Sampler:
    followers: list[float]
    reached: list[float]
    chance: random.Random

    def __call__(self) -> int:
        return round(self.chance.choices(self.followers, cum_weights=self.reached)[0])


def fitted(*, p50: float, p99: float, largest: float, accounts: int, active: float) -> Population:
    """A lognormal up to the 99th percentile, and beyond it a power law that reaches `largest` at the last account of all.

    Follower counts are found to have a body like the one and a tail like the other. Raises Unfit.
    """
    if not 0 < p50 < p99 < largest:
        raise Unfit("half of the authors must have fewer followers than 99 in 100, and these fewer than the largest")
    if largest > accounts:
        raise Unfit(f"nobody can have {largest:,.0f} followers among {accounts:,} accounts")
    if accounts < 1000:
        raise Unfit("of fewer than 1,000 accounts there is no 99th percentile to speak of: give a graph file")
    normal = NormalDist()
    sigma = math.log(p99 / p50) / normal.inv_cdf(0.99)
    steep = math.log(0.01 * accounts) / math.log(largest / p99)  # so that one account in all is above `largest`
    if steep <= 1:
        raise Unfit(f"a power law from {p99:,.0f} to {largest:,.0f} among {accounts:,} accounts has no mean")

    def followers_at(share: float) -> float:
        if share <= 0.99:
            return p50 * math.exp(sigma * normal.inv_cdf(share))
        return min(largest, p99 * ((1 - share) / 0.01) ** (-1 / steep))

    # Half of the bins in the body, alike in shares; half in the tail, alike on a scale of logarithms.
    body = [0.99 * (n + 0.5) / (BINS // 2) for n in range(BINS // 2)]
    audiences = {followers_at(share): 0.99 / (BINS // 2) for share in body}
    last = 1 / accounts
    ratio = (last / 0.01) ** (1 / (BINS // 2))
    edges = [0.01 * ratio**n for n in range(BINS // 2)] + [last]
    for above, below in pairwise(edges):
        # The mean of a power law between two shares
        mean = p99 * 0.01 ** (1 / steep) * (above ** (1 - 1 / steep) - below ** (1 - 1 / steep)) / (1 - 1 / steep)
        audiences[mean / (above - below)] = above - below
    audiences[largest] = last
    source = f"fitted to p50 {p50:,.0f}, p99 {p99:,.0f} and the largest, {largest:,.0f}"
    return Population(audiences, accounts, active, source)


def of_database(active_days: int) -> Population:
    """The accounts of this instance, each of which posts as often as any other. Reads every account's row once."""
    with transaction.atomic():
        rows("SELECT set_config('statement_timeout', %(slow)s, true)", slow=SLOW)
        found = rows(
            """
            SELECT followers_count, count(*),
                count(*) FILTER (WHERE last_active_at > now() - %(days)s * interval '1 day')
            FROM followers_account WHERE is_active GROUP BY followers_count
            """,
            days=active_days,
        )
    accounts = sum(count for _, count, _ in found)
    if not accounts:
        raise Unfit("there is no account in this instance's database")
    audiences = {float(followers): count / accounts for followers, count, _ in found}
    return Population(audiences, accounts, sum(n for _, _, n in found) / accounts, "the accounts of this database")


def of_graph(edges: Iterable[tuple[int, int]], *, active: float) -> Population:
    """Of (follower, followee). Holds one number for each account, and no edge: none may come twice."""
    followers = dict[int, int]()
    for follower, followee in edges:
        followers.setdefault(follower, 0)
        followers[followee] = followers.get(followee, 0) + 1
    if not followers:
        raise Unfit("there is no edge in the graph")
    audiences = dict[float, float]()
    for count in followers.values():
        audiences[count] = audiences.get(count, 0) + 1 / len(followers)
    return Population(audiences, len(followers), active, "the accounts of this graph")


def of_posts(audiences: Mapping[str, int], *, accounts: int, active: float) -> Population:
    """Of a load that was measured: how many posts went to how many followers."""
    posts = sum(audiences.values())
    if not posts:
        raise Unfit("no post was made in the load that was measured")
    shares = {float(followers): count / posts for followers, count in audiences.items()}
    return Population(shares, accounts, active, "the posts that were made")

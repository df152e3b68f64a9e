"""Stored timelines against a plain set, on a real server: whatever is pushed late, twice, or between removals.

A page must hold all that was added and not taken away above the coverage that it claims, and claim no more coverage than
a timeline that is trimmed at once.
"""

from __future__ import annotations

from django.test import override_settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some

from feeds import timelines
from feeds.models import ID_END
from feeds.redis_client import client

READER, LIMIT = 7, 5
IDS = [(1_795_000_000_000 << 16) + n * 32 for n in range(40)]

posts = some.sampled_from(IDS)
several = some.lists(posts, max_size=12, unique=True)
steps = some.lists(
    some.one_of(
        some.tuples(some.just("push"), posts),
        some.tuples(some.just("push_newest"), some.just(0)),
        some.tuples(some.just("remove"), posts),
        some.tuples(some.just("purge"), several),
        some.tuples(some.just("sync"), some.tuples(several, several, posts | some.just(0))),
        some.tuples(some.just("rebuild"), some.tuples(several, several, posts | some.just(0))),
        some.tuples(some.just("sweep"), some.just(0)),
    ),
    max_size=60,
)


class Model:
    """All that was added above the coverage it began with, and the coverage if it were trimmed at once."""

    def __init__(self) -> None:
        self.ids, self.cover, self.newest = set[int](), 0, 0

    def add(self, *ids: int) -> None:
        self.ids.update(ids)
        if rest := sorted({one for one in self.ids if one > self.cover}, reverse=True)[LIMIT:]:
            self.cover = rest[0]

    def push(self, post_id: int) -> None:
        timelines.push(post_id, str(READER), deadline=0)
        self.add(post_id)
        self.newest = max(self.newest, post_id)

    def push_newest(self, _: int) -> None:
        self.push(min(self.newest + 32, IDS[-1]) if self.newest else IDS[0])

    def remove(self, post_id: int) -> None:
        timelines.remove(post_id, str(READER))
        self.ids.discard(post_id)

    def purge(self, post_ids: list[int]) -> None:
        timelines.purge(post_ids, str(READER))
        self.ids -= set(post_ids)

    def sync(self, change: tuple[list[int], list[int], int]) -> None:
        add, remove, floor = change
        add = [post_id for post_id in add if post_id not in remove and post_id > floor]
        timelines.sync(READER, add=add, remove=remove, floor=floor, deadline=0)
        self.cover = max(self.cover, floor)
        self.ids = {one for one in self.ids if one > floor} - set(remove)
        self.add(*add)

    def rebuild(self, change: tuple[list[int], list[int], int]) -> None:
        """Pushes arrive while it is being built."""
        add, pushed, cover = change
        timelines.begin(READER, "token")
        for post_id in pushed:
            timelines.push(post_id, str(READER), deadline=0)
        timelines.fill(READER, "token", add=[*add, *pushed[:2]], remove=pushed[2:4])
        assert timelines.page(READER, below=ID_END, above=0, count=100) is None
        assert timelines.finish(READER, "token", cover=cover)
        self.ids, self.cover = set(), cover
        self.add(*(one for one in {*add, *pushed} - set(pushed[2:4]) if one > cover))

    def sweep(self, _: int) -> None:
        timelines.sweep()

    def check(self) -> None:
        whole = timelines.page(READER, below=ID_END, above=0, count=100)
        assert whole is not None
        assert whole.ids == sorted({one for one in self.ids if one > whole.cover}, reverse=True)
        assert whole.cover <= self.cover
        assert len(whole.ids) <= LIMIT
        below, above = IDS[30], IDS[3]
        inside = [one for one in whole.ids if above < one < below]
        assert timelines.page(READER, below=below, above=above, count=2).ids == inside[:2]
        assert timelines.page(READER, below=below, above=above, count=2, nearest=True).ids == inside[::-1][:2]


@override_settings(TIMELINE_LIMIT=LIMIT, TIDY_EVERY=4)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps, some.booleans())
def test_a_page_is_what_was_added_and_not_taken_away_above_its_coverage(steps, look_always):
    client().flushdb()
    timelines.build_empty(str(READER))
    model = Model()
    for name, value in steps:
        getattr(model, name)(value)
        if look_always:
            model.check()
    model.check()

"""The verbs of a stored timeline, on a real server."""

from __future__ import annotations

import pytest
from django.test import override_settings

from feeds import timelines
from feeds.models import ID_END
from feeds.redis_client import client

READER = 7
IDS = [(1_795_000_000_000 << 16) + n * 32 for n in range(20)]

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def tiny():
    client().flushdb()
    with override_settings(TIMELINE_LIMIT=5, TRIM_SLACK=2, TRIM_EVERY=1):
        yield


def push(*post_ids: int) -> None:
    for post_id in post_ids:
        timelines.push(post_id, str(READER), deadline=0)


def page(**bounds):
    return timelines.page(READER, **{"below": ID_END, "above": 0, "count": 100} | bounds)


def test_a_push_never_creates_a_timeline():
    assert timelines.push(IDS[0], "7,8", deadline=0) == 0
    assert not client().exists(timelines.key(7), timelines.key(8))


def test_a_push_counts_the_timelines_that_exist_and_twice_is_once():
    timelines.build_empty("7,8")
    assert timelines.push(IDS[0], "7,8,9", deadline=0) == 2
    assert timelines.push(IDS[0], "7,8,9", deadline=0) == 2
    assert page() == timelines.Stored(0, [IDS[0]])


def test_many_posts_are_pushed_in_one_call_each_to_its_own_readers():
    timelines.build_empty("7,8")
    for _ in range(2):
        assert timelines.push_many([(IDS[0], "7,9"), (IDS[1], "7,8"), (IDS[2], "9")], deadline=0) == [1, 2, 0]
    assert (page().ids, timelines.ids(8).ids) == ([IDS[1], IDS[0]], [IDS[1]])
    assert timelines.push_many([(IDS[3], "7")], deadline=1) is None


def test_a_push_after_its_deadline_is_refused():
    timelines.build_empty(str(READER))
    assert timelines.push(IDS[0], str(READER), deadline=1) is None
    assert page().ids == []


def test_ids_come_back_exactly_and_newest_first():
    timelines.build_empty(str(READER))
    push(IDS[1], IDS[0], IDS[2])
    assert page().ids == [IDS[2], IDS[1], IDS[0]]


def test_a_page_never_goes_beyond_the_limit_and_says_where_coverage_ends():
    timelines.build_empty(str(READER))
    push(*IDS[:6])  # one more than the limit, less than the slack: not trimmed yet
    assert client().zcard(timelines.key(READER)) == 7
    assert page() == timelines.Stored(IDS[0], IDS[5:0:-1])


def test_a_trim_keeps_the_newest_and_moves_the_coverage():
    timelines.build_empty(str(READER))
    push(*IDS[:8])
    assert client().zcard(timelines.key(READER)) == 6
    assert page() == timelines.Stored(IDS[2], IDS[7:2:-1])


def test_a_push_trims_for_one_post_in_so_many_and_a_page_is_cut_all_the_same(settings):
    settings.TRIM_EVERY = 10
    timelines.build_empty(str(READER))
    push(*IDS[1:10])
    assert client().zcard(timelines.key(READER)) == 10
    assert page() == timelines.Stored(IDS[4], IDS[9:4:-1])
    push(IDS[10] if IDS[10] // 32 % 10 == 0 else next(i for i in range(IDS[10], IDS[19], 32) if i // 32 % 10 == 0))
    assert client().zcard(timelines.key(READER)) == 6


def test_what_lies_below_the_coverage_is_counted_and_not_stored():
    timelines.build_empty(str(READER))
    push(*IDS[2:12])
    before = timelines.ids(READER)
    assert timelines.push(IDS[0], str(READER), deadline=0) == 1
    assert timelines.ids(READER) == before


def test_bounds_are_exclusive_in_both_directions():
    timelines.build_empty(str(READER))
    push(*IDS[:5])
    assert page(below=IDS[3], above=IDS[0]).ids == [IDS[2], IDS[1]]
    assert page(above=IDS[1], count=2, nearest=True).ids == [IDS[2], IDS[3]]


def test_a_timeline_of_another_reign_counts_as_absent_and_is_dropped_by_a_push():
    client().zadd(timelines.key(READER), {"c:0123456789ab": 0, str(IDS[0]): -IDS[0]})
    assert page() is None
    assert timelines.push(IDS[1], str(READER), deadline=0) == 0
    assert not client().exists(timelines.key(READER))


def test_a_timeline_that_is_being_built_collects_pushes_and_serves_nobody():
    timelines.begin(READER, "token")
    assert timelines.push(IDS[3], str(READER), deadline=0) == 1
    assert page() is None
    assert timelines.fill(READER, "token", add=[IDS[1], IDS[2]], remove=[IDS[2]])
    assert timelines.finish(READER, "token", cover=IDS[0])
    assert page() == timelines.Stored(IDS[0], [IDS[3], IDS[1]])
    assert client().ttl(timelines.key(READER)) == -1


def test_a_second_rebuild_takes_over_from_the_first():
    timelines.begin(READER, "first")
    timelines.begin(READER, "second")
    assert not timelines.fill(READER, "first", add=[IDS[1]], remove=[])
    assert not timelines.finish(READER, "first", cover=0)
    assert timelines.finish(READER, "second", cover=0)
    assert page().ids == []


def test_a_finished_timeline_is_trimmed_to_the_limit():
    timelines.begin(READER, "token")
    timelines.fill(READER, "token", add=IDS[:9], remove=[])
    timelines.finish(READER, "token", cover=0)
    assert page() == timelines.Stored(IDS[3], IDS[8:3:-1])


def test_sync_adds_above_the_coverage_removes_and_raises_the_coverage_to_the_floor():
    timelines.build_empty(str(READER))
    push(IDS[0], IDS[4])
    assert timelines.sync(READER, add=[IDS[5], IDS[6]], remove=[IDS[4]], floor=IDS[2], deadline=0)
    assert page() == timelines.Stored(IDS[2], [IDS[6], IDS[5]])
    assert timelines.sync(READER, add=[IDS[1]], remove=[], floor=0, deadline=0)
    assert page().ids == [IDS[6], IDS[5]]


def test_sync_after_its_deadline_is_refused():
    timelines.build_empty(str(READER))
    assert not timelines.sync(READER, add=[IDS[5]], remove=[], floor=0, deadline=1)
    assert page().ids == []


def test_an_emptied_timeline_stays_built():
    timelines.build_empty(str(READER))
    push(IDS[0])
    assert timelines.remove(IDS[0], "7,8") == 1
    assert page() == timelines.Stored(0, [])


def test_evicted_timelines_are_absent():
    timelines.build_empty("7,8,9")
    timelines.evict([7, 8])
    assert timelines.page(8, below=ID_END, above=0, count=1) is None
    assert timelines.page(9, below=ID_END, above=0, count=1) is not None

"""The verbs of a stored timeline, on a real server."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.test import override_settings

from feeds import timelines
from feeds.models import ID_END
from feeds.redis_client import client, own, own_to, owner

READER = 7
IDS = [(1_795_000_000_000 << 16) + n * 32 for n in range(20)]

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def tiny():
    client().flushdb()
    with override_settings(TIMELINE_LIMIT=5, TIDY_EVERY=4):
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
    push(*IDS[:6])  # with the mark seven: not trimmed yet
    assert client().llen(timelines.key(READER)) == 7
    assert page() == timelines.Stored(IDS[0], IDS[5:0:-1])


def test_every_so_many_pushes_the_newest_are_kept_and_the_coverage_moves():
    timelines.build_empty(str(READER))
    push(*IDS[:7])
    assert client().llen(timelines.key(READER)) == 6
    assert page() == timelines.Stored(IDS[1], IDS[6:1:-1])


@pytest.mark.parametrize("late", [IDS[1], IDS[5]])
def test_what_comes_late_or_twice_is_put_in_its_place(late):
    """Right behind the front, and deep."""
    timelines.build_empty(str(READER))
    order = [post_id for post_id in IDS[:7] if post_id != late]
    push(*order, late, order[-1], late)
    assert page() == timelines.Stored(IDS[1], IDS[6:1:-1])
    assert client().lrange(timelines.key(READER), 0, -2)[:5] == [str(post_id) for post_id in IDS[6:1:-1]]


def test_what_lies_below_the_coverage_is_counted_and_not_stored():
    timelines.build_empty(str(READER))
    push(*IDS[2:12])
    before = page()
    assert timelines.push(IDS[0], str(READER), deadline=0) == 1
    assert page() == before


def test_what_lies_below_the_coverage_never_lowers_it():
    timelines.begin(READER, "token")
    timelines.finish(READER, "token", cover=IDS[9])
    push(IDS[3], *IDS[10:15])
    assert page() == timelines.Stored(IDS[9], IDS[14:9:-1])
    push(*IDS[15:18])
    assert page() == timelines.Stored(IDS[12], IDS[17:12:-1])


def test_bounds_are_exclusive_in_both_directions():
    timelines.build_empty(str(READER))
    push(*IDS[:5])
    assert page(below=IDS[3], above=IDS[0]).ids == [IDS[2], IDS[1]]
    assert page(above=IDS[1], count=2, nearest=True).ids == [IDS[2], IDS[3]]


def of_another_reign(reader_id: int) -> None:
    client().rpush(timelines.key(reader_id), IDS[0], "c:0:0123456789ab")


def test_a_timeline_of_another_reign_counts_as_absent_and_is_dropped_by_a_push():
    of_another_reign(READER)
    assert page() is None
    of_another_reign(READER)
    assert timelines.push(IDS[1], str(READER), deadline=0) == 0
    assert not client().exists(timelines.key(READER))


def test_a_sweep_drops_timelines_of_other_reigns_once_and_a_failover_asks_for_another():
    timelines.build_empty("7,8")
    push(IDS[0])
    of_another_reign(9)
    assert timelines.sweep() == 3
    assert not client().exists(timelines.key(9))
    assert timelines.sweep() is None
    assert timelines.push(IDS[1], "7,8,9", deadline=0) == 2
    assert page().ids == [IDS[1], IDS[0]]
    for swept in timelines._parts().values():
        client().set(swept, "0123456789ab")  # as a promoted replica has it
    of_another_reign(9)
    assert timelines.push(IDS[2], "7,8,9", deadline=0) == 2
    assert timelines.sweep() == 2


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


def test_a_server_that_knows_no_script_is_given_it():
    timelines.build_empty(str(READER))
    client().script_flush()
    push(IDS[0])
    assert page() == timelines.Stored(0, [IDS[0]])


def test_a_call_works_though_the_server_has_closed_the_connection():
    timelines.build_empty(str(READER))
    push(IDS[0])
    client().client_kill_filter(_type="normal", skipme=False)
    assert page().ids == [IDS[0]]


def test_an_answer_that_was_not_read_is_not_the_next_calls(monkeypatch):
    timelines.build_empty(str(READER))
    push(IDS[0])
    connection, read = mine(), mine().read_response
    monkeypatch.setattr(connection, "read_response", interrupt)
    with pytest.raises(KeyboardInterrupt):
        timelines.push(IDS[1], "135,263", deadline=0)  # of the same bucket
    monkeypatch.setattr(connection, "read_response", read)
    assert page().ids == [IDS[0]]


def mine():
    return own_to(owner(timelines.key(READER))) if settings.REDIS_NODES else own()


def interrupt():
    raise KeyboardInterrupt


def test_neither_threads_nor_processes_share_a_connection():
    with ThreadPoolExecutor(1) as other:
        assert other.submit(mine).result() is not mine()
    before = mine()
    if (child := os.fork()) == 0:
        os._exit(mine() is before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and mine() is before

"""A large fan-out that is cancelled in the middle, through the real relay, broker and workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from feeds import actions, deliveries, importing, timelines
from feeds.models import Batch, Delivery
from feeds.redis_client import client
from followers.models import Account
from tests.conftest import eventually
from tests.factories import AccountFactory

pytestmark = pytest.mark.e2e

FOLLOWERS = 5000
BATCHES = 500  # more than one chord's, and more than are done before this process has looked
PROCESSES = 2  # of worker-bulk


def test_a_cancelled_fan_out_stops_within_two_batches_per_worker_and_is_taken_back(workers: Any, api: Any) -> None:
    author, staff = AccountFactory(), api(AccountFactory(is_staff=True))
    importing.make_audience(author, prefix="reader", size=FOLLOWERS, show=lambda done: None)
    readers = list(Account.objects.filter(follows_out__followee=author).order_by("pk").values_list("pk", flat=True))
    with client().monitor() as seen:
        post_id = int(api(author).post("/api/v1/statuses", {"status": "a mistake"}).json()["id"])
        done = Batch.objects.filter(post=post_id, kind="push", state="done")
        eventually(lambda: done.count() >= 20, "some batches are done")
        assert actions.cancel_delivery(post_id=post_id)
        cancelled_at = time.time()
        assert staff.get(f"/api/v1/statuses/{post_id}/delivery").json()["state"] == "cancelled"
        eventually(lambda: both_closed(post_id), "it is closed, and so is its retraction", 120)
        pushes = pushes_of(post_id, seen)

    ranges = list(Batch.objects.filter(post=post_id, kind="push").values_list("batch_no", "lo", "hi"))
    late = {
        number for moment, reader in pushes for number, lo, hi in ranges if moment > cancelled_at and lo <= reader < hi
    }
    assert len(late) <= 2 * PROCESSES, f"batches pushed after the cancel: {sorted(late)}"

    record = staff.get(f"/api/v1/statuses/{post_id}/delivery").json()
    assert (record["state"], record["audience"], record["failed"]) == ("cancelled", FOLLOWERS, 0)
    assert sum(record[part] for part in deliveries.PARTS if part != "audience") == FOLLOWERS
    assert record["batches"] == {"total": BATCHES, "done": BATCHES, "failed": 0}
    assert 0 < record["delivered"] < FOLLOWERS, "it was in the middle"
    assert record["skipped_hidden"] == FOLLOWERS - record["delivered"]
    assert len(pushes) >= record["delivered"], "each push was seen"

    assert all(dump.state == "built" and dump.entries == [] for dump in timelines.dump(readers))
    for reader in Account.objects.filter(pk__in=readers[::1000]):
        assert api(reader).get("/api/v1/timelines/home").json() == []
    assert api().get(f"/api/v1/statuses/{post_id}").status_code == 200, "it lives on"


def both_closed(post_id: int) -> bool:
    return list(Delivery.objects.filter(post=post_id).values_list("state", flat=True)) == ["closed", "closed"]


def pushes_of(post_id: int, seen: Any) -> list[tuple[float, int]]:
    """When the post was pushed, and to whom, by all that Redis was told until now."""
    client().echo(f"the end of {post_id}")
    pushes = []
    while (told := seen.next_command())["command"] != f"ECHO the end of {post_id}":
        command, *arguments = told["command"].split()
        if command == "LPUSHX" and arguments[1] == str(post_id):
            pushes.append((told["time"], int(arguments[0].rpartition(":")[2])))
    return pushes

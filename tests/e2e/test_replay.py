"""A fan-out that failed and is replayed, through the real relay, broker, workers and reconciler."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F

from feeds import timelines
from feeds.models import Batch
from tests.conftest import eventually
from tests.factories import AccountFactory, star

pytestmark = pytest.mark.e2e


def test_batches_that_died_are_replayed_and_reach_each_follower_once(workers: Any, api: Any) -> None:
    author, readers = star(25)
    staff = api(AccountFactory(is_staff=True))
    workers.stop("worker-bulk")
    try:
        post_id = int(api(author).post("/api/v1/statuses", {"status": "hello"}).json()["id"])
        url = f"/api/v1/statuses/{post_id}/delivery"
        batches = Batch.objects.filter(post=post_id)
        eventually(lambda: batches.count() == 3, "it is planned")
        batches.filter(batch_no__gt=0).update(attempts=F("attempts_allowed"))  # as if each had ended a process
        eventually(lambda: batches.filter(state="dead").count() == 2, "they are buried")
    finally:
        workers.start("worker-bulk")
    failed = eventually(lambda: (found := staff.get(url).json())["state"] == "done" and found, "it is closed", 60)
    assert (failed["audience"], failed["delivered"], failed["failed"]) == (25, 10, 15)
    [listed] = staff.get("/api/v1/admin/deliveries").json()
    assert (listed["id"], listed["batches"]) == (str(post_id), {"total": 3, "done": 1, "failed": 2})

    for _ in range(2):
        assert staff.post(f"{url}/replay").status_code == 200
    mended = eventually(lambda: (found := staff.get(url).json())["state"] == "done" and found, "it is closed again", 60)
    assert (mended["delivered"], mended["failed"]) == (25, 0)
    assert staff.get("/api/v1/admin/deliveries").json() == []
    assert all(timelines.ids(reader.pk).ids == [post_id] for reader in readers)

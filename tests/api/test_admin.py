"""/api/v1/admin, and what staff do about a delivery."""

from __future__ import annotations

from typing import Any

import pytest

from feeds import fanout, reconciler
from feeds.models import Batch, Post
from tests.api.reading import ids, walk
from tests.factories import AccountFactory, PostFactory, star

pytestmark = pytest.mark.django_db

LIST = "/api/v1/admin/deliveries"


def fail(post: Post) -> None:
    fanout.plan(post.pk, "push")
    Batch.objects.filter(post=post).update(attempts=5, error="it broke")
    reconciler.bury()
    fanout.finish(post.pk, "push", "reconciler")


@pytest.fixture
def failed() -> Post:
    post = PostFactory(author=star(1)[0])
    fail(post)
    return post


@pytest.fixture
def staff(api: Any) -> Any:
    return api(AccountFactory(is_staff=True))


def test_staff_see_what_is_to_be_looked_at(staff: Any, failed: Post) -> None:
    waiting = PostFactory()
    assert ids(staff.get(LIST)) == [waiting.pk, failed.pk]
    assert ids(staff.get(f"{LIST}?state=open")) == [waiting.pk]
    [shown] = staff.get(f"{LIST}/?state=failed").json()
    assert shown["author"] == failed.author.username
    assert (shown["kind"], shown["state"], shown["failed"], shown["dropped_at"]) == ("push", "done", 1, None)
    assert shown["batches"] == {"total": 1, "done": 0, "failed": 1}
    answer = staff.get(f"{LIST}?state=well")
    assert (answer.status_code, answer.json()) == (400, {"error": "state must be one of open, failed, dropped"})


def test_the_list_has_pages(staff: Any, django_assert_max_num_queries: Any) -> None:
    author, _ = star(1)
    posts = [PostFactory(author=author) for _ in range(5)]
    fail(posts[1])
    newest_first = [post.pk for post in posts[::-1]]
    pages = walk(staff, f"{LIST}?limit=2")
    assert [one for page in pages for one in page] == newest_first
    assert [len(page) for page in pages] == [2, 2, 1]
    oldest = staff.get(f"{LIST}?min_id=0&limit=2")
    assert ids(oldest) == [posts[1].pk, posts[0].pk]
    with django_assert_max_num_queries(3):
        staff.get(LIST)


def test_staff_replay_what_failed_and_a_second_time_changes_nothing(staff: Any, failed: Post, drain: Any) -> None:
    url = f"/api/v1/statuses/{failed.pk}/delivery/replay"
    for _ in range(2):
        answer = staff.post(url)
        assert (answer.status_code, answer.json()["state"], answer.json()["id"]) == (200, "running", str(failed.pk))
    drain()
    record = staff.get(f"/api/v1/statuses/{failed.pk}/delivery").json()
    assert (record["state"], record["delivered"], record["failed"]) == ("done", 1, 0)
    assert staff.post(url).json()["state"] == "done"


def test_staff_drop_what_failed_for_good(staff: Any, failed: Post) -> None:
    for _ in range(2):
        record = staff.post(f"/api/v1/statuses/{failed.pk}/delivery/drop").json()
        assert (record["state"], record["failed"], record["dropped_at"] is None) == ("done", 1, False)
    assert ids(staff.get(LIST)) == []
    assert ids(staff.get(f"{LIST}?state=dropped")) == [failed.pk]
    answer = staff.post(f"/api/v1/statuses/{failed.pk}/delivery/replay")
    assert answer.status_code == 422
    assert answer.json()["error"] == "Validation failed: Delivery was dropped, and that is for good"


def test_only_staff_may_and_only_with_a_token_that_may(api: Any, failed: Post) -> None:
    author, reader = api(failed.author), api(AccountFactory(is_staff=True), "read")
    assert author.get(LIST).status_code == 403
    assert api().get(LIST).status_code == 401
    for deed in ("replay", "drop"):
        url = f"/api/v1/statuses/{failed.pk}/delivery/{deed}"
        assert [caller.post(url).status_code for caller in (author, reader, api())] == [403, 403, 401]
        assert api(AccountFactory(is_staff=True)).post(f"/api/v1/statuses/0/delivery/{deed}").status_code == 404
    assert Batch.objects.get().dropped_at is None

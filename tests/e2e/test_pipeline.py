"""A post from HTTP to its readers through the real relay, broker, workers and chord."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis
import requests
from django.conf import settings
from django.db import connection
from django.utils import timezone

from feeds import outbox, timelines
from feeds.models import Batch, Outbox
from feedsvc import run
from tests.conftest import BROKER, RESULTS, SMALL, WORKERS, eventually, forget_messages, messages
from tests.factories import AccountFactory, star, token

pytestmark = pytest.mark.e2e


def publish(caller, **values) -> str:
    answer = caller.post("/api/v1/statuses", {"status": "hello", **values})
    assert answer.status_code == 200, answer.content
    return answer.json()["id"]


def delivery(caller, post_id: str, seconds: float = 30) -> dict:
    """The delivery record, once it is done."""

    def done():
        report = caller.get(f"/api/v1/statuses/{post_id}/delivery").json()
        return report if report["state"] == "done" else None

    return eventually(done, f"the delivery of {post_id} is done", seconds)


def home(api, reader) -> list[str]:
    return [status["id"] for status in api(reader).get("/api/v1/timelines/home").json()]


def test_a_chord_delivers_to_every_follower_and_its_callback_closes_the_delivery(workers, api):
    author, readers = star(25, away=3)
    caller = api(author)
    post_id = publish(caller)
    report = delivery(caller, post_id)
    assert report["closed_by"] == "callback"
    assert report["batches"] == {"total": 3, "done": 3, "failed": 0}
    assert (report["audience"], report["delivered"], report["skipped_inactive"]) == (25, 22, 3)
    assert all(home(api, reader) == [post_id] for reader in (readers[0], readers[10], readers[21]))
    task = eventually(lambda: (task := tasks_of(caller, post_id)["fan_out_post"])["finished_at"] and task, "it is done")
    assert (task["state"], task["attempts"], task["error"]) == ("finished", 1, None)


@pytest.mark.parametrize("followers", [0, 1, 10])
def test_a_batch_or_less_takes_one_message_and_no_chord(workers, api, followers):
    author, readers = star(followers)
    caller = api(author)
    report = delivery(caller, publish(caller))
    assert (report["closed_by"], report["delivered"]) == ("inline", followers)


def test_a_follow_is_backfilled_and_an_unfollow_purged(workers, api):
    author, reader = AccountFactory(), AccountFactory()
    post_id = publish(api(author))
    caller = api(reader)
    assert caller.post(f"/api/v1/accounts/{author.pk}/follow").json()["following"]
    eventually(lambda: home(api, reader) == [post_id], "the post is backfilled")
    assert not caller.post(f"/api/v1/accounts/{author.pk}/unfollow").json()["following"]
    assert home(api, reader) == []


def test_a_deleted_post_leaves_every_timeline(workers, api):
    author, readers = star(12)
    caller = api(author)
    post_id = publish(caller)
    delivery(caller, post_id)
    assert caller.delete(f"/api/v1/statuses/{post_id}").status_code == 200
    assert home(api, readers[0]) == []

    eventually(lambda: all(timelines.ids(r.pk).ids == [] for r in readers), "the post is retracted")


def test_a_post_is_answered_while_broker_and_workers_are_down_and_delivered_afterwards(workers, api):  # 3
    author, [reader] = star(1)
    caller = api(author)
    workers.stop("worker-fanout", "worker-bulk", "worker", BROKER)
    try:
        began = time.monotonic()
        post_id = publish(caller)
        assert time.monotonic() - began < 2
        time.sleep(0.5)
        assert home(api, reader) == []
        assert not Outbox.objects.filter(subject_id=post_id).exclude(done_at=None).exists()
    finally:
        workers.start(BROKER, *WORKERS)
    delivery(caller, post_id, 60)
    assert home(api, reader) == [post_id]


def test_what_waits_for_a_broker_that_is_away_is_shown_and_then_sent_small_audiences_first(workers, api, monkeypatch):
    monkeypatch.setattr(settings, "FANOUT_BATCH", int(SMALL["FANOUT_BATCH"]))  # of who posts, as of the workers
    large, small = star(25)[0], star(1)[0]
    log, waits = workers.log("relay"), Outbox.objects.filter(sent_at=None)
    was = log.stat().st_size
    workers.stop(BROKER)
    try:
        posts = [publish(api(large)) for _ in range(2)]
        caller = api(small)
        others = [publish(caller) for _ in range(outbox.MOST + 20)]
        time.sleep(5)  # some tries of the relay's
        gauges = dict(line.split() for line in api().get("/metrics").content.decode().splitlines() if line[0] != "#")
        assert float(gauges["feedsvc_outbox_unsent"]) == waits.count() == 4 * (len(posts) + len(others))
        oldest = (timezone.now() - waits.earliest("due_at").due_at).total_seconds()
        assert float(gauges["feedsvc_outbox_oldest_unsent_seconds"]) == pytest.approx(oldest, abs=1)
    finally:
        workers.start(BROKER)
    for post_id in posts:
        delivery(api(large), post_id, 60)
    sent = dict(Outbox.objects.filter(task="fan_out_post").values_list("subject_id", "sent_at"))
    assert max(sent[int(one)] for one in others) <= min(sent[int(one)] for one in posts)
    eventually(lambda: "the broker is back" in log.read_text()[was:], "the relay says so")
    said = [line for line in log.read_text()[was:].splitlines() if '"sent"' not in line]
    away, back = (line for line in said if "the broker" in line)
    assert "is away" in away and "is back" in back
    assert len(said) < 10, said


def test_workers_keep_their_database_connection(workers, api):
    """Celery would close it around every task."""

    author, _ = star(1)
    caller = api(author)

    def sessions() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
            return cursor.fetchone()[0]

    for _ in range(3):
        delivery(caller, publish(caller))
    time.sleep(1.5)
    before = sessions()
    for _ in range(30):
        delivery(caller, publish(caller))
    time.sleep(1.5)
    assert sessions() - before < 10


def test_a_delivery_that_lost_its_callback_is_closed_by_the_reconciler(workers, api):
    """The broker forgets everything while the batches wait in it."""
    author, readers = star(25)
    caller = api(author)
    workers.stop("worker-bulk")
    post_id = publish(caller)
    eventually(
        lambda: caller.get(f"/api/v1/statuses/{post_id}/delivery").json()["batches"]["total"] == 3, "it is planned"
    )

    forget_messages()
    redis.Redis.from_url(RESULTS).flushdb()
    workers.start("worker-bulk")
    report = delivery(caller, post_id, 90)
    assert (report["closed_by"], report["delivered"]) == ("reconciler", 25)
    assert home(api, readers[-1]) == [post_id]


def test_a_chord_outlives_an_outage_of_the_store_that_counts_its_members(workers, api):
    """Nobody else closes the delivery: there is no reconciler without beat."""
    author, readers = star(25)
    workers.stop("worker-bulk", "beat")
    caller = api(author)
    post_id = publish(caller)
    eventually(lambda: len(messages("fanout_bulk")) == 3, "the chord's messages wait")
    eventually(lambda: tasks_of(caller, post_id)["fan_out_post"]["finished_at"], "the chord is published")
    redis.Redis.from_url(RESULTS).config_set("save", "3600 1")  # so that it keeps what it knows
    workers.stop("cache")
    workers.start("worker-bulk")
    eventually(lambda: Batch.objects.filter(post_id=post_id, state="done").count() >= 2, "two batches are pushed", 60)
    time.sleep(6)
    assert caller.get(f"/api/v1/statuses/{post_id}/delivery").json()["state"] == "running"
    workers.start("cache")
    report = delivery(caller, post_id, 60)
    assert (report["closed_by"], report["delivered"]) == ("callback", 25)
    assert home(api, readers[-1]) == [post_id]
    assert "comes again" in workers.log("worker-bulk").read_text()


def test_a_message_holds_a_batchs_key_and_no_followers(workers, api):  # 6
    author, _ = star(25)
    caller = api(author)
    workers.stop("worker-bulk")
    try:
        post_id = publish(caller)
        found = eventually(lambda: len(found := messages("fanout_bulk")) == 3 and found, "the chord's messages wait")
    finally:
        workers.start("worker-bulk")
    assert sorted(args for args, _ in found) == [[int(post_id), "push", number] for number in range(3)]
    assert max(size for _, size in found) < 1000, "whatever the audience, a message is small"
    delivery(caller, post_id)


def test_restarted_stores_are_found_again_by_everybody(workers, api):
    """Workers keep their connections over tasks; timelines of before the restart count as absent."""
    author, readers = star(25)
    first = publish(api(author))
    delivery(api(author), first)
    for store in ("postgres", "timelines"):
        workers.stop(store)
        workers.start(store)
    connection.close()  # ours broke as well
    second = publish(api(author))
    report = delivery(api(author), second, 60)
    assert (report["audience"], report["delivered"] + report["skipped_inactive"], report["failed"]) == (25, 25, 0)
    page = api(readers[0]).get("/api/v1/timelines/home")
    assert (page.status_code, [status["id"] for status in page.json()]) == (206, [second, first])
    eventually(lambda: api(readers[0]).get("/api/v1/timelines/home").status_code == 200, "the timeline is rebuilt", 60)
    assert home(api, readers[0]) == [second, first]
    parts = eventually(lambda: (p := api().get("/healthz").json()["parts"])["beat"] == "up" and p, "beat is seen")
    assert set(parts.values()) == {"up"}


def test_without_redis_home_is_served_by_postgresql_and_a_fan_out_burns_no_attempt(workers, api):
    author, readers = star(25)
    workers.stop("timelines")
    try:
        post_id = publish(api(author))
        page = api(readers[0]).get("/api/v1/timelines/home")
        assert (page.status_code, [status["id"] for status in page.json()]) == (206, [post_id])
        given_back = Batch.objects.filter(post_id=post_id, lease_no__gt=0, lease_until=None)
        eventually(lambda: given_back.count() == 3, "the batches were tried and given back")
        assert set(given_back.values_list("attempts", flat=True)) == {0}
    finally:
        workers.start("timelines")
    report = delivery(api(author), post_id, 60)
    # Redis came back empty: whoever has not read since has no timeline yet.
    assert (report["delivered"] + report["skipped_inactive"], report["failed"]) == (25, 0)
    assert home(api, readers[0]) == home(api, readers[1]) == [post_id]


def test_a_large_fan_out_holds_up_no_small_one(workers, api):
    """The large one's batches wait for their worker; the small post does not."""
    (large, _), (small, [reader]) = star(25), star(1)
    workers.stop("worker-bulk")
    try:
        waiting = publish(api(large))
        post_id = publish(api(small))
        delivery(api(small), post_id)
        assert home(api, reader) == [post_id]
        assert api(large).get(f"/api/v1/statuses/{waiting}/delivery").json()["state"] != "done"
    finally:
        workers.start("worker-bulk")
    assert delivery(api(large), waiting)["delivered"] == 25


def test_small_posts_that_had_to_wait_share_messages(workers, api):
    author, [reader] = star(1)
    caller = api(author)
    workers.stop("worker-fanout")
    try:
        posts = [publish(caller) for _ in range(12)]
    finally:
        workers.start("worker-fanout")
    for post_id in posts:
        assert delivery(caller, post_id)["delivered"] == 1
    assert home(api, reader) == posts[::-1]
    messages = Outbox.objects.filter(task="fan_out_post").values("sent_at").distinct().count()
    assert messages < len(posts)


def tasks_of(caller, post_id: int) -> dict[str, Any]:
    return {task["name"]: task for task in caller.get(f"/api/v1/statuses/{post_id}/delivery").json()["tasks"]}


def test_the_writes_other_tasks_run_beside_its_fan_out_and_none_waits_for_another(workers, api):
    author, [reader] = star(1)
    caller = api(author)
    workers.stop("worker")
    try:
        post_id = publish(caller, status=f"a word for @{reader.username} #tagged")
        delivery(caller, post_id)
        expected = ["finished", "sent", "sent", "sent"]  # its own task, and the others behind it
        eventually(
            lambda: sorted(task["state"] for task in tasks_of(caller, post_id).values()) == expected, "all are sent"
        )
    finally:
        workers.start("worker")
    eventually(
        lambda: {task["state"] for task in tasks_of(caller, post_id).values()} == {"finished"}, "all its tasks are done"
    )
    [told] = api(reader).get("/api/v1/notifications").json()
    assert (told["type"], told["status"]["id"]) == ("mention", str(post_id))
    assert [one["id"] for one in caller.get("/api/v2/search?q=word").json()["statuses"]] == [str(post_id)]
    eventually(lambda: caller.get("/api/v1/tags/tagged").json()["history"][0]["uses"] == "1", "the chain goes on")


def test_a_task_that_fails_fails_no_other_and_says_why(workers, api):
    author, [reader] = star(1)
    caller = api(author)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE feeds_notification ADD CONSTRAINT broken CHECK (type <> 'mention')")
    try:
        post_id = publish(caller, status=f"for @{reader.username}")
        assert delivery(caller, post_id)["delivered"] == 1
        failed = eventually(
            lambda: (task := tasks_of(caller, post_id)["send_notifications"])["error"] and task, "it fails"
        )
        assert failed["attempts"] >= 1 and "broken" in failed["error"]
        eventually(
            lambda: (
                {task["state"] for name, task in tasks_of(caller, post_id).items() if name != "send_notifications"}
                == {"finished"}
            ),
            "the others are done",
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE feeds_notification DROP CONSTRAINT broken")
    eventually(lambda: tasks_of(caller, post_id)["send_notifications"]["state"] == "finished", "it comes again", 60)
    assert len(api(reader).get("/api/v1/notifications").json()) == 1


def test_healthz_says_what_is_up(workers, api):
    parts = eventually(
        lambda: (lambda parts: parts if set(parts.values()) == {"up"} else None)(api().get("/healthz").json()["parts"]),
        "all parts are up",
    )
    assert set(parts) == {"postgresql", "redis", "cache", "broker", "relay", "workers", "beat", "clocks"}


def lines(instance, name: str, request_id: str) -> list[dict[str, Any]]:
    """What the process logged about the request."""
    said = [line for line in instance.log(name).read_text().splitlines() if request_id in line]
    return [json.loads(line) for line in said]


def test_one_id_leads_from_the_request_to_its_batches_through_every_log(workers, api):
    author, _ = star(25)
    headers = {"Authorization": f"Bearer {token(author)}"}
    address = f"http://127.0.0.1:{settings.PORT}"
    workers.start("web")
    try:
        eventually(lambda: run.healthy("127.0.0.1", str(settings.PORT)), "web answers", 60)
        answer = requests.post(f"{address}/api/v1/statuses", {"status": "a secret"}, headers=headers, timeout=10)
    finally:
        workers.stop("web")
    post_id, request_id = answer.json()["id"], answer.headers["X-Request-Id"]
    delivery(api(author), post_id)
    eventually(lambda: not Outbox.objects.filter(done_at=None).exists(), "the other tasks are done")
    eventually(lambda: len(lines(workers, "worker-bulk", request_id)) == 6, "the workers have said so")
    [asked] = lines(workers, "web", request_id)
    assert (asked["message"], asked["method"], asked["route"], asked["status"], asked["account"]) == (
        "request",
        "POST",
        "api/v1/statuses",
        200,
        author.pk,
    )
    assert {line["task"] for line in lines(workers, "relay", request_id)} == set(outbox.TASKS["post.published"])
    [planned] = lines(workers, "worker-fanout", request_id)
    assert (planned["message"], planned["task"], planned["state"]) == ("task", "fan_out_post", "SUCCESS")
    found = lines(workers, "worker-bulk", request_id)
    batches = [line for line in found if line["message"] == "batch"]
    assert sorted((line["post"], line["batch"], line["size"], line["result"]) for line in batches) == [
        (int(post_id), number, size, "done") for number, size in enumerate((10, 10, 5))
    ]
    assert [line["task"] for line in found if line["message"] == "task"] == ["push_batch"] * 3
    names = ("web", *WORKERS)
    assert not [name for name in names if "a secret" in workers.log(name).read_text()], "ids only"

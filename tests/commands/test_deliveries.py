"""deliveries: what a person sees of fan-outs that failed, and does about them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from feeds import actions, deliveries, fanout, outbox, reconciler, tasks, timelines
from feeds.models import Batch, Delivery, Outbox
from tests.factories import PostFactory, star

pytestmark = pytest.mark.django_db


def run(*words: object) -> str:
    out = StringIO()
    call_command("deliveries", *map(str, words), stdout=out)
    return out.getvalue()


@pytest.fixture
def failed(settings):
    """A post with one batch done, and one that died of an error."""
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 2, 1
    post = PostFactory(author=star(3)[0])
    fanout.plan(post.pk, "push")
    fanout.deliver(post.pk, "push", 0)
    Batch.objects.filter(post=post, batch_no=1).update(attempts=1, error="it [broke]")
    reconciler.bury()
    fanout.finish(post.pk, "push", "callback")
    return post


def reconcile() -> None:
    for key in reconciler.nudge():
        tasks.push_batch_alone(*key, closed_by="reconciler")


def test_what_is_to_be_looked_at_is_listed(failed, drain):
    waiting, closed = PostFactory(), PostFactory()
    tasks.fan_out_post([Outbox.objects.get(subject_id=closed.pk, task="fan_out_post").pk])
    said = run("list")
    assert f"{failed.pk} │ {failed.author.username}" in said and f"{waiting.pk} │" in said
    assert f"{closed.pk}" not in said
    [line] = [line for line in said.splitlines() if f"{failed.pk}" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")][2:9] == "push,done,1 of 2,1,3,2,1".split(",")
    assert f"{waiting.pk}" not in run("list", "--state", "failed")
    assert f"{failed.pk}" not in run("list", "--state", "open")
    assert run("list", "--state", "dropped") == "no delivery is dropped\n"
    said = run("list", "--limit", 1)
    assert f"{waiting.pk}" in said and f"{failed.pk}" not in said and "and older ones: --limit 2" in said


def test_a_record_is_shown_with_each_batch_that_is_not_done_and_its_tasks(failed, monkeypatch):
    said = run("show", failed.pk)
    assert f"{failed.pk} " in said and "2 total, 1 done, 1 failed" in said
    assert "push 1 │ dead" in said and "1 of 1" in said and "it [broke]" in said and "push 0" not in said
    assert all(task in said for task in outbox.TASKS["post.published"])
    actions.delete_post(author=failed.author, post_id=failed.pk)
    fanout.plan(failed.pk, "retract")
    said = run("show", failed.pk)
    assert "retract 0 │ open" in said and "retract_post" in said
    monkeypatch.setattr("feeds.management.commands.deliveries.BATCHES", 1)
    assert "and more than these 1" in run("show", failed.pk)


def test_a_replay_delivers_what_failed_once_and_corrects_the_record(failed):
    timeline = Batch.objects.get(post=failed, batch_no=1).lo
    assert timelines.ids(timeline).ids == []
    assert run("replay", failed.pk) == f"1 batches and 0 tasks of post {failed.pk} are tried again\n"
    assert run("replay", failed.pk) == f"nothing of post {failed.pk} is dead\n"
    assert f"{failed.pk}" in run("list", "--state", "open")
    reconcile()
    report = deliveries.report(failed.pk)
    assert (report["state"], report["delivered"], report["failed"]) == ("done", 3, 0)
    assert timelines.ids(timeline).ids == [failed.pk]
    assert run("list", "--state", "failed") == "no delivery is failed\n"


def test_a_replay_sends_a_fan_out_again_that_was_given_up(drain):
    post = PostFactory(author=star(1)[0])
    drain_others = Outbox.objects.exclude(task="fan_out_post")
    drain_others.update(done_at=Now())
    Outbox.objects.filter(subject_id=post.pk, task="fan_out_post").update(sent_at=Now(), attempts=outbox.ATTEMPTS)
    assert run("replay", post.pk) == f"0 batches and 1 tasks of post {post.pk} are tried again\n"
    assert Outbox.objects.get(done_at=None).sent_at is None
    drain()
    assert deliveries.report(post.pk)["delivered"] == 1


def test_what_was_dropped_stays_failed_is_not_looked_at_and_not_replayed(failed):
    assert reconciler.gauges()["batches_dead"] == 1
    assert run("drop", failed.pk) == f"1 dead batches of post {failed.pk} are dropped\n"
    assert run("drop", failed.pk) == f"nothing of post {failed.pk} is dead\n"
    assert run("list") == "nothing is to be looked at\n"
    assert f"{failed.pk}" in run("list", "--state", "dropped")
    assert reconciler.gauges()["batches_dead"] == 0
    report = deliveries.report(failed.pk)
    assert (report["state"], report["delivered"], report["failed"]) == ("done", 2, 1)
    assert report["dropped_at"] and "push 1 │ dropped" in run("show", failed.pk)
    with pytest.raises(CommandError, match=f"what failed of post {failed.pk} was dropped, and that is for good"):
        run("replay", failed.pk)
    assert reconciler.redrive(failed.pk) == 0


def test_a_batch_that_dies_after_a_drop_is_to_be_looked_at(failed):
    run("drop", failed.pk)
    Batch.objects.filter(post=failed, batch_no=0).update(state="dead")
    assert f"{failed.pk}" in run("list", "--state", "failed")
    assert run("list", "--state", "dropped") == "no delivery is dropped\n"
    assert run("replay", failed.pk).startswith("1 batches")
    reconcile()
    assert deliveries.report(failed.pk)["failed"] == 1


def test_a_delivery_that_was_closed_while_its_batches_were_opened_is_opened_and_corrected(failed):
    reconciler.redrive(failed.pk)
    Delivery.objects.update(state="closed")  # by a finish that saw the batches as they were before
    assert reconciler.reopen() == 1
    assert reconciler.reopen() == 0
    reconcile()
    assert deliveries.report(failed.pk)["delivered"] == 3


def test_what_nobody_knows_is_named():
    for word in ("show", "replay", "drop"):
        with pytest.raises(CommandError, match="there is no delivery of a post 32"):
            run(word, 32)
        with pytest.raises(CommandError, match="the id of a post is expected"):
            run(word, "x")
    with pytest.raises(CommandError, match="invalid choice: 'closed'"):
        run("list", "--state", "closed")
    with pytest.raises(CommandError, match="required"):
        run()


def test_redis_sets_no_message_apart(settings):
    settings.ON_REDIS = True
    with pytest.raises(CommandError, match="the broker is Redis, which sets no message apart"):
        run("dead-letters")


def test_a_list_looks_at_no_closed_delivery():
    """Deliveries and batches that ended well are most of the rows there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SET LOCAL session_replication_role = replica;
            INSERT INTO feeds_delivery (post_id, kind, state) SELECT n, 'push', 'closed' FROM generate_series(1, 20000) n;
            INSERT INTO feeds_batch (post_id, kind, batch_no, author_id, lo, hi, size, attempts_allowed, state)
                SELECT n, 'push', 0, 1, 0, 9, 1, 1, 'done' FROM generate_series(1, 20000) n;
            SET LOCAL session_replication_role = origin;
            ANALYZE feeds_delivery, feeds_batch
            """
        )
        for condition in deliveries.STANDINGS.values():
            cursor.execute(f"EXPLAIN SELECT d.id FROM feeds_delivery d WHERE {condition} ORDER BY d.id DESC LIMIT 50")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan and ("delivery_open" in plan or "delivery_failed" in plan), plan

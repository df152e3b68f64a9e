"""What is done is kept for a while, and then goes: in slices, by an index, and never what is still needed."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.conf import settings as conf
from django.db import connection
from django.utils import timezone

from feeds import actions, database, deliveries, fanout, notifications, outbox, reconciler, tasks
from feeds.models import Batch, Delivery, IdempotencyKey, Kind, Notification, Outbox
from tests.factories import AccountFactory, PostFactory, star
from tests.postgresql import plans

pytestmark = pytest.mark.django_db
PUSH = Kind.PUSH


def ago(kept: timedelta):
    return timezone.now() - kept - timedelta(minutes=1)


def age_deliveries() -> None:
    Delivery.objects.update(finished_at=ago(conf.KEEP_BATCHES))
    Batch.objects.update(closed_at=ago(conf.KEEP_BATCHES))


def test_tasks_go_when_they_were_done_long_ago_and_others_never():
    for subject in range(3):
        outbox.record("follow.deleted", subject, 9)
    Outbox.objects.update(created_at=ago(conf.KEEP_OUTBOX))
    Outbox.objects.filter(subject_id=0).update(done_at=ago(conf.KEEP_OUTBOX))
    Outbox.objects.filter(subject_id=1).update(done_at=timezone.now())
    assert outbox.prune() == 1
    assert sorted(Outbox.objects.values_list("subject_id", flat=True)) == [1, 2]


def test_the_record_of_a_delivery_outlives_its_batches(settings):
    settings.FANOUT_BATCH = 2
    post = PostFactory(author=star(5, away=1)[0])
    for number in range(fanout.plan(post.pk, PUSH)):
        fanout.deliver(post.pk, PUSH, number)
    assert reconciler.prune() == 0
    fanout.finish(post.pk, PUSH, "callback")
    age_deliveries()
    before = deliveries.report(post.pk)
    assert reconciler.prune() == 3
    after = deliveries.report(post.pk)
    assert after == before | {"first_push_at": None}
    assert (after["batches"], after["delivered"]) == ({"total": 3, "done": 3, "failed": 0}, 4)
    assert (fanout.finish(post.pk, PUSH, "reconciler"), reconciler.finish_overdue(), reconciler.redrive(post.pk)) == (
        False,
        0,
        0,
    )
    assert fanout.plan(post.pk, PUSH) is None
    assert deliveries.report(post.pk) == after


def test_batches_stay_as_long_as_one_of_theirs_is_open_or_dead(settings):
    """To drive a dead one again takes the counts of the others."""
    settings.FANOUT_BATCH, settings.BATCH_ATTEMPTS = 2, 1
    post = PostFactory(author=star(3)[0])
    fanout.plan(post.pk, PUSH)
    fanout.deliver(post.pk, PUSH, 1)
    age_deliveries()
    assert reconciler.prune() == 0
    fanout._claim(post.pk, PUSH, 0)  # and the process dies
    Batch.objects.filter(batch_no=0).update(lease_until=None)
    reconciler.bury()
    fanout.finish(post.pk, PUSH, "reconciler")
    age_deliveries()
    assert reconciler.prune() == 0
    assert reconciler.redrive(post.pk) == 1
    age_deliveries()
    assert reconciler.prune() == 0
    tasks.push_batch_alone(post.pk, PUSH, 0)
    assert deliveries.report(post.pk)["delivered"] == 3
    age_deliveries()
    assert reconciler.prune() == 2


def test_a_post_whose_batches_are_gone_is_retracted_as_any(settings, drain):
    author, readers = star(3)
    post = PostFactory(author=author)
    drain()
    age_deliveries()
    assert reconciler.prune() == 1
    actions.delete_post(author=author, post_id=post.pk)
    drain()
    assert Delivery.objects.get(post=post, kind=Kind.RETRACT).delivered == 3


def test_notifications_go_after_their_time(drain):
    reader = AccountFactory()
    PostFactory(text=f"@{reader.username}")
    PostFactory(text=f"@{reader.username} again")
    drain()
    old = Notification.objects.earliest("id")
    Notification.objects.filter(pk=old.pk).update(created_at=ago(conf.KEEP_NOTIFICATIONS))
    assert notifications.prune() == 1
    assert Notification.objects.count() == 1
    drain()
    assert Notification.objects.count() == 1


def fill() -> None:
    """Some of each that may go, and many more that may not, as PostgreSQL knows."""
    author = AccountFactory().pk
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO feeds_outbox (task, subject_id, done_at)
                SELECT 'refresh_cache', n, now() - n * interval '1 hour' FROM generate_series(2000, 1, -1) n;
            INSERT INTO feeds_post (id, author_id, text, created_at, spoiler_text, sensitive, visibility)
                SELECT n * 32, %(author)s, 'old', now(), '', false, 'public' FROM generate_series(1, 2000) n;
            INSERT INTO feeds_delivery (post_id, kind, state, batches, finished_at)
                SELECT n * 32, 'push', 'closed', 1, now() - n * interval '6 hours' FROM generate_series(1, 2000) n;
            INSERT INTO feeds_batch (post_id, kind, batch_no, author_id, lo, hi, size, state, attempts_allowed, closed_at)
                SELECT n * 32, 'push', 0, %(author)s, 0, 9, 1, 'done', 5, now() - n * interval '6 hours'
                FROM generate_series(1, 2000) n;
            INSERT INTO feeds_notification (account_id, type, cause_id, from_account_id, created_at)
                SELECT %(author)s, 'follow', n, %(author)s, now() - n * interval '1 day' FROM generate_series(200, 1, -1) n;
            INSERT INTO feeds_notification (account_id, type, cause_id, from_account_id)
                SELECT %(author)s, 'favourite', n, %(author)s FROM generate_series(1, 2000) n;
            INSERT INTO feeds_idempotencykey (author_id, key, post_id, created_at)
                SELECT %(author)s, n::text, n * 32, now() - n * interval '1 minute' FROM generate_series(1, 2000) n;
            ANALYZE feeds_outbox, feeds_delivery, feeds_batch, feeds_notification, feeds_idempotencykey;
            SET LOCAL enable_seqscan = off
            """,
            {"author": author},
        )


@pytest.mark.parametrize("prune", [outbox.prune, reconciler.prune, notifications.prune, actions.prune_keys])
def test_what_goes_is_found_by_an_index_a_slice_at_a_time(monkeypatch, prune):
    monkeypatch.setattr(database, "SLICE", 50)
    fill()
    with plans.watched() as asked:
        gone = prune()
    assert len(asked) == gone // 50 + 1 and gone > 100
    for scan in asked[0].scans:
        assert scan.index
        assert scan.touched <= 100, "no more than a slice is looked at"


def test_what_a_sweep_has_no_time_for_is_for_the_next_one(monkeypatch):
    monkeypatch.setattr(database, "SLICE", 1)
    monkeypatch.setattr(database, "SWEEP_SECONDS", 0)
    post = PostFactory(idempotency_key="k")
    PostFactory(author=post.author, idempotency_key="l")
    IdempotencyKey.objects.update(created_at=ago(conf.KEEP_KEYS))
    assert tasks.prune()["keys"] == 1
    assert tasks.prune()["keys"] == 1
    assert tasks.prune()["keys"] == 0


@pytest.mark.parametrize(("task", "lock"), [(tasks.prune, tasks.BROOM), (tasks.reconcile, tasks.RECONCILER)])
def test_of_two_sweeps_at_once_one_is_let_in(task, lock):
    """Two beats send them at the same moment."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [lock])
        assert task() == {}
        other.execute("SELECT pg_advisory_unlock(%s)", [lock])
        assert task()

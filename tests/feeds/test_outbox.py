"""Work rows: claimed by one, given back when it fails, sent again when nobody did it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis
from django.db import OperationalError, transaction
from django.utils import timezone

from feeds import outbox
from feeds.database import rows
from feeds.models import Outbox
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> Outbox:
    outbox.record("follow.deleted", 1, 2)
    return Outbox.objects.get()


def test_a_row_is_in_one_pair_of_hands_and_done_once(row):
    with outbox.claimed(row.pk) as work:
        assert (work.subject_id, work.object_id, work.lease_no) == (1, 2, 1)
        with outbox.claimed(row.pk) as other:
            assert other is None
    with outbox.claimed(row.pk) as again:
        assert again is None
    row.refresh_from_db()
    assert row.done_at and row.attempts == 1


def test_a_failing_store_burns_no_attempt_and_the_row_is_due_again(row):
    with pytest.raises(redis.ConnectionError), outbox.claimed(row.pk):
        raise redis.ConnectionError("gone")
    row.refresh_from_db()
    assert (row.attempts, row.lease_until, row.sent_at, row.done_at, row.error) == (0, None, None, None, "gone")
    assert row.due_at > timezone.now()


def test_a_statement_that_takes_too_long_burns_an_attempt(row):
    """Else work that is always too slow would come again for ever."""
    with pytest.raises(OperationalError), outbox.claimed(row.pk), transaction.atomic():
        rows("SELECT set_config('statement_timeout', '10ms', true)")
        rows("SELECT pg_sleep(5)")
    row.refresh_from_db()
    assert (row.attempts, row.sent_at, row.done_at) == (1, None, None)


def test_an_error_burns_an_attempt_and_after_the_last_the_row_is_left_alone(row):
    for attempt in range(1, outbox.ATTEMPTS + 1):
        Outbox.objects.update(sent_at=timezone.now())
        with pytest.raises(KeyError), outbox.claimed(row.pk):
            raise KeyError("bug")
        row.refresh_from_db()
        assert row.attempts == attempt
        assert (row.sent_at is None) is (attempt < outbox.ATTEMPTS)
    assert row.error == "KeyError: 'bug'"


def test_a_row_that_is_put_off_remembers_that_it_has_waited(row):
    with outbox.claimed(row.pk):
        raise outbox.Later(30, waited=True)
    row.refresh_from_db()
    assert (row.waited, row.attempts, row.sent_at) == (True, 0, None)
    assert row.due_at > timezone.now() + timedelta(seconds=20)


def test_what_was_sent_and_not_done_is_sent_again(row, settings):
    Outbox.objects.update(sent_at=timezone.now() - timedelta(seconds=settings.RESEND_AFTER - 5))
    assert outbox.resend() == 0
    Outbox.objects.update(sent_at=timezone.now() - timedelta(seconds=settings.RESEND_AFTER + 5))
    Outbox.objects.update(lease_until=timezone.now() + timedelta(seconds=5))
    assert outbox.resend() == 0  # somebody works on it
    Outbox.objects.update(lease_until=None)
    assert outbox.resend() == 1
    assert outbox.gauges()["unsent"] == 1


def test_done_rows_are_pruned_after_a_week_and_others_never(row):
    outbox.record("follow.deleted", 1, 2)
    Outbox.objects.filter(pk=row.pk).update(done_at=timezone.now() - outbox.KEPT - timedelta(minutes=1))
    assert outbox.prune() == 1
    assert Outbox.objects.count() == 1


def test_one_rebuild_of_a_reader_is_open_at_a_time():
    reader = AccountFactory()
    for _ in range(2):
        outbox.record("account.returned", reader.pk)
    assert Outbox.objects.count() == 1
    Outbox.objects.update(done_at=timezone.now())
    outbox.record("account.returned", reader.pk)
    assert Outbox.objects.count() == 2

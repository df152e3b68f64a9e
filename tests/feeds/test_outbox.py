"""Work rows: claimed by one, given back when it fails, sent again when nobody did it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
import redis
from amqp.exceptions import MessageNacked
from django.conf import settings as conf
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerGone

from feeds import metrics, outbox
from feeds.database import rows
from feeds.management.commands import relay
from feeds.models import Outbox
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> Outbox:
    outbox.record("follow.deleted", 1, 2)
    return Outbox.objects.get()


def test_a_row_is_in_one_pair_of_hands_and_done_once(row):
    with outbox.claimed([row.pk]) as [work]:
        assert (work.subject_id, work.object_id, work.lease_no) == (1, 2, 1)
        with outbox.claimed([row.pk]) as others:
            assert others == []
    with outbox.claimed([row.pk]) as again:
        assert again == []
    row.refresh_from_db()
    assert row.done_at and row.attempts == 1


@pytest.mark.parametrize("error", [redis.ConnectionError, BrokerGone, MessageNacked])
def test_a_failing_store_burns_no_attempt_and_the_row_is_due_again(row, error):
    with pytest.raises(error), outbox.claimed([row.pk]):
        raise error("gone")
    row.refresh_from_db()
    assert (row.attempts, row.lease_until, row.sent_at, row.done_at, row.error) == (0, None, None, None, "gone")
    assert row.due_at > timezone.now()


def test_a_statement_that_takes_too_long_burns_an_attempt(row):
    """Else work that is always too slow would come again for ever."""
    with pytest.raises(OperationalError), outbox.claimed([row.pk]), transaction.atomic():
        rows("SELECT set_config('statement_timeout', '10ms', true)")
        rows("SELECT pg_sleep(5)")
    row.refresh_from_db()
    assert (row.attempts, row.sent_at, row.done_at) == (1, None, None)


def test_an_error_burns_an_attempt_and_after_the_last_the_row_is_left_alone(row):
    for attempt in range(1, outbox.ATTEMPTS + 1):
        Outbox.objects.update(sent_at=timezone.now())
        with pytest.raises(KeyError), outbox.claimed([row.pk]):
            raise KeyError("bug")
        row.refresh_from_db()
        assert row.attempts == attempt
        assert (row.sent_at is None) is (attempt < outbox.ATTEMPTS)
    assert row.error == "KeyError: 'bug'"


def test_a_row_that_is_put_off_remembers_that_it_has_waited(row):
    with outbox.claimed([row.pk]):
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


def test_one_rebuild_of_a_reader_is_open_at_a_time():
    reader = AccountFactory()
    for _ in range(2):
        outbox.record("account.returned", reader.pk)
    assert Outbox.objects.count() == 1
    Outbox.objects.update(done_at=timezone.now())
    outbox.record("account.returned", reader.pk)
    assert Outbox.objects.count() == 2


def test_rows_that_fail_together_come_again_at_once_each_alone():
    """Nobody knows which one is to blame: the others lose one attempt, and do not meet it again."""
    for subject in (1, 2):
        outbox.record("post.published", subject)
    row_ids = list(Outbox.objects.filter(task="refresh_cache").values_list("pk", flat=True))
    with pytest.raises(KeyError), outbox.claimed(row_ids) as both:
        assert [work.subject_id for work in both] == [1, 2]
        raise KeyError("bug")
    again = Outbox.objects.filter(task="refresh_cache", due_at__lte=timezone.now()).order_by("id")
    found = list(again.values_list("task", "id", "attempts"))
    assert outbox.messages(found) == [("refresh_cache", [row_id]) for row_id in row_ids]


def test_a_row_in_other_hands_leaves_the_others_of_its_message():
    for subject in (1, 2, 3):
        outbox.record("follow.deleted", subject, 4)
    first, second, third = Outbox.objects.order_by("id").values_list("pk", flat=True)
    with outbox.claimed([second]), outbox.claimed([first, second, third]) as others:
        assert [work.row_id for work in others] == [first, third]
    assert not Outbox.objects.filter(done_at=None).exists()


def test_a_message_of_an_older_release_holds_one_number(row):
    with outbox.claimed(row.pk) as [work]:
        assert work.row_id == row.pk


# What the relay sends, as it lies in the broker


@pytest.fixture
def broker(transactional_db: None) -> Iterator[redis.Redis]:
    server = redis.Redis.from_url(conf.CELERY_BROKER_URL)
    server.flushdb()
    yield server
    server.flushdb()


def sent(broker: redis.Redis) -> list[tuple[str, list[int]]]:
    """The messages, (task, rows), which are taken away."""
    found = []
    for queue in conf.CELERY_TASK_QUEUES:
        while message := broker.rpop(queue):
            envelope = json.loads(message)
            task, [args, _, embedded] = envelope["headers"]["task"], json.loads(base64.b64decode(envelope["body"]))
            assert [following["task"] for following in embedded["chain"] or []] == (
                [outbox.CHAINED[task]] if task in outbox.CHAINED else []
            )
            found.append((task, args[0]))
    return found


def ids_of(task: str) -> list[int]:
    return list(Outbox.objects.filter(task=task).order_by("id").values_list("pk", flat=True))


def test_the_rows_of_one_task_make_one_message(broker):
    for subject in range(3):
        outbox.record("post.deleted", subject)
        outbox.record("post.edited", subject)
    assert outbox.publish()[0] == 18
    together = ("send_notifications", "update_search_index", "refresh_cache")
    assert sorted(sent(broker)) == sorted(
        [(task, ids_of(task)) for task in together] + [("retract_post", [row_id]) for row_id in ids_of("retract_post")]
    )
    assert outbox.publish()[0] == 0


def test_rows_that_wait_or_have_failed_have_a_message_of_their_own(broker):
    for subject in range(2):
        outbox.record("follow.created", subject, 9)
        outbox.record("post.cancelled", subject)
    Outbox.objects.filter(task="send_notifications", subject_id=0).update(attempts=1)
    outbox.publish()
    assert sorted(sent(broker)) == sorted((row.task, [row.pk]) for row in Outbox.objects.all())


def test_a_message_holds_so_many_rows_and_the_next_ones_the_rest(broker, monkeypatch):
    monkeypatch.setattr(outbox, "MOST", 2)
    for subject in range(5):
        outbox.record("favourite.created", subject)
    monkeypatch.setattr(outbox, "PATIENT", ())
    assert [outbox.publish()[0] for _ in range(conf.OUTBOX_IN_FLIGHT)] == [2, 2]
    assert outbox.publish() == (0, outbox.PAUSE, (outbox.DONE, outbox.CHANNEL), 0)
    Outbox.objects.exclude(sent_at=None).update(done_at=timezone.now())
    assert outbox.publish()[0] == 1
    assert [len(row_ids) for _, row_ids in sent(broker)] == [2, 2, 1]


def test_while_enough_messages_are_on_their_way_rows_collect_for_a_fuller_one(broker):
    for subject in range(conf.OUTBOX_IN_FLIGHT):
        outbox.record("post.published", subject)
    for number, row_id in enumerate(fan_outs := ids_of("fan_out_post")):  # each was sent in a round of its own
        Outbox.objects.filter(pk=row_id).update(sent_at=timezone.now() - timedelta(milliseconds=number))
    Outbox.objects.exclude(task="fan_out_post").update(done_at=timezone.now(), sent_at=timezone.now())
    for subject in (100, 101):
        outbox.record("post.published", subject)
    assert outbox.publish() == (0, outbox.PAUSE, (outbox.DONE,), 0)
    assert sent(broker) == []
    Outbox.objects.filter(pk=fan_outs[0]).update(done_at=timezone.now())
    assert outbox.publish()[0] == 2
    assert sent(broker) == [("fan_out_post", ids_of("fan_out_post")[-2:])]


def test_behind_a_fan_out_what_nobody_waits_for_collects_and_goes_a_message_at_a_time(broker):
    for subject in (1, 2):
        outbox.record("post.published", subject)
        assert outbox.publish() == (1, outbox.LINGER.total_seconds(), (outbox.CHANNEL,), 1)
    assert sent(broker) == [("fan_out_post", [row_id]) for row_id in ids_of("fan_out_post")]
    others = Outbox.objects.exclude(task="fan_out_post")
    others.update(due_at=timezone.now() - outbox.LINGER)
    found = []
    for _ in outbox.PATIENT:
        assert outbox.publish().rows == 2
        assert outbox.publish().rows == 0
        found += sent(broker)
        others.exclude(sent_at=None).update(done_at=timezone.now())
    assert sorted(found) == [(task, ids_of(task)) for task in sorted(outbox.PATIENT)]
    assert outbox.publish() == (0, conf.OUTBOX_POLL, (outbox.CHANNEL,), 0)


def test_the_relay_rests_longer_where_a_fuller_message_is_to_be_had():
    one, some, full = (relay.rest(fan_outs) for fan_outs in (1, 2, outbox.MOST))
    assert one == full < some


@pytest.mark.django_db(transaction=True)
def test_the_relay_is_woken_by_what_it_waits_for_and_by_nothing_else():
    def waited(pause: float, channel: str) -> float:
        began = time.monotonic()
        outbox.wait(outbox.Sent(0, pause, (channel,)))
        return time.monotonic() - began

    outbox.listen()
    outbox.record("favourite.created", 1)
    assert waited(0.3, outbox.CHANNEL) >= 0.3, "no relay is called"
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as relay_of_another_machine:
        relay_of_another_machine.execute(f"SELECT pg_advisory_lock({outbox.CALL})")
        outbox.record("favourite.created", 2)
        assert waited(10, outbox.CHANNEL) < 5
        with outbox.claimed(ids_of("send_notifications")):
            pass
        outbox.record("favourite.created", 3)
        assert waited(10, outbox.DONE) < 5
        outbox.record("favourite.created", 4)
        assert waited(0.3, outbox.DONE) >= 0.3
    connection.close()  # which listens


@pytest.mark.django_db(transaction=True)
def test_a_relay_can_be_called_only_when_nobody_who_did_not_call_it_is_still_to_commit():
    """So what was recorded without a call is there for the relay to see, when it looks for the last time before it waits."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        with other.transaction():
            assert other.execute(f"SELECT {outbox.WAKE}").fetchone() == (None,)
            assert not outbox.be_called()
        assert outbox.be_called()
        other.execute(f"LISTEN {outbox.CHANNEL}")
        assert other.execute(f"SELECT {outbox.WAKE}").fetchone() == ("",)
        assert [notice.channel for notice in other.notifies(timeout=5, stop_after=1)] == [outbox.CHANNEL]
        outbox.be_left_alone()
        assert other.execute(f"SELECT {outbox.WAKE}").fetchone() == (None,)


def test_a_dead_worker_does_not_stop_the_relay(broker):
    outbox.record("favourite.created", 1)
    Outbox.objects.update(sent_at=timezone.now())
    outbox.record("favourite.created", 2)
    assert outbox.publish() == (0, outbox.PAUSE, (outbox.DONE, outbox.CHANNEL), 0)
    Outbox.objects.filter(subject_id=1).update(sent_at=timezone.now() - outbox.LOST_AFTER)
    assert outbox.publish()[0] == 1


def test_while_more_fan_outs_wait_than_a_message_holds_the_others_wait_but_not_for_ever(broker, monkeypatch):
    monkeypatch.setattr(outbox, "MOST", 2)
    for subject in range(3):
        outbox.record("post.published", subject)
    assert outbox.publish()[0] == 2
    assert {task for task, _ in sent(broker)} == {"fan_out_post"}
    Outbox.objects.filter(sent_at=None, task="refresh_cache").update(due_at=timezone.now() - outbox.PATIENCE)
    for subject in (3, 4):
        outbox.record("post.published", subject)
    assert outbox.publish()[0] == 4
    assert {task for task, _ in sent(broker)} == {"fan_out_post", "refresh_cache"}


def fan_outs(*audiences: int) -> list[int]:
    """Posts' fan-outs with these audiences, one second after the other: their rows."""
    for subject, audience in enumerate(audiences):
        outbox.record("post.published", subject)
        due_at = timezone.now() - timedelta(seconds=60 - subject)
        Outbox.objects.filter(task="fan_out_post", subject_id=subject).update(audience=audience, due_at=due_at)
    Outbox.objects.exclude(task="fan_out_post").delete()
    return ids_of("fan_out_post")


def test_what_an_outage_left_is_drained_in_order_of_audience(broker, monkeypatch, settings):
    monkeypatch.setattr(outbox, "MOST", 2)
    settings.OUTBOX_IN_FLIGHT = 10
    waves, chord, another, *small = fan_outs(2, 1, 1, 0, 0, 0, 0, 0)
    found = []
    while outbox.publish().rows:
        found.append([row_ids for _, row_ids in sorted(sent(broker))])
    assert found == [[small[:2]], [small[2:4]], [[chord], small[4:]], [[waves], [another]]]


def test_a_large_fan_out_lets_pass_what_is_due_up_to_so_much_later_and_no_more(broker, monkeypatch):
    monkeypatch.setattr(outbox, "MOST", 1)
    large, first, *_ = fan_outs(1, 0, 0, 0)
    Outbox.objects.filter(pk=large).update(due_at=timezone.now() - outbox.OVERTAKING - timedelta(minutes=2))
    assert outbox.publish().rows == 2
    assert sorted(sent(broker)) == [("fan_out_post", [large]), ("fan_out_post", [first])]


def test_large_fan_outs_wait_for_no_small_ones_that_fit_a_message_and_hold_up_none(broker):
    """Each has a message of its own, and the relay looks again at once."""
    large, another, small = fan_outs(1, 1, 0)
    assert outbox.publish() == (2, 0, (outbox.CHANNEL,), 2)
    assert sorted(sent(broker)) == [("fan_out_post", [large]), ("fan_out_post", [small])]
    assert outbox.publish()[0] == 1
    assert sent(broker) == [("fan_out_post", [another])]


def test_gauges_count_what_waits_and_no_further_than_they_have_to(monkeypatch):
    fan_outs(2, 1, 0)
    Outbox.objects.filter(audience=0).update(sent_at=timezone.now())
    found = outbox.gauges()
    assert (found["unsent"], found["undone"]) == (2, 1)
    assert 59 <= found["oldest_unsent_seconds"] < 70
    monkeypatch.setattr(metrics, "GAUGED", 1)
    assert (outbox.gauges()["unsent"], outbox.gauges()["undone"]) == (1, 1)

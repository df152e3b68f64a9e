"""The outbox: the only bridge from a change to its background work. Read the table first: it says what happens when.

A change calls `record` inside its own transaction. The relay's `publish` sends the rows to the broker, many of one task in
one message. A task opens its rows with `claimed`: at most one run at a time works on a row, and a row that is not done is
sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from amqp.exceptions import AMQPError, MessageNacked
from celery import chain, current_app, signature
from celery.canvas import Signature
from django.conf import settings
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerGone

from . import logs, metrics
from .database import STORE_ERRORS, changed, is_away, likely, prepared, rows, swept

TASKS = {
    "post.published": ("fan_out_post", "send_notifications", "update_search_index", "refresh_cache"),  # reblogs, too
    "post.edited": ("send_notifications", "update_search_index", "refresh_cache"),
    "post.addressed": ("sync_pair",),  # an edit of a direct post names one more follower
    "post.deleted": ("retract_post", "update_search_index", "refresh_cache"),
    "post.cancelled": ("retract_post",),
    "follow.requested": ("send_notifications",),
    "follow.created": ("sync_pair", "send_notifications"),  # a request that is accepted, too
    "follow.deleted": ("sync_pair",),
    "favourite.created": ("send_notifications",),
    "account.created": ("rebuild_timeline",),
    "account.returned": ("rebuild_timeline",),
    "account.edited": ("refresh_cache",),
    "account.unlocked": ("accept_requests",),
    "account.deleted": ("delete_account",),
}
"""What happens when. A block is two unfollows; mutes, lists and followed tags need nothing: each page applies them."""

CHAINED = {"update_search_index": "backfill_tag"}
"""A task, and the one that is given its result."""

ALONE = ("retract_post", "sync_pair", "rebuild_timeline", "accept_requests", "delete_account")
"""Tasks whose rows each take a message of their own: they wait, or work for long, and none shall hold up another."""

AUDIENCES = (0, 1, 2)
"""What a fan-out's row says of its audience: it fits one batch; ten; more. Small ones go first."""

BY_URGENCY = ["fan_out_post", *sorted({task for tasks in TASKS.values() for task in tasks} - {"fan_out_post"})]
LANES = [(task, audience) for task in BY_URGENCY for audience in (AUDIENCES if task == "fan_out_post" else (0,))]
"""Where rows wait, each in the order in which they are due."""

CHANNEL, DONE = "outbox", "outbox_done"  # what the relay listens to: rows were recorded; a message is done
CALL = 0x6F7574626F78  # an advisory lock's number: "outbox". The relay holds it while it wants to be told of new rows
WAKE = f"CASE WHEN NOT pg_try_advisory_xact_lock_shared({CALL}) THEN pg_notify('{CHANNEL}', '')::text END"
"""SQL: tells the relay that rows are recorded, if it wants to know; if not, it can't want to before they are committed.

Of all transactions in a database that notify, each waits until the one before it is on the disk.
"""

MOST = 100  # rows in a message. A message costs Celery a millisecond or two, a row of a hundred next to nothing
MOST_LARGE = 1  # fan-outs of each larger audience in a round: to plan and to publish one takes its worker a while
MOST_ALONE = 10  # messages of an ALONE task in a round: the round's other workers wait until all are sent
PATIENT = ("send_notifications", "update_search_index", "refresh_cache")
"""Tasks that nobody waits for. Behind the fan-outs, as long as one of these is to be done, but for PATIENCE at most, they go
one message at a time, with what LINGER collected; and not at all while more fan-outs wait than a message holds."""

OVERTAKING = timedelta(hours=1)
"""While small audiences wait, more of them than a message holds, larger ones let them pass: what is due up to so much later.
So what an outage left is drained smallest first, and nothing starves."""

LINGER = timedelta(seconds=0.25)
PATIENCE = timedelta(seconds=10)
PAUSE = 0.1  # seconds until the relay looks again whether what is in flight is done: it is told so sooner
LOST_AFTER = timedelta(seconds=2)  # then a message no longer counts as in flight: the relay waits for no dead worker
ATTEMPTS = 10  # runs that end in an error, then the row stays for a person to look at

BROKER_ERRORS = (BrokerGone, AMQPError, MessageNacked)
"""The broker is gone, late, or takes no messages now: RabbitMQ refuses one (a full queue), or the connection."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A claimed row. `lease_no` is the token that later statements show; `deadline` is Redis's, in unix milliseconds."""

    row_id: int
    lease_no: int
    event: str
    subject_id: int
    object_id: int  # 0 where the task has none
    waited: bool
    deadline: int
    request_id: str | None  # whose change it was; None of a command, or of old


class Later(Exception):
    """Raised by a handler that can't end now: its row is due again after so many seconds.

    `waited`: by then it has waited for all that it found in flight, and need not look for it again.
    """

    def __init__(self, seconds: float, *, waited: bool = False) -> None:
        super().__init__(f"put off for {seconds:.0f} s")
        self.seconds = seconds
        self.waited = waited


def record(event: str, subject_id: int, object_id: int | None = None) -> None:
    """Asks for the tasks of `event`, and wakes the relay; both come true with the caller's transaction, or not at all.

    A rebuild that is asked for while one is open is the same rebuild.
    """
    changes = "(SELECT %(subject_id)s::bigint, %(object_id)s::bigint) change (subject_id, object_id)"
    rows(
        f"WITH asked AS ({asking(event, changes)}) SELECT {WAKE}",
        subject_id=subject_id,
        object_id=object_id,
        request_id=logs.request_id(),
    )


def asking(event: str, changes: str, audience: str = "0") -> str:
    """`record` for a statement that makes its change itself: the SQL that asks for the tasks of each (subject_id, object_id)
    in `changes`, a table or what stands for one. It has to WAKE the relay, too, and to have a parameter `request_id`.
    `audience`, of AUDIENCES, is a fan-out's.
    """
    tasks = ", ".join(f"'{task}'" for task in TASKS[event])
    audiences = ", ".join(audience if task == "fan_out_post" else "0" for task in TASKS[event])
    return f"""
        INSERT INTO feeds_outbox (event, task, audience, subject_id, object_id, request_id)
        SELECT '{event}', unnest(ARRAY[{tasks}]), unnest(ARRAY[{audiences}]), subject_id, object_id,
            %(request_id)s::text FROM {changes}
        ON CONFLICT DO NOTHING"""


def audience(followers: str) -> str:
    """SQL: which of AUDIENCES so many followers are, by the parameter `batch`."""
    return f"({followers} > %(batch)s)::int + ({followers} > 10 * %(batch)s)::int"


# The relay


class Sent(NamedTuple):
    """How many rows, what to `wait` for then (so many seconds, or news on a channel), and how many rows were fan-outs."""

    rows: int
    pause: float
    wake: tuple[str, ...] = (CHANNEL,)
    fan_outs: int = 0


def publish() -> Sent:
    """Sends the oldest unsent rows of each task, the fan-outs first, and of these the small ones.

    It clocks itself: a task of which enough messages are on their way waits, and its rows collect meanwhile for a fuller
    message. So an idle service sends each row at once, and a busy one sends many together. A task that can't keep up
    delays no other.

    The row locks are the claim: several relays share the rows, and a dead one's are free when its connection is.
    A crash between sending and committing sends them twice, which `claimed` makes harmless.
    """
    with transaction.atomic():
        found = prepared(
            f"""
            WITH waiting AS MATERIALIZED (
                SELECT *, (SELECT due_at FROM feeds_outbox WHERE task = t.task AND audience = t.audience
                    AND sent_at IS NULL ORDER BY due_at LIMIT 1) AS oldest
                FROM unnest(%(tasks)s::text[], %(audiences)s::smallint[], %(most)s::int[], %(in_flight)s::int[])
                    WITH ORDINALITY t (task, audience, most, in_flight, urgency)),
            placed AS MATERIALIZED (
                SELECT *, task = ANY(%(patient)s) AND {_FANNING_OUT} AND oldest > now() - %(patience)s AS behind
                FROM waiting WHERE oldest <= now()),
            tasks AS MATERIALIZED (
                SELECT *, CASE WHEN behind THEN oldest <= now() - %(linger)s AND NOT {_RUSH}
                        WHEN audience > 0 THEN NOT {_OVERTAKEN} ELSE true END AS ready,
                    CASE WHEN behind THEN {_OTHERS_AT_WORK} OR row_number() OVER (PARTITION BY behind ORDER BY oldest) > 1
                        ELSE {_BUSY} END AS busy
                FROM placed t),
            due AS (
                SELECT o.id, urgency FROM tasks CROSS JOIN LATERAL (
                    SELECT id FROM feeds_outbox WHERE task = tasks.task AND audience = tasks.audience
                        AND sent_at IS NULL AND due_at <= now()
                    ORDER BY due_at LIMIT most FOR UPDATE SKIP LOCKED) o
                WHERE ready AND NOT busy),
            sent AS (
                UPDATE feeds_outbox o SET sent_at = now() FROM due WHERE o.id = due.id
                RETURNING o.task, o.id, o.attempts, o.audience, o.request_id, urgency)
            SELECT task, id, attempts, audience, request_id, full_up FROM (
                SELECT *, false AS full_up FROM sent
                UNION ALL
                SELECT task, NULL, NULL, NULL, NULL, urgency, ready FROM tasks WHERE busy OR NOT ready) found
            ORDER BY urgency, id
            """,
            tasks=[task for task, _ in LANES],
            audiences=[audience for _, audience in LANES],
            lost_after=LOST_AFTER,
            most=[MOST_ALONE if task in ALONE else MOST_LARGE if audience else MOST for task, audience in LANES],
            in_flight=[1 if task in PATIENT else settings.OUTBOX_IN_FLIGHT for task, _ in LANES],
            overtaking=OVERTAKING,
            patient=list(PATIENT),
            linger=LINGER,
            patience=PATIENCE,
            rush=MOST,
        )
        sent = {row[1]: row for row in found if row[1] is not None}
        due = [(task, row_id, attempts or large) for task, row_id, attempts, large, *_ in sent.values()]
        if due:
            # A worker's claim waits for our commit: nothing comes between.
            with current_app.producer_or_acquire() as producer:
                for task, row_ids in messages(due):
                    _signature(task, row_ids).apply_async(producer=producer)
                    logs.about(sent[row_id][4] for row_id in row_ids)
                    logs.say(log, "sent", task=task, rows=len(row_ids))
                    logs.about(())
    metrics.outbox_sent.inc(len(due))
    fan_outs = sum(task == "fan_out_post" for task, *_ in due)
    full_up = {task for task, *_, full_up in found if full_up}
    if "fan_out_post" in full_up:  # new rows, at that rate, are no reason to look
        return Sent(len(due), PAUSE, (DONE,), fan_outs)
    if full_up:
        return Sent(len(due), PAUSE, (DONE, CHANNEL), fan_outs)
    if len(due) >= MOST_ALONE or any(large for _, _, _, large, *_ in found):  # a lane may have had more
        return Sent(len(due), 0, fan_outs=fan_outs)
    pause = LINGER.total_seconds() if len(found) > len(due) else settings.OUTBOX_POLL
    return Sent(len(due), pause, fan_outs=fan_outs)


# Whether as many messages of the task are on their way as may be. Rows that were sent together have one and the same
# sent_at: so many moments, so many messages. The recursion jumps from one to the next, and looks at no other row.
_BUSY = """in_flight <= (SELECT count(*) FROM (
    WITH RECURSIVE message (sent_at) AS (
        SELECT 'infinity'::timestamptz
        UNION ALL
        SELECT (SELECT sent_at FROM feeds_outbox o WHERE task = t.task AND done_at IS NULL
            AND sent_at < message.sent_at AND sent_at > now() - %(lost_after)s ORDER BY sent_at DESC LIMIT 1)
        FROM message WHERE sent_at IS NOT NULL)
    SELECT 1 FROM message WHERE sent_at < 'infinity' LIMIT in_flight) found)"""
_CROWD = """EXISTS (
    SELECT 1 FROM feeds_outbox WHERE task = 'fan_out_post' AND audience = {audience} AND sent_at IS NULL AND due_at <= now()
    OFFSET {most})"""
_RUSH = _CROWD.format(audience=0, most="%(rush)s")
# Smaller ones wait, more of them than a message holds, and were due before, or not too long afterwards.
_OVERTAKEN = f"""EXISTS (
    SELECT 1 FROM placed s WHERE s.task = t.task AND s.audience < t.audience AND s.oldest < t.oldest + %(overtaking)s
        AND {_CROWD.format(audience="s.audience", most="s.most")})"""
_FANNING_OUT = """EXISTS (
    SELECT 1 FROM waiting WHERE task = 'fan_out_post' AND oldest <= now()
    UNION ALL
    SELECT 1 FROM feeds_outbox WHERE task = 'fan_out_post' AND done_at IS NULL AND sent_at > now() - %(lost_after)s)"""
_OTHERS_AT_WORK = """EXISTS (
    SELECT 1 FROM feeds_outbox WHERE task = ANY(%(patient)s) AND done_at IS NULL AND sent_at > now() - %(lost_after)s)"""


def messages(found: list[tuple[str, int, int]]) -> list[tuple[str, list[int]]]:
    """The messages, as (task, rows), for rows of (task, id, whether it goes alone, whatever its task).

    So does one that has burned an attempt: if it is the one to blame, it does not take its neighbours with it again. And a
    large fan-out, for which no small one shall wait.
    """
    together: dict[str, list[int]] = {}
    alone = []
    for task, row_id, apart in found:
        if apart or task in ALONE:
            alone.append((task, [row_id]))
        else:
            together.setdefault(task, []).append(row_id)
    return [*together.items(), *alone]


def _signature(task: str, row_ids: list[int]) -> Signature:
    """Of tasks that this process knows by name only: else each would have it subscribe to a result."""
    first = signature(task, (row_ids,), ignore_result=True)
    return chain(first, signature(CHAINED[task], ignore_result=True)) if task in CHAINED else first


def listen() -> None:
    """From now on `wait` returns as soon as somebody commits a row, or is done with a message.

    The relay's own commits need not wait for the disk: a row whose sending was forgotten is sent again. And it is for good
    that it plans its statement, maybe of an empty table.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off; SET enable_seqscan = off")
        cursor.execute(f"LISTEN {CHANNEL}; LISTEN {DONE}")


def be_called() -> bool:
    """Has whoever records rows from now on `WAKE` the relay, which must look once more before it waits for that.

    False where somebody is recording rows, or where another relay is called: then it is for this one to look again.
    """
    return bool(rows(f"SELECT pg_try_advisory_lock({CALL})")[0][0])


def be_left_alone() -> None:
    """Ends that: the relay looks by itself, and often."""
    rows(f"SELECT pg_advisory_unlock({CALL})")


def wait(sent: Sent) -> None:
    """Until there may be something to send: what came since the last call counts, too."""
    connection.ensure_connection()
    for notice in connection.connection.notifies(timeout=sent.pause):
        if notice.channel in sent.wake:
            break


# A task's rows


@contextmanager
def claimed(row_ids: list[int] | int) -> Iterator[list[Work]]:
    """Those of the rows that are not done, nor in somebody else's hands: leased to the caller. At the end they are done.

    An exception gives them back: soon where a store or the broker failed, else later and with an attempt burned. Of
    several nobody knows which one was to blame: they are due at once, each alone.
    """
    found = prepared(
        f"""
        UPDATE feeds_outbox SET lease_no = lease_no + 1, attempts = attempts + 1,
            lease_until = now() + %(lease)s * interval '1 second'
        WHERE id = ANY(%(row_ids)s::bigint[]) AND {likely("done_at IS NULL")}
          AND (lease_until IS NULL OR lease_until < now())
        RETURNING id, lease_no, event, subject_id, coalesce(object_id, 0), waited,
            floor(extract(epoch FROM now() + %(fence)s * interval '1 second') * 1000)::bigint, request_id
        """,
        row_ids=row_ids if isinstance(row_ids, list) else [row_ids],  # a message of an older release holds one
        lease=settings.LEASE,
        fence=settings.FENCE,
    )
    work = sorted((Work(*row) for row in found), key=lambda one: one.row_id)
    logs.about(one.request_id for one in work)
    try:
        yield work
    except Later as later:
        _give_back(work, str(later), burned=0, seconds=later.seconds, waited=later.waited)
    except (*STORE_ERRORS, *BROKER_ERRORS) as error:
        _give_back(work, str(error), burned=0 if is_away(error) else 1, seconds=2)
        raise
    except Exception as error:
        _give_back(work, f"{type(error).__name__}: {error}", burned=1, seconds=5 if len(work) == 1 else 0)
        raise
    else:
        if work:
            prepared(
                f"""
                WITH done AS (
                    UPDATE feeds_outbox o SET done_at = now(), lease_until = NULL, error = NULL
                    FROM {_OURS} WHERE {_IS_OURS})
                SELECT pg_notify('{DONE}', '')
                """,
                **_tokens(work),
            )


def _give_back(work: list[Work], error: str, *, burned: int, seconds: float, waited: bool = False) -> None:
    """Due again in some seconds, longer with each attempt that was burned."""
    try:
        changed(
            f"""
            UPDATE feeds_outbox o SET lease_until = NULL, error = %(error)s, attempts = attempts - 1 + %(burned)s,
                waited = waited OR %(waited)s,
                due_at = now() + %(seconds)s * greatest(1, attempts - 1 + %(burned)s) * interval '1 second',
                sent_at = CASE WHEN attempts - 1 + %(burned)s < %(allowed)s THEN NULL ELSE sent_at END
            FROM {_OURS} WHERE {_IS_OURS}
            """,
            error=error[:1000],
            burned=burned,
            seconds=seconds,
            waited=waited,
            allowed=ATTEMPTS,
            **_tokens(work),
        )
    except STORE_ERRORS as gone:
        log.warning("%d outbox rows could not be given back, their leases will run out: %s", len(work), gone)


_OURS = "unnest(%(row_ids)s::bigint[], %(lease_nos)s::int[]) w (id, lease_no)"
_IS_OURS = f"o.id = w.id AND o.lease_no = w.lease_no AND {likely('o.done_at IS NULL')}"


def _tokens(work: list[Work]) -> dict[str, list[int]]:
    return {"row_ids": [one.row_id for one in work], "lease_nos": [one.lease_no for one in work]}


# The reconciler's part, and a person's


def resend() -> int:
    """Has the relay send again what was sent and is neither done nor in work: a flushed broker loses nothing."""
    return changed(
        """
        UPDATE feeds_outbox SET sent_at = NULL
        WHERE done_at IS NULL AND sent_at < now() - %(after)s * interval '1 second'
          AND coalesce(lease_until, '-infinity') < now() AND attempts < %(allowed)s
        """,
        after=settings.RESEND_AFTER,
        allowed=ATTEMPTS,
    )


def send_again(row_id: int) -> bool:
    """Has the relay send the row now, with all its attempts before it. False if it is done, or in work."""
    return bool(
        changed(
            """
            UPDATE feeds_outbox SET sent_at = NULL, due_at = now(), attempts = 0
            WHERE id = %(row_id)s AND done_at IS NULL AND coalesce(lease_until, '-infinity') < now()
            """,
            row_id=row_id,
        )
    )


def send_failed_again(subject_id: int, tasks: Iterable[str]) -> int:
    """Does the same for those of the subject's tasks that were given up. How many."""
    return changed(
        """
        UPDATE feeds_outbox SET sent_at = NULL, due_at = now(), attempts = 0
        WHERE subject_id = %(subject_id)s AND task = ANY(%(tasks)s) AND done_at IS NULL AND attempts >= %(allowed)s
          AND coalesce(lease_until, '-infinity') < now()
        """,
        subject_id=subject_id,
        tasks=list(tasks),
        allowed=ATTEMPTS,
    )


def prune() -> int:
    """Deletes rows that were done long ago. Ids come in the order of time: the lowest are looked at, with no index more."""
    return swept(
        """
        DELETE FROM feeds_outbox WHERE id = ANY(ARRAY(
            SELECT id FROM (
                SELECT id, done_at FROM feeds_outbox WHERE done_at IS NOT NULL ORDER BY id LIMIT %(slice)s) lowest
            WHERE done_at < now() - %(kept)s))
        """,
        kept=settings.KEEP_OUTBOX,
    )


def gauges() -> dict[str, Any]:
    """What waits: rows not sent yet, the age of the oldest in seconds, rows sent and not done.

    metrics.GAUGED means that or more.
    """
    [(unsent, age, undone)] = rows(
        """
        SELECT (SELECT count(*) FROM (
                SELECT 1 FROM feeds_outbox WHERE sent_at IS NULL AND done_at IS NULL LIMIT %(counted)s) f),
            coalesce(extract(epoch FROM now() - min(oldest)), 0)::float,
            (SELECT count(*) FROM (
                SELECT 1 FROM feeds_outbox WHERE sent_at IS NOT NULL AND done_at IS NULL LIMIT %(counted)s) f)
        FROM unnest(%(tasks)s::text[], %(audiences)s::smallint[]) t (task, audience) CROSS JOIN LATERAL (
            SELECT due_at AS oldest FROM feeds_outbox WHERE task = t.task AND audience = t.audience AND sent_at IS NULL
                AND done_at IS NULL ORDER BY due_at LIMIT 1) o
        """,
        counted=metrics.GAUGED,
        tasks=[task for task, _ in LANES],
        audiences=[audience for _, audience in LANES],
    )
    return {"unsent": unsent, "oldest_unsent_seconds": max(0.0, age), "undone": undone}

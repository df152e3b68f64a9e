"""The Celery application: brokers, queues and time limits come from settings.py (CELERY_*), tasks from feeds/tasks.py."""

import logging
import os
import time
from typing import Any

from amqp.exceptions import ResourceLocked
from celery import Celery, bootsteps
from celery.signals import (
    after_task_publish,
    before_task_publish,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
)
from celery.worker import consumer
from django.db import close_old_connections
from django.db.backends.signals import connection_created

from feeds import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")

NAME_TAKEN = 2  # seconds until a worker whose name another one has tries again

log = logging.getLogger("feeds.worker")

app = Celery("feedsvc")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery closes the database connection around EVERY task unless this exact key of app.conf says otherwise.
# The namespace above would strip its prefix, so it is set here.
app.conf["CELERY_DB_REUSE_MAX"] = 100_000
# Of the address's scheme, since Celery goes by the environment's CELERY_RESULT_BACKEND, whatever settings say.
app.loader.override_backends = dict.fromkeys(("redis", "rediss"), "feedsvc.results:PatientBackend")
app.autodiscover_tasks(["feeds"])


@setup_logging.connect
def leave_logs_alone(**_: object) -> None:
    """Django has set them up (LOGGING). Celery would raise the level, and print what it says itself another way."""


@worker_process_init.connect
def set_up_connections(**_: object) -> None:
    """A worker's ledger writes need not wait for the disk: a lost one is done again, and doing it again is harmless. What
    the web process commits, it waits for.

    And a worker looks up rows by their ids. Its statements are planned once, maybe while a table is empty, when PostgreSQL
    would settle for reading all of it.
    """

    def set_up(connection: object, **_: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]  # Django types the sender, not this
            cursor.execute("SET synchronous_commit = off; SET enable_seqscan = off")

    connection_created.connect(set_up, weak=False)


class Consumer(consumer.Consumer):
    """Celery's, without what prepares RabbitMQ for messages that are due later: 28 quorum queues, at each address of the
    broker, before a worker takes its first message. Where a node is away that takes a quarter of a minute. We send none.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc,valid-type]  # a class, which Celery's types don't say
        default_steps = [step for step in consumer.Consumer.Blueprint.default_steps if "DelayedDelivery" not in step]

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Celery tries again at once, for ever. On RabbitMQ the queue for commands to a worker, of its name, is its alone."""
        if isinstance(exc, ResourceLocked):
            log.error(
                "another worker is named %s, or RabbitMQ has not noticed yet that this one was cut off; trying again. "
                "Each needs a name of its own: -n",
                self.hostname,
            )
            time.sleep(NAME_TAKEN)
        super().on_connection_error_after_connected(exc)


@worker_init.connect
def answer_to_ping_alone(**_: object) -> None:
    """Celery's remote control would tell all of settings.py, PostgreSQL's address among it, to whoever gets at the broker,
    and stop workers for them. They are looked at by metrics and rows, and stopped by signals.
    """
    from celery.worker.control import Panel

    for name in Panel.data.keys() - {"ping"}:
        del Panel.data[name]


class DeadLetters(bootsteps.StartStopStep):
    """On RabbitMQ: the queue that no worker reads is declared by none of them. So each does it, whenever it has connected: a
    broker may come back without its disk.
    """

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: consumer.Consumer) -> None:
        if parent.connection and (dead := app.amqp.queues.get("dead")):
            dead(parent.connection.default_channel).declare()


app.steps["consumer"].add(DeadLetters)


@before_task_publish.connect
def leave_expiry_to_the_worker(properties: dict[str, Any], **_: object) -> None:
    """What beat sent too long ago a worker drops, by a header. RabbitMQ would do so itself, and set it apart as dead."""
    properties.pop("expiration", None)


@task_prerun.connect
def look_at_the_connection(**_: object) -> None:
    """A connection that is kept over tasks may have died between them, with a restart of PostgreSQL: a new one then.

    As Django does before each request. It costs one SELECT 1; without it the worker would fail at every task for good.
    """
    close_old_connections()


@task_prerun.connect
def begin(task: Any, **_: object) -> None:
    logs.about(())  # until its rows say whose work it is
    task.request.began = time.perf_counter()


@task_postrun.connect
def say_what_it_did(task: Any, retval: object, state: str, **_: object) -> None:
    """One line for each task, with the ids of all requests whose work it did."""
    seconds = round(time.perf_counter() - task.request.began, 4)
    result = type(retval).__name__ if isinstance(retval, BaseException) else str(retval)  # an error may quote a post
    logs.say(log, "task", task=task.name, state=state, seconds=seconds, result=result[:200])
    logs.about(())


@after_task_publish.connect(sender="reconcile")
def beat_is_alive(**_: object) -> None:
    """Beat alone publishes `reconcile`: that it did so is its heartbeat."""
    from feeds.models import Heartbeat

    close_old_connections()
    Heartbeat.objects.record("beat")

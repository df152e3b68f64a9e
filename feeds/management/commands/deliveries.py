"""Fan-outs that did not end well: look at them, replay them, drop them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from kombu.exceptions import OperationalError

from feeds import dead_letters, deliveries, fanout
from feeds.deliveries import Record
from feeds.management.arguments import positive, post_id
from feeds.management.progress import print_table
from feeds.models import Batch, Delivery
from followers.graph import Cursor

BATCHES = 200  # shown of a post

LIST = (
    "Lists the deliveries that are to be looked at, the latest first: those not closed yet, and those with dead batches, "
    "whose followers are counted as failed. A batch is dead when its attempts are spent (BATCH_ATTEMPTS). A post that was "
    "deleted or cancelled has a second delivery, of the kind retract. Then: `show` says why, `replay` tries again."
)
SHOW = (
    "Shows the whole record of POST's fan-out, each of its batches that is not done (of which followers, by account ids; how "
    "often it was tried; its last error), and the tasks that the post started."
)
REPLAY = (
    "Opens POST's dead batches again, with new attempts, and sends those of its fan-out's tasks again that were given up. "
    "The reconciler publishes the batches within seconds (RECONCILE_EVERY); when they are done the record is corrected. Who "
    "has the post already does not get it twice. A second time changes nothing. What was dropped is refused."
)
DROP = (
    "Gives up POST's dead batches for good: nobody need look at them, `list` and feedsvc_batches_dead no longer count them, "
    "and they can't be replayed. Their followers stay counted as failed; `verify_timelines --post POST --repair` gives them "
    "the post nevertheless. Batches that are still open are left alone. A second time changes nothing."
)
DEAD_LETTERS = (
    "Lists the messages that RabbitMQ set apart, in the queue `dead`, since they ended their worker time and again: the "
    "task, its arguments (ids of outbox rows, or a batch's key), and why they were set apart. Their rows need nothing: they "
    "are tried again until their attempts are spent. With --discard what is listed is thrown away."
)


class Command(BaseCommand):
    help = "Looks after fan-outs that failed, or do not end. Each of the words has a --help of its own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        words = parser.add_subparsers(metavar="list|show|replay|drop|dead-letters", required=True)
        listing = _word(words, "list", "what is to be looked at", LIST, self.list)
        listing.add_argument("--state", choices=[*deliveries.STANDINGS], help="only these; dropped ones, too")
        listing.add_argument("--limit", type=positive, default=50, metavar="N", help="N at most (50)")
        for word, help_, description, run in (
            ("show", "all about one post's", SHOW, self.show),
            ("replay", "try again what failed of one", REPLAY, self.replay),
            ("drop", "give up for good what failed of one", DROP, self.drop),
        ):
            about = _word(words, word, help_, description, run)
            about.add_argument("post", type=post_id, metavar="POST", help="the id of a post")
        letters = _word(words, "dead-letters", "messages that RabbitMQ set apart", DEAD_LETTERS, self.dead_letters)
        letters.add_argument("--discard", action="store_true", help="throw away those that are listed")
        letters.add_argument("--limit", type=positive, default=1000, metavar="N", help="N at most (1000)")

    def handle(self, *, run: Callable[..., None], **options: Any) -> None:
        try:
            run(**options)
        except Delivery.DoesNotExist as unknown:
            raise CommandError(f"there is no delivery of a post {options['post']}") from unknown

    def list(self, *, state: str | None, limit: int, **_: Any) -> None:
        page = deliveries.page(Cursor(limit), [state] if state else deliveries.BY_DEFAULT)
        if not page.records:
            self.stdout.write(f"no delivery is {state}" if state else "nothing is to be looked at")
            return
        columns = ("post", "author", "kind", "state", "batches done", "#dead", "#audience", "#delivered", "#failed")
        print_table(self.stdout, (*columns, "queued"), map(_line, page.records))
        if page.next_max_id is not None:
            self.stdout.write(f"and older ones: --limit {2 * limit}")

    def show(self, *, post: int, **_: Any) -> None:
        record = deliveries.report(post)
        facts = {name.replace("_", " "): value for name, value in record.items() if name not in ("batches", "tasks")}
        facts["batches"] = ", ".join(f"{count:,} {name}" for name, count in record["batches"].items())
        print_table(self.stdout, ("", ""), ((name, _shown(value)) for name, value in facts.items()))
        if left := deliveries.batches_left(post, BATCHES + 1):
            columns = ("batch", "state", "followers from", "to before", "#size", "attempts", "error")
            print_table(self.stdout, columns, map(_batch, left[:BATCHES]))
        if len(left) > BATCHES:
            self.stdout.write(f"and more than these {BATCHES}")
        tasks = ([_shown(fact) for fact in task.values()] for task in deliveries.tasks(post))
        print_table(self.stdout, ("task", "state", "queued", "finished", "#attempts", "error"), tasks)

    def replay(self, *, post: int, **_: Any) -> None:
        try:
            replayed = deliveries.replay(post_id=post)
        except ValidationError as refused:
            raise CommandError(f"what failed of post {post} was dropped, and that is for good") from refused
        if replayed == deliveries.Replayed(0, 0):
            self.stdout.write(f"nothing of post {post} is dead")
        else:
            self.stdout.write(
                f"{replayed.batches:,} batches and {replayed.tasks:,} tasks of post {post} are tried again"
            )

    def drop(self, *, post: int, **_: Any) -> None:
        dropped = deliveries.drop(post_id=post)
        said = f"{dropped:,} dead batches of post {post} are dropped" if dropped else f"nothing of post {post} is dead"
        self.stdout.write(said)

    def dead_letters(self, *, discard: bool, limit: int, **_: Any) -> None:
        if settings.ON_REDIS:
            raise CommandError("the broker is Redis, which sets no message apart")
        try:
            found = dead_letters.look(most=limit, discard=discard)
        except OperationalError as error:
            raise CommandError(f"the broker did not answer: {error}") from error
        if not found:
            self.stdout.write("no message is set apart")
            return
        print_table(self.stdout, ("task", "arguments", "queue", "reason"), map(astuple, found))
        if len(found) == limit:
            self.stdout.write("and maybe more")
        if discard:
            self.stdout.write(f"{len(found):,} messages are discarded")


def _word(words: Any, name: str, help_: str, description: str, run: Callable[..., None]) -> ArgumentParser:
    parser: ArgumentParser = words.add_parser(name, help=help_, description=description)
    parser.set_defaults(run=run)
    return parser


def _line(record: Record) -> list[object]:
    batches = record["batches"]
    return [
        str(record["id"]),
        record["author"],
        record["kind"],
        record["state"],
        f"{batches['done']:,} of {batches['total']:,}",
        batches["failed"],
        record["audience"],
        record["delivered"],
        record["failed"],
        record["queued_at"],
    ]


def _batch(batch: Batch) -> list[object]:
    state = "dropped" if batch.dropped_at else batch.state
    return [
        f"{batch.kind} {batch.batch_no}",
        f"{state}, claimed" if batch.lease_until else state,
        str(batch.lo) if batch.lo else "the first",
        str(batch.hi) if batch.hi < fanout.EVERYBODY else "the end",
        batch.size,
        f"{batch.attempts} of {batch.attempts_allowed}",
        batch.error or "-",
    ]


def _shown(value: object) -> object:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) and abs(value) < 1 << 48 else str(value)

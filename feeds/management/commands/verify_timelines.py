"""The comparison of home timelines with PostgreSQL."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError

from feeds import rebuild, verify
from feeds.management import accounts
from feeds.management.arguments import positive, post_id
from feeds.management.progress import print_table, progress
from feeds.models import Post
from feeds.outbox import Later
from feeds.verify import Report
from followers.models import Account


class Command(BaseCommand):
    help = (
        "Compares home timelines in Redis with what PostgreSQL says they should hold. missing: not stored, though above the "
        "timeline's coverage; ghosts: stored, though deleted or not followed; misordered: not where the id belongs. Exits "
        "with 1 if there is any of it, or if there was nothing to compare although accounts are active. What is still on "
        "its way counts as in flight. With --repair the timelines that are wrong, and those that active accounts lack, are "
        "built anew and compared again: then it exits with 0 if they are right now."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        scopes = parser.add_mutually_exclusive_group()
        scopes.add_argument("--reader", metavar="NAME", help="only this account")
        scopes.add_argument(
            "--post", type=post_id, metavar="ID", help="only this post, of its author's active followers"
        )
        scopes.add_argument("--sample", type=positive, metavar="N", help="only N active accounts, chosen at random")
        parser.add_argument("--repair", action="store_true", help="build anew what is wrong or absent")
        parser.add_argument("--json", action="store_true", help="the last line is JSON")

    def handle(self, *, repair: bool, **options: Any) -> None:
        began = time.monotonic()
        mended: list[int] = []
        try:
            report = compare(**{scope: options[scope] for scope in ("reader", "post", "sample")})
            right = report.right
            if repair and (report.wrong or report.absent):
                mended = mend([*report.wrong, *report.absent])
                right = self.look_again(report, mended)
        except redis.RedisError as error:
            raise CommandError(f"Redis did not answer: {error}") from error
        self.tell(report, mended, right, time.monotonic() - began)
        if options["json"]:
            self.stdout.write(json.dumps(shape(report, mended)))
        if not right:
            sys.exit(1)

    def look_again(self, report: Report, mended: list[int]) -> bool:
        """Whether all that was wrong is right now."""
        again = verify.verify_readers(mended)
        for example in again.examples:
            self.stdout.write(f"  still {example}")
        return again.right and set(mended) >= {*report.wrong, *report.absent}

    def tell(self, report: Report, mended: list[int], right: bool, seconds: float) -> None:
        facts = {
            "timelines compared": report.timelines,
            "entries": report.entries,
            "missing": report.missing,
            "ghosts": report.ghosts,
            "misordered": report.misordered,
            "in flight": report.in_flight,
            "active accounts": report.active,
            "of them without a timeline": len(report.absent),
            "timelines repaired": len(mended),
        }
        print_table(self.stdout, ("", "#"), facts.items())
        for example in report.examples:
            self.stdout.write(f"  {example}")
        for reader in mended[: verify.EXAMPLES]:
            wrong = ", ".join(f"{count} {kind}" for kind, count in report.wrong.get(reader, {}).items())
            self.stdout.write(f"  repaired: timeline of reader {reader} ({wrong or 'absent'})")
        verdict = "DRIFT" if report.drift or report.timelines else "NOTHING COMPARED"
        self.stdout.write(f"{'right' if right else verdict}, in {seconds:.1f} s")


def compare(*, reader: str | None, post: int | None, sample: int | None) -> Report:
    if reader is not None:
        return verify.verify_readers([accounts.find(reader).pk])
    if post is not None:
        try:
            with progress("verifying timelines") as show:
                return verify.verify_post(post, show)
        except Post.DoesNotExist as unknown:
            raise CommandError(f"there is no post {post}") from unknown
    with progress("verifying timelines", Account.objects.count() if sample is None else sample) as show:
        return verify.verify(sample=sample, show=show)


def mend(readers: list[int]) -> list[int]:
    """Those whose timeline was built anew here. The others are in the hands of another rebuild, or it was put off."""
    mended = []
    with progress("repairing timelines", len(readers)) as show:
        for done, reader in enumerate(readers, 1):
            with suppress(Later):
                if rebuild.rebuild(reader) != "superseded":
                    mended.append(reader)
            show(done)
    return mended


def shape(report: Report, mended: list[int]) -> dict[str, int]:
    return {
        "timelines": report.timelines,
        "entries": report.entries,
        "missing": report.missing,
        "ghosts": report.ghosts,
        "misordered": report.misordered,
        "repaired": len(mended),
    }

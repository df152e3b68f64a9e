"""The end of an account."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from feeds import actions
from feeds.management import accounts


class Command(BaseCommand):
    help = (
        "Deletes the account NAME for good: at once nobody can log in to it or see anything of it. Its posts leave all home "
        "timelines and its follows, favourites, lists and its own timeline go afterwards, in the background. What others "
        "wrote stays. The name stays taken."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="a user name")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *, name: str, yes: bool, **_: Any) -> None:
        account = accounts.find(name)
        if account.deleted_at is not None:
            self.stdout.write(
                f"account {account.username} is deleted already, since {account.deleted_at:%Y-%m-%d %H:%M} UTC"
            )
            return
        if not yes:
            ask(f"Delete {account.username}, {account.statuses_count:,} posts, {account.followers_count:,} followers? ")
        actions.delete_account(account=account)
        self.stdout.write(f"account {account.username} is deleted; its posts and follows go in the background")


def ask(question: str) -> None:
    """Raises CommandError unless the answer is yes."""
    try:
        answer = input(f"{question}Type yes: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != "yes":
        raise CommandError("nothing was deleted")

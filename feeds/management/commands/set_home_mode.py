"""How an account's posts reach home timelines."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from feeds import actions
from feeds.management import accounts
from followers.models import HomeMode

AUTO = "auto"


class Command(BaseCommand):
    help = (
        "Says how new posts of the account NAME reach its followers' home timelines: push (into each of them), pull (their "
        "pages fetch them), or auto: as the number of its followers says (PULL_ABOVE, PULL_BELOW), which is so unless this "
        "command said otherwise. Posts that are written already stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="a user name")
        parser.add_argument("mode", choices=[*HomeMode.values, AUTO])

    def handle(self, *, name: str, mode: str, **_: Any) -> None:
        account = accounts.find(name)
        actions.set_home_mode(account=account, mode=None if mode == AUTO else mode)
        account.refresh_from_db()
        self.stdout.write(
            f"the next post of {account.username} will reach home timelines by {account.next_home_mode()}"
        )

"""An account, and a token for it, without the HTTP API."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from getpass import getpass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from feeds import actions
from feeds.api.auth import issue_token
from followers.models import Account, Application

SCOPES = "read write profile"
CLIENT_ID = (
    "command-line"  # of the application that its tokens are of: nobody can register that one, as they could a name
)


class Command(BaseCommand):
    help = (
        "Makes the account NAME. Without --password nobody can log in to it, its token alone opens the API. If NAME exists "
        "already it stays as it is, but for what --token, --staff and --password ask for."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and _, at most 30")
        parser.add_argument(
            "--token", action="store_true", help=f"print a new access token ({SCOPES}) on the last line"
        )
        parser.add_argument("--staff", action="store_true", help="the account may see every delivery, and use /admin/")
        parser.add_argument(
            "--password",
            action="store_true",
            help="ask for a password, twice; without a terminal it is the first line of the standard input",
        )

    def handle(self, *, name: str, token: bool, staff: bool, password: bool, **_: Any) -> None:
        self.make(name, token=token, staff=staff, password=ask_password() if password else None)

    @transaction.atomic
    def make(self, name: str, *, token: bool, staff: bool, password: str | None) -> None:
        account = Account.objects.filter(username=name.lower()).first()
        if account is None:
            account = register(name)
            self.stdout.write(f"created account {account.username}, id {account.pk}")
        else:
            self.stdout.write(f"account {account.username} exists already, id {account.pk}")
        if staff and not account.is_staff:
            Account.objects.filter(pk=account.pk).update(is_staff=True)
            self.stdout.write(f"{account.username} is staff now")
        if password is not None:
            set_password(account, password)
            self.stdout.write(f"{account.username} has this password now")
        if token:
            self.stdout.write(new_token(account))


def register(name: str) -> Account:
    try:
        return actions.register(username=name, email=None, password=None)
    except ValidationError as wrong:
        raise CommandError(f"the name {name!r} can't be taken: {' '.join(wrong.messages)}") from wrong


def ask_password() -> str:
    """Never as an argument: those are seen by everybody on the machine."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass()
    if getpass("Password (again): ") != password:
        raise CommandError("the two passwords are not the same")
    return password


def set_password(account: Account, password: str) -> None:
    try:
        change = actions.reset_password if account.has_usable_password() else actions.set_password
        change(account=account, password=password)
    except ValidationError as weak:
        raise CommandError(f"the password can't be taken: {' '.join(weak.messages)}") from weak


def new_token(account: Account) -> str:
    """The text of a new token. Only its checksum is stored: each call makes another one, and all of them are good."""
    application, _ = Application.objects.get_or_create(
        client_id=CLIENT_ID,
        defaults={
            "name": "command line",
            "client_type": Application.CLIENT_CONFIDENTIAL,
            "redirect_uris": "urn:ietf:wg:oauth:2.0:oob",
            "scopes": SCOPES,
        },
    )
    _, text = issue_token(account=account, application=application, scope=SCOPES)
    return text

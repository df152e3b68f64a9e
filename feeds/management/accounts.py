"""The account that a command is about."""

from __future__ import annotations

from django.core.management.base import CommandError

from followers.models import Account


def find(name: str) -> Account:
    """By its user name, in any case. Raises CommandError."""
    account = Account.objects.filter(username=name.lower()).first()
    if account is None:
        raise CommandError(f"there is no account {name!r}")
    return account

"""Who asked for too much."""

from __future__ import annotations

from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError

from feeds.api import throttling
from followers.models import Account


class Command(BaseCommand):
    help = (
        "Lists who was refused by a rate limit in the last week, the latest first: the moment of the first refusal in the "
        "last window, the limit, and an account, an address, or the checksum of a name with which somebody tried to sign in."
    )

    def handle(self, **options: Any) -> None:
        try:
            found = list(throttling.refusals())
        except redis.RedisError as away:
            raise CommandError(f"the cache's Redis does not answer: {away}") from away
        names = Account.objects.in_bulk([int(one.who) for one in found if one.kind == "account"])
        for one in found:
            account = names.get(int(one.who)) if one.kind == "account" else None
            who = f"{one.who} {account.username}" if account else one.who
            self.stdout.write(f"{one.at:%Y-%m-%d %H:%M:%S}  {one.limit}  {one.kind} {who}")

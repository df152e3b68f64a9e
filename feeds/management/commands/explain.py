"""The reason why a post is, or is not, on somebody's home timeline."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from feeds import explain
from feeds.management import accounts
from feeds.management.arguments import post_id
from feeds.models import Post


class Command(BaseCommand):
    help = (
        "Says why POST is, or is not, on READER's home timeline, in one word and one sentence. On it: present (in Redis), "
        "pulled, below_coverage and no_timeline (pages fetch it from PostgreSQL). Not on it: deleted, hidden, not_followed, "
        "not_visible, exclusive_list, reply_filtered, reblog_filtered. Not in Redis yet: in_flight; not any more, or never: "
        "failed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("reader", metavar="READER", help="a user name")
        parser.add_argument("post", type=post_id, metavar="POST", help="a post's id")
        parser.add_argument("--json", action="store_true", help="one line of JSON instead")

    def handle(self, *, reader: str, post: int, **options: Any) -> None:
        account = accounts.find(reader)
        try:
            found = explain.explain(account, post)
        except Post.DoesNotExist as unknown:
            raise CommandError(f"there is no post {post}") from unknown
        if options["json"]:
            self.stdout.write(json.dumps({"status_id": str(post), "account_id": str(account.pk)} | asdict(found)))
        else:
            since = f", since {found.since}" if found.since else ""
            self.stdout.write(f"{found.answer}{since}: {found.detail}")

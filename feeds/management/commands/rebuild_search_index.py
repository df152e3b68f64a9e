"""The search index, made anew."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from feeds import search
from feeds.management.progress import progress
from feeds.models import Post


class Command(BaseCommand):
    help = (
        "Makes the words by which posts are found anew, for all posts, while the service goes on: after an import, or when "
        "the search finds too little. It may be stopped and begun again."
    )

    def handle(self, **_: Any) -> None:
        with progress("indexing posts", Post.objects.count()) as show:
            done = search.rebuild_index(show)
        self.stdout.write(f"{done:,} posts indexed")

"""What the parts stand on: made accounts with timelines and follows, and the removal of all of it.

Two kinds are made. An audience is followers of one author, of any number, the same accounts in each run (bench_f1, ...). A
graph is edges between numbers, as importing.py takes them; its accounts are new each time, since an import that finds them
there does less. At the end, and at the beginning for what a killed run left, follows, posts and timelines are removed;
the accounts stay, inactive: to delete one costs a look into every table that may refer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count

from django.core.management.base import CommandError

from feeds import actions, importing, timelines
from feeds.database import changed, rows
from feeds.management.progress import progress
from feeds.models import Post
from followers.models import Account

from .deliveries import settle

AUTHOR, FOLLOWER = "bench_author", "bench_f"  # how the names of authors, and of their followers, begin
NUMBERS = 10**15  # the first of a graph's, above all that anybody imports; an account of number N is called uN
NUMBERS_STEP = 100_000  # between one graph's numbers and the next one's
POSTS_AT_ONCE = 5_000  # deleted
LOCK = 0x62656E6368  # an advisory lock's number: "bench"


class Stage:
    """Of a run with so many followers at most."""

    def __init__(self, followers: int) -> None:
        self.followers = followers
        self.audiences: dict[int, Account] = {}

    def __enter__(self) -> Stage:
        if not rows("SELECT pg_try_advisory_lock(%(lock)s)", lock=LOCK)[0][0]:
            raise CommandError("another bench is running on this instance")
        changed("SET statement_timeout = '10min'")
        release()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(CommandError):  # what workers still write must not refer to posts that are gone
            settle()
        release()
        rows("SELECT pg_advisory_unlock(%(lock)s)", lock=LOCK)
        changed("RESET statement_timeout")

    def author(self, followers: int) -> Account:
        """An account with so many active followers, made when it is first asked for. All such share their followers."""
        if followers not in self.audiences:
            author = made(f"{AUTHOR}_{followers}")
            with progress(f"making {followers:,} followers", followers) as show:
                importing.make_audience(author, prefix=FOLLOWER, size=followers, show=show)
            self.audiences[followers] = author
            vacuum()
            settle()
        return self.audiences[followers]

    def graph(self, edges: Iterable[tuple[int, int]]) -> dict[int, int]:
        """Imports the edges between new accounts. The ids of these by number."""
        base = free_numbers()
        importing.import_graph((base + follower, base + followee) for follower, followee in edges)
        vacuum()
        return numbered(base)


def made(name: str) -> Account:
    return Account.objects.filter(username=name).first() or actions.register(username=name, email=None, password=None)


def free_numbers() -> int:
    """Below the first number of accounts that no graph has taken."""
    return next(
        base for base in count(NUMBERS, NUMBERS_STEP) if not Account.objects.filter(username=f"u{base + 1}").exists()
    )


def numbered(base: int) -> dict[int, int]:
    found = rows(
        """
        SELECT n, a.id FROM generate_series(1, %(step)s - 1) n JOIN followers_account a ON a.username = 'u' || %(base)s + n
        """,
        base=base,
        step=NUMBERS_STEP,
    )
    return dict(found)


def vacuum() -> None:
    """In a service that runs for long these have been vacuumed; here it must not begin in the middle of a measurement."""
    changed("VACUUM ANALYZE followers_follow, followers_account, feeds_post")


def release() -> None:
    with progress("releasing followers") as show:
        for author in Account.objects.filter(username__startswith=AUTHOR):
            importing.release_audience(author, prefix=FOLLOWER, show=show)
    with progress("releasing posts") as show:
        release_graphs(show)


def release_graphs(show: Callable[[int], None]) -> None:
    """Between accounts of graphs alone are there follows of them."""
    graph = Account.objects.filter(username__regex=r"^u1[0-9]{15}$", last_active_at__isnull=False)
    ids = list(graph.values_list("pk", flat=True))
    changed("DELETE FROM followers_follow WHERE follower_id = ANY(%(ids)s)", ids=ids)
    timelines.evict(ids)
    posts = list(Post.objects.filter(author__in=ids).values_list("pk", flat=True))
    for start in range(0, len(posts), POSTS_AT_ONCE):
        Post.objects.filter(pk__in=posts[start : start + POSTS_AT_ONCE]).delete()
        show(min(start + POSTS_AT_ONCE, len(posts)))
    changed(
        """
        UPDATE followers_account SET last_active_at = NULL, followers_count = 0, following_count = 0, ever_pulled = false,
            version = version + 1
        WHERE id = ANY(%(ids)s)
        """,
        ids=ids,
    )

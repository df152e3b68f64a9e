"""The service over HTTP: a page of a home timeline, and a post; against an empty view, a page by SQL, and an INSERT."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from feeds import actions, rebuild
from feeds.management.commands.create_account import new_token
from feeds.models import Post
from followers.models import Account

from .deliveries import settle
from .load import CONNECTIONS, load
from .processes import held
from .row import Row, compared
from .site import Site
from .stage import AUTHOR, Stage, made, vacuum

AN_HOUR = 3_600_000  # milliseconds
ROUNDS, POST_ROUNDS = 3, 2
FOLLOWEES, POSTS_EACH = 1_000, 50
WORDS = "a post of a middling length, of which a home timeline has many, and which somebody reads on the way to work "


def home(stage: Stage) -> Iterator[Row]:
    """Pages of 20 posts of one reader who follows many, then the same after hiding somebody and keeping something."""
    reader = make_reader(stage)
    tokens = [new_token(reader)]
    page = f"{service()}/api/v1/timelines/home"
    rates, tails, middles, of_everything = [], [], [], []
    in_memory = []
    with Site() as site:
        nothing, by_sql, by_references = (f"{site.address}/{name}" for name in ("nothing", "home", "references"))
        if not read(page, tokens[0]) == read(by_sql, tokens[0]) == read(by_references, tokens[0]):
            raise CommandError("the home timeline and the page by SQL do not show the same posts")
        for _ in range(ROUNDS):
            urls = nothing, page, nothing, by_sql, by_references
            before, ours, after, sql, references = (load(url, tokens) for url in urls)
            rates.append((ours.per_second, (before.per_second + after.per_second) / 2))
            tails.append((ours.p99, (before.p99 + after.p99) / 2))
            middles.append((ours.p50, sql.p50))
            in_memory.append((ours.p50, references.p50))
        hide_and_keep(reader)
        for _ in range(ROUNDS):
            before, ours, after = (load(url, tokens) for url in (nothing, page, nothing))
            of_everything.append((ours.per_second, (before.per_second + after.per_second) / 2))
    yield compared("home timeline over HTTP, against an empty view", "/s", rates, least=0.15)
    yield compared("the same of who hides and keeps, against an empty view", "/s", of_everything)
    yield compared("home timeline p99, against that of the empty view", "ms", tails, most=5)
    yield faster("home timeline p50, against fan-out on read by SQL", middles, least=10)
    yield faster("home timeline p50, against SQL that reads references alone", in_memory, least=6)


def post(stage: Stage) -> Iterator[Row]:
    """Statuses of accounts without followers, each connection's requests by another account.

    With the relay at work, and held: then nobody does what follows from the posts, as nobody does after an INSERT.
    """
    tokens = [new_token(made(f"{AUTHOR}_post_{n}")) for n in range(CONNECTIONS)]
    settle()
    body = "status=" + WORDS.strip().replace(" ", "+")
    at_work, held_back = [], []
    with Site() as site:

        def rate(url: str) -> float:
            return load(url, tokens, body=body).per_second

        ours, inserts = f"{service()}/api/v1/statuses", f"{site.address}/insert"
        before = rate(inserts)
        for _ in range(POST_ROUNDS):
            with held("manage.py", "relay"):
                alone = rate(ours)
            settle()
            between = rate(inserts)
            working = rate(ours)
            settle()
            after = rate(inserts)
            held_back.append((alone, (before + between) / 2))
            at_work.append((working, (between + after) / 2))
            before = after
    yield compared("POST of a status over HTTP, against an INSERT", "/s", at_work, least=0.7)
    yield compared("the same POST while the relay is held, against an INSERT", "/s", held_back)


def faster(name: str, middles: list[tuple[float, float]], *, least: float) -> Row:
    """Of pairs of milliseconds, ours and the yardstick's."""
    ours, yardstick = (median(column) for column in zip(*middles, strict=True))
    ratios = [theirs / own for own, theirs in middles]
    return Row(name, ours, "ms", yardstick, median(ratios), least=least, runs=ratios)


def make_reader(stage: Stage) -> Account:
    """Who follows many accounts, each with some posts, one of a millisecond."""
    followees = range(2, min(FOLLOWEES, stage.followers) + 2)
    ids = stage.graph((1, followee) for followee in followees)
    last = time.time_ns() // 1_000_000 - AN_HOUR  # other parts' posts are younger
    moments = range(last - len(followees) * POSTS_EACH, last)
    Post.objects.bulk_create(
        (
            Post(
                pk=moment << 16,
                author_id=ids[followees[n % len(followees)]],
                text=WORDS,
                created_at=datetime.fromtimestamp(moment / 1000, UTC),
            )
            for n, moment in enumerate(moments)
        ),
        batch_size=5_000,
    )
    vacuum()
    if (became := rebuild.rebuild(ids[1])) != "built":
        raise CommandError(f"the reader's timeline could not be built: {became}")
    return Account.objects.get(pk=ids[1])


def hide_and_keep(reader: Account) -> None:
    """From now on each page of the reader's asks for all that there is to ask for. What it shows stays as it is."""
    stranger, post = made(f"{AUTHOR}_stranger"), Post.objects.filter(author__follows_in__follower=reader)[0]
    actions.mute(account=reader, target_id=stranger.pk)
    actions.unmute(account=reader, target_id=stranger.pk)
    actions.bookmark(account=reader, post=post)
    actions.unbookmark(account=reader, post=post)


def read(url: str, token: str) -> list[dict[str, Any]]:
    """A page's statuses."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        if answer.status != 200:
            raise CommandError(f"{url} was answered by {answer.status}")
        found: list[dict[str, Any]] = json.load(answer)
        return found


def service() -> str:
    return f"http://127.0.0.1:{settings.PORT}"

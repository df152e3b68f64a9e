"""The people of a load test: accounts that follow each other as the shape says, tokens for all of them, some history.

Made by the service's own verbs and not over HTTP: `prepare` runs where manage.py does, and writes a file that the load's
processes read. Each call makes new accounts, and those of earlier ones stay.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, count, pairwise
from pathlib import Path

from django.core.management.base import CommandError
from django.utils import timezone
from oauth2_provider.models import AccessToken, set_token_value
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import generate_token

from feeds import actions, importing
from feeds.database import changed, rows
from feeds.management.progress import progress
from feedsvc.embedded import write_private
from followers.models import Account, Application

from . import deliveries
from .shape import CELEBRITIES, Class, Shape

FILE = "population.json"
NUMBERS = 2 * 10**15  # of the accounts, each called u and its number: above all that anybody imports, and the bench's
STEP = 1_000_000  # between one population's numbers and the next one's
SCOPES = "read write follow"
SEED = 2016
TOKENS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Person:
    """One account before it is made. `weight`: how often it does something, against others."""

    followers: int
    following: int
    weight: float


def prepare(shape: Shape, *, size: int, history: int, folder: Path) -> int:
    """Makes about `size` accounts (who neither follows nor is followed is left out) and `history` posts of theirs.

    Waits until these are delivered, and returns how many accounts there are. Raises CommandError.
    """
    if size >= STEP:
        raise CommandError(f"a population has fewer than {STEP:,} accounts")
    people = drawn(shape, size)
    base = free_numbers()
    importing.import_graph((base + follower, base + followee) for follower, followee in edges(people))
    changed("ANALYZE followers_account, followers_follow")
    found = rows(
        """
        SELECT n, a.id, a.username, a.followers_count, a.following_count
        FROM generate_series(0, %(size)s - 1) n JOIN followers_account a ON a.username = 'u' || %(base)s + n
        """,
        base=base,
        size=size,
    )
    made = [
        {"id": str(pk), "name": name, "followers": followers, "following": following, "weight": people[number].weight}
        for number, pk, name, followers, following in found
    ]
    if not made:
        raise CommandError(f"of {size} accounts nobody follows another: a population needs more")
    made.sort(key=lambda one: (one["followers"], int(one["id"])))
    for one, token in zip(made, tokens([int(one["id"]) for one in made]), strict=True):
        one["token"] = token
    newest = publish([int(one["id"]) for one in made], [one["followers"] for one in made], history)
    population = {"celebrities": max(1, len(made) // CELEBRITIES), "after": newest, "accounts": made}
    write_private(folder / FILE, json.dumps(population))
    return len(made)


def free_numbers() -> int:
    """Below the first number of accounts that no population has taken."""
    taken = Account.objects.filter
    return next(n for n in count(NUMBERS, STEP) if not taken(username__startswith=f"u{n // STEP}").exists())


def drawn(shape: Shape, size: int) -> list[Person]:
    """Always the same ones. Nobody has a greater share of the others as followers than in the record."""
    chance = random.Random(SEED)
    most = max(1, round(shape.most_followers * size))
    cuts = [round(size * share) for share in accumulate((one.share for one in shape.classes), initial=0)]
    cuts[-1] = size
    mean, people = shape.follows / shape.accounts, []
    for one, (begin, end) in zip(shape.classes, pairwise(cuts), strict=True):
        for place in range(begin, end):
            followers = min(most, _between(one, (place - begin + 0.5) / (end - begin)))
            each = one.deeds / one.share / one.acting if one.acting else 0  # of those who act, in the mean
            weight = each * chance.choice(shape.actors) if chance.random() < one.acting else 0
            people.append(Person(followers, round(chance.choice(shape.followings) * mean), weight))
    chance.shuffle(people)
    return people


def _between(one: Class, part: float) -> int:
    """A number of followers in the class, so that each doubling takes as long as the one before."""
    return int(one.least * 2**part)


def edges(people: list[Person]) -> Iterator[tuple[int, int]]:
    """(follower, followee), by their places: the ends of all follows, shuffled and joined (the configuration model).

    What would be a follow of oneself is left out, and what is left over of one kind of ends; doubles are for the import.
    """
    chance = random.Random(SEED)
    followers = [place for place, one in enumerate(people) for _ in range(one.following)]
    followees = [place for place, one in enumerate(people) for _ in range(one.followers)]
    chance.shuffle(followers)
    chance.shuffle(followees)
    return (edge for edge in zip(followers, followees, strict=False) if edge[0] != edge[1])


def tokens(account_ids: list[int]) -> list[str]:
    """A new token for each of the accounts, in their order, as api/auth.py issues them one by one."""
    application = Application.objects.create(
        name="load test",
        client_type=Application.CLIENT_CONFIDENTIAL,
        redirect_uris="urn:ietf:wg:oauth:2.0:oob",
        scopes=SCOPES,
    )
    expires = timezone.now() + timedelta(seconds=oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS)
    texts = [generate_token() for _ in account_ids]
    with progress("making tokens", len(texts)) as show:
        for start in range(0, len(texts), TOKENS_AT_ONCE):
            slice_ = slice(start, start + TOKENS_AT_ONCE)
            made = []
            for account_id, text in zip(account_ids[slice_], texts[slice_], strict=True):
                made.append(AccessToken(user_id=account_id, application=application, scope=SCOPES, expires=expires))
                set_token_value(made[-1], text)
            AccessToken.objects.bulk_create(made)
            show(start + len(made))
    return texts


def publish(account_ids: list[int], weights: list[int], posts: int) -> int:
    """So many posts, most of them by whom many follow: else pages begin empty. Waits until all are delivered; the last id."""
    chance, newest = random.Random(SEED), 0
    authors = Account.objects.in_bulk(set(chosen := chance.choices(account_ids, weights, k=posts)))
    with progress("publishing a history", posts) as show:
        for done, account_id in enumerate(chosen, 1):
            newest = actions.publish_post(author=authors[account_id], text=f"history, post {done}").pk
            show(done)
    deliveries.wait(account_ids)
    return newest


def read(folder: Path) -> tuple[list[int], int]:
    """The ids of all accounts, and of the newest post of their history. Raises CommandError."""
    try:
        population = json.loads((folder / FILE).read_text())
        return [int(one["id"]) for one in population["accounts"]], population["after"]
    except (OSError, ValueError, LookupError) as unreadable:
        raise CommandError(f"there is no population in {folder}: {unreadable}") from unreadable

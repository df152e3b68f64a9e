"""Reads of the follow graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from .models import Follow


@dataclass(frozen=True)
class Relationship:
    """How one account stands to another, as two facts."""

    account_id: int
    following: bool
    followed_by: bool


def relationships(account_id: int, others: Iterable[int]) -> list[Relationship]:
    """How `account_id` stands to each of the others, in the order asked for. Two statements, whatever the number."""
    others = list(others)
    following = set(
        Follow.objects.filter(follower=account_id, followee__in=others).values_list("followee_id", flat=True)
    )
    followed_by = set(
        Follow.objects.filter(followee=account_id, follower__in=others).values_list("follower_id", flat=True)
    )
    return [Relationship(other, other in following, other in followed_by) for other in others]


@dataclass(frozen=True)
class Page:
    """Accounts, the latest follow first. The ids, of follows, make the links to older and newer; None: no link."""

    account_ids: list[int]
    next_max_id: int | None
    prev_min_id: int | None


def followers(
    account_id: int, *, max_id: int | None = None, since_id: int | None = None, min_id: int | None = None, limit: int
) -> Page:
    """A page of those who follow the account: follow ids below max_id, above since_id, or the nearest above min_id."""
    found = Follow.objects.filter(followee=account_id)
    return _page(found, "follower_id", max_id=max_id, since_id=since_id, min_id=min_id, limit=limit)


def following(
    account_id: int, *, max_id: int | None = None, since_id: int | None = None, min_id: int | None = None, limit: int
) -> Page:
    """A page of those whom the account follows, likewise."""
    found = Follow.objects.filter(follower=account_id)
    return _page(found, "followee_id", max_id=max_id, since_id=since_id, min_id=min_id, limit=limit)


def _page(
    found: QuerySet[Follow],
    whom: str,
    *,
    max_id: int | None,
    since_id: int | None,
    min_id: int | None,
    limit: int,
) -> Page:
    if max_id is not None:
        found = found.filter(id__lt=max_id)
    if (above := since_id if min_id is None else min_id) is not None:
        found = found.filter(id__gt=above)
    rows = list(found.order_by("-id" if min_id is None else "id").values_list("id", whom)[: limit + 1])
    older = len(rows) > limit or min_id is not None
    rows = rows[:limit] if min_id is None else rows[:limit][::-1]
    return Page(
        [account_id for _, account_id in rows],
        next_max_id=rows[-1][0] if rows and older else None,
        prev_min_id=rows[0][0] if rows else None,
    )

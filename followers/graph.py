"""Reads of the follow graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from .models import Block, Follow, FollowRequest, ListMember, Mute, PrivateNote


@dataclass(frozen=True)
class Relationship:
    """How one account stands to another."""

    account_id: int
    following: bool
    showing_reblogs: bool
    notifying: bool
    requested: bool
    requested_by: bool
    followed_by: bool
    blocking: bool
    blocked_by: bool
    muting: bool
    muting_notifications: bool
    note: str


def relationships(account_id: int, others: Iterable[int]) -> list[Relationship]:
    """How `account_id` stands to each of the others, in the order asked for. Eight statements, whatever the number."""
    others = list(others)
    following = _wishes(Follow, account_id, others)
    requested = _wishes(FollowRequest, account_id, others)
    followed_by = set(
        Follow.objects.filter(followee=account_id, follower__in=others).values_list("follower_id", flat=True)
    )
    requested_by = set(
        FollowRequest.objects.filter(followee=account_id, follower__in=others).values_list("follower_id", flat=True)
    )
    blocking = set(Block.objects.filter(blocker=account_id, blocked__in=others).values_list("blocked_id", flat=True))
    blocked_by = set(Block.objects.filter(blocked=account_id, blocker__in=others).values_list("blocker_id", flat=True))
    muting = dict(
        Mute.objects.in_force().filter(account=account_id, target__in=others).values_list("target_id", "notifications")
    )
    notes = dict(PrivateNote.objects.filter(account=account_id, target__in=others).values_list("target_id", "comment"))
    wishes = requested | following
    return [
        Relationship(
            account_id=other,
            following=other in following,
            showing_reblogs=wishes.get(other, NOTHING)[0],
            notifying=wishes.get(other, NOTHING)[1],
            requested=other in requested and other not in following,
            requested_by=other in requested_by and other not in followed_by,
            followed_by=other in followed_by,
            blocking=other in blocking,
            blocked_by=other in blocked_by,
            muting=other in muting,
            muting_notifications=muting.get(other, False),
            note=notes.get(other, ""),
        )
        for other in others
    ]


NOTHING = (False, False)


def _wishes(
    model: type[Follow] | type[FollowRequest], account_id: int, others: list[int]
) -> dict[int, tuple[bool, bool]]:
    """What the account wants to see of whom it follows, or asks to: reblogs, and to be told of posts."""
    found = model.objects.filter(follower=account_id, followee__in=others)
    return {
        other: (reblogs, notify) for other, reblogs, notify in found.values_list("followee_id", "reblogs", "notify")
    }


@dataclass(frozen=True)
class Page:
    """Accounts, the latest first. The ids, of follows (blocks, mutes), make the links to older and newer; None: no link."""

    account_ids: list[int]
    next_max_id: int | None
    prev_min_id: int | None


@dataclass(frozen=True)
class Cursor:
    """Which page: ids of follows (blocks, mutes) below max_id, above since_id, or the nearest above min_id."""

    limit: int
    max_id: int | None = None
    since_id: int | None = None
    min_id: int | None = None


def followers(account_id: int, cursor: Cursor) -> Page:
    """A page of those who follow the account."""
    return page(Follow.objects.filter(followee=account_id), "follower_id", cursor)


def following(account_id: int, cursor: Cursor) -> Page:
    """A page of those whom the account follows."""
    return page(Follow.objects.filter(follower=account_id), "followee_id", cursor)


def follow_requests(account_id: int, cursor: Cursor) -> Page:
    """A page of those who ask to follow the account."""
    return page(FollowRequest.objects.filter(followee=account_id), "follower_id", cursor)


def familiar_followers(account_id: int, target_id: int, most: int) -> list[int]:
    """Whom the account follows and who follow the target, `most` of them, by ids, as the follow index has them."""
    mine = Follow.objects.filter(follower=account_id).values("followee")
    found = Follow.objects.filter(followee=target_id, follower__in=mine).order_by("follower_id")
    return list(found.values_list("follower_id", flat=True)[:most])


def blocks(account_id: int, cursor: Cursor) -> Page:
    """A page of those whom the account blocks."""
    return page(Block.objects.filter(blocker=account_id), "blocked_id", cursor)


def blocked_either_way(account_id: int) -> QuerySet[Block, int]:
    """The ids of those whom the account blocks, and of those who block it, to be asked for in another statement."""
    blocking = Block.objects.filter(blocker=account_id).values_list("blocked_id", flat=True)
    return blocking.union(Block.objects.filter(blocked=account_id).values_list("blocker_id", flat=True))


def mutes(account_id: int, cursor: Cursor) -> Page:
    """A page of those whom the account mutes now."""
    return page(Mute.objects.in_force().filter(account=account_id), "target_id", cursor)


def ends_of_mutes(account_id: int, others: list[int]) -> dict[int, datetime | None]:
    """When the account mutes each of them no more; None: never."""
    return dict(Mute.objects.filter(account=account_id, target__in=others).values_list("target_id", "expires_at"))


def list_members(list_id: int, cursor: Cursor) -> Page:
    """A page of those who are on the list."""
    return page(ListMember.objects.filter(list=list_id), "account_id", cursor)


def page(found: QuerySet[Any], whom: str, cursor: Cursor) -> Page:
    """A page of the accounts in the column `whom`, ordered by the id of the row that says so."""
    if cursor.max_id is not None:
        found = found.filter(id__lt=cursor.max_id)
    if (above := cursor.since_id if cursor.min_id is None else cursor.min_id) is not None:
        found = found.filter(id__gt=above)
    order = "-id" if cursor.min_id is None else "id"
    rows = list(found.order_by(order).values_list("id", whom)[: cursor.limit + 1])
    older = len(rows) > cursor.limit or cursor.min_id is not None
    rows = rows[: cursor.limit] if cursor.min_id is None else rows[: cursor.limit][::-1]
    return Page(
        [account_id for _, account_id in rows],
        next_max_id=rows[-1][0] if rows and older else None,
        prev_min_id=rows[0][0] if rows else None,
    )

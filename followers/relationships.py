"""Writes of the follow graph, with the counters. Each returns whether it changed anything; call inside a transaction."""

from __future__ import annotations

from django.db.models import F

from .models import Account, Follow


def follow(*, follower_id: int, followee_id: int) -> bool:
    """`follower_id` follows `followee_id`. False if so already. Raises Account.DoesNotExist.

    The followee's row is locked before the follow id is drawn, so that of one followee the ids come in the order of
    commits: "id <= cut" then means "was there when the fan-out was planned". Both rows in the order of their ids,
    lest two who follow each other at once wait for each other.
    """
    _lock(follower_id, followee_id)
    _, created = Follow.objects.get_or_create(follower_id=follower_id, followee_id=followee_id)
    if created:
        _count(follower_id, followee_id, 1)
    return created


def unfollow(*, follower_id: int, followee_id: int) -> bool:
    """`follower_id` no longer follows `followee_id`. False if not before. Raises Account.DoesNotExist."""
    _lock(follower_id, followee_id)
    deleted, _ = Follow.objects.filter(follower_id=follower_id, followee_id=followee_id).delete()
    if deleted:
        _count(follower_id, followee_id, -1)
    return bool(deleted)


def _lock(*account_ids: int) -> None:
    locked = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    if len(locked.values_list("pk", flat=True)) < len(set(account_ids)):
        raise Account.DoesNotExist("No such account")


def _count(follower_id: int, followee_id: int, change: int) -> None:
    Account.objects.filter(pk=followee_id).update(
        followers_count=F("followers_count") + change, version=F("version") + 1
    )
    Account.objects.filter(pk=follower_id).update(
        following_count=F("following_count") + change, version=F("version") + 1
    )

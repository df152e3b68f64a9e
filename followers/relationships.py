"""Writes of the follow graph, with the counters. Each returns what it changed; call inside a transaction.

Follows, requests and blocks of two accounts exclude each other: whoever changes one of them holds the rows of both accounts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import F, Q

from .models import Account, Block, Follow, FollowRequest, ListMember, Mute, PrivateNote


def follow(
    *, follower_id: int, followee_id: int, reblogs: bool | None = None, notify: bool | None = None
) -> Follow | FollowRequest | None:
    """`follower_id` follows `followee_id`, or asks to, where that is locked. None if either was so already.

    `reblogs`: whether to see what the followee reblogs; `notify`: whether to be told of its posts (None: as it is).
    Raises Account.DoesNotExist, and PermissionDenied where one blocks the other. The followee's row is locked before the
    follow id is drawn, so that of one followee the ids come in the order of commits: "id <= cut" then means "was there
    when the fan-out was planned".
    """
    accounts = _lock(follower_id, followee_id, active=True)
    if Block.objects.filter(_either_way(follower_id, followee_id, "blocker", "blocked")).exists():
        raise PermissionDenied("There is a block between the two")
    pair: dict[str, Any] = {"follower_id": follower_id, "followee_id": followee_id}
    asked = {name: wish for name, wish in (("reblogs", reblogs), ("notify", notify)) if wish is not None}
    if accounts[followee_id].locked and not Follow.objects.filter(**pair).exists():
        request, new = FollowRequest.objects.update_or_create(**pair, defaults=asked)
        return request if new else None
    found, new = Follow.objects.update_or_create(**pair, defaults=asked)
    if new:
        FollowRequest.objects.filter(**pair).delete()  # of the time when the followee was locked
        _count(follower_id, followee_id, 1)
    return found if new else None


def accept(*, followee_id: int, follower_id: int) -> Follow | None:
    """The follower's request becomes a follow, as it was asked for. None if there is one already.

    Raises Account.DoesNotExist, FollowRequest.DoesNotExist.
    """
    _lock(follower_id, followee_id, active=True)
    pair: dict[str, Any] = {"follower_id": follower_id, "followee_id": followee_id}
    request = FollowRequest.objects.filter(**pair).first()
    if request is None:
        if Follow.objects.filter(**pair).exists():
            return None
        raise FollowRequest.DoesNotExist("Nobody asked")
    request.delete()
    found, new = Follow.objects.get_or_create(**pair, defaults={"reblogs": request.reblogs, "notify": request.notify})
    if new:
        _count(follower_id, followee_id, 1)
    return found if new else None


def reject(*, followee_id: int, follower_id: int) -> None:
    """The request is no more. Raises Account.DoesNotExist, FollowRequest.DoesNotExist."""
    _lock(follower_id, followee_id)
    if not FollowRequest.objects.filter(follower=follower_id, followee=followee_id).delete()[0]:
        raise FollowRequest.DoesNotExist("Nobody asked")


def unfollow(*, follower_id: int, followee_id: int) -> Follow | None:
    """`follower_id` no longer follows `followee_id`, nor has it on a list, nor asks to. The follow that was, or None.

    Raises Account.DoesNotExist.
    """
    _lock(follower_id, followee_id)
    FollowRequest.objects.filter(follower=follower_id, followee=followee_id).delete()
    found = Follow.objects.filter(follower_id=follower_id, followee_id=followee_id).first()
    if found:
        Follow.objects.filter(pk=found.pk, followee_id=followee_id).delete()
        ListMember.objects.filter(list__owner=follower_id, account=followee_id).delete()
        _count(follower_id, followee_id, -1)
    return found


def block(*, blocker_id: int, blocked_id: int) -> list[Follow]:
    """Ends follows and requests both ways. The follows that were, a second time none. Raises Account.DoesNotExist."""
    _lock(blocker_id, blocked_id)
    Block.objects.get_or_create(blocker_id=blocker_id, blocked_id=blocked_id)
    ended = (
        unfollow(follower_id=blocker_id, followee_id=blocked_id),
        unfollow(follower_id=blocked_id, followee_id=blocker_id),
    )
    return [follow for follow in ended if follow]


def unblock(*, blocker_id: int, blocked_id: int) -> None:
    Block.objects.filter(blocker=blocker_id, blocked=blocked_id).delete()


def mute(*, account_id: int, target_id: int, notifications: bool, expires_at: datetime | None) -> None:
    """Anew, if muted already. Raises Account.DoesNotExist."""
    if not Account.objects.filter(pk=target_id).exists():
        raise Account.DoesNotExist("No such account")
    Mute.objects.update_or_create(
        account_id=account_id,
        target_id=target_id,
        defaults={"notifications": notifications, "expires_at": expires_at},
    )


def unmute(*, account_id: int, target_id: int) -> None:
    Mute.objects.filter(account=account_id, target=target_id).delete()


def note(*, account_id: int, target_id: int, comment: str) -> None:
    """An empty comment is none."""
    if comment:
        PrivateNote.objects.update_or_create(account_id=account_id, target_id=target_id, defaults={"comment": comment})
    else:
        PrivateNote.objects.filter(account=account_id, target=target_id).delete()


def _lock(*account_ids: int, active: bool = False) -> dict[int, Account]:
    """In the order of the ids, lest two who follow each other at once wait for each other."""
    locked = Account.objects.select_for_update(no_key=True).filter(pk__in=account_ids).order_by("pk")
    found = {account.pk: account for account in locked.only("is_active", "locked")}
    if len(found) < len(set(account_ids)) or (active and not all(account.is_active for account in found.values())):
        raise Account.DoesNotExist("No such account")
    return found


def _either_way(one: int, other: int, left: str, right: str) -> Q:
    return Q((left, one), (right, other)) | Q((left, other), (right, one))


def _count(follower_id: int, followee_id: int, change: int) -> None:
    Account.objects.filter(pk=followee_id).update(
        followers_count=F("followers_count") + change, version=F("version") + 1
    )
    Account.objects.filter(pk=follower_id).update(
        following_count=F("following_count") + change, version=F("version") + 1
    )

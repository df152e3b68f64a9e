"""Whom an account follows, blocks, mutes and keeps on lists; and the tags that it follows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from followers import relationships
from followers.models import Account, List, ListMember

from .. import notifications, outbox
from .. import text as texts
from ..models import Tag, TagFollow


@transaction.atomic
def follow(*, follower: Account, followee_id: int, reblogs: bool | None = None) -> None:
    """Raises Account.DoesNotExist, ValidationError for oneself, PermissionDenied where one blocks the other.

    A second time changes nothing but whether the followee's `reblogs` are to be seen (None: as it is).
    """
    _not_oneself(follower, followee_id, "follow")
    if relationships.follow(follower_id=follower.pk, followee_id=followee_id, reblogs=reblogs):
        outbox.record("follow.created", follower.pk, followee_id)


@transaction.atomic
def unfollow(*, follower: Account, followee_id: int) -> None:
    """Raises Account.DoesNotExist. Where there was no follow it changes nothing."""
    ended = relationships.unfollow(follower_id=follower.pk, followee_id=followee_id)
    if ended:
        notifications.forget_follow(ended)
        outbox.record("follow.deleted", follower.pk, followee_id)


@transaction.atomic
def block(*, blocker: Account, blocked_id: int) -> None:
    """Ends the follows both ways; from the commit on each is hidden from the other. Raises as `follow` does."""
    _not_oneself(blocker, blocked_id, "block")
    for ended in relationships.block(blocker_id=blocker.pk, blocked_id=blocked_id):
        notifications.forget_follow(ended)
        outbox.record("follow.deleted", ended.follower_id, ended.followee_id)


def unblock(*, blocker: Account, blocked_id: int) -> None:
    """Ends the hiding, and follows nobody."""
    relationships.unblock(blocker_id=blocker.pk, blocked_id=blocked_id)


def mute(*, account: Account, target_id: int, notifications: bool = True, seconds: int | None = None) -> None:
    """Hides the target's posts from the account's timelines, for so long (None or 0: for good). Raises as `follow` does."""
    _not_oneself(account, target_id, "mute")
    expires_at = timezone.now() + timedelta(seconds=seconds) if seconds else None
    relationships.mute(account_id=account.pk, target_id=target_id, notifications=notifications, expires_at=expires_at)


def unmute(*, account: Account, target_id: int) -> None:
    relationships.unmute(account_id=account.pk, target_id=target_id)


def _not_oneself(account: Account, other_id: int, verb: str) -> None:
    if account.pk == other_id:
        raise ValidationError({"account": ValidationError(f"can't {verb} yourself", "self")})


def create_list(
    *, owner: Account, title: str, replies_policy: str = List.Replies.LIST, exclusive: bool = False
) -> List:
    """Raises ValidationError."""
    made = List(owner=owner, title=title, replies_policy=replies_policy, exclusive=exclusive)
    made.clean_fields()
    made.save(force_insert=True)
    return made


def edit_list(*, owner: Account, list_id: int, **changes: object) -> List:
    """`changes`: title, replies_policy, exclusive. Raises List.DoesNotExist, ValidationError."""
    found = List.objects.get(pk=list_id, owner=owner)
    for name, value in changes.items():
        setattr(found, name, value)
    found.clean_fields()
    found.save(update_fields=list(changes))
    return found


def delete_list(*, owner: Account, list_id: int) -> None:
    """Raises List.DoesNotExist."""
    List.objects.get(pk=list_id, owner=owner).delete()


@transaction.atomic
def add_to_list(*, owner: Account, list_id: int, account_ids: Iterable[int]) -> None:
    """Puts followees on the list. Raises List.DoesNotExist; Account.DoesNotExist if one of them is not followed."""
    found = List.objects.get(pk=list_id, owner=owner)
    wanted = set(account_ids)
    # The follows are held, so that an unfollow that ends a membership comes before or after.
    held = owner.follows_out.select_for_update(no_key=True).filter(followee__in=wanted)
    if set(held.values_list("followee_id", flat=True)) != wanted:
        raise Account.DoesNotExist("Not followed")
    members = [ListMember(list=found, account_id=account_id) for account_id in sorted(wanted)]
    ListMember.objects.bulk_create(members, ignore_conflicts=True)


def remove_from_list(*, owner: Account, list_id: int, account_ids: Iterable[int]) -> None:
    """Raises List.DoesNotExist."""
    found = List.objects.get(pk=list_id, owner=owner)
    ListMember.objects.filter(list=found, account__in=list(account_ids)).delete()


def follow_tag(*, account: Account, name: str) -> Tag:
    """A tag that no post has yet can be followed, too. Raises ValidationError where the name is none."""
    if texts.hashtags(f"#{name}") != [name.lower()]:
        raise ValidationError({"tag": ValidationError("is not a hashtag", "invalid")})
    tag, _ = Tag.objects.get_or_create(name=name.lower())
    TagFollow.objects.get_or_create(account=account, tag=tag)
    return tag


def unfollow_tag(*, account: Account, name: str) -> None:
    TagFollow.objects.filter(account=account, tag__name=name.lower()).delete()

"""Whom an account follows, blocks, mutes and keeps on lists; and the tags that it follows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from followers import relationships
from followers.models import Account, Follow, FollowRequest, List, ListMember

from .. import notifications, outbox
from .. import text as texts
from ..models import FeaturedTag, Tag, TagFollow

SLICE = 100  # requests that are looked up at once
TURN = 10.0  # seconds of accepting, then the work is given back, to go on in its next run
FEATURED_MOST = 10  # tags on a profile
LISTS_MOST = 50  # of one account: a client asks for all at once
TAGS_MOST = 200  # that one account follows: each of them is a look into an index for each of its home pages


@transaction.atomic
def follow(*, follower: Account, followee_id: int, reblogs: bool | None = None, notify: bool | None = None) -> None:
    """Raises Account.DoesNotExist, ValidationError for oneself, PermissionDenied where one blocks the other.

    A followee that is locked is asked. A second time changes nothing but whether the followee's `reblogs` are to be seen,
    and whether to `notify` of its posts (None: as it is).
    """
    _not_oneself(follower, followee_id, "follow")
    made = relationships.follow(follower_id=follower.pk, followee_id=followee_id, reblogs=reblogs, notify=notify)
    if made:
        event = "follow.created" if isinstance(made, Follow) else "follow.requested"
        outbox.record(event, follower.pk, followee_id)


@transaction.atomic
def accept_follow(*, followee: Account, follower_id: int) -> None:
    """Lets the follower follow who asked to. One who follows already is accepted already.

    Raises Account.DoesNotExist, FollowRequest.DoesNotExist.
    """
    if relationships.accept(followee_id=followee.pk, follower_id=follower_id):
        outbox.record("follow.created", follower_id, followee.pk)


@transaction.atomic
def reject_follow(*, followee: Account, follower_id: int) -> None:
    """Raises Account.DoesNotExist, FollowRequest.DoesNotExist."""
    relationships.reject(followee_id=followee.pk, follower_id=follower_id)


def accept_waiting(*, account_id: int) -> int:
    """Accepts all who ask to follow an account that is locked no more. How many. Raises Later where one turn is too short.

    May be stopped at any point, and begun again: who is accepted asks no more.
    """
    until, accepted = time.monotonic() + TURN, 0
    account = Account.objects.get(pk=account_id)
    waiting = FollowRequest.objects.filter(
        followee=account, followee__locked=False, followee__is_active=True, follower__is_active=True
    )
    while found := list(waiting.order_by("pk").values_list("follower_id", flat=True)[:SLICE]):
        for follower_id in found:
            with suppress(ObjectDoesNotExist):  # withdrawn, or the account is gone: the next look finds neither
                accept_follow(followee=account, follower_id=follower_id)
                accepted += 1
        if time.monotonic() > until:
            raise outbox.Later(0)
    return accepted


def unfollow(*, follower: Account, followee_id: int) -> None:
    """Ends the follow, or withdraws the request. Raises Account.DoesNotExist. Where there was none it changes nothing."""
    _end_follow(follower.pk, followee_id)


def remove_follower(*, followee: Account, follower_id: int) -> None:
    """The follower follows no more, nor asks to. Raises as `unfollow` does."""
    _end_follow(follower_id, followee.pk)


@transaction.atomic
def _end_follow(follower_id: int, followee_id: int) -> None:
    if ended := relationships.unfollow(follower_id=follower_id, followee_id=followee_id):
        notifications.forget_follow(ended)
        outbox.record("follow.deleted", follower_id, followee_id)


@transaction.atomic
def block(*, blocker: Account, blocked_id: int) -> None:
    """Ends follows and requests both ways; from the commit on each is hidden from the other. Raises as `follow` does."""
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


@transaction.atomic
def note(*, account: Account, target_id: int, comment: str) -> None:
    """Keeps what the account wants to remember of the target, for itself alone, instead of what it kept before."""
    relationships.note(account_id=account.pk, target_id=target_id, comment=comment)


def _not_oneself(account: Account, other_id: int, verb: str) -> None:
    if account.pk == other_id:
        raise ValidationError({"account": ValidationError(f"can't {verb} yourself", "self")})


@transaction.atomic
def create_list(
    *, owner: Account, title: str, replies_policy: str = List.Replies.LIST, exclusive: bool = False
) -> List:
    """Raises ValidationError, also where the owner has too many."""
    made = List(owner=owner, title=title, replies_policy=replies_policy, exclusive=exclusive)
    made.clean_fields()
    _check_room(owner, List.objects.filter(owner=owner), LISTS_MOST, "lists")
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


@transaction.atomic
def follow_tag(*, account: Account, name: str) -> Tag:
    """A tag that no post has yet can be followed, too. Raises ValidationError where the name is none, or where too many are
    followed.
    """
    tag = _tag(name)
    followed = TagFollow.objects.filter(account=account)
    _check_room(account, followed.exclude(tag=tag), TAGS_MOST, "followed tags")
    followed.get_or_create(account=account, tag=tag)
    return tag


def unfollow_tag(*, account: Account, name: str) -> None:
    TagFollow.objects.filter(account=account, tag__name=name.lower()).delete()


@transaction.atomic
def feature_tag(*, account: Account, name: str) -> FeaturedTag:
    """Shows the tag on the profile. Raises ValidationError where the name is none, or where too many are shown."""
    tag = _tag(name)
    shown = FeaturedTag.objects.filter(account=account)
    _check_room(account, shown.exclude(tag=tag), FEATURED_MOST, "featured tags")
    return shown.get_or_create(account=account, tag=tag)[0]


def unfeature_tag(*, account: Account, featured_id: int) -> None:
    """Raises FeaturedTag.DoesNotExist."""
    FeaturedTag.objects.get(pk=featured_id, account=account).delete()


def _check_room(account: Account, others: QuerySet[Any], most: int, what: str) -> None:
    """For one more beside the others. Holds the account's row, so that it is right for two at once, too."""
    Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    if others.count() >= most:
        raise ValidationError({"base": ValidationError(f"limit of {most} {what} reached", "too_many")})


def _tag(name: str) -> Tag:
    if texts.hashtags(f"#{name}") != [name.lower()]:
        raise ValidationError({"tag": ValidationError("is not a hashtag", "invalid")})
    return Tag.objects.get_or_create(name=name.lower())[0]

"""What an account does to a post without writing one, and how far it has read."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from followers.models import Account

from .. import notifications, outbox
from ..models import Bookmark, ConversationMute, Favourite, Marker, Notification, Post

PINS_MAX = 5


@transaction.atomic
def favourite(*, account: Account, post: Post) -> None:
    """A second time changes nothing."""
    favourite, created = Favourite.objects.get_or_create(account=account, post=post)
    if created:
        outbox.record("favourite.created", favourite.pk)
        _count_favourite(post, 1)


@transaction.atomic
def unfavourite(*, account: Account, post: Post) -> None:
    found = Favourite.objects.filter(account=account, post=post).first()
    if found and Favourite.objects.filter(pk=found.pk).delete()[0]:
        notifications.forget_favourite(found)
        _count_favourite(post, -1)


def _count_favourite(post: Post, change: int) -> None:
    Post.objects.filter(pk=post.pk).update(favourites_count=F("favourites_count") + change, version=F("version") + 1)


def bookmark(*, account: Account, post: Post) -> None:
    Bookmark.objects.get_or_create(account=account, post=post)


def unbookmark(*, account: Account, post: Post) -> None:
    Bookmark.objects.filter(account=account, post=post).delete()


def mute_conversation(*, account: Account, post: Post) -> None:
    """The account is told no more of posts in the conversation, nor of what is done to them: neither of old ones nor of new.

    It stays on timelines. A second time changes nothing.
    """
    ConversationMute.objects.bulk_create(
        [ConversationMute(account=account, conversation_id=_conversation(post))], ignore_conflicts=True
    )


def unmute_conversation(*, account: Account, post: Post) -> None:
    """What one was not told of meanwhile one is not told of afterwards, either."""
    ConversationMute.objects.filter(account=account, conversation=_conversation(post)).delete()


def _conversation(post: Post) -> int:
    """By the id of the post that it began with. `post` is no reblog."""
    return post.conversation_id or post.pk


@transaction.atomic
def pin(*, author: Account, post: Post) -> None:
    """Shows the author's post on top of the profile. Raises PermissionDenied, ValidationError, Post.DoesNotExist."""
    if post.author_id != author.pk:
        raise PermissionDenied("Only the author can pin a post")
    if post.reblog_of_id or post.visibility == "direct":
        raise ValidationError({"post": ValidationError("of this kind can't be pinned", "invalid")})
    # The post, then its author, as all do: the limit holds for two at once, too.
    Post.objects.live().select_for_update(no_key=True).get(pk=post.pk)
    Account.objects.select_for_update(no_key=True).get(pk=author.pk)
    pinned = Post.objects.live().filter(author=author, pinned_at__isnull=False)
    if pinned.exclude(pk=post.pk).count() >= PINS_MAX:
        raise ValidationError({"post": ValidationError(f"limit of {PINS_MAX} pins reached", "too_many")})
    Post.objects.filter(pk=post.pk, pinned_at=None).update(pinned_at=Now(), version=F("version") + 1)


def unpin(*, author: Account, post: Post) -> None:
    """Raises PermissionDenied."""
    if post.author_id != author.pk:
        raise PermissionDenied("Only the author can unpin a post")
    Post.objects.filter(pk=post.pk).exclude(pinned_at=None).update(pinned_at=None, version=F("version") + 1)


@transaction.atomic
def read_until(*, account: Account, timeline: str, last_read_id: int) -> Marker:
    """Never goes back. Raises ValidationError for a timeline that has no marker."""
    if timeline not in Marker.Timeline.values:
        raise ValidationError({"timeline": ValidationError("is not included in the list", "inclusion")})
    marker, created = Marker.objects.get_or_create(
        account=account, timeline=timeline, defaults={"last_read_id": last_read_id}
    )
    if not created:
        Marker.objects.filter(pk=marker.pk, last_read_id__lt=last_read_id).update(
            last_read_id=Greatest("last_read_id", last_read_id), version=F("version") + 1, updated_at=Now()
        )
        marker.refresh_from_db()
    return marker


def clear_notifications(*, account: Account) -> None:
    Notification.objects.filter(account=account).update(dismissed=True)


def dismiss_notification(*, account: Account, notification_id: int) -> None:
    """Raises Notification.DoesNotExist."""
    if not Notification.objects.filter(pk=notification_id, account=account, dismissed=False).update(dismissed=True):
        raise Notification.DoesNotExist("No such notification")

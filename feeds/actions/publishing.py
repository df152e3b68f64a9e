"""Writing posts: publish, edit, delete, reblog; and a fan-out called off."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now

from followers.models import Account, HomeMode

from .. import entities, outbox
from .. import text as texts
from ..database import rows
from ..entities import Entity
from ..models import (
    Delivery,
    IdempotencyKey,
    Kind,
    Mention,
    Post,
    PostEdit,
    PostMode,
    PostTag,
    Tag,
    Visibility,
)

TEXT_MAX = 500  # characters
KEY_KEPT = timedelta(hours=1)  # an Idempotency-Key
ID_TRIES = 20  # two posts of one millisecond clash once in 2,048; then the next number of the sequence is taken


def publish_post(
    *,
    author: Account,
    text: str,
    visibility: str = Visibility.PUBLIC,
    in_reply_to: Post | None = None,
    spoiler_text: str = "",
    sensitive: bool = False,
    language: str | None = None,
    idempotency_key: str | None = None,
    created_at: datetime | None = None,
) -> Post:
    """A new post, safe in PostgreSQL with its delivery record and its outbox rows once this returns.

    The same idempotency key within an hour gives the post of the first call; Post.DoesNotExist if it was deleted since.
    `created_at` dates it back (imports): it takes its place in timelines by that. Raises ValidationError.
    """
    _check_text(text, spoiler_text)
    if visibility not in Visibility.values:
        raise ValidationError({"visibility": ValidationError("is not included in the list", "inclusion")})
    if in_reply_to is not None and in_reply_to.reblog_of_id:
        in_reply_to = in_reply_to.reblog_of  # an answer to a reblog is one to what was reblogged
    post = Post(
        author=author,
        text=text,
        spoiler_text=spoiler_text,
        sensitive=sensitive,
        language=language,
        visibility=visibility,
        in_reply_to=in_reply_to,
        in_reply_to_account_id=in_reply_to.author_id if in_reply_to else None,
    )
    with transaction.atomic():
        _insert(post, created_at)
        first = _first_with_key(post, idempotency_key) if idempotency_key else post.pk
        if first != post.pk:
            transaction.set_rollback(True)
        else:
            _name_accounts(post)
            _name_tags(post)
            _announce(post)
            _count_reply(post, 1)
            _count_post(post, 1)
    return post if first == post.pk else Post.objects.live().get(pk=first)


def reblog(
    *, author: Account, original: Post, visibility: str | None = None, created_at: datetime | None = None
) -> Post:
    """The author's reblog of a post: the one that there is already, else a new one. Raises PermissionDenied, ValidationError.

    Only what is public or unlisted can be reblogged, and one's own private posts (privately).
    """
    original = original.reblog_of or original
    if visibility not in (None, Visibility.PUBLIC, Visibility.UNLISTED, Visibility.PRIVATE):
        raise ValidationError({"visibility": ValidationError("is not included in the list", "inclusion")})
    if original.visibility == Visibility.PRIVATE and original.author_id == author.pk:
        visibility = Visibility.PRIVATE
    elif original.visibility not in (Visibility.PUBLIC, Visibility.UNLISTED):
        raise PermissionDenied("Only public posts can be reblogged")
    there = Post.objects.live().filter(author=author, reblog_of=original)
    if (found := there.first()) is not None:
        return found
    post = Post(author=author, reblog_of=original, visibility=visibility or original.visibility)
    try:
        with transaction.atomic():
            _insert(post, created_at)
            _announce(post)
            _count_reblog(post, 1)
            _count_post(post, 1)
    except IntegrityError:
        return there.get()  # of two at once, the other one's
    return post


def unreblog(*, author: Account, original: Post) -> None:
    """Without a reblog it changes nothing."""
    found = Post.objects.live().filter(author=author, reblog_of=original.reblog_of_id or original.pk).first()
    if found is not None:
        with suppress(Post.DoesNotExist):  # undone at the same moment
            delete_post(author=author, post_id=found.pk)


@transaction.atomic
def edit_post(
    *,
    author: Account,
    post_id: int,
    text: str,
    spoiler_text: str = "",
    sensitive: bool = False,
    language: str | None = None,
) -> Post:
    """Other words in the same place; what it said before is kept. Raises Post.DoesNotExist, ValidationError.

    Saying the same again changes nothing.
    """
    _check_text(text, spoiler_text)
    post = Post.objects.live().select_for_update(no_key=True).get(pk=post_id, author=author, reblog_of=None)
    said = PostEdit(
        post=post,
        text=post.text,
        spoiler_text=post.spoiler_text,
        sensitive=post.sensitive,
        created_at=post.edited_at or post.created_at,
    )
    language = language or post.language
    if (text, spoiler_text, sensitive, language) == (post.text, post.spoiler_text, post.sensitive, post.language):
        return post
    said.save(force_insert=True)
    Post.objects.filter(pk=post.pk).update(
        text=text,
        spoiler_text=spoiler_text,
        sensitive=sensitive,
        language=language,
        edited_at=Now(),
        version=F("version") + 1,
    )
    post.refresh_from_db()
    named = _name_accounts(post)
    _name_tags(post)
    outbox.record("post.edited", post.pk)
    if post.visibility == Visibility.DIRECT:
        for reader_id in author.follows_in.filter(follower__in=named).values_list("follower_id", flat=True):
            outbox.record("post.addressed", reader_id, author.pk)
    return post


@transaction.atomic
def delete_post(*, author: Account, post_id: int) -> Entity:
    """Takes the author's post away from everybody. Returns what it was. Raises Post.DoesNotExist.

    From the commit on no page shows it; the retraction takes it out of the stored timelines afterwards.
    """
    post = Post.objects.live().select_for_update(no_key=True).get(pk=post_id, author=author)
    was = entities.post(post)
    Post.objects.filter(pk=post.pk).update(deleted_at=Now(), version=F("version") + 1)
    _retract(post.pk, "post.deleted")
    _count_reblog(post, -1)
    _count_reply(post, -1)
    _count_post(post, -1)
    return was


@transaction.atomic
def cancel_delivery(*, post_id: int) -> bool:
    """Stops the post's fan-out and takes back what was delivered; it stays where pages fetch it by themselves.

    False if it was not pushed, or is cancelled already. Raises Post.DoesNotExist.
    """
    post = Post.objects.live().select_for_update(no_key=True).get(pk=post_id)
    if post.home_mode != PostMode.PUSH:
        return False
    Post.objects.filter(pk=post_id).update(home_mode=PostMode.NONE)
    Delivery.objects.filter(post=post_id, kind=Kind.PUSH).update(cancelled_at=Now())
    _retract(post_id, "post.cancelled")
    return True


def prune_keys() -> int:
    """Deletes idempotency keys that no longer count."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=Now() - KEY_KEPT).delete()
    return deleted


def _check_text(text: str, spoiler_text: str) -> None:
    if not text.strip():
        raise ValidationError({"text": ValidationError("can't be blank", "blank")})
    if len(text) + len(spoiler_text) > TEXT_MAX:
        raise ValidationError({"text": ValidationError(f"character limit of {TEXT_MAX} exceeded", "too_long")})


def _insert(post: Post, created_at: datetime | None) -> None:
    """Saves the post under a new id of its moment; on a clash the sequence's next number is taken."""
    post.home_mode = post.author.next_home_mode()
    for attempt in range(ID_TRIES):
        [(post.pk,)] = rows("SELECT feeds_post_id(coalesce(%(at)s, clock_timestamp()))", at=created_at)
        post.created_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=post.pk >> 16)
        try:
            with transaction.atomic():
                post.save(force_insert=True)
            return
        except IntegrityError as clash:
            if attempt == ID_TRIES - 1 or "reblog_once" in str(clash):
                raise


def _first_with_key(post: Post, key: str) -> int:
    """The id of the post that has the key: this one, or the one of an earlier call, whose commit is waited for."""
    [(first,)] = rows(
        """
        INSERT INTO feeds_idempotencykey AS k (author_id, key, post_id) VALUES (%(author)s, %(key)s, %(post)s)
        ON CONFLICT (author_id, key) DO UPDATE SET
            post_id = CASE WHEN k.created_at < now() - %(kept)s THEN excluded.post_id ELSE k.post_id END,
            created_at = CASE WHEN k.created_at < now() - %(kept)s THEN now() ELSE k.created_at END
        RETURNING post_id
        """,
        author=post.author_id,
        key=key,
        post=post.pk,
        kept=KEY_KEPT,
    )
    return first


def _name_accounts(post: Post) -> list[int]:
    """Makes the post's mentions those of its text. The accounts that were not mentioned before."""
    names = texts.mentions(post.text)
    named = set(Account.objects.filter(username__in=names, is_active=True).values_list("pk", flat=True))
    before = set(Mention.objects.filter(post=post).values_list("account_id", flat=True))
    Mention.objects.filter(post=post, account__in=before - named).delete()
    fresh = sorted(named - before)
    Mention.objects.bulk_create([Mention(post=post, account_id=account_id) for account_id in fresh])
    return fresh


def _name_tags(post: Post) -> None:
    """Makes the post's tags those of its text. In the order of names, lest two posts at once wait for each other."""
    names = sorted(texts.hashtags(post.text))
    Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
    tag_ids: Iterable[int] = Tag.objects.filter(name__in=names).values_list("pk", flat=True)
    PostTag.objects.filter(post=post).exclude(tag__in=tag_ids).delete()
    PostTag.objects.bulk_create([PostTag(post=post, tag_id=tag_id) for tag_id in tag_ids], ignore_conflicts=True)


def _announce(post: Post) -> None:
    Delivery.objects.create(post=post, kind=Kind.PUSH)
    outbox.record("post.published", post.pk)


def _retract(post_id: int, event: str) -> None:
    """One retraction for a post's life: a cancelled one that is deleted has nothing left to be retracted."""
    Delivery.objects.bulk_create([Delivery(post_id=post_id, kind=Kind.RETRACT)], ignore_conflicts=True)
    outbox.record(event, post_id)


# Rows that others want too come last in their transaction, lest they are locked for longer than they must be.


def _count_reply(post: Post, change: int) -> None:
    if post.in_reply_to_id:
        Post.objects.filter(pk=post.in_reply_to_id).update(
            replies_count=F("replies_count") + change, version=F("version") + 1
        )


def _count_reblog(post: Post, change: int) -> None:
    if post.reblog_of_id:
        Post.objects.filter(pk=post.reblog_of_id).update(
            reblogs_count=F("reblogs_count") + change, version=F("version") + 1
        )


def _count_post(post: Post, change: int) -> None:
    moment, born = post.created_at, change > 0
    mode = (
        {"home_mode": post.home_mode, "ever_pulled": True}
        if post.home_mode == HomeMode.PULL
        else {"home_mode": HomeMode.PUSH}
    )
    Account.objects.filter(pk=post.author_id).update(
        statuses_count=F("statuses_count") + change,
        last_status_at=Greatest("last_status_at", Value(moment)) if born else F("last_status_at"),
        version=F("version") + 1,
        **(mode if born else {}),
    )

"""Every write that a person can cause: one transaction each, with an outbox record of what follows from it.

Nothing here waits for Redis or the broker. What happens after the commit is outbox.py's table.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from followers import relationships
from followers.models import RESERVED_USERNAMES, Account

from . import outbox, posts
from .database import rows
from .models import Delivery, IdempotencyKey, Kind, Mention, Post, Visibility
from .posts import Entity

TEXT_MAX = 500  # characters
KEY_KEPT = timedelta(hours=1)  # an Idempotency-Key
ACTIVE_NOTED_EVERY = timedelta(hours=1)
ID_TRIES = 20  # two posts of one millisecond clash once in 2,048; then the next number of the sequence is taken


def register(*, username: str, email: str | None, password: str | None) -> Account:
    """A new account, active from now on. Raises ValidationError by field. Without a password nobody can log in to it."""
    account = Account(username=username.lower(), email=(email or "").lower() or None, last_active_at=timezone.now())
    if account.username in RESERVED_USERNAMES:
        raise ValidationError({"username": ValidationError("is reserved", "reserved")})
    account.clean_fields(exclude=["password"])
    if password is not None:
        try:
            validate_password(password, account)
        except ValidationError as weak:
            raise ValidationError({"password": weak.error_list}) from weak
    account.set_password(password)
    account.validate_unique()
    try:
        with transaction.atomic():
            account.save(force_insert=True)
            outbox.record("account.created", account.pk)
    except IntegrityError:
        account.validate_unique()  # somebody was faster with the name or the address: this says which
        raise
    return account


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
    if not text.strip():
        raise ValidationError({"text": ValidationError("can't be blank", "blank")})
    if len(text) + len(spoiler_text) > TEXT_MAX:
        raise ValidationError({"text": ValidationError(f"character limit of {TEXT_MAX} exceeded", "too_long")})
    if visibility not in Visibility.values:
        raise ValidationError({"visibility": ValidationError("is not included in the list", "inclusion")})
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
            mentioned = posts.mentioned_in(text)
            Mention.objects.bulk_create([Mention(post=post, account=account) for account in mentioned])
            Delivery.objects.create(post=post, kind=Kind.PUSH)
            outbox.record("post.published", post.pk)
            # Rows that others want too come last, lest they are locked for longer than they must be.
            _count_reply(post, 1)
            _count_post(post, 1)
    return post if first == post.pk else Post.objects.live().get(pk=first)


def _insert(post: Post, created_at: datetime | None) -> None:
    """Saves the post under a new id of its moment; on a clash the sequence's next number is taken."""
    for attempt in range(ID_TRIES):
        [(post.pk,)] = rows("SELECT feeds_post_id(coalesce(%(at)s, clock_timestamp()))", at=created_at)
        post.created_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=post.pk >> 16)
        try:
            with transaction.atomic():
                post.save(force_insert=True)
            return
        except IntegrityError:
            if attempt == ID_TRIES - 1:
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


@transaction.atomic
def delete_post(*, author: Account, post_id: int) -> Entity:
    """Takes the author's post away from everybody. Returns what it was. Raises Post.DoesNotExist.

    From the commit on no page shows it; the retraction takes it out of the stored timelines afterwards.
    """
    post = Post.objects.live().select_for_update(no_key=True).get(pk=post_id, author=author)
    was = posts.entity(post)
    Post.objects.filter(pk=post.pk).update(deleted_at=Now(), version=F("version") + 1)
    Delivery.objects.create(post=post, kind=Kind.RETRACT)
    outbox.record("post.deleted", post.pk)
    _count_reply(post, -1)
    _count_post(post, -1)
    return was


def _count_post(post: Post, change: int) -> None:
    Account.objects.filter(pk=post.author_id).update(
        statuses_count=F("statuses_count") + change,
        last_status_at=Greatest("last_status_at", Value(post.created_at)) if change > 0 else F("last_status_at"),
        version=F("version") + 1,
    )


def _count_reply(post: Post, change: int) -> None:
    if post.in_reply_to_id:
        Post.objects.filter(pk=post.in_reply_to_id).update(
            replies_count=F("replies_count") + change, version=F("version") + 1
        )


@transaction.atomic
def follow(*, follower: Account, followee_id: int) -> None:
    """Raises Account.DoesNotExist, and ValidationError for oneself. A second time changes nothing."""
    if follower.pk == followee_id:
        raise ValidationError({"account": ValidationError("can't follow yourself", "self")})
    if relationships.follow(follower_id=follower.pk, followee_id=followee_id):
        outbox.record("follow.created", follower.pk, followee_id)


@transaction.atomic
def unfollow(*, follower: Account, followee_id: int) -> None:
    """Raises Account.DoesNotExist. Where there was no follow it changes nothing."""
    if relationships.unfollow(follower_id=follower.pk, followee_id=followee_id):
        outbox.record("follow.deleted", follower.pk, followee_id)


def note_home_read(*, reader: Account, built: bool) -> None:
    """Keeps the reader active, and asks for a timeline where PostgreSQL had to serve."""
    if reader.last_active_at is None or reader.last_active_at < timezone.now() - ACTIVE_NOTED_EVERY:
        Account.objects.filter(pk=reader.pk).update(last_active_at=Now())
    if not built:
        outbox.record("account.returned", reader.pk)


def prune_keys() -> int:
    """Deletes idempotency keys that no longer count."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=Now() - KEY_KEPT).delete()
    return deleted

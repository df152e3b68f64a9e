"""Writing posts: publish, edit, delete, reblog; and a fan-out called off."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext, suppress
from datetime import datetime
from types import SimpleNamespace

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from followers.models import NEXT_HOME_MODE, Account, HomeMode

from .. import entities, logs, outbox
from .. import text as texts
from ..database import changed, exists, prepared, swept
from ..entities import AUTHOR, Entity
from ..models import (
    Delivery,
    Kind,
    Mention,
    Post,
    PostEdit,
    PostMode,
    PostTag,
    Tag,
    Visibility,
)

TEXT_MAX = 500  # characters; a link counts as LINK_LENGTH of them if it is longer
LINK_LENGTH = 23  # as clients count
WRITTEN_MAX = 20 * TEXT_MAX  # with links as long as they are: in what is longer nobody looks for any
ID_TRIES = 20  # two posts of one millisecond clash once in 2,048; then the next number of the sequence is taken


def publish_post(
    *,
    author: Account,
    text: str,
    visibility: str | None = None,
    in_reply_to: Post | None = None,
    spoiler_text: str = "",
    sensitive: bool | None = None,
    language: str | None = None,
    idempotency_key: str | None = None,
    created_at: datetime | None = None,
) -> Post:
    """A new post, safe in PostgreSQL with its delivery record and its outbox rows once this returns.

    Visibility, sensitive and language are by default as the author's account says now.
    The same idempotency key within KEEP_KEYS gives the post of the first call; Post.DoesNotExist if it was deleted since.
    `created_at` dates it back (imports): it takes its place in timelines by that. Raises ValidationError.
    """
    _check_text(text, spoiler_text)
    if visibility not in (None, *Visibility.values):
        raise ValidationError({"visibility": ValidationError("is not included in the list", "inclusion")})
    if in_reply_to is not None and in_reply_to.reblog_of_id:
        in_reply_to = in_reply_to.reblog_of  # an answer to a reblog is one to what was reblogged
    post = Post(
        author=author,
        text=text,
        spoiler_text=spoiler_text,
        in_reply_to=in_reply_to,
        in_reply_to_account_id=in_reply_to.author_id if in_reply_to else None,
        conversation_id=(in_reply_to.conversation_id or in_reply_to.pk) if in_reply_to else None,
    )
    return _publish(post, created_at, idempotency_key, visibility=visibility, sensitive=sensitive, language=language)


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
    post = Post(author=author, reblog_of=original)
    try:
        return _publish(post, created_at, visibility=visibility or original.visibility, sensitive=False, language=None)
    except IntegrityError:
        return there.get()  # of two at once, the other one's


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
    _uncount(post)
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
    return swept(
        """
        DELETE FROM feeds_idempotencykey WHERE id = ANY(ARRAY(
            SELECT id FROM feeds_idempotencykey WHERE created_at < now() - %(kept)s ORDER BY created_at LIMIT %(slice)s))
        """,
        kept=settings.KEEP_KEYS,
    )


def _check_text(text: str, spoiler_text: str) -> None:
    if not text.strip():
        raise ValidationError({"text": ValidationError("can't be blank", "blank")})
    if len(text) + len(spoiler_text) > TEXT_MAX and _length(text) + len(spoiler_text) > TEXT_MAX:
        raise ValidationError({"text": ValidationError(f"character limit of {TEXT_MAX} exceeded", "too_long")})


def _length(text: str) -> int:
    links = [one for one in texts.tokens(text) if one.kind == "link"] if len(text) <= WRITTEN_MAX else []
    return len(text) - sum(max(0, link.end - link.start - LINK_LENGTH) for link in links)


_NEW_POST = "(SELECT post.id, NULL::bigint, audience FROM post, new) change (subject_id, object_id, audience)"
_STATEMENT = f"""
    WITH new AS (
        SELECT feeds_post_id(coalesce(%(at)s, clock_timestamp())) AS id, {NEXT_HOME_MODE} AS home_mode,
            {outbox.audience("a.followers_count")} AS audience,
            coalesce(%(visibility)s::text, a.default_visibility) AS visibility,
            coalesce(%(sensitive)s::boolean, a.default_sensitive) AS sensitive,
            CASE WHEN %(reblog_of)s::bigint IS NULL THEN coalesce(%(language)s::text, a.default_language) END AS language
        FROM followers_account a WHERE a.id = %(author)s),
    first AS (
        INSERT INTO feeds_idempotencykey AS k (author_id, key, post_id)
        SELECT %(author)s, %(key)s::text, id FROM new WHERE %(key)s::text IS NOT NULL
        ON CONFLICT (author_id, key) DO UPDATE SET
            post_id = CASE WHEN k.created_at < now() - %(kept)s::interval THEN excluded.post_id ELSE k.post_id END,
            created_at = CASE WHEN k.created_at < now() - %(kept)s::interval THEN now() ELSE k.created_at END
        RETURNING post_id),
    post AS (
        INSERT INTO feeds_post (id, created_at, home_mode, author_id, text, spoiler_text, sensitive, language, visibility,
            in_reply_to_id, in_reply_to_account_id, conversation_id, reblog_of_id)
        SELECT id, timestamptz 'epoch' + (id >> 16) * interval '1 millisecond', home_mode, %(author)s, %(text)s,
            %(spoiler_text)s, sensitive, language, visibility, %(in_reply_to)s::bigint,
            %(in_reply_to_account)s::bigint, %(conversation)s::bigint, %(reblog_of)s::bigint
        FROM new LEFT JOIN first ON true WHERE coalesce(first.post_id, id) = id
        RETURNING *),
    delivery AS (
        INSERT INTO feeds_delivery (post_id, kind, state) SELECT id, '{Kind.PUSH}', '{
    Delivery.State.QUEUED
}' FROM post),
    asked AS ({outbox.asking("post.published", _NEW_POST, "audience")}),
    named AS (
        SELECT a.id, a.username FROM post, followers_account a WHERE a.username = ANY(%(names)s::text[]) AND a.is_active),
    mention AS (INSERT INTO feeds_mention (post_id, account_id) SELECT post.id, named.id FROM post, named ORDER BY 2),
    tag AS (
        INSERT INTO feeds_posttag (post_id, tag_id) SELECT post.id, t.id FROM post, feeds_tag t
        WHERE t.name = ANY(%(tags)s::text[]) ORDER BY t.name COLLATE "C"),
    parent AS (
        UPDATE feeds_post p SET version = version + 1,
            replies_count = replies_count + (p.id IS NOT DISTINCT FROM %(in_reply_to)s)::int,
            reblogs_count = reblogs_count + (p.id IS NOT DISTINCT FROM %(reblog_of)s)::int
        WHERE p.id IN (%(in_reply_to)s, %(reblog_of)s) AND EXISTS (TABLE post)
        RETURNING p.id),
    author AS (
        UPDATE followers_account a SET statuses_count = a.statuses_count + 1, version = a.version + 1,
            last_status_at = greatest(a.last_status_at, post.created_at),
            home_mode = post.home_mode, ever_pulled = a.ever_pulled OR post.home_mode = '{HomeMode.PULL}'
        FROM post WHERE a.id = post.author_id AND (SELECT count(*) FROM parent) >= 0 -- so the parent comes first
        RETURNING a.*)
    SELECT coalesce(first.post_id, new.id), post.created_at, post.home_mode, post.visibility, post.sensitive, post.language,
        {", ".join(f"author.{one}" for one in AUTHOR)},
        ARRAY(SELECT id FROM named ORDER BY id), ARRAY(SELECT username FROM named ORDER BY id),
        CASE WHEN %(conversation)s IS NULL THEN false ELSE {
    exists("SELECT 1 FROM feeds_conversationmute WHERE account_id = %(author)s AND conversation_id = %(conversation)s")
} END, {outbox.WAKE}
    FROM new LEFT JOIN first ON true LEFT JOIN post ON true LEFT JOIN author ON true
"""
"""All that a new post brings with it, but for new tags; where its key was used before, nothing but that post's id.

The author's row, for which others wait, comes last, and before it what is answered or reblogged, as in all that locks both.
"""


def _publish(post: Post, created_at: datetime | None, key: str | None = None, **chosen: object) -> Post:
    """Writes the post under a new id of its moment; on a clash the sequence's next number is taken.

    `chosen`: visibility, sensitive, language. None stands for what the author's account says.
    The one of an earlier call, whose commit is waited for, if there was one with the key.
    """
    tags = _make_tags(post.text)
    for attempt in range(ID_TRIES):
        try:
            with transaction.atomic() if connection.in_atomic_block else nullcontext():
                [found] = prepared(
                    _STATEMENT,
                    author=post.author_id,
                    at=created_at,
                    key=key,
                    kept=settings.KEEP_KEYS,
                    text=post.text,
                    spoiler_text=post.spoiler_text,
                    in_reply_to=post.in_reply_to_id,
                    in_reply_to_account=post.in_reply_to_account_id,
                    conversation=post.conversation_id,
                    reblog_of=post.reblog_of_id,
                    names=texts.mentions(post.text),
                    tags=tags,
                    batch=settings.FANOUT_BATCH,
                    request_id=logs.request_id(),
                    pull_above=settings.PULL_ABOVE,
                    pull_below=settings.PULL_BELOW,
                    **chosen,
                )
            break
        except IntegrityError as clash:
            if attempt == ID_TRIES - 1 or "reblog_once" in str(clash):
                raise
    (
        post.pk,
        written_at,
        post.home_mode,
        post.visibility,
        post.sensitive,
        post.language,
        *author,
        named,
        usernames,
        muted,
        _,
    ) = found
    if written_at is None:
        return Post.objects.live().get(pk=post.pk)
    post.created_at = written_at
    post.replies_count = post.reblogs_count = post.favourites_count = 0
    post.version = 1
    if not post.reblog_of_id:
        as_of_now = SimpleNamespace(**dict(zip(AUTHOR, author, strict=True)))
        post.entity = entities.written(post, as_of_now, zip(named, usernames, strict=True), tags, muted=muted)
    return post


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
    """Makes the post's tags those of its text."""
    names = _make_tags(post.text)
    tag_ids: Iterable[int] = Tag.objects.filter(name__in=names).values_list("pk", flat=True)
    PostTag.objects.filter(post=post).exclude(tag__in=tag_ids).delete()
    PostTag.objects.bulk_create([PostTag(post=post, tag_id=tag_id) for tag_id in tag_ids], ignore_conflicts=True)


def _make_tags(text: str) -> list[str]:
    """The names of the text's tags, each of which has a row now, whatever becomes of the post: a statement sees no rows that
    somebody else makes meanwhile. In the order of names, lest two at once wait for each other.
    """
    names = sorted(texts.hashtags(text))
    if names:
        changed("INSERT INTO feeds_tag (name) SELECT unnest(%(names)s::text[]) ON CONFLICT DO NOTHING", names=names)
    return names


def _retract(post_id: int, event: str) -> None:
    """One retraction for a post's life: a cancelled one that is deleted has nothing left to be retracted."""
    Delivery.objects.bulk_create([Delivery(post_id=post_id, kind=Kind.RETRACT)], ignore_conflicts=True)
    outbox.record(event, post_id)


def _uncount(post: Post) -> None:
    """Last in its transaction, since others want these rows, too."""
    for parent_id, counter in ((post.reblog_of_id, "reblogs_count"), (post.in_reply_to_id, "replies_count")):
        if parent_id:
            Post.objects.filter(pk=parent_id).update(**{counter: F(counter) - 1}, version=F("version") + 1)
    Account.objects.filter(pk=post.author_id).update(statuses_count=F("statuses_count") - 1, version=F("version") + 1)

"""Who is told of what: mentions and answers, follows and requests, favourites, reblogs, edits, posts of those asked for.

`notify` makes the rows; it may run twice, or late: one cause gives one notification, and a cause that is gone gives none.
What is shown is decided when it is read, from the rows of now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from followers.models import Account, Follow

from .database import exists, prepared, rows, swept
from .entities import iso
from .models import MENTIONS_BLOCKED, VISIBLE, Favourite, Marker, Notification
from .posts import Cursor

# Who is to be told what, by event: (account, type, cause, from_account, post). A cause is locked, so that whoever takes
# it back while we look comes after us, and takes the notification back, too. The newest posts are locked first, as by
# whoever deletes an answer, and then counts it at the older post that it answers.
_OF_POST = """
    SELECT named.account_id, 'mention', p.id, p.author_id, p.id
    FROM (SELECT * FROM feeds_post WHERE id = ANY(%(subjects)s::bigint[]) AND reblog_of_id IS NULL AND deleted_at IS NULL
          ORDER BY id DESC FOR SHARE) p
    CROSS JOIN LATERAL (
        SELECT account_id FROM feeds_mention WHERE post_id = p.id
        UNION SELECT p.in_reply_to_account_id) named
    UNION ALL
    SELECT o.author_id, 'reblog', p.id, p.author_id, o.id
    FROM (SELECT * FROM feeds_post WHERE id = ANY(%(subjects)s::bigint[]) AND reblog_of_id IS NOT NULL AND deleted_at IS NULL
          ORDER BY id DESC FOR SHARE) p
    JOIN feeds_post o ON o.id = p.reblog_of_id"""
CAUSES = {
    "post.published": _OF_POST,
    "post.edited": _OF_POST,
    "follow.created": """
        SELECT followee_id, 'follow', id, follower_id, NULL::bigint FROM followers_follow
        WHERE (follower_id, followee_id) IN (SELECT * FROM unnest(%(subjects)s::bigint[], %(objects)s::bigint[]))
        ORDER BY id FOR SHARE""",
    "follow.requested": """
        SELECT followee_id, 'follow_request', id, follower_id, NULL::bigint FROM followers_followrequest
        WHERE (follower_id, followee_id) IN (SELECT * FROM unnest(%(subjects)s::bigint[], %(objects)s::bigint[]))
        ORDER BY id FOR SHARE""",
    "favourite.created": """
        SELECT p.author_id, 'favourite', f.id, f.account_id, p.id
        FROM feeds_favourite f JOIN feeds_post p ON p.id = f.post_id WHERE f.id = ANY(%(subjects)s::bigint[])
        ORDER BY f.id FOR SHARE OF f""",
}
# What concerns many, a SLICE at a time: the same columns, and by which of the post's we go on. A follower is told of posts
# that are on home timelines for themselves, and not as answers to others or as reblogs.
AUDIENCES = {
    "post.published": """
        SELECT f.follower_id, 'status', p.id, p.author_id, p.id, f.follower_id
        FROM feeds_post p CROSS JOIN LATERAL (
            SELECT follower_id FROM followers_follow
            WHERE followee_id = p.author_id AND notify AND follower_id > CASE WHEN p.id > %(post)s THEN 0 ELSE %(place)s END
            ORDER BY follower_id LIMIT %(slice)s) f
        WHERE p.id = ANY(%(subjects)s::bigint[]) AND p.id >= %(post)s AND p.reblog_of_id IS NULL AND p.visibility <> 'direct'
          AND coalesce(p.in_reply_to_account_id = p.author_id, true)
        ORDER BY p.id, f.follower_id LIMIT %(slice)s""",
    "post.edited": """
        SELECT r.author_id, 'update', (SELECT max(id) FROM feeds_postedit WHERE post_id = p.id), p.author_id, p.id, r.id
        FROM feeds_post p CROSS JOIN LATERAL (
            SELECT id, author_id FROM feeds_post
            WHERE reblog_of_id = p.id AND deleted_at IS NULL AND id > CASE WHEN p.id > %(post)s THEN 0 ELSE %(place)s END
            ORDER BY id LIMIT %(slice)s) r
        WHERE p.id = ANY(%(subjects)s::bigint[]) AND p.id >= %(post)s AND p.edited_at IS NOT NULL
        ORDER BY p.id, r.id LIMIT %(slice)s""",
}
SLICE = 1_000  # of an audience, told by one statement

_CONVERSATION_MUTED = exists(
    """SELECT 1 FROM feeds_conversationmute
        WHERE account_id = n.account_id AND conversation_id = coalesce(p.conversation_id, p.id)"""
)
# A mute may leave notifications alone: so it is looked at here, and not HIDDEN of the post.
_BLOCKED = exists(
    """SELECT 1 FROM followers_block
        WHERE (blocker_id, blocked_id) IN ((n.account_id, n.from_account_id), (n.from_account_id, n.account_id))"""
)
_MUTED = exists(
    """SELECT 1 FROM followers_mute WHERE account_id = n.account_id AND target_id = n.from_account_id
        AND notifications AND (expires_at IS NULL OR expires_at > now())"""
)
_HIDES = f"({_BLOCKED} OR {_MUTED})"


def notify(event: str, concerned: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Tells whomever each event of the kind concerns (subject and object, as in the outbox) and does not hide who caused it.

    Those who were told for the first time, as many at a time as were told at once: the notification's id, and whose it is.
    """
    subjects, objects = [subject for subject, _ in concerned], [other for _, other in concerned]
    yield rows(
        f"{_TELL.format(found=CAUSES[event], place='')} RETURNING id, account_id", subjects=subjects, objects=objects
    )
    if event in AUDIENCES:
        yield from _tell_audience(AUDIENCES[event], subjects)


def _tell_audience(found: str, subjects: list[int]) -> Iterator[list[tuple[int, int]]]:
    post = place = 0
    count = SLICE
    while count == SLICE:
        [(count, post, place, ids, account_ids)] = prepared(
            f"""
            WITH n (account_id, type, cause_id, from_account_id, post_id, place) AS MATERIALIZED ({found}),
            told AS ({_TELL.format(found="TABLE n", place=", place")} RETURNING id, account_id)
            SELECT (SELECT count(*) FROM n), last.*,
                ARRAY(SELECT id FROM told ORDER BY id), ARRAY(SELECT account_id FROM told ORDER BY id)
            FROM (SELECT 0) one LEFT JOIN (SELECT post_id, place FROM n ORDER BY 1 DESC, 2 DESC LIMIT 1) last ON true
            """,
            subjects=subjects,
            post=post,
            place=place,
            slice=SLICE,
        )
        yield list(zip(ids, account_ids, strict=True))


def _for_the_told(rule: str) -> str:
    return rule.format(post="p").replace("%(viewer)s", "n.account_id")


_TELL = f"""
    INSERT INTO feeds_notification (account_id, type, cause_id, from_account_id, post_id)
    SELECT n.account_id, n.type, n.cause_id, n.from_account_id, n.post_id
    FROM ({{found}}) n (account_id, type, cause_id, from_account_id, post_id{{place}})
    JOIN followers_account a ON a.id = n.account_id AND a.is_active
    LEFT JOIN feeds_post p ON p.id = n.post_id
    WHERE n.account_id <> n.from_account_id AND NOT {_HIDES}
      AND (p.id IS NULL OR {_for_the_told(VISIBLE)} AND NOT {_for_the_told(MENTIONS_BLOCKED)}
          AND NOT {_CONVERSATION_MUTED})
    ORDER BY n.account_id, n.type, n.cause_id
    ON CONFLICT DO NOTHING"""
"""Tells those `found`, of whom each is (account, type, cause, from_account, post)."""


def forget_follow(follow: Follow) -> None:
    """The follow is no more: nobody is told of it any more."""
    Notification.objects.filter(account=follow.followee_id, type=Notification.Type.FOLLOW, cause_id=follow.pk).delete()


def forget_favourite(favourite: Favourite) -> None:
    told = {"account": favourite.post.author_id, "type": Notification.Type.FAVOURITE, "cause_id": favourite.pk}
    Notification.objects.filter(**told).delete()


@dataclass(frozen=True)
class Told:
    """A notification as it is read. `post_id` is None for a follow, or a request."""

    id: int
    type: str
    created_at: str
    account_id: int
    post_id: int | None


@dataclass(frozen=True)
class Page:
    """Newest first; the two ids are those of notifications. None: no such page."""

    notifications: list[Told]
    next_max_id: int | None
    prev_min_id: int | None


def page(
    account: Account,
    cursor: Cursor,
    *,
    types: list[str] | None = None,
    without: list[str] | None = None,
    from_account_id: int | None = None,
) -> Page:
    """A page of what the account was told of, as far as it may and wants to see it now."""
    above = cursor.since_id if cursor.min_id is None else cursor.min_id
    found = _readable(
        account,
        where="""n.id < %(below)s AND n.id > %(above)s AND (%(types)s::text[] IS NULL OR n.type = ANY(%(types)s))
            AND n.type <> ALL(%(without)s) AND (%(sender)s::bigint IS NULL OR n.from_account_id = %(sender)s)""",
        order="ASC" if cursor.nearest else "DESC",
        limit=cursor.limit + 1,
        below=(1 << 63) - 1 if cursor.max_id is None else cursor.max_id,
        above=above or 0,
        types=types or None,
        without=without or [],
        sender=from_account_id,
    )
    more, shown = len(found) > cursor.limit, found[: cursor.limit]
    if cursor.nearest:
        shown.reverse()
    older = bool(shown) and (more or cursor.nearest)
    return Page(shown, shown[-1].id if older else None, shown[0].id if shown else None)


def get(account: Account, notification_id: int) -> Told:
    """Raises Notification.DoesNotExist."""
    for told in _readable(account, where="n.id = %(only)s", order="DESC", limit=1, only=notification_id):
        return told
    raise Notification.DoesNotExist("No such notification")


def several(account: Account, notification_ids: list[int]) -> list[Told]:
    """Those of the account's notifications that may be read now, in the order of their ids."""
    return _readable(
        account, where="n.id = ANY(%(ids)s)", order="ASC", limit=len(notification_ids), ids=notification_ids
    )


def unread_count(account: Account, most: int = 100) -> int:
    """How many the account has not read, by its marker; `most` at most."""
    marker = Marker.objects.filter(account=account, timeline=Marker.Timeline.NOTIFICATIONS).first()
    read = marker.last_read_id if marker else 0
    return len(_readable(account, where="n.id > %(read)s", order="DESC", limit=most, read=read))


def prune() -> int:
    """Deletes notifications of long ago, read or not. Ids come in the order of time: the lowest are looked at."""
    return swept(
        """
        DELETE FROM feeds_notification WHERE id = ANY(ARRAY(
            SELECT id FROM (SELECT id, created_at FROM feeds_notification ORDER BY id LIMIT %(slice)s) lowest
            WHERE created_at < now() - %(kept)s))
        """,
        kept=settings.KEEP_NOTIFICATIONS,
    )


def _readable(account: Account, *, where: str, order: str, limit: int, **values: object) -> list[Told]:
    found = rows(
        f"""
        SELECT n.id, n.type, n.created_at, n.from_account_id, n.post_id
        FROM feeds_notification n JOIN followers_account a ON a.id = n.from_account_id
        LEFT JOIN feeds_post p ON p.id = n.post_id
        WHERE n.account_id = %(viewer)s AND NOT n.dismissed AND a.is_active AND NOT {_HIDES} AND {where}
          AND (p.id IS NULL OR {VISIBLE.format(post="p")} AND NOT {MENTIONS_BLOCKED.format(post="p")})
          AND (n.type <> 'reblog' OR EXISTS (SELECT 1 FROM feeds_post WHERE id = n.cause_id AND deleted_at IS NULL))
          AND (n.type <> 'follow_request' OR EXISTS (SELECT 1 FROM followers_followrequest WHERE id = n.cause_id))
        ORDER BY n.id {order} LIMIT %(limit)s
        """,
        viewer=account.pk,
        limit=limit,
        **values,
    )
    return [
        Told(id_, type_, str(iso(created_at)), sender, post_id) for id_, type_, created_at, sender, post_id in found
    ]

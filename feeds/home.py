"""A page of a home timeline. Only reads.

Redis is asked first, then one statement decides. Redis gives ids within the cursor's bounds and says down to where it is
complete (coverage); the statement adds the reader's own posts, and below the coverage everybody's, and lets through what
the rows of now allow. So a wrong entry in Redis is dirt, never a leak, and the end of Redis is not the end of the page.
"""

from __future__ import annotations

import redis

from followers.models import Account

from . import metrics, posts, timelines
from .database import rows
from .posts import Cursor, Page, Ref
from .timelines import Stored

ROUNDS = 10  # most statements for one page, however many of its candidates the reader must not see

# Placeholders in braces: {order} is DESC for the newest, ASC for those nearest to `above`.
STATEMENT = """
    WITH candidates AS (
        SELECT unnest(%(stored)s::bigint[]) AS id
        UNION (
            SELECT id FROM feeds_post
            WHERE author_id = %(reader)s AND deleted_at IS NULL AND id < %(below)s AND id > %(above)s
            ORDER BY id {order} LIMIT %(count)s)
        UNION (
            SELECT p.id FROM followers_follow f CROSS JOIN LATERAL (
                SELECT id FROM feeds_post
                WHERE author_id = f.followee_id AND deleted_at IS NULL AND id < %(deep_below)s AND id > %(above)s
                ORDER BY id {order} LIMIT %(count)s) p
            WHERE %(deep)s AND f.follower_id = %(reader)s
            ORDER BY p.id {order} LIMIT %(count)s)),
    scanned AS (SELECT id FROM candidates ORDER BY id {order} LIMIT %(count)s)
    SELECT scanned.id, coalesce(
            p.deleted_at IS NULL AND a.is_active
            AND (p.author_id = %(reader)s OR EXISTS (
                SELECT 1 FROM followers_follow WHERE followee_id = p.author_id AND follower_id = %(reader)s))
            AND (p.visibility <> 'direct' OR p.author_id = %(reader)s OR EXISTS (
                SELECT 1 FROM feeds_mention WHERE post_id = p.id AND account_id = %(reader)s))
            AND (p.in_reply_to_account_id IS NULL OR p.in_reply_to_account_id IN (p.author_id, %(reader)s) OR EXISTS (
                SELECT 1 FROM followers_follow
                WHERE followee_id = p.in_reply_to_account_id AND follower_id = %(reader)s)), false),
        p.version, p.author_id, a.version
    FROM scanned LEFT JOIN feeds_post p ON p.id = scanned.id LEFT JOIN followers_account a ON a.id = p.author_id
    ORDER BY scanned.id {order}
"""


def page(viewer: Account, cursor: Cursor) -> Page:
    """The viewer's home timeline within the cursor, refilled to its limit where posts may not be shown.

    A page that ROUNDS cut short has a next one, even if it is empty; a page without a next one is the end.
    """
    below, above, shown, built = cursor.below, cursor.above, list[Ref](), True
    count = cursor.limit + 1  # one more than is shown: it tells whether there is another page
    for _ in range(ROUNDS):
        stored = _stored(viewer.pk, below=below, above=above, count=count, nearest=cursor.nearest)
        built = built and stored is not None
        scanned = _scan(viewer.pk, stored, below=below, above=above, count=count, nearest=cursor.nearest)
        shown += [Ref(post_id, *versions) for post_id, visible, *versions in scanned if visible]
        if len(scanned) < count or len(shown) > cursor.limit:
            break
        if cursor.nearest:
            above = scanned[-1][0]
        else:
            below = scanned[-1][0]
    cut_short = len(scanned) == count and len(shown) <= cursor.limit
    more = cut_short or len(shown) > cursor.limit
    refs = shown[: cursor.limit]
    end = scanned[-1][0] if cut_short else refs[-1].post_id if refs else None
    if cursor.nearest:
        refs.reverse()
        return Page(posts.hydrate(refs), refs[-1].post_id if refs else None, end, built)
    return Page(posts.hydrate(refs), end if more else None, refs[0].post_id if refs else None, built)


def _stored(reader_id: int, *, below: int, above: int, count: int, nearest: bool) -> Stored | None:
    try:
        return timelines.page(reader_id, below=below, above=above, count=count, nearest=nearest)
    except (redis.ConnectionError, redis.TimeoutError):
        metrics.redis_down.inc()
        return None


def _scan(
    reader_id: int, stored: Stored | None, *, below: int, above: int, count: int, nearest: bool
) -> list[tuple[int, bool, int, int, int]]:
    """The next `count` candidates, shown or not: (id, shown, version, author's id, author's version).

    Must be given what Redis said *before*: its coverage decides what PostgreSQL has to add.
    """
    if stored is None or (nearest and above < stored.cover):
        ids, deep, deep_below = [], True, below  # the whole page comes from PostgreSQL
    else:
        ids = stored.ids
        deep = not nearest and len(ids) < count and stored.cover > above
        deep_below = min(below, stored.cover + 1)
    return rows(
        STATEMENT.format(order="ASC" if nearest else "DESC"),
        reader=reader_id,
        stored=ids,
        below=below,
        above=above,
        count=count,
        deep=deep,
        deep_below=deep_below,
    )

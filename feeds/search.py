"""Finding posts by their words, accounts and tags by the beginning of their names.

Posts are found through the rows that `index` writes, somewhat later than they are written, maybe on a replica; accounts and
tags in their own rows, at once. Words are matched as they are ('simple' configuration), each as a beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from django.contrib.postgres.search import SearchQuery

from followers.models import Account

from . import replicas
from .database import changed, rows
from .entities import local_name
from .models import Post, PostTag, SearchEntry, Tag

WORDS = re.compile(r"\w+")
WORDS_MOST = 16  # of a query, each different from the others: each may be the beginning of very many words
OFFSET_MOST = 10_000  # results behind which nobody is shown more: they would all be found to be left out
SLICE = 1_000  # posts indexed at a time
COUNT_AGAIN_AFTER = 60  # seconds for the day of a tag in heavy use


def index(post_ids: list[int]) -> list[int]:
    """Makes the posts' entries what their rows say now: also after an edit, or a deletion. The ids of the tags they bear."""
    _index(post_ids)
    return list(PostTag.objects.filter(post__in=post_ids).order_by("tag").values_list("tag_id", flat=True).distinct())


def rebuild_index(show: Callable[[int], None]) -> int:
    """Makes all entries anew, SLICE posts at a time, while the service goes on. `show` is told how many are done."""
    done, last = 0, 0
    while found := list(Post.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:SLICE]):
        _index(found)
        done, last = done + len(found), found[-1]
        show(done)
    return done


def _index(post_ids: list[int]) -> None:
    """The rows are locked: of two runs at once the later one reads what the edit between them wrote.

    The newest first: as whoever deletes an answer, and then counts it at the older post that it answers.
    """
    changed(
        """
        WITH p AS MATERIALIZED (
            SELECT p.id, p.text, p.spoiler_text, p.deleted_at IS NULL AND p.reblog_of_id IS NULL AS wanted
            FROM feeds_post p WHERE p.id = ANY(%(posts)s::bigint[]) ORDER BY p.id DESC FOR NO KEY UPDATE),
        gone AS (DELETE FROM feeds_searchentry WHERE post_id IN (SELECT id FROM p WHERE NOT wanted))
        INSERT INTO feeds_searchentry (post_id, words)
        SELECT id, to_tsvector('simple', spoiler_text || ' ' || text) FROM p WHERE wanted
        ON CONFLICT (post_id) DO UPDATE SET words = excluded.words
        """,
        posts=post_ids,
    )


def count_tags(tag_ids: list[int]) -> int:
    """Counts anew how often the tags were used today, and by how many. How many tags were counted.

    A day that was counted a moment ago, and has many uses, waits for the next post: the count costs a look at each use.
    """
    if not tag_ids:
        return 0
    return changed(
        """
        INSERT INTO feeds_tagday AS d (tag_id, day, uses, accounts, counted_at)
        SELECT t.id, (now() AT TIME ZONE 'UTC')::date, count(p.id), count(DISTINCT p.author_id), now()
        FROM unnest(%(tags)s::bigint[]) t (id)
        LEFT JOIN feeds_posttag pt ON pt.tag_id = t.id AND pt.post_id >= %(midnight)s
        LEFT JOIN feeds_post p ON p.id = pt.post_id AND p.deleted_at IS NULL AND p.visibility = 'public'
        WHERE NOT EXISTS (
            SELECT 1 FROM feeds_tagday WHERE tag_id = t.id AND day = (now() AT TIME ZONE 'UTC')::date
              AND uses > 1000 AND counted_at > now() - %(again)s * interval '1 second')
        GROUP BY t.id ORDER BY t.id
        ON CONFLICT (tag_id, day) DO UPDATE SET
            uses = excluded.uses, accounts = excluded.accounts, counted_at = excluded.counted_at
        """,
        tags=tag_ids,
        midnight=int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000) << 16,
        again=COUNT_AGAIN_AFTER,
    )


def posts(
    viewer: Account | None, query: str, *, limit: int, offset: int = 0, author_id: int | None = None
) -> list[int]:
    """Ids of the posts (of one author) that hold all words of the query, or words that begin so; newest first.

    As of a moment ago: who shows them asks posts.py which of them may be shown. Of very long queries the first words count.
    """
    words = list({word.lower(): word for word in WORDS.findall(query)}.values())[:WORDS_MOST]
    if not words or offset > OFFSET_MOST:
        return []
    asked = SearchQuery(" & ".join(f"'{word}':*" for word in words), config="simple", search_type="raw")
    matching = SearchEntry.objects.filter(words=asked).values("post_id")
    found = Post.objects.visible_to(viewer).not_hidden_from(viewer).filter(pk__in=matching)
    if author_id is not None:
        found = found.filter(author=author_id)
    return replicas.read(lambda: list(found.order_by("-id").values_list("pk", flat=True)[offset : offset + limit]))


def accounts(viewer: Account | None, query: str, *, limit: int, offset: int = 0, following: bool = False) -> list[int]:
    """Ids of the accounts whose username begins so, the shortest first; then of those whose display name does."""
    name = local_name(query)
    if not name or offset > OFFSET_MOST:
        return []
    found = rows(
        """
        SELECT id FROM (
            (SELECT id, 0 AS rank, username FROM followers_account WHERE username LIKE %(pattern)s AND {shown}
             ORDER BY username LIMIT %(most)s)
            UNION ALL
            (SELECT id, 1, username FROM followers_account
             WHERE lower(display_name) LIKE %(pattern)s AND username NOT LIKE %(pattern)s AND {shown} LIMIT %(most)s)
        ) a ORDER BY rank, username OFFSET %(offset)s LIMIT %(limit)s
        """.replace("{shown}", _SHOWN),
        pattern=re.sub(r"([%_\\])", r"\\\1", name) + "%",
        viewer=viewer.pk if viewer else None,
        following=following,
        most=limit + offset,
        offset=offset,
        limit=limit,
    )
    return [account_id for (account_id,) in found]


def named(viewer: Account | None, name: str) -> list[int]:
    """The id of the account of that username, if there is one that the viewer may find."""
    found = rows(
        f"SELECT id FROM followers_account WHERE username = %(name)s AND {_SHOWN}",
        name=name,
        viewer=viewer.pk if viewer else None,
        following=False,
    )
    return [account_id for (account_id,) in found]


_SHOWN = """is_active
    AND NOT EXISTS (SELECT 1 FROM followers_block WHERE blocker_id = followers_account.id AND blocked_id = %(viewer)s::bigint)
    AND (NOT %(following)s OR EXISTS (
        SELECT 1 FROM followers_follow WHERE followee_id = followers_account.id AND follower_id = %(viewer)s::bigint))"""


def tags(query: str, *, limit: int, offset: int = 0) -> list[Tag]:
    """Tags whose name begins so, in the order of names."""
    name = query.strip().removeprefix("#").lower()
    if not name or offset > OFFSET_MOST:
        return []
    return list(Tag.objects.filter(name__startswith=name).order_by("name")[offset : offset + limit])

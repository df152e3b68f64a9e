"""Why a post is, or is not, on a reader's home timeline: the one reason that counts.

First the definition, by the rows of now: RULES, in the order in which they count, then rule (d), which home.py applies. What
passes all of them belongs on the timeline, and where it comes from, or got stuck, is a question of storage. Stands above
the other stories, since it asks home.py and must not have a definition of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from followers.models import Account

from . import home, timelines
from .database import REDIS_AWAY, rows
from .entities import iso
from .models import HIDDEN, VISIBLE, Post, PostMode
from .outbox import ATTEMPTS

_BLOCK = """(SELECT min(created_at) FROM followers_block
    WHERE (blocker_id = %(viewer)s AND blocked_id IN (p.author_id, o.author_id))
       OR (blocked_id = %(viewer)s AND blocker_id IN (p.author_id, o.author_id)))"""

# Answer, what must be so, since when it is (both SQL), and the sentence.
RULES = (
    ("deleted", "p.deleted_at IS NOT NULL", "p.deleted_at", "The post was deleted."),
    ("deleted", "NOT a.is_active", "a.deleted_at", "The author's account was deleted."),
    ("deleted", "p.home_mode = 'none'", "d.cancelled_at", "The post's fan-out was cancelled."),
    ("deleted", "o.deleted_at IS NOT NULL", "o.deleted_at", "The post that it reblogs was deleted."),
    ("deleted", "NOT oa.is_active", "oa.deleted_at", "The account whose post it reblogs was deleted."),
    ("hidden", f"{_BLOCK} IS NOT NULL", _BLOCK, "There is a block between the reader and an author of the post."),
    (
        "hidden",
        HIDDEN.format(post="p"),
        "NULL",
        "The reader muted an author of the post, or it mentions somebody with whom there is a block.",
    ),
    (
        "not_followed",
        f"NOT {home.FOLLOWED}",
        "NULL",
        "The reader follows neither the author nor a hashtag of the post.",
    ),
    (
        "not_visible",
        f"NOT {VISIBLE.format(post='p')}",
        "NULL",
        "The post is for others: for followers of its author, or for those whom it mentions.",
    ),
    ("exclusive_list", home.ON_EXCLUSIVE_LIST, "NULL", "The author is on an exclusive list of the reader's."),
    (
        "reply_filtered",
        f"NOT {home.REPLY_SHOWN}",
        "NULL",
        "The post answers somebody whom the reader does not follow.",
    ),
    ("reblog_filtered", f"NOT {home.REBLOG_SHOWN}", "NULL", "The reader does not want to see what the author reblogs."),
)


@dataclass(frozen=True)
class Explanation:
    """`answer` is one word, `since` a moment (ISO) or None where no row says it, `detail` one sentence for a person."""

    answer: str
    since: str | None
    detail: str


def explain(reader: Account, post_id: int) -> Explanation:
    """Raises Post.DoesNotExist. Says of every post why, also of those that the reader may not see."""
    post = Post.objects.get(pk=post_id)
    return _by_the_rules(reader, post) or _by_the_storage(reader, post)


def _by_the_rules(reader: Account, post: Post) -> Explanation | None:
    """The first rule that keeps the post off the timeline."""
    listed = ", ".join(f"({number}, {holds}, {since})" for number, (_, holds, since, _) in enumerate(RULES))
    broken = rows(
        f"""
        SELECT rule.number, rule.since::timestamptz FROM feeds_post p JOIN followers_account a ON a.id = p.author_id
        LEFT JOIN feeds_post o ON o.id = p.reblog_of_id LEFT JOIN followers_account oa ON oa.id = o.author_id
        LEFT JOIN feeds_delivery d ON d.post_id = p.id AND d.kind = 'push'
        CROSS JOIN LATERAL (VALUES {listed}) rule (number, holds, since)
        WHERE p.id = %(post)s AND rule.holds ORDER BY rule.number LIMIT 1
        """,
        post=post.pk,
        viewer=reader.pk,
    )
    for number, since in broken:
        return _answer(RULES[number][0], since, RULES[number][3])
    if post.reblog_of_id and home.superfluous(reader, post.pk):
        return _answer("reblog_filtered", None, "The original, or another reblog of it, stands just below.")
    return None


def _by_the_storage(reader: Account, post: Post) -> Explanation:
    """The post belongs on the timeline: where its pages have it from."""
    if post.author_id == reader.pk:
        return _answer("pulled", post.created_at, "Pages fetch the reader's own posts from PostgreSQL.")
    if post.home_mode == PostMode.PULL:
        return _answer("pulled", post.created_at, "Pages fetch the posts of so large an account from PostgreSQL.")
    if not reader.follows_out.filter(followee=post.author_id).exists():
        return _answer("pulled", post.created_at, "Pages fetch the posts with a followed hashtag from PostgreSQL.")
    try:
        stored = timelines.page(reader.pk, below=post.pk + 32, above=post.pk - 32, count=1)
    except REDIS_AWAY:
        return _answer("no_timeline", None, "Redis does not answer: PostgreSQL serves the reader's pages.")
    if stored is None:
        return _rebuilding(reader) or _answer(
            "no_timeline",
            reader.evicted_at,
            "The reader has no timeline in Redis, never built or evicted: PostgreSQL serves the pages.",
        )
    if stored.ids:
        return _answer("present", _delivery(reader, post).closed_at, "The reader's timeline in Redis holds the post.")
    if post.pk <= stored.cover:
        return _answer("below_coverage", None, "The post is older than what Redis holds: PostgreSQL serves its pages.")
    return _rebuilding(reader) or _syncing(reader, post) or _by_the_delivery(reader, post)


def _rebuilding(reader: Account) -> Explanation | None:
    return _open_work(reader, "rebuild_timeline", None, "The reader's timeline is being built.")


def _syncing(reader: Account, post: Post) -> Explanation | None:
    return _open_work(reader, "sync_pair", post.author_id, "The follow is new, and its posts are being filled in.")


def _open_work(reader: Account, task: str, object_id: int | None, detail: str) -> Explanation | None:
    found = rows(
        """
        SELECT created_at FROM feeds_outbox
        WHERE subject_id = %(reader)s AND task = %(task)s AND done_at IS NULL AND attempts < %(attempts)s
          AND (%(object)s::bigint IS NULL OR object_id = %(object)s) ORDER BY id LIMIT 1
        """,
        reader=reader.pk,
        task=task,
        object=object_id,
        attempts=ATTEMPTS,
    )
    return _answer("in_flight", found[0][0], detail) if found else None


@dataclass(frozen=True)
class _Delivery:
    """The post's delivery, and of its batches the one whose range holds the reader; None where there is none."""

    state: str | None = None
    queued_at: datetime | None = None
    finished_at: datetime | None = None
    batch_state: str | None = None
    closed_at: datetime | None = None
    error: str | None = None
    dropped_at: datetime | None = None


def _delivery(reader: Account, post: Post) -> _Delivery:
    found = rows(
        """
        SELECT d.state, d.queued_at, d.finished_at, b.state, b.closed_at, b.error, b.dropped_at
        FROM feeds_delivery d LEFT JOIN feeds_batch b ON b.post_id = d.post_id AND b.kind = d.kind
          AND b.lo <= %(reader)s AND %(reader)s < b.hi
        WHERE d.post_id = %(post)s AND d.kind = 'push'
        """,
        reader=reader.pk,
        post=post.pk,
    )
    return _Delivery(*found[0]) if found else _Delivery()


def _by_the_delivery(reader: Account, post: Post) -> Explanation:
    """The timeline should hold the post, and does not."""
    found = _delivery(reader, post)
    if found.batch_state == "dead":
        hope = "it was dropped" if found.dropped_at else "it can be driven again"
        return _answer("failed", found.closed_at, f"The batch that holds the reader is dead ({found.error}): {hope}.")
    if found.state not in (None, "closed"):
        return _answer("in_flight", found.queued_at, "The post's delivery is not closed yet.")
    return _answer(
        "failed",
        found.finished_at,
        "The reader's timeline in Redis has lost the post: verify_timelines --repair mends it.",
    )


def _answer(answer: str, since: datetime | None, detail: str) -> Explanation:
    return Explanation(answer, iso(since), detail)

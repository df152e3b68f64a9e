"""Who of those that listen is shown a post, and who was: decided by the rows of now, for many posts and listeners at once.

Each question is one statement, and goes from the post to those who listen, never from listener to listener: of an author's
followers those who listen here are found by the follow index. The rules are those of the pages (home.py, posts.py,
models.py), word for word, so that nobody is told of what no page would show. But for rule (d): that one looks at what stands
below a reblog on the page, and a stream at what it has told (api/streaming/hub.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from .database import exists, prepared
from .home import CANDIDATE
from .models import ADDRESSED, HIDDEN, VISIBLE
from .posts import ON_LIST


@dataclass(frozen=True)
class Heard:
    """A post, and where it is heard of. `hidden_from`: who of those who listen to public streams is not shown it."""

    post_id: int
    original_id: int | None  # what it reblogs
    edited_at: datetime | None
    public: bool  # on the public timeline
    tags: list[str]  # of the hashtag timelines that it is on
    home: set[int] = field(default_factory=set)  # accounts
    lists: set[int] = field(default_factory=set)
    hidden_from: set[int] = field(default_factory=set)

    @property
    def by_somebody(self) -> bool:
        return bool(self.public or self.tags or self.home or self.lists)


def shown(
    post_ids: Iterable[int], *, homes: Iterable[int], lists: Iterable[int], public: Iterable[int]
) -> dict[int, Heard]:
    """The posts that are to be seen now, and by whom: of the accounts that listen to `homes` and to `public` streams, and of
    these lists.
    """
    found = _posts(post_ids, live=True)
    _fill(found, homes=_HOME, accounts=homes, lists=_LISTS, list_ids=lists)
    watched = [post_id for post_id, one in found.items() if one.public or one.tags]
    for post_id, account_id in _pairs(_DENIED, watched, list(public)):
        found[post_id].hidden_from.add(account_id)
    return found


def taken_back(post_ids: Iterable[int], *, homes: Iterable[int], lists: Iterable[int]) -> dict[int, Heard]:
    """Deleted posts, and where they may have been heard of. An id tells nothing; yet a private post's goes to followers."""
    found = _posts(post_ids, live=False)
    _fill(found, homes=_HOME_ONCE, accounts=homes, lists=_LISTS_ONCE, list_ids=lists)
    return found


def _fill(found: dict[int, Heard], *, homes: str, accounts: Iterable[int], lists: str, list_ids: Iterable[int]) -> None:
    for post_id, account_id in _pairs(homes, found, list(accounts)):
        found[post_id].home.add(account_id)
    for post_id, list_id in _pairs(lists, found, list(list_ids)):
        found[post_id].lists.add(list_id)


def _pairs(statement: str, post_ids: Iterable[int], listening: list[int]) -> list[tuple[int, int]]:
    posts = list(post_ids)
    found = prepared(statement, posts=posts, listening=listening) if posts and listening else []
    return [(post_id, other) for post_id, other in found]


def _posts(post_ids: Iterable[int], *, live: bool) -> dict[int, Heard]:
    """In the order of their ids. Everybody's rule for what is public; a deleted post is as it was."""
    tags = defaultdict[int, list[str]](list)
    if not (ids := sorted(set(post_ids))):
        return {}
    for post_id, name in prepared(_TAGS, posts=ids):
        tags[post_id].append(name)
    return {
        post_id: Heard(post_id, original, edited_at, public and not answers, tags[post_id] if public else [])
        for post_id, original, edited_at, public, answers in prepared(_POSTS, posts=ids, live=live, viewer=None)
    }


_POSTS = f"""
    SELECT p.id, p.reblog_of_id, p.edited_at,
        p.visibility = 'public' AND p.reblog_of_id IS NULL AND (NOT %(live)s::boolean OR {VISIBLE.format(post="p")}),
        p.in_reply_to_account_id IS DISTINCT FROM p.author_id AND p.in_reply_to_account_id IS NOT NULL
    FROM feeds_post p WHERE p.id = ANY(%(posts)s::bigint[]) AND (p.deleted_at IS NULL) = %(live)s::boolean
    ORDER BY p.id"""
_TAGS = """
    SELECT t.post_id, tag.name FROM feeds_posttag t JOIN feeds_tag tag ON tag.id = t.tag_id
    WHERE t.post_id = ANY(%(posts)s::bigint[])"""

# Who may have a post on home, of those who listen: the author, followers, and who follows one of its hashtags.
_ASKED = (
    "FROM unnest(%(posts)s::bigint[]) i (id) CROSS JOIN LATERAL (SELECT * FROM feeds_post WHERE id = i.id OFFSET 0) p"
)
# The followers are looked through where they are fewer than the listeners; else each listener is looked up among them.
_HOMES = f"""
    SELECT p.id, c.id {_ASKED}
    CROSS JOIN LATERAL (
        SELECT is_active, followers_count > cardinality(%(listening)s::bigint[]) AS popular
        FROM followers_account WHERE id = p.author_id OFFSET 0) a
    LEFT JOIN feeds_post o ON o.id = p.reblog_of_id LEFT JOIN followers_account oa ON oa.id = o.author_id
    CROSS JOIN LATERAL (
        SELECT p.author_id AS id WHERE p.author_id = ANY(%(listening)s::bigint[])
        UNION
        SELECT follower_id FROM followers_follow
        WHERE NOT a.popular AND followee_id = p.author_id AND follower_id = ANY(%(listening)s::bigint[])
        UNION
        SELECT l.id FROM unnest(%(listening)s::bigint[]) l (id) WHERE a.popular AND {
    exists("SELECT 1 FROM followers_follow WHERE followee_id = p.author_id AND follower_id = l.id")
}
        UNION
        SELECT f.account_id FROM feeds_posttag t JOIN feeds_tagfollow f ON f.tag_id = t.tag_id
        WHERE t.post_id = p.id AND f.account_id = ANY(%(listening)s::bigint[])) c
    WHERE """
_HOME = _HOMES + CANDIDATE.replace("%(viewer)s", "c.id")
_HOME_ONCE = _HOMES + ADDRESSED.format(post="p").replace("%(viewer)s", "c.id")

_MEMBER = exists("SELECT 1 FROM followers_listmember WHERE list_id = l.id AND account_id = p.in_reply_to_account_id")
_ON_LISTS = f"""
    SELECT p.id, l.id {_ASKED}
    JOIN followers_listmember m ON m.account_id = p.author_id AND m.list_id = ANY(%(listening)s::bigint[])
    JOIN followers_list l ON l.id = m.list_id
    WHERE """
_LISTS = _ON_LISTS + (
    f"{ON_LIST.format(replies='l.replies_policy', to_a_member=_MEMBER)}"
    f" AND {VISIBLE.format(post='p')} AND NOT {HIDDEN.format(post='p')}"
).replace("%(viewer)s", "l.owner_id")
_LISTS_ONCE = _ON_LISTS + ADDRESSED.format(post="p").replace("%(viewer)s", "l.owner_id")

# Of a public post. Who has no block with, and mutes, nobody of those that it is by or mentions, sees it as everybody does:
# the rules are asked for the few others.
_DENIED = f"""
    WITH people AS (
        SELECT p.id AS post_id, p.author_id AS id {_ASKED}
        UNION SELECT post_id, account_id FROM feeds_mention WHERE post_id = ANY(%(posts)s::bigint[])),
    suspects AS (
        SELECT post_id, blocker_id AS id FROM people JOIN followers_block ON blocked_id = people.id
        WHERE blocker_id = ANY(%(listening)s::bigint[])
        UNION SELECT post_id, blocked_id FROM people JOIN followers_block ON blocker_id = people.id
        WHERE blocked_id = ANY(%(listening)s::bigint[])
        UNION SELECT post_id, account_id FROM people JOIN followers_mute ON target_id = people.id
        WHERE account_id = ANY(%(listening)s::bigint[]))
    SELECT p.id, s.id FROM suspects s JOIN feeds_post p ON p.id = s.post_id
    WHERE NOT ({VISIBLE.format(post="p")} AND NOT {HIDDEN.format(post="p")})""".replace("%(viewer)s", "s.id")

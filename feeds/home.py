"""A page of a home timeline. Only reads.

Redis is asked first, then one statement decides. Redis gives ids within the cursor's bounds and says down to where it is
complete (coverage); the statement adds what is never stored (the reader's own posts, pull accounts, followed tags), and
below the coverage everybody's, and says which of them the rows of now make candidates. So a wrong entry in Redis is dirt,
never a leak, and the end of Redis is not the end of the page. docs/semantics.md has the definition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from followers.models import Account

from . import metrics, timelines
from .database import REDIS_AWAY, exists, prepared_lines
from .entities import CONVERSATION, JOIN, MARKED, VERSIONS, Ref
from .models import BY_VIEWER, ID_END, LOOKED_UP, Facts, hidden_joined, visible_joined
from .posts import Cursor, Page
from .timelines import Stored

ROUNDS = 10  # most statements for one page, however many of its candidates the reader must not see
ROUND_MOST = 1_000  # ids a statement looks at; each round takes twice as many as the one before
HELD_MOST = 10_000  # lines in a process's memory, of 0.7 KB each
NEIGHBOURS = 40  # candidates below a reblog among which the same post, or another reblog of it, makes it superfluous

# Where ids come from, besides Redis. In braces: {order} is DESC for the newest, ASC for those nearest to `above`; {deep} is
# _DEEP where Redis ends, else nothing.
_SOURCES = f"""
    SELECT unnest(%(stored)s::bigint[]) AS id
    UNION (
        SELECT id FROM feeds_post
        WHERE author_id = %(viewer)s AND deleted_at IS NULL AND id < %(below)s AND id > %(above)s
        ORDER BY id {{order}} LIMIT %(count)s)
    UNION (
        SELECT p.id FROM followers_follow f JOIN followers_account a ON a.id = f.followee_id AND a.ever_pulled
        CROSS JOIN LATERAL (
            SELECT id FROM feeds_post
            WHERE author_id = f.followee_id AND deleted_at IS NULL AND home_mode = 'pull'
              AND id < %(below)s AND id > %(above)s
            ORDER BY id {{order}} LIMIT %(count)s) p
        WHERE f.{BY_VIEWER}
        ORDER BY p.id {{order}} LIMIT %(count)s)
    UNION (
        SELECT p.post_id FROM feeds_tagfollow f CROSS JOIN LATERAL (
            SELECT post_id FROM feeds_posttag
            WHERE tag_id = f.tag_id AND post_id < %(below)s AND post_id > %(above)s
            ORDER BY post_id {{order}} LIMIT %(count)s) p
        WHERE f.account_id = %(viewer)s
        ORDER BY p.post_id {{order}} LIMIT %(count)s)
    {{deep}}"""
_DEEP = """UNION (
        SELECT p.id FROM followers_follow f CROSS JOIN LATERAL (
            SELECT id FROM feeds_post
            WHERE author_id = f.followee_id AND deleted_at IS NULL AND id < %(deep_below)s AND id > %(above)s
            ORDER BY id {order} LIMIT %(count)s) p
        WHERE f.follower_id = %(viewer)s
        ORDER BY p.id {order} LIMIT %(count)s)"""

# The definition, but for its rule (d), which looks at neighbours: `_Walk` and `page` apply that one. Its rules have names,
# since explain.py says which of them a post breaks; listeners.py asks for all of them, and a page, too.


def _followed(facts: Facts, tagged: str) -> str:
    return f"(p.author_id = %(viewer)s OR {facts.followed.format(account='p.author_id')} OR {tagged})"


def _reply_shown(facts: Facts) -> str:
    return f"""(p.in_reply_to_account_id IS NULL OR p.in_reply_to_account_id IN (p.author_id, %(viewer)s)
    OR {facts.followed.format(account="p.in_reply_to_account_id")})"""


def _candidate(facts: Facts, *, tagged: str, without_reblogs: str, on_exclusive_list: str) -> str:
    return f"""
    p.home_mode <> 'none' AND {_followed(facts, tagged)}
    AND {visible_joined(facts)} AND NOT {hidden_joined(facts)}
    AND {_reply_shown(facts)} AND (p.reblog_of_id IS NULL OR NOT {without_reblogs}) AND NOT {on_exclusive_list}"""


_TAGGED = exists(
    """SELECT 1 FROM feeds_posttag t JOIN feeds_tagfollow f ON f.tag_id = t.tag_id
        WHERE t.post_id = p.id AND f.account_id = %(viewer)s"""
)
_WITHOUT_REBLOGS = exists(
    f"SELECT 1 FROM followers_follow WHERE followee_id = p.author_id AND {BY_VIEWER} AND NOT reblogs"
)
ON_EXCLUSIVE_LIST = exists(
    """SELECT 1 FROM followers_list l JOIN followers_listmember m ON m.list_id = l.id
        WHERE l.owner_id = %(viewer)s AND l.exclusive AND m.account_id = p.author_id"""
)
FOLLOWED = _followed(LOOKED_UP, _TAGGED)
REPLY_SHOWN = _reply_shown(LOOKED_UP)
REBLOG_SHOWN = f"(p.reblog_of_id IS NULL OR NOT {_WITHOUT_REBLOGS})"
CANDIDATE = _candidate(LOOKED_UP, tagged=_TAGGED, without_reblogs=_WITHOUT_REBLOGS, on_exclusive_list=ON_EXCLUSIVE_LIST)
"""Of a post `p` by an account `a`, that reblogs `o` by `oa`, if anything."""

# A page's statement asks other tables once for all its posts, not once for each: to look something up takes PostgreSQL a
# microsecond, to begin with it several. `known` is one row of arrays, of ids of accounts or posts.
_THIS_VIEWER = "BETWEEN %(viewer)s AND %(viewer)s"  # for the same reason as BY_VIEWER
_KNOWN = {
    "followed": f"""SELECT found.followee_id FROM unnest(accounts) one (id) CROSS JOIN LATERAL (
        SELECT followee_id FROM followers_follow WHERE followee_id = one.id AND {BY_VIEWER} OFFSET 0) found""",
    "without_reblogs": f"""SELECT found.followee_id FROM unnest(rebloggers) one (id) CROSS JOIN LATERAL (
        SELECT followee_id FROM followers_follow
        WHERE followee_id = one.id AND {BY_VIEWER} AND NOT reblogs OFFSET 0) found""",
    "blocked": f"""SELECT blocked_id FROM followers_block
        WHERE blocker_id = %(viewer)s AND blocked_id = ANY(accounts)
        UNION ALL SELECT blocker_id FROM followers_block
        WHERE blocker_id = ANY(accounts) AND blocked_id {_THIS_VIEWER}""",
    "muted": """SELECT target_id FROM followers_mute
        WHERE account_id = %(viewer)s AND target_id = ANY(accounts) AND (expires_at IS NULL OR expires_at > now())""",
    "mentioned": f"SELECT post_id FROM feeds_mention WHERE post_id = ANY(addressed) AND account_id {_THIS_VIEWER}",
    "names_blocked": f"""SELECT post_id FROM feeds_mention m
        WHERE post_id = ANY(posts) AND {LOOKED_UP.blocked.format(account="m.account_id")}""",
    "tagged": """SELECT t.post_id FROM feeds_tagfollow f JOIN feeds_posttag t ON t.tag_id = f.tag_id
        WHERE f.account_id = %(viewer)s AND t.post_id = ANY(posts)""",
    "on_exclusive_list": """SELECT m.account_id FROM followers_list l JOIN followers_listmember m ON m.list_id = l.id
        WHERE l.owner_id = %(viewer)s AND l.exclusive AND m.account_id = ANY(accounts)""",
    "favourited": f"SELECT post_id FROM feeds_favourite WHERE post_id = ANY(marked) AND account_id {_THIS_VIEWER}",
    "bookmarked": f"SELECT post_id FROM feeds_bookmark WHERE post_id = ANY(marked) AND account_id {_THIS_VIEWER}",
    "reblogged": """SELECT reblog_of_id FROM feeds_post
        WHERE author_id = %(viewer)s AND reblog_of_id = ANY(marked) AND deleted_at IS NULL""",
    "conversations_muted": """SELECT conversation_id FROM feeds_conversationmute
        WHERE account_id = %(viewer)s AND conversation_id = ANY(conversations)""",
}


def _in(known: str, column: str) -> str:
    return f"{column} = ANY(known.{known})"


_SHOWN = _candidate(
    Facts(
        followed=_in("followed", "{account}"),
        blocked=_in("blocked", "{account}"),
        muted=_in("muted", "{account}"),
        mentioned=_in("mentioned", "{post}.id"),
        names_blocked=_in("names_blocked", "{post}.id"),
    ),
    tagged=_in("tagged", "p.id"),
    without_reblogs=_in("without_reblogs", "p.author_id"),
    on_exclusive_list=_in("on_exclusive_list", "p.author_id"),
)
_MARKS = ", ".join(
    (
        *(_in(known, MARKED) for known in ("favourited", "bookmarked", "reblogged")),
        _in("conversations_muted", CONVERSATION),
    )
)
_SELECTED = f"coalesce({_SHOWN}, false), {VERSIONS}, {_MARKS}"
_COLUMN = re.compile(r"\b(p|a|o|oa)\.(\w+)")  # of the tables of JOIN
_COLUMNS = sorted(set(_COLUMN.findall(_SELECTED)))


def _of_page(sql: str) -> str:
    """The same of the table `page`, in which the columns of all four stand side by side."""
    return _COLUMN.sub(r"page.\1_\2", sql)


def _all(*columns: str, only: str = "{} IS NOT NULL") -> str:
    return _of_page(" || ".join(f"array_agg({one}) FILTER (WHERE {only.format(one)})" for one in columns))


_STATEMENT = f"""
    WITH candidates AS ({_SOURCES}),
    scanned AS (SELECT id FROM candidates ORDER BY id {{order}} LIMIT %(count)s),
    page AS MATERIALIZED (
        SELECT scanned.id, {", ".join(f"{table}.{column} AS {table}_{column}" for table, column in _COLUMNS)}
        FROM scanned LEFT JOIN feeds_post p ON p.id = scanned.id {JOIN}),
    asked AS (
        SELECT {_all("p.author_id", "o.author_id", "p.in_reply_to_account_id")} AS accounts,
            {_all("p.author_id", only="p.reblog_of_id IS NOT NULL")} AS rebloggers,
            {_all("p.id", "o.id")} AS posts,
            {_all("p.id", only="p.visibility IN ('private', 'direct')")}
                || {_all("o.id", only="o.visibility IN ('private', 'direct')")} AS addressed,
            {_all(MARKED)} AS marked, {_all(CONVERSATION)} AS conversations
        FROM page),
    known AS MATERIALIZED (SELECT {", ".join(f"ARRAY({ask}) AS {name}" for name, ask in _KNOWN.items())} FROM asked)
    SELECT ROW(page.id, {_of_page(_SELECTED)})::text FROM page CROSS JOIN known ORDER BY page.id {{order}}
"""


@cache
def _statement(order: str, deep: bool) -> str:
    return _STATEMENT.format(order=order, deep=_DEEP.format(order=order) if deep else "")


@lru_cache(HELD_MOST)
def _read(line: bytes) -> tuple[int, Ref | None]:
    """A row of the statement's, as PostgreSQL writes it: the id, and, if it is a candidate's, the reference.

    Many readers are told the same of a post. To take a line for what it was before is faster than to read it.
    """
    post_id, shown, *columns = line[1:-1].split(b",")
    if shown == b"f":
        return int(post_id), None
    numbers = [int(one) if one else None for one in columns[:8]]
    return int(post_id), Ref._make((*numbers, *(one == b"t" for one in columns[8:])))


def page(viewer: Account, cursor: Cursor) -> Page:
    """The viewer's home timeline within the cursor, refilled to its limit where posts may not be shown.

    A page that ROUNDS cut short has a next one, even if it is empty; a page without a next one is the end.
    """
    return _upwards(viewer, cursor) if cursor.nearest else _downwards(viewer, cursor)


def _downwards(viewer: Account, cursor: Cursor) -> Page:
    walk = _Walk(viewer.pk, start=cursor.below, count=cursor.limit + 1)
    above, shown, place, cut_at = cursor.above, list[Ref](), 0, None
    while len(shown) <= cursor.limit:
        if not (place < len(walk.found) or walk.reach(place)) or walk.found[place].post_id <= above:
            cut_at = None if place < len(walk.found) or walk.ended else walk.last
            break
        one = walk.found[place]
        if one.original_id and not walk.reach(place + NEIGHBOURS) and not walk.ended and place:
            # Not known yet whether it is superfluous: the next page begins with it.
            cut_at = walk.found[place - 1].post_id
            break
        if not one.original_id or not _superfluous(one, walk.found[place + 1 :]):
            shown.append(one)
        place += 1
    refs = shown[: cursor.limit]
    end = cut_at if len(shown) <= cursor.limit else refs[-1].post_id
    return Page(refs, end, refs[0].post_id if refs else None, walk.built)


def _upwards(viewer: Account, cursor: Cursor) -> Page:
    """Immediately above `cursor.above`. What lies below it decides, too, which reblogs are superfluous."""
    walk = _Walk(viewer.pk, start=cursor.above, count=cursor.limit + 1, upwards=True)
    under = _Walk(viewer.pk, start=cursor.above + 32, count=NEIGHBOURS)
    shown, place = list[Ref](), 0
    while len(shown) < cursor.limit and walk.reach(place):
        one = walk.found[place]
        if one.post_id >= cursor.below:
            break
        if one.original_id:
            under.reach(NEIGHBOURS - 1 - place)
        below = [*walk.found[:place][::-1], *under.found]
        if not _superfluous(one, below):
            shown.append(one)
        place += 1
    refs = shown[::-1]
    cut_short = len(shown) < cursor.limit and not walk.ended
    prev = walk.last if cut_short else refs[0].post_id if refs else None
    return Page(refs, refs[-1].post_id if refs else None, prev, walk.built and under.built)


def superfluous(viewer: Account, post_id: int) -> bool:
    """Whether rule (d) keeps a candidate off the timeline, by the rows alone."""
    walk = _WalkOfRows(viewer.pk, start=post_id + 32, count=NEIGHBOURS + 1)
    walk.reach(NEIGHBOURS)
    return bool(walk.found) and walk.found[0].post_id == post_id and _superfluous(walk.found[0], walk.found[1:])


def _superfluous(one: Ref, below: list[Ref]) -> bool:
    """Rule (d): a reblog of what is shown, or reblogged, just below it."""
    same = one.original_id
    return same is not None and any(same in (other.post_id, other.original_id) for other in below[:NEIGHBOURS])


@dataclass
class _Walk:
    """Candidates in their order, from `start` on (exclusive), found by as many statements as it takes, ROUNDS at most.

    `ended`: there are no more. `last`: the last id looked at, candidate or not. `built`: Redis had the timeline.
    """

    reader_id: int
    start: int
    count: int
    upwards: bool = False
    found: list[Ref] = field(default_factory=list)
    rounds: int = 0
    ended: bool = False
    built: bool = True

    def __post_init__(self) -> None:
        self.last = self.start

    def reach(self, place: int) -> bool:
        """Whether there is a candidate at this place, counted from 0. False, too, if ROUNDS were not enough to know."""
        while place >= len(self.found) and not self.ended and self.rounds < ROUNDS:
            count = min(max(self.count, place - len(self.found)) << self.rounds, ROUND_MOST)
            scanned = self._scan(count)
            self.found += [one for _, one in scanned if one]
            self.rounds += 1
            self.ended = len(scanned) < count
            self.last = scanned[-1][0] if scanned else self.last
        return place < len(self.found)

    def _scan(self, count: int) -> list[tuple[int, Ref | None]]:
        below, above = (ID_END, self.last) if self.upwards else (self.last, 0)
        stored = self._stored(below, above, count)
        self.built = self.built and stored is not None
        # What Redis said decides what PostgreSQL has to add: it must be asked before.
        if stored is None or (self.upwards and above < stored.cover):
            ids, deep, deep_below = list[int](), True, below  # all of it comes from PostgreSQL
        else:
            ids, deep_below = stored.ids, min(below, stored.cover + 1)
            deep = not self.upwards and len(ids) < count and stored.cover > above
        lines = prepared_lines(
            _statement("ASC" if self.upwards else "DESC", deep),
            viewer=self.reader_id,
            stored=ids,
            below=below,
            above=above,
            count=count,
            deep_below=deep_below,
        )
        return [_read(line) for line in lines]

    def _stored(self, below: int, above: int, count: int) -> Stored | None:
        try:
            return timelines.page(self.reader_id, below=below, above=above, count=count, nearest=self.upwards)
        except REDIS_AWAY:
            metrics.redis_down.inc()
            return None


class _WalkOfRows(_Walk):
    """As if Redis had nothing: what the timeline is, whatever is stored of it."""

    def _stored(self, below: int, above: int, count: int) -> Stored | None:
        return None

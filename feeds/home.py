"""A page of a home timeline. Only reads.

Redis is asked first, then one statement decides. Redis gives ids within the cursor's bounds and says down to where it is
complete (coverage); the statement adds what is never stored (the reader's own posts, pull accounts, followed tags), and
below the coverage everybody's, and says which of them the rows of now make candidates. So a wrong entry in Redis is dirt,
never a leak, and the end of Redis is not the end of the page. docs/semantics.md has the definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from operator import itemgetter, or_
from typing import Any, NamedTuple

from followers.models import Account

from . import metrics, timelines
from .database import REDIS_AWAY, exists, prepared, prepared_lines
from .entities import JOIN, Ref, ref_columns
from .models import BY_VIEWER, FACTS, ID_END, NOBODY_HIDDEN, hidden_joined, visible_joined
from .posts import Cursor, Page
from .timelines import Stored

ROUNDS = 10  # most statements for one page, however many of its candidates the reader must not see
ROUND_MOST = 1_000  # ids a statement looks at; each round takes twice as many as the one before
HELD_MOST = 10_000  # lines in a process's memory, of 0.7 KB each
NEIGHBOURS = 40  # candidates below a reblog among which the same post, or another reblog of it, makes it superfluous

# Where ids come from, besides Redis. In braces: {order} is DESC for the newest, ASC for those nearest to `above`.
_STORED = "SELECT unnest(%(stored)s::bigint[]) AS id"
_OWN = """(
        SELECT id FROM feeds_post
        WHERE author_id = %(viewer)s AND deleted_at IS NULL AND id < %(below)s AND id > %(above)s
        ORDER BY id {order} LIMIT %(count)s)"""
_OF_PULLED = f"""(
        SELECT p.id FROM followers_follow f JOIN followers_account a ON a.id = f.followee_id AND a.ever_pulled
        CROSS JOIN LATERAL (
            SELECT id FROM feeds_post
            WHERE author_id = f.followee_id AND deleted_at IS NULL AND home_mode = 'pull'
              AND id < %(below)s AND id > %(above)s
            ORDER BY id {{order}} LIMIT %(count)s) p
        WHERE f.{BY_VIEWER}
        ORDER BY p.id {{order}} LIMIT %(count)s)"""
_BY_TAG = """(
        SELECT p.post_id FROM feeds_tagfollow f CROSS JOIN LATERAL (
            SELECT post_id FROM feeds_posttag
            WHERE tag_id = f.tag_id AND post_id < %(below)s AND post_id > %(above)s
            ORDER BY post_id {order} LIMIT %(count)s) p
        WHERE f.account_id = %(viewer)s
        ORDER BY p.post_id {order} LIMIT %(count)s)"""
_DEEP = """(
        SELECT p.id FROM followers_follow f CROSS JOIN LATERAL (
            SELECT id FROM feeds_post
            WHERE author_id = f.followee_id AND deleted_at IS NULL AND id < %(deep_below)s AND id > %(above)s
            ORDER BY id {order} LIMIT %(count)s) p
        WHERE f.follower_id = %(viewer)s
        ORDER BY p.id {order} LIMIT %(count)s)"""

# The definition, but for its rule (d), which looks at neighbours: `_Walk` and `page` apply that one. Its rules have names,
# since explain.py says which of them a post breaks; listeners.py asks for all of them, and a page, too.
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


def _followed(tagged: str = _TAGGED) -> str:
    return f"(p.author_id = %(viewer)s OR {FACTS.followed.format(account='p.author_id')} OR {tagged})"


FOLLOWED = _followed()
REPLY_SHOWN = f"""(p.in_reply_to_account_id IS NULL OR p.in_reply_to_account_id IN (p.author_id, %(viewer)s)
    OR {FACTS.followed.format(account="p.in_reply_to_account_id")})"""
REBLOG_SHOWN = f"(p.reblog_of_id IS NULL OR NOT {_WITHOUT_REBLOGS})"


def _candidate(*, hid: bool = True, kept: bool = True) -> str:
    facts = FACTS if hid else NOBODY_HIDDEN
    return f"""
    p.home_mode <> 'none' AND {_followed(_TAGGED if kept else "false")}
    AND {visible_joined(facts)} AND NOT {hidden_joined(facts)}
    AND {REPLY_SHOWN} AND {REBLOG_SHOWN} AND NOT {ON_EXCLUSIVE_LIST if hid else "false"}"""


CANDIDATE = _candidate()
"""Of a post `p` by an account `a`, that reblogs `o` by `oa`, if anything."""


class _Needs(NamedTuple):
    """What a page has to ask for. Of a reader `v` who did nothing like it, there is nothing to find."""

    hid: Any  # somebody, or was hidden from (Account.ever_hid)
    kept: Any  # (Account.ever_kept)
    wrote: Any  # a post that lives
    pulls: Any  # anybody at all does: some account's posts are, or were, pulled


_NEEDED = _Needs(
    hid="v.ever_hid",
    kept="v.ever_kept",
    wrote=exists("SELECT 1 FROM feeds_post WHERE author_id = %(viewer)s::bigint AND deleted_at IS NULL"),
    pulls=exists("SELECT 1 FROM followers_account WHERE ever_pulled"),
)

# What a reader never did is not asked for: PostgreSQL takes microseconds to get ready for each look-up, needed or not. So
# there is a statement for each combination of needs. The very snapshot that it answers from must agree that what is left
# out is not needed, else it gives no row at all. One that does, and has no candidates, gives a row of NULLs.
_STATEMENT = """
    SELECT ROW(p.id, coalesce({shown}, false), {ref})::text
    FROM followers_account v LEFT JOIN feeds_post p ON p.id = ANY({ids}) {join}
    WHERE v.id = %(viewer)s::bigint{alike} ORDER BY p.id {order}
"""
_NEWEST_OF = "ARRAY(SELECT id FROM ({sources}) candidates ORDER BY id {order} LIMIT %(count)s)"
_NO_CANDIDATES = b"(,"
_WHAT_IS_NEEDED = f"SELECT {', '.join(_NEEDED)} FROM followers_account v WHERE id = %(viewer)s::bigint"


@cache
def _statement(order: str, *, deep: bool, needs: _Needs) -> str:
    more = [(_OWN, needs.wrote), (_OF_PULLED, needs.pulls), (_BY_TAG, needs.kept), (_DEEP, deep)]
    sources = [_STORED, *(source.format(order=order) for source, needed in more if needed)]
    several = _NEWEST_OF.format(sources=" UNION ".join(sources), order=order)
    return _STATEMENT.format(
        ids=several if len(sources) > 1 else "%(stored)s::bigint[]",
        order=order,
        shown=_candidate(hid=needs.hid, kept=needs.kept),
        ref=ref_columns(kept=needs.kept),
        join=JOIN,
        alike="".join(f" AND NOT {fact}" for fact, needed in zip(_NEEDED, needs, strict=True) if not needed),
    )


_somebody_pulls = False  # as far as this process knows; for good, since ever_pulled is


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
    walk = _Walk(viewer, start=cursor.below, count=cursor.limit + 1)
    found, above, limit = walk.found, cursor.above, cursor.limit
    shown, place, cut_at = list[Ref](), 0, None
    while len(shown) <= limit:
        if not (place < len(found) or walk.reach(place)) or found[place].post_id <= above:
            cut_at = None if place < len(found) or walk.ended else walk.last
            break
        one = found[place]
        if one.original_id and not walk.reach(place + NEIGHBOURS) and not walk.ended and place:
            # Not known yet whether it is superfluous: the next page begins with it.
            cut_at = found[place - 1].post_id
            break
        if not one.original_id or not _superfluous(one, found[place + 1 :]):
            shown.append(one)
        place += 1
    refs = shown[: cursor.limit]
    end = cut_at if len(shown) <= cursor.limit else refs[-1].post_id
    return Page(refs, end, refs[0].post_id if refs else None, walk.built)


def _upwards(viewer: Account, cursor: Cursor) -> Page:
    """Immediately above `cursor.above`. What lies below it decides, too, which reblogs are superfluous."""
    walk = _Walk(viewer, start=cursor.above, count=cursor.limit + 1, upwards=True)
    under = _Walk(viewer, start=cursor.above + 32, count=NEIGHBOURS)
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
    walk = _WalkOfRows(viewer, start=post_id + 32, count=NEIGHBOURS + 1)
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

    reader: Account
    start: int
    count: int
    upwards: bool = False
    found: list[Ref] = field(default_factory=list)
    rounds: int = 0
    ended: bool = False
    built: bool = True

    def __post_init__(self) -> None:
        reader, self.last = self.reader, self.start
        self.needs = _Needs(reader.ever_hid, reader.ever_kept, reader.last_status_at is not None, _somebody_pulls)

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
        values = {"stored": ids, "below": below, "above": above, "count": count, "deep_below": deep_below}
        lines = self._lines(deep, values)
        found = [] if lines[0].startswith(_NO_CANDIDATES) else [_read(line) for line in lines]
        if len(found) < count:  # Redis may have some of which there is no row
            found += [(one, None) for one in set(ids).difference(post_id for post_id, _ in found)]
            found.sort(key=itemgetter(0), reverse=not self.upwards)
        return found[:count]

    def _lines(self, deep: bool, values: dict[str, Any]) -> list[bytes]:
        global _somebody_pulls
        order, reader_id = "ASC" if self.upwards else "DESC", self.reader.id
        while True:  # five times at most: what is needed once stays so
            statement = _statement(order, deep=deep, needs=self.needs)
            if lines := prepared_lines(statement, viewer=reader_id, **values):
                return lines
            needs = prepared(_WHAT_IS_NEEDED, viewer=reader_id)
            if not needs:
                raise Account.DoesNotExist("No such account")
            known = _Needs._make(map(or_, self.needs, needs[0]))
            # Nothing new: what the reader had written was deleted in between. To ask for it does no harm, and this ends.
            self.needs = known if known != self.needs else known._replace(wrote=True)
            _somebody_pulls = _somebody_pulls or known.pulls

    def _stored(self, below: int, above: int, count: int) -> Stored | None:
        try:
            return timelines.page(self.reader.id, below=below, above=above, count=count, nearest=self.upwards)
        except REDIS_AWAY:
            metrics.redis_down.inc()
            return None


class _WalkOfRows(_Walk):
    """As if Redis had nothing: what the timeline is, whatever is stored of it."""

    def _stored(self, below: int, above: int, count: int) -> Stored | None:
        return None

"""The fan-out of posts, in the order in which it happens: plan, deliver each batch, finish.

A batch is a range of the author's follow index, never a list of ids: PostgreSQL packs the ids of the range into strings,
Redis unpacks them, Python never touches the single follower. Posts with small audiences go many at a time, in the same
steps (`plan_small`, `deliver_small`). Taking a deleted post back is a fan-out too, of the kind 'retract'. All of it can be
called without a worker; tasks.py composes the chord. docs/protocol.md explains the steps.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from . import logs, timelines
from .database import STORE_ERRORS, changed, exists, is_away, likely, prepared, rows
from .models import Kind, Post, PostMode

EVERYBODY = (1 << 63) - 1  # above every account id and every follow id
# Part of an author's followers, in their order: a walk along the follow index, from `lo` to before `hi`, and nothing else.
# No other index has this order. Of a comparison of pairs PostgreSQL can't tell the partition, where there are any; and beside
# "followee_id =" it would begin at the author's first follower, and not at `lo`.
_RANGE = """SELECT follower_id, id FROM followers_follow
    WHERE followee_id = {author} AND follower_id >= {lo} AND follower_id < {hi}
    ORDER BY followee_id, follower_id OFFSET {skip}"""
COUNTED = ("delivered", "skipped_inactive", "skipped_hidden", "gone")  # of each batch
Counts = Counter[str]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A batch in our hands until the lease runs out; `lease_no` is the token that the closing statement shows."""

    post_id: int
    kind: str
    batch_no: int
    lease_no: int
    author_id: int
    lo: int
    hi: int
    size: int
    cut: int
    direct: bool
    deadline: int
    request_id: str | None = None  # of the post's; where many are together, their task knows them


@dataclass(frozen=True)
class Range:
    """What a batch's range holds now. `chunks` are packed ids of those who should have the post."""

    wanted: bool
    found: int
    hidden: int
    chunks: list[str]


def plan(post_id: int, kind: str) -> int | None:
    """Splits the author's followers into batches. How many, or None if somebody else planned it.

    One statement, so that the ranges, their sizes, the audience and the cut are of one snapshot. The recursion jumps
    through the follow index a batch at a time; the last batch alone is counted. A post that is deleted, cancelled or
    pulled has no batches to push, and without a batch the delivery is closed at once.
    """
    ahead = _RANGE.format(author="(SELECT author_id FROM wanted)", lo="{lo}", hi="%(everybody)s", skip="{skip}")
    found = rows(
        f"""
        WITH RECURSIVE due AS MATERIALIZED (
            SELECT d.id, p.author_id, p.deleted_at IS NULL AND p.home_mode = 'pull' AND d.kind = 'push' AS pulled
            FROM feeds_delivery d JOIN feeds_post p ON p.id = d.post_id
            WHERE d.post_id = %(post_id)s AND d.kind = %(kind)s AND {likely("d.state = 'queued'")}
            FOR UPDATE OF d SKIP LOCKED),
        wanted AS (
            SELECT due.author_id FROM due JOIN feeds_post p ON p.id = %(post_id)s
            WHERE CASE %(kind)s
                WHEN 'push' THEN p.deleted_at IS NULL AND p.home_mode = 'push' ELSE p.home_mode <> 'pull' END),
        jump (batch_no, lo) AS (
            SELECT 0, (SELECT follower_id FROM ({ahead.format(lo=0, skip=0)} LIMIT 1) f) FROM wanted
            UNION ALL
            SELECT batch_no + 1, (SELECT follower_id FROM ({ahead.format(lo="jump.lo", skip="%(batch)s")} LIMIT 1) f)
            FROM jump WHERE lo IS NOT NULL),
        ranges AS (
            SELECT batch_no, CASE batch_no WHEN 0 THEN 0 ELSE lo END AS lo,
                coalesce(lead(lo) OVER (ORDER BY batch_no), %(everybody)s) AS hi
            FROM jump WHERE lo IS NOT NULL),
        sized AS (
            SELECT *, CASE WHEN hi < %(everybody)s THEN %(batch)s ELSE (
                SELECT count(*) FROM ({ahead.format(lo="ranges.lo", skip=0)}) f) END AS size
            FROM ranges),
        planned AS (
            INSERT INTO feeds_batch (post_id, kind, batch_no, author_id, lo, hi, size, attempts_allowed)
            SELECT %(post_id)s, %(kind)s, batch_no, (SELECT author_id FROM wanted), lo, hi, size, %(attempts)s
            FROM sized
            RETURNING size)
        UPDATE feeds_delivery d SET planned_at = now(), batches = total.batches,
            audience = CASE WHEN due.pulled THEN a.followers_count ELSE total.audience END,
            pulled = CASE WHEN due.pulled THEN a.followers_count ELSE 0 END,
            cut = coalesce((
                -- The newest follow, by an index that only this order fits: of max(id) PostgreSQL may guess that the way
                -- back from the newest follow of all is a short one.
                SELECT id FROM followers_follow WHERE followee_id >= due.author_id AND followee_id <= due.author_id
                ORDER BY followee_id, id DESC LIMIT 1), 0),
            state = CASE total.batches WHEN 0 THEN 'closed' ELSE 'pushing' END,
            closed_by = CASE total.batches WHEN 0 THEN 'inline' END,
            finished_at = CASE total.batches WHEN 0 THEN now() END
        FROM due JOIN followers_account a ON a.id = due.author_id,
            (SELECT coalesce(sum(size), 0) AS audience, count(*) AS batches FROM planned) total
        WHERE d.id = due.id RETURNING d.batches
        """,
        post_id=post_id,
        kind=kind,
        batch=settings.FANOUT_BATCH,
        attempts=settings.BATCH_ATTEMPTS,
        everybody=EVERYBODY,
    )
    return found[0][0] if found else None


def plan_small(post_ids: Iterable[int]) -> dict[int, Claim | None]:
    """Plans, and claims, those of the posts that fit one batch together, the smallest first: their claims by post.

    None is the claim of a post that nobody follows: it is delivered. Posts that are planned already, or not wanted, or
    too large, are left out. It is one statement, which commits the claims before anybody reads a range. Its OFFSET 0 have
    each row looked up by its id: else PostgreSQL, of tables that grew since it counted them, may walk through all of one.
    """
    everybody = _RANGE.format(author="wanted.author_id", lo=0, hi="%(everybody)s", skip=0)
    found = prepared(
        f"""
        WITH wanted AS MATERIALIZED (
            SELECT d.id, p.id AS post_id, p.author_id, p.visibility = 'direct' AS direct,
                sum(a.followers_count) OVER (ORDER BY a.followers_count, p.id) AS together
            FROM unnest(%(posts)s::bigint[]) i (id)
            CROSS JOIN LATERAL (SELECT * FROM feeds_post WHERE id = i.id AND {_WANTED} OFFSET 0) p
            CROSS JOIN LATERAL (
                SELECT id FROM feeds_delivery
                WHERE post_id = p.id AND kind = 'push' AND {likely("state = 'queued'")} OFFSET 0) d
            CROSS JOIN LATERAL (SELECT followers_count FROM followers_account WHERE id = p.author_id OFFSET 0) a),
        due AS MATERIALIZED (
            SELECT id FROM feeds_delivery
            WHERE id = ANY(ARRAY(SELECT id FROM wanted WHERE together <= %(batch)s)) AND {likely("state = 'queued'")}
            FOR UPDATE SKIP LOCKED),
        counted AS MATERIALIZED (
            SELECT wanted.*, f.size, f.cut FROM wanted CROSS JOIN LATERAL (
                SELECT count(*) AS size, coalesce(max(id), 0) AS cut FROM ({everybody} LIMIT %(batch)s + 1) e) f
            WHERE wanted.id = ANY(ARRAY(SELECT id FROM due)) AND f.size <= %(batch)s),
        planned AS (
            INSERT INTO feeds_batch (post_id, kind, batch_no, author_id, lo, hi, size, attempts_allowed,
                lease_no, attempts, lease_until, claimed_at)
            SELECT post_id, 'push', 0, author_id, 0, %(everybody)s, size, %(attempts)s,
                1, 1, now() + %(lease)s * interval '1 second', now()
            FROM counted WHERE size > 0),
        started AS (
            UPDATE feeds_delivery d SET planned_at = now(), batches = least(c.size, 1), audience = c.size, cut = c.cut,
                state = CASE c.size WHEN 0 THEN 'closed' ELSE 'pushing' END,
                closed_by = CASE c.size WHEN 0 THEN 'inline' END,
                finished_at = CASE c.size WHEN 0 THEN now() END
            FROM counted c WHERE d.id = c.id)
        SELECT post_id, 'push', 0, 1, author_id, 0, %(everybody)s, size, cut, direct,
            floor(extract(epoch FROM now() + %(fence)s * interval '1 second') * 1000)::bigint
        FROM counted
        """,
        posts=list(post_ids),
        batch=settings.FANOUT_BATCH,
        attempts=settings.BATCH_ATTEMPTS,
        everybody=EVERYBODY,
        lease=settings.LEASE,
        fence=settings.FENCE,
    )
    claims = [Claim(*columns) for columns in found]
    return {claim.post_id: claim if claim.size else None for claim in claims}


def deliver(post_id: int, kind: str, batch_no: int) -> str:
    """Runs one batch: claim, range, push, close. Each step is a statement of its own, and commits before the next.

    They must stay apart: an unfollow commits, then looks for claimed batches; a batch commits its claim, then reads its
    range. So one of the two always sees the other. Returns what became of it: 'done', 'not mine', 'late' or 'lost'.
    """
    claim = _claim(post_id, kind, batch_no)
    if claim is None:
        return "not mine"
    logs.about([claim.request_id])
    began = time.perf_counter()
    try:
        result = _push(claim) if kind == Kind.PUSH else _retract(claim)
    except STORE_ERRORS as error:
        if is_away(error):
            _give_back([claim])
        raise
    seconds = round(time.perf_counter() - began, 4)
    logs.say(log, "batch", post=post_id, kind=kind, batch=batch_no, size=claim.size, result=result, seconds=seconds)
    return result


def deliver_small(claims: list[Claim]) -> None:
    """Runs the batches of `plan_small`, one statement per step for all of them. Their plan was their claim.

    What is out of the ordinary with one of them is done for it alone, as `deliver` does it. Of an error nobody knows whose
    it was: then each that is not closed is given back, and comes again by itself.
    """
    try:
        ranges = _read_ranges(claims)
        counts = _push_together({claim: readers for claim, readers in ranges.items() if readers.wanted})
        if counts is None:
            return  # late: the leases run out
        closed = _close_all(counts)
        for claim in claims:
            if claim not in closed:
                _withdraw_unless_wanted(claim)
    except Exception as error:
        _give_back(claims, burned=0 if isinstance(error, STORE_ERRORS) and is_away(error) else 1)
        raise


def _push_together(ranges: dict[Claim, Range]) -> dict[Claim, Counts] | None:
    """The counts of what was pushed. None if Redis found it too late."""
    delivered: Counter[Claim] = Counter()
    for pairs in _calls(ranges):
        posts = [(claim.post_id, readers) for claim, readers in pairs]
        pushed = timelines.push_many(posts, deadline=min(claim.deadline for claim in ranges))
        if pushed is None:
            return None
        for (claim, _), reached in zip(pairs, pushed, strict=True):
            delivered[claim] += reached
    return {claim: _count(claim, readers, delivered[claim]) for claim, readers in ranges.items()}


def _calls(ranges: dict[Claim, Range]) -> Iterator[list[tuple[Claim, str]]]:
    """The chunks of all posts, some for each script call: PUSH_CHUNK readers or more, and less than twice as many.

    The oldest post first, which leaves less to be put in order.
    """
    call, size = [], 0
    for claim, readers in sorted(ranges.items(), key=lambda pair: pair[0].post_id):
        for chunk in readers.chunks:
            call.append((claim, chunk))
            size += chunk.count(",") + 1
            if size >= settings.PUSH_CHUNK:
                yield call
                call, size = [], 0
    if call:
        yield call


def _claim(post_id: int, kind: str, batch_no: int) -> Claim | None:
    found = prepared(
        f"""
        UPDATE feeds_batch b SET lease_no = lease_no + 1, attempts = attempts + 1,
            lease_until = now() + %(lease)s * interval '1 second', claimed_at = coalesce(claimed_at, now())
        FROM feeds_delivery d, feeds_post p
        WHERE b.post_id = %(post_id)s AND b.kind = %(kind)s AND b.batch_no = %(batch_no)s
          AND {likely("b.state = 'open'")}
          AND (b.lease_until IS NULL OR b.lease_until < now()) AND b.attempts < b.attempts_allowed
          AND d.post_id = b.post_id AND d.kind = b.kind AND p.id = b.post_id
        RETURNING b.lease_no, b.author_id, b.lo, b.hi, b.size, d.cut, p.visibility = 'direct',
            floor(extract(epoch FROM now() + %(fence)s * interval '1 second') * 1000)::bigint,
            (SELECT request_id FROM feeds_outbox WHERE subject_id = b.post_id
                AND task = CASE b.kind WHEN 'push' THEN 'fan_out_post' ELSE 'retract_post' END LIMIT 1)
        """,
        post_id=post_id,
        kind=kind,
        batch_no=batch_no,
        lease=settings.LEASE,
        fence=settings.FENCE,
    )
    return Claim(post_id, kind, batch_no, *found[0]) if found else None


def _push(claim: Claim) -> str:
    readers = _read_range(claim)
    if not readers.wanted:
        return _withdraw(claim)
    delivered = 0
    for chunk in readers.chunks:
        pushed = timelines.push(claim.post_id, chunk, deadline=claim.deadline)
        if pushed is None:
            return "late"
        delivered += pushed
    return "done" if _close(claim, _count(claim, readers, delivered)) else _withdraw_unless_wanted(claim)


def _count(claim: Claim, readers: Range, delivered: int) -> Counts:
    return Counter(
        delivered=delivered,
        skipped_inactive=readers.found - readers.hidden - delivered,
        skipped_hidden=readers.hidden,
        gone=claim.size - readers.found,
    )


def _withdraw_unless_wanted(claim: Claim) -> str:
    """The batch was not closed. If the post lives the lease went to another run, whose counts stand."""
    if Post.objects.live().filter(pk=claim.post_id, home_mode=PostMode.PUSH).exists():
        return "lost"
    return _withdraw(claim)


def _withdraw(claim: Claim) -> str:
    """The post died, or was cancelled: takes it out of the whole range, whatever an earlier run pushed, and to whomever."""
    for chunk in _read_range(replace(claim, cut=EVERYBODY)).chunks:
        timelines.remove(claim.post_id, chunk)
    found = _read_range(claim).found
    counts = Counter(skipped_hidden=found, gone=claim.size - found)
    return "done" if _close(claim, counts, of_the_dead=True) else "lost"


def _retract(claim: Claim) -> str:
    """Who followed after the plan needs nothing: a backfill looks whether the post lives."""
    readers = _read_range(claim)
    delivered = sum(timelines.remove(claim.post_id, chunk) for chunk in readers.chunks)
    counts = Counter(delivered=delivered, skipped_inactive=readers.found - delivered, gone=claim.size - readers.found)
    return "done" if _close(claim, counts, of_the_dead=True) else "lost"


def _read_range(claim: Claim) -> Range:
    return _read_ranges([claim])[claim]


def _read_ranges(claims: list[Claim]) -> dict[Claim, Range]:
    """The followers in each range with a follow id up to the cut, those to be served packed."""
    found = prepared(
        f"""
        SELECT c.place, (SELECT deleted_at IS NULL AND home_mode = 'push' FROM feeds_post WHERE id = c.post_id),
            f.found, f.shown, f.readers
        FROM unnest(%(posts)s::bigint[], %(authors)s::bigint[], %(los)s::bigint[], %(his)s::bigint[], %(cuts)s::bigint[],
            %(directs)s::boolean[]) WITH ORDINALITY c (post_id, author_id, lo, hi, cut, direct, place)
        CROSS JOIN LATERAL (
            SELECT count(*) AS found, count(*) FILTER (WHERE shown) AS shown,
                string_agg(follower_id::text, ',') FILTER (WHERE shown) AS readers
            FROM (
                SELECT follower_id, (NOT c.direct OR EXISTS (
                    SELECT 1 FROM feeds_mention WHERE post_id = c.post_id AND account_id = follower_id)) AS shown
                FROM ({_RANGE.format(author="c.author_id", lo="c.lo", hi="c.hi", skip=0)}) f
                WHERE f.id <= c.cut) f
        ) f
        """,
        posts=[claim.post_id for claim in claims],
        authors=[claim.author_id for claim in claims],
        los=[claim.lo for claim in claims],
        his=[claim.hi for claim in claims],
        cuts=[claim.cut for claim in claims],
        directs=[claim.direct and claim.kind == Kind.PUSH for claim in claims],
    )
    return {
        claims[place - 1]: Range(wanted, total, total - shown, _chunks(readers or "", shown))
        for place, wanted, total, shown, readers in found
    }


def _chunks(packed: str, count: int) -> list[str]:
    """The ids in strings of about PUSH_CHUNK. Cut by length: to number them takes PostgreSQL longer than to read them."""
    if count <= settings.PUSH_CHUNK:
        return [packed] if packed else []
    length = len(packed) * settings.PUSH_CHUNK // count
    chunks, start = [], 0
    while start < len(packed):
        end = packed.find(",", start + length)
        chunks.append(packed[start:] if end < 0 else packed[start:end])
        start = len(packed) if end < 0 else end + 1
    return chunks


def _close(claim: Claim, counts: Counts, *, of_the_dead: bool = False) -> bool:
    return bool(_close_all({claim: counts}, of_the_dead=of_the_dead))


def _close_all(counts: dict[Claim, Counts], *, of_the_dead: bool = False) -> set[Claim]:
    """Writes the batches' counts, once. It looks, too, whether each post is still wanted (unless `of_the_dead`).

    Those not closed have lost their lease to another run, or their post was deleted or cancelled meanwhile.
    """
    closed = set(
        prepared(
            f"""
            UPDATE feeds_batch b SET state = 'done', lease_until = NULL, closed_at = now(), error = NULL,
                delivered = w.delivered, skipped_inactive = w.skipped_inactive,
                skipped_hidden = w.skipped_hidden, gone = w.gone
            FROM unnest({_CLAIMS}, %(delivered)s::int[], %(skipped_inactive)s::int[], %(skipped_hidden)s::int[],
                %(gone)s::int[]) w ({_CLAIM}, delivered, skipped_inactive, skipped_hidden, gone)
            WHERE {_OURS}
              AND (%(of_the_dead)s OR {exists(f"SELECT 1 FROM feeds_post WHERE id = b.post_id AND {_WANTED}")})
            RETURNING b.post_id, b.kind, b.batch_no
            """,
            **{part: [count[part] for count in counts.values()] for part in COUNTED},
            of_the_dead=of_the_dead,
            **_claims(counts),
        )
    )
    return {claim for claim in counts if (claim.post_id, claim.kind, claim.batch_no) in closed}


def _give_back(claims: list[Claim], *, burned: int = 0) -> None:
    """The next run need not wait for the leases; of a store that failed no attempt is burned. `lease_no` stays risen."""
    with suppress(*STORE_ERRORS):  # PostgreSQL may be the store that failed: then the leases run out by themselves
        changed(
            f"""
            UPDATE feeds_batch b SET attempts = attempts - 1 + %(burned)s, lease_until = NULL, nudged_at = now()
            FROM unnest({_CLAIMS}) w ({_CLAIM}) WHERE {_OURS}
            """,
            burned=burned,
            **_claims(claims),
        )


_WANTED = likely("deleted_at IS NULL AND home_mode = 'push'")  # as it is, the index of the living may be walked through
_CLAIM = "post_id, kind, batch_no, lease_no"
_CLAIMS = "%(posts)s::bigint[], %(kinds)s::text[], %(numbers)s::int[], %(leases)s::int[]"
_OURS = f"""b.post_id = w.post_id AND b.kind = w.kind AND b.batch_no = w.batch_no AND b.lease_no = w.lease_no
    AND {likely("b.state = 'open'")}"""


def _claims(claims: Iterable[Claim]) -> dict[str, list[Any]]:
    return {
        "posts": [claim.post_id for claim in claims],
        "kinds": [claim.kind for claim in claims],
        "numbers": [claim.batch_no for claim in claims],
        "leases": [claim.lease_no for claim in claims],
    }


def finish(post_id: int, kind: str, closed_by: str) -> bool:
    return bool(finish_all([post_id], kind, closed_by))


def finish_all(post_ids: list[int], kind: str, closed_by: str) -> int:
    """Closes each delivery whose batches are all closed, with sums made afresh from their rows. Harmless at any time.

    Must come after the commit of the last batch's closing: of two last batches the later one then sees both.
    """
    closed = prepared(
        f"""
        UPDATE feeds_delivery d SET state = 'closed', closed_by = coalesce(closed_by, %(closed_by)s),
            finished_at = coalesce(finished_at, now()), delivered = s.delivered,
            skipped_inactive = s.skipped_inactive, skipped_hidden = s.skipped_hidden, gone = s.gone,
            failed = s.failed
        FROM (SELECT post_id, count(*) AS closed, sum(delivered) AS delivered,
                sum(skipped_inactive) AS skipped_inactive, sum(skipped_hidden) AS skipped_hidden, sum(gone) AS gone,
                coalesce(sum(size) FILTER (WHERE state = 'dead'), 0) AS failed
              FROM feeds_batch WHERE post_id = ANY(%(posts)s::bigint[]) AND kind = %(kind)s AND state <> 'open'
              GROUP BY post_id) s
        WHERE d.post_id = s.post_id AND d.kind = %(kind)s AND {likely("d.state = 'pushing'")} AND s.closed = d.batches
        RETURNING d.id
        """,
        posts=post_ids,
        kind=kind,
        closed_by=closed_by,
    )
    return len(closed)

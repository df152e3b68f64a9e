"""Compares home timelines in Redis with what PostgreSQL says they should hold, by a plan of its own.

None of the code that fills timelines is used: PostgreSQL joins follows with posts, Redis gives its lists as they are.
A stored timeline lies between two bounds: every live post of a followee above its coverage is in it, else it is missing;
everything in it is a live post of a followee, else it is a ghost. And each has the place that its id asks for.

The service goes on meanwhile. What an open delivery or an open work row may still mend is in flight, and no drift. What
changed between the look at Redis and the look at PostgreSQL is not there when both look again.

Nothing is mended here: the report names the readers whose timeline is not right, and who calls may have them rebuilt.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise

from django.conf import settings
from django.core.cache import cache
from django.db.models import Max
from django.utils import timezone

from followers.models import Account

from . import timelines
from .database import about, rows
from .models import Post
from .outbox import ATTEMPTS
from .timelines import Dump

READERS = 250  # looked at in one go: what is held in memory at a time
LOOKS = 3  # what differs in each of them is drift
EXAMPLES = 10
SAMPLE = 100  # readers of a look for the gauge
LAST_LOOK = "timelines:last_look"  # in the cache: lost with it, until the next look some minutes later

KINDS = ("missing", "ghosts", "misordered")

Entry = tuple[int, str]  # reader, member


@dataclass(frozen=True)
class Differences:
    """Entries that are not as they should be, as one look saw them; and how many others are in flight."""

    missing: set[Entry] = field(default_factory=set)
    ghosts: set[Entry] = field(default_factory=set)
    misordered: set[Entry] = field(default_factory=set)
    in_flight: int = 0

    def all(self) -> set[Entry]:
        return self.missing | self.ghosts | self.misordered

    def also_in(self, other: Differences) -> Differences:
        return Differences(
            self.missing & other.missing,
            self.ghosts & other.ghosts,
            self.misordered & other.misordered,
            self.in_flight,
        )


@dataclass
class Report:
    """What was compared, and the drift: `wrong` says for each reader concerned how much there is of each kind of it.

    `absent`: active accounts without a timeline. That is no drift, PostgreSQL serves them.
    """

    timelines: int = 0
    entries: int = 0
    missing: int = 0
    ghosts: int = 0
    misordered: int = 0
    in_flight: int = 0
    active: int = 0
    wrong: dict[int, Counter[str]] = field(default_factory=dict)
    absent: list[int] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def drift(self) -> int:
        return self.missing + self.ghosts + self.misordered

    @property
    def right(self) -> bool:
        """No drift; and that nothing at all was compared proves nothing, unless nobody is active."""
        return not self.drift and (self.timelines > 0 or self.active == 0)


Show = Callable[[int], None]


def verify(*, sample: int | None = None, show: Show = lambda done: None) -> Report:
    """Every account's timeline, or those of `sample` active accounts. `show` is told how many accounts are done."""
    report = Report(active=about(Account.objects.active()))
    return _compare_all(_everybody() if sample is None else _sample(sample), report, show)


def verify_readers(reader_ids: list[int], show: Show = lambda done: None) -> Report:
    """The timelines of these accounts."""
    active = sum(Account.objects.active().filter(pk__in=some).count() for some in _batches(reader_ids))
    return _compare_all(reader_ids, Report(active=active), show)


def verify_post(post_id: int, show: Show = lambda done: None) -> Report:
    """One post in the timelines of its author's active followers. Raises Post.DoesNotExist."""
    author = Post.objects.get(pk=post_id).author_id
    followers = (
        Account.objects.active().filter(follows_out__followee=author).order_by("pk").values_list("pk", flat=True)
    )
    return _compare_all(followers.iterator(), Report(active=followers.count()), show, only=post_id)


def look() -> Report:
    """A look at a few timelines, kept for `last_look`."""
    report = verify(sample=SAMPLE)
    found = {"drift": report.drift, "compared": report.timelines, "seen_at": timezone.now().timestamp()}
    cache.set(LAST_LOOK, found, timeout=None)
    return report


def last_look() -> dict[str, float]:
    """What the last look found: drift (entries), compared (timelines), seen_at (unix seconds). Empty if there was none."""
    return cache.get(LAST_LOOK) or {}


def _everybody() -> Iterator[int]:
    last = 0
    while found := list(Account.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:READERS]):
        yield from found
        last = found[-1]


def _sample(size: int) -> Iterable[int]:
    """From an account chosen at random on, and round: the index has them, however many accounts there are."""
    active = Account.objects.active().order_by("pk").values_list("pk", flat=True)
    start = secrets.randbelow((Account.objects.aggregate(last=Max("pk"))["last"] or 0) + 1)
    found = list(active.filter(pk__gte=start)[:size])
    return found + list(active.filter(pk__lt=start)[: size - len(found)])


def _batches(reader_ids: Iterable[int]) -> Iterator[list[int]]:
    """READERS at a time."""
    readers = iter(reader_ids)
    while some := list(islice(readers, READERS)):
        yield some


def _compare_all(reader_ids: Iterable[int], report: Report, show: Show, only: int | None = None) -> Report:
    done = 0
    for readers in _batches(reader_ids):
        _compare(readers, report, only)
        done += len(readers)
        show(done)
    return report


def _compare(readers: list[int], report: Report, only: int | None) -> None:
    dumps = _read(readers)
    built = [dump for dump in dumps.values() if dump.state == "built"]
    absent = [reader for reader, dump in dumps.items() if dump.state == "absent"]
    report.timelines += len(built)
    report.entries += sum(only is None or member == str(only) for dump in built for member in set(dump.entries))
    report.absent += Account.objects.active().filter(pk__in=absent).values_list("pk", flat=True)
    drift = _look(dumps, only)
    for _ in range(LOOKS - 1):
        if suspects := sorted({reader for reader, _ in drift.all()}):
            drift = drift.also_in(_look(_read(suspects), only))
    report.in_flight += drift.in_flight
    for kind in KINDS:
        entries = sorted(getattr(drift, kind))
        setattr(report, kind, getattr(report, kind) + len(entries))
        for reader, member in entries:
            report.wrong.setdefault(reader, Counter())[kind] += 1
            if len(report.examples) < EXAMPLES:
                report.examples.append(f"{kind}: post {member} of reader {reader}")


def _read(readers: list[int]) -> dict[int, Dump]:
    return dict(zip(readers, timelines.dump(readers), strict=True))


def _look(dumps: dict[int, Dump], only: int | None) -> Differences:
    """Redis was read before; PostgreSQL is read now. `only`: nothing but this post counts."""
    seen = Differences()
    built = {reader: dump for reader, dump in dumps.items() if dump.state == "built"}
    wanted = _wanted(built)
    for reader, dump in built.items():
        found = _differences(dump, wanted.get(reader, set()))
        missing, surplus, misordered = (one if only is None else one & {str(only)} for one in found)
        seen.missing.update((reader, member) for member in missing)
        seen.ghosts.update((reader, member) for member in surplus)
        seen.misordered.update((reader, member) for member in misordered)
    return _judged(seen)


def _wanted(dumps: dict[int, Dump]) -> dict[int, set[str]]:
    """By reader, the ids above the coverage that should be stored: the newest, as many as a timeline may ever hold."""
    expected = rows(
        """
        SELECT reader, string_agg(id::text, ',')
        FROM unnest(%(readers)s::bigint[], %(covers)s::bigint[]) r (reader, cover)
        CROSS JOIN LATERAL (
            SELECT p.id FROM followers_follow f JOIN feeds_post p ON p.author_id = f.followee_id
            WHERE f.follower_id = r.reader AND p.id > r.cover AND p.deleted_at IS NULL AND p.home_mode = 'push' AND (
                p.visibility <> 'direct' OR r.reader IN (SELECT account_id FROM feeds_mention WHERE post_id = p.id))
            ORDER BY p.id DESC LIMIT %(most)s) p
        GROUP BY reader
        """,
        readers=list(dumps),
        covers=[dump.cover for dump in dumps.values()],
        most=settings.TIMELINE_LIMIT + settings.TIDY_EVERY,
    )
    return {reader: set(ids.split(",")) for reader, ids in expected}


def _differences(dump: Dump, wanted: set[str]) -> tuple[set[str], set[str], set[str]]:
    """Members missing, those not known to be wanted, and those in a wrong place.

    The front may hold its entries in any order, and twice. Behind it each is above the coverage and below the one before.
    An entry beyond TIMELINE_LIMIT is one that was not trimmed yet: readers take its id for the coverage. One beyond what
    a trim leaves has no place at all, nor has one behind the mark.
    """
    stored = set(dump.entries)
    missing, surplus = wanted - stored, stored - wanted
    limit, front = settings.TIMELINE_LIMIT, settings.TIDY_EVERY - 1
    if missing and len(stored) > limit:
        places = sorted((_post_id(member) or 0 for member in stored), reverse=True)
        missing = {member for member in missing if int(member) > places[limit]}
    behind = [(member, _post_id(member) or 0) for member in dump.entries[front:]]
    misordered = {member for member, place in behind if place <= dump.cover}
    misordered |= {member for (_, before), (member, place) in pairwise(behind) if place >= before}
    misordered |= set(dump.entries[min(limit + settings.TIDY_EVERY, dump.mark_at) :])
    return missing, surplus, misordered


def _post_id(member: str) -> int | None:
    return int(member) if member.isascii() and member.isdigit() and len(member) < 19 else None


def _judged(seen: Differences) -> Differences:
    """Without what is in flight, and without surplus that is right after all: older than the newest that were wanted."""
    known = [(reader, post_id) for reader, member in seen.all() if (post_id := _post_id(member)) is not None]
    judged = rows(
        """
        SELECT d.reader, d.id::text,
            EXISTS (SELECT 1 FROM feeds_delivery WHERE post_id = d.id AND state <> 'closed') OR EXISTS (
                SELECT 1 FROM feeds_outbox
                WHERE subject_id = d.reader AND done_at IS NULL AND attempts < %(attempts)s AND (
                    task = 'rebuild_timeline' OR task = 'sync_pair' AND object_id = p.author_id)) OR EXISTS (
                SELECT 1 FROM feeds_outbox
                WHERE subject_id = p.author_id AND task = 'delete_account' AND done_at IS NULL AND attempts < %(attempts)s),
            p.deleted_at IS NULL AND p.home_mode = 'push'
            AND EXISTS (SELECT 1 FROM followers_follow WHERE followee_id = p.author_id AND follower_id = d.reader)
        FROM unnest(%(readers)s::bigint[], %(posts)s::bigint[]) d (reader, id) LEFT JOIN feeds_post p ON p.id = d.id
        """,
        readers=[reader for reader, _ in known],
        posts=[post_id for _, post_id in known],
        attempts=ATTEMPTS,
    )
    in_flight = {(reader, member) for reader, member, moving, _ in judged if moving}
    right = {(reader, member) for reader, member, _, belongs in judged if belongs}
    ghosts = seen.ghosts - in_flight - right
    return Differences(seen.missing - in_flight, ghosts, seen.misordered - in_flight - ghosts, len(in_flight))

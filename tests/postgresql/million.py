"""A database of 1,000,000 follows and 1,000,000 posts, as unequal as they are in life, loaded by COPY.

HUGE is followed by everybody, and pulled; LARGE accounts by 20,000 each. Whom the others follow, seven accounts each, is
drawn log-uniformly, so that few are known to many and most to nearly nobody; and so is who writes each post. One post in
ten is a reblog, one in seven an answer. EAGER follows 1,000 accounts. The numbers are drawn with a seed: each run has the
same ones.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice

import psycopg

from . import databases

ACCOUNTS, POSTS, TAGS = 100_000, 1_000_000, 1_000
HUGE, LARGE, SMALL, EAGER = 1, range(2, 12), 60_000, ACCOUNTS
APART = (20_000 << 16) + 32  # of two posts' ids: 20 seconds
OLDEST = int(time.time() * 1000) - POSTS * 20_000 << 16
POPULAR = OLDEST + 102 * APART  # a post, reblogged by 20,000 accounts and favoured by as many


@contextmanager
def million(name: str) -> Iterator[None]:
    """The database of this name, while it is needed. What is in it is in no log, and goes with a crash."""
    with databases.made(name) as url:
        databases.execute(url, databases.schema("pre-data").replace("CREATE TABLE", "CREATE UNLOGGED TABLE"))
        with psycopg.connect(url) as server:
            chance = random.Random(7)
            followers: Counter[int] = Counter()
            _copy(server, "followers_follow (follower_id, followee_id)", _follows(chance, followers))
            _copy(server, f"followers_account ({_ACCOUNT})", _accounts(followers))
            _copy(server, f"feeds_post ({_POST})", _posts(chance))
        databases.execute(url, _FAST + _REST.format(**globals()) + _DID)
        # Of foreign keys PostgreSQL's planner counts on those, too, that nobody has looked into.
        rules = databases.schema("post-data").replace("DEFERRABLE INITIALLY DEFERRED;", "DEFERRABLE NOT VALID;")
        databases.execute(url, f"{_FAST}{rules}VACUUM ANALYZE;")
        yield


def _copy(server: psycopg.Connection, into: str, lines: Iterable[str]) -> None:
    found = iter(lines)
    with server.cursor().copy(f"COPY {into} FROM STDIN") as copy:
        while block := "".join(islice(found, 10_000)):
            copy.write(block)


def _drawn(chance: random.Random, most: int) -> int:
    """From 1 to `most`: as many below 10 as between 10 and 100, and so on."""
    return int(math.exp(chance.random() * math.log(most + 1)))


def _follows(chance: random.Random, followers: Counter[int]) -> Iterator[str]:
    for reader in range(2, ACCOUNTS + 1):
        followees = {HUGE, *(one for one in LARGE if one % 5 == reader % 5)}
        while len(followees) < 10:
            followees.add(_drawn(chance, ACCOUNTS))
        if reader == EAGER:
            followees |= set(range(12, 1012))
        followees.discard(reader)
        followers.update(followees)
        yield from (f"{reader}\t{followee}\n" for followee in followees)


_ACCOUNT = """id, username, password, display_name, note, is_superuser, is_staff, is_active, last_active_at,
    followers_count, ever_pulled"""
_POST = """id, author_id, text, spoiler_text, sensitive, visibility, in_reply_to_id, in_reply_to_account_id, reblog_of_id,
    home_mode, created_at, deleted_at"""


def _accounts(followers: Counter[int]) -> Iterator[str]:
    today = time.strftime("%Y-%m-%d")
    for one in range(1, ACCOUNTS + 1):
        active, pulled = "\\N" if one % 3 == 0 else today, "t" if one == HUGE else "f"
        yield f"{one}\tu{one}\t!\tName{one % 5000} of {one}\t\tf\tf\tt\t{active}\t{followers[one]}\t{pulled}\n"


def _posts(chance: random.Random) -> Iterator[str]:
    authors = [_drawn(chance, ACCOUNTS) for _ in range(POSTS + 1)]
    authors[500_001:520_001] = range(20_001, 40_001)
    for number, author in enumerate(authors[1:], 1):
        answered, original = "\\N\t\\N", "\\N"
        if 500_000 < number <= 520_000:
            original = str(POPULAR)
        elif number % 10 == 5:
            original = str(OLDEST + (number - 4) * APART)
        elif number % 7 == 0:
            answered = f"{OLDEST + (number - 3) * APART}\t{authors[number - 3]}"
        visibility = "private" if number % 20 == 0 else "direct" if number % 50 == 1 else "public"
        deleted = "2026-11-01" if number % 40 == 7 else "\\N"
        mode = "pull" if author == HUGE else "push"
        words = "" if original != "\\N" else f"word{_drawn(chance, 50_000)} about everything"
        yield (
            f"{OLDEST + number * APART}\t{author}\t{words}\t\tf\t{visibility}\t{answered}\t{original}\t{mode}"
            f"\t2026-11-01\t{deleted}\n"
        )


# The triggers come with the indexes, after the rows: as at an upgrade.
_DID = ";".join(
    import_module(migration).THOSE_OF_BEFORE
    for migration in (
        "followers.migrations.0006_what_readers_never_did",
        "feeds.migrations.0013_what_readers_never_kept",
    )
)
_FAST = "SET maintenance_work_mem = '256MB'; SET work_mem = '64MB'; SET synchronous_commit = off;\n"
_REST = """
    SELECT setval('followers_account_id_seq', {ACCOUNTS});
    SELECT setseed(0.5);
    CREATE FUNCTION drawn(most int) RETURNS bigint LANGUAGE sql AS $$ SELECT floor(exp(random() * ln(most + 1)))::bigint $$;
    CREATE FUNCTION post(number bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT {OLDEST} + number * {APART} $$;

    INSERT INTO feeds_tag (name) SELECT 'tag' || n FROM generate_series(1, {TAGS}) n;
    INSERT INTO feeds_posttag (post_id, tag_id) SELECT post(n), drawn({TAGS}) FROM generate_series(1, {POSTS}, 10) n;
    INSERT INTO feeds_tagfollow (account_id, tag_id) SELECT {SMALL}, n FROM generate_series(1, 5) n;
    INSERT INTO feeds_mention (post_id, account_id)
        SELECT post(n), drawn({ACCOUNTS}) FROM generate_series(2, {POSTS}, 10) n;
    INSERT INTO feeds_favourite (post_id, account_id)
        SELECT {POPULAR}, n FROM generate_series(20001, 40000) n
        UNION ALL SELECT post(n), drawn({ACCOUNTS}) FROM generate_series(203, {POSTS}, 5) n;
    INSERT INTO feeds_bookmark (post_id, account_id)
        SELECT post(n), {SMALL} FROM generate_series(2, 50000, 50) n
        UNION ALL SELECT post(n), {SMALL} + n % 1000 FROM generate_series(500002, {POSTS}, 10) n;
    INSERT INTO feeds_searchentry (post_id, words)
        SELECT id, to_tsvector('simple', text) FROM feeds_post WHERE reblog_of_id IS NULL;

    INSERT INTO feeds_delivery (post_id, kind, state, batches, finished_at)
        SELECT id, 'push', 'closed', 1, now() FROM feeds_post;
    INSERT INTO feeds_batch (post_id, kind, batch_no, author_id, lo, hi, size, attempts_allowed, state, closed_at)
        SELECT post(n), 'push', 0, 1, 0, 9, 9, 5, 'done', now() - ({POSTS} - n) * interval '5 seconds'
        FROM generate_series(700001, {POSTS}) n;
    INSERT INTO feeds_outbox (event, task, subject_id, sent_at, done_at)
        SELECT 'post.published', task, post(n), at, at FROM (
            SELECT n, now() - ({POSTS} - n) * interval '5 seconds' AS at FROM generate_series(900001, {POSTS}) n) p,
            unnest(ARRAY['fan_out_post', 'send_notifications', 'update_search_index', 'refresh_cache']) task;
    INSERT INTO feeds_notification (account_id, type, cause_id, from_account_id, post_id, created_at)
        SELECT drawn({ACCOUNTS}), 'favourite', n, {ACCOUNTS} - n % 50000, post(n),
            now() - ({POSTS} - n) * interval '5 seconds'
        FROM generate_series(2, {POSTS}, 5) n;
    INSERT INTO feeds_idempotencykey (author_id, key, post_id, created_at)
        SELECT drawn({ACCOUNTS}), n::text, post(n), now() - ({POSTS} - n) * interval '1 second'
        FROM generate_series(900001, {POSTS}) n;

    INSERT INTO followers_block (blocker_id, blocked_id)
        SELECT n, n + 1 FROM generate_series(1000, 21000) n UNION SELECT {SMALL}, 70000 + n FROM generate_series(1, 50) n;
    INSERT INTO followers_mute (account_id, target_id, notifications)
        SELECT n, n + 2, true FROM generate_series(1000, 21000) n
        UNION SELECT {SMALL}, 71000 + n, true FROM generate_series(1, 50) n;
    INSERT INTO followers_followrequest (follower_id, followee_id) SELECT n, 13 FROM generate_series(70001, 75000) n;
    INSERT INTO followers_list (owner_id, title, replies_policy, exclusive)
        SELECT {SMALL} - n, 'a list', 'followed', false FROM generate_series(0, 999) n;
    INSERT INTO followers_listmember (list_id, account_id)
        SELECT n % 1000 + 1, 12 + n / 1000 FROM generate_series(0, 99999) n;
"""

"""Writes of many accounts and follows at once, with the counters: imports, and audiences made for a measurement.

An import is a sequence of statements on temporary tables, all of it in the caller's transaction, in this order: `load` the
edges, `create_accounts`, `lock_accounts`, `create_follows`. Python never holds the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from django.db import connection

LINES = 10_000  # written at once


def load(edges: Iterable[tuple[int, int]]) -> int:
    """Copies (follower, followee) numbers into import_edge, each once, with its place in the order. How many there are."""
    lines = (b"%d\t%d\n" % edge for edge in edges)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE import_line (n serial, follower bigint, followee bigint) ON COMMIT DROP")
        with cursor.copy("COPY import_line (follower, followee) FROM STDIN") as copy:
            while block := b"".join(islice(lines, LINES)):
                copy.write(block)
        cursor.execute(
            """
            CREATE TEMP TABLE import_edge ON COMMIT DROP AS
            SELECT min(n) AS n, follower, followee FROM import_line GROUP BY follower, followee
            """
        )
        edge_count: int = cursor.rowcount
        cursor.execute("ANALYZE import_edge")
    return edge_count


def create_accounts(*, inactive: float) -> int:
    """Makes uN of each number that has no account yet, and lists everybody in import_account. How many were made.

    A share of those made, `inactive`, has never been active: who belongs to it is decided by a hash of the name, so that
    it is the same in every run. In the order of the numbers, lest two imports at once wait for each other. A password that
    begins with '!' fits nothing that anybody could type. All follows of a new account are new, so it is made with its
    counters; whom somebody else made meanwhile is not.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMP TABLE import_account ON COMMIT DROP AS
            SELECT number, followers, following, made,
                CASE WHEN made THEN nextval('followers_account_id_seq') ELSE old_id END AS id,
                made AND ('x' || left(md5('u' || number), 6))::bit(24)::int >= %(inactive)s * (1 << 24) AS active
            FROM (
                SELECT number, followers, following, a.id AS old_id, a.id IS NULL AS made
                FROM (
                    SELECT number, count(*) FILTER (WHERE followed) AS followers,
                        count(*) FILTER (WHERE NOT followed) AS following
                    FROM (
                        SELECT followee AS number, true AS followed FROM import_edge
                        UNION ALL SELECT follower, false FROM import_edge) ends
                    GROUP BY number) numbers
                LEFT JOIN followers_account a ON a.username = 'u' || number
                ORDER BY number) everybody
            """,
            {"inactive": inactive},
        )
        cursor.execute("ANALYZE import_account")
        cursor.execute(
            """
            INSERT INTO followers_account (id, username, password, display_name, note, is_superuser, is_staff, is_active,
                last_active_at, followers_count, following_count)
            SELECT id, 'u' || number, '!' || gen_random_uuid(), '', '', false, false, true,
                CASE WHEN active THEN now() END, followers, following
            FROM import_account WHERE made ORDER BY number ON CONFLICT (username) DO NOTHING
            """
        )
        made_count: int = cursor.rowcount
        cursor.execute(
            """
            UPDATE import_account i SET id = a.id, made = false FROM followers_account a
            WHERE i.made AND a.username = 'u' || i.number AND a.id <> i.id
            """
        )
    return made_count


def lock_accounts() -> None:
    """Takes the rows of all accounts of the import, as relationships.follow does of its two, and in the same order.

    Until the commit nobody else follows, unfollows or publishes with one of them, so that of one followee the follow ids
    come in the order of commits, and what the caller reads of them stays so. Those just made nobody else sees.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT id FROM followers_account WHERE id IN (SELECT id FROM import_account WHERE NOT made)
                ORDER BY id FOR NO KEY UPDATE) locked
            """
        )


def create_follows() -> int:
    """Makes the follows that are missing, and counts them; none of them is asked for any more. They stay listed in
    import_follow until the commit.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMP TABLE import_follow ON COMMIT DROP AS
            SELECT e.n, r.id AS follower_id, t.id AS followee_id
            FROM import_edge e
            JOIN import_account r ON r.number = e.follower JOIN import_account t ON t.number = e.followee
            WHERE r.made OR t.made
                OR NOT EXISTS (SELECT 1 FROM followers_follow WHERE followee_id = t.id AND follower_id = r.id)
            """
        )
        cursor.execute("ANALYZE import_follow")
        cursor.execute(
            """
            INSERT INTO followers_follow (follower_id, followee_id)
            SELECT follower_id, followee_id FROM import_follow ORDER BY followee_id, n
            """
        )
        follow_count: int = cursor.rowcount
        cursor.execute(
            """
            DELETE FROM followers_followrequest r USING import_follow i
            WHERE r.follower_id = i.follower_id AND r.followee_id = i.followee_id
            """
        )
        cursor.execute(
            """
            UPDATE followers_account a SET version = version + 1,
                followers_count = followers_count + followers, following_count = following_count + following
            FROM (
                SELECT id, sum(follower) AS followers, sum(followee) AS following FROM (
                    SELECT followee_id AS id, 1 AS follower, 0 AS followee FROM import_follow
                    UNION ALL SELECT follower_id, 0, 1 FROM import_follow) ends
                WHERE id IN (SELECT id FROM import_account WHERE NOT made)
                GROUP BY id) change
            WHERE a.id = change.id
            """
        )
    return follow_count


def make_followers(*, followee_id: int, prefix: str, first: int, last: int) -> str:
    """Lets the accounts prefix<first> to prefix<last>, made where they are missing, be active and follow. Their ids, packed.

    None of them may follow yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE followers_account SET followers_count = followers_count + %(count)s, version = version + 1"
            " WHERE id = %(followee)s",
            {"count": last - first + 1, "followee": followee_id},
        )
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO followers_account AS a (username, password, display_name, note,
                    is_superuser, is_staff, is_active, last_active_at, following_count)
                SELECT %(prefix)s || n, '!' || gen_random_uuid(), '', '', false, false, true, now(), 1
                FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
                ON CONFLICT (username) DO UPDATE
                    SET last_active_at = now(), following_count = a.following_count + 1, version = a.version + 1
                RETURNING id),
            follows AS (
                INSERT INTO followers_follow (follower_id, followee_id) SELECT id, %(followee)s FROM made
                RETURNING follower_id)
            SELECT string_agg(follower_id::text, ',' ORDER BY follower_id) FROM follows
            """,
            {"prefix": prefix, "first": first, "last": last, "followee": followee_id},
        )
        packed: str = cursor.fetchone()[0]
    return packed


def release_followers(*, followee_id: int, prefix: str, most: int) -> list[int]:
    """Undoes what make_followers did, for so many at most, but leaves the accounts, inactive. Their ids; none: all done.

    To delete an account costs a look into every table that may refer to it: for a million of them that takes minutes.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM followers_follow WHERE id IN (
                    SELECT f.id FROM followers_follow f JOIN followers_account a ON a.id = f.follower_id
                    WHERE f.followee_id = %(followee)s AND starts_with(a.username, %(prefix)s) LIMIT %(most)s)
                RETURNING follower_id),
            counted AS (
                UPDATE followers_account SET version = version + 1,
                    followers_count = followers_count - (SELECT count(*) FROM gone)
                WHERE id = %(followee)s)
            UPDATE followers_account SET last_active_at = NULL, following_count = following_count - 1, version = version + 1
            WHERE id IN (SELECT follower_id FROM gone) RETURNING id
            """,
            {"followee": followee_id, "prefix": prefix, "most": most},
        )
        return [account_id for (account_id,) in cursor.fetchall()]

"""Writes of many accounts and follows at once, with the counters: imports, and audiences made for a measurement.

An import is a sequence of statements on temporary tables, all of it in the caller's transaction, in this order: `load` the
edges, `create_accounts`, `lock_accounts`, `create_follows`. Python never holds the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection


def load(edges: Iterable[tuple[int, int]]) -> int:
    """Copies (follower, followee) numbers into import_edge, each once, in their order. How many there are."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE import_line (n serial, follower bigint, followee bigint) ON COMMIT DROP")
        with cursor.copy("COPY import_line (follower, followee) FROM STDIN") as copy:
            for follower, followee in edges:
                copy.write(b"%d\t%d\n" % (follower, followee))
        cursor.execute(
            """
            CREATE TEMP TABLE import_edge ON COMMIT DROP AS
            SELECT min(n) AS n, follower, followee FROM import_line GROUP BY follower, followee
            """
        )
        edge_count: int = cursor.rowcount
        cursor.execute(
            """
            CREATE TEMP TABLE import_account ON COMMIT DROP AS
            SELECT number, 'u' || number AS name, NULL::bigint AS id, false AS made
            FROM (SELECT follower AS number FROM import_edge UNION SELECT followee FROM import_edge) a
            """
        )
        cursor.execute("ANALYZE import_edge; ANALYZE import_account")
    return edge_count


def create_accounts(*, inactive: float) -> int:
    """Makes uN of each number that has no account yet, and notes everybody's id. How many were made.

    A share of those made, `inactive`, has never been active: who belongs to it is decided by a hash of the name, so that
    it is the same in every run. In the order of the numbers, lest two imports at once wait for each other. A password that
    begins with '!' fits nothing that anybody could type.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO followers_account (
                    username, password, display_name, note, is_superuser, is_staff, is_active, last_active_at)
                SELECT name, '!' || gen_random_uuid(), '', '', false, false, true,
                    CASE WHEN ('x' || left(md5(name), 6))::bit(24)::int >= %(inactive)s * (1 << 24) THEN now() END
                FROM import_account i
                WHERE NOT EXISTS (SELECT 1 FROM followers_account WHERE username = i.name)
                ORDER BY number
                ON CONFLICT (username) DO NOTHING RETURNING id, username)
            UPDATE import_account SET id = made.id, made = true FROM made WHERE name = username
            """,
            {"inactive": inactive},
        )
        made_count: int = cursor.rowcount
        cursor.execute(
            """
            UPDATE import_account i SET id = a.id FROM followers_account a
            WHERE i.id IS NULL AND a.username = i.name
            """
        )
    return made_count


def lock_accounts() -> None:
    """Takes the rows of all accounts of the import, as relationships.follow does of its two, and in the same order.

    Until the commit nobody else follows, unfollows or publishes with one of them, so that of one followee the follow ids
    come in the order of commits, and what the caller reads of them stays so.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT id FROM followers_account WHERE id IN (SELECT id FROM import_account)
                ORDER BY id FOR NO KEY UPDATE) locked
            """
        )


def create_follows() -> int:
    """Makes the follows that are missing, and counts them. They stay listed in import_follow until the commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMP TABLE import_follow ON COMMIT DROP AS
            SELECT e.n, r.id AS follower_id, t.id AS followee_id
            FROM import_edge e
            JOIN import_account r ON r.number = e.follower JOIN import_account t ON t.number = e.followee
            LEFT JOIN followers_follow f ON f.follower_id = r.id AND f.followee_id = t.id
            WHERE f.id IS NULL
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
            UPDATE followers_account a SET version = version + 1,
                followers_count = followers_count + followers, following_count = following_count + following
            FROM (
                SELECT id, sum(follower) AS followers, sum(followee) AS following FROM (
                    SELECT followee_id AS id, 1 AS follower, 0 AS followee FROM import_follow
                    UNION ALL SELECT follower_id, 0, 1 FROM import_follow) ends
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

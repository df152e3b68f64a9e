"""Those who leave: readers who have been away for long, and accounts that are deleted.

Both work in slices, may be stopped at any point, and begun again: what is done already is not found again.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from followers.models import Account, Block, Follow, FollowRequest, List, ListMember, Mute, PrivateNote

from . import timelines
from .database import changed, rows
from .models import (
    Bookmark,
    ConversationMute,
    FeaturedTag,
    IdempotencyKey,
    Marker,
    Mention,
    Notification,
    Post,
    PostEdit,
    PostMode,
    SearchEntry,
    TagFollow,
)
from .outbox import Later

SLICE = 500  # rows, or readers, in one statement or script
TURN = 10.0  # seconds of work, then the row is given back, to go on in its next run


def evict_inactive() -> int:
    """Drops the timelines of readers who did not read for INACTIVE_DAYS; they are rebuilt when read. How many readers.

    The rows come first: who returns in between is served by PostgreSQL once, and gets a new timeline.
    """
    evicted = 0
    while found := rows(
        """
        UPDATE followers_account SET evicted_at = now() WHERE id IN (
            SELECT id FROM followers_account
            WHERE last_active_at < now() - %(days)s * interval '1 day' AND evicted_at IS NULL
            ORDER BY last_active_at LIMIT %(slice)s FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING id
        """,
        days=settings.INACTIVE_DAYS,
        slice=SLICE,
    ):
        timelines.evict(account_id for (account_id,) in found)
        evicted += len(found)
    return evicted


def delete_account(account_id: int) -> str:
    """Takes back everything of an account that is deleted. Raises Later where more is left than one turn can do.

    1. Its posts: deleted, their words blanked. From here on no batch pushes one.
    2. Batches that were claimed before may still push: they are waited for.
    3. Its followers: its posts leave their timelines, then the follows go, slice by slice.
    4. Its own follows, requests, favourites, marks, lists, and its own timeline.
    """
    until = time.monotonic() + TURN
    for step in (_delete_posts, _delete_followers, _delete_followees, _delete_favourites, _delete_belongings):
        while step(account_id):
            if time.monotonic() > until:
                raise Later(0)
    timelines.evict([account_id])
    return "deleted"


_BELONGINGS = (
    (ListMember, lambda account: Q(list__owner=account) | Q(account=account)),
    (List, lambda account: Q(owner=account)),
    (FollowRequest, lambda account: Q(follower=account) | Q(followee=account)),
    (Block, lambda account: Q(blocker=account) | Q(blocked=account)),
    (Mute, lambda account: Q(account=account) | Q(target=account)),
    (PrivateNote, lambda account: Q(account=account) | Q(target=account)),
    (Bookmark, lambda account: Q(account=account)),
    (ConversationMute, lambda account: Q(account=account)),
    (Marker, lambda account: Q(account=account)),
    (TagFollow, lambda account: Q(account=account)),
    (FeaturedTag, lambda account: Q(account=account)),
    (Notification, lambda account: Q(account=account) | Q(from_account=account)),
    (IdempotencyKey, lambda account: Q(author=account)),
    (Mention, lambda account: Q(account=account)),
)


def _delete_belongings(account_id: int) -> bool:
    """Some of the first kind of which there are any: of what others did to a large account there may be millions."""
    return any(_delete_some(model.objects.filter(whose(account_id))) for model, whose in _BELONGINGS)


def _delete_some(found: QuerySet[Any]) -> int:
    some = list(found.values_list("pk", flat=True)[:SLICE])
    return found.model._default_manager.filter(pk__in=some).delete()[0] if some else 0


def _delete_posts(account_id: int) -> bool:
    """Some of the posts. False: there are none left, and no batch that was claimed before can push one any more."""
    with transaction.atomic():
        found = list(Post.objects.live().filter(author=account_id).order_by("-id").values_list("pk", flat=True)[:SLICE])
        deleted = rows(
            """
            UPDATE feeds_post SET deleted_at = now(), version = version + 1, text = '', spoiler_text = ''
            WHERE id = ANY(%(posts)s::bigint[]) AND deleted_at IS NULL RETURNING in_reply_to_id, reblog_of_id
            """,
            posts=found,
        )
        PostEdit.objects.filter(post__in=found).delete()
        SearchEntry.objects.filter(post__in=found).delete()
        _uncount(replies=[answered for answered, _ in deleted], reblogs=[original for _, original in deleted])
        Account.objects.filter(pk=account_id).update(statuses_count=F("statuses_count") - len(deleted))
    if found:
        return True
    [(left,)] = rows(
        """
        SELECT extract(epoch FROM max(lease_until) - now())::float FROM feeds_batch
        WHERE author_id = %(account)s AND state = 'open' AND kind = 'push' AND lease_until > now()
        """,
        account=account_id,
    )
    if left is not None:
        raise Later(min(left, 1.0) + 0.1)
    return False


def _uncount(*, replies: list[int | None], reblogs: list[int | None]) -> None:
    """Of the posts named, with None for none, each as often as it is named."""
    changed(
        """
        UPDATE feeds_post p SET version = version + 1,
            replies_count = replies_count - c.replies, reblogs_count = reblogs_count - c.reblogs
        FROM (
            SELECT coalesce(reply, reblog) AS id, count(reply) AS replies, count(reblog) AS reblogs
            FROM (
                SELECT unnest(%(replies)s::bigint[]) AS reply, NULL::bigint AS reblog
                UNION ALL SELECT NULL, unnest(%(reblogs)s::bigint[])) named
            WHERE coalesce(reply, reblog) IS NOT NULL GROUP BY 1) c
        WHERE p.id = c.id
        """,
        replies=replies,
        reblogs=reblogs,
    )


def _delete_favourites(account_id: int) -> bool:
    """Some of what the account favoured, with the posts' counters, in one statement."""
    return bool(
        changed(
            """
            WITH gone AS (
                DELETE FROM feeds_favourite WHERE id IN (
                    SELECT id FROM feeds_favourite WHERE account_id = %(account)s ORDER BY id LIMIT %(slice)s)
                RETURNING post_id)
            UPDATE feeds_post SET favourites_count = favourites_count - 1, version = version + 1
            WHERE id IN (SELECT post_id FROM gone)
            """,
            account=account_id,
            slice=SLICE,
        )
    )


def _delete_followers(account_id: int) -> bool:
    """Some of the followers. A timeline holds of one author the newest pushed posts alone: no more are looked for."""
    followers = list(
        Follow.objects.filter(followee=account_id).order_by("follower_id").values_list("follower_id", flat=True)[:SLICE]
    )
    if followers:
        pushed = Post.objects.filter(author=account_id).exclude(home_mode=PostMode.PULL)
        newest = pushed.order_by("-id").values_list("pk", flat=True)
        timelines.purge(list(newest[: 2 * settings.TIMELINE_LIMIT]), ",".join(map(str, followers)))
        _end_follows(Q(followee=account_id, follower__in=followers), account_id, followers)
    return bool(followers)


def _delete_followees(account_id: int) -> bool:
    followees = list(Follow.objects.filter(follower=account_id).values_list("followee_id", flat=True)[:SLICE])
    if followees:
        _end_follows(Q(follower=account_id, followee__in=followees), account_id, followees)
    return bool(followees)


@transaction.atomic
def _end_follows(which: Q, account_id: int, others: list[int]) -> None:
    """With the counters, and under the locks that relationships.follow takes."""
    list(
        Account.objects.select_for_update(no_key=True).filter(pk__in=[account_id, *others]).order_by("pk").values("pk")
    )
    ended = list(Follow.objects.filter(which).values_list("pk", "follower_id", "followee_id"))
    Follow.objects.filter(pk__in=[pk for pk, _, _ in ended]).delete()
    for column, ids in (
        ("following_count", [follower for _, follower, _ in ended]),
        ("followers_count", [followee for _, _, followee in ended]),
    ):
        for one in {account_id} & set(ids):
            Account.objects.filter(pk=one).update(**{column: F(column) - ids.count(one)}, version=F("version") + 1)
        Account.objects.filter(pk__in=set(ids) - {account_id}).update(
            **{column: F(column) - 1}, version=F("version") + 1
        )

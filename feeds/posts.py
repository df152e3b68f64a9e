"""Posts as readers meet them: one by its id, an author's, the public ones; and what a post looks like when it is read.

`hydrate` makes entities (plain facts, of which the API shapes its JSON) of references, through the cache: one MGET, and
the database for what is missing. A reference carries versions, and these are part of the cache's keys: whoever knows the
version of now cannot be given an older text, however late somebody else wrote it to the cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import F, Q

from followers.models import Account

from .models import ID_END, Mention, Post, PostQuerySet

Entity = dict[str, Any]
"""A post's facts; those of its author under "account". Ids are numbers, moments ISO 8601 strings in UTC."""

MENTION = re.compile(r"(?<![\w@/])@(\w{1,30})(?![\w@])", re.ASCII)


@dataclass(frozen=True)
class Cursor:
    """Which page: ids strictly below max_id and above since_id; with min_id the page immediately above it."""

    max_id: int | None = None
    since_id: int | None = None
    min_id: int | None = None
    limit: int = 20

    @property
    def nearest(self) -> bool:
        return self.min_id is not None

    @property
    def below(self) -> int:
        """Rounded up to a multiple of 32, as all ids are: for an exclusive bound that changes nothing."""
        return ID_END if self.max_id is None else min(-(-self.max_id // 32) * 32, ID_END)

    @property
    def above(self) -> int:
        """Rounded down likewise."""
        return min((self.min_id or self.since_id or 0) // 32 * 32, ID_END)


@dataclass(frozen=True)
class Ref:
    """A post to be shown, and the versions of now."""

    post_id: int
    version: int
    account_id: int
    account_version: int


@dataclass(frozen=True)
class Page:
    """Newest first. The two ids make the links to the older and the newer page; None: there is none.

    Not `built`: the home timeline is not in Redis, PostgreSQL served it.
    """

    posts: list[Entity]
    next_max_id: int | None
    prev_min_id: int | None
    built: bool = True


def get_visible(viewer: Account | None, post_id: int) -> Post:
    """The one door to a post. Raises Post.DoesNotExist where there is none, or none for this viewer."""
    return Post.objects.visible_to(viewer).get(pk=post_id)


def author_timeline(viewer: Account | None, author_id: int, cursor: Cursor, *, exclude_replies: bool = False) -> Page:
    """What an author wrote, as far as the viewer may see it."""
    posts = Post.objects.visible_to(viewer).filter(author=author_id)
    return _page(posts.filter(_NO_REPLY_TO_OTHERS) if exclude_replies else posts, cursor)


def public_timeline(cursor: Cursor) -> Page:
    """What everybody wrote for everybody, replies to others left out."""
    return _page(Post.objects.visible_to(None).filter(_NO_REPLY_TO_OTHERS, visibility="public"), cursor)


_NO_REPLY_TO_OTHERS = Q(in_reply_to_account=None) | Q(in_reply_to_account=F("author"))


def _page(posts: PostQuerySet, cursor: Cursor) -> Page:
    order = "id" if cursor.nearest else "-id"
    found = posts.filter(id__lt=cursor.below, id__gt=cursor.above).order_by(order)
    more = list(found.values_list("id", "version", "author_id", "author__version")[: cursor.limit + 1])
    refs = [Ref(*row) for row in more[: cursor.limit]]
    if cursor.nearest:
        refs.reverse()
    older = bool(refs) and (cursor.nearest or len(more) > cursor.limit)
    return Page(
        hydrate(refs),
        next_max_id=refs[-1].post_id if older else None,
        prev_min_id=refs[0].post_id if refs else None,
    )


def entity(post: Post) -> Entity:
    """One post as the database has it now."""
    return _post_entities([post.pk])[post.pk][1] | {"account": account_entity(post.author_id)}


def account_entity(account_id: int) -> Entity:
    """One account as the database has it now. Raises Account.DoesNotExist."""
    for facts in account_entities([account_id]):
        return facts
    raise Account.DoesNotExist("No such account")


def account_entities(account_ids: list[int]) -> list[Entity]:
    """Accounts as the database has them now, in the order given; unknown ones are left out."""
    found = _account_entities(account_ids)
    return [found[account_id][1] for account_id in account_ids if account_id in found]


def hydrate(refs: list[Ref]) -> list[Entity]:
    """The posts with their authors, in the order of the references."""
    post_keys = {(ref.post_id, ref.version): f"post:{ref.post_id}:{ref.version}" for ref in refs}
    account_keys = {
        (ref.account_id, ref.account_version): f"account:{ref.account_id}:{ref.account_version}" for ref in refs
    }
    known = cache.get_many([*post_keys.values(), *account_keys.values()]) if refs else {}
    posts = _complete("post", post_keys, known, _post_entities)
    accounts = _complete("account", account_keys, known, _account_entities)
    return [posts[ref.post_id] | {"account": accounts[ref.account_id]} for ref in refs if ref.post_id in posts]


Loader = Callable[[Iterable[int]], dict[int, tuple[int, Entity]]]


def _complete(kind: str, keys: dict[tuple[int, int], str], known: dict[str, Entity], load: Loader) -> dict[int, Entity]:
    """Entities by id: the known ones, and the missing ones from the database, which go into the cache as what they are."""
    found = {row_id: known[key] for (row_id, _), key in keys.items() if key in known}
    loaded = load([row_id for row_id, _ in keys if row_id not in found]) if len(found) < len(keys) else {}
    if loaded:
        cache.set_many({f"{kind}:{row_id}:{version}": facts for row_id, (version, facts) in loaded.items()})
    return found | {row_id: facts for row_id, (_, facts) in loaded.items()}


def _post_entities(post_ids: Iterable[int]) -> dict[int, tuple[int, Entity]]:
    """Version and facts by id."""
    found = Post.objects.filter(pk__in=post_ids)
    mentions: dict[int, list[Entity]] = {post.pk: [] for post in found}
    for post_id, account_id, username in (
        Mention.objects.filter(post__in=mentions)
        .order_by("id")
        .values_list("post_id", "account_id", "account__username")
    ):
        mentions[post_id].append({"id": account_id, "username": username})
    return {
        post.pk: (
            post.version,
            {
                "id": post.pk,
                "text": post.text,
                "spoiler_text": post.spoiler_text,
                "sensitive": post.sensitive,
                "language": post.language,
                "visibility": post.visibility,
                "in_reply_to_id": post.in_reply_to_id,
                "in_reply_to_account_id": post.in_reply_to_account_id,
                "replies_count": post.replies_count,
                "created_at": iso(post.created_at),
                "edited_at": iso(post.edited_at),
                "mentions": mentions[post.pk],
            },
        )
        for post in found
    }


def _account_entities(account_ids: Iterable[int]) -> dict[int, tuple[int, Entity]]:
    """Version and facts by id."""
    return {
        account.pk: (
            account.version,
            {
                "id": account.pk,
                "username": account.username,
                "display_name": account.display_name,
                "note": account.note,
                "created_at": iso(account.created_at),
                "last_status_at": iso(account.last_status_at),
                "followers_count": account.followers_count,
                "following_count": account.following_count,
                "statuses_count": account.statuses_count,
            },
        )
        for account in Account.objects.filter(pk__in=account_ids)
    }


def mentioned_in(text: str) -> list[Account]:
    """The accounts that a text names with @name, each once."""
    names = {name.lower() for name in MENTION.findall(text)}
    return list(Account.objects.filter(username__in=names).order_by("id")) if names else []


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a Z."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z" if moment else None

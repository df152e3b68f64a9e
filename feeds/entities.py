"""What posts and accounts look like when they are read: plain facts, of which the API shapes its JSON.

`hydrate` makes them of references: from this process's memory, by one MGET from the cache, and from the database what is
missing there. A reference carries versions, and these are part of the keys: whoever knows the version of now cannot be given
an older text, however late somebody else wrote it to the cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from followers.models import Account, FollowRequest

from . import text
from .database import exists, prepared, rows
from .models import Mention, Post, PostTag, Tag, TagDay, TagFollow, visible_joined

TAG_DAYS = 7
FEATURED_AMONG = 1_000  # posts
HELD_MOST = 4_000  # entities in a process's memory, of about 3 KB each

Entity = dict[str, Any]
"""A post's facts: those of its author under "account", those of what it reblogs under "reblog" (else None), and how whoever
asks marked it. Ids are numbers, moments ISO 8601 strings in UTC."""


class Ref(NamedTuple):
    """A post to be shown, the versions of now, and how the viewer marked it. A reblog is marked as its original is."""

    post_id: int
    version: int
    account_id: int
    account_version: int
    original_id: int | None  # of what it reblogs, as are the next three
    original_version: int | None
    original_account_id: int | None
    original_account_version: int | None
    favourited: bool
    bookmarked: bool
    reblogged: bool
    muted: bool  # the conversation

    @property
    def original(self) -> Ref | None:
        return Ref._make((*self[4:8], None, None, None, None, *self[8:])) if self[4] else None


# Of a reblog it is the original that is marked, and the original's conversation that is muted.
_MARKED = "coalesce(o.id, p.id)"
_FAVOURITED = f"SELECT 1 FROM feeds_favourite WHERE account_id = %(viewer)s::bigint AND post_id = {_MARKED}"
_BOOKMARKED = f"SELECT 1 FROM feeds_bookmark WHERE account_id = %(viewer)s::bigint AND post_id = {_MARKED}"
_REBLOGGED = f"""SELECT 1 FROM feeds_post
    WHERE author_id = %(viewer)s::bigint AND reblog_of_id = {_MARKED} AND deleted_at IS NULL"""
_MUTES_ANY = "(SELECT EXISTS (SELECT 1 FROM feeds_conversationmute WHERE account_id = %(viewer)s::bigint))"
_MUTED = """SELECT 1 FROM feeds_conversationmute WHERE account_id = %(viewer)s::bigint
    AND conversation_id = coalesce(o.conversation_id, o.id, p.conversation_id, p.id)"""


def ref_columns(*, kept: bool = True) -> str:
    """The columns of a Ref, of the tables of JOIN. The viewer, %(viewer)s, is an account's id, or NULL for anybody.

    Unless `kept`, it is one who never kept anything (Account.ever_kept). A post that nobody marked, by its counts, is not
    looked up among the viewer's marks: a count changes in the transaction of the mark.
    """
    return f"""p.id, p.version, p.author_id, a.version, o.id, o.version, o.author_id, oa.version,
    (coalesce(o.favourites_count, p.favourites_count) > 0 AND {exists(_FAVOURITED)}),
    {exists(_BOOKMARKED) if kept else "false"},
    (coalesce(o.reblogs_count, p.reblogs_count) > 0 AND {exists(_REBLOGGED)}),
    {f"CASE WHEN {_MUTES_ANY} THEN {exists(_MUTED)} ELSE false END" if kept else "false"}"""


REF = ref_columns()
JOIN = """LEFT JOIN followers_account a ON a.id = p.author_id
    LEFT JOIN feeds_post o ON o.id = p.reblog_of_id LEFT JOIN followers_account oa ON oa.id = o.author_id"""


_REFS = f"""
    SELECT {REF} FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY i (id, place) JOIN feeds_post p ON p.id = i.id {JOIN}
    ORDER BY i.place
"""


_VISIBLE_REFS = _REFS.replace("ORDER BY", f"WHERE {visible_joined()} ORDER BY")


def refs(post_ids: list[int], viewer: Account | None) -> list[Ref]:
    """References to the posts as they are now, in the order given. Who may see them is for the caller to know."""
    found = prepared(_REFS, ids=post_ids, viewer=viewer.pk if viewer else None)
    return [Ref._make(columns) for columns in found]


def visible_refs(post_ids: list[int], viewer: Account | None) -> list[Ref]:
    """Likewise, to those that the viewer may see by now: the ids may be of a moment ago."""
    found = prepared(_VISIBLE_REFS, ids=post_ids, viewer=viewer.pk if viewer else None)
    return [Ref._make(columns) for columns in found]


def post(found: Post, viewer: Account | None = None) -> Entity:
    """One post as the database has it now."""
    [entity] = hydrate(refs([found.pk], viewer))
    return entity


def written(
    post: Post, author: Any, mentions: Iterable[tuple[int, str]], tags: Iterable[str], *, muted: bool
) -> Entity:
    """A post that was just written, no reblog, of which the caller knows all this: nothing is asked for.

    `author`: AUTHOR's columns, as attributes. `muted`: whether the author mutes the conversation.
    """
    unmarked = {"favourited": False, "bookmarked": False, "reblogged": False, "muted": muted}
    return _post_facts(post, mentions, tags) | {"account": _account_facts(author), "reblog": None} | unmarked


def account(account_id: int) -> Entity:
    """One account as the database has it now. Raises Account.DoesNotExist."""
    for facts in accounts([account_id]):
        return facts
    raise Account.DoesNotExist("No such account")


def accounts(account_ids: list[int]) -> list[Entity]:
    """Accounts as the database has them now, in the order given; those unknown or deleted are left out."""
    found = {account.pk: account for account in Account.objects.filter(pk__in=account_ids, is_active=True)}
    return [_account_facts(found[account_id]) for account_id in account_ids if account_id in found]


def own_account(account_id: int) -> Entity:
    """As `account`, with what its owner alone sees. Raises Account.DoesNotExist."""
    found = Account.objects.get(pk=account_id, is_active=True)
    return _account_facts(found) | {
        "default_visibility": found.default_visibility,
        "default_sensitive": found.default_sensitive,
        "default_language": found.default_language,
        "follow_requests_count": FollowRequest.objects.filter(followee=account_id).count(),
    }


def tags(found: list[Tag], viewer: Account | None) -> list[Entity]:
    """Tags with how often they were used on each of the last TAG_DAYS days (today first; `day` is its midnight in unix
    seconds), and whether the viewer follows them."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - timedelta(days=ago) for ago in range(TAG_DAYS)]
    counted = {(one.tag_id, one.day): one for one in TagDay.objects.filter(tag__in=found, day__gte=days[-1].date())}
    following = set(TagFollow.objects.filter(account=viewer, tag__in=found).values_list("tag_id", flat=True))

    def history(tag: Tag) -> list[Entity]:
        known = [(day, counted.get((tag.pk, day.date()))) for day in days]
        return [
            {
                "day": int(day.timestamp()),
                "uses": count.uses if count else 0,
                "accounts": count.accounts if count else 0,
            }
            for day, count in known
        ]

    return [
        {"id": tag.pk, "name": tag.name, "history": history(tag), "following": tag.pk in following} for tag in found
    ]


class Featured(NamedTuple):
    """A tag on a profile: how many posts of the account's bear it, as everybody sees them, and when the last one did."""

    id: int
    name: str
    url: str
    posts: int
    last_post_at: str | None


def featured_tags(account_id: int) -> list[Featured]:
    """In the order of names. Counted are the account's newest FEATURED_AMONG posts: a profile may not cost more."""
    found = rows(
        """
        SELECT f.id, t.name, a.username, p.posts, p.last_at FROM feeds_featuredtag f
        JOIN feeds_tag t ON t.id = f.tag_id JOIN followers_account a ON a.id = f.account_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS posts, max(newest.created_at) AS last_at FROM (
                SELECT id, created_at FROM feeds_post
                WHERE author_id = f.account_id AND deleted_at IS NULL AND visibility IN ('public', 'unlisted')
                ORDER BY id DESC LIMIT %(most)s) newest
            JOIN feeds_posttag pt ON pt.post_id = newest.id AND pt.tag_id = f.tag_id) p
        WHERE f.account_id = %(account)s ORDER BY t.name
        """,
        account=account_id,
        most=FEATURED_AMONG,
    )
    return [
        Featured(id_, name, f"{profile_url(username)}/tagged/{quote(name)}", posts, iso(last_at))
        for id_, name, username, posts, last_at in found
    ]


def hydrate(refs: list[Ref]) -> list[Entity]:
    """The posts, with authors and originals, in the order of the references."""
    if not refs:
        return []
    whole = [*refs, *(one.original for one in refs if one.original)]
    post_keys = {(one.post_id, one.version): _key("post", one.post_id, one.version) for one in whole}
    account_keys = {
        (one.account_id, one.account_version): _key("account", one.account_id, one.account_version) for one in whole
    }
    known = _known([*post_keys.values(), *account_keys.values()])
    posts = _complete("post", post_keys, known, _load_posts)
    authors = _complete("account", account_keys, known, _load_accounts)

    def assemble(one: Ref) -> Entity:
        return posts[one.post_id] | {
            "account": authors[one.account_id],
            "reblog": assemble(one.original) if one.original else None,
            "favourited": one.favourited,
            "bookmarked": one.bookmarked,
            "reblogged": one.reblogged,
            "muted": one.muted,
        }

    return [assemble(one) for one in refs]


_held: dict[str, Entity] = {}
"""Entities by their keys, as this process met them. What a key, with its version, stands for never changes."""


def _known(keys: list[str]) -> dict[str, Entity]:
    """What this process holds, and among that whatever the cache has of these keys: what many read is asked for once."""
    global _held
    if len(_held) > HELD_MOST:
        _held = {}
    held = _held
    if missing := [key for key in keys if key not in held]:
        held.update(cache.get_many(missing))
    return held


def refresh_posts(post_ids: list[int]) -> None:
    """Puts posts and their authors into the cache, as they are now: under their versions, which readers of now ask for."""
    hydrate(refs(post_ids, None))


def refresh_accounts(account_ids: list[int]) -> None:
    """Likewise accounts."""
    loaded = _load_accounts(account_ids) if account_ids else {}
    cache.set_many({_key("account", account_id, version): facts for account_id, (version, facts) in loaded.items()})


def _key(kind: str, row_id: int, version: int) -> str:
    return f"{kind}:{row_id}:{version}"


Loader = Callable[[Iterable[int]], dict[int, tuple[int, Entity]]]


def _complete(kind: str, keys: dict[tuple[int, int], str], known: dict[str, Entity], load: Loader) -> dict[int, Entity]:
    """Entities by id: the known ones, and the missing ones from the database, which go into the cache as what they are."""
    found = {row_id: known[key] for (row_id, _), key in keys.items() if key in known}
    loaded = load([row_id for row_id, _ in keys if row_id not in found]) if len(found) < len(keys) else {}
    if loaded:
        cache.set_many({_key(kind, row_id, version): facts for row_id, (version, facts) in loaded.items()})
    return found | {row_id: facts for row_id, (_, facts) in loaded.items()}


def _load_posts(post_ids: Iterable[int]) -> dict[int, tuple[int, Entity]]:
    """Version and facts by id."""
    found = Post.objects.in_bulk(list(post_ids))
    mentions: dict[int, list[tuple[int, str]]] = defaultdict(list)
    named = Mention.objects.filter(post__in=found, account__is_active=True).order_by("id")
    for post_id, account_id, username in named.values_list("post_id", "account_id", "account__username"):
        mentions[post_id].append((account_id, username))
    tags: dict[int, list[str]] = defaultdict(list)
    for post_id, name in PostTag.objects.filter(post__in=found).order_by("id").values_list("post_id", "tag__name"):
        tags[post_id].append(name)
    return {post.pk: (post.version, _post_facts(post, mentions[post.pk], tags[post.pk])) for post in found.values()}


def _post_facts(post: Post, mentions: Iterable[tuple[int, str]], tags: Iterable[str]) -> Entity:
    named = dict(mentions)
    return {
        "id": post.pk,
        "text": post.text,
        "content": content(post.text, named.values()),
        "spoiler_text": post.spoiler_text,
        "sensitive": post.sensitive,
        "language": post.language,
        "visibility": post.visibility,
        "in_reply_to_id": post.in_reply_to_id,
        "in_reply_to_account_id": post.in_reply_to_account_id,
        "replies_count": post.replies_count,
        "reblogs_count": post.reblogs_count,
        "favourites_count": post.favourites_count,
        "created_at": iso(post.created_at),
        "edited_at": iso(post.edited_at),
        "pinned": post.pinned_at is not None,
        "mentions": [{"id": one, "username": name, "url": profile_url(name)} for one, name in named.items()],
        "tags": [{"name": name, "url": tag_url(name)} for name in tags],
    }


def _load_accounts(account_ids: Iterable[int]) -> dict[int, tuple[int, Entity]]:
    """Version and facts by id. Those deleted, too: one may go between the statement that names it and this one."""
    found = Account.objects.filter(pk__in=account_ids)
    return {account.pk: (account.version, _account_facts(account)) for account in found}


AUTHOR = """id username display_name note profile_fields locked bot discoverable created_at last_status_at followers_count
    following_count statuses_count""".split()
"""The columns of an account that its facts are made of."""


def _account_facts(account: Any) -> Entity:
    return {
        "id": account.id,
        "username": account.username,
        "url": profile_url(account.username),
        "display_name": account.display_name,
        "note": account.note,
        "note_html": content(account.note),
        "fields": account.profile_fields,
        "fields_html": [[name, _line(value)] for name, value in account.profile_fields],
        "locked": account.locked,
        "bot": account.bot,
        "discoverable": account.discoverable,
        "created_at": iso(account.created_at),
        "last_status_at": iso(account.last_status_at),
        "followers_count": account.followers_count,
        "following_count": account.following_count,
        "statuses_count": account.statuses_count,
    }


def content(written: str, usernames: Iterable[str] = ()) -> str:
    """A text as HTML."""
    return text.render(written, settings.BASE_URL, {name: profile_url(name) for name in usernames})


def _line(written: str) -> str:
    """A text of one line as HTML, without its paragraph."""
    return content(written).removeprefix("<p>").removesuffix("</p>")


def profile_url(username: str) -> str:
    return f"{settings.BASE_URL}/@{username}"


def tag_url(name: str) -> str:
    return text.tag_url(settings.BASE_URL, name)


def local_name(acct: str) -> str:
    """`name`, `@name` or `name@this.host` as the name in lower case; "" where the host is another one."""
    name, at, host = acct.strip().lower().removeprefix("@").partition("@")
    here = urlsplit(settings.BASE_URL)
    return name if not at or host in (here.netloc.lower(), here.hostname) else ""


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a Z."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z" if moment else None

"""Posts as readers meet them: one by its id, an author's, a tag's, a list's, the public ones, the marked ones.

All of it is read from PostgreSQL, at once, and passes the same two questions: may the viewer see it (`visible_to`), and,
but for a profile and a post asked for by its id, does the viewer hide it (`not_hidden_from`). Candidates for anybody's
pages may come from a replica, somewhat late; whether they may be shown the primary says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Count, F, Q

from followers import graph
from followers.models import Account, List

from . import replicas
from .database import likely, rows
from .entities import Entity, Ref, hydrate, iso, refs, visible_refs
from .models import HIDDEN, ID_END, VISIBLE, Bookmark, Favourite, Post, PostQuerySet, Tag, TagFollow

CONTEXT_MOST = 400  # posts above, and below, one whose conversation is asked for
TAGS_MOST = 20  # in one question


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
class Page:
    """Newest first. The two ids make the links to the older and the newer page; None: there is none.

    Not `built`: the home timeline is not in Redis, PostgreSQL served it.
    """

    refs: list[Ref]
    next_max_id: int | None
    prev_min_id: int | None
    built: bool = True

    @cached_property
    def posts(self) -> list[Entity]:
        return hydrate(self.refs)


def get_visible(viewer: Account | None, post_id: int) -> Post:
    """The one door to a post. Raises Post.DoesNotExist where there is none, or none for this viewer."""
    return Post.objects.visible_to(viewer).get(pk=post_id)


def several(viewer: Account | None, post_ids: list[int]) -> list[Entity]:
    """Those of the posts that the viewer may see, in the order given, each once."""
    return _those_of(Post.objects.visible_to(viewer), viewer, post_ids)


def several_not_hidden(viewer: Account | None, post_ids: list[int]) -> list[Entity]:
    """Likewise, without those that the viewer hides."""
    return _those_of(Post.objects.visible_to(viewer).not_hidden_from(viewer), viewer, post_ids)


def _those_of(shown: PostQuerySet, viewer: Account | None, post_ids: list[int]) -> list[Entity]:
    seen = set(shown.filter(pk__in=post_ids).values_list("pk", flat=True))
    return hydrate(refs([post_id for post_id in dict.fromkeys(post_ids) if post_id in seen], viewer))


def author_timeline(
    viewer: Account | None,
    author_id: int,
    cursor: Cursor,
    *,
    exclude_replies: bool = False,
    exclude_reblogs: bool = False,
    pinned: bool = False,
    tagged: str | None = None,
) -> Page:
    """What an author wrote, as far as the viewer may see it."""
    posts = Post.objects.visible_to(viewer).filter(author=author_id)
    if exclude_replies:
        posts = posts.filter(_NO_REPLY_TO_OTHERS)
    if exclude_reblogs:
        posts = posts.filter(reblog_of=None)
    if pinned:
        posts = posts.filter(pinned_at__isnull=False)
    if tagged:
        posts = posts.filter(tags__name=tagged.lower())
    return _page(posts, viewer, cursor)


def public_timeline(viewer: Account | None, cursor: Cursor) -> Page:
    """What everybody wrote for everybody: no reblogs, no replies to others."""
    posts = Post.objects.visible_to(viewer).not_hidden_from(viewer)
    return _page(posts.filter(_NO_REPLY_TO_OTHERS, visibility="public", reblog_of=None), viewer, cursor)


_NO_REPLY_TO_OTHERS = Q(in_reply_to_account=None) | Q(in_reply_to_account=F("author"))


def _page(posts: PostQuerySet, viewer: Account | None, cursor: Cursor) -> Page:
    found = posts.filter(id__lt=cursor.below, id__gt=cursor.above).order_by("id" if cursor.nearest else "-id")
    return _shown(lambda: list(found.values_list("id", flat=True)[: cursor.limit + 1]), viewer, cursor)


def _shown(ask: Callable[[], list[int]], viewer: Account | None, cursor: Cursor) -> Page:
    """The page of the ids in the order in which `ask` reads them, one more than fit if there are more.

    Who signed in reads what they wrote themselves, at once. For anybody else the ids may be of a moment ago, and are asked
    about once more; the links go by what was read.
    """
    ids = replicas.read(ask) if viewer is None else ask()
    more, ids = len(ids) > cursor.limit, ids[: cursor.limit]
    if cursor.nearest:
        ids.reverse()
    older = bool(ids) and (cursor.nearest or more)
    return Page(
        visible_refs(ids, viewer) if viewer is None else refs(ids, viewer),
        next_max_id=ids[-1] if older else None,
        prev_min_id=ids[0] if ids else None,
    )


def tag_timeline(
    viewer: Account | None,
    name: str,
    cursor: Cursor,
    *,
    any_of: list[str] | None = None,
    all_of: list[str] | None = None,
    none_of: list[str] | None = None,
) -> Page:
    """Public posts with the tag, or one of `any_of`; of these only those with `all_of` and without `none_of`."""
    wanted = _tag_ids([name, *(any_of or [])])
    required, forbidden = _tag_ids(all_of or []), _tag_ids(none_of or [])
    if len(required) < len({tag.lower() for tag in (all_of or [])[:TAGS_MOST]}):
        return Page([], None, None)  # one of them was never used
    return _merged(
        viewer,
        cursor,
        sources=wanted,
        table="feeds_posttag t JOIN feeds_post p ON p.id = t.post_id WHERE t.tag_id = s.id",
        where="""p.visibility = 'public'
            AND (SELECT count(*) FROM feeds_posttag r WHERE r.post_id = p.id AND r.tag_id = ANY(%(required)s)) = %(all)s
            AND NOT EXISTS (SELECT 1 FROM feeds_posttag f WHERE f.post_id = p.id AND f.tag_id = ANY(%(forbidden)s))""",
        key="t.post_id",
        required=required,
        all=len(required),
        forbidden=forbidden,
    )


def _tag_ids(names: list[str]) -> list[int]:
    lower = {name.lower() for name in names[:TAGS_MOST]}
    return list(Tag.objects.filter(name__in=lower).values_list("pk", flat=True))


ON_LIST = """((p.reblog_of_id IS NULL OR EXISTS (
        SELECT 1 FROM followers_follow
        WHERE followee_id = p.author_id AND follower_id = %(viewer)s AND reblogs))
    AND (p.in_reply_to_account_id IS NULL OR p.in_reply_to_account_id = p.author_id
        OR ({replies} = 'list' AND {to_a_member})
        OR ({replies} IN ('list', 'followed') AND p.in_reply_to_account_id = %(viewer)s)
        OR ({replies} = 'followed' AND EXISTS (
            SELECT 1 FROM followers_follow
            WHERE followee_id = p.in_reply_to_account_id AND follower_id = %(viewer)s))))"""
"""What a list shows of its members' posts `p`. In braces: the list's replies_policy, and whether `p` answers a member."""


def list_timeline(viewer: Account, list_id: int, cursor: Cursor) -> Page:
    """What the members of the viewer's list wrote. Raises List.DoesNotExist."""
    found = List.objects.get(pk=list_id, owner=viewer)
    return _merged(
        viewer,
        cursor,
        sources=list(found.members.values_list("account_id", flat=True)),
        table="feeds_post p WHERE p.author_id = s.id AND p.deleted_at IS NULL",
        where=ON_LIST.format(replies="%(replies)s", to_a_member="p.in_reply_to_account_id = ANY(%(sources)s)"),
        key="p.id",
        replies=found.replies_policy,
    )


def _merged(
    viewer: Account | None, cursor: Cursor, *, sources: list[int], table: str, where: str, key: str, **values: Any
) -> Page:
    """A page of several sources at once (authors, tags): the first ones of each by its own index, then the first of all.

    `table` says where a source's posts are, `key` is the index's column to go by.
    """
    statement = f"""
        SELECT DISTINCT p.id FROM unnest(%(sources)s::bigint[]) s (id) CROSS JOIN LATERAL (
            SELECT p.id FROM {table}
              AND {key} < %(below)s AND {key} > %(above)s
              AND {likely(where)} AND {VISIBLE.format(post="p")} AND NOT {HIDDEN.format(post="p")}
            ORDER BY {key} {{order}} LIMIT %(count)s) p
        ORDER BY p.id {{order}} LIMIT %(count)s
        """.format(order="ASC" if cursor.nearest else "DESC")
    values |= {
        "sources": sources,
        "viewer": viewer.pk if viewer else None,
        "below": cursor.below,
        "above": cursor.above,
        "count": cursor.limit + 1,
    }
    return _shown(lambda: [post_id for (post_id,) in rows(statement, **values)], viewer, cursor)


def favourites(viewer: Account, cursor: graph.Cursor) -> Page:
    """What the viewer favoured, the latest mark first. The cursor's ids, and the page's, are those of the marks."""
    return _marked(Favourite, viewer, cursor)


def bookmarks(viewer: Account, cursor: graph.Cursor) -> Page:
    """What the viewer bookmarked, likewise."""
    return _marked(Bookmark, viewer, cursor)


def _marked(marks: type[Favourite] | type[Bookmark], viewer: Account, cursor: graph.Cursor) -> Page:
    seen = Post.objects.visible_to(viewer)
    found = graph.page(marks.objects.filter(account=viewer, post__in=seen), "post_id", cursor)
    return Page(refs(found.account_ids, viewer), found.next_max_id, found.prev_min_id)


def favoured_by(viewer: Account | None, post: Post, cursor: graph.Cursor) -> graph.Page:
    """A page of the accounts that favoured the post, without those with whom the viewer has a block."""
    found = Favourite.objects.filter(post=post, account__is_active=True)
    if viewer is not None:
        found = found.exclude(account__in=graph.blocked_either_way(viewer.pk))
    return graph.page(found, "account_id", cursor)


def reblogged_by(viewer: Account | None, post: Post, cursor: graph.Cursor) -> graph.Page:
    """A page of the accounts whose reblogs of the post the viewer may see."""
    return graph.page(Post.objects.visible_to(viewer).filter(reblog_of=post), "author_id", cursor)


@dataclass(frozen=True)
class Context:
    """The conversation around a post: what it answers, from the first one on; and the answers, each below what it answers."""

    ancestors: list[Entity]
    descendants: list[Entity]


def context(viewer: Account | None, post: Post) -> Context:
    """At most CONTEXT_MOST each way, as far as the viewer may see them and does not hide them."""
    [(above, below)] = rows(
        """
        WITH RECURSIVE up (id, parent, depth) AS (
            SELECT id, in_reply_to_id, 0 FROM feeds_post WHERE id = %(post)s
            UNION ALL
            SELECT p.id, p.in_reply_to_id, depth + 1 FROM up JOIN feeds_post p ON p.id = up.parent
            WHERE depth < %(most)s),
        down (id, path) AS (
            SELECT %(post)s::bigint, ARRAY[]::bigint[]
            UNION ALL
            SELECT * FROM (
                SELECT p.id, down.path || p.id FROM down JOIN feeds_post p ON p.in_reply_to_id = down.id
                WHERE p.deleted_at IS NULL AND cardinality(down.path) < 50 ORDER BY p.id LIMIT %(most)s) answers)
        SELECT (SELECT coalesce(array_agg(id ORDER BY depth DESC), '{}') FROM up WHERE depth > 0),
            (SELECT coalesce(array_agg(id ORDER BY path), '{}')
             FROM (SELECT * FROM down WHERE path <> '{}' ORDER BY path LIMIT %(most)s) d)
        """,
        post=post.pk,
        most=CONTEXT_MOST,
    )
    seen = Post.objects.visible_to(viewer).not_hidden_from(viewer).filter(pk__in=[*above, *below])
    shown = set(seen.values_list("pk", flat=True))
    found = hydrate(refs([post_id for post_id in (*above, *below) if post_id in shown], viewer))
    ancestors = sum(post_id in shown for post_id in above)
    return Context(found[:ancestors], found[ancestors:])


def history(post: Post) -> list[dict[str, Any]]:
    """What the post said, from the first words to those of now: text, spoiler_text, sensitive, created_at of each."""
    now = (post.text, post.spoiler_text, post.sensitive, post.edited_at or post.created_at)
    said = [*post.edits.values_list("text", "spoiler_text", "sensitive", "created_at"), now]
    names = ("text", "spoiler_text", "sensitive", "created_at")
    return [dict(zip(names, (*words, iso(moment)), strict=True)) for *words, moment in said]


def followed_tags(account: Account) -> list[Tag]:
    return list(Tag.objects.filter(pk__in=TagFollow.objects.filter(account=account).values("tag")).order_by("name"))


def used_tags(account: Account, most: int) -> list[Tag]:
    """The tags of the account's newest public posts that it does not feature, those used most first."""
    newest = Post.objects.live().filter(author=account, visibility="public").order_by("-id").values("pk")[:100]
    found = Tag.objects.exclude(pk__in=account.featured_tags.values("tag")).filter(posts__in=newest)
    return list(found.annotate(uses=Count("posts")).order_by("-uses", "name")[:most])

"""What a home timeline is: docs/semantics.md as one function of plain Python, to be read beside it.

It knows no SQL, no Redis, no cursor, and nothing of when something was delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

NEIGHBOURS = 40


@dataclass
class Post:
    id: int
    author: int
    visibility: str = "public"
    mentions: set[int] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    replied_to: int | None = None  # an account
    original: Post | None = None  # what it reblogs
    deleted: bool = False


@dataclass
class World:
    """What is so now. Pairs: (who, whom)."""

    posts: dict[int, Post] = field(default_factory=dict)
    follows: dict[tuple[int, int], bool] = field(default_factory=dict)  # True: reblogs, too
    blocks: set[tuple[int, int]] = field(default_factory=set)
    mutes: set[tuple[int, int]] = field(default_factory=set)
    exclusive: set[tuple[int, int]] = field(default_factory=set)  # (owner of an exclusive list, member)
    tags: set[tuple[int, str]] = field(default_factory=set)


def home(world: World, reader: int, without: frozenset[int] = frozenset()) -> list[int]:
    """The ids on the reader's home timeline, newest first. `without`: posts that are still on their way to it."""

    def blocked(account: int) -> bool:
        return (reader, account) in world.blocks or (account, reader) in world.blocks

    def follows(account: int) -> bool:
        return (reader, account) in world.follows

    def parts(post: Post) -> Iterator[Post]:
        yield post
        if post.original:
            yield post.original

    def may_see(post: Post) -> bool:
        return not post.deleted and (
            post.author == reader
            or (
                not blocked(post.author)
                and (
                    post.visibility in ("public", "unlisted")
                    or (post.visibility == "private" and follows(post.author))
                    or reader in post.mentions
                )
            )
        )

    def hides(post: Post) -> bool:
        mentions_blocked = post.author != reader and any(blocked(account) for account in post.mentions)
        return (reader, post.author) in world.mutes or mentions_blocked

    def is_candidate(post: Post) -> bool:
        wanted = post.author == reader or follows(post.author) or any((reader, tag) in world.tags for tag in post.tags)
        return (
            wanted
            and all(may_see(part) and not hides(part) for part in parts(post))
            and (post.replied_to in (None, post.author, reader) or follows(post.replied_to))  # (a)
            and not (post.original and world.follows.get((reader, post.author)) is False)  # (b)
            and (reader, post.author) not in world.exclusive  # (c)
        )

    def is_superfluous(place: int) -> bool:  # (d)
        original = candidates[place].original
        below = candidates[place + 1 : place + 1 + NEIGHBOURS]
        return original is not None and any(original in parts(post) for post in below)

    newest_first = sorted(world.posts.values(), key=lambda post: -post.id)
    candidates = [post for post in newest_first if post.id not in without and is_candidate(post)]
    return [post.id for place, post in enumerate(candidates) if not is_superfluous(place)]

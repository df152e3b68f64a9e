"""The streams: what a client may ask for, with which scopes, and what frames call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from oauth2_provider.models import AccessToken

from feeds.models import Post
from feeds.posts import get_visible
from followers.models import List

from ..auth import INVALID, covers, find_token
from ..errors import NOT_FOUND


class Stream(NamedTuple):
    """`of` is whose it is, an account's id; or a list's id, a hashtag in lower case, a post's id; 0 for everybody's."""

    kind: str
    of: int | str = 0


class Subscription(NamedTuple):
    """A stream, and what frames call it: its name, and the parameter that came with it."""

    stream: Stream
    label: tuple[str, ...]


class Refused(Exception):
    """With a status code, and one sentence for the client."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


PUBLIC = ("public", "public:local")  # every post is of this server: the two are one
EMPTY = ("direct", "public:remote", "public:media", "public:local:media", "public:remote:media")
"""Streams of what there is not here: conversations, other servers, media."""

NAMES = ("user", "user:notification", "list", "hashtag", "hashtag:local", *PUBLIC, *EMPTY)
OUT_OF_SCOPE = "This action is outside the authorized scopes"


def token(text: str) -> AccessToken:
    """The account's token that the client shows. Raises Refused."""
    found = find_token(text) if text else None
    if found is None:
        raise Refused(401, INVALID)
    if found.user is None:
        raise Refused(401, "This method requires an authenticated user")
    return found


def asked(name: str, params: Mapping[str, str], shown: AccessToken) -> Subscription:
    """What the client asks for by this name. Raises Refused."""
    account_id = shown.user_id
    match name:
        case "user":
            _check(shown, "read:statuses")
            return Subscription(Stream("user", account_id), (name,))
        case "user:notification":
            _check(shown, "read:notifications")
            return Subscription(Stream("user:notification", account_id), (name,))
        case "list":
            _check(shown, "read:statuses", "read:lists")
            list_id = params.get("list", "")
            if not (list_id.isascii() and list_id.isdecimal() and len(list_id) < 19):
                raise Refused(400, "The parameter list must be the id of a list")
            if not List.objects.filter(pk=int(list_id), owner=account_id).exists():
                raise Refused(404, NOT_FOUND)
            return Subscription(Stream("list", int(list_id)), (name, list_id))
        case "hashtag" | "hashtag:local":
            tag = params.get("tag", "").removeprefix("#")
            if not 0 < len(tag) <= 100:
                raise Refused(400, "The parameter tag must be a hashtag")
            return Subscription(Stream(name, tag.lower()), (name, params["tag"]))
    if name in PUBLIC or name in EMPTY:
        return Subscription(Stream(name), (name,))
    raise Refused(400, f"There is no stream {name[:50]!r}")


def delivery(post_id: int, shown: AccessToken) -> Subscription:
    """The progress of a post's fan-out, for the author and for staff. Raises Refused."""
    _check(shown, "read:statuses")
    try:
        post = Post.objects.get(pk=post_id)
        if not (shown.user.is_staff or post.author_id == shown.user_id):
            get_visible(shown.user, post_id)
            raise Refused(403, "This action is not allowed")
    except Post.DoesNotExist:
        raise Refused(404, NOT_FOUND) from None
    return Subscription(Stream("delivery", post_id), ("delivery",))


def hears_notifications(shown: AccessToken) -> bool:
    """Whether the user stream brings them, too."""
    return covers(shown.scope, "read:notifications")


def _check(shown: AccessToken, *scopes: str) -> None:
    if not any(covers(shown.scope, scope) for scope in scopes):
        raise Refused(403, OUT_OF_SCOPE)

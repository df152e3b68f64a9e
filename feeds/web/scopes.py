"""What scopes allow, in words for those who are asked."""

from __future__ import annotations

from collections.abc import Iterable

from feeds.api.auth import covers

WORDS = {
    "read": "read everything that you can read here",
    "read:accounts": "see your account and those of others",
    "read:blocks": "see whom you block",
    "read:bookmarks": "see your bookmarks",
    "read:favourites": "see your favourites",
    "read:filters": "see your filters",
    "read:follows": "see whom you follow",
    "read:lists": "see your lists",
    "read:mutes": "see whom you mute",
    "read:notifications": "see your notifications",
    "read:search": "search for you",
    "read:statuses": "read the posts that you can read",
    "write": "post in your name, and change everything of yours",
    "write:accounts": "change your profile",
    "write:blocks": "block and unblock accounts",
    "write:bookmarks": "set bookmarks",
    "write:conversations": "mute and remove conversations",
    "write:favourites": "favour posts",
    "write:filters": "make filters",
    "write:follows": "follow and unfollow accounts",
    "write:lists": "make and change your lists",
    "write:media": "upload pictures and videos",
    "write:mutes": "mute and unmute accounts",
    "write:notifications": "dismiss your notifications",
    "write:reports": "report accounts",
    "write:search": "search in your name",
    "write:statuses": "post in your name, and delete posts",
    "follow": "see and change whom you follow, block and mute",
    "push": "send you push notifications",
    "profile": "see your name and your profile",
}


def in_words(scopes: Iterable[str]) -> list[str]:
    """What an application may do with them; what another one includes is not said again."""
    asked = list(dict.fromkeys(scopes))
    included = {one for one in asked for other in asked if one != other and covers(other, one)}
    return [WORDS[one] for one in asked if one not in included]

"""What each route takes and answers: the table that schema.py makes the OpenAPI document of, beside what views say.

A route without a line here fails tests/api/test_schema.py, and so does an answer that its line does not promise. What need
not stand here: scopes and rates (the view's), the path's parameters (urls.py), and the errors that follow from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta
from rest_framework.serializers import Serializer

from feeds import deliveries

from . import forms, search
from .shapes import (
    Account,
    Application,
    AuthorizationServer,
    Context,
    CredentialAccount,
    DeletedStatus,
    Delivery,
    DeliveryReport,
    Explanation,
    ExtendedDescription,
    FamiliarFollowers,
    FeaturedTag,
    Found,
    Health,
    Id,
    Instance,
    InstanceV1,
    Markers,
    MutedAccount,
    NodeInfo,
    NodeInfoLinks,
    NotBuilt,
    Nothing,
    Notification,
    OAuthError,
    Preferences,
    RegisteredApplication,
    Relationship,
    Status,
    StatusEdit,
    StatusSource,
    Tag,
    Token,
    UnreadCount,
    UserList,
)


@dataclass(frozen=True)
class Operation:
    """One method of one route. `answer` is a type of shapes.py, a media type that is no JSON, or None: none comes."""

    summary: str
    answer: Any
    takes: type[Serializer] | None = None  # the body
    partial: bool = False  # whether what the form wants may be missing
    query: Sequence[str] = ()  # names of PARAMETERS
    paged: bool = False  # whether a Link header leads on
    fails: Sequence[int] = ()  # statuses beyond those that follow from the rest
    also: Sequence[int] = ()  # other statuses that come with the answer
    error: Any = None  # another shape than Error, of 400, 401 and 403
    staff: bool = False
    client: bool = False  # for a client's own token, and no account's


def op(summary: str, answer: Any, takes: type[Serializer] | None = None, *, query: str = "", **more: Any) -> Operation:
    return Operation(summary, answer, takes, query=query.split(), **more)


def page(summary: str, answer: Any, *, query: str = "", **more: Any) -> Operation:
    return op(summary, answer, query=f"{PAGE} {query}", paged=True, **more)


PAGE = "max_id since_id min_id limit"

Flag = Annotated[bool, Meta(description="On: true, 1, on")]
Words = list[str]


def one_of(words: Iterable[str]) -> Any:
    return Annotated[str, Meta(extra_json_schema={"enum": list(words)})]


PARAMETERS: dict[str, tuple[Any, str]] = {
    "max_id": (Id, "Older than this one"),
    "since_id": (Id, "Newer than this one; the newest of them"),
    "min_id": (Id, "Newer than this one; those immediately above it"),
    "limit": (
        Annotated[int, Meta(ge=1)],
        "How many at most. 20 if not given, and never more than 40; of accounts and notifications 40 and 80",
    ),
    "offset": (Annotated[int, Meta(ge=0)], "How many to leave out"),
    "id[]": (list[Id], "Which ones"),
    "account_ids[]": (list[Id], "Which accounts. May be in a body, too"),
    "account_id": (Id, "Which account"),
    "acct": (str, "A user name, `@` before it or not, this host after it or not"),
    "q": (Annotated[str, Meta(max_length=forms.QUERY_MAX)], "What to search for; of statuses also a URL"),
    "type": (one_of(search.KINDS), "What to search for alone"),
    "resolve": (Flag, "Has no effect: every account is local"),
    "following": (Flag, "Only accounts that the caller follows"),
    "exclude_replies": (Flag, "Without replies to others"),
    "exclude_reblogs": (Flag, "Without reblogs"),
    "pinned": (Flag, "Only what is pinned"),
    "only_media": (Flag, "Only statuses with media: none has any yet"),
    "tagged": (str, "Only statuses with this hashtag"),
    "local": (Flag, "Has no effect: every status is local"),
    "remote": (Flag, "Only statuses from elsewhere: there are none"),
    "any[]": (Words, "Hashtags that will do as well"),
    "all[]": (Words, "Hashtags that must be there, too"),
    "none[]": (Words, "Hashtags that must not be there"),
    "types[]": (Words, "Only these types; unknown ones find nothing"),
    "exclude_types[]": (Words, "Without these types"),
    "access_token": (str, "The token, for whoever can set no header"),
    "stream": (str, "The first stream: `user`, `public:local`, `hashtag`..."),
    "tag": (str, "Of which hashtag"),
    "list": (Id, "Of which list"),
    "timeline[]": (Words, "`home`, `notifications`, or both"),
    "Idempotency-Key": (
        Annotated[str, Meta(max_length=255)],
        "The same key within an hour gives the same status, and not another one",
    ),
    "state": (one_of(deliveries.STANDINGS), "Only these; else those that are open or failed"),
}
REQUIRED = ("acct", "q")
HEADERS = ("Idempotency-Key",)  # of PARAMETERS; the others are the query's

STATUS = "api/v1/statuses/<id:post_id>"
ACCOUNT = "api/v1/accounts/<id:account_id>"
REQUEST = "api/v1/follow_requests/<id:account_id>"
LIST = "api/v1/lists/<id:list_id>"
TAG = "api/v1/tags/<str:name>"
NOTIFICATION = "api/v1/notifications/<id:notification_id>"

GROUPS: dict[str, dict[str, Operation]] = {
    "OAuth": {
        "POST api/v1/apps": op("Register a client", RegisteredApplication, forms.ApplicationForm),
        "GET api/v1/apps/verify_credentials": op("The token's client", Application, fails=[404]),
        "POST oauth/token": op("Get a token", Token, forms.OAuthForm, fails=[401], error=OAuthError),
        "POST oauth/revoke": op("Give a token back", Nothing, forms.OAuthForm, fails=[403], error=OAuthError),
    },
    "Accounts": {
        "POST api/v1/accounts": op("Sign up, with a client's own token", Token, forms.RegistrationForm, client=True),
        "GET api/v1/accounts": op("Several accounts", list[Account], query="id[]"),
        "GET api/v1/accounts/verify_credentials": op("The caller's account", CredentialAccount),
        "PATCH api/v1/accounts/update_credentials": op(
            "Edit the caller's profile", CredentialAccount, forms.ProfileForm, partial=True
        ),
        "GET api/v1/accounts/lookup": op("An account by its name", Account, query="acct", fails=[404]),
        "GET api/v1/accounts/search": op("Accounts by words", list[Account], query="q limit offset resolve following"),
        f"GET {ACCOUNT}": op("An account", Account),
        f"GET {ACCOUNT}/statuses": page(
            "What an account wrote", list[Status], query="exclude_replies exclude_reblogs pinned only_media tagged"
        ),
        f"GET {ACCOUNT}/followers": page("Who follows an account", list[Account]),
        f"GET {ACCOUNT}/following": page("Whom an account follows", list[Account]),
        f"GET {ACCOUNT}/featured_tags": op("The hashtags on an account's profile", list[FeaturedTag]),
        f"GET {ACCOUNT}/lists": op("The caller's lists that an account is on", list[UserList]),
    },
    "Relationships": {
        "GET api/v1/accounts/relationships": op(
            "How the caller stands to accounts, in the order asked for", list[Relationship], query="id[]"
        ),
        f"POST {ACCOUNT}/follow": op("Follow", Relationship, forms.FollowForm),
        f"POST {ACCOUNT}/unfollow": op("Unfollow", Relationship),
        f"POST {ACCOUNT}/block": op("Block", Relationship, fails=[422]),
        f"POST {ACCOUNT}/unblock": op("Unblock", Relationship),
        f"POST {ACCOUNT}/mute": op("Mute", Relationship, forms.MuteForm),
        f"POST {ACCOUNT}/unmute": op("Unmute", Relationship),
        f"POST {ACCOUNT}/remove_from_followers": op("Let an account follow the caller no more", Relationship),
        f"POST {ACCOUNT}/note": op("Keep a note about an account", Relationship, forms.NoteForm),
        "GET api/v1/accounts/familiar_followers": op(
            "Whom the caller follows of those who follow accounts", list[FamiliarFollowers], query="id[]"
        ),
        "GET api/v1/follow_requests": page("Who asks to follow the caller", list[Account]),
        f"POST {REQUEST}/authorize": op("Let an account follow that asked", Relationship),
        f"POST {REQUEST}/reject": op("Refuse an account that asked", Relationship),
        "GET api/v1/blocks": page("Whom the caller blocks", list[Account]),
        "GET api/v1/mutes": page("Whom the caller mutes", list[MutedAccount]),
    },
    "Statuses": {
        "POST api/v1/statuses": op("Publish a status", Status, forms.StatusForm, query="Idempotency-Key", fails=[404]),
        "GET api/v1/statuses": op("Several statuses", list[Status], query="id[]"),
        f"GET {STATUS}": op("A status", Status),
        f"PUT {STATUS}": op("Edit a status", Status, forms.EditForm),
        f"DELETE {STATUS}": op("Delete a status", DeletedStatus),
        f"GET {STATUS}/source": op("A status as it was written", StatusSource),
        f"GET {STATUS}/history": op("What a status said when, the oldest first", list[StatusEdit]),
        f"GET {STATUS}/context": op("The conversation around a status", Context),
        f"GET {STATUS}/reblogged_by": page("Who reblogged a status", list[Account]),
        f"GET {STATUS}/favourited_by": page("Who favoured a status", list[Account]),
        f"POST {STATUS}/favourite": op("Favour", Status),
        f"POST {STATUS}/unfavourite": op("Take a favour back", Status),
        f"POST {STATUS}/bookmark": op("Bookmark", Status),
        f"POST {STATUS}/unbookmark": op("Take a bookmark back", Status),
        f"POST {STATUS}/pin": op("Pin to the caller's profile", Status, fails=[422]),
        f"POST {STATUS}/unpin": op("Unpin", Status),
        f"POST {STATUS}/mute": op("Be told no more of a conversation", Status),
        f"POST {STATUS}/unmute": op("Be told of a conversation again", Status),
        f"POST {STATUS}/reblog": op("Reblog: answers the reblog, with the original in it", Status, forms.ReblogForm),
        f"POST {STATUS}/unreblog": op("Take a reblog back: answers the original", Status),
        "GET api/v1/favourites": page("What the caller favoured", list[Status]),
        "GET api/v1/bookmarks": page("What the caller bookmarked", list[Status]),
    },
    "Timelines": {
        "GET api/v1/timelines/home": page(
            "Home. 206: it is being built, and the page came from the database alone", list[Status], also=[206]
        ),
        "GET api/v1/timelines/public": page("Everybody's", list[Status], query="local remote only_media"),
        "GET api/v1/timelines/tag/<str:name>": page(
            "What bears a hashtag", list[Status], query="any[] all[] none[] local remote only_media"
        ),
        "GET api/v1/timelines/list/<id:list_id>": page("A list's", list[Status]),
    },
    "Lists": {
        "GET api/v1/lists": op("The caller's lists", list[UserList]),
        "POST api/v1/lists": op("Make a list", UserList, forms.ListForm),
        f"GET {LIST}": op("A list", UserList),
        f"PUT {LIST}": op("Edit a list", UserList, forms.ListForm, partial=True),
        f"DELETE {LIST}": op("Delete a list", Nothing),
        f"GET {LIST}/accounts": page("Who is on a list; limit=0: everybody", list[Account]),
        f"POST {LIST}/accounts": op("Put followed accounts on a list", Nothing, forms.AccountIdsForm),
        f"DELETE {LIST}/accounts": op(
            "Take accounts off a list", Nothing, query="account_ids[]", fails=[413, 415, 422]
        ),
    },
    "Hashtags": {
        f"GET {TAG}": op("A hashtag", Tag),
        f"POST {TAG}/follow": op("Follow a hashtag", Tag, fails=[422]),
        f"POST {TAG}/unfollow": op("Unfollow a hashtag", Tag),
        "GET api/v1/featured_tags": op("The hashtags on the caller's profile", list[FeaturedTag]),
        "POST api/v1/featured_tags": op("Put a hashtag on the caller's profile", FeaturedTag, forms.FeaturedTagForm),
        "GET api/v1/featured_tags/suggestions": op("Hashtags that the caller used lately", list[Tag]),
        "DELETE api/v1/featured_tags/<id:featured_id>": op("Take a hashtag off the caller's profile", Nothing),
        "GET api/v1/followed_tags": op("The hashtags that the caller follows", list[Tag]),
    },
    "Search": {
        "GET api/v2/search": op(
            "Accounts, statuses and hashtags by words", Found, query="q type account_id limit offset resolve following"
        ),
    },
    "Notifications": {
        "GET api/v1/notifications": page(
            "What the caller was told of", list[Notification], query="types[] exclude_types[] account_id"
        ),
        "GET api/v1/notifications/unread_count": op("How many are above the marker", UnreadCount),
        "POST api/v1/notifications/clear": op("Dismiss all", Nothing),
        f"GET {NOTIFICATION}": op("A notification", Notification),
        f"POST {NOTIFICATION}/dismiss": op("Dismiss a notification", Nothing),
        "GET api/v1/markers": op("How far the caller has read", Markers, query="timeline[]"),
        "POST api/v1/markers": op("Mark how far the caller has read", Markers, forms.MarkersForm),
    },
    "Streams": {
        "GET api/v1/streaming": op(
            "All streams by WebSocket: sends to the process that has them",
            None,
            query="access_token stream tag list",
            also=[302],
        ),
        "GET api/v1/streaming/<path:rest>": op(
            "Server-Sent Events of a stream: sends to the process that has them",
            None,
            query="access_token tag list only_media",
            also=[302],
        ),
    },
    "Instance": {
        "GET api/v1/instance": op("What the server says of itself, as it was until version 4", InstanceV1),
        "GET api/v2/instance": op("What the server says of itself", Instance),
        "GET api/v1/instance/extended_description": op("More about it", ExtendedDescription),
        "GET api/v1/preferences": op("What the caller's clients start with", Preferences),
        "GET .well-known/oauth-authorization-server": op("How to get tokens, for OAuth libraries", AuthorizationServer),
        "GET .well-known/nodeinfo": op("Where NodeInfo is", NodeInfoLinks),
        "GET nodeinfo/2.0": op("NodeInfo", NodeInfo),
        "GET thumbnail.svg": op("The instance's picture", "image/svg+xml"),
    },
    "Not built": {
        **{
            f"GET api/{name}": op("Not built: always empty", NotBuilt)
            for name in """
                v1/custom_emojis v1/announcements v1/directory v1/trends v1/trends/tags v1/trends/statuses v1/trends/links
                v1/instance/rules v1/instance/peers v1/instance/activity v1/instance/domain_blocks v1/filters v2/filters
                v1/conversations v1/scheduled_statuses v1/suggestions v2/suggestions v1/endorsements v1/domain_blocks
            """.split()
        },
        "GET api/v1/instance/translation_languages": op("Not built: always empty", Nothing),
        **{f"POST api/{version}/media": op("Not built: always refused", None, fails=[422]) for version in ("v1", "v2")},
    },
    "Operating": {
        f"GET {STATUS}/delivery": op("A status's fan-out, for its author and staff", DeliveryReport),
        f"GET {STATUS}/explain": op(
            "Why a status is, or is not, on an account's home", Explanation, query="account_id", staff=True
        ),
        f"POST {STATUS}/delivery/cancel": op("Stop a fan-out, and take back what it did", DeliveryReport, staff=True),
        f"POST {STATUS}/delivery/replay": op(
            "Try again what a fan-out gave up", DeliveryReport, staff=True, fails=[422]
        ),
        f"POST {STATUS}/delivery/drop": op("Give up for good what failed", DeliveryReport, staff=True),
        "GET api/v1/admin/deliveries": page(
            "Fan-outs that are to be looked at", list[Delivery], query="state", staff=True
        ),
        "GET healthz": op("What is up", Health, also=[503]),
        "GET metrics": op("For Prometheus", "text/plain", fails=[401, 404]),
        "GET avatars/<id:account_id>.png": op("An account's picture", "image/png"),
        "GET headers/<id:account_id>.png": op("The picture above an account's profile", "image/png"),
        "GET api/openapi.json": op("This document", "application/json", also=[304]),
        "GET api/docs": op("This document as a page", "text/html"),
    },
}

OPERATIONS = {route: operation for group in GROUPS.values() for route, operation in group.items()}
GROUP = {route: name for name, group in GROUPS.items() for route in group}

"""What answers look like: one type per entity of the API. serializers.py makes them; schema.py shows them to clients.

A key that a type does not name is in no answer of that type, and a key is missing only where it is NotRequired. Tests
compare every answer that they get with these types (tests/conformance.py).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

Id = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,19}$",
        description="A decimal number. Newer posts have greater ones",
        examples=["117677654235486304"],
    ),
]
Moment = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        extra_json_schema={"format": "date-time"},
        description="ISO 8601, in UTC, with milliseconds",
        examples=["2026-11-25T09:30:00.000Z"],
    ),
]
Midnight = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT00:00:00\.000Z$",
        extra_json_schema={"format": "date-time"},
        description="A day, as its beginning in UTC",
        examples=["2026-11-25T00:00:00.000Z"],
    ),
]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", extra_json_schema={"format": "date"}, examples=["2026-11-25"])]
Url = Annotated[
    str, Meta(pattern="^https?://", extra_json_schema={"format": "uri"}, examples=["http://localhost:8000/@alice"])
]
Html = Annotated[str, Meta(description="HTML; what people wrote is escaped in it", examples=["<p>Hello</p>"])]
Count = Annotated[int, Meta(ge=0)]
Digits = Annotated[str, Meta(pattern="^[0-9]+$", description="A number, as text", examples=["3"])]
NotBuilt = Annotated[list[Any], Meta(max_length=0, description="Always empty: not built")]
Visibility = Literal["public", "unlisted", "private", "direct"]


class Nothing(TypedDict):
    """An empty object: it is done."""


# What goes wrong


class Error(TypedDict):
    """What is wrong, in one sentence."""

    error: str


class OAuthError(TypedDict):
    """As OAuth 2 has it: a word for programs, and a sentence."""

    error: str
    error_description: NotRequired[str]


class Problem(TypedDict):
    """One thing that is wrong with a field."""

    error: Literal[
        "ERR_TAKEN",
        "ERR_BLANK",
        "ERR_INVALID",
        "ERR_ACCEPTED",
        "ERR_RESERVED",
        "ERR_TOO_LONG",
        "ERR_TOO_SHORT",
        "ERR_INCLUSION",
    ]
    description: str


class ValidationFailed(TypedDict):
    """What is wrong with what was sent: in one sentence, and field by field."""

    error: Annotated[str, Meta(pattern="^Validation failed: ")]
    details: dict[str, list[Problem]]


# OAuth


class Application(TypedDict):
    """A client that registered."""

    id: Id
    name: str
    website: Url | None
    scopes: list[str]
    redirect_uri: Annotated[str, Meta(description="All of redirect_uris, with line ends between them")]
    redirect_uris: list[str]


class RegisteredApplication(Application):
    """What an application learns once, when it registers: its secret is shown nowhere else."""

    client_id: str
    client_secret: str
    client_secret_expires_at: Annotated[int, Meta(ge=0, le=0, description="Always 0: never")]
    vapid_key: Annotated[str, Meta(max_length=0, description="Always empty: push is not built")]


class Token(TypedDict):
    """Shown once. It works until it is revoked."""

    access_token: str
    token_type: Literal["Bearer"]
    scope: Annotated[str, Meta(description="With spaces between them")]
    created_at: Annotated[int, Meta(description="Unix seconds")]


# Accounts


class Field(TypedDict):
    """A line of a profile. The value is HTML, in one's own account's `source` the text."""

    name: str
    value: str
    verified_at: None


class Account(TypedDict):
    """Somebody, as everybody sees them."""

    id: Id
    username: str
    acct: str
    url: Url
    uri: Url
    display_name: str
    note: Html
    avatar: Url
    avatar_static: Url
    header: Url
    header_static: Url
    locked: bool
    bot: bool
    group: bool
    discoverable: bool | None
    noindex: bool
    created_at: Midnight
    last_status_at: Day | None
    statuses_count: Count
    followers_count: Count
    following_count: Count
    emojis: NotBuilt
    fields: list[Field]
    roles: NotBuilt


class MutedAccount(Account):
    """Somebody whom the caller mutes, and until when; null: for good."""

    mute_expires_at: Moment | None


class Source(TypedDict):
    """An account's own settings, and its profile as it was written."""

    privacy: Visibility
    sensitive: bool
    language: str | None
    note: str
    fields: list[Field]
    follow_requests_count: Count
    discoverable: bool | None
    hide_collections: bool


class Role(TypedDict):
    """Everybody has this one: it means nothing."""

    id: str
    name: str
    color: str
    permissions: Digits
    highlighted: bool


class CredentialAccount(Account):
    """The caller's own account."""

    source: Source
    role: Role


class Relationship(TypedDict):
    """How the caller stands to an account."""

    id: Id
    following: bool
    showing_reblogs: bool
    notifying: bool
    languages: list[str] | None
    followed_by: bool
    blocking: bool
    blocked_by: bool
    muting: bool
    muting_notifications: bool
    requested: bool
    requested_by: bool
    domain_blocking: bool
    endorsed: bool
    note: str


class FamiliarFollowers(TypedDict):
    """Of those whom the caller follows, those who follow the account."""

    id: Id
    accounts: list[Account]


class UserList(TypedDict):
    """A list of accounts, with a timeline of its own."""

    id: Id
    title: str
    replies_policy: Literal["followed", "list", "none"]
    exclusive: Annotated[bool, Meta(description="Whether its members' posts are left out of home")]


# Statuses


class Mention(TypedDict):
    """Somebody named in a status."""

    id: Id
    username: str
    url: Url
    acct: str


class StatusTag(TypedDict):
    """A hashtag in a status."""

    name: str
    url: Url


class Status(TypedDict):
    """A post. The last five fields say how the caller marked it; without an account's token they are missing."""

    id: Id
    uri: Url
    url: Url
    created_at: Moment
    edited_at: Moment | None
    account: Account
    content: Html
    visibility: Visibility
    sensitive: bool
    spoiler_text: str
    language: str | None
    in_reply_to_id: Id | None
    in_reply_to_account_id: Id | None
    reblog: Annotated[Status | None, Meta(description="What this status reblogs")]
    media_attachments: NotBuilt
    mentions: list[Mention]
    tags: list[StatusTag]
    emojis: NotBuilt
    card: None
    poll: None
    application: None
    replies_count: Count
    reblogs_count: Count
    favourites_count: Count
    filtered: NotBuilt
    favourited: NotRequired[bool]
    reblogged: NotRequired[bool]
    bookmarked: NotRequired[bool]
    muted: NotRequired[bool]
    pinned: NotRequired[bool]


class DeletedStatus(Status):
    """With the text as it was written, for another try."""

    text: str


class StatusSource(TypedDict):
    """A status as it was written, for an editor."""

    id: Id
    text: str
    spoiler_text: str


class StatusEdit(TypedDict):
    """What a status said once."""

    content: Html
    spoiler_text: str
    sensitive: bool
    created_at: Moment
    account: Account
    poll: None
    media_attachments: NotBuilt
    emojis: NotBuilt


class Context(TypedDict):
    """What a status answers, and what answers it."""

    ancestors: list[Status]
    descendants: list[Status]


# Tags, search, notifications, markers


class TagDay(TypedDict):
    """How often a hashtag was used on one day, and by how many accounts."""

    day: Annotated[str, Meta(pattern="^[0-9]+$", description="Its beginning, in unix seconds, as text")]
    uses: Digits
    accounts: Digits


class Tag(TypedDict):
    """A hashtag, and its last seven days, today first."""

    id: Id
    name: str
    url: Url
    history: list[TagDay]
    following: NotRequired[Annotated[bool, Meta(description="Missing without an account's token")]]


class FeaturedTag(TypedDict):
    """A hashtag on a profile, and how often its account has used it."""

    id: Id
    name: str
    url: Url
    statuses_count: Digits
    last_status_at: Day | None


class Found(TypedDict):
    """What a search found."""

    accounts: list[Account]
    statuses: list[Status]
    hashtags: list[Tag]


class Notification(TypedDict):
    """What the caller was told of. `status` is there where it is about one."""

    id: Id
    type: Literal["mention", "follow", "follow_request", "favourite", "reblog", "status", "update"]
    created_at: Moment
    account: Account
    status: NotRequired[Status]


class UnreadCount(TypedDict):
    """How many notifications are above the marker."""

    count: Count


class Marker(TypedDict):
    """How far somebody has read."""

    last_read_id: Id
    version: Count
    updated_at: Moment


class Markers(TypedDict):
    """By timeline; without those that were never marked."""

    home: NotRequired[Marker]
    notifications: NotRequired[Marker]


# The instance


class Urls(TypedDict):
    """Where streams are."""

    streaming_api: str


class Stats(TypedDict):
    """How many there are, as of a minute ago."""

    user_count: Count
    status_count: Count
    domain_count: Count


class AccountLimits(TypedDict):
    """Of an account."""

    max_featured_tags: Count
    max_pinned_statuses: Count


class StatusLimits(TypedDict):
    """Of a status."""

    max_characters: Count
    max_media_attachments: Count
    characters_reserved_per_url: Count


class MediaLimits(TypedDict):
    """Zeros: media are not built."""

    supported_mime_types: NotBuilt
    image_size_limit: Count
    image_matrix_limit: Count
    video_size_limit: Count
    video_frame_rate_limit: Count
    video_matrix_limit: Count


class PollLimits(TypedDict):
    """Zeros: polls are not built."""

    max_options: Count
    max_characters_per_option: Count
    min_expiration: Count
    max_expiration: Count


class Limits(TypedDict):
    """What there may be most of."""

    accounts: AccountLimits
    statuses: StatusLimits
    media_attachments: MediaLimits
    polls: PollLimits


class InstanceV1(TypedDict):
    """What the server says of itself."""

    uri: Annotated[str, Meta(description="Its host, and its port unless that is the usual one")]
    title: str
    short_description: str
    description: str
    email: str
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+ ", description="Begins with the version of Mastodon's API")]
    urls: Urls
    stats: Stats
    thumbnail: Url
    languages: list[str]
    registrations: bool
    approval_required: bool
    invites_enabled: bool
    configuration: Limits
    contact_account: Account | None
    rules: NotBuilt


class StreamingUrl(TypedDict):
    """Where streams are."""

    streaming: str


class Translation(TypedDict):
    """Not built."""

    enabled: bool


class Configuration(Limits):
    """What there may be most of, and where streams are."""

    urls: StreamingUrl
    translation: Translation


class MonthlyUsers(TypedDict):
    """How many read or wrote in the last four weeks."""

    active_month: Count


class Usage(TypedDict):
    """Who uses it."""

    users: MonthlyUsers


class Thumbnail(TypedDict):
    """Its picture."""

    url: Url


class Registrations(TypedDict):
    """Who may sign up."""

    enabled: bool
    approval_required: bool
    message: str | None
    url: Url | None


class Contact(TypedDict):
    """Who runs it."""

    email: str
    account: Account | None


class Instance(TypedDict):
    """What the server says of itself."""

    domain: str
    title: str
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+ ", description="Begins with the version of Mastodon's API")]
    source_url: str
    description: str
    usage: Usage
    thumbnail: Thumbnail
    languages: list[str]
    configuration: Configuration
    registrations: Registrations
    contact: Contact
    rules: NotBuilt


class ExtendedDescription(TypedDict):
    """Empty: there is none."""

    updated_at: Moment | None
    content: Html


Preferences = TypedDict(
    "Preferences",
    {
        "posting:default:visibility": Visibility,
        "posting:default:sensitive": bool,
        "posting:default:language": "str | None",
        "reading:expand:media": Literal["default", "show_all", "hide_all"],
        "reading:expand:spoilers": bool,
        "reading:autoplay:gifs": bool,
    },
)


class AuthorizationServer(TypedDict):
    """As RFC 8414 has it."""

    issuer: Url
    authorization_endpoint: Url
    token_endpoint: Url
    revocation_endpoint: Url
    app_registration_endpoint: Url
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    code_challenge_methods_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    token_endpoint_auth_methods_supported: list[str]


class NodeInfoLink(TypedDict):
    """Where a version of NodeInfo is."""

    rel: Url
    href: Url


class NodeInfoLinks(TypedDict):
    """Which versions of NodeInfo there are."""

    links: list[NodeInfoLink]


class Software(TypedDict):
    """What runs here."""

    name: str
    version: str


class Services(TypedDict):
    """Empty: it speaks with no others."""

    inbound: NotBuilt
    outbound: NotBuilt


class Users(TypedDict):
    """How many there are, and how many read or wrote lately."""

    total: Count
    activeMonth: Count
    activeHalfyear: Count


class NodeUsage(TypedDict):
    """Who uses it."""

    users: Users
    localPosts: Count


class NodeMetadata(TypedDict):
    """Its name, for people."""

    nodeName: str
    nodeDescription: str


class NodeInfo(TypedDict):
    """As NodeInfo 2.0 has it."""

    version: str
    software: Software
    protocols: NotBuilt
    services: Services
    usage: NodeUsage
    openRegistrations: bool
    metadata: NodeMetadata


# Operating


class Batches(TypedDict):
    """Parts of a fan-out: some followers each."""

    total: Count
    done: Count
    failed: Count


class Task(TypedDict):
    """A piece of background work that a post started."""

    name: str
    state: Literal["queued", "sent", "finished"]
    queued_at: Moment
    finished_at: Moment | None
    attempts: Count
    error: str | None


class Delivery(TypedDict):
    """The record of a post's fan-out. Once it is done its parts sum to the audience."""

    id: Id
    kind: Literal["push", "retract"]
    author: str
    state: Literal["planned", "running", "done", "cancelled"]
    closed_by: Literal["callback", "reconciler", "inline"] | None
    audience: Count
    delivered: Count
    skipped_inactive: Count
    skipped_hidden: Count
    pulled: Count
    gone: Count
    failed: Count
    batches: Batches
    queued_at: Moment
    first_push_at: Moment | None
    finished_at: Moment | None
    dropped_at: Moment | None


class DeliveryReport(Delivery):
    """With how fast it is, and the tasks that the post started."""

    seconds: float
    deliveries_per_second: Count
    tasks: list[Task]


class Explanation(TypedDict):
    """Why a status is, or is not, on an account's home timeline."""

    status_id: Id
    account_id: Id
    answer: Literal[
        "deleted",
        "hidden",
        "not_followed",
        "not_visible",
        "exclusive_list",
        "reply_filtered",
        "reblog_filtered",
        "pulled",
        "present",
        "below_coverage",
        "no_timeline",
        "in_flight",
        "failed",
    ]
    since: Moment | None
    detail: str


Up = Literal["up", "down"]


class Parts(TypedDict):
    """What the service is made of."""

    postgresql: Up
    redis: Up
    cache: Up
    broker: Up
    relay: Up
    workers: Up
    beat: Up
    clocks: Up


class Health(TypedDict):
    """Whether the service can answer: `down` without PostgreSQL, `degraded` without something else.

    In production the parts are for whoever shows METRICS_TOKEN.
    """

    status: Literal["up", "degraded", "down"]
    parts: NotRequired[Parts]

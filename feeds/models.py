"""Posts, and the work rows that carry each of them to its readers: facts, constraints, questions.

First the rules that every door asks, VISIBLE and HIDDEN; then what people write and do, down to IdempotencyKey. Delivery
and Batch record one post's fan-out, Outbox the tasks that a change asks for. Work rows (Batch, Outbox) are claimed, leased
and closed by the conditional UPDATEs of fanout.py and outbox.py; docs/protocol.md says how.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Now

from followers.models import Account

from .database import exists, likely

ID_END = 1 << 58
"""All post ids lie below it, until the year 2109: doubles (the numbers of Lua) hold them exactly, being multiples of 32."""


class Visibility(models.TextChoices):
    PUBLIC = "public"
    UNLISTED = "unlisted"  # as public, but not on the public timeline
    PRIVATE = "private"  # followers
    DIRECT = "direct"  # those mentioned


class PostMode(models.TextChoices):
    """How a post reaches home timelines: decided when it is written, by HomeMode, and kept for its life."""

    PUSH = "push"
    PULL = "pull"
    NONE = "none"  # not any more: its fan-out was cancelled


# Who may see a post, and who would rather not: each is decided here and nowhere else. SQL of a boolean, where `{post}` is
# a row of feeds_post and %(viewer)s an account's id, or NULL for anybody.


class Facts(NamedTuple):
    """What the rules ask other tables: of an `{account}` and the viewer, or of a `{post}` and the viewer."""

    followed: str  # the viewer follows the account
    blocked: str  # either blocks the other
    muted: str  # the viewer mutes the account, still
    mentioned: str  # the post mentions the viewer
    names_blocked: str  # the post mentions somebody with whom the viewer has a block


BY_VIEWER = "follower_id BETWEEN %(viewer)s::bigint AND %(viewer)s::bigint"
"""As `= %(viewer)s`, but PostgreSQL guesses that many follows are like that. Where most accounts follow one, it would take
whoever follows thousands for one of them, and go through all of these follows for each that it looks for."""

_BLOCKED = exists(
    """SELECT 1 FROM followers_block WHERE blocker_id = %(viewer)s::bigint AND blocked_id = {account}
    UNION ALL SELECT 1 FROM followers_block WHERE blocker_id = {account} AND blocked_id = %(viewer)s::bigint"""
)
FACTS = Facts(
    followed=exists(f"SELECT 1 FROM followers_follow WHERE followee_id = {{account}} AND {BY_VIEWER}"),
    blocked=_BLOCKED,
    muted=exists(
        """SELECT 1 FROM followers_mute WHERE account_id = %(viewer)s::bigint AND target_id = {account}
        AND (expires_at IS NULL OR expires_at > now())"""
    ),
    mentioned=exists("SELECT 1 FROM feeds_mention WHERE post_id = {post}.id AND account_id = %(viewer)s::bigint"),
    names_blocked=exists(
        f"SELECT 1 FROM feeds_mention m WHERE m.post_id = {{post}}.id AND {_BLOCKED.format(account='m.account_id')}"
    ),
)
NOBODY_HIDDEN = FACTS._replace(blocked="false", muted="false", names_blocked="false")
"""Of a viewer who never hid anybody, nor was ever hidden from (Account.ever_hid)."""


def _for_them(facts: Facts, post: str) -> str:
    followed = facts.followed.format(account=f"{post}.author_id")
    return f"""({post}.visibility IN ('public', 'unlisted') OR ({post}.visibility = 'private' AND {followed})
            OR {facts.mentioned.format(post=post)})"""


def _may_see(facts: Facts, post: str, active: str) -> str:
    return f"""(
    {post}.deleted_at IS NULL AND {active}
    AND coalesce({post}.author_id = %(viewer)s::bigint OR (
        {_for_them(facts, post)}
        AND NOT {facts.blocked.format(account=f"{post}.author_id")}), false))"""


def _mentions_blocked(facts: Facts, post: str) -> str:
    return f"coalesce({post}.author_id <> %(viewer)s::bigint AND {facts.names_blocked.format(post=post)}, false)"


def _rather_not(facts: Facts, post: str) -> str:
    return f"({facts.muted.format(account=f'{post}.author_id')} OR {_mentions_blocked(facts, post)})"


def _of_original(rule: str) -> str:
    """The rule for what the post reblogs; false where it reblogs nothing."""
    return exists(f"SELECT 1 FROM feeds_post o WHERE o.id = {{post}}.reblog_of_id AND {rule}")


def _active(post: str) -> str:
    return exists(f"SELECT 1 FROM followers_account WHERE id = {post}.author_id AND is_active")


ADDRESSED = f"({{post}}.author_id = %(viewer)s::bigint OR {_for_them(FACTS, '{post}')})"
"""The post is, or was, for the viewer, whatever has become of it since, and of the two."""

MENTIONS_BLOCKED = _mentions_blocked(FACTS, "{post}")
"""Somebody else's post mentions somebody with whom the viewer has a block."""

VISIBLE = likely(
    f"""{_may_see(FACTS, "{post}", _active("{post}"))}
    AND ({{post}}.reblog_of_id IS NULL OR {_of_original(_may_see(FACTS, "o", _active("o")))})"""
)
"""The post lives, and the viewer may see it by any door. A block, either way, takes that away; a mute does not."""

HIDDEN = likely(f"{_rather_not(FACTS, '{post}')} OR {_of_original(_rather_not(FACTS, 'o'))}")
"""The viewer muted the author, or the post mentions somebody with whom there is a block: it is on no timeline of theirs."""


def visible_joined(facts: Facts = FACTS) -> str:
    """VISIBLE of a post `p` by an account `a`, that reblogs `o` by `oa`, if anything: all of them joined."""
    original = _may_see(facts, "o", "oa.is_active")
    return likely(f"{_may_see(facts, 'p', 'a.is_active')} AND (p.reblog_of_id IS NULL OR {original})")


def hidden_joined(facts: Facts = FACTS) -> str:
    """HIDDEN of these."""
    return likely(f"{_rather_not(facts, 'p')} OR (p.reblog_of_id IS NOT NULL AND {_rather_not(facts, 'o')})")


STORED = f"""({{post}}.deleted_at IS NULL AND {{post}}.home_mode = 'push'
    AND ({{post}}.visibility <> 'direct' OR {FACTS.mentioned}))"""
"""A follower's timeline in Redis holds the post: more than a page shows. What may become right again is stored."""


class _Rule(models.Func):
    """One of the rules, for the posts of a query: the column knows under which name they stand in it, also in a subquery."""

    def __init__(self, rule: str, viewer: Account | None) -> None:
        super().__init__(models.F("id"), output_field=models.BooleanField())
        self.rule, self.viewer_id = rule, viewer.pk if viewer else None

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
        column, _ = compiler.compile(self.source_expressions[0])
        sql = self.rule.format(post=column.rpartition(".")[0]).replace("%(viewer)s", "%s")
        return sql, [self.viewer_id] * sql.count("%s")


class PostQuerySet(models.QuerySet["Post"]):
    def live(self) -> PostQuerySet:
        return self.filter(deleted_at=None)

    def visible_to(self, viewer: Account | None) -> PostQuerySet:
        """The live posts that `viewer` (None: anybody) may see."""
        return self.live().filter(_Rule(VISIBLE, viewer))

    def not_hidden_from(self, viewer: Account | None) -> PostQuerySet:
        """Without those that `viewer` hides."""
        return self if viewer is None else self.exclude(_Rule(HIDDEN, viewer))


class Post(models.Model):
    """What somebody wrote. Never deleted as a row; `deleted_at` takes it out of every page at once.

    `version` rises with every change that a reader of the post can see: it is part of the cache's key.
    """

    id = models.BigIntegerField(primary_key=True)
    author = models.ForeignKey(Account, models.CASCADE, related_name="posts", db_index=False)
    text = models.TextField()
    spoiler_text = models.TextField(blank=True)
    sensitive = models.BooleanField(default=False)
    language = models.CharField(max_length=10, null=True)
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.PUBLIC)
    in_reply_to = models.ForeignKey("self", models.SET_NULL, null=True, related_name="replies")
    in_reply_to_account = models.ForeignKey(Account, models.SET_NULL, null=True, related_name="+", db_index=False)
    # The post that a conversation began with; of that one itself, and of what is alone, NULL. No row of a post ever goes.
    conversation = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )
    reblog_of = models.ForeignKey("self", models.CASCADE, null=True, related_name="reblogs", db_index=False)
    home_mode = models.CharField(max_length=4, choices=PostMode.choices, db_default=PostMode.PUSH)
    replies_count = models.BigIntegerField(db_default=0)
    reblogs_count = models.BigIntegerField(db_default=0)
    favourites_count = models.BigIntegerField(db_default=0)
    mentioned = models.ManyToManyField(Account, through="Mention", related_name="mentioned_in")
    tags: models.ManyToManyField[Any, Any] = models.ManyToManyField("Tag", through="PostTag", related_name="posts")
    created_at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True)
    pinned_at = models.DateTimeField(null=True)  # to the author's profile
    deleted_at = models.DateTimeField(null=True)
    version = models.BigIntegerField(db_default=1)

    entity: dict[str, Any] | None = None  # what actions.publish_post has written, as readers see it; else not known

    objects: ClassVar[Any] = PostQuerySet.as_manager()

    class Meta:
        indexes: ClassVar[list[Any]] = [
            # With the mode, so that a rebuild passes by what is pulled without a look at each.
            models.Index(
                fields=["author", "-id", "home_mode"], condition=models.Q(deleted_at=None), name="post_by_author"
            ),
            models.Index(
                fields=["-id"],
                condition=models.Q(deleted_at=None, visibility="public", reblog_of=None),
                name="post_public",
            ),
            # What a page fetches of followees whose posts are not pushed.
            models.Index(
                fields=["author", "-id"], condition=models.Q(deleted_at=None, home_mode="pull"), name="post_pulled"
            ),
            models.Index(
                fields=["author", "-id"],
                condition=models.Q(deleted_at=None, pinned_at__isnull=False),
                name="post_pinned",
            ),
            models.Index(fields=["reblog_of", "-id"], condition=models.Q(reblog_of__isnull=False), name="post_reblogs"),
        ]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["author", "reblog_of"],
                condition=models.Q(deleted_at=None, reblog_of__isnull=False),
                name="reblog_once",
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class PostEdit(models.Model):
    """What a post said before an edit."""

    post = models.ForeignKey(Post, models.CASCADE, related_name="edits")
    text = models.TextField()
    spoiler_text = models.TextField(blank=True)
    sensitive = models.BooleanField()
    created_at = models.DateTimeField()  # when it began to say so

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]


class Mention(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="mentions", db_index=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "account"], name="mention_once")]

    def __str__(self) -> str:
        return f"{self.post_id} mentions {self.account_id}"


class Tag(models.Model):
    """A hashtag, by its name in lower case."""

    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class PostTag(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="+", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="+", db_index=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "tag"], name="post_tag_once")]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tag", "-post"], name="post_tag_timeline")]


class TagDay(models.Model):
    """How often a tag was used on one day (UTC), and by how many accounts."""

    tag = models.ForeignKey(Tag, models.CASCADE, related_name="days", db_index=False)
    day = models.DateField()
    uses = models.IntegerField()
    accounts = models.IntegerField()
    counted_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["tag", "day"], name="tag_day_once")]


class TagFollow(models.Model):
    """Posts with the tag are on the account's home timeline, whoever wrote them."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="tag_follows", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["account", "tag"], name="tag_follow_once")]


class FeaturedTag(models.Model):
    """The account shows the tag on its profile."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="featured_tags", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["account", "tag"], name="featured_tag_once")
        ]


class Favourite(models.Model):
    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    post = models.ForeignKey(Post, models.CASCADE, related_name="favourites", db_index=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "account"], name="favourite_once")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["account", "-id"], name="favourite_of_account"),
            models.Index(fields=["post", "-id"], name="favourite_of_post"),
        ]


class Bookmark(models.Model):
    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    post = models.ForeignKey(Post, models.CASCADE, related_name="bookmarks", db_index=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "account"], name="bookmark_once")]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["account", "-id"], name="bookmark_of_account")]


class ConversationMute(models.Model):
    """The account is told no more of what happens in the conversation that began with this post."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    conversation = models.ForeignKey(Post, models.CASCADE, related_name="+", db_index=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["account", "conversation"], name="conversation_mute_once")
        ]


class Marker(models.Model):
    """How far an account has read a timeline ('home' or 'notifications')."""

    class Timeline(models.TextChoices):
        HOME = "home"
        NOTIFICATIONS = "notifications"

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    timeline = models.CharField(max_length=13, choices=Timeline.choices)
    last_read_id = models.BigIntegerField()
    version = models.IntegerField(db_default=1)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["account", "timeline"], name="marker_once")]


class Notification(models.Model):
    """Something happened that concerns `account`. Its cause is a post that mentions or answers, or by somebody of whose posts
    one wants to be told, a follow, a request, a favourite, a reblog, or an edit. One cause notifies once, however often the
    task runs.
    """

    class Type(models.TextChoices):
        MENTION = "mention"  # replies, too
        FOLLOW = "follow"
        FAVOURITE = "favourite"
        REBLOG = "reblog"
        FOLLOW_REQUEST = "follow_request"
        STATUS = "status"  # somebody posted of whom one wants to be told
        UPDATE = "update"  # what one reblogged was edited

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    type = models.CharField(max_length=14, choices=Type.choices)
    cause_id = models.BigIntegerField()
    from_account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    post = models.ForeignKey(Post, models.CASCADE, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    dismissed = models.BooleanField(db_default=False)  # kept, lest a task that comes again notifies again

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["account", "type", "cause_id"], name="notify_once")
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["account", "-id"], condition=models.Q(dismissed=False), name="notification_of_account")
        ]


class SearchEntry(models.Model):
    """A post's words. A row of its own, so that counting favourites does not touch the index."""

    post = models.OneToOneField(Post, models.CASCADE, primary_key=True, related_name="+")
    words = SearchVectorField()

    class Meta:
        indexes: ClassVar[list[Any]] = [GinIndex(fields=["words"], name="search_words")]


class IdempotencyKey(models.Model):
    """An author's key for one POST, kept for KEEP_KEYS: the same key again is the same post, not another one."""

    author = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    post = models.ForeignKey(Post, models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["author", "key"], name="idempotency_key")]

    def __str__(self) -> str:
        return self.key


class Kind(models.TextChoices):
    PUSH = "push"  # put the post into the home timelines of the author's followers
    RETRACT = "retract"  # take a deleted post out of them


class Delivery(models.Model):
    """The record of one post's fan-out. Closed, its parts sum to the audience, each follower counted once.

    delivered + skipped_inactive + skipped_hidden + pulled + gone + failed = audience: the followers when it was planned.
    `cut` is the author's highest follow id then.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        PUSHING = "pushing"
        CLOSED = "closed"

    post = models.ForeignKey(Post, models.CASCADE, related_name="deliveries", db_index=False)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    state = models.CharField(max_length=7, choices=State.choices, default=State.QUEUED)
    closed_by = models.CharField(max_length=10, null=True)  # inline, callback or reconciler
    cut = models.BigIntegerField(null=True)
    audience = models.BigIntegerField(db_default=0)
    batches = models.IntegerField(db_default=0)
    delivered = models.BigIntegerField(db_default=0)
    skipped_inactive = models.BigIntegerField(db_default=0)
    skipped_hidden = models.BigIntegerField(db_default=0)
    pulled = models.BigIntegerField(db_default=0)
    gone = models.BigIntegerField(db_default=0)
    failed = models.BigIntegerField(db_default=0)
    queued_at = models.DateTimeField(db_default=Now())
    planned_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "kind"], name="delivery_once")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["id"], condition=~models.Q(state="closed"), name="delivery_open"),
            models.Index(fields=["id"], condition=models.Q(failed__gt=0), name="delivery_failed"),
            models.Index(fields=["id"], condition=models.Q(cancelled_at__isnull=False), name="delivery_cancelled"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.post_id}"


class Batch(models.Model):
    """One range of the author's follow index, lo <= follower < hi, to be pushed by one task. Its counts are written once."""

    class State(models.TextChoices):
        OPEN = "open"
        DONE = "done"
        DEAD = "dead"

    pk = models.CompositePrimaryKey("post_id", "kind", "batch_no")
    post = models.ForeignKey(Post, models.CASCADE, related_name="batches", db_index=False)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    batch_no = models.IntegerField()
    author_id = models.BigIntegerField()
    lo = models.BigIntegerField()
    hi = models.BigIntegerField()
    size = models.IntegerField()
    state = models.CharField(max_length=4, choices=State.choices, db_default="open")
    lease_no = models.IntegerField(db_default=0)
    lease_until = models.DateTimeField(null=True)
    attempts = models.IntegerField(db_default=0)
    attempts_allowed = models.IntegerField()
    nudged_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    dropped_at = models.DateTimeField(null=True)  # somebody gave up the dead batch for good
    delivered = models.IntegerField(db_default=0)
    skipped_inactive = models.IntegerField(db_default=0)
    skipped_hidden = models.IntegerField(db_default=0)
    gone = models.IntegerField(db_default=0)
    error = models.TextField(null=True)

    class Meta:
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["author_id"], condition=models.Q(state="open"), name="batch_open"),
            # Those that are dead, and those that ended long ago.
            models.Index(fields=["state", "closed_at"], condition=~models.Q(state="open"), name="batch_ended"),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch_no} of {self.kind} of {self.post_id}"


class Outbox(models.Model):
    """One task that a change asks for, written in the change's own transaction. Not done_at = not done."""

    event = models.CharField(max_length=20, db_default="")  # what happened
    task = models.CharField(max_length=40)  # what is to be done
    subject_id = models.BigIntegerField()  # the post, or the account
    object_id = models.BigIntegerField(null=True)  # the other account: the followee, or who favoured the post
    audience = models.SmallIntegerField(db_default=0)  # of a fan-out: how large, in outbox.AUDIENCES
    request_id = models.CharField(max_length=64, null=True)  # of the HTTP request that asked for it
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    lease_no = models.IntegerField(db_default=0)
    lease_until = models.DateTimeField(null=True)
    attempts = models.IntegerField(db_default=0)
    waited = models.BooleanField(db_default=False)  # for what it found in flight at its first run
    error = models.TextField(null=True)

    class Meta:
        verbose_name = "task"
        indexes: ClassVar[list[Any]] = [
            models.Index(
                fields=["task", "audience", "due_at"], condition=models.Q(sent_at=None), name="outbox_waiting"
            ),
            models.Index(
                fields=["task", "sent_at"],
                condition=models.Q(done_at=None, sent_at__isnull=False),
                name="outbox_in_flight",
            ),
            models.Index(fields=["subject_id"], name="outbox_subject"),
        ]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["subject_id"],
                condition=models.Q(task="rebuild_timeline", done_at=None),
                name="outbox_one_rebuild_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class HeartbeatManager(models.Manager["Heartbeat"]):
    def record(self, part: str) -> None:
        self.bulk_create(
            [Heartbeat(part=part, seen_at=Now())],
            update_conflicts=True,
            unique_fields=["part"],
            update_fields=["seen_at"],
        )


class Heartbeat(models.Model):
    """When a part of the service (relay, beat, workers) last got something done: what /healthz goes by."""

    part = models.CharField(max_length=20, primary_key=True)
    seen_at = models.DateTimeField()

    objects: ClassVar[HeartbeatManager] = HeartbeatManager()

    def __str__(self) -> str:
        return self.part

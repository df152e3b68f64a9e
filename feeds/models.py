"""Posts, and the work rows that carry each of them to its readers: facts, constraints, questions.

Post, Mention, IdempotencyKey are what people write. Delivery and Batch record one post's fan-out, Outbox the tasks that
a change asks for. Work rows (Batch, Outbox) are claimed, leased and closed by the conditional UPDATEs of fanout.py and
outbox.py; docs/design.md has the protocol.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from followers.models import Account

ID_END = 1 << 58
"""All post ids lie below it, until the year 2109: doubles (the scores of Redis) hold them exactly, being multiples of 32."""


class Visibility(models.TextChoices):
    PUBLIC = "public"
    UNLISTED = "unlisted"  # as public, but not on the public timeline
    PRIVATE = "private"  # followers
    DIRECT = "direct"  # those mentioned


class PostQuerySet(models.QuerySet["Post"]):
    def live(self) -> PostQuerySet:
        return self.filter(deleted_at=None)

    def visible_to(self, viewer: Account | None) -> PostQuerySet:
        """The live posts that `viewer` (None: anybody) may see. home.py's statement says the same in SQL."""
        seen: Any = models.Q(visibility__in=[Visibility.PUBLIC, Visibility.UNLISTED])
        if viewer is not None:
            followed = models.Exists(viewer.follows_out.filter(followee=models.OuterRef("author")))
            mentioned = models.Exists(Mention.objects.filter(post=models.OuterRef("pk"), account=viewer))
            seen |= models.Q(author=viewer) | models.Q(mentioned) | (models.Q(visibility="private") & followed)
        return self.live().filter(seen, author__is_active=True)


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
    replies_count = models.BigIntegerField(db_default=0)
    mentioned = models.ManyToManyField(Account, through="Mention", related_name="mentioned_in")
    created_at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    version = models.BigIntegerField(db_default=1)

    objects: ClassVar[Any] = PostQuerySet.as_manager()

    class Meta:
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["author", "-id"], condition=models.Q(deleted_at=None), name="post_of_author"),
            models.Index(fields=["-id"], condition=models.Q(deleted_at=None, visibility="public"), name="post_public"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Mention(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="mentions", db_index=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "account"], name="mention_once")]

    def __str__(self) -> str:
        return f"{self.post_id} mentions {self.account_id}"


class IdempotencyKey(models.Model):
    """An author's key for one POST, kept for an hour: the same key again is the same post, not another one."""

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

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["post", "kind"], name="delivery_once")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["id"], condition=~models.Q(state="closed"), name="delivery_open")
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
    delivered = models.IntegerField(db_default=0)
    skipped_inactive = models.IntegerField(db_default=0)
    skipped_hidden = models.IntegerField(db_default=0)
    gone = models.IntegerField(db_default=0)
    error = models.TextField(null=True)

    class Meta:
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["author_id"], condition=models.Q(state="open"), name="batch_open")
        ]

    def __str__(self) -> str:
        return f"batch {self.batch_no} of {self.kind} of {self.post_id}"


class Outbox(models.Model):
    """One task that a change asks for, written in the change's own transaction. Not done_at = not done."""

    task = models.CharField(max_length=40)
    subject_id = models.BigIntegerField()  # the post, or the reader
    object_id = models.BigIntegerField(null=True)  # the author whom the reader follows or no longer follows
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
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["id"], condition=models.Q(sent_at=None), name="outbox_unsent"),
            models.Index(fields=["sent_at"], condition=models.Q(done_at=None), name="outbox_undone"),
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

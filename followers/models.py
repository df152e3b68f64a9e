"""Accounts and who follows whom: rows, constraints, and the questions that are asked of them.

Nothing here knows posts, Redis or Celery. Reads for the fan-out are in graph.py, writes in relationships.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import OpClass
from django.core.validators import RegexValidator
from django.db import connection, models
from django.db.models.functions import Lower, Now
from oauth2_provider.models import AbstractApplication

RESERVED_USERNAMES = frozenset(
    """
    about account accounts admin administrator api app apps auth explore feedsvc healthz help home metrics moderator
    oauth public root search settings staff static streaming support system tags timelines web www
    """.split()
)
USERNAME = RegexValidator(r"\A[a-z0-9_]{1,30}\Z", "may hold only lower-case letters, digits and _, 30 at most")


class HomeMode(models.TextChoices):
    PUSH = "push"  # a post is pushed into the followers' home timelines
    PULL = "pull"  # followers' pages fetch it: the author has too many of them


class AccountManager(BaseUserManager["Account"]):
    def get_by_natural_key(self, username: str | None) -> Account:
        """By user name or e-mail, as sign-in forms take both."""
        name = (username or "").lower()
        return self.get(email=name) if "@" in name else self.get(username=name)

    def active(self) -> models.QuerySet[Account]:
        """Those who read their home timeline in the last INACTIVE_DAYS: only they have one in Redis."""
        return self.filter(is_active=True, last_active_at__gt=Now() - timedelta(days=settings.INACTIVE_DAYS))


class Account(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]  # of the library's Application
    """Somebody who posts and reads. `version` rises with every change that a reader of the account can see."""

    username = models.CharField(max_length=30, unique=True, validators=[USERNAME])
    email = models.EmailField(unique=True, null=True, blank=True)
    display_name = models.CharField(max_length=100, blank=True)
    note = models.CharField(max_length=500, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    locked = models.BooleanField(db_default=False)  # who wants to follow it has to ask
    bot = models.BooleanField(db_default=False)
    discoverable = models.BooleanField(db_default=True)  # kept and told; there is no directory
    profile_fields = ArrayField(
        ArrayField(models.CharField(max_length=255, blank=True), size=2), db_default=[], blank=True
    )
    # Of posts that do not say so themselves
    default_visibility = models.CharField(max_length=8, db_default="public")
    default_sensitive = models.BooleanField(db_default=False)
    default_language = models.CharField(max_length=10, null=True, blank=True)
    last_active_at = models.DateTimeField(null=True, blank=True)
    evicted_at = models.DateTimeField(null=True, editable=False)  # the timeline's, since the reader is away
    deleted_at = models.DateTimeField(null=True, editable=False)  # the row stays: replies refer to it
    home_mode = models.CharField(max_length=4, choices=HomeMode.choices, db_default=HomeMode.PUSH, editable=False)
    home_mode_override = models.CharField(max_length=4, choices=HomeMode.choices, null=True, blank=True)
    ever_pulled = models.BooleanField(db_default=False, editable=False)
    # What a reader never did need not be asked for each page. Triggers see to these two, whoever writes the rows (migration
    # 0006): they are never false where there is such a row.
    ever_hid = models.BooleanField(db_default=False, editable=False)  # a block, either way, a mute or an exclusive list
    ever_kept = models.BooleanField(db_default=False, editable=False)  # a bookmark, muted conversation or followed tag
    last_status_at = models.DateTimeField(null=True, blank=True)
    followers_count = models.BigIntegerField(db_default=0)
    following_count = models.BigIntegerField(db_default=0)
    statuses_count = models.BigIntegerField(db_default=0)
    version = models.BigIntegerField(db_default=1)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    objects: ClassVar[AccountManager] = AccountManager()

    class Meta:
        indexes: ClassVar[list[Any]] = [
            models.Index(
                fields=["last_active_at"],
                condition=models.Q(last_active_at__isnull=False, evicted_at=None),
                name="account_to_evict",
            ),
            models.Index(OpClass(Lower("display_name"), "text_pattern_ops"), name="account_display_name"),
            models.Index(fields=["id"], condition=models.Q(ever_pulled=True), name="account_ever_pulled"),
            models.Index(fields=["id"], condition=models.Q(is_staff=True), name="account_staff"),
            models.Index(fields=["id"], condition=models.Q(is_active=False), name="account_closed"),
        ]

    def __str__(self) -> str:
        return self.username

    def next_home_mode(self) -> str:
        """How the next post reaches home timelines, as the row is now."""
        with connection.cursor() as cursor:
            bounds = {"pull_above": settings.PULL_ABOVE, "pull_below": settings.PULL_BELOW}
            cursor.execute(
                f"SELECT {NEXT_HOME_MODE} FROM followers_account a WHERE a.id = %(id)s", bounds | {"id": self.pk}
            )
            return cursor.fetchone()[0]


NEXT_HOME_MODE = """CASE WHEN a.home_mode_override IS NOT NULL THEN a.home_mode_override
    WHEN a.followers_count > %(pull_above)s THEN 'pull' WHEN a.followers_count < %(pull_below)s THEN 'push'
    ELSE a.home_mode END"""
"""How the next post of an account, the row `a`, reaches home timelines. Between the thresholds as the last one did."""


class Follow(models.Model):
    """`follower` follows `followee`. Of one followee the ids come in the order of commits (relationships.follow).

    The database does not check that the two exist: whoever writes a follow holds their rows, or has just made them.
    """

    follower = models.ForeignKey(
        Account, models.CASCADE, related_name="follows_out", db_index=False, db_constraint=False
    )
    followee = models.ForeignKey(
        Account, models.CASCADE, related_name="follows_in", db_index=False, db_constraint=False
    )
    created_at = models.DateTimeField(db_default=Now())
    reblogs = models.BooleanField(db_default=True)  # whether the follower wants to see what the followee reblogs
    notify = models.BooleanField(db_default=False)  # whether the follower wants to be told of each of its posts

    class Meta:
        constraints: ClassVar[list[Any]] = [
            # The follow index: a batch of a fan-out is a range of it, read without touching the table.
            models.UniqueConstraint(fields=["followee", "follower"], include=["id"], name="follow_index"),
            models.CheckConstraint(condition=~models.Q(follower=models.F("followee")), name="follow_not_oneself"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["followee", "-id"], include=["follower"], name="follow_followers"),
            models.Index(fields=["follower", "-id"], include=["followee"], name="follow_following"),
            models.Index(fields=["followee", "follower"], condition=models.Q(notify=True), name="follow_notify"),
        ]


class FollowRequest(models.Model):
    """`follower` asks to follow `followee`, which is locked: it is no follow, and nothing is shown to the follower by it."""

    follower = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    followee = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField(db_default=Now())
    reblogs = models.BooleanField(db_default=True)  # what the follow shall be like
    notify = models.BooleanField(db_default=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["follower", "followee"], name="follow_request_once"),
            models.CheckConstraint(
                condition=~models.Q(follower=models.F("followee")), name="follow_request_not_oneself"
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["followee", "-id"], include=["follower"], name="follow_request_waiting")
        ]


class Block(models.Model):
    """`blocker` blocks `blocked`: neither follows the other, and what one writes is hidden from the other."""

    blocker = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    blocked = models.ForeignKey(Account, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["blocker", "blocked"], name="block_once"),
            models.CheckConstraint(condition=~models.Q(blocker=models.F("blocked")), name="block_not_oneself"),
        ]


class MuteQuerySet(models.QuerySet["Mute"]):
    def in_force(self) -> MuteQuerySet:
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=Now()))


class Mute(models.Model):
    """`account` does not want to see `target` on its timelines, until `expires_at` (None: for good)."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    target = models.ForeignKey(Account, models.CASCADE, related_name="+")
    notifications = models.BooleanField(default=True)  # whether they are hidden, too
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[Any] = MuteQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["account", "target"], name="mute_once")]


class PrivateNote(models.Model):
    """What `account` noted about `target`, for itself alone."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+", db_index=False)
    target = models.ForeignKey(Account, models.CASCADE, related_name="+")
    comment = models.CharField(max_length=2000)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["account", "target"], name="private_note_once")
        ]


class List(models.Model):
    """Some of the owner's followees under a title. What members of an exclusive list write is not on the owner's home."""

    class Replies(models.TextChoices):
        """Which replies by members to others the list's timeline shows."""

        FOLLOWED = "followed"  # to anybody whom the owner follows
        LIST = "list"  # to members
        NONE = "none"

    owner = models.ForeignKey(Account, models.CASCADE, related_name="lists")
    title = models.CharField(max_length=255)
    replies_policy = models.CharField(max_length=8, choices=Replies.choices, default=Replies.LIST)
    exclusive = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())


class ListMember(models.Model):
    """A followee of the list's owner: an unfollow ends the membership."""

    list = models.ForeignKey(List, models.CASCADE, related_name="members", db_index=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["list", "account"], name="list_member_once")
        ]


class Application(AbstractApplication):
    """A client of the API. Ours, since the library's own model can't be swapped for another one later.

    A client may use several grants, as Mastodon's apps do, so the grant type is not looked at; `scopes` is the most
    that its tokens may ever have (space separated).
    """

    scopes = models.TextField(default="read")
    website = models.URLField(blank=True, max_length=500)

    def allows_grant_type(self, *grant_types: str) -> bool:
        return True

"""Accounts and who follows whom: rows, constraints, and the questions that are asked of them.

Nothing here knows posts, Redis or Celery. Reads for the fan-out are in graph.py, writes in relationships.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from oauth2_provider.models import AbstractApplication

RESERVED_USERNAMES = frozenset(
    """
    about account accounts admin administrator api app apps auth explore feedsvc healthz help home metrics moderator
    oauth public root search settings staff static streaming support system tags timelines web www
    """.split()
)
USERNAME = RegexValidator(r"\A[a-z0-9_]{1,30}\Z", "may hold only lower-case letters, digits and _, 30 at most")


class AccountManager(BaseUserManager["Account"]):
    def get_by_natural_key(self, username: str | None) -> Account:
        """By user name or e-mail, as sign-in forms take both."""
        name = (username or "").lower()
        return self.get(email=name) if "@" in name else self.get(username=name)

    def active(self) -> models.QuerySet[Account]:
        """Those who read their home timeline in the last INACTIVE_DAYS: only they have one in Redis."""
        return self.filter(last_active_at__gt=Now() - timedelta(days=settings.INACTIVE_DAYS))


class Account(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]  # of the library's Application
    """Somebody who posts and reads. `version` rises with every change that a reader of the account can see."""

    username = models.CharField(max_length=30, unique=True, validators=[USERNAME])
    email = models.EmailField(unique=True, null=True, blank=True)
    display_name = models.CharField(max_length=100, blank=True)
    note = models.CharField(max_length=500, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    last_active_at = models.DateTimeField(null=True, blank=True)
    last_status_at = models.DateTimeField(null=True, blank=True)
    followers_count = models.BigIntegerField(db_default=0)
    following_count = models.BigIntegerField(db_default=0)
    statuses_count = models.BigIntegerField(db_default=0)
    version = models.BigIntegerField(db_default=1)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    objects: ClassVar[AccountManager] = AccountManager()

    def __str__(self) -> str:
        return self.username


class Follow(models.Model):
    """`follower` follows `followee`. Of one followee the ids come in the order of commits (relationships.follow)."""

    follower = models.ForeignKey(Account, models.CASCADE, related_name="follows_out", db_index=False)
    followee = models.ForeignKey(Account, models.CASCADE, related_name="follows_in", db_index=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            # The follow index: a batch of a fan-out is a range of it, read without touching the table.
            models.UniqueConstraint(fields=["followee", "follower"], include=["id"], name="follow_index"),
            models.CheckConstraint(condition=~models.Q(follower=models.F("followee")), name="follow_not_oneself"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["followee", "-id"], include=["follower"], name="follow_followers"),
            models.Index(fields=["follower", "-id"], include=["followee"], name="follow_following"),
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

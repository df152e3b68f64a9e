"""What tests are made of: accounts, follow graphs of a chosen shape, posts. All through the verbs that the service uses."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import factory
from django.db import transaction
from django.utils import timezone
from oauth2_provider.models import AccessToken

from feeds import actions, timelines
from feeds.models import Post
from followers import relationships
from followers.models import Account, Application


class AccountFactory(factory.django.DjangoModelFactory):
    """An active reader with an empty, complete home timeline; `away=True`: without one, and not active."""

    class Meta:
        model = Account
        skip_postgeneration_save = True

    class Params:
        away = factory.Trait(last_active_at=None)

    username = factory.Sequence(lambda n: f"account{n}")
    last_active_at = factory.LazyFunction(timezone.now)

    @factory.post_generation
    def timeline(self: Account, create: bool, extracted: bool | None, **_: Any) -> None:
        if self.last_active_at is not None and extracted is not False:
            timelines.build_empty(str(self.pk))


class PostFactory(factory.django.DjangoModelFactory):
    """A post as `actions.publish_post` makes it, delivery record and outbox rows included. Not delivered yet."""

    class Meta:
        model = Post

    author = factory.SubFactory(AccountFactory)
    text = factory.Sequence(lambda n: f"post {n}")

    @classmethod
    def _create(cls, model_class: type[Post], *args: Any, **kwargs: Any) -> Post:
        return actions.publish_post(**kwargs)


@transaction.atomic
def follow(follower: Account, *followees: Account) -> None:
    """The rows and counters alone: nothing is backfilled, nobody asks for it."""
    for followee in followees:
        relationships.follow(follower_id=follower.pk, followee_id=followee.pk)


def star(followers: int, *, away: int = 0) -> tuple[Account, list[Account]]:
    """An author whom so many follow, the last `away` of them not active."""
    author = AccountFactory()
    readers = [*AccountFactory.create_batch(followers - away), *AccountFactory.create_batch(away, away=True)]
    for reader in readers:
        follow(reader, author)
    return author, readers


def ring(accounts: int) -> list[Account]:
    """Accounts each of which follows the next one."""
    members = AccountFactory.create_batch(accounts)
    for follower, followee in zip(members, [*members[1:], members[0]], strict=True):
        follow(follower, followee)
    return members


def token(account: Account | None, scopes: str = "read write") -> str:
    """A bearer token of the account, or of an app alone."""
    application = Application.objects.create(
        name="a client", scopes="read write", redirect_uris="urn:ietf:wg:oauth:2.0:oob"
    )
    value = secrets.token_urlsafe(32)
    AccessToken.objects.create(
        user=account,
        application=application,
        token=value,
        scope=scopes,
        expires=timezone.now() + timedelta(days=1),
    )
    return value

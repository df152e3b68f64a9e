"""Who is asking: bearer tokens, and the scopes that they carry.

A token speaks for an account (`request.user`), or for an application alone (`request.user` is None); `request.auth` is
the token. A view says what it wants of it (views.APIView), and HasScope looks whether it is so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone
from oauth2_provider.models import AccessToken, set_token_value
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import generate_token
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from followers.models import Account, Application

FOLLOW = {f"{verb}:{what}" for verb in ("read", "write") for what in ("blocks", "follows", "mutes")}
BOTH = ("accounts", "bookmarks", "favourites", "filters", "lists", "notifications", "search", "statuses")
SCOPES = (
    {"read", "write", "follow", "push", "profile", "write:conversations", "write:media", "write:reports"}
    | FOLLOW
    | {f"{verb}:{what}" for verb in ("read", "write") for what in BOTH}
)
INVALID = "The access token is invalid"
KNOWN_FOR = 5  # seconds that a token is known in this process: so long one may work that was revoked in another process
KNOWN_MOST = 10_000  # tokens, of about 3 KB each


class AnyRequest(Request):
    """What a view is given that anybody may call: `user` is None unless an account's token came with it."""

    user: Account | None  # type: ignore[assignment]
    auth: Any


class AccountRequest(Request):
    """What a view is given that wants an account."""

    user: Account
    auth: AccessToken


def covers(granted: str, needed: str) -> bool:
    """Whether scopes (space separated) contain `needed`, or imply it: `write` implies `write:statuses`."""
    held = granted.split()
    return needed in held or needed.partition(":")[0] in held or ("follow" in held and needed in FOLLOW)


@lru_cache(1_000)
def _covers_any(granted: str, needed: str) -> bool:
    """Whether they contain, or imply, one of those needed, if any is."""
    return not needed or any(covers(granted, scope) for scope in needed.split())


def checksum(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def issue_token(*, account: Account | None, application: Application, scope: str) -> tuple[AccessToken, str]:
    """A new token and its text. Only the checksum is stored, so this is the one time that the text can be had."""
    text = generate_token()
    expires = timezone.now() + timedelta(seconds=oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS)
    token = AccessToken(user=account, application=application, scope=scope, expires=expires)
    set_token_value(token, text)
    token.save(force_insert=True)
    return token, text


class BearerAuthentication(BaseAuthentication):
    """The token by its checksum, with its account: known in this process for a while, else one statement.

    So what `request.user` says of the account may be some seconds old: whoever changes a row, or shows one, looks at the
    row. Nobody changes `request.user` itself: requests at the same time share it.
    """

    def authenticate(self, request: Request) -> tuple[Account | None, AccessToken] | None:
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = find_token(text)
        if token is None:
            raise AuthenticationFailed(INVALID)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="feedsvc"'


def find_token(text: str) -> AccessToken | None:
    """The token of this text, with its account (None: an application's own), as long as both are good."""
    digest, now = checksum(text.strip()), time.monotonic()
    known = _known  # if all is forgotten while we look, what we find goes with it
    until, token = known.get(digest, (0.0, None))
    if until < now:
        token = AccessToken.objects.select_related("user").filter(token_checksum=digest).first()
        if token is None or token.is_expired() or not (token.user is None or token.user.is_active):
            return None
        if len(known) >= KNOWN_MOST:
            known.clear()
        known[digest] = now + min(KNOWN_FOR, (token.expires - timezone.now()).total_seconds()), token
    return token


_known: dict[str, tuple[float, AccessToken]] = {}
"""A good token with its account, and until when (by the monotonic clock) it is known, by its checksum."""


def still_good(checksums: Iterable[str]) -> set[str]:
    """Those whose tokens have not been revoked, nor expired, nor have their accounts ended: by the rows of now."""
    found = AccessToken.objects.filter(token_checksum__in=list(checksums), user__is_active=True, expires__gt=Now())
    return set(found.values_list("token_checksum", flat=True))


def forget_tokens() -> None:
    global _known
    _known = {}


@receiver(post_delete, sender=AccessToken)
@receiver(post_save, sender=Account)
def _forget(created: bool = False, **_: Any) -> None:
    """A token that was revoked, and one of an account that ended, are refused in this process from the commit on."""
    if not created:
        forget_tokens()
        transaction.on_commit(forget_tokens)  # once more: somebody may have looked before it


class HasScope(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        method, token = request.method, request.auth
        method = "GET" if method == "HEAD" else method
        open_to_all = method in view.anonymous
        if token is None:
            if open_to_all:
                return True
            raise NotAuthenticated(INVALID)
        if not _covers_any(token.scope, view.scopes.get(method, "")):
            raise PermissionDenied("This action is outside the authorized scopes")
        if request.user is None and not (open_to_all or view.app_token):
            raise NotAuthenticated("This method requires an authenticated user")
        return True

"""An account's own life: registered, edited, kept active, deleted."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from oauth2_provider.models import AccessToken

from followers.models import RESERVED_USERNAMES, Account, HomeMode

from .. import outbox
from ..database import swept

ACTIVE_NOTED_EVERY = timedelta(hours=1)


def register(*, username: str, email: str | None, password: str | None) -> Account:
    """A new account, active from now on. Raises ValidationError by field. Without a password nobody can log in to it."""
    account = Account(username=username.lower(), email=(email or "").lower() or None, last_active_at=timezone.now())
    if account.username in RESERVED_USERNAMES:
        raise ValidationError({"username": ValidationError("is reserved", "reserved")})
    account.clean_fields(exclude=["password"])
    if password is not None:
        _check_password(password, account)
    account.set_password(password)
    account.validate_unique()
    try:
        with transaction.atomic():
            account.save(force_insert=True)
            outbox.record("account.created", account.pk)
    except IntegrityError:
        account.validate_unique()  # somebody was faster with the name or the address: this says which
        raise
    return account


@transaction.atomic
def edit_account(*, account: Account, **changes: object) -> Account:
    """`changes`: the columns of a profile (display_name, note, locked, bot, discoverable, profile_fields), and what posts are
    that do not say so themselves (default_visibility, default_sensitive, default_language). Raises ValidationError.

    Who waits for an account that is locked no more is accepted afterwards.
    """
    edited = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    unlocked = edited.locked and changes.get("locked") is False
    for name, value in changes.items():
        setattr(edited, name, value)
    edited.clean_fields(exclude=["password"])
    if changes:
        Account.objects.filter(pk=account.pk).update(**changes, version=F("version") + 1)
        outbox.record("account.edited", account.pk)
    if unlocked:
        outbox.record("account.unlocked", account.pk)
    return edited


def set_password(*, account: Account, password: str) -> None:
    """From now on this one opens the account, and who signed in with another is signed out. Raises ValidationError."""
    _check_password(password, account)
    account.set_password(password)
    Account.objects.filter(pk=account.pk).update(password=account.password)


@transaction.atomic
def reset_password(*, account: Account, password: str) -> None:
    """As `set_password`, said by who runs the service and not by the account's owner: somebody else may have had the old one,
    and let applications in by it. So no token is good any more.
    """
    set_password(account=account, password=password)
    AccessToken.objects.filter(user=account.pk).delete()


def _check_password(password: str, account: Account) -> None:
    try:
        validate_password(password, account)
    except ValidationError as weak:
        raise ValidationError({"password": weak.error_list}) from weak


def note_home_read(*, reader: Account, built: bool) -> None:
    """Keeps the reader active, and asks for a timeline where PostgreSQL had to serve."""
    if reader.last_active_at is None or reader.last_active_at < timezone.now() - ACTIVE_NOTED_EVERY:
        long_ago = Q(last_active_at=None) | Q(last_active_at__lt=Now() - ACTIVE_NOTED_EVERY)  # as it is by now
        Account.objects.filter(long_ago, pk=reader.pk).update(last_active_at=Now(), evicted_at=None)
    if not built:
        outbox.record("account.returned", reader.pk)


def set_home_mode(*, account: Account, mode: str | None) -> None:
    """Has the account's new posts pushed or pulled whatever its audience (None: as its audience says).

    Raises ValidationError. What is written already stays as it is.
    """
    if mode is not None and mode not in HomeMode.values:
        raise ValidationError({"home_mode": ValidationError("is neither push nor pull", "inclusion")})
    Account.objects.filter(pk=account.pk).update(home_mode_override=mode)


@transaction.atomic
def delete_account(*, account: Account) -> None:
    """Ends the account: from the commit on nobody sees anything of it, nor can log in to it. A second time changes nothing.

    Posts, follows and everything else of its are taken back afterwards. The name stays taken: answers refer to the row.
    """
    found = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    if found.deleted_at is not None:
        return
    found.set_unusable_password()
    Account.objects.filter(pk=account.pk).update(
        is_active=False,
        is_staff=False,
        is_superuser=False,
        deleted_at=Now(),
        email=None,
        password=found.password,
        display_name="",
        note="",
        profile_fields=[],
        version=F("version") + 1,
    )
    AccessToken.objects.filter(user=account.pk).delete()
    outbox.record("account.deleted", account.pk)


def prune_sign_ins() -> int:
    """Deletes the sessions that are over, and the codes with which no application came for its token in time."""
    return swept(
        """
        DELETE FROM django_session WHERE session_key IN (
            SELECT session_key FROM django_session WHERE expire_date < now() LIMIT %(slice)s)
        """
    ) + swept(
        """
        DELETE FROM oauth2_provider_grant WHERE id IN (
            SELECT id FROM oauth2_provider_grant WHERE expires < now() LIMIT %(slice)s)
        """
    )

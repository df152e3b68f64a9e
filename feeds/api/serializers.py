"""What goes in and out as JSON, and the only place that says "status": forms check the input, functions shape entities.

A form refuses whatever no row could hold: wrong types, NUL, lone surrogates, text beyond its column. What a text, a
username or a password must be like is for actions.py to say.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from oauth2_provider.models import AccessToken
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils import html

from feeds.entities import Entity, content, profile_url
from feeds.explain import Explanation
from feeds.posts import Page
from followers.graph import Relationship
from followers.models import Account, Application

from . import pagination
from .auth import SCOPES, AccountRequest, AnyRequest

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
FORBIDDEN_SCHEMES = ("", "javascript", "data", "vbscript")


# Input


class Words(serializers.ListField):
    """Words as a JSON list, as `x[]=a&x[]=b`, or in one string with spaces or line ends between them."""

    child = serializers.CharField(max_length=2000)

    def get_value(self, dictionary: Any) -> Any:
        if html.is_html_input(dictionary) and (values := dictionary.getlist(f"{self.field_name}[]")):
            return values
        return super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> list[str]:
        texts = super().to_internal_value([data] if isinstance(data, str) else data)
        return [word for text in texts for word in text.split()]


class ApplicationForm(serializers.Serializer):
    client_name = serializers.CharField(max_length=255, source="name")
    redirect_uris = Words(max_length=20)
    scopes = Words(default=["read"])
    website = serializers.URLField(max_length=500, default="", allow_blank=True, allow_null=True)

    def validate_redirect_uris(self, uris: list[str]) -> str:
        if not uris:
            raise ValidationError("can't be blank", "blank")
        if not all(uri == OUT_OF_BAND or _may_redirect(uri) for uri in uris):
            raise ValidationError("must be absolute URIs, of a scheme that does not run code")
        return " ".join(uris)

    def validate_scopes(self, scopes: list[str]) -> str:
        if not SCOPES.issuperset(scopes):
            raise ValidationError("doesn't match what this server knows")
        return " ".join(dict.fromkeys(scopes)) or "read"

    def validate_website(self, website: str | None) -> str:
        return website or ""


def _may_redirect(uri: str) -> bool:
    try:
        return urlsplit(uri).scheme not in FORBIDDEN_SCHEMES
    except ValueError:
        return False


class OAuthForm(serializers.Serializer):
    """Which of these a grant needs is for oauthlib to say."""

    grant_type = serializers.CharField(required=False, allow_blank=True)
    client_id = serializers.CharField(required=False, allow_blank=True)
    client_secret = serializers.CharField(required=False, allow_blank=True)
    username = serializers.CharField(required=False, allow_blank=True)
    password = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    scope = serializers.CharField(required=False, allow_blank=True)
    token = serializers.CharField(required=False, allow_blank=True)


class RegistrationForm(serializers.Serializer):
    username = serializers.CharField()
    email = serializers.EmailField(error_messages={"invalid": "is not a valid e-mail address"})
    password = serializers.CharField(trim_whitespace=False)
    agreement = serializers.BooleanField(default=False)

    def validate_agreement(self, agreed: bool) -> bool:
        if not agreed:
            raise ValidationError("must be accepted", "accepted")
        return agreed

    def account(self) -> dict[str, str]:
        return {name: value for name, value in self.validated_data.items() if name != "agreement"}


class StatusForm(serializers.Serializer):
    status = serializers.CharField(source="text")
    visibility = serializers.CharField(default="public")
    in_reply_to_id = serializers.CharField(default=None, allow_null=True, allow_blank=True)
    spoiler_text = serializers.CharField(default="", allow_null=True, allow_blank=True)
    sensitive = serializers.BooleanField(default=False)
    language = serializers.RegexField(
        r"\A[A-Za-z]{2,3}(-[A-Za-z0-9]{2,6})?\Z", default=None, allow_null=True, allow_blank=True
    )

    NOT_BUILT = {"poll": "Polls", "scheduled_at": "Scheduled statuses", "media_ids": "Media"}

    def validate_in_reply_to_id(self, text: str | None) -> int | None:
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,19}", text) or int(text) >= 1 << 63:
            raise NotFound("Record not found")
        return int(text)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name, value in self.initial_data.items():
            if value and (what := self.NOT_BUILT.get(name.split("[")[0])):
                raise ValidationError(f"{what} are not supported here")
        spoiler = attrs["spoiler_text"] or ""
        return attrs | {
            "spoiler_text": spoiler,
            "sensitive": attrs["sensitive"] or bool(spoiler),  # what has a warning is hidden behind it
            "language": attrs["language"] or None,
        }


def flag(request: Request, name: str) -> bool:
    """A parameter of the URL that is on or off."""
    return request.query_params.get(name, "").lower() in ("true", "1", "on")


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    try:
        return serializers.CharField(max_length=255).run_validation(key) if key else None
    except ValidationError as error:
        raise ValidationError({"Idempotency-Key": error.detail}) from None


# Output


def status_page(request: AnyRequest | AccountRequest, page: Page) -> Response:
    """206 says that the timeline is still being built, and that this page came from the database alone."""
    return pagination.response(
        request,
        [status(entity, request.user) for entity in page.posts],
        next_max_id=page.next_max_id,
        prev_min_id=page.prev_min_id,
        status=200 if page.built else 206,
    )


def status(entity: Entity, viewer: Account | None) -> dict[str, Any]:
    url = f"{profile_url(entity['account']['username'])}/{entity['id']}"
    shaped = {
        "id": str(entity["id"]),
        "uri": url,
        "url": url,
        "created_at": entity["created_at"],
        "edited_at": entity["edited_at"],
        "account": account(entity["account"]),
        "content": entity["content"],
        "visibility": entity["visibility"],
        "sensitive": entity["sensitive"],
        "spoiler_text": entity["spoiler_text"],
        "language": entity["language"],
        "in_reply_to_id": _id(entity["in_reply_to_id"]),
        "in_reply_to_account_id": _id(entity["in_reply_to_account_id"]),
        "reblog": None,
        "media_attachments": [],
        "mentions": [mention(one) for one in entity["mentions"]],
        "tags": [],
        "emojis": [],
        "card": None,
        "poll": None,
        "application": None,
        "replies_count": entity["replies_count"],
        "reblogs_count": 0,
        "favourites_count": 0,
        "filtered": [],
    }
    if viewer is not None:
        shaped |= dict.fromkeys(("favourited", "reblogged", "muted", "bookmarked", "pinned"), False)
    return shaped


def mention(entity: Entity) -> dict[str, Any]:
    name = entity["username"]
    return {"id": str(entity["id"]), "username": name, "url": profile_url(name), "acct": name}


def account(entity: Entity) -> dict[str, Any]:
    name, url = entity["username"], profile_url(entity["username"])
    avatar, header = f"{settings.BASE_URL}/avatars/default.svg", f"{settings.BASE_URL}/headers/default.svg"
    return {
        "id": str(entity["id"]),
        "username": name,
        "acct": name,
        "url": url,
        "uri": url,
        "display_name": entity["display_name"],
        "note": content(entity["note"]),
        "avatar": avatar,
        "avatar_static": avatar,
        "header": header,
        "header_static": header,
        "locked": False,
        "bot": False,
        "group": False,
        "discoverable": True,
        "created_at": f"{_date(entity['created_at'])}T00:00:00.000Z",
        "last_status_at": _date(entity["last_status_at"]),
        "statuses_count": entity["statuses_count"],
        "followers_count": entity["followers_count"],
        "following_count": entity["following_count"],
        "emojis": [],
        "fields": [],
        "roles": [],
    }


def credential_account(entity: Entity) -> dict[str, Any]:
    source = {
        "privacy": "public",
        "sensitive": False,
        "language": None,
        "note": entity["note"],
        "fields": [],
        "follow_requests_count": 0,
    }
    return account(entity) | {"source": source}


def relationship(found: Relationship) -> dict[str, Any]:
    return {
        "id": str(found.account_id),
        "following": found.following,
        "showing_reblogs": found.following,
        "notifying": False,
        "languages": None,
        "followed_by": found.followed_by,
        "blocking": False,
        "blocked_by": False,
        "muting": False,
        "muting_notifications": False,
        "requested": False,
        "requested_by": False,
        "domain_blocking": False,
        "endorsed": False,
        "note": "",
    }


def delivery(report: dict[str, Any]) -> dict[str, Any]:
    return report | {"id": str(report["id"])}


def explanation(found: Explanation, reader: Account, post_id: int) -> dict[str, Any]:
    return {"status_id": str(post_id), "account_id": str(reader.pk), **asdict(found)}


def application(app: Application) -> dict[str, Any]:
    return {
        "id": str(app.pk),
        "name": app.name,
        "website": app.website or None,
        "scopes": app.scopes.split(),
        "redirect_uri": "\n".join(app.redirect_uris.split()),
        "redirect_uris": app.redirect_uris.split(),
    }


def client(app: Application, secret: str) -> dict[str, Any]:
    """What an application learns once, when it registers."""
    return {"client_id": app.client_id, "client_secret": secret, "client_secret_expires_at": 0, "vapid_key": ""}


def token(issued: AccessToken, text: str) -> dict[str, Any]:
    return {
        "access_token": text,
        "token_type": "Bearer",
        "scope": issued.scope,
        "created_at": int(issued.created.timestamp()),
    }


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _date(moment: str | None) -> str | None:
    return moment and moment[:10]

"""What comes in, checked: bodies by forms, parameters of the URL by the functions at the end.

A form refuses whatever no row could hold: wrong types, NUL, lone surrogates, text beyond its column. What a text, a
username or a password must be like is for actions to say.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from oauthlib.uri_validate import is_absolute_uri
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.fields import empty
from rest_framework.request import Request
from rest_framework.utils import html

from .auth import SCOPES

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
FORBIDDEN_SCHEMES = ("", "javascript", "data", "vbscript")
QUERY_MAX = 500  # characters


class Several(serializers.ListField):
    """A JSON list, or `x[]=a&x[]=b`."""

    def get_value(self, dictionary: Any) -> Any:
        if html.is_html_input(dictionary) and (values := dictionary.getlist(f"{self.field_name}[]")):
            return values
        return super().get_value(dictionary)


class Words(Several):
    """Words as a list, or in one string with spaces or line ends between them."""

    child = serializers.CharField(max_length=2000)

    def to_internal_value(self, data: Any) -> list[str]:
        texts = super().to_internal_value([data] if isinstance(data, str) else data)
        return [word for text in texts for word in text.split()]


class Id(serializers.CharField):
    """What is no decimal number below 2^63 names nothing: not found. A blank one is None."""

    def run_validation(self, data: Any = empty) -> int | None:
        text = super().run_validation(data)
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,19}", text) or int(text) >= 1 << 63:
            raise NotFound("Record not found")
        return int(text)


def checked(form: type[serializers.Serializer], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """What the request's body says, by the form's names. `partial`: without what it does not say."""
    checked: dict[str, Any] = _made(form, partial).run_validation(request.data)
    return checked


@cache
def _made(form: type[serializers.Serializer], partial: bool) -> serializers.Serializer:
    """One for all requests, also at once: it keeps nothing of what it checks. A new one would copy every field."""
    return form(partial=partial)


class ApplicationForm(serializers.Serializer):
    client_name = serializers.CharField(max_length=255, source="name")
    redirect_uris = Words(max_length=20)
    scopes = Words(default=["read"])
    website = serializers.URLField(max_length=500, default="", allow_blank=True, allow_null=True)

    def validate_redirect_uris(self, uris: list[str]) -> str:
        if not uris:
            raise ValidationError("can't be blank", "blank")
        if not all(may_redirect(uri) for uri in uris):
            raise ValidationError("must be absolute URIs without a fragment, of a scheme that does not run code")
        return " ".join(uris)

    def validate_scopes(self, scopes: list[str]) -> str:
        if not SCOPES.issuperset(scopes):
            raise ValidationError("doesn't match what this server knows")
        return " ".join(dict.fromkeys(scopes)) or "read"

    def validate_website(self, website: str | None) -> str:
        return website or ""


def may_redirect(uri: str) -> bool:
    """Whether a person may be sent there at all. A browser's address has a host, a program's own scheme needs none."""
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018  looked at for its exception
    except ValueError:
        return False
    whole = bool(parts.hostname) or parts.scheme not in ("http", "https")
    return whole and parts.scheme not in FORBIDDEN_SCHEMES and bool(is_absolute_uri(uri))


class OAuthForm(serializers.Serializer):
    """Which of these a grant needs is for oauthlib to say."""

    grant_type = serializers.CharField(required=False, allow_blank=True)
    client_id = serializers.CharField(required=False, allow_blank=True)
    client_secret = serializers.CharField(required=False, allow_blank=True)
    username = serializers.CharField(required=False, allow_blank=True)
    password = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    scope = serializers.CharField(required=False, allow_blank=True)
    code = serializers.CharField(required=False, allow_blank=True)
    code_verifier = serializers.CharField(required=False, allow_blank=True)
    redirect_uri = serializers.CharField(required=False, allow_blank=True)
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


class Unfinished(serializers.Serializer):
    """A form some of whose fields are known, and NOT_BUILT: whoever fills them in is told so."""

    NOT_BUILT: dict[str, str]

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        fields: dict[str, Any] = super().to_internal_value(data)
        for name, value in data.items():
            if value and (what := self.NOT_BUILT.get(name.split("[")[0])):
                raise ValidationError(f"{what} are not supported here")
        return fields


class Nested(serializers.Serializer):
    """`home[last_read_id]=1` in a form, an object in JSON."""

    def get_value(self, dictionary: Any) -> Any:
        if not html.is_html_input(dictionary):
            return super().get_value(dictionary)
        names = {name: f"{self.field_name}[{name}]" for name in self.fields}
        return {name: dictionary[sent] for name, sent in names.items() if sent in dictionary} or empty


class ProfileFields(serializers.Field):
    """Names and values: `fields_attributes[0][name]=` in a form; in JSON a list of objects, or an object of them.

    A pair whose both parts are blank is none; Mastodon's clients clear one so.
    """

    MOST = 4
    text = serializers.CharField(max_length=255, allow_blank=True, default="")

    def get_value(self, dictionary: Any) -> Any:
        if not html.is_html_input(dictionary):
            return super().get_value(dictionary)
        pairs: dict[str, dict[str, str]] = {}
        for key in dictionary:
            if found := re.fullmatch(rf"{self.field_name}\[(\w+)\]\[(name|value)\]", key):
                pairs.setdefault(found[1], {})[found[2]] = dictionary[key]
        return pairs or empty

    def to_internal_value(self, data: Any) -> list[list[str]]:
        pairs = list(data.values()) if isinstance(data, dict) else data
        if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
            raise ValidationError("must be pairs of name and value")
        found = [pair for pair in (self._pair(sent) for sent in pairs) if any(pair)]
        if len(found) > self.MOST:
            raise ValidationError(f"can be {self.MOST} at most")
        return found

    def _pair(self, sent: dict[str, Any]) -> list[str]:
        """Each on one line."""
        return [" ".join(self.text.run_validation(sent.get(part, empty)).split()) for part in ("name", "value")]


class LanguageField(serializers.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        pattern = r"\A[A-Za-z]{2,3}(-[A-Za-z0-9]{2,6})?\Z"
        super().__init__(pattern, default=None, allow_null=True, allow_blank=True, **kwargs)


class SourceForm(Nested):
    privacy = serializers.ChoiceField(
        ["public", "unlisted", "private"],
        source="default_visibility",
        error_messages={"invalid_choice": "is not included in the list"},
    )
    sensitive = serializers.BooleanField(source="default_sensitive")
    language = LanguageField(source="default_language")


class ProfileForm(Unfinished):
    display_name = serializers.CharField(allow_blank=True, allow_null=True)
    note = serializers.CharField(allow_blank=True, allow_null=True)
    locked = serializers.BooleanField()
    bot = serializers.BooleanField()
    discoverable = serializers.BooleanField()
    fields_attributes = ProfileFields(source="profile_fields")
    source = SourceForm()  # type: ignore[assignment]  # the API's name, which is one of the library's, too

    NOT_BUILT = {"avatar": "Avatars", "header": "Header images"}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        fields = attrs | attrs.pop("source", {})
        blank = {"display_name": "", "note": "", "default_language": None}  # what clients mean by null, or by nothing
        return {name: value or blank[name] if name in blank else value for name, value in fields.items()}


class FollowForm(serializers.Serializer):
    reblogs = serializers.BooleanField(default=None, allow_null=True)
    notify = serializers.BooleanField(default=None, allow_null=True)


class NoteForm(serializers.Serializer):
    comment = serializers.CharField(default="", allow_blank=True, allow_null=True, max_length=2000)

    def validate_comment(self, comment: str | None) -> str:
        return comment or ""


class FeaturedTagForm(serializers.Serializer):
    name = serializers.CharField()

    def validate_name(self, name: str) -> str:
        return name.removeprefix("#")


class MuteForm(serializers.Serializer):
    notifications = serializers.BooleanField(default=True)
    duration = serializers.IntegerField(
        source="seconds", min_value=0, max_value=(1 << 31) - 1, default=None, allow_null=True
    )


class EditForm(Unfinished):
    status = serializers.CharField(source="text")
    spoiler_text = serializers.CharField(default="", allow_null=True, allow_blank=True)
    sensitive = serializers.BooleanField(default=None, allow_null=True)
    language = LanguageField()

    NOT_BUILT = {"poll": "Polls", "scheduled_at": "Scheduled statuses", "media_ids": "Media"}

    def validate_sensitive(self, sensitive: bool | None) -> bool | None:
        return bool(sensitive)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        spoiler = attrs["spoiler_text"] or ""
        return attrs | {
            "spoiler_text": spoiler,
            "sensitive": True if spoiler else attrs["sensitive"],  # what has a warning is hidden behind it
            "language": attrs["language"] or None,
        }


class StatusForm(EditForm):
    """What is left out is as the author's account says: None."""

    visibility = serializers.CharField(default=None, allow_null=True, allow_blank=True)
    in_reply_to_id = Id(default=None, allow_null=True, allow_blank=True)

    def validate_visibility(self, visibility: str | None) -> str | None:
        return visibility or None

    def validate_sensitive(self, sensitive: bool | None) -> bool | None:
        return sensitive


class ReblogForm(serializers.Serializer):
    visibility = serializers.CharField(default=None, allow_null=True)


class ListForm(serializers.Serializer):
    title = serializers.CharField()
    replies_policy = serializers.CharField(default="list")
    exclusive = serializers.BooleanField(default=False)


class AccountIdsForm(serializers.Serializer):
    account_ids = Several(child=Id(), allow_empty=False)


class MarkerForm(Nested):
    last_read_id = serializers.IntegerField(min_value=0, max_value=(1 << 63) - 1)


class MarkersForm(serializers.Serializer):
    home = MarkerForm(required=False)
    notifications = MarkerForm(required=False)


# Parameters


def several(request: Request, name: str) -> list[str]:
    """All of `name[]=a&name[]=b` in the URL; the brackets may be missing."""
    return request.query_params.getlist(f"{name}[]") + request.query_params.getlist(name)


def query(request: Request) -> str:
    """What is searched for. An index holds no longer words."""
    asked = request.query_params.get("q", "").strip()
    if not asked or len(asked) > QUERY_MAX:
        raise ParseError(f"q must be what to search for, in {QUERY_MAX} characters at most")
    return asked


def flag(request: Request, name: str) -> bool:
    """A parameter of the URL that is on or off."""
    return request.query_params.get(name, "").lower() in ("true", "1", "on")


def idempotency_key(request: Request) -> str | None:
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    try:
        return serializers.CharField(max_length=255).run_validation(key) if key else None
    except ValidationError as error:
        raise ValidationError({"Idempotency-Key": error.detail}) from None

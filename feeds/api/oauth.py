"""OAuth 2: applications register, get tokens for themselves or for an account, and give them back.

The grants and their rules are oauthlib's, the rows and the checks against them django-oauth-toolkit's. Ours are the
doors: they take forms and JSON alike, and answer in the API's shape. What an application asks of a person (`asked`) and is
given for the consent (`code_for`) web/ shows on pages. Every application has a secret, so PKCE is an application's choice.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_plus, urlencode

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.http import Http404
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import AccessToken
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import Request as OAuthRequest
from oauthlib.oauth2 import (
    AuthorizationCodeGrant,
    BearerToken,
    ClientCredentialsGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidRequestFatalError,
    ResourceOwnerPasswordCredentialsGrant,
    TokenEndpoint,
)
from rest_framework.request import Request
from rest_framework.response import Response

from followers.models import Account, Application

from . import forms, serializers, throttling
from .auth import SCOPES, AccountRequest, checksum, covers
from .views import APIView

SENTENCES = {
    "invalid_client": "Client authentication failed: no such client, or its secret is wrong",
    "invalid_grant": "The code is wrong, used or too old, or was given to another application or for another redirect URI",
    "invalid_scope": "The requested scope is unknown, or more than the application may have",
    "unsupported_grant_type": "The grant type is not supported here",
}
ASKED = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
CHALLENGE = re.compile("[A-Za-z0-9_-]{43}")  # a SHA-256 in Base64


class Apps(APIView):
    authentication_classes = ()
    permission_classes = ()
    rates = {"POST": (throttling.APPS,)}

    def post(self, request: Request) -> Response:
        form = forms.ApplicationForm(data=request.data)
        form.is_valid(raise_exception=True)
        secret = generate_client_secret()  # what is saved is its hash
        app = Application.objects.create(
            client_secret=secret, client_type=Application.CLIENT_CONFIDENTIAL, **form.validated_data
        )
        return Response(serializers.application(app) | serializers.client(app, secret))


class VerifyApp(APIView):
    app_token = True

    def get(self, request: AccountRequest) -> Response:
        if request.auth.application is None:
            raise Http404
        return Response(serializers.application(request.auth.application))


class Token(APIView):
    authentication_classes = ()
    permission_classes = ()

    @transaction.atomic  # of two requests with one code, the one that finds it used leaves no token
    def post(self, request: Request) -> Response:
        params = _params(request)
        if code := params.get("code"):
            params["code"] = checksum(code)  # as it is stored: whoever reads the table has no code by it
        by_password = _client(request, params) and params.get("grant_type") == "password"
        if by_password and (spent := throttling.sign_in_refused(request, params.get("username", ""))):
            raise throttling.TooMany(spent)
        _, body, status = _token_endpoint().create_token_response(
            "/oauth/token", "POST", params, {}, {"created_at": int(time.time())}
        )
        answer = json.loads(body)
        answer.pop("expires_in", None)  # clients of this API expect tokens that last
        if status != 200:
            answer.setdefault("error_description", SENTENCES.get(answer["error"], "The request is refused"))
        return Response(answer, status, headers={"Cache-Control": "no-store"})


class Revoke(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        """An unknown token is as good as revoked. Whose it is not may not revoke it."""
        params = _params(request)
        client = _client(request, params)
        token = AccessToken.objects.filter(token_checksum=checksum(params.get("token", ""))).first()
        if client is None or (token and token.application_id != client.pk):
            sentence = "You are not authorized to revoke this token"
            return Response({"error": "unauthorized_client", "error_description": sentence}, 403)
        if token:
            token.revoke()
        return Response({})


def asked(params: Iterable[tuple[str, str]]) -> OAuthRequest:
    """What an application asks a person for: its `client`, `scopes`, `redirect_uri` and `state`, checked.

    Raises FatalClientError where nobody may be sent to the redirect URI, else an OAuth2Error for the application to know.
    """
    known = [(name, value) for name, value in params if name in ASKED and value]
    if any("\0" in value for _, value in known):
        raise InvalidRequestFatalError("A parameter holds a NUL")  # which no row could
    request = OAuthRequest("/oauth/authorize", "GET", known)
    _code_grant().validate_authorization_request(request)
    return request


def code_for(asked: OAuthRequest, account: Account) -> list[tuple[str, str]]:
    """A new code, by which the application gets a token of the account's: the parameters of its redirect."""
    grant = _code_grant()
    asked.user = account
    code: dict[str, str] = grant.create_authorization_code(asked)
    stored = {"code": checksum(code["code"])}
    grant.request_validator.save_authorization_code(asked.client_id, stored, asked)
    return list(code.items())


def answer_uri(redirect_uri: str, params: Iterable[tuple[str, str]]) -> str:
    """The redirect URI as it was registered, and the answer behind it. (What takes `app://` apart loses the slashes.)

    `iss` says that it is ours (RFC 9207): a client of several servers takes no code of one to another.
    """
    answer = urlencode([*params, ("iss", settings.BASE_URL)])
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{answer}"


class Validator(OAuth2Validator):
    """The library's, but that an application's own scopes are the bound of its tokens', and that a code which comes a
    second time takes back the token that it was given for: somebody may have stolen the one or the other.

    Which grants there are is up to `grants`; every application may use them all.
    """

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def validate_response_type(self, client_id: str, response_type: str, *args: Any, **kwargs: Any) -> bool:
        return response_type == "code"

    def validate_redirect_uri(self, client_id: str, redirect_uri: str, *args: Any, **kwargs: Any) -> bool:
        """As registered. Of a loopback address the port may be another: native programs listen where they can."""
        registered = super().validate_redirect_uri
        return forms.may_redirect(redirect_uri) and registered(client_id, redirect_uri, *args, **kwargs)

    def validate_code(self, client_id: str, code: str, client: Application, request: OAuthRequest, *args: Any) -> bool:
        if super().validate_code(client_id, code, client, request, *args):
            return bool(request.user.is_active)
        used_for = cache.get(_used(code))
        for token in AccessToken.objects.filter(token_checksum=used_for, application=client) if used_for else ():
            token.revoke()
        return False

    def get_code_challenge(self, code: str, request: OAuthRequest) -> str | None:
        """Who has a verifier sent a challenge with the link. If there is none, somebody took it out (RFC 9700, 4.8.2)."""
        challenge: str | None = super().get_code_challenge(code, request)
        if request.code_verifier and not challenge:
            raise InvalidGrantError(SENTENCES["invalid_grant"], request=request)
        return challenge

    def save_bearer_token(self, token: dict[str, Any], request: OAuthRequest, *args: Any, **kwargs: Any) -> None:
        super().save_bearer_token(token, request, *args, **kwargs)
        if request.grant_type == "authorization_code":
            seconds = oauth2_settings.AUTHORIZATION_CODE_EXPIRE_SECONDS
            cache.set(_used(request.code), checksum(token["access_token"]), seconds)

    def invalidate_authorization_code(self, *args: Any, **kwargs: Any) -> None:
        """Two who come with one code at once both find it, and one of them finds it gone here."""
        try:
            super().invalidate_authorization_code(*args, **kwargs)
        except InvalidGrantError:
            raise InvalidGrantError(SENTENCES["invalid_grant"]) from None

    def validate_scopes(
        self, client_id: str, scopes: list[str], client: Application, *args: Any, **kwargs: Any
    ) -> bool:
        return all(scope in SCOPES and covers(client.scopes, scope) for scope in scopes)

    def get_default_scopes(self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> list[str]:
        bound = request.client.scopes
        return ["read"] if covers(bound, "read") else bound.split()


def grants() -> dict[str, Any]:
    """The ways to a token, by their names."""
    found = {"authorization_code": _code_grant(), "client_credentials": ClientCredentialsGrant(Validator())}
    if settings.OAUTH_PASSWORD_GRANT:
        found["password"] = ResourceOwnerPasswordCredentialsGrant(Validator(), refresh_token=False)
    return found


def _token_endpoint() -> TokenEndpoint:
    bearer = BearerToken(Validator(), expires_in=oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS)
    return TokenEndpoint("client_credentials", bearer, grants())


def _code_grant() -> AuthorizationCodeGrant:
    return AuthorizationCodeGrant(Validator(), pre_auth=[_check_challenge], refresh_token=False)


def _check_challenge(request: OAuthRequest) -> dict[str, Any]:
    """A `plain` one protects nobody (RFC 9700), and is what a missing method would stand for."""
    challenge, method = request.code_challenge, request.code_challenge_method
    if (challenge or method) and method != "S256":
        raise InvalidRequestError("code_challenge_method must be S256", request=request)
    if challenge and not CHALLENGE.fullmatch(challenge):
        raise InvalidRequestError("code_challenge must be 43 characters of URL-safe Base64", request=request)
    return {}


def _used(code: str) -> str:
    """Where the cache has, while a code could still be tried, the checksum of the token that it was given for.

    The library knows a code by its checksum alone.
    """
    return f"code:{code}"


def _params(request: Request) -> dict[str, str]:
    """What is asked for. The application's id and secret may come by HTTP Basic (RFC 6749, 2.3.1), and are read alike."""
    data = request.data
    if isinstance(data, dict) and (basic := _basic(request.META.get("HTTP_AUTHORIZATION", ""))):
        data = data.copy()
        data.update(basic)
    form = forms.OAuthForm(data=data)
    if not form.is_valid():
        raise InvalidRequestError("The parameters must be text")
    return {name: value for name, value in form.validated_data.items() if value}


def _client(request: Request, params: dict[str, str]) -> Application | None:
    """The application, if its secret is right.

    Who has come with too many wrong ones is heard no more for a while (TooMany). Too many for one application are told to
    whoever runs the service, and keep nobody out who has the right one: else anybody could shut any application.
    """
    here = ("address", throttling.address(request))
    if spent := throttling.exhausted(throttling.SECRETS, *here):
        raise throttling.TooMany(spent)
    asking = OAuthRequest(request.path, "POST", params)
    if Validator().authenticate_client(asking):
        found: Application = asking.client
        return found
    whose = [here, *([("client", asking.client.client_id)] if asking.client else [])]
    if spent := throttling.refused(request, throttling.SECRETS, *whose):
        raise throttling.TooMany(spent)
    return None


def _basic(header: str) -> dict[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return {}
    with suppress(ValueError):
        client_id, secret = map(unquote_plus, b64decode(encoded).decode().split(":", 1))
        return {"client_id": client_id, "client_secret": secret}
    return {}

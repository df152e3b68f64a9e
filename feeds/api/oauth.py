"""OAuth 2: applications register, get tokens for themselves or for an account, and give them back.

The grants and their rules are oauthlib's, the rows and the checks against them django-oauth-toolkit's. Ours are the
doors: they take forms and JSON alike, and answer in the API's shape.
"""

from __future__ import annotations

import json
import time
from typing import Any

from django.conf import settings
from django.http import Http404
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import AccessToken
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import Request as OAuthRequest
from oauthlib.oauth2 import (
    BearerToken,
    ClientCredentialsGrant,
    InvalidRequestError,
    ResourceOwnerPasswordCredentialsGrant,
    TokenEndpoint,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from followers.models import Application

from . import forms, serializers
from .auth import SCOPES, AccountRequest, checksum, covers

SENTENCES = {
    "invalid_client": "Client authentication failed: no such client, or its secret is wrong",
    "invalid_scope": "The requested scope is unknown, or more than the application may have",
    "unsupported_grant_type": "The grant type is not supported here",
}


class Apps(APIView):
    authentication_classes = ()
    permission_classes = ()

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

    def post(self, request: Request) -> Response:
        _, body, status = _token_endpoint().create_token_response(
            "/oauth/token", "POST", _params(request), _headers(request), {"created_at": int(time.time())}
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
        client = OAuthRequest("/oauth/revoke", "POST", params, _headers(request))
        known = Validator().authenticate_client(client)
        token = AccessToken.objects.filter(token_checksum=checksum(params.get("token", ""))).first()
        if not known or (token and token.application_id != client.client.pk):
            sentence = "You are not authorized to revoke this token"
            return Response({"error": "unauthorized_client", "error_description": sentence}, 403)
        if token:
            token.revoke()
        return Response({})


class Validator(OAuth2Validator):
    """The library's, but that an application's own scopes are the bound of its tokens'.

    Which grants there are is up to `_token_endpoint`; every application may use them all.
    """

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def validate_scopes(
        self, client_id: str, scopes: list[str], client: Application, *args: Any, **kwargs: Any
    ) -> bool:
        return all(scope in SCOPES and covers(client.scopes, scope) for scope in scopes)

    def get_default_scopes(self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> list[str]:
        bound = request.client.scopes
        return ["read"] if covers(bound, "read") else bound.split()


def _token_endpoint() -> TokenEndpoint:
    validator = Validator()
    grants = {"client_credentials": ClientCredentialsGrant(validator)}
    if settings.OAUTH_PASSWORD_GRANT:
        grants["password"] = ResourceOwnerPasswordCredentialsGrant(validator, refresh_token=False)
    bearer = BearerToken(validator, expires_in=oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS)
    return TokenEndpoint("client_credentials", bearer, grants)


def _params(request: Request) -> dict[str, str]:
    form = forms.OAuthForm(data=request.data)
    if not form.is_valid():
        raise InvalidRequestError("The parameters must be text")
    return {name: value for name, value in form.validated_data.items() if value}


def _headers(request: Request) -> dict[str, str]:
    """The client's id and secret may come by HTTP Basic, under the name that the library looks for."""
    basic = request.headers.get("Authorization", "")
    return {"HTTP_AUTHORIZATION": basic} if basic.isascii() else {}

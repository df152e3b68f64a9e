"""/api/v1/accounts: sign up, look at accounts and at what they wrote, follow and unfollow."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.views import APIView

from feeds import actions, entities, posts
from followers import graph
from followers.models import Account

from . import pagination, serializers, throttling
from .auth import AccountRequest, AnyRequest, issue_token
from .serializers import flag


class Register(APIView):
    scopes = {"POST": "write:accounts"}
    app_token = True
    rates = {"POST": throttling.SIGN_UPS}

    @transaction.atomic
    def post(self, request: AnyRequest) -> Response:
        if request.user:  # else each new account could sign up five more
            raise PermissionDenied("This method requires a client credentials authentication")
        form = serializers.RegistrationForm(data=request.data)
        form.is_valid(raise_exception=True)
        account = actions.register(**form.account())
        token, text = issue_token(account=account, application=request.auth.application, scope=request.auth.scope)
        return Response(serializers.token(token, text))


class VerifyCredentials(APIView):
    scopes = {"GET": "read:accounts profile"}

    def get(self, request: AccountRequest) -> Response:
        return Response(serializers.credential_account(entities.account(request.user.pk)))


class Lookup(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest) -> Response:
        account = Account.objects.get(username=_local_name(request.query_params.get("acct", "")))
        return Response(serializers.account(entities.account(account.pk)))


class Relationships(APIView):
    scopes = {"GET": "read:follows"}

    def get(self, request: AccountRequest) -> Response:
        asked = request.query_params.getlist("id[]") + request.query_params.getlist("id")
        ids = list(dict.fromkeys(pagination.number("id", text) for text in asked))
        known = set(Account.objects.filter(pk__in=ids).values_list("pk", flat=True))
        found = graph.relationships(request.user.pk, [id_ for id_ in ids if id_ in known])
        return Response([serializers.relationship(one) for one in found])


class Show(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        return Response(serializers.account(entities.account(account_id)))


class Statuses(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        author, cursor = Account.objects.get(pk=account_id), pagination.cursor(request)
        if flag(request, "pinned") or flag(request, "only_media") or request.query_params.get("tagged"):
            return Response([])  # no post has any of these yet
        page = posts.author_timeline(request.user, author.pk, cursor, exclude_replies=flag(request, "exclude_replies"))
        return serializers.status_page(request, page)


class Followers(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        return _accounts(request, graph.followers, account_id)


class Following(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        return _accounts(request, graph.following, account_id)


class Follow(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.follow(follower=request.user, followee_id=account_id)
        return _relationship(request, account_id)


class Unfollow(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.unfollow(follower=request.user, followee_id=account_id)
        return _relationship(request, account_id)


def _local_name(acct: str) -> str:
    """The username in `name`, `@name` or `name@this.host`, in any case. Raises Account.DoesNotExist."""
    found = re.fullmatch(r"@?([a-z0-9_]+)(?:@(.+))?", acct.strip().lower(), re.ASCII)
    here = urlsplit(settings.BASE_URL)
    if found is None or found[2] not in (None, here.netloc.lower(), here.hostname):
        raise Account.DoesNotExist
    return found[1]


def _accounts(request: AnyRequest, find: Callable[..., graph.Page], account_id: int) -> Response:
    """A page of followers or followees. Its cursors are ids of follows: newest first is by when they followed."""
    account, cursor = Account.objects.get(pk=account_id), pagination.cursor(request, limit=40, cap=80)
    page = find(account.pk, graph.Cursor(**vars(cursor)))
    return pagination.response(
        request,
        [serializers.account(facts) for facts in entities.accounts(page.account_ids)],
        next_max_id=page.next_max_id,
        prev_min_id=page.prev_min_id,
    )


def _relationship(request: AccountRequest, account_id: int) -> Response:
    [relationship] = graph.relationships(request.user.pk, [account_id])
    return Response(serializers.relationship(relationship))

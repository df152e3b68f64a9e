"""/api/v1/accounts: sign up, look at accounts and at what they wrote, and edit one's own."""

from __future__ import annotations

import re

from django.db import transaction
from django.http import HttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from feeds import actions, entities, posts, search
from followers import graph
from followers.models import Account, List

from . import forms, pagination, serializers, throttling
from .auth import AccountRequest, AnyRequest, issue_token
from .forms import flag
from .views import APIView

MOST = 80  # accounts, of what names them one by one


def existing(account_id: int) -> int:
    """The id, if there is such an account. Raises Account.DoesNotExist: what is deleted is nowhere any more."""
    return Account.objects.get(pk=account_id, is_active=True).pk


class Accounts(APIView):
    scopes = {"GET": "read:accounts", "POST": "write:accounts"}
    anonymous = ("GET",)
    app_token = True
    rates = {"POST": (throttling.SIGN_UPS,)}

    def get(self, request: AnyRequest) -> Response:
        ids = dict.fromkeys(pagination.number("id", text) for text in forms.several(request, "id")[:MOST])
        return Response([serializers.account(facts) for facts in entities.accounts(list(ids))])

    @transaction.atomic
    def post(self, request: AnyRequest) -> Response:
        if request.user:  # else each new account could sign up five more
            raise PermissionDenied("This method requires a client credentials authentication")
        form = forms.RegistrationForm(data=request.data)
        form.is_valid(raise_exception=True)
        account = actions.register(**form.account())
        token, text = issue_token(account=account, application=request.auth.application, scope=request.auth.scope)
        return Response(serializers.token(token, text))


class VerifyCredentials(APIView):
    scopes = {"GET": "read:accounts profile"}

    def get(self, request: AccountRequest) -> Response:
        return Response(serializers.credential_account(entities.own_account(request.user.pk)))


class UpdateCredentials(APIView):
    scopes = {"PATCH": "write:accounts"}

    def patch(self, request: AccountRequest) -> Response:
        actions.edit_account(account=request.user, **forms.checked(forms.ProfileForm, request, partial=True))
        return Response(serializers.credential_account(entities.own_account(request.user.pk)))


class Lookup(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest) -> Response:
        name = entities.local_name(request.query_params.get("acct", ""))
        if not re.fullmatch("[a-z0-9_]+", name):
            raise Account.DoesNotExist
        return Response(serializers.account(entities.account(Account.objects.get(username=name).pk)))


class Search(APIView):
    scopes = {"GET": "read:accounts"}

    def get(self, request: AccountRequest) -> Response:
        found = search.accounts(
            request.user,
            forms.query(request),
            limit=pagination.count(request, limit=40, cap=80),
            offset=pagination.offset(request),
            following=flag(request, "following"),
        )
        return Response([serializers.account(facts) for facts in entities.accounts(found)])


class Show(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        return Response(serializers.account(entities.account(account_id)))


class Statuses(APIView):
    scopes = {"GET": "read:statuses"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> HttpResponse:
        author_id, cursor = existing(account_id), pagination.cursor(request)
        if flag(request, "only_media"):
            return Response([])  # no post has any yet
        page = posts.author_timeline(
            request.user,
            author_id,
            cursor,
            exclude_replies=flag(request, "exclude_replies"),
            exclude_reblogs=flag(request, "exclude_reblogs"),
            pinned=flag(request, "pinned"),
            tagged=request.query_params.get("tagged"),
        )
        return serializers.status_page(request, page)


class Followers(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, graph.followers(existing(account_id), cursor))


class Following(APIView):
    scopes = {"GET": "read:accounts"}
    anonymous = ("GET",)

    def get(self, request: AnyRequest, account_id: int) -> Response:
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, graph.following(existing(account_id), cursor))


class Lists(APIView):
    """The caller's lists that the account is on."""

    scopes = {"GET": "read:lists"}

    def get(self, request: AccountRequest, account_id: int) -> Response:
        found = List.objects.filter(owner=request.user, members__account=existing(account_id)).order_by("pk")
        return Response([serializers.list_of_accounts(one) for one in found])

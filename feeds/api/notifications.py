"""/api/v1/notifications: what the caller was told of, newest first."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework.response import Response

from feeds import actions, entities, notifications, posts
from feeds.notifications import Told
from followers.models import Account

from . import forms, pagination, serializers
from .auth import AccountRequest
from .views import APIView


class Notifications(APIView):
    """Types that nobody is told of here find nothing: clients name all that they know."""

    scopes = {"GET": "read:notifications"}

    def get(self, request: AccountRequest) -> Response:
        sender = request.query_params.get("account_id")
        page = notifications.page(
            request.user,
            pagination.cursor(request, limit=40, cap=80),
            types=forms.several(request, "types"),
            without=forms.several(request, "exclude_types"),
            from_account_id=pagination.number("account_id", sender) if sender else None,
        )
        return pagination.response(
            request,
            shaped(request.user, page.notifications),
            next_max_id=page.next_max_id,
            prev_min_id=page.prev_min_id,
        )


class Show(APIView):
    scopes = {"GET": "read:notifications"}

    def get(self, request: AccountRequest, notification_id: int) -> Response:
        for one in shaped(request.user, [notifications.get(request.user, notification_id)]):
            return Response(one)
        raise Http404


class UnreadCount(APIView):
    scopes = {"GET": "read:notifications"}

    def get(self, request: AccountRequest) -> Response:
        return Response({"count": notifications.unread_count(request.user)})


class Clear(APIView):
    scopes = {"POST": "write:notifications"}

    def post(self, request: AccountRequest) -> Response:
        actions.clear_notifications(account=request.user)
        return Response({})


class Dismiss(APIView):
    scopes = {"POST": "write:notifications"}

    def post(self, request: AccountRequest, notification_id: int) -> Response:
        actions.dismiss_notification(account=request.user, notification_id=notification_id)
        return Response({})


def shaped(account: Account, found: list[Told]) -> list[dict[str, Any]]:
    """Without those whose sender, or post, has gone since they were found."""
    senders = {one["id"]: one for one in entities.accounts([told.account_id for told in found])}
    about = posts.several(account, [told.post_id for told in found if told.post_id is not None])
    shown = {one["id"]: one for one in about}
    return [
        serializers.notification(told, senders[told.account_id], shown.get(told.post_id), account)
        for told in found
        if told.account_id in senders and (told.post_id is None or told.post_id in shown)
    ]

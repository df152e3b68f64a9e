"""How the caller stands to others: follow, block and mute them, see whom one blocks and mutes, and who asks to follow.

What changes how two stand to each other answers how they stand then.
"""

from __future__ import annotations

from rest_framework.response import Response

from feeds import actions, entities
from followers import graph
from followers.models import Account

from . import forms, pagination, serializers, throttling
from .accounts import existing
from .auth import AccountRequest
from .views import APIView

FAMILIAR_OF, FAMILIAR_MOST = 20, 40  # accounts that are asked about; whom each of them is told to have in common


class Relationships(APIView):
    scopes = {"GET": "read:follows"}

    def get(self, request: AccountRequest) -> Response:
        asked = dict.fromkeys(pagination.number("id", text) for text in forms.several(request, "id"))
        known = set(Account.objects.filter(pk__in=asked, is_active=True).values_list("pk", flat=True))
        found = graph.relationships(request.user.pk, [id_ for id_ in asked if id_ in known])
        return Response([serializers.relationship(one) for one in found])


class Follow(APIView):
    scopes = {"POST": "write:follows"}
    rates = {"POST": (throttling.FOLLOWS,)}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        wishes = forms.checked(forms.FollowForm, request)
        actions.follow(follower=request.user, followee_id=existing(account_id), **wishes)
        return _relationship(request, account_id)


class Unfollow(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.unfollow(follower=request.user, followee_id=existing(account_id))
        return _relationship(request, account_id)


class RemoveFollower(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.remove_follower(followee=request.user, follower_id=existing(account_id))
        return _relationship(request, account_id)


class FollowRequests(APIView):
    scopes = {"GET": "read:follows"}

    def get(self, request: AccountRequest) -> Response:
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, graph.follow_requests(request.user.pk, cursor))


class Authorize(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.accept_follow(followee=request.user, follower_id=existing(account_id))
        return _relationship(request, account_id)


class Reject(APIView):
    scopes = {"POST": "write:follows"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.reject_follow(followee=request.user, follower_id=existing(account_id))
        return _relationship(request, account_id)


class FamiliarFollowers(APIView):
    """Of those whom the caller follows, those who follow the account."""

    scopes = {"GET": "read:follows"}

    def get(self, request: AccountRequest) -> Response:
        asked = dict.fromkeys(pagination.number("id", text) for text in forms.several(request, "id")[:FAMILIAR_OF])
        found = {one: graph.familiar_followers(request.user.pk, one, FAMILIAR_MOST) for one in asked}
        return Response([serializers.familiar_followers(one, entities.accounts(ids)) for one, ids in found.items()])


class Note(APIView):
    scopes = {"POST": "write:accounts"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.note(account=request.user, target_id=existing(account_id), **forms.checked(forms.NoteForm, request))
        return _relationship(request, account_id)


class Block(APIView):
    scopes = {"POST": "write:blocks"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.block(blocker=request.user, blocked_id=existing(account_id))
        return _relationship(request, account_id)


class Unblock(APIView):
    scopes = {"POST": "write:blocks"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.unblock(blocker=request.user, blocked_id=existing(account_id))
        return _relationship(request, account_id)


class Mute(APIView):
    scopes = {"POST": "write:mutes"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        wishes = forms.checked(forms.MuteForm, request)
        actions.mute(account=request.user, target_id=existing(account_id), **wishes)
        return _relationship(request, account_id)


class Unmute(APIView):
    scopes = {"POST": "write:mutes"}

    def post(self, request: AccountRequest, account_id: int) -> Response:
        actions.unmute(account=request.user, target_id=existing(account_id))
        return _relationship(request, account_id)


class Blocks(APIView):
    scopes = {"GET": "read:blocks"}

    def get(self, request: AccountRequest) -> Response:
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, graph.blocks(request.user.pk, cursor))


class Mutes(APIView):
    scopes = {"GET": "read:mutes"}

    def get(self, request: AccountRequest) -> Response:
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        page = graph.mutes(request.user.pk, cursor)
        ends = graph.ends_of_mutes(request.user.pk, page.account_ids)
        return serializers.muted_page(request, page, ends)


def _relationship(request: AccountRequest, account_id: int) -> Response:
    [relationship] = graph.relationships(request.user.pk, [account_id])
    return Response(serializers.relationship(relationship))

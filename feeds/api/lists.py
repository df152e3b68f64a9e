"""/api/v1/lists: the caller's lists, and who is on them."""

from __future__ import annotations

from rest_framework.response import Response

from feeds import actions
from followers import graph
from followers.models import List

from . import forms, pagination, serializers
from .auth import AccountRequest
from .views import APIView

ALL = 1_000  # members on the page that is asked for with limit=0, which stands for everybody


class Lists(APIView):
    scopes = {"GET": "read:lists", "POST": "write:lists"}

    def get(self, request: AccountRequest) -> Response:
        return Response([serializers.list_of_accounts(one) for one in request.user.lists.order_by("pk")])

    def post(self, request: AccountRequest) -> Response:
        made = actions.create_list(owner=request.user, **forms.checked(forms.ListForm, request))
        return Response(serializers.list_of_accounts(made))


class Show(APIView):
    scopes = {"GET": "read:lists", "PUT": "write:lists", "DELETE": "write:lists"}

    def get(self, request: AccountRequest, list_id: int) -> Response:
        return Response(serializers.list_of_accounts(List.objects.get(pk=list_id, owner=request.user)))

    def put(self, request: AccountRequest, list_id: int) -> Response:
        changes = forms.checked(forms.ListForm, request, partial=True)
        edited = actions.edit_list(owner=request.user, list_id=list_id, **changes)
        return Response(serializers.list_of_accounts(edited))

    def delete(self, request: AccountRequest, list_id: int) -> Response:
        actions.delete_list(owner=request.user, list_id=list_id)
        return Response({})


class Accounts(APIView):
    scopes = {"GET": "read:lists", "POST": "write:lists", "DELETE": "write:lists"}

    def get(self, request: AccountRequest, list_id: int) -> Response:
        found = List.objects.get(pk=list_id, owner=request.user)
        everybody = request.query_params.get("limit") == "0"
        cursor = graph.Cursor(limit=ALL) if everybody else pagination.row_cursor(request, limit=40, cap=80)
        return serializers.account_page(request, graph.list_members(found.pk, cursor))

    def post(self, request: AccountRequest, list_id: int) -> Response:
        actions.add_to_list(owner=request.user, list_id=list_id, **forms.checked(forms.AccountIdsForm, request))
        return Response({})

    def delete(self, request: AccountRequest, list_id: int) -> Response:
        """Some clients name the accounts in the URL: not every library sends a body with a DELETE."""
        form = forms.AccountIdsForm(data=request.data or request.query_params)
        form.is_valid(raise_exception=True)
        actions.remove_from_list(owner=request.user, list_id=list_id, **form.validated_data)
        return Response({})

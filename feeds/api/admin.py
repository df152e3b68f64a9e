"""/api/v1/admin: for staff, what is not about one thing alone."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from feeds import deliveries

from . import pagination, serializers
from .auth import AccountRequest
from .views import APIView


class Deliveries(APIView):
    """What is to be looked at, or what has the `state` that is asked for."""

    scopes = {"GET": "read:statuses"}

    def get(self, request: AccountRequest) -> Response:
        if not request.user.is_staff:
            raise PermissionDenied
        state = request.query_params.get("state")
        if state and state not in deliveries.STANDINGS:
            raise ParseError(f"state must be one of {', '.join(deliveries.STANDINGS)}")
        cursor = pagination.row_cursor(request, limit=40, cap=80)
        page = deliveries.page(cursor, [state] if state else deliveries.BY_DEFAULT)
        return pagination.response(
            request,
            [serializers.delivery(record) for record in page.records],
            next_max_id=page.next_max_id,
            prev_min_id=page.prev_min_id,
        )

"""/api/v1/markers: how far the caller has read home and notifications, on whichever device."""

from __future__ import annotations

from rest_framework.response import Response

from feeds import actions
from feeds.models import Marker

from . import forms, serializers
from .auth import AccountRequest
from .views import APIView


class Markers(APIView):
    scopes = {"GET": "read:statuses", "POST": "write:statuses"}

    def get(self, request: AccountRequest) -> Response:
        asked = forms.several(request, "timeline")
        return Response(serializers.markers(Marker.objects.filter(account=request.user, timeline__in=asked)))

    def post(self, request: AccountRequest) -> Response:
        read = forms.checked(forms.MarkersForm, request)
        return Response(
            serializers.markers(
                actions.read_until(account=request.user, timeline=timeline, **until) for timeline, until in read.items()
            )
        )

"""What clients ask for and the service does not have: nothing to show, or one sentence.

A client meets a 404 as a broken server, and an empty list as a quiet one. Whoever builds one of these takes its line out of
urls.py.
"""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from .views import APIView


class Nothing(APIView):
    """`Nothing.as_view(scopes={"GET": "read:filters"}, answer={})`: an empty list, or what else is empty."""

    answer: Any = []

    def get(self, request: Request, **_: Any) -> Response:
        return Response(self.answer)


class Media(APIView):
    scopes = {"POST": "write:media"}

    def post(self, request: Request) -> Response:
        """The body is not read."""
        raise ValidationError("Media are not supported here")

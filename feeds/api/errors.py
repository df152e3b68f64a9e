"""What goes wrong, as JSON: {"error": "one clear sentence"}. Only here an exception is given its status code.

Views let exceptions rise. `handle` answers for REST framework's views; the other functions answer for URLs that lead
nowhere, for requests that Django refuses before a view is found, and for our own mistakes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from oauthlib.oauth2 import OAuth2Error
from rest_framework import exceptions
from rest_framework.response import Response

NOT_FOUND = "Record not found"
MALFORMED = "The request is malformed"
TOO_MANY = "Too many requests"
WRONG = "Something went wrong on our side"
UNAVAILABLE = "The service is unavailable right now, try again later"

ANSWERS: tuple[tuple[type[Exception], int, str], ...] = (
    (Http404, 404, NOT_FOUND),
    (ObjectDoesNotExist, 404, NOT_FOUND),
    (PermissionDenied, 403, "This action is not allowed"),
    (RequestDataTooBig, 413, "The request is too large"),
    (SuspiciousOperation, 400, MALFORMED),
    (DataError, 400, MALFORMED),  # a value that no column holds, and that no form has caught
    (UnreadablePostError, 400, "The request ended too early"),
    (OperationalError, 503, UNAVAILABLE),
    (InterfaceError, 503, UNAVAILABLE),
)

CODES = {
    "unique": "ERR_TAKEN",
    "required": "ERR_BLANK",
    "blank": "ERR_BLANK",
    "null": "ERR_BLANK",
    "accepted": "ERR_ACCEPTED",
    "reserved": "ERR_RESERVED",
    "max_length": "ERR_TOO_LONG",
    "too_long": "ERR_TOO_LONG",
    "password_too_short": "ERR_TOO_SHORT",
    "inclusion": "ERR_INCLUSION",
}
WORDS = {"ERR_BLANK": "can't be blank", "ERR_TAKEN": "has already been taken"}

log = logging.getLogger(__name__)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an exception that rose from a view. None: a mistake of ours, to be logged; then `server_error`."""
    if isinstance(error, ValidationError | exceptions.ValidationError):
        return Response(_validation_failed(error), 422)
    if isinstance(error, OAuth2Error):
        return Response({"error": error.error, "error_description": error.description}, error.status_code)
    for kind, status, sentence in ANSWERS:
        if isinstance(error, kind):
            if status == 503:
                log.error("%s: %s", type(error).__name__, error)
            return Response({"error": sentence}, status, headers=_headers(error))
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(context["view"].allowed_methods)
        return Response({"error": _printable(error.detail)}, error.status_code, headers={"Allow": allowed})
    if isinstance(error, exceptions.APIException):
        return Response({"error": _printable(error.detail)}, error.status_code, headers=_headers(error))
    return None


def _validation_failed(error: ValidationError | exceptions.ValidationError) -> dict[str, Any]:
    details: dict[str, list[dict[str, str]]] = {}
    sentences = []
    for field, code, message in _problems(error):
        name = CODES.get(code, "ERR_INVALID")
        description = WORDS.get(name) or _printable(message).removesuffix(".")
        details.setdefault(field, []).append({"error": name, "description": description})
        sentences.append(f"{_label(field)}{': ' if description[:1].isupper() else ' '}{description}".lstrip(": "))
    return {"error": f"Validation failed: {', '.join(sentences)}", "details": details}


def _problems(error: ValidationError | exceptions.ValidationError) -> Iterator[tuple[str, str, str]]:
    """(field, code, message), of Django's exception or of REST framework's."""
    if isinstance(error, ValidationError):
        by_field = error.error_dict if hasattr(error, "error_dict") else {"base": error.error_list}
        for field, problems in by_field.items():
            for problem in problems:
                yield field, problem.code or "invalid", " ".join(problem.messages)
    else:
        yield from _flat("base", error.detail)


def _flat(field: str, detail: Any) -> Iterator[tuple[str, str, str]]:
    """REST framework nests: fields in dicts, a list's elements by their number."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _flat(key if isinstance(key, str) else field, value)
    elif isinstance(detail, list):
        for value in detail:
            yield from _flat(field, value)
    else:
        yield "base" if field == "non_field_errors" else field, detail.code, str(detail)


def _label(field: str) -> str:
    return "" if field in ("base", "__all__") else field[:1].upper() + field[1:].replace("_", " ")


def _headers(error: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers


def _printable(text: object) -> str:
    """A message may quote what was sent, and that may hold what no encoding can carry."""
    return str(text).encode(errors="replace").decode()


def only_read(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For views that are no REST framework's: another method than GET and HEAD is answered as theirs answer it."""

    @wraps(view)
    def refusing(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request, *args, **kwargs)
        sentence = exceptions.MethodNotAllowed(request.method or "").detail
        return JsonResponse({"error": _printable(sentence)}, status=405, headers={"Allow": "GET, HEAD"})

    return refusing


def bad_request(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return JsonResponse({"error": MALFORMED}, status=400)


def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return JsonResponse({"error": NOT_FOUND}, status=404)


def server_error(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"error": WRONG}, status=500)


def too_many(wait: int) -> JsonResponse:
    return JsonResponse({"error": TOO_MANY}, status=429, headers={"Retry-After": str(wait)})

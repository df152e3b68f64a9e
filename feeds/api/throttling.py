"""Rate limits: so many requests in so many minutes, for each address and for each account.

A window begins with its first request. The middleware counts by address and writes the headers, with the window that
has least left; Throttle, which REST framework asks once it knows who calls, counts by account, and what a view sets in
    rates = {"DELETE": DELETES}
Without Redis nothing is counted, and everybody is let through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_redis import get_redis_connection
from limits import RateLimitItem, RateLimitItemPerMinute
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from feeds import metrics

from . import errors

REQUESTS = RateLimitItemPerMinute(300, 5, namespace="requests")
SIGN_UPS = RateLimitItemPerMinute(5, 30, namespace="sign_ups")
DELETES = RateLimitItemPerMinute(30, 30, namespace="deletes")
SIGN_INS = RateLimitItemPerMinute(10, 5, namespace="sign_ins")
LIMITED = ("/api/", "/oauth/")
SIGN_IN = "/admin/login/"


@dataclass(frozen=True)
class Window:
    """What is left (below 0: too much was asked), and when it ends, in unix seconds."""

    limit: int
    left: int
    ends: float

    @property
    def wait(self) -> int:
        return max(1, round(self.ends - time.time()))


class RateLimitMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        rate = _rate(request) if settings.RATE_LIMITS else None
        if rate is None:
            return self.get_response(request)
        exceeded = _exceeded(_spend(request, [rate], "address", address(request)))
        response = errors.too_many(exceeded.wait) if exceeded else self.get_response(request)
        _write_headers(request, response)
        return response


def _rate(request: HttpRequest) -> RateLimitItem | None:
    """What an address may ask for of this kind. Passwords are not to be tried out."""
    if request.path_info == SIGN_IN and request.method == "POST":
        return SIGN_INS
    return REQUESTS if request.path_info.startswith(LIMITED) else None


class Throttle(BaseThrottle):
    exceeded: Window | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        if not settings.RATE_LIMITS:
            return True
        whose = ("account", str(request.user.pk)) if request.user else ("address", address(request))
        rates = [REQUESTS] if request.user else []  # the middleware has counted the address
        if rate := getattr(view, "rates", {}).get(request.method):
            rates.append(rate)
        self.exceeded = _exceeded(_spend(request, rates, *whose))
        return self.exceeded is None

    def wait(self) -> float | None:
        return self.exceeded.wait if self.exceeded else None


def refused(request: HttpRequest, rate: RateLimitItem, *whose: tuple[str, str]) -> Window | None:
    """Counts this request by each of these, such as ("address", "192.0.2.1"). The window in which there were too many."""
    if not settings.RATE_LIMITS:
        return None
    return _exceeded([window for one in whose for window in _spend(request, [rate], *one)])


def address(request: HttpRequest | Request) -> str:
    """The caller's IP address. Behind a proxy of ours it is the last one in the list: what that proxy itself saw."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.TRUST_PROXY else ""
    return forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", "")


def _spend(request: HttpRequest | Request, rates: Sequence[RateLimitItem], *whose: str) -> list[Window]:
    """Counts this request, in one round trip; the windows as they are then, or none if Redis does not answer."""
    counting = get_redis_connection("default").pipeline(transaction=False)
    for rate in rates:
        key = rate.key_for(*whose)
        counting.incr(key).expire(key, rate.get_expiry(), nx=True).pttl(key)
    try:
        counted = counting.execute()
    except redis.RedisError:
        metrics.rate_limits_skipped.inc()
        return []
    now = time.time()
    windows = [
        Window(rate.amount, rate.amount - used, now + left / 1000)
        for rate, used, left in zip(rates, counted[::3], counted[2::3], strict=True)
    ]
    request.META.setdefault("feedsvc.windows", []).extend(windows)
    return windows


def _exceeded(windows: list[Window]) -> Window | None:
    return next((window for window in windows if window.left < 0), None)


def _write_headers(request: HttpRequest, response: HttpResponse) -> None:
    if windows := request.META.get("feedsvc.windows"):
        tightest = min(windows, key=lambda window: window.left)
        response["X-RateLimit-Limit"] = str(tightest.limit)
        response["X-RateLimit-Remaining"] = str(max(0, tightest.left))
        response["X-RateLimit-Reset"] = datetime.fromtimestamp(tightest.ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

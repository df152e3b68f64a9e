"""Rate limits: so many requests in so many minutes, for each address and for each account.

A window begins with its first request. The middleware counts by address and writes the headers, with the window that
has least left; Throttle, which REST framework asks once it knows who calls, counts by account, and what a view has in
`rates`. PUSHES counts no requests but what follows from them: to how many home timelines an author's posts go.
Without Redis reads are let through uncounted, and each process counts the writes that it sees. Who was refused, and by
which limit, is in the log, once a window, and for a while in `refusals`.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_redis import get_redis_connection
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from feeds import logs, metrics
from followers.models import HomeMode

from . import errors
from .auth import checksum

REQUESTS = RateLimitItemPerMinute(300, 5, namespace="requests")
SIGN_UPS = RateLimitItemPerMinute(settings.SIGN_UPS_PER_ADDRESS, 30, namespace="sign_ups")
SIGN_INS = RateLimitItemPerMinute(10, 5, namespace="sign_ins")
SECRETS = RateLimitItemPerMinute(20, 5, namespace="secrets")  # wrong ones, of applications
APPS = RateLimitItemPerMinute(20, 10, namespace="apps")  # a client registers once for each server: a class in one room
POSTS = RateLimitItemPerHour(300, 3, namespace="posts")  # edits and reblogs, too
PUSHES = RateLimitItemPerHour(settings.PUSHES_PER_HOUR, namespace="pushes")
FOLLOWS = RateLimitItemPerHour(settings.FOLLOWS_PER_HOUR, namespace="follows")
DELETES = RateLimitItemPerMinute(30, 30, namespace="deletes")
SENTENCES = {
    "sign_ups": "Too many accounts were made from this address: try again later",
    "sign_ins": "Too many tries to sign in: wait a few minutes",
    "secrets": "Too many wrong secrets: wait a few minutes",
    "apps": "Too many applications were registered from this address: try again later",
    "posts": "Too many posts: wait a while",
    "pushes": "Your posts went to so many timelines within an hour that the next one has to wait",
    "follows": "You asked to follow too many accounts within an hour: wait a while",
}
LIMITED = ("/api/", "/oauth/")
REFUSALS = "rate_limits:refusals"  # a sorted set in the cache's Redis: limit/kind/who by the moment in unix seconds
REFUSALS_KEPT = 1_000
REFUSALS_FOR = 7 * 24 * 3600  # seconds after the last one
HERE_MOST = 100_000  # windows that one process counts while Redis is away, at about 300 bytes

log = logging.getLogger("feeds.web")


@dataclass(frozen=True)
class Window:
    """Whose it is, how much of it is used, this request's `cost` included, and when it ends, in unix seconds."""

    rate: RateLimitItem
    whose: tuple[str, str]
    used: int
    cost: int
    ends: float

    @property
    def left(self) -> int:
        """Below 0: too much was asked for."""
        return self.rate.amount - self.used

    @property
    def over(self) -> bool:
        """Whether it was used up before this request. One that costs more than is left is let through: a large audience
        may be larger than the limit.
        """
        return self.used - self.cost >= self.rate.amount

    @property
    def first_over(self) -> bool:
        return self.over and self.used - 2 * self.cost < self.rate.amount

    @property
    def wait(self) -> int:
        return max(1, round(self.ends - time.time()))


class TooMany(APIException):
    """The answer to a request over a limit."""

    status_code = 429

    def __init__(self, window: Window) -> None:
        super().__init__(SENTENCES.get(window.rate.namespace, errors.TOO_MANY))
        self.wait = window.wait


class RateLimitMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not (settings.RATE_LIMITS and request.path_info.startswith(LIMITED)):
            return self.get_response(request)
        exceeded = _exceeded(_spend(request, [(REQUESTS, 1)], "address", address(request)))
        response = errors.too_many(exceeded.wait) if exceeded else self.get_response(request)
        _write_headers(request, response)
        return response


class Throttle(BaseThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:
        """Raises TooMany."""
        if not settings.RATE_LIMITS:
            return True
        whose = ("account", str(request.user.pk)) if request.user else ("address", address(request))
        counts = [(REQUESTS, 1)] if request.user else []  # the middleware has counted the address
        counts += [(rate, _cost(rate, request)) for rate in view.rates.get(request.method, ())]
        if exceeded := _exceeded(_spend(request, counts, *whose)):
            raise TooMany(exceeded)
        return True


def _cost(rate: RateLimitItem, request: Request) -> int:
    """What a post goes to, as the author's account was a few seconds ago: so it needs no look of its own."""
    if rate is not PUSHES:
        return 1
    author: Any = request.user
    return 0 if author.home_mode == HomeMode.PULL else int(author.followers_count)


def refused(request: HttpRequest | Request, rate: RateLimitItem, *whose: tuple[str, str]) -> Window | None:
    """Counts this request by each of these, such as ("address", "192.0.2.1"). The window in which there were too many."""
    if not settings.RATE_LIMITS:
        return None
    return _exceeded([window for one in whose for window in _spend(request, [(rate, 1)], *one)])


def sign_in_refused(request: HttpRequest | Request, name: str) -> Window | None:
    """Counts a try to sign in: of the address, and of the name, which may be tried from many addresses."""
    whose = ("address", address(request)), ("name", checksum(name.strip().lower()))
    return refused(request, SIGN_INS, *whose)


def exhausted(rate: RateLimitItem, kind: str, who: str) -> Window | None:
    """The window, if more than it has was asked for. Counts nothing."""
    if not settings.RATE_LIMITS:
        return None
    key = rate.key_for(kind, who)
    asking = get_redis_connection("default").pipeline(transaction=False).get(key).pttl(key)
    try:
        used, left = asking.execute()
    except redis.RedisError:
        window = Window(rate, (kind, who), _here().get(key), 0, _here().get_expiry(key))
    else:
        window = Window(rate, (kind, who), int(used or 0), 0, time.time() + left / 1000)
    return window if window.left < 0 else None


def address(request: HttpRequest | Request) -> str:
    """Who counts as one caller: an IPv4 address, or the /64 of an IPv6 one, all of which is usually one customer's."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.TRUST_PROXY else ""
    return caller(forwarded, request.META.get("REMOTE_ADDR", ""))


def caller(forwarded: str, peer: str) -> str:
    """`forwarded`: what a proxy of ours says, or nothing. The last one in its list is what that proxy itself saw."""
    found = forwarded.rpartition(",")[2].strip() or peer
    if ":" in found:
        with suppress(ValueError):
            whole = ipaddress.IPv6Address(found.partition("%")[0])
            return str(whole.ipv4_mapped or ipaddress.IPv6Network((int(whole) >> 64 << 64, 64)))
    return found


def _spend(request: HttpRequest | Request, counts: Iterable[tuple[RateLimitItem, int]], *whose: str) -> list[Window]:
    """Counts this request, in one round trip; the windows as they are then. What costs nothing is not counted."""
    costs = [(rate, cost) for rate, cost in counts if cost]
    counting = get_redis_connection("default").pipeline(transaction=False)
    for rate, cost in costs:
        key = rate.key_for(*whose)
        counting.incrby(key, cost).expire(key, rate.get_expiry(), nx=True).pttl(key)
    try:
        counted = counting.execute()
    except redis.RedisError:
        metrics.rate_limits_skipped.inc()
        found = [] if request.method in SAFE_METHODS else [_counted_here(rate, cost, whose) for rate, cost in costs]
    else:
        now = time.time()
        found = [
            Window(rate, (whose[0], whose[1]), used, cost, now + left / 1000)
            for (rate, cost), used, left in zip(costs, counted[::3], counted[2::3], strict=True)
        ]
    request.META.setdefault("feedsvc.windows", []).extend(found)
    return found


@cache
def _here() -> MemoryStorage:
    return MemoryStorage()


def _counted_here(rate: RateLimitItem, cost: int, whose: tuple[str, ...]) -> Window:
    """While Redis is away: by this process alone, so that in all there may be as many times more as there are processes."""
    if len(_here().storage) > HERE_MOST:
        _here().reset()
    key = rate.key_for(*whose)
    used = _here().incr(key, rate.get_expiry(), cost)
    return Window(rate, (whose[0], whose[1]), used, cost, _here().get_expiry(key))


def _exceeded(windows: list[Window]) -> Window | None:
    found = next((window for window in windows if window.over), None)
    if found:
        metrics.rate_limited.labels(found.rate.namespace).inc()
        if found.first_over:
            _note(found.rate.namespace, *found.whose)
    return found


def _note(limit: str, kind: str, who: str) -> None:
    """Once a window, for whoever runs the service."""
    logs.say(log, "limited", limit=limit, **{kind: who})
    noting = get_redis_connection("default").pipeline(transaction=False)
    noting.zadd(REFUSALS, {f"{limit}/{kind}/{who}": time.time()})
    noting.zremrangebyrank(REFUSALS, 0, -REFUSALS_KEPT - 1).expire(REFUSALS, REFUSALS_FOR)
    with suppress(redis.RedisError):  # the log has it
        noting.execute()


class Refusal(NamedTuple):
    """`who` is an account's id, an address, or the checksum of a name that was tried; `at`: the last time."""

    limit: str
    kind: str
    who: str
    at: datetime


def refusals() -> Iterator[Refusal]:
    """Who was refused of late, the latest first. Raises RedisError."""
    for member, at in get_redis_connection("default").zrevrange(REFUSALS, 0, -1, withscores=True):
        limit, kind, who = member.decode().split("/", 2)
        yield Refusal(limit, kind, who, datetime.fromtimestamp(at, UTC))


def _write_headers(request: HttpRequest, response: HttpResponse) -> None:
    if windows := request.META.get("feedsvc.windows"):
        tightest = min(windows, key=lambda window: window.left)
        response["X-RateLimit-Limit"] = str(tightest.rate.amount)
        response["X-RateLimit-Remaining"] = str(max(0, tightest.left))
        response["X-RateLimit-Reset"] = datetime.fromtimestamp(tightest.ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

"""For whoever runs the service: /healthz, /metrics, how long requests take."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django_redis import get_redis_connection
from kombu import Connection
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from feeds import logs, outbox, reconciler, replicas, timelines, verify
from feeds.metrics import http_seconds
from feeds.models import Heartbeat

from . import errors
from .auth import INVALID
from .errors import only_read
from .renderers import complete

ALIVE = timedelta(seconds=30)
APART = 10  # seconds between two clocks: with more, a fence may outlast its lease (docs/protocol.md, rule 4)

log = logging.getLogger("feeds.web")


class MeasureMiddleware:
    """How long requests take; their ids; and a line for each that may have changed something, or failed.

    It sees every answer, so it adds the headers that go with each.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        request_id = logs.new_id(request.META.get("HTTP_X_REQUEST_ID") if settings.TRUST_PROXY else None)
        logs.about([request_id])
        response = self.get_response(request)
        complete(request, response, request_id)
        # Labels must be few: the route and not the path, and no methods that clients made up.
        route = request.resolver_match.route.rstrip("/") if request.resolver_match else "none"
        method = request.method if request.method in ("GET", "POST", "PUT", "PATCH", "DELETE") else "other"
        seconds = time.perf_counter() - began
        _seconds(method, route, response.status_code).observe(seconds)
        if response.status_code >= 400 or request.method not in ("GET", "HEAD", "OPTIONS"):
            page = route.startswith(("admin/", "oauth/authorize"))  # there `user` would ask who it is, this late
            account = request.__dict__.get("_cached_user" if page else "user")
            status, who = response.status_code, getattr(account, "pk", None)
            logs.say(log, "request", method=method, route=route, status=status, seconds=round(seconds, 4), account=who)
        logs.about(())
        return response


@cache
def _seconds(method: str, route: str, status: int) -> Any:
    """To look for it among the others takes as long as to observe."""
    return http_seconds.labels(method, route, status)


@only_read
def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as PostgreSQL answers: without the other parts the service is late or slow, not down.

    `clocks` is down when two of PostgreSQL's, Redis's and this process's are too far apart. In production the parts are
    for whoever has METRICS_TOKEN: to ask them all costs connections, and tells an attacker what is away.
    """
    if not _may_look(request):
        up = _postgresql_clock() is not None
        return JsonResponse({"status": "up" if up else "down"}, status=200 if up else 503)
    ahead_of_ours = clocks()
    parts = {"postgresql": "postgresql" in ahead_of_ours, "redis": "redis" in ahead_of_ours and timelines.ping()}
    parts |= {"cache": _cache(), "broker": _broker()}
    if settings.REPLICAS:
        parts["replicas"] = all(lag <= settings.REPLICA_MAX_LAG for lag in replicas.lags().values())
    seen = _seen() if parts["postgresql"] else set()
    parts |= {part: part in seen for part in ("relay", "workers", "beat")}
    parts["clocks"] = spread(ahead_of_ours) <= APART
    status = "up" if all(parts.values()) else "degraded" if parts["postgresql"] else "down"
    shown = {part: "up" if up else "down" for part, up in parts.items()}
    return JsonResponse({"status": status, "parts": shown}, status=200 if parts["postgresql"] else 503)


def _may_look(request: HttpRequest) -> bool:
    """With METRICS_TOKEN who shows it; without one everybody, but in production nobody."""
    if not settings.METRICS_TOKEN:
        return not settings.PRODUCTION
    shown = request.META.get("HTTP_AUTHORIZATION", "").encode(errors="replace")
    return secrets.compare_digest(shown, f"Bearer {settings.METRICS_TOKEN}".encode())


def _cache() -> bool:
    try:
        return bool(get_redis_connection("default").ping())
    except redis.RedisError:
        return False


def _broker() -> bool:
    """Whether one of them answers: relay and workers find it, too."""
    return any(_answers(address) for address in settings.BROKERS)


def _answers(broker_url: str) -> bool:
    options = {"socket_timeout": 1, "socket_connect_timeout": 1} if settings.ON_REDIS else {}
    tls = settings.CELERY_BROKER_USE_SSL or False
    with Connection(broker_url, ssl=tls, connect_timeout=1, transport_options=options) as broker:
        try:
            broker.transport.close_connection(broker.transport.establish_connection())
        except Exception:  # each transport has its own; whichever it was, the broker did not answer
            return False
    return True


def clocks() -> dict[str, float]:
    """By how many seconds the clocks that count are ahead of this process's. Who does not answer is not in it."""
    found = {"postgresql": ahead(_postgresql_clock), "redis": ahead(timelines.clock)}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def ahead(ask: Callable[[], float | None]) -> float | None:
    """What the asking took is no difference: of the moments from its beginning to its end each is right."""
    began, theirs, ended = time.time(), ask(), time.time()
    return None if theirs is None else theirs - min(max(theirs, began), ended)


def spread(ahead_of_ours: dict[str, float]) -> float:
    """The most seconds between any two clocks, ours among them."""
    each = [0.0, *ahead_of_ours.values()]
    return max(each) - min(each)


def _postgresql_clock() -> float | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            seconds: float = cursor.fetchone()[0]
    except DatabaseError:
        return None
    return seconds


def _seen() -> set[str]:
    return set(Heartbeat.objects.filter(seen_at__gt=Now() - ALIVE).values_list("part", flat=True))


@only_read
def metrics(request: HttpRequest) -> HttpResponse:
    """What was counted (in every process, where PROMETHEUS_MULTIPROC_DIR lets them share it), and what waits now."""
    if not _may_look(request):
        if not settings.METRICS_TOKEN:
            return errors.not_found(request)
        return JsonResponse({"error": INVALID}, status=401, headers={"WWW-Authenticate": 'Bearer realm="feedsvc"'})
    counted = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)
    waiting = CollectorRegistry()
    waiting.register(Waiting())
    return HttpResponse(generate_latest(counted) + generate_latest(waiting), content_type=CONTENT_TYPE_LATEST)


class Waiting(Collector):
    """Gauges read from the rows. Without PostgreSQL there are none, but `feedsvc_postgresql_up` to say so.

    And what the last look at a few timelines found: its drift, how many it compared, and when.
    """

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            found = {f"outbox_{name}": value for name, value in outbox.gauges().items()} | reconciler.gauges()
        except DatabaseError:
            found = {}
        yield GaugeMetricFamily("feedsvc_postgresql_up", "Whether PostgreSQL answered", value=bool(found))
        for name, value in found.items():
            yield GaugeMetricFamily(f"feedsvc_{name}", name.replace("_", " "), value=value)
        skew = GaugeMetricFamily(
            "feedsvc_clock_skew_seconds", "Seconds that a clock is ahead of the web process's", labels=["clock"]
        )
        for name, seconds in clocks().items() if found else ():
            skew.add_metric([name], seconds)
        yield skew
        behind = GaugeMetricFamily(
            "feedsvc_replica_lag_seconds", "Seconds that a replica is behind, at most", labels=["replica"]
        )
        for replica, seconds in replicas.lags().items() if found else ():
            behind.add_metric([replica], seconds)
        yield behind
        for name, value in verify.last_look().items():
            yield GaugeMetricFamily(f"feedsvc_timeline_{name}", f"{name.replace('_', ' ')}: verify_sample", value=value)


def streaming(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Of a client that took for granted that streams are here: they have a process of their own."""
    return HttpResponseRedirect(settings.STREAMING_URL.replace("ws", "http", 1) + request.get_full_path())

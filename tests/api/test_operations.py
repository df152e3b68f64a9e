"""Health, metrics and rate limits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django_redis import get_redis_connection
from rest_framework.test import APIClient

from feeds import metrics, timelines, verify
from feeds.api import auth, operations, throttling
from feeds.models import Heartbeat
from feedsvc.run import Instance
from followers.models import Account, HomeMode
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, star, token

pytestmark = pytest.mark.django_db

PARTS = {"postgresql", "redis", "cache", "broker", "relay", "workers", "beat", "clocks"}


def test_health_names_each_part(api: Any) -> None:
    Heartbeat.objects.record("relay")
    Heartbeat.objects.create(part="beat", seen_at=Now() - timedelta(seconds=31))
    answer = api().get("/healthz")
    assert answer.status_code == 200
    assert set(answer.json()["parts"]) == PARTS
    up = {part for part, state in answer.json()["parts"].items() if state == "up"}
    assert up == {"postgresql", "redis", "cache", "broker", "relay", "clocks"}
    assert answer.json()["status"] == "degraded"


def test_metrics_show_requests_by_route_and_what_waits(api: Any) -> None:
    post = PostFactory()
    api().get(f"/api/v1/statuses/{post.pk}")
    text = api().get("/metrics").content.decode()
    assert 'feedsvc_http_seconds_count{method="GET",route="api/v1/statuses/<id:post_id>",status="200"}' in text
    assert "feedsvc_outbox_unsent 4.0" in text
    assert "feedsvc_deliveries_open 1.0" in text
    assert "feedsvc_postgresql_up 1.0" in text


def test_metrics_show_what_the_last_look_at_timelines_found(api: Any) -> None:
    assert "feedsvc_timeline_drift" not in api().get("/metrics").content.decode()
    AccountFactory()
    verify.look()
    text = api().get("/metrics").content.decode()
    assert "feedsvc_timeline_drift 0.0" in text
    assert "feedsvc_timeline_compared 1.0" in text
    assert "feedsvc_timeline_seen_at 1." in text


def test_the_clocks_of_this_machine_agree(api: Any) -> None:
    assert operations.clocks().keys() == {"postgresql", "redis"}
    text = api().get("/metrics").content.decode()
    shown = dict(re.findall(r'feedsvc_clock_skew_seconds{clock="(.*)"} (.*)', text))
    assert shown.keys() == {"postgresql", "redis"}
    assert all(abs(float(seconds)) < 1 for seconds in shown.values())


def test_a_clock_that_is_too_far_from_another_is_named_by_health(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, state in ((8, "up"), (12, "down"), (-12, "down")):
        monkeypatch.setattr(timelines, "clock", lambda seconds=seconds: time.time() + seconds)
        assert api().get("/healthz").json()["parts"]["clocks"] == state
    assert 'feedsvc_clock_skew_seconds{clock="redis"} -1' in api().get("/metrics").content.decode()


def test_what_asking_for_a_clock_takes_is_no_difference() -> None:
    def slow(ahead: float) -> float:
        found = time.time() + ahead
        time.sleep(0.2)
        return found

    assert operations.ahead(lambda: slow(0)) == operations.ahead(lambda: slow(0.1)) == 0
    assert operations.ahead(lambda: slow(60)) == pytest.approx(59.8, abs=0.15)
    assert operations.ahead(lambda: slow(-60)) == pytest.approx(-60, abs=0.15)
    assert operations.ahead(lambda: None) is None
    assert operations.spread({}) == 0
    assert operations.spread({"postgresql": -6.0}) == 6
    assert operations.spread({"postgresql": -6.0, "redis": 5.0}) == 11


@pytest.fixture
def limited(settings: Any) -> None:
    settings.RATE_LIMITS = True


def use_up(*whose: str) -> None:
    rate = throttling.REQUESTS
    get_redis_connection("default").set(rate.key_for(*whose), rate.amount, ex=rate.get_expiry())


def test_every_answer_says_how_much_is_left(api: Any, limited: None) -> None:
    alice = api(AccountFactory())
    answers = [
        alice.get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.1"),
        alice.get("/api/v1/nowhere", REMOTE_ADDR="192.0.2.1"),
        api().get("/api/v1/timelines/home", REMOTE_ADDR="192.0.2.1"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 401]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["299", "298", "297"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"300"}
    assert all(answer.headers["X-RateLimit-Reset"].endswith("Z") for answer in answers)


def test_too_many_requests_are_refused_by_account_and_by_address(api: Any, limited: None) -> None:
    alice = AccountFactory()
    caller = api(alice)
    use_up("account", str(alice.pk))
    by_account = caller.get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.2")
    use_up("address", "192.0.2.3")
    by_address = api().get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.3")
    for answer in (by_account, by_address):
        assert (answer.status_code, answer.json()) == (429, {"error": "Too many requests"})
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert api().get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.4").status_code == 200


def test_deletes_have_a_limit_of_their_own(api: Any, limited: None) -> None:
    alice = api(AccountFactory())
    codes = [alice.delete("/api/v1/statuses/1", REMOTE_ADDR="192.0.2.5").status_code for _ in range(31)]
    assert codes == [404] * 30 + [429]
    assert alice.get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.5").status_code == 200


def test_sign_ups_have_a_limit_by_address(api: Any, limited: None) -> None:
    def codes(tries: int, **address: str) -> list[int]:
        newcomer = APIClient(raise_request_exception=False)
        newcomer.credentials(HTTP_AUTHORIZATION=f"Bearer {token(None)}")
        return [newcomer.post("/api/v1/accounts", {}, **address).status_code for _ in range(tries)]

    assert codes(4, REMOTE_ADDR="192.0.2.6") == [422] * 4
    assert codes(2, REMOTE_ADDR="192.0.2.6") == [422, 429]
    assert codes(1, REMOTE_ADDR="192.0.2.7") == [422]


def test_behind_a_proxy_of_ours_the_address_is_what_it_saw(api: Any, limited: None, settings: Any) -> None:
    def left(**headers: str) -> str:
        return api().get("/api/v1/timelines/public", **headers).headers["X-RateLimit-Remaining"]

    assert left(HTTP_X_FORWARDED_FOR="192.0.2.8") == "299"
    assert left(HTTP_X_FORWARDED_FOR="192.0.2.9") == "298"  # nobody vouches for the header
    settings.TRUST_PROXY = True
    assert left(HTTP_X_FORWARDED_FOR="made up, 192.0.2.8") == "299"
    assert left(HTTP_X_FORWARDED_FOR="something else, 192.0.2.8") == "298"


def test_a_window_ends_when_it_said_it_would(api: Any, limited: None) -> None:
    for left in ("299", "298"):
        answer = api().get("/api/v1/timelines/public")
        assert answer.headers["X-RateLimit-Remaining"] == left
    cache, key = get_redis_connection("default"), throttling.REQUESTS.key_for("address", "127.0.0.1")
    assert 295 < cache.ttl(key) <= 300
    cache.expire(key, 100)
    api().get("/api/v1/timelines/public")
    assert cache.ttl(key) <= 100  # further requests put nothing off


@pytest.fixture
def no_cache(services: Instance) -> Iterator[None]:
    services.stop("cache")
    yield
    services.start("cache")
    eventually(lambda: get_redis_connection("default").ping(), "the cache is back")
    throttling._here().reset()


def test_without_redis_reads_go_on_and_each_process_counts_writes_by_itself(
    api: Any, limited: None, no_cache: None
) -> None:
    alice = api(AccountFactory())
    read = alice.get("/api/v1/timelines/public")
    assert (read.status_code, "X-RateLimit-Limit" in read.headers) == (200, False)
    assert alice.post("/api/v1/statuses", {"status": "hello"}).status_code == 200
    answers = [alice.delete("/api/v1/statuses/1", REMOTE_ADDR="192.0.2.10") for _ in range(31)]
    assert [answer.status_code for answer in answers] == [404] * 30 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 1800
    assert alice.get("/api/v1/timelines/public", REMOTE_ADDR="192.0.2.10").status_code == 200


def test_a_post_counts_for_as_many_timelines_as_it_goes_to(api: Any, limited: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(throttling.PUSHES, "amount", 5)
    author, _ = star(3)
    stranger, caller = AccountFactory(), api(author)
    answers = [caller.post("/api/v1/statuses", {"status": f"post {n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]  # 3, and 6: the last may be above
    assert answers[2].json() == {"error": throttling.SENTENCES["pushes"]}
    assert 3500 < int(answers[2].headers["Retry-After"]) <= 3600
    original = PostFactory(author=stranger)
    assert caller.post(f"/api/v1/statuses/{original.pk}/reblog").status_code == 429
    followed_by_nobody = api(stranger)
    assert all(followed_by_nobody.post("/api/v1/statuses", {"status": "x"}).status_code == 200 for _ in range(6))


def test_an_audience_larger_than_the_limit_gets_one_post_an_hour(api: Any, limited: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(throttling.PUSHES, "amount", 2)
    author, _ = star(3)
    caller = api(author)
    assert [caller.post("/api/v1/statuses", {"status": "x"}).status_code for _ in range(2)] == [200, 429]
    Account.objects.filter(pk=author.pk).update(home_mode=HomeMode.PULL)
    auth.forget_tokens()
    assert caller.post("/api/v1/statuses", {"status": "pulled"}).status_code == 200  # nothing is pushed


@pytest.mark.parametrize("limit", ["POSTS", "FOLLOWS", "APPS"])
def test_posts_follows_and_registrations_have_limits(api: Any, limited: None, monkeypatch: Any, limit: str) -> None:
    monkeypatch.setattr(getattr(throttling, limit), "amount", 2)
    caller, bob = api(AccountFactory()), AccountFactory()
    form = {"client_name": "a client", "redirect_uris": "https://example.org/"}
    deeds = {
        "POSTS": lambda: caller.post("/api/v1/statuses", {"status": "x"}),
        "FOLLOWS": lambda: caller.post(f"/api/v1/accounts/{bob.pk}/follow"),
        "APPS": lambda: api().post("/api/v1/apps", form, REMOTE_ADDR="192.0.2.11"),
    }
    answers = [deeds[limit]() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json() == {"error": throttling.SENTENCES[limit.lower()]}
    assert int(answers[2].headers["Retry-After"]) > 0
    assert answers[2].headers["X-RateLimit-Limit"] == "2"


def test_who_was_refused_is_logged_once_a_window_and_listed(
    api: Any, limited: None, monkeypatch: Any, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    monkeypatch.setattr(throttling.FOLLOWS, "amount", 1)
    alice, bob = AccountFactory.create_batch(2)
    caller = api(alice)
    before = metrics.rate_limited.labels("follows")._value.get()
    with caplog.at_level("INFO", "feeds.web"):
        codes = [caller.post(f"/api/v1/accounts/{bob.pk}/follow").status_code for _ in range(4)]
    assert codes == [200, 429, 429, 429]
    said = [record.facts for record in caplog.records if record.message == "limited"]
    assert said == [{"limit": "follows", "account": str(alice.pk)}]
    assert metrics.rate_limited.labels("follows")._value.get() == before + 3
    call_command("limited")
    assert f"follows  account {alice.pk} {alice.username}" in capsys.readouterr().out


def test_a_network_of_ipv6_is_one_caller(api: Any, limited: None) -> None:
    def left(address: str) -> str:
        return api().get("/api/v1/timelines/public", REMOTE_ADDR=address).headers["X-RateLimit-Remaining"]

    assert [left(one) for one in ("2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1")] == ["299", "298", "299"]
    assert [left(one) for one in ("192.0.2.12", "::ffff:192.0.2.12")] == ["299", "298"]


def test_metrics_are_for_who_shows_the_token(api: Any, settings: Any) -> None:
    assert api().get("/metrics").status_code == 200  # in development
    settings.PRODUCTION = True
    assert api().get("/metrics").status_code == 404
    assert api().get("/healthz").json() == {"status": "up"}
    settings.METRICS_TOKEN = "a token of operators"
    for shown in ({}, {"HTTP_AUTHORIZATION": "Bearer nonsense"}, {"HTTP_AUTHORIZATION": "Bearer \udcff"}):
        answer = api().get("/metrics", **shown)
        assert (answer.status_code, answer.json()) == (401, {"error": "The access token is invalid"})
        assert api().get("/healthz", **shown).json() == {"status": "up"}
    shown = {"HTTP_AUTHORIZATION": f"Bearer {settings.METRICS_TOKEN}"}
    assert b"feedsvc_http_seconds" in api().get("/metrics", **shown).content
    assert api().get("/healthz", **shown).json()["parts"]["postgresql"] == "up"

"""Log lines: facts, and the ids of the requests that they are about."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from feeds import logs, outbox, tasks
from feeds.models import Outbox
from tests.factories import AccountFactory, PostFactory, star

log = logging.getLogger("feeds.test")


@pytest.fixture
def said(caplog):
    """What is logged meanwhile, as each formatter writes it."""
    caplog.set_level(logging.INFO)
    written: list[tuple[dict, str]] = []
    line = logs.Line("{levelname} {name}: {message}", style="{")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append((json.loads(logs.JSON().format(record)), line.format(record)))

    handler = Handler()
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)
    logs.about(())


def test_a_line_has_its_facts_and_the_ids_of_what_it_is_about(said):
    logs.say(log, "began", task="x", nothing=None)
    logs.about(["a", None, "a"])
    logs.say(log, "went on")
    logs.about(["a", "b"])
    log.warning("ended: %s", "badly")
    found = [{name: value for name, value in line.items() if name not in ("time", "logger")} for line, _ in said]
    assert found == [
        {"level": "INFO", "message": "began", "task": "x"},
        {"level": "INFO", "message": "went on", "request_id": "a"},
        {"level": "WARNING", "message": "ended: badly", "request_ids": ["a", "b"]},
    ]
    assert [text for _, text in said] == [
        "INFO feeds.test: began task=x",
        "INFO feeds.test: went on request_id=a",
        "WARNING feeds.test: ended: badly request_ids=a,b",
    ]


def test_an_error_is_one_object_too():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = log.makeRecord(log.name, logging.ERROR, __file__, 1, "it failed", (), sys.exc_info())
    written = logs.JSON().format(record)
    assert "\n" not in written
    assert "ValueError: two\nlines" in json.loads(written)["exception"]


@pytest.mark.django_db
def test_each_answer_names_its_request_and_a_change_is_one_line(api, said):
    author = AccountFactory()
    answer = api(author).post("/api/v1/statuses", {"status": "hello"})
    [(line, _)] = said
    assert line["request_id"] == answer["X-Request-Id"] and line["seconds"] > 0
    assert (line["method"], line["route"], line["status"], line["account"]) == (
        "POST",
        "api/v1/statuses",
        200,
        author.pk,
    )
    assert set(Outbox.objects.values_list("request_id", flat=True)) == {answer["X-Request-Id"]}
    again = api(author).get("/api/v1/timelines/home")
    assert again["X-Request-Id"] != answer["X-Request-Id"]
    assert len(said) == 1, "what only reads is no line"
    assert api().get("/api/v1/timelines/home").status_code == 401
    assert (said[1][0]["status"], "account" in said[1][0]) == (401, False)


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'a"b', "a\nb"])
def test_an_id_is_taken_from_a_trusted_proxy_if_it_is_sane(api, settings, given):
    assert api().get("/healthz", HTTP_X_REQUEST_ID="mine-1")["X-Request-Id"] != "mine-1"
    settings.TRUST_PROXY = True
    assert api().get("/healthz", HTTP_X_REQUEST_ID="mine-1")["X-Request-Id"] == "mine-1"
    assert api().get("/healthz", HTTP_X_REQUEST_ID=given)["X-Request-Id"] != given


@pytest.mark.django_db
def test_what_a_follow_or_an_edit_asks_for_knows_its_request(api):
    author, [reader] = star(1)
    answer = api(reader).post(f"/api/v1/accounts/{author.pk}/unfollow")
    assert Outbox.objects.get(task="sync_pair").request_id == answer["X-Request-Id"]
    outbox.record("follow.deleted", 1, 2)
    assert Outbox.objects.get(task="sync_pair", subject_id=1).request_id is None


@pytest.mark.django_db
def test_a_message_of_many_posts_is_about_all_their_requests(said):
    for name in ("a", "b"):
        logs.about([name])
        PostFactory()
    logs.about(())
    found = Outbox.objects.filter(task="fan_out_post")
    with outbox.claimed(list(found.values_list("pk", flat=True))) as works:
        assert [work.request_id for work in works] == ["a", "b"]
        log.info("at work")
    assert said[-1][0]["request_ids"] == ["a", "b"]


@pytest.mark.django_db
def test_a_batch_that_is_driven_by_anybody_knows_its_posts_request(settings, said):
    settings.FANOUT_BATCH = 1
    logs.about(["a"])
    post = PostFactory(author=star(2)[0])
    logs.about(())
    tasks.fanout.plan(post.pk, "push")
    tasks.push_batch_alone(post.pk, "push", 1, closed_by="reconciler")
    line = said[-1][0]
    assert (line["message"], line["post"], line["batch"], line["result"], line["request_id"]) == (
        "batch",
        post.pk,
        1,
        "done",
        "a",
    )

"""A fan-out's progress, as it happens."""

from __future__ import annotations

from feeds import fanout
from feeds.models import Kind
from tests.conftest import eventually
from tests.factories import AccountFactory, PostFactory, star


def test_a_fan_out_is_watched_until_it_is_done(listen, api, settings):
    settings.FANOUT_BATCH = 10
    author, _ = star(25)
    post = PostFactory(author=author)
    both = [listen(author, f"delivery/{post.pk}") for _ in range(2)]
    assert [one.next()[1]["state"] for one in both] == ["planned"] * 2
    assert fanout.plan(post.pk, Kind.PUSH) == 3
    kind, report = both[0].next()
    assert (kind, report["state"], report["batches"]["total"]) == ("delivery", "running", 3)
    for number in range(3):
        fanout.deliver(post.pk, Kind.PUSH, number)
    fanout.finish(post.pk, Kind.PUSH, "callback")

    def last():
        return (report := both[0].next()[1])["finished_at"] and report

    report = eventually(last, "the last event")
    assert (report["state"], report["delivered"], report["batches"]["done"]) == ("done", 25, 3)
    now = api(author).get(f"/api/v1/statuses/{post.pk}/delivery").json()
    assert {**report, "tasks": now["tasks"]} == now
    assert both[0].next() is None, "the stream ends with it"
    late = listen(author, f"delivery/{post.pk}")
    assert (late.next()[1], late.next()) == (report, None)


def test_a_delivery_is_the_authors_and_staffs(listen):
    author, [reader] = star(1)
    post, private = PostFactory(author=author), PostFactory(author=author, visibility="private")
    assert listen(reader, f"delivery/{post.pk}").status == 403
    assert listen(AccountFactory(), f"delivery/{private.pk}").status == 404
    assert listen(AccountFactory(is_staff=True), f"delivery/{post.pk}").next()[1]["id"] == str(post.pk)

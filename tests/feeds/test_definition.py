"""The service against the definition: a small world is driven through the API, in any order, and every page compared.

The background work runs to its end, or a task here and a batch there, in any order; a batch may be held in the middle of
its push while the world goes on. What is still on its way may be missing from a page; nothing else may, and nothing may
be on it that the definition leaves out.

`make test` takes the same 400 steps each time; `make test-long` other 20,000. A failing example is shrunk, and printed as
a script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from random import Random
from typing import Any

import greenlet
import hypothesis.strategies as st
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from rest_framework.test import APIClient

from feeds import departures, outbox, rebuild, tasks, timelines, verify
from feeds import models as rows
from feeds.redis_client import client
from followers import models as accounts
from tests.factories import token
from tests.feeds.definition import Post, World, home

LONG = "LONG" in os.environ
STEPS, EXAMPLES, ENOUGH = (40, 530, 20_000) if LONG else (40, 12, 400)
AT_FIRST, PEOPLE = 5, 6
TAGS = ["cats", "dogs"]
SMALL = {
    "TIMELINE_LIMIT": 4,
    "TIDY_EVERY": 3,
    "FANOUT_BATCH": 2,
    "PULL_ABOVE": 3,
    "PULL_BELOW": 3,
    "FENCE": 3600,  # an example runs in one transaction, where now() stands still
    "LEASE": 4000,
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher", "feeds.api.hashers.ClientSecretHasher"],
}

RELATIONS = """
    follow follow follow follow_without_reblogs unfollow unfollow block unblock mute unmute
    put_on_an_exclusive_list put_on_a_list delete_the_lists lock lock unlock accept accept reject
    """.split()

KINDS = "publish publish publish reply reply reblog reblog edit delete".split()
WRITING = ("push_batch_alone", "fan_out_post", "retract_post", "sync_pair", "rebuild_timeline")

WEIGHTS = {
    "write": 8,
    "relate": 5,
    "work": 4,
    "hold": 4,
    "let_go": 2,
    "work_off": 1,
    "register": 1,
    "follow_tag": 1,
    "suffer": 1,
    "compare_cursors": 2,
}


@st.composite
def deeds(draw: Callable[[Any], int]) -> tuple[str, dict[str, Any]]:
    """Something that happens, with its details. Of a number, since the library would rather have simple things happen, and
    the same ones again; it still shrinks a failing example to the deeds that matter."""
    chance = Random(draw(st.integers(0, (1 << 48) - 1)))
    who, whom = chance.sample(range(PEOPLE), 2)
    [name] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    details: dict[str, Any] = {
        "write": {
            "author": who,
            "kind": chance.choice(KINDS),
            "which": int(chance.expovariate(0.3)),
            "visibility": chance.choice(["public", "public", "unlisted", "private", "direct"]),
            "names": set(chance.sample(range(PEOPLE), chance.choice([0, 0, 1, 2]))),
            "tags": set(chance.sample(TAGS, chance.choice([0, 0, 1]))),
        },
        "relate": {"who": who, "whom": whom, "verb": chance.choice(RELATIONS)},
        "work": {"order": [chance.randrange(64) for _ in range(chance.randint(1, 8))]},
        "hold": {"which": chance.randrange(64), "place": chance.choice(["before", "after"])},
        "let_go": {"which": chance.randrange(64)},
        "follow_tag": {"who": who, "tag": chance.choice(TAGS), "on": chance.random() < 0.7},
        "suffer": {"who": who, "what": chance.choice(["stay_away", "stay_away", "lose_redis"])},
        "compare_cursors": {
            "reader": who,
            "limit": chance.randint(1, 7),
            "place": chance.randrange(64),
            "off": chance.choice([-33, -32, -1, 0, 1, 32]),
        },
    }
    return name, details.get(name, {})


class HomeTimelines(RuleBasedStateMachine):
    steps = 0

    @initialize()
    def begin(self) -> None:
        """Everybody follows three others, one follower below the threshold of pull accounts, and has posted."""
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        client().flushdb()
        cache.clear()
        self.world = World()
        self.accounts: list[accounts.Account] = []
        self.clients: list[APIClient] = []
        self.locked: set[int] = set()
        self.asked: dict[tuple[int, int], bool] = {}  # who waits for whom, and whether to see reblogs
        self.in_hand: list[greenlet.greenlet] = []
        self.turn = 0
        for _ in range(AT_FIRST):
            self.register()
        for who in range(AT_FIRST):
            for other in range(1, 4):
                self.follow(who, (who + other) % AT_FIRST)
        for author in range(AT_FIRST):
            self.publish(author, "public", {"names": set(), "tags": {TAGS[author % 2]}})
        self.work_off()

    def teardown(self) -> None:
        if hasattr(self, "atomic"):
            try:
                self.let_all_go()
                self.work_off()
                for reader in range(len(self.accounts)):
                    self.compare_all_pages(reader, limit=3)
                report = verify.verify()
                assert report.right and not report.in_flight, report.examples
            finally:
                transaction.set_rollback(True)
                self.atomic.__exit__(None, None, None)

    @rule(deed=deeds())
    def step(self, deed: tuple[str, dict[str, Any]]) -> None:
        """One rule for all: of many the library would try a few at a time, and nobody writes where nobody reads."""
        name, fields = deed
        there = len(self.accounts)
        whoever = {key: fields[key] % there for key in ("author", "reader", "who", "whom") if key in fields}
        if "names" in fields:
            whoever["names"] = {place % there for place in fields["names"]}
        getattr(self, name)(**fields | whoever)

    # What people do

    def register(self) -> None:
        if len(self.accounts) < PEOPLE:
            name = f"person{len(self.accounts)}"
            form = {"username": name, "email": f"{name}@example.org", "password": "correct horse", "agreement": True}
            client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token(None)}")
            answer = client.post("/api/v1/accounts", form, format="json").json()
            self.clients.append(APIClient(HTTP_AUTHORIZATION=f"Bearer {answer['access_token']}"))
            self.accounts.append(accounts.Account.objects.get(username=name))

    def call(self, who: int, method: str, path: str, **fields: Any) -> Any:
        answer = getattr(self.clients[who], method)(f"/api/v1/{path}", fields, format="json")
        assert answer.status_code in (200, 403, 404), (method, path, fields, answer.status_code, answer.content)
        return answer.json() if answer.status_code == 200 else None

    def text(self, names: set[int], tags: set[str]) -> str:
        return " ".join(["x", *(f"@{self.accounts[name].username}" for name in names), *(f"#{tag}" for tag in tags)])

    def pk(self, place: int) -> int:
        return self.accounts[place].pk

    def write(self, author: int, kind: str, which: int, visibility: str, **said: Any) -> None:
        """A post, or something done to the post before `which` others."""
        posts = list(self.world.posts.values())
        if kind == "publish":
            self.publish(author, visibility, said)
        elif posts:
            post = posts[-1 - which % len(posts)]
            if kind == "reply":
                self.publish(author, visibility, said, to=post)
            else:
                getattr(self, kind)(author, post, said)

    def publish(self, author: int, visibility: str, said: dict[str, Any], to: Post | None = None) -> None:
        answer = {"in_reply_to_id": str(to.id)} if to else {}
        status = self.call(author, "post", "statuses", status=self.text(**said), visibility=visibility, **answer)
        if status:
            answered = (to.original or to).author if to else None
            self.add(Post(int(status["id"]), author, visibility, said["names"], said["tags"], replied_to=answered))

    def reblog(self, author: int, post: Post, said: Any = None) -> None:
        status = self.call(author, "post", f"statuses/{post.id}/reblog")
        if status and int(status["id"]) not in self.world.posts:
            self.add(Post(int(status["id"]), author, status["visibility"], original=post.original or post))

    def add(self, post: Post) -> None:
        self.world.posts[post.id] = post

    def edit(self, author: int, post: Post, said: dict[str, Any]) -> None:
        """By its author, whoever else is chosen."""
        status = self.call(post.author, "put", f"statuses/{post.id}", status=self.text(**said))
        assert (status is None) == (post.deleted or post.original is not None)
        if status:
            post.mentions, post.tags = said["names"], said["tags"]

    def delete(self, author: int, post: Post, said: Any = None) -> None:
        assert (self.call(post.author, "delete", f"statuses/{post.id}") is None) == post.deleted
        post.deleted = True

    def relate(self, who: int, whom: int, verb: str) -> None:
        if who != whom:
            getattr(self, verb)(who, whom)

    def follow(self, who: int, whom: int, reblogs: bool = True) -> None:
        if self.call(who, "post", f"accounts/{self.pk(whom)}/follow", reblogs=reblogs):
            if whom in self.locked and (who, whom) not in self.world.follows:
                self.asked[who, whom] = reblogs
            else:
                self.accepted(who, whom)
                self.world.follows[who, whom] = reblogs

    def accepted(self, who: int, whom: int) -> None:
        if (who, whom) in self.asked:
            self.world.follows[who, whom] = self.asked.pop((who, whom))

    def accept(self, who: int, whom: int) -> None:
        answer = self.call(who, "post", f"follow_requests/{self.pk(whom)}/authorize")
        self.accepted(whom, who)
        assert bool(answer) == ((whom, who) in self.world.follows)

    def reject(self, who: int, whom: int) -> None:
        answer = self.call(who, "post", f"follow_requests/{self.pk(whom)}/reject")
        assert bool(answer) == (self.asked.pop((whom, who), None) is not None)

    def lock(self, who: int, whom: int) -> None:
        self.call(who, "patch", "accounts/update_credentials", locked=True)
        self.locked.add(who)

    def unlock(self, who: int, whom: int) -> None:
        """Who waits is accepted by a task, see `do`."""
        self.call(who, "patch", "accounts/update_credentials", locked=False)
        self.locked.discard(who)

    def follow_without_reblogs(self, who: int, whom: int) -> None:
        self.follow(who, whom, reblogs=False)

    def unfollow(self, who: int, whom: int) -> None:
        self.call(who, "post", f"accounts/{self.pk(whom)}/unfollow")
        self.end_follow(who, whom)

    def end_follow(self, who: int, whom: int) -> None:
        self.asked.pop((who, whom), None)
        self.world.follows.pop((who, whom), None)
        self.world.exclusive.discard((who, whom))

    def block(self, who: int, whom: int) -> None:
        self.call(who, "post", f"accounts/{self.pk(whom)}/block")
        self.world.blocks.add((who, whom))
        self.end_follow(who, whom)
        self.end_follow(whom, who)

    def unblock(self, who: int, whom: int) -> None:
        self.call(who, "post", f"accounts/{self.pk(whom)}/unblock")
        self.world.blocks.discard((who, whom))

    def mute(self, who: int, whom: int) -> None:
        self.call(who, "post", f"accounts/{self.pk(whom)}/mute")
        self.world.mutes.add((who, whom))

    def unmute(self, who: int, whom: int) -> None:
        self.call(who, "post", f"accounts/{self.pk(whom)}/unmute")
        self.world.mutes.discard((who, whom))

    def put_on_an_exclusive_list(self, who: int, whom: int, exclusive: bool = True) -> None:
        made = self.call(who, "post", "lists", title="a list", exclusive=exclusive)
        added = self.call(who, "post", f"lists/{made['id']}/accounts", account_ids=[str(self.pk(whom))])
        if exclusive and added is not None:
            self.world.exclusive.add((who, whom))

    def put_on_a_list(self, who: int, whom: int) -> None:
        self.put_on_an_exclusive_list(who, whom, exclusive=False)

    def delete_the_lists(self, who: int, whom: int) -> None:
        for one in self.call(who, "get", "lists"):
            self.call(who, "delete", f"lists/{one['id']}")
        self.world.exclusive = {(owner, member) for owner, member in self.world.exclusive if owner != who}

    def follow_tag(self, who: int, tag: str, on: bool) -> None:
        self.call(who, "post", f"tags/{tag}/{'follow' if on else 'unfollow'}")
        (self.world.tags.add if on else self.world.tags.discard)((who, tag))

    # What happens to them

    def suffer(self, who: int, what: str) -> None:
        getattr(self, what)(who)

    def stay_away(self, who: int) -> None:
        long_ago = timezone.now() - timezone.timedelta(days=settings.INACTIVE_DAYS + 1)
        accounts.Account.objects.filter(pk=self.pk(who)).update(last_active_at=long_ago, evicted_at=None)
        departures.evict_inactive()
        assert timelines.ids(self.pk(who)) is None

    def lose_redis(self, who: int) -> None:
        client().flushdb()

    # The background work

    def work(self, order: list[int]) -> None:
        """Some tasks of the outbox, and some batches, in any order."""
        for which in order:
            if work := self.open_work():
                self.do(*work[which % len(work)])

    def work_off(self) -> None:
        while work := self.open_work():
            self.do(*work[0])

    def open_work(self) -> list[tuple[str, Any]]:
        """Tasks, each with the rows of one message, or with one of them alone; and batches."""
        open_rows = rows.Outbox.objects.filter(done_at=None, lease_until=None).order_by("id")
        found = list(open_rows.values_list("task", "id", "attempts"))
        open_batches = rows.Batch.objects.filter(state="open", lease_until=None).order_by("post_id", "kind", "batch_no")
        return [
            *outbox.messages(found),
            *((task, [row_id]) for task, row_id, _ in found),
            *(("push_batch_alone", batch) for batch in open_batches.values_list("post_id", "kind", "batch_no")),
        ]

    def do(self, task: str, work: Any) -> None:
        if task == "push_batch_alone":
            tasks.push_batch_alone(*work)
            return
        if rows.Outbox.objects.filter(pk__in=work, waited=True).exists():
            self.let_all_go()  # its time comes when the leases that it waits for are over, and so are their holders
        result = getattr(tasks, task)(work)
        if task == "accept_requests":
            for unlocked in rows.Outbox.objects.filter(pk__in=work).values_list("subject_id", flat=True):
                whom = next(place for place, account in enumerate(self.accounts) if account.pk == unlocked)
                for pair in [pair for pair in self.asked if pair[1] == whom and whom not in self.locked]:
                    self.accepted(*pair)
        if task in outbox.CHAINED:
            getattr(tasks, outbox.CHAINED[task])(result)

    def hold(self, which: int, place: str) -> None:
        """Starts some work, and stops it before, or after, it first writes to a timeline; if it comes to that."""
        if writing := [work for work in self.open_work() if work[0] in WRITING]:
            worker = greenlet.greenlet(lambda: self.do(*writing[which % len(writing)]))
            worker.place = place
            worker.switch()
            if not worker.dead:
                self.in_hand.append(worker)

    def let_go(self, which: int) -> None:
        if self.in_hand:
            self.in_hand.pop(which % len(self.in_hand)).switch()

    def let_all_go(self) -> None:
        while self.in_hand:
            self.let_go(0)

    # The comparison

    def compare_cursors(self, reader: int, limit: int, place: int, off: int) -> None:
        """One page by each cursor, from near any post of the world, or from nowhere near one."""
        known = sorted(self.world.posts)
        cursor = max(0, (known[place % len(known)] if known else place) + off)
        expected = self.expected(reader)
        older = [post for post in expected if post < -(-cursor // 32) * 32]
        newer = [post for post in expected if post > cursor // 32 * 32]
        assert self.page(reader, limit=limit, max_id=cursor)[0] == older[:limit]
        assert self.page(reader, limit=limit, since_id=cursor)[0] == newer[:limit]
        if not self.on_their_way(reader):
            assert self.page(reader, limit=limit, min_id=cursor)[0] == newer[-limit:]

    def compare_all_pages(self, reader: int, limit: int) -> None:
        """From the newest down to the oldest, from the oldest up to the newest, and what came since one in the middle."""
        expected, shown, max_id = self.expected(reader), list[int](), None
        while True:
            found, max_id = self.page(reader, limit=limit, max_id=max_id)
            shown += found
            if max_id is None:
                break
        assert shown == expected
        if expected:
            middle = self.turn % len(expected)
            assert self.page(reader, limit=limit, since_id=expected[middle])[0] == expected[:middle][:limit]
        if not self.on_their_way(reader):  # below the coverage PostgreSQL serves pages upwards, and lacks nothing
            shown, min_id = [], 0
            while found := self.page(reader, limit=limit, min_id=min_id)[0]:
                shown, min_id = found + shown, found[0]
            assert shown == expected

    @invariant()
    def one_home_is_right_and_everybodys_first_page(self) -> None:
        if hasattr(self, "turn"):
            self.turn += 1
            type(self).steps += 1
            for reader in range(len(self.accounts)):
                limit = 1 + (self.turn + reader) % 8
                assert self.page(reader, limit=limit)[0] == self.expected(reader)[:limit]
            self.compare_all_pages(self.turn % len(self.accounts), limit=2 + self.turn % 5)

    def page(self, reader: int, **cursor: int | None) -> tuple[list[int], int | None]:
        given = {name: value for name, value in cursor.items() if value is not None}
        answer = self.clients[reader].get("/api/v1/timelines/home", given)
        assert answer.status_code in (200, 206)
        older = re.search(r'max_id=(\d+)[^>]*>; rel="next"', answer.headers.get("Link", ""))
        return [int(status["id"]) for status in answer.json()], int(older[1]) if older else None

    def expected(self, reader: int) -> list[int]:
        return home(self.world, reader, without=self.on_their_way(reader))

    def on_their_way(self, reader: int) -> frozenset[int]:
        """Pushed posts that are not stored yet, and why that may be so: an open delivery, or an open work row of the two."""
        stored = timelines.page(self.pk(reader), below=1 << 58, above=0, count=1000)
        if stored is None:
            return frozenset()
        theirs = rows.Outbox.objects.filter(subject_id=self.pk(reader), task="sync_pair", done_at=None)
        authors = set(theirs.values_list("object_id", flat=True))
        missing = rows.Post.objects.filter(home_mode="push", id__gt=stored.cover).exclude(pk__in=stored.ids)
        pushing = rows.Delivery.objects.filter(kind="push").exclude(state="closed").values("post")
        moving = missing.filter(Q(pk__in=pushing) | Q(author__in=authors)).values_list("pk", flat=True)
        return frozenset(post for post in moving if not self.is_fetched(reader, self.world.posts[post]))

    def is_fetched(self, reader: int, post: Post) -> bool:
        """By each page from PostgreSQL: no delivery is needed."""
        return post.author == reader or any((reader, tag) in self.world.tags for tag in post.tags)


@pytest.mark.django_db
def test_home_timelines_are_what_the_definition_says(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        setattr(settings, name, value)
    monkeypatch.setattr(rebuild, "POLL", 0)
    hold_at_writes(monkeypatch)
    run_state_machine_as_test(
        HomeTimelines,
        settings=hypothesis_settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not LONG,
            database=None,
            deadline=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert HomeTimelines.steps >= ENOUGH


def hold_at_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a worker that is to be held stop before its first call of Redis, or after it. The call itself is the real one."""

    def holding(call: Callable[..., Any]) -> Callable[..., Any]:
        def held(*args: Any, **kwargs: Any) -> Any:
            worker = greenlet.getcurrent()
            place, worker.place = getattr(worker, "place", None), None
            if place == "before":
                worker.parent.switch()
            result = call(*args, **kwargs)
            if place == "after":
                worker.parent.switch()
            return result

        return held

    for verb in ("push", "push_many", "remove", "sync", "fill", "finish"):
        monkeypatch.setattr(timelines, verb, holding(getattr(timelines, verb)))

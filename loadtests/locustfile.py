"""What the people of a load test do, for Locust. They are of five kinds, and check what they are answered.

A user is no person but a client that acts for one account after another: `--pace` actions a second, from the beginning of
one to the beginning of the next, as long as answers come fast enough for that. How many users of each kind there are
(`weight`) only sees to it that each is there. How often each kind acts is worked out of shape.json, so that the mix is
right for any multiple of twenty users.

Accounts and tokens come from `python -m loadtests prepare`. This file needs Locust alone: neither Django nor the stores.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.runners import WorkerRunner

from loadtests import shape

SHAPE = shape.stored()
CYCLE = 10  # seconds in which every tenth of the record's minutes has its second
FAVOURITES = 1.0  # for each deed. An assumption: the record has none
REPEATS = 0.02  # of the posts, so many are sent once more under their Idempotency-Key, as after an answer that got lost
PAGE = 20  # posts of a page at most
RECENT: deque[str] = deque(maxlen=2_000)  # ids of posts that were seen here: what is answered, reposted, favoured
STATUSES, ACCOUNTS, HOME = "/api/v1/statuses", "/api/v1/accounts", "/api/v1/timelines/home"

Account = dict[str, Any]
Answer = Any  # Locust's response, with the JSON as `js`


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    file = os.environ.get("POPULATION") or str(Path(os.environ.get("RUN_DIR") or ".run") / "population.json")
    parser.add_argument("--population", default=file, help="the file that `python -m loadtests prepare` made")
    parser.add_argument("--reads-per-post", type=float, default=50.0, help="pages of home timelines for each post (50)")
    parser.add_argument("--pace", type=float, default=10.0, help="actions of each user in a second (10)")


@events.test_start.add_listener
def read_population(environment: Any, **_: Any) -> None:
    global people
    people = People(Path(environment.parsed_options.population))


@events.quitting.add_listener
def write_requests(environment: Any, **_: Any) -> None:
    """All that Locust knows, for results.py, beside its CSVs, which lack the last second and much of the distribution."""
    prefix, runner = environment.parsed_options.csv_prefix, environment.runner
    if prefix and not isinstance(runner, WorkerRunner):
        found = {
            "entries": [entry.serialize() for entry in environment.stats.entries.values()],
            "errors": [error.serialize() for error in environment.stats.errors.values()],
            "exceptions": [{"count": one["count"], "message": one["msg"]} for one in runner.exceptions.values()],
        }
        Path(f"{prefix}_requests.json").write_text(json.dumps(found))


class People:
    """The accounts, in the order of their followers, and who of them does what."""

    def __init__(self, file: Path) -> None:
        population = json.loads(file.read_text())
        everybody: list[Account] = population["accounts"]
        few = population["celebrities"]
        self.everybody = everybody
        self.readers = [one for one in everybody if one["following"]]
        self.authors, self.celebrities = Drawn(everybody[:-few], "weight"), Drawn(everybody[-few:], "weight")
        self.followees = Drawn(everybody, "followers")


class Drawn:
    """Accounts, each drawn as often as its figure says."""

    def __init__(self, accounts: list[Account], figure: str) -> None:
        self.accounts = accounts
        self.sums = list(accumulate(one[figure] + 1e-9 for one in accounts))  # all may be 0

    def draw(self) -> Account:
        return random.choices(self.accounts, cum_weights=self.sums)[0]


people: People


class Person(FastHttpUser):
    abstract = True
    host = os.environ.get("BASE_URL", "http://127.0.0.1:8000")
    network_timeout = connection_timeout = 20.0  # seconds
    me: Account = {}  # for whom it acts now
    due = 0.0  # unix seconds

    def on_start(self) -> None:
        self.wait()  # not all of them at once

    def wait_time(self) -> float:
        """Until the next action, which is due at a moment of chance after the beginning of this one (a Poisson process)."""
        now = time.time()
        self.due = max(now, self.after(self.due or now, random.expovariate(self.per_second())))
        return self.due - now

    def per_second(self) -> float:
        """Actions of each user of this kind, so that all kinds together act as often as they do for each deed."""
        options, kinds = self.environment.parsed_options, self.environment.user_classes
        actions = per_deed(options.reads_per_post)
        there = sum(kind.weight for kind in kinds) / self.weight
        return options.pace * there * actions[type(self).__name__] / sum(actions.values())

    def after(self, moment: float, seconds: float) -> float:
        return moment + seconds

    def ask(self, method: str, path: str, body: Account | None = None, *, name: str = "", key: str = "") -> Any:
        """A request of `me`, in a `with` that gives the answer, with its JSON as `js`. `name`: the route, for the figures."""
        headers = {"Authorization": f"Bearer {self.me['token']}"} if self.me.get("token") else {}
        headers |= {"Idempotency-Key": key} if key else {}
        return self.rest(method, path, json=body, headers=headers, name=name or path)

    def relate(self, verb: str, account_id: str, *, following: bool) -> None:
        with self.ask("POST", f"{ACCOUNTS}/{account_id}/{verb}", name=f"{ACCOUNTS}/:id/{verb}") as answer:
            expect(answer, lambda relationship: relationship["following"] is following, f"following is not {following}")


class Writer(Person):
    """Acts in bursts, as the record's actors did."""

    abstract = True

    def after(self, moment: float, seconds: float) -> float:
        """The process is steady in a time of its own, which passes by the second as fast as that second is busy."""
        while True:
            end = int(moment) + 1
            passes = busy(int(moment)) * (end - moment)
            if seconds <= passes:
                return moment + seconds / passes * (end - moment)
            moment, seconds = end, seconds - passes

    def post(self, text: str, **more: str) -> None:
        body, key = {"status": text, **more}, secrets.token_hex(8)
        name = f"{STATUSES} (answer)" if more else STATUSES
        with self.ask("POST", STATUSES, body, name=name, key=key) as answer:
            right = expect(answer, lambda status: status["account"]["id"] == self.me["id"], "somebody else's post")
        if right:
            RECENT.append(answer.js["id"])
            if random.random() < REPEATS:
                self.post_again(body, key, answer.js["id"])

    def post_again(self, body: Account, key: str, post_id: str) -> None:
        with self.ask("POST", STATUSES, body, name=f"{STATUSES} (again)", key=key) as answer:
            expect(answer, lambda status: status["id"] == post_id, "a second post under the same Idempotency-Key")


def busy(second: int) -> float:
    """How busy a second is, 1 in the mean of a cycle. Processes whose clocks agree agree on it."""
    cycle, place = divmod(second, CYCLE)
    return random.Random(cycle).sample(SHAPE.minutes, CYCLE)[place]


def per_deed(reads_per_post: float) -> dict[str, float]:
    """Actions of each kind of people, for each deed of authors and celebrities together. Of the figures shape.json has three:
    who does the deeds, how many of them turn to somebody new, and how many are their actor's first.
    """
    return {
        "Reader": reads_per_post * 8 / 6,  # six of its eight are pages of home
        "Author": 1 - SHAPE.celebrity_deeds + FAVOURITES,
        "Celebrity": SHAPE.celebrity_deeds,
        "Follower": SHAPE.new_ties * 5 / 3,  # three of its five are follows
        "Newcomer": SHAPE.new_actors,
    }


class Reader(Person):
    """Opens home, pages down, looks for what is new, opens conversations, reads notifications."""

    weight = 14
    page: list[Account] = []

    def on_start(self) -> None:
        self.me = random.choice(people.readers)
        super().on_start()

    @task(2)
    def open_home(self) -> None:
        self.me, self.page = random.choice(people.readers), []
        self.read()

    @task(1)
    def page_down(self) -> None:
        self.read("max_id", self.page[-1]["id"]) if self.page else self.read()

    @task(3)
    def refresh(self) -> None:
        self.read(random.choice(("min_id", "since_id")), self.page[0]["id"]) if self.page else self.read()

    @task(1)
    def open_conversation(self) -> None:
        post_id = random.choice(self.page)["id"] if self.page else any_post()
        if post_id:
            with self.ask("GET", f"{STATUSES}/{post_id}/context", name=f"{STATUSES}/:id/context") as answer:
                expect(answer, lambda around: {"ancestors", "descendants"} <= around.keys(), "no conversation")

    @task(1)
    def read_notifications(self) -> None:
        with self.ask("GET", "/api/v1/notifications") as answer:
            expect(answer, lambda told: falling([one["id"] for one in told]), "notifications out of order")

    def read(self, name: str = "", bound: str = "") -> None:
        """A page with this one bound, or the newest one. The next bounds are taken from it, unless it is empty."""
        path, query = (f"{HOME}?{name}={bound}", f"{HOME}?{name}") if name else (HOME, HOME)
        within = below if name == "max_id" else above
        with self.ask("GET", path, name=query) as answer:
            right = expect(
                answer, lambda page: page_is_right(page) and within(page, bound), "no such page", partial=True
            )
        if right and answer.js:
            self.page = answer.js
            RECENT.extend((post["reblog"] or post)["id"] for post in self.page[:5])


class Author(Writer):
    """Reposts, answers, mentions and favours, by the shares of the record; the accounts by how much they did there."""

    weight = 3

    @task
    def act(self) -> None:
        self.me = people.authors.draw()
        deeds = {"RT": self.repost, "RE": self.answer, "MT": self.mention}
        chances = [SHAPE.kinds[kind] for kind in deeds]
        post_id = any_post()
        [deed] = random.choices([*deeds.values(), self.favour], [*chances, FAVOURITES]) if post_id else [self.mention]
        deed(post_id)

    def repost(self, post_id: str) -> None:
        with self.ask("POST", f"{STATUSES}/{post_id}/reblog", name=f"{STATUSES}/:id/reblog") as answer:
            expect(answer, lambda status: status["reblog"]["id"] == post_id, "another post was reblogged")

    def answer(self, post_id: str) -> None:
        self.post(f"An answer, {secrets.token_hex(4)}", in_reply_to_id=post_id)

    def mention(self, post_id: str) -> None:
        self.post(f"@{people.followees.draw()['name']} is mentioned, {secrets.token_hex(4)}")

    def favour(self, post_id: str) -> None:
        with self.ask("POST", f"{STATUSES}/{post_id}/favourite", name=f"{STATUSES}/:id/favourite") as answer:
            expect(answer, lambda status: status["favourited"], "not favoured")


class Celebrity(Writer):
    """Posts, as one of the most followed hundredth of the accounts."""

    weight = 1

    @task
    def announce(self) -> None:
        self.me = people.celebrities.draw()
        self.post(f"To all who follow: {secrets.token_hex(4)} #news")


class Follower(Person):
    """Follows whom many follow, unfollows, keeps a list."""

    weight = 1

    def on_start(self) -> None:
        self.followed: deque[tuple[Account, str]] = deque(maxlen=100)  # by whom, and whom
        super().on_start()

    @task(3)
    def follow(self) -> None:
        self.me, other = random.choice(people.everybody), people.followees.draw()
        if other is not self.me:
            self.relate("follow", other["id"], following=True)
            self.followed.append((self.me, other["id"]))

    @task(1)
    def unfollow(self) -> None:
        if self.followed:
            self.me, other = self.followed.popleft()
            self.relate("unfollow", other, following=False)

    @task(1)
    def keep_list(self) -> None:
        if self.followed:
            self.me, other = self.followed[-1]
            with self.ask("POST", "/api/v1/lists", {"title": "load"}) as answer:
                right = expect(answer, lambda made: made["title"] == "load", "no list was made")
            if right:
                self.use_list(answer.js["id"], other)

    def use_list(self, list_id: str, member: str) -> None:
        path, name = f"/api/v1/lists/{list_id}", "/api/v1/lists/:id"
        with self.ask("POST", f"{path}/accounts", {"account_ids": [member]}, name=f"{name}/accounts"):
            pass
        with self.ask("GET", f"/api/v1/timelines/list/{list_id}", name="/api/v1/timelines/list/:id") as answer:
            expect(answer, page_is_right, "no page")
        with self.ask("DELETE", path, name=name):
            pass


class Newcomer(Person):
    """Registers, looks at a home that may not be built yet (206), follows a few, looks again."""

    weight = 1
    application: Account = {}

    @task
    def arrive(self) -> None:
        if self.register():
            self.look()
            for _ in range(3):
                self.relate("follow", people.followees.draw()["id"], following=True)
            self.look()

    def register(self) -> bool:
        """As clients do it: an application (one for all that this user does), its own token, and by that an account."""
        if not self.application:
            asked = {
                "client_name": "load test",
                "redirect_uris": "urn:ietf:wg:oauth:2.0:oob",
                "scopes": "read write follow",
            }
            self.application = self.given("/api/v1/apps", asked, "client_id")
        grant = {name: self.application.get(name) for name in ("client_id", "client_secret")}
        grant |= {"grant_type": "client_credentials", "scope": "read write follow"}
        self.me = {"token": self.given("/oauth/token", grant, "access_token").get("access_token")}
        name, password = f"load_{secrets.token_hex(6)}", secrets.token_urlsafe(16)
        account = {"username": name, "email": f"{name}@example.org", "password": password, "agreement": True}
        self.me = {"token": self.given(ACCOUNTS, account, "access_token").get("access_token")}
        return self.me["token"] is not None

    def given(self, path: str, body: Account, what: str) -> Account:
        with self.ask("POST", path, body) as answer:
            right = expect(answer, lambda found: what in found, f"no {what}")
        return answer.js if right else {}

    def look(self) -> None:
        with self.ask("GET", HOME, name=f"{HOME} (newcomer)") as answer:
            expect(answer, page_is_right, "no page", partial=True)


def any_post() -> str:
    """The id of one that was seen, or nothing."""
    return random.choice(RECENT) if RECENT else ""


def expect(answer: Answer, right: Callable[[Any], bool], what: str, *, partial: bool = False) -> bool:
    """Whether the answer is right. If not the request has failed. `partial`: 206 will do, too."""
    if answer.status_code not in ((200, 206) if partial else (200,)):
        answer.failure(f"answered by {answer.status_code}" if answer.status_code else str(answer.error))
    elif answer.js is not None and not right(answer.js):
        answer.failure(what)
    else:
        return answer.js is not None
    return False


def page_is_right(page: list[Account]) -> bool:
    return len(page) <= PAGE and falling([post["id"] for post in page])


def falling(ids: list[str]) -> bool:
    return all(int(one) > int(next_) for one, next_ in pairwise(ids))


def below(page: list[Account], bound: str) -> bool:
    return all(int(post["id"]) < int(bound) for post in page)


def above(page: list[Account], bound: str) -> bool:
    return all(int(post["id"]) > int(bound or 0) for post in page)

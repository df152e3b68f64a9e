"""A steady load of posts over HTTP, and the record of what the service acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import requests

from tests.chaos.world import Graph

PATIENCE = 45  # seconds that a client goes on trying
TIMEOUT = 8  # seconds for one try


@dataclass
class Attempted:
    """A post as its client sees it: of which author, under which key, and the id that the service answered."""

    author: int  # its place in the graph
    key: str
    text: str
    post_id: str | None = None
    deleted: bool = False
    tries: list[tuple[int, float]] = field(default_factory=list)  # status (0: none) and seconds of each


class Caller:
    """A client of the API over HTTP, with a token."""

    def __init__(self, url: str, token: str) -> None:
        self.url = f"{url}/api/v1"
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return self._asked("GET", path)

    def post(self, path: str, **values: str) -> Any:
        return self._asked("POST", path, json=values)

    def delete(self, path: str) -> Any:
        return self._asked("DELETE", path)

    def _asked(self, method: str, path: str, **values: Any) -> Any:
        answer = requests.request(method, f"{self.url}/{path}", headers=self.headers, timeout=TIMEOUT, **values)
        assert answer.ok, answer.text
        return answer.json()


class Load:
    """Posts at a steady rate until it is left. A client whose try failed tries again, under the same Idempotency-Key."""

    def __init__(self, urls: list[str], graph: Graph, *, rate: float, seed: int, large_every: int = 12) -> None:
        """Each try goes to the next of the urls, those of all web processes."""
        self.root = urls[0]
        self.turns = itertools.cycle(f"{url}/api/v1/statuses" for url in urls)
        self.graph = graph
        self.rate = rate
        self.random = random.Random(seed)
        self.large_every = large_every
        self.posts: list[Attempted] = []
        self.ending = threading.Event()
        self.clients = ThreadPoolExecutor(8)
        self.clock = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self.clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.clock.join()
        self.clients.shutdown()

    def delete(self, post: Attempted) -> None:
        if not post.deleted:
            post.deleted = True
            Caller(self.root, self.graph.tokens[post.author]).delete(f"statuses/{post.post_id}")

    @property
    def acknowledged(self) -> list[Attempted]:
        return [post for post in self.posts if post.post_id]

    def wait(self, more: int, seconds: float = 30) -> None:
        """Until so many more posts are acknowledged."""
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + seconds
        while len(self.acknowledged) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        due = time.monotonic()
        while not self.ending.wait(max(0.0, due - time.monotonic())):
            self.clients.submit(self.publish, self._choose())
            due += 1 / self.rate

    def _choose(self) -> int:
        """Any author but the largest, whose turn comes now and then: it costs as much as all the others."""
        place = len(self.posts)
        largest = self.graph.largest()
        if place % self.large_every == self.large_every // 2:
            return largest
        return self.random.choice([author for author in range(len(self.graph.authors)) if author != largest])

    def publish(self, author: int) -> Attempted:
        number = len(self.posts)
        name = self.graph.readers[0].username
        post = Attempted(author, f"key {number}", f"post {number} for @{name}" if author == 1 else f"post {number}")
        self.posts.append(post)
        deadline = time.monotonic() + PATIENCE
        while not self.send(post) and time.monotonic() < deadline:
            time.sleep(0.5)
        return post

    def send(self, post: Attempted) -> bool:
        began = time.monotonic()
        try:
            answer = requests.post(
                next(self.turns),
                json={"status": post.text},
                headers={
                    "Authorization": f"Bearer {self.graph.tokens[post.author]}",
                    "Idempotency-Key": post.key,
                },
                timeout=TIMEOUT,
            )
        except requests.RequestException:
            post.tries.append((0, time.monotonic() - began))
            return False
        post.tries.append((answer.status_code, time.monotonic() - began))
        if answer.status_code == 200:
            post.post_id = answer.json()["id"]
        return answer.status_code == 200

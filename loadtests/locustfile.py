"""Load on the HTTP API: people who register, follow a few others, read their home timeline, and sometimes post.

    make load USERS=50 TIME=60s

Ends with a non-zero exit code if any request failed. The service should run with RATE_LIMITS=off: all come from one address.
"""

from __future__ import annotations

import os
import random
import secrets
from collections import deque
from typing import Any

from locust import FastHttpUser, between, events, task

FOLLOWS = 5  # of each new account, among those known
KNOWN: deque[str] = deque(maxlen=1_000)  # ids of accounts that registered here
PAGES = 3  # of the home timeline that a reader scrolls through

application: dict[str, str] = {}


class Person(FastHttpUser):
    """Registers as clients do: an application, its own token, an account."""

    abstract = True
    host = os.environ.get("BASE_URL", "http://127.0.0.1:8000")
    network_timeout = connection_timeout = 10.0
    wait_time = between(0.1, 1.0)

    def on_start(self) -> None:
        self.token = self.application_token()
        name = f"load_{secrets.token_hex(6)}"
        account = {
            "username": name,
            "email": f"{name}@example.org",
            "password": secrets.token_urlsafe(16),
            "agreement": True,
        }
        self.token = self.ask("POST", "/api/v1/accounts", account)["access_token"]
        self.account_id = self.ask("GET", "/api/v1/accounts/verify_credentials")["id"]
        for account_id in random.sample(KNOWN, min(FOLLOWS, len(KNOWN))):
            self.ask("POST", f"/api/v1/accounts/{account_id}/follow", name="/api/v1/accounts/:id/follow")
        KNOWN.append(self.account_id)

    def application_token(self) -> str:
        """One application for all of them."""
        if not application:
            asked = {"client_name": "load test", "redirect_uris": "urn:ietf:wg:oauth:2.0:oob", "scopes": "read write"}
            application.update(self.ask("POST", "/api/v1/apps", asked))
        return self.ask(
            "POST",
            "/oauth/token",
            {
                "grant_type": "client_credentials",
                "client_id": application["client_id"],
                "client_secret": application["client_secret"],
                "scope": "read write",
            },
        )["access_token"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, name: str | None = None) -> Any:
        """The answer's JSON; {} for a failed request, which Locust has counted."""
        return self.send(method, path, body, name).js or {}

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, name: str | None = None) -> Any:
        token = getattr(self, "token", None)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self.rest(method, path, json=body, headers=headers, name=name or path) as answer:
            return answer


class Reader(Person):
    weight = 4

    @task
    def scroll(self) -> None:
        path = "/api/v1/timelines/home"
        for _ in range(PAGES):
            page = self.send("GET", path, name="/api/v1/timelines/home").js
            if not page:
                return
            path = f"/api/v1/timelines/home?max_id={page[-1]['id']}"


class Author(Person):
    weight = 1

    @task(3)
    def post(self) -> None:
        status = self.ask("POST", "/api/v1/statuses", {"status": f"load {secrets.token_hex(4)}"})
        if status:
            self.ask("GET", f"/api/v1/statuses/{status['id']}/delivery", name="/api/v1/statuses/:id/delivery")

    @task(1)
    def read_own(self) -> None:
        self.ask("GET", f"/api/v1/accounts/{self.account_id}/statuses", name="/api/v1/accounts/:id/statuses")


@events.quitting.add_listener
def fail_on_failures(environment: Any, **_: Any) -> None:
    stats = environment.stats.total
    if stats.num_failures or not stats.num_requests:
        environment.process_exit_code = 1

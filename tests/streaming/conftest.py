"""The streaming process, on the tests' stores, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from websockets.sync.client import ClientConnection, connect

from feedsvc.run import Instance, healthy
from followers.models import Account
from tests import factories
from tests.conftest import eventually

from .clients import ADDRESS, ROOT, Events


@pytest.fixture
def process(_processes: Instance, transactional_db: None) -> Instance:
    """Running, and on Redis's channel."""
    _processes.start("streaming")
    eventually(streaming_answers, "the streaming process answers", 60)
    return _processes


def streaming_answers() -> bool:
    return healthy("127.0.0.1", str(settings.STREAMING_PORT), f"{ROOT}/health")


@pytest.fixture
def listen(process: Instance) -> Iterator[Callable[..., Events]]:
    """`listen(account, "user")`: the events of a stream by its path, heard from now on."""
    with ExitStack() as opened:

        def listen(account: Account, path: str, scopes: str = "read", **params: str) -> Events:
            return opened.enter_context(Events(path, factories.token(account, scopes), **params))

        yield listen


@pytest.fixture
def frames(process: Instance) -> Iterator[Callable[..., ClientConnection]]:
    """`frames(account, stream="user")`: a WebSocket."""
    with ExitStack() as opened:

        def frames(account: Account | None, scopes: str = "read", **params: Any) -> ClientConnection:
            token = factories.token(account, scopes)
            query = "&".join(f"{name}={value}" for name, value in params.items())
            headers = {"Authorization": f"Bearer {token}"}
            return opened.enter_context(connect(f"ws://{ADDRESS}{ROOT}?{query}", additional_headers=headers))

        yield frames

"""A message of each task as each release sent it: `RELEASE/TASK.json`, its headers, properties and body.

`tests/e2e/test_messages.py` publishes each and sees a worker run it, so that what an older release left in the broker still
runs after an upgrade; and compares what this release sends with what is recorded of it. With a new release, or a change of
a message within one, record:

    RECORD=1 make test ARGS="tests/e2e/test_messages.py -k sends"

What differs from one message to the next is recorded under a name, and gets a value of now when it is published:

    ROW, POST, TAG    the outbox row, the post and the hashtag that the task is about
    ID1, ID2, ...     ids of messages and chords
    SOON              when beat's messages expire
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RELEASE = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]["version"]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Message = dict[str, Any]


def read() -> list[tuple[str, str]]:
    """All that are recorded, as (release, task)."""
    return sorted((file.parent.name, file.stem) for file in HERE.glob("*/*.json"))


def load(release: str, task: str) -> Message:
    message: Message = json.loads((HERE / release / f"{task}.json").read_text())
    return message


def save(message: Message) -> None:
    file = HERE / RELEASE / f"{message['headers']['task']}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(message, indent=2, sort_keys=True) + "\n")


def named(message: Message, names: dict[int, str]) -> Message:
    """The message as it is recorded: with names for what differs each time."""
    ids: dict[str, str] = {}

    def name(value: Any) -> Any:
        if isinstance(value, str):
            for number, word in names.items():
                value = value.replace(str(number), word)
            return UUID.sub(lambda found: ids.setdefault(found[0], f"ID{len(ids) + 1}"), value)
        return names.get(value, value) if type(value) is int else value

    found: Message = walk(message, name)
    found["headers"]["origin"] = "recorded"
    if found["headers"]["expires"]:
        found["headers"]["expires"] = "SOON"
    return found


def filled(message: Message, values: dict[str, Any]) -> Message:
    """The message as it is published: with values for the names."""
    found: Message = walk(message, lambda value: values.get(value, value) if isinstance(value, str) else value)
    return found


def walk(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: walk(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [walk(inner, change) for inner in value]
    return change(value)

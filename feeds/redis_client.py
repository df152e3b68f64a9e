"""The connections to the Redis that holds home timelines, or to the cluster of several. Only timelines.py uses it.

To one server a script call goes by the thread's `own` connection. In a cluster `scatter` finds the nodes by redis-py's map of
the slots. docs/protocol.md, "A cluster", says what may go where; redis-py would follow a call for a whole bucket to where
the slot moves, and no call to a node that has no slots yet.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import redis
from django.conf import settings
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoScriptError,
    ResponseError,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig

ANSWERS_IN = 5.0  # seconds: a script call takes milliseconds
TRIES = 8  # of a call, whose slot may be on the move
REST = 0.02  # seconds before the third try, and before each further one twice as many: a second together
LOOK_EVERY = 1.0  # seconds, at the least: a new map takes some 10 ms
MOVING = object()
"""Instead of an answer: the slot is being moved, and a call with one key alone can be answered now."""


@cache
def client() -> Any:
    """One pool per process, or one per node of a cluster, made at first use. Every wait is bounded; a script call takes
    milliseconds.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": ANSWERS_IN,
        "socket_connect_timeout": 2,
        "health_check_interval": 30,
    }
    if not settings.REDIS_URL.startswith("unix"):
        options["socket_keepalive"] = True
    if not settings.REDIS_NODES:
        return redis.Redis.from_url(settings.REDIS_URL, **options)
    first, *others = settings.REDIS_NODES
    return RedisCluster.from_url(
        first,
        startup_nodes=[_start_node(**parse_url(other)) for other in others],
        require_full_coverage=False,  # where a part is lost the others go on
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **options,
    )


def _start_node(host: str = "localhost", port: int = 6379, **_: Any) -> ClusterNode:
    return ClusterNode(host, port)


def masters() -> list[redis.Redis]:
    """The one server, or those that have slots of the cluster now."""
    if not settings.REDIS_NODES:
        return [client()]
    _look()
    return [client().get_redis_connection(node) for node in client().get_primaries()]


def owner(key: str) -> ClusterNode:
    """The node of the cluster that has the key now, as far as is known."""
    return client().nodes_manager.get_node_from_slot(key_slot(key.encode()))


def by_master(keys: Sequence[str]) -> dict[redis.Redis, list[str]]:
    """The keys by who has them now."""
    if not settings.REDIS_NODES:
        return {client(): [*keys]}
    _look()
    found: dict[redis.Redis, list[str]] = {}
    for key in keys:
        found.setdefault(client().get_redis_connection(owner(key)), []).append(key)
    return found


_local = threading.local()


def own() -> Any:
    """A connection that is this thread's alone: to borrow one for each call takes longer than the call.

    It connects when it is used, and again after an error. A process that was forked makes others than its parent's.
    """
    connection = getattr(_local, "connection", None)
    if connection is None or connection.pid != os.getpid():
        connection = _local.connection = _connection_to(client())
    return connection


def own_to(node: ClusterNode) -> Any:
    """Such a connection to a node of the cluster."""
    connections: dict[str, Any] = _local.__dict__.setdefault("connections", {})
    connection = connections.get(node.name)
    if connection is None or connection.pid != os.getpid():
        connection = connections[node.name] = _connection_to(client().get_redis_connection(node))
    return connection


def _connection_to(server: redis.Redis) -> Any:
    pool = server.connection_pool
    return pool.connection_class(**pool.connection_kwargs | {"redis_connect_func": _bound_by_the_kernel})


def _bound_by_the_kernel(connection: Any) -> None:
    """Lets the kernel end what takes too long: Python would look at the socket before each call, and go on waiting for itself
    after each look where several threads run. With TLS that does not do: a read would begin again for ever.
    """
    connection.on_connect()
    sock = connection._sock
    if type(sock) is socket.socket:
        bound = struct.pack("ll", int(ANSWERS_IN), int(ANSWERS_IN % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        sock.settimeout(None)


class Call(NamedTuple):
    """A script's keys, all of one slot, and its arguments. With a single key it goes where that key is, if the slot moves."""

    keys: Sequence[str]
    args: Sequence[Any] = ()


def scatter(script: Any, calls: Sequence[Call]) -> list[Any]:
    """What the nodes of a cluster answer, in the order of the calls: all calls of a node at once, all nodes side by side.

    A call may run more than once. Raises one of database.REDIS_AWAY where a node is gone, or a slot comes to no rest.
    """
    answers: list[Any] = [None] * len(calls)
    to_do: dict[int, ClusterNode | None] = dict.fromkeys(range(len(calls)))  # by number; who is asked, if not the owner
    gone = False
    for tried in range(TRIES):
        if tried > 1:
            time.sleep(REST * 2 ** (tried - 2))
        asked, to_do = to_do, {}
        was_gone = gone
        for n, answer in _ask(script, calls, asked):
            if not isinstance(answer, Exception):
                answers[n] = answer
            elif isinstance(answer, MovedError):
                _move(answer)
                to_do[n] = None
            elif isinstance(answer, (AskError, TryAgainError)) and len(calls[n].keys) > 1:
                answers[n] = MOVING
            elif isinstance(answer, AskError):
                to_do[n] = ClusterNode(answer.host, answer.port)
            elif isinstance(answer, TryAgainError):
                to_do[n] = None
            elif isinstance(answer, NoScriptError):
                to_do[n] = asked[n]
            elif isinstance(answer, _GONE) and not was_gone:
                to_do[n] = None
                gone = True
            else:
                raise answer
        if not to_do:
            return answers
    raise TryAgainError("a slot of the cluster did not come to rest")


# Worth a second try, by a new map. What took long is not.
_GONE = (ConnectionError, ClusterDownError, SlotNotCoveredError)


def _ask(script: Any, calls: Sequence[Call], asked: dict[int, ClusterNode | None]) -> list[tuple[int, Any]]:
    """One round trip to each node that is concerned. Where there is no answer there is an exception."""
    found: list[tuple[int, Any]] = []
    lines: dict[ClusterNode, list[tuple[int | None, tuple[Any, ...]]]] = {}
    for n, node in asked.items():
        keys, args = calls[n]
        try:
            to_node = lines.setdefault(node or owner(keys[0]), [])
        except SlotNotCoveredError as error:
            found.append((n, error))
            _look()
            continue
        if node:
            to_node.append((None, ("ASKING",)))
        to_node.append((n, ("EVALSHA", script.sha, len(keys), *keys, *args)))
    connections = {node: own_to(node) for node in lines}
    try:
        failed = {node: _send(connections[node], [line for _, line in of_node]) for node, of_node in lines.items()}
        for node, of_node in lines.items():
            answers = _read_all(connections[node], len(of_node), script, failed[node])
            if isinstance(answers[-1], (ConnectionError, TimeoutError)):
                connections[node].disconnect()
                _look(node)
            found += [(n, answer) for (n, _), answer in zip(of_node, answers, strict=True) if n is not None]
    except BaseException:
        for connection in connections.values():
            connection.disconnect()  # the next call must not read an answer to this one
        raise
    return found


def _send(connection: Any, lines: Sequence[tuple[Any, ...]]) -> Exception | None:
    try:
        connection.send_packed_command([b"".join(connection.pack_commands(lines))])
    except (ConnectionError, TimeoutError) as error:
        return error
    return None


def _read_all(connection: Any, count: int, script: Any, error: Exception | None) -> list[Any]:
    """So many answers: after an error that one again and again. A server that does not know the script is given it."""
    answers: list[Any] = []
    for _ in range(count):
        answers.append(error or _read(connection))
        error = answers[-1] if isinstance(answers[-1], (ConnectionError, TimeoutError)) else None
    if not error and any(isinstance(answer, NoScriptError) for answer in answers):
        _send(connection, [("SCRIPT", "LOAD", script.script)]) or _read(connection)
    return answers


def _read(connection: Any) -> Any:
    """An answer, or the exception that is one."""
    try:
        return connection.read_response()
    except ResponseError as error:
        # What a script deletes of a slot that is being moved it can't make again here; it finds the key elsewhere then.
        return TryAgainError(str(error)) if "non local key" in str(error) else error
    except (ConnectionError, TimeoutError) as error:
        return error


def _move(moved: MovedError) -> None:
    """Notes who has a slot now."""
    try:
        client().nodes_manager.move_slot(moved)
    except KeyError:  # nobody had it
        _look()


_looked = 0.0


def _look(failed: ClusterNode | None = None) -> None:
    """Gets a new map of the slots, from another node than the one that failed. Not, if this one is fresh."""
    global _looked
    if time.monotonic() - _looked >= LOOK_EVERY:
        _looked = time.monotonic()
        client().nodes_manager.initialize(last_failed_node_name=failed and failed.name)

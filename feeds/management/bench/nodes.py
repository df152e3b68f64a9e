"""Redis servers of this machine made a cluster: for the bench, which starts its own, and for the tests' stack."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import redis

SLOTS = 16_384
PORTS = range(12_000, 19_998, 2)  # where neither the embedded stores are, nor the kernel looks for outgoing connections
READY_SECONDS = 30
CONF = """\
bind 127.0.0.1
port {port}
cluster-port {bus}
requirepass {password}
masterauth {password}
dir "{folder}"
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 5000
cluster-require-full-coverage no
repl-diskless-sync-delay 0
appendonly no
save ""
maxmemory-policy noeviction
"""
"""Of one server: its port, and the one that the others use, which is the next."""


def free_ports(count: int) -> list[int]:
    """So many, each with the next one free, too."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) < count and _is_free(port) and _is_free(port + 1):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def form(ports: Sequence[int], password: str, *, masters: int) -> None:
    """Makes empty servers a cluster: the first ones are masters that share the slots, the rest their replicas, in turn.

    Returns when it is well and the replicas follow. Raises TimeoutError.
    """
    nodes = [connect(port, password) for port in ports]
    for node in nodes:
        wait(partial(answers, node), "a node answers")
    for n, node in enumerate(nodes):
        node.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
        if n < masters:
            node.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS * n // masters, SLOTS * (n + 1) // masters - 1)
    for port in ports[1:]:
        nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, port + 1)
    ids = [node.execute_command("CLUSTER MYID") for node in nodes]
    for node in nodes:
        wait(partial(knows, node, ids), "the nodes have met")
    for n, node in enumerate(nodes[masters:]):
        node.execute_command("CLUSTER REPLICATE", ids[n % masters])
    for node in nodes:
        wait(partial(is_well, node), "the cluster is well")


def connect(port: int, password: str) -> redis.Redis:
    return redis.Redis(port=port, password=password, decode_responses=True, socket_timeout=5)


def answers(node: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        return bool(node.ping())
    return False


def knows(node: redis.Redis, ids: Sequence[str]) -> bool:
    seen = str(node.execute_command("CLUSTER NODES"))
    return all(one in seen for one in ids) and "handshake" not in seen


def is_well(node: redis.Redis) -> bool:
    replication = node.info("replication")
    well = node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
    return well and replication.get("master_link_status", "up") == "up"


def wait(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {READY_SECONDS} s: {what}")
        time.sleep(0.05)

"""The session's cluster (TIMELINES=cluster) as an operator and a fault see it: slots that move, masters that end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from redis.crc import key_slot

from feeds import timelines
from feeds.management.bench import nodes
from feedsvc.run import Instance
from tests.conftest import eventually


def slot_of(reader_id: int) -> int:
    return int(key_slot(timelines.key(reader_id).encode()))


class Node:
    def __init__(self, port: int) -> None:
        password = urlsplit(settings.REDIS_NODES[0]).password
        self.port, self.name = port, f"node-{port}"
        self.client = redis.Redis(port=port, password=password, decode_responses=True, socket_timeout=5)
        self.moves_with = ("AUTH", password)
        self.id = self.ask("CLUSTER MYID")

    def ask(self, *command: Any) -> Any:
        return self.client.execute_command(*command)


class Cluster:
    def __init__(self, services: Instance) -> None:
        self.services = services
        self.nodes = [Node(int(name.removeprefix("node-"))) for name in services.stores if name.startswith("node-")]

    def masters(self) -> list[Node]:
        return [node for node in self._running() if node.client.info("replication")["role"] == "master"]

    def is_at_rest(self) -> bool:
        """All of them are there, as all of them see it, and the replicas follow."""
        return all("fail" not in str(node.ask("CLUSTER NODES")) and nodes.is_well(node.client) for node in self.nodes)

    def owner(self, slot: int, but: Node | None = None) -> Node:
        """The master that has the slot, once all nodes say the same, and not the one that it was."""
        found: Node = eventually(lambda: self._agreed(slot, but), f"all nodes agree on who has slot {slot}")
        return found

    def _agreed(self, slot: int, but: Node | None) -> Node | None:
        ports = {ports[0] for node in self._running() if (ports := self._ports(node, slot))}
        return next((node for node in self.nodes if {node.port} == ports and node is not but), None)

    def _running(self) -> list[Node]:
        return [node for node in self.nodes if self.services.info(node.name)["statename"] == "RUNNING"]

    def _ports(self, node: Node, slot: int) -> list[int]:
        """Of who has the slot, the master first."""
        for first, last, *servers in node.ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                return [server[1] for server in servers]
        return []

    def another(self, than: Node) -> Node:
        """A master that has other slots."""
        ports = {master[1] for _, _, master, *_ in than.ask("CLUSTER SLOTS")} - {than.port}
        return next(node for node in self.nodes if node.port in ports)

    def replica(self, slot: int) -> Node:
        ports = eventually(lambda: self._ports(self.owner(slot), slot)[1:], "it has a replica")
        return next(node for node in self.nodes if node.port in ports)

    def buckets(self, node: Node) -> list[int]:
        """Those that the node has."""
        return [bucket for bucket in range(timelines.BUCKETS) if self._ports(node, slot_of(bucket))[0] == node.port]

    def join_anew(self, node: Node) -> None:
        """A replica becomes a master without slots, as one that has just been added."""
        node.ask("CLUSTER RESET", "SOFT")
        next(one for one in self.masters() if one is not node).ask(
            "CLUSTER MEET", "127.0.0.1", node.port, node.port + 1
        )
        eventually(lambda: all(self._has_as_master(one, node) for one in self._running()), "all know it as a master")
        eventually(lambda: nodes.is_well(node.client), "and it knows them")

    def _has_as_master(self, one: Node, node: Node) -> bool:
        lines = one.client.execute_command("CLUSTER NODES").values()
        return any(line["node_id"] == node.id and "master" in line["flags"] for line in lines)

    def begin_to_move(self, slot: int, to: Node) -> Node:
        """What valkey-cli does before the keys. Returns who had it."""
        old = self.owner(slot)
        to.ask("CLUSTER SETSLOT", slot, "IMPORTING", old.id)
        old.ask("CLUSTER SETSLOT", slot, "MIGRATING", to.id)
        return old

    def move_keys(self, slot: int, old: Node, to: Node, *keys: str) -> None:
        """All, if none is named."""
        while some := keys or old.ask("CLUSTER GETKEYSINSLOT", slot, 20):
            old.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *to.moves_with, "KEYS", *some)
            if keys:
                return

    def end_to_move(self, slot: int, old: Node, to: Node) -> None:
        for node in (to, old, *self.masters()):
            node.ask("CLUSTER SETSLOT", slot, "NODE", to.id)

    def move(self, slot: int, to: Node) -> None:
        old = self.begin_to_move(slot, to)
        self.move_keys(slot, old, to)
        self.end_to_move(slot, old, to)

    def set_timeout(self, milliseconds: int) -> None:
        """How long a node may be silent until the others take it for gone."""
        for node in self._running():
            node.ask("CONFIG SET", "cluster-node-timeout", milliseconds)

    @contextmanager
    def frozen(self, *nodes: Node) -> Iterator[None]:
        """To the others it is as if the network were cut."""
        pids = [self.services.pid(node.name) for node in nodes]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

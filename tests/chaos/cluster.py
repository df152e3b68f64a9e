"""A cluster of three RabbitMQs on this machine, made by the lines of docs/operations.md. Its clients speak TLS."""

from __future__ import annotations

import json
import os
import re
import secrets
import ssl
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import trustme
from amqp.exceptions import NotFound
from kombu import Connection

from feedsvc import embedded, run, workers
from feedsvc.celery import app
from feedsvc.embedded import Program
from tests.conftest import eventually

TOOL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
NODES = ("rabbit-a", "rabbit-b", "rabbit-c")  # the programs; the nodes are a@localhost, b@localhost, c@localhost
SMALL = "+S 1:1"  # of Erlang's threads: three nodes share the machine with all that the test is about
LINES = re.findall(r"^ +((?:cluster_|ssl_)\S+ = .*)$", (run.ROOT / "docs/operations.md").read_text(), re.MULTILINE)


class Cluster:
    """Its programs, for the Instance to run, and what the nodes say of it."""

    def __init__(self, folder: Path) -> None:
        """The folder's content is of a cluster before this one, and goes."""
        run.empty(folder)
        epmd = embedded.still_free(None, "a cluster", row=1 + 2 * len(NODES))
        ports = range(epmd + 1, epmd + 1 + 2 * len(NODES))
        password = secrets.token_urlsafe(24)
        embedded.write_private(folder / ".erlang.cookie", secrets.token_hex(20))
        (folder / ".erlang.cookie").chmod(0o400)
        erlang = embedded.erlang_env(folder, epmd_port=epmd)
        self.tls = _certificates(folder)
        lines = [re.sub(r"rabbit@(\w)", r"\1@localhost", line).replace("/etc/rabbitmq", str(folder)) for line in LINES]
        by_tls = embedded.RABBITMQ_CONF.replace("listeners.tcp.1", "listeners.tcp = none\nlisteners.ssl.1")
        self.programs = [replace(embedded.port_mapper(erlang), name="rabbit-epmd")]
        for name, port, dist_port in zip(NODES, ports[:3], ports[3:], strict=True):
            own = folder / name
            own.mkdir()
            embedded.write_private(own / "conf", by_tls.format(port=port, password=password) + "\n".join(lines) + "\n")
            node = embedded.rabbitmq_node(name, name[-1], own, own / "conf", dist_port=dist_port, erlang=erlang)
            self.programs.append(_thrifty(node))
        self.urls = [f"amqps://feedsvc:{password}@127.0.0.1:{port}//" for port in ports[:3]]
        self.url = ";".join(f"{url}?ssl_ca_certs={self.tls['ca_certs']}" for url in self.urls)

    def wait(self) -> None:
        """Until all three take clients: each does when it has joined the others. To ask rabbitmqctl takes seconds."""
        for url in self.urls:
            eventually(lambda url=url: self._answers(url), "a node answers", 60)

    def _answers(self, url: str) -> bool:
        with suppress(OSError), app.connection_for_read(url, ssl=self.tls) as broker:
            return bool(broker.connect())
        return False

    def connect(self) -> Connection:
        """To the first one that answers."""
        return app.connection_for_read(";".join(self.urls), ssl=self.tls)

    def served(self) -> bool:
        """Whether every queue that is for workers has one."""
        with self.connect() as broker:
            try:
                return all(
                    broker.default_channel.queue_declare(name, passive=True).consumer_count for name in workers.QUEUES
                )
            except NotFound:
                return False

    def queues(self) -> dict[str, dict[str, Any]]:
        """Of each queue its type, the node that leads it, the nodes that have a copy, and those of them that are up."""
        columns = ("name", "type", "leader", "members", "online")
        found = json.loads(self.ctl("list_queues", "--formatter", "json", "--silent", *columns))
        return {queue["name"]: queue for queue in found}

    def ctl(self, *command: str) -> str:
        """What rabbitmqctl says, about whichever node answers."""
        for program in self.programs[1:]:
            done = subprocess.run(
                embedded.dies_with_parent(TOOL, *command),
                env=os.environ | program.env,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            if done.returncode == 0:
                return done.stdout
        raise AssertionError(f"no node answers: {done.stdout}{done.stderr}")


def _certificates(folder: Path) -> dict[str, Any]:
    """Made for 127.0.0.1, where all three are. What a client needs."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    return {"ca_certs": str(folder / "ca.pem"), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}


def _thrifty(node: Program) -> Program:
    """With few threads; and nobody needs its data, so it need not end in order."""
    args = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
    return replace(node, stop_signal="KILL", env={**node.env, args: f"{node.env[args]} {SMALL}"})

"""Databases beside the tests' own, with the same tables and rows of their own: the service can be made to ask one of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from psycopg.sql import SQL, Identifier

from feedsvc import embedded


def url(name: str) -> str:
    """Of a database on the tests' server."""
    own = connection.settings_dict
    return f"postgres://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{name}"


@contextmanager
def made(name: str) -> Iterator[str]:
    """A database without anything in it, for a while. Its URL."""
    with psycopg.connect(url("postgres"), autocommit=True) as server:
        drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
        server.execute(drop)
        server.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        try:
            yield url(name)
        finally:
            server.execute(drop)


@contextmanager
def asked(name: str) -> Iterator[None]:
    """What the service asks in this thread meanwhile it asks of that database. The tests' own transaction waits."""
    own = connections[DEFAULT_DB_ALIAS]
    other = own.copy()
    other.settings_dict["NAME"] = name
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = own


def schema(section: str) -> str:
    """The SQL that makes the tests' database: 'pre-data' the tables, 'post-data' indexes and constraints."""
    return _tool("pg_dump", "--schema-only", f"--section={section}", url(connection.settings_dict["NAME"]))


def execute(database: str, script: str) -> None:
    """A script of many statements, as psql executes it. The first error ends it."""
    _tool("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", database, text=script)


def _tool(name: str, *args: str, text: str = "") -> str:
    scheme, _, rest = args[-1].partition("://")
    password = urlsplit(args[-1]).password or ""
    command = [str(embedded.postgres_bin() / name), *args[:-1], f"{scheme}://{rest.replace(f':{password}@', '@', 1)}"]
    done = subprocess.run(
        command,
        input=text,
        text=True,
        capture_output=True,
        env=os.environ | {"PGPASSWORD": password},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

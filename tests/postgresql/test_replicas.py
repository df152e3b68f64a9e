"""Reads that may lag are asked of a real replica of the tests' PostgreSQL, which is held back, frozen and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from django.conf import settings
from django.db import connections, router, transaction
from rest_framework.test import APIClient

from feeds import actions, database, metrics, replicas
from feeds.models import Post
from feedsvc import embedded
from feedsvc.run import Instance
from feedsvc.settings import replica as replica_settings
from tests.conftest import children, database_url, eventually, serve
from tests.factories import AccountFactory, PostFactory

pytestmark = pytest.mark.django_db(transaction=True)

Api = Callable[..., APIClient]
PUBLIC = "/api/v1/timelines/public"


@dataclass
class Replica:
    """A PostgreSQL that follows the tests' own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data = str(self.folder / "data")
        program = ("postgres", "-D", data, "-c", f"config_file={self.folder / 'postgres.conf'}")
        command = (str(embedded.postgres_bin() / program[0]), *program[1:])
        self.process = subprocess.Popen(
            (*embedded.as_someone_else(), *embedded.dies_with_parent(*command, signal="INT")),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
        )
        eventually(lambda: embedded.postgres_answers(self.url), "the replica answers")

    def stop(self, signum: int = signal.SIGINT) -> None:
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(20)
            self.process = None

    def everybody(self, signum: int) -> None:
        """Its sessions, too."""
        assert self.process
        for pid in (self.process.pid, *children(self.process.pid)):
            os.kill(pid, signum)

    @property
    def url(self) -> str:
        own = urlsplit(database_url())
        return f"postgres://{own.username}:{own.password}@127.0.0.1:{self.port}{own.path}"

    def ask(self, statement: str) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchone()

    def catch_up(self) -> None:
        [(stands,)] = database.rows("SELECT pg_current_wal_flush_lsn()::text")
        caught_up = f"SELECT pg_last_wal_replay_lsn() >= '{stands}'"
        eventually(lambda: self.ask(caught_up)[0], "the replica has caught up")


@pytest.fixture(scope="module")
def server(inhabited: Instance) -> Iterator[Replica]:
    """Copied from the tests' server while that goes on, as an operator does it."""
    own = urlsplit(database_url())
    folder = inhabited.run_dir / "postgres-replica"
    folder.mkdir(mode=0o700)
    made = Replica(folder, embedded.still_free(None, "the replica"))
    embedded.give_away(folder)
    copy = ("-h", own.hostname, "-p", str(own.port), "-U", own.username, "-D", str(folder / "data"))
    command = (str(embedded.postgres_bin() / "pg_basebackup"), *copy, "--write-recovery-conf", "--checkpoint=fast")
    subprocess.run(
        (*embedded.as_someone_else(), *command, "--no-sync"),
        env=os.environ | {"PGPASSWORD": own.password or ""},
        check=True,
        timeout=60,
    )
    conf = embedded.POSTGRES_CONF.format(data=folder / "data", port=made.port, fsync="off")
    embedded.write_private(folder / "postgres.conf", conf)
    embedded.give_away(folder / "postgres.conf")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


@pytest.fixture
def replica(server: Replica, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """It is what the settings name, and near; no look at it was made before."""
    if server.process is None:
        server.start()
    own = connections["default"]
    asked = connections.configure_settings({"default": {}, "replica1": replica_settings(server.url)})["replica1"]
    connections["replica1"] = type(own)(asked, alias="replica1")
    monkeypatch.setattr(replicas, "_replicas", replicas._Replicas())
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(replicas, "AWAY_FOR", 0.5)
    settings.REPLICAS, settings.REPLICA_MAX_LAG = ["replica1"], 300
    server.ask("SELECT pg_wal_replay_resume()")
    server.catch_up()
    try:
        yield server
    finally:
        if server.process is not None:
            server.ask("SELECT pg_wal_replay_resume()")
        connections["replica1"].close()
        del connections["replica1"]


def hold_back(replica: Replica) -> None:
    """From now on it stays as it is, and says so. It was near just now."""
    replica.catch_up()
    eventually(lambda: replicas.lags()["replica1"] < 1, "it is near")
    replica.ask("SELECT pg_wal_replay_pause()")
    paused = "SELECT pg_get_wal_replay_pause_state()"
    eventually(lambda: replica.ask(paused) == ("paused",), "the replay is paused")


def counted() -> tuple[float, float, float]:
    """Reads of replicas, and of the primary since none was near, and since one failed."""
    fallbacks = [metrics.replica_fallbacks.labels(reason)._value.get() for reason in ("lagging", "failed")]
    return (metrics.replica_reads._value.get(), *fallbacks)


def ids(client: APIClient, path: str = PUBLIC) -> list[int]:
    answer = client.get(path)
    assert answer.status_code == 200
    found = answer.json()
    return [int(one["id"]) for one in (found["statuses"] if isinstance(found, dict) else found)]


def test_anybodys_pages_come_from_the_replica_and_ones_own_from_the_primary(replica: Replica, api: Api) -> None:
    author = AccountFactory()
    old = PostFactory(author=author, text="about #tea")
    hold_back(replica)
    new = PostFactory(author=author, text="more about #tea")
    before = counted()
    pages = (PUBLIC, "/api/v1/timelines/tag/tea", f"/api/v1/accounts/{author.pk}/statuses")
    for path in pages:
        assert ids(api(), path) == [old.pk]
        assert ids(api(author), path) == [new.pk, old.pk]
    assert counted() == (before[0] + len(pages), *before[1:])


def test_what_is_deleted_is_shown_by_no_door_however_late_the_replica_is(
    replica: Replica, api: Api, drain: Any
) -> None:
    author, leaving = AccountFactory.create_batch(2)
    posts = PostFactory.create_batch(2, author=author, text="about tea #tea")
    original = PostFactory(author=leaving, text="about tea #tea")
    again = actions.reblog(author=author, original=original)
    drain()
    hold_back(replica)
    actions.delete_post(author=author, post_id=posts[0].pk)
    actions.delete_account(account=leaving)
    assert replica.ask("SELECT count(*) FROM feeds_post WHERE deleted_at IS NULL") == (4,)
    for path in (PUBLIC, "/api/v1/timelines/tag/tea", f"/api/v1/accounts/{author.pk}/statuses"):
        assert ids(api(), path) == [posts[1].pk]
    for client in (api(), api(author)):
        assert ids(client, "/api/v2/search?q=tea&type=statuses") == [posts[1].pk]
    assert again.pk not in ids(api(), f"/api/v1/accounts/{author.pk}/statuses")


def test_search_shows_nothing_of_whom_one_blocked_or_muted_just_now(replica: Replica, api: Api, drain: Any) -> None:
    reader, muted, blocked, follower = AccountFactory.create_batch(4)
    PostFactory(author=muted, text="tea")
    PostFactory(author=blocked, text="tea")
    actions.follow(follower=reader, followee_id=follower.pk)
    PostFactory(author=follower, text="tea", visibility="private")
    drain()
    search = "/api/v2/search?q=tea&type=statuses"
    replica.catch_up()
    assert len(ids(api(reader), search)) == 3
    hold_back(replica)
    actions.mute(account=reader, target_id=muted.pk)
    actions.block(blocker=blocked, blocked_id=reader.pk)
    actions.unfollow(follower=reader, followee_id=follower.pk)
    before = counted()
    assert ids(api(reader), search) == []
    assert counted()[0] == before[0] + 1


def test_a_page_of_which_some_were_deleted_goes_on_where_it_would_have(replica: Replica, api: Api) -> None:
    author = AccountFactory()
    posts = PostFactory.create_batch(6, author=author)
    hold_back(replica)
    for post in posts[2:5]:
        actions.delete_post(author=author, post_id=post.pk)
    first = api().get(f"{PUBLIC}?limit=3")
    assert [int(one["id"]) for one in first.json()] == [posts[5].pk]
    assert ids(api(), f"{PUBLIC}?limit=3&max_id={posts[3].pk}") == [posts[1].pk, posts[0].pk]
    assert f"max_id={posts[3].pk}" in first["Link"]


def test_one_that_is_too_far_behind_is_not_asked_until_it_has_caught_up(
    replica: Replica, api: Api, settings: Any
) -> None:
    settings.REPLICA_MAX_LAG = 1
    assert ids(api()) == []
    hold_back(replica)
    post = PostFactory()
    before = counted()
    eventually(lambda: ids(api()) == [post.pk], "the primary is asked", 5)
    assert counted()[1] > before[1]
    assert replicas.lags()["replica1"] > 1
    replica.ask("SELECT pg_wal_replay_resume()")
    reads = counted()[0]
    eventually(lambda: ids(api()) == [post.pk] and counted()[0] > reads, "the replica is asked", 10)
    assert replicas.lags()["replica1"] < 1


def test_one_without_news_is_near_when_there_are_none(replica: Replica, api: Api, settings: Any) -> None:
    """An idle primary's replica has nothing to replay, for as long as that may be."""
    settings.REPLICA_MAX_LAG = 1
    replica.catch_up()
    ids(api())
    time.sleep(1.5)
    before = counted()
    ids(api())
    assert counted() == (before[0] + 1, *before[1:])


@pytest.mark.parametrize("frozen", [False, True])
def test_one_that_is_killed_or_frozen_costs_one_bounded_wait_and_no_answer(
    replica: Replica, api: Api, frozen: bool
) -> None:
    post = PostFactory()
    replica.catch_up()
    assert ids(api()) == [post.pk]
    before, began = counted(), time.monotonic()
    if frozen:
        replica.everybody(signal.SIGSTOP)
    else:
        replica.stop(signal.SIGQUIT)
    try:
        assert ids(api()) == [post.pk]
        assert time.monotonic() - began < 6
        began = time.monotonic()
        assert [ids(api()) for _ in range(3)] == [[post.pk]] * 3
        assert time.monotonic() - began < 0.5, "it is left alone for a while"
        assert counted()[0] == before[0] and counted()[2] > before[2]
    finally:
        if frozen:
            replica.everybody(signal.SIGCONT)
        else:
            replica.start()
    eventually(lambda: ids(api()) == [post.pk] and counted()[0] > before[0], "it is asked again", 15)


def test_a_server_that_follows_nobody_is_never_asked(replica: Replica, api: Api, settings: Any) -> None:
    """One that was promoted, or a wrong address: here the primary's own."""
    connections["replica1"].settings_dict |= {"PORT": connections["default"].settings_dict["PORT"]}
    before = counted()
    ids(api())
    assert counted() == (before[0], before[1] + 1, before[2])
    assert replicas.lags() == {"replica1": float("inf")}


def test_what_is_written_and_what_a_transaction_reads_is_the_primarys(replica: Replica) -> None:
    hold_back(replica)
    with transaction.atomic():
        post = PostFactory()
        assert replicas.read(lambda: Post.objects.filter(pk=post.pk).exists())
    assert not replicas.read(lambda: Post.objects.filter(pk=post.pk).exists())
    with database.asking("replica1"):
        assert router.db_for_write(Post) == "default"
        assert database.changed("UPDATE feeds_post SET text = 'new' WHERE id = %(id)s", id=post.pk) == 1
    assert not router.allow_migrate("replica1", "feeds")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        replica.ask("INSERT INTO feeds_tag (name) VALUES ('x') RETURNING id")


def test_counts_of_the_instance_come_from_the_replica(replica: Replica, api: Api) -> None:
    PostFactory()
    hold_back(replica)
    PostFactory()
    assert api().get("/api/v1/instance").json()["stats"]["status_count"] == 1


def test_the_web_process_reads_from_what_the_setting_names(server: Replica, inhabited: Instance) -> None:
    """A server that is not there, and the replica."""
    if server.process is None:
        server.start()
    server.ask("SELECT pg_wal_replay_resume()")
    base = f"http://127.0.0.1:{settings.PORT}"
    gone = server.url.replace(str(server.port), "1")
    serve(inhabited, DATABASE_REPLICA_URLS=f"{gone};{server.url}", REPLICA_MAX_LAG="30")
    inhabited.start("web")
    try:
        eventually(lambda: answers(base), "the web process answers", 60)
        post = PostFactory()
        server.catch_up()
        eventually(lambda: metric(base, 'feedsvc_replica_lag_seconds{replica="replica2"}') < 30, "the replica is near")
        found = requests.get(base + PUBLIC, timeout=10).json()
        assert [int(one["id"]) for one in found] == [post.pk]
        assert metric(base, "feedsvc_replica_reads_total") >= 1
        assert metric(base, 'feedsvc_replica_lag_seconds{replica="replica1"}') == float("inf")
        assert requests.get(f"{base}/healthz", timeout=10).json()["parts"]["replicas"] == "down"  # one of the two
    finally:
        inhabited.stop("web")
        serve(inhabited)


def answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/healthz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def metric(base: str, name: str) -> float:
    lines = requests.get(f"{base}/metrics", timeout=10).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), float("nan"))

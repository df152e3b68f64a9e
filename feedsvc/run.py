"""The process runner: `python -m feedsvc.run` is the whole service on one machine, `-- COMMAND` one command beside it.

It prepares the embedded stores (embedded.py); supervisord starts them, then the service, and restarts what ends.
However the runner ends (Ctrl-C, TERM, a closed terminal, kill -9), supervisord gets TERM and stops everything, the
stores last. If supervisord itself is killed, the kernel sends each program its stop signal.
Tests use `Instance` to stop, kill and start single programs.
"""

import argparse
import ctypes
import fcntl
import http.client
import os
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import django
import drf_spectacular_sidecar

from feedsvc import embedded, workers
from feedsvc.embedded import Program, Unfit, dies_with_parent

ROOT = Path(__file__).resolve().parent.parent
STATIC = {  # served by granian, without Python
    "/static/admin": Path(django.__file__).parent / "contrib/admin/static/admin",
    "/static/drf_spectacular_sidecar": Path(drf_spectacular_sidecar.__file__).parent / "static/drf_spectacular_sidecar",
}
HEADERS = 32 * 1024  # bytes that a request's line and headers may have, by and large; granian's default is 408 KiB
READY_SECONDS = 60
STOP_SECONDS = 33  # the service's 15, then the stores, one after another
ORPHAN_SECONDS = 20
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERMINAL = select.poll()  # those of our three standard streams that are a terminal


class Stopped(BaseException):
    """Somebody asked the runner to stop. No Exception, so that no handler on the way takes it for an error."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


def main() -> int:
    command = arguments().command
    run_dir = Path(os.environ.get("RUN_DIR") or ROOT / ".run").resolve()
    catch_signals()
    adopt_orphans()
    try:
        with locked(run_dir) as lock:
            try:
                return run(run_dir, command, lock)
            finally:
                bury_orphans()
    except Unfit as reason:
        say(str(reason))
        return 1
    except Stopped as stopped:
        return 128 + stopped.signum if command else 0


def run(run_dir: Path, command: Sequence[str], lock: IO[str]) -> int:
    """From nothing to a service that answers, and back to nothing. What it starts inherits os.environ."""
    env = os.environ
    env["RUN_DIR"] = str(run_dir)
    host = env.setdefault("HOST", "127.0.0.1")
    if not command:
        env.setdefault("PORT", "8000")
    for name in ("PORT", "STREAMING_PORT"):
        if name in env:
            check_port(host, env[name], name)
    check_workers()
    say(f"preparing {run_dir}")
    port = env["PORT"] = embedded.prepare(run_dir, env)["PORT"]
    if "STREAMING_PORT" not in env:
        check_port(host, str(int(port) + 1), "STREAMING_PORT")
        env["STREAMING_PORT"] = str(int(port) + 1)
    if command:
        env.setdefault("BASE_URL", f"http://127.0.0.1:{port}")
    env["PROMETHEUS_MULTIPROC_DIR"] = str(empty(run_dir / "metrics"))  # where processes leave what /metrics adds up
    with Instance(run_dir, embedded.stores(run_dir, env), lock=lock) as instance:
        try:
            say("starting " + (", ".join(instance.stores) or "no stores: all of them are given"))
            instance.start(*instance.stores)
            migrate()
            instance.add(*services(host=host, port=port))
            say("starting " + ", ".join(instance.services))
            instance.start(*instance.services)
            wait_healthy(instance, host=host, port=port)
            return run_beside(instance, command) if command else serve(instance, host=host, port=port)
        finally:
            ignore_signals()
            say("stopping")


def services(*, host: str, port: str, env: Mapping[str, str] | None = None) -> list[Program]:
    """The processes of the service; `env` comes on top of the runner's own environment."""
    python = sys.executable
    granian = (python, "-m", "granian", "--interface", "wsgi", "feedsvc.wsgi:application")
    narrow = ("--http", "1", "--http1-buffer-size", str(HEADERS))
    static = [
        part
        for route, folder in STATIC.items()
        for part in ("--static-path-route", route, "--static-path-mount", str(folder))
    ]
    celery = (python, "-m", "celery", "-A", "feedsvc")
    lean = ("--without-gossip", "--without-mingle")  # our workers have nothing to tell each other
    serving = {
        worker.name: (
            *("nice", "-n", str(worker.nice), *celery, "worker", "-n", f"{worker.name}@%h"),
            *("-Q", ",".join(worker.queues), "-c", str(worker.processes), *lean),
        )
        for worker in workers.asked(os.environ | (env or {}))
    }
    commands = {
        "web": (
            *granian,
            "--host",
            host,
            "--port",
            port,
            "--workers",
            "1",
            "--blocking-threads",
            "4",
            *narrow,
            *static,
        ),
        "streaming": (python, "-m", "feedsvc.asgi"),
        "relay": (python, "manage.py", "relay"),
        **serving,
        "beat": (*celery, "beat"),
    }
    return [
        # With supervisord gone the stores go too: no use in a worker that wants to finish its task, which comes again.
        Program(
            name,
            dies_with_parent(*command, signal="KILL" if name in serving else "TERM"),
            stop_seconds=15,
            env=env or {},
        )
        for name, command in commands.items()
    ]


def empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def migrate() -> None:
    command = dies_with_parent(sys.executable, "manage.py", "migrate", "--noinput")
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = tail(done.stdout, 1)
        if last.startswith("feedsvc: "):  # a setting that makes no sense: settings.py says which
            raise Unfit(last.removeprefix("feedsvc: "))
        raise Unfit(f"the database could not be migrated:\n{tail(done.stdout)}")


def wait_healthy(instance: "Instance", *, host: str, port: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    asked = {"web": (port, "/healthz"), "streaming": (os.environ["STREAMING_PORT"], "/api/v1/streaming/health")}
    for name, (where, path) in asked.items():
        while not healthy(host, where, path):
            look_around(instance)
            if time.monotonic() > deadline:
                raise Unfit(f"{name} does not answer GET {path} with 200:\n{instance.last_words(name)}")
            time.sleep(0.1)


def healthy(host: str, port: str, path: str = "/healthz") -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a listener everywhere is here too
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip("*.") or "localhost"
    connection = http.client.HTTPConnection(reachable, int(port), timeout=5)
    try:
        connection.request("GET", path, headers={"Host": name})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(instance: "Instance", *, host: str, port: str) -> int:
    name = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host  # noqa: S104
    address = os.environ.get("BASE_URL") or f"http://{name}:{port}"
    elsewhere = "" if instance.run_dir == ROOT / ".run" else f"RUN_DIR={shlex.quote(str(instance.run_dir))} "
    command = f"{elsewhere}.venv/bin/python manage.py create_account alice --password"
    for line in (
        f"feedsvc is ready at http://{name}:{port}  (Ctrl-C stops it)",
        f"To sign in with a client for Mastodon, give it {address} as its server; for an account:",
        f"    {command}",
    ):
        say(line, prefix="", to=sys.stdout)
    while True:
        time.sleep(1)
        look_around(instance)


def run_beside(instance: "Instance", command: Sequence[str]) -> int:
    """Run the user's command with this virtual environment first in PATH; its exit code is ours."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(dies_with_parent(*command), env=os.environ | {"PATH": path})
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=1)
                return code if code >= 0 else 128 - code
            look_around(instance)
    finally:
        end(process, seconds=5)


def look_around(instance: "Instance") -> None:
    instance.check()
    if TERMINAL.poll(0):  # closed; the signal went to `make` alone, if that was the session's first process
        raise Stopped(signal.SIGHUP)


class Instance:
    """A supervisord and its programs: the stores, each on its own, and the service, a group that stops first.

    `start` returns when the stores it started answer, and `stop` when the programs have ended. What was killed or
    ends by itself is started again; what was stopped stays down.
    """

    def __init__(self, run_dir: Path, stores: Sequence[Program], *, lock: IO[str] | None = None) -> None:
        self.run_dir = run_dir
        self.stores = {program.name: program for program in stores}
        self.services: dict[str, Program] = {}
        self.lock = lock
        self.port = embedded.still_free(None, "supervisord")
        self.password = secrets.token_urlsafe(24)
        self.started: dict[str, int] = {}  # when supervisord last started each program, as far as we have seen
        url = f"http://feedsvc:{self.password}@127.0.0.1:{self.port}/RPC2"
        self.rpc: Any = xmlrpc.client.ServerProxy(url).supervisor

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        (self.run_dir / "log").mkdir(mode=0o700, exist_ok=True)
        self.write_conf()
        self.supervisord = subprocess.Popen(
            dies_with_parent(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.conf)),
            cwd=ROOT,
            # It holds the lock too: an instance is alive until its supervisord has gone. It closes every file it
            # inherits but the first few, hence stdin, which it does not read.
            stdin=self.lock or subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.run_dir / "log" / "supervisord.err").open("w"),
            start_new_session=True,  # the terminal's Ctrl-C is for the runner, which then stops things in order
        )
        try:
            self.wait_rpc()
        except BaseException:
            self.close()
            raise

    def add(self, *programs: Program) -> None:
        """Let the service consist of these programs, none of which is started yet; those it had are stopped.

        The very same ones are left as they are.
        """
        if self.services == {program.name: program for program in programs}:
            return
        if self.services:
            self.stop(*self.services)
            self.rpc.removeProcessGroup("service")
        self.services = {program.name: program for program in programs}
        self.write_conf()
        self.rpc.reloadConfig()
        self.rpc.addProcessGroup("service")

    def start(self, *names: str) -> None:
        for name in names:
            self.started.pop(name, None)
            with suppress_fault("ALREADY_STARTED"):
                self.rpc.startProcess(self.full_name(name), False)
        self.wait_stores([name for name in names if name in self.stores])

    def stop(self, *names: str) -> None:
        """One that has just ended by itself is about to be started again, and can be stopped only then."""
        while up := [name for name in names if self.info(name)["statename"] not in ("STOPPED", "FATAL")]:
            for name in up:
                with suppress_fault("NOT_RUNNING"):
                    self.rpc.stopProcess(self.full_name(name), False)
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """kill -9, as a crash would: supervisord starts it again."""
        os.kill(self.pid(name), signal.SIGKILL)

    def pid(self, name: str) -> int:
        """The program's process. Raises ProcessLookupError when there is none: to kill(2) supervisord's 0 is all of ours."""
        if pid := int(self.info(name)["pid"]):
            return pid
        raise ProcessLookupError(f"{name} is not running")

    def info(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.rpc.getProcessInfo(self.full_name(name))
        return answer

    def check(self) -> None:
        """Say which programs ended and were started again; raise Unfit with the name of one that can't be kept up."""
        try:
            programs = self.rpc.getAllProcessInfo()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            raise Unfit(f"supervisord has ended: see {self.run_dir / 'log' / 'supervisord.log'}") from None
        for program in programs:
            name, start = program["name"], program["start"]
            if program["statename"] == "FATAL":
                raise Unfit(f"{name} keeps ending:\n{self.last_words(name)}")
            if start > self.started.setdefault(name, start):
                say(f"{name} ended and was started again: see {self.log(name)}")
            self.started[name] = start

    def close(self) -> None:
        end(self.supervisord, seconds=STOP_SECONDS)

    def log(self, name: str) -> Path:
        return self.run_dir / "log" / f"{name}.log"

    def last_words(self, name: str) -> str:
        log = self.log(name)
        return f"{tail(log.read_text(errors='replace') if log.exists() else '')}\n(from {log})"

    def full_name(self, name: str) -> str:
        return f"service:{name}" if name in self.services else name

    def wait_rpc(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            with suppress(OSError, http.client.HTTPException):
                self.rpc.getState()
                return
            if self.supervisord.poll() is not None or time.monotonic() > deadline:
                raise Unfit(f"supervisord does not start: see {self.run_dir / 'log'}")
            time.sleep(0.02)

    def wait_stores(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while late := embedded.wait_ready(self.run_dir, names, seconds=1):
            self.check()
            if time.monotonic() > deadline:
                raise Unfit(f"{late} does not answer:\n{self.last_words(late)}")

    @property
    def conf(self) -> Path:
        return self.run_dir / "supervisord.conf"

    def write_conf(self) -> None:
        log = self.run_dir / "log" / "supervisord.log"
        head = {"silent": "true", "umask": "077", "logfile": log, "pidfile": self.run_dir / "supervisord.pid"}
        http_server = {"port": f"127.0.0.1:{self.port}", "username": "feedsvc", "password": self.password}
        factory = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        sections: dict[str, Mapping[str, object]] = {
            "supervisord": head,
            "inet_http_server": http_server,
            "rpcinterface:supervisor": factory,
        }
        # Programs stop from the highest priority down, and one by one, but those of a group together.
        for priority, program in enumerate(self.stores.values()):
            sections[f"program:{program.name}"] = self.program_conf(program) | {"priority": priority}
        for program in self.services.values():
            sections[f"program:{program.name}"] = self.program_conf(program)
        if self.services:
            sections["group:service"] = {"programs": ",".join(self.services), "priority": 100}
        text = "".join(
            f"[{title}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in section.items())
            for title, section in sections.items()
        )
        embedded.write_private(self.conf, text)

    def program_conf(self, program: Program) -> dict[str, object]:
        return {
            "command": shlex.join(program.command),
            "environment": ",".join(f'{name}="{value}"' for name, value in program.env.items()),
            "autostart": "false",
            "autorestart": "true",
            "stopsignal": program.stop_signal,
            "stopwaitsecs": program.stop_seconds,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self.log(program.name),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 2,
        }


@contextmanager
def locked(run_dir: Path) -> Iterator[IO[str]]:
    """Hold RUN_DIR/lock: one instance per folder. The kernel lets it go with the last process that has it."""
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (run_dir / "lock").open("a+")
    except OSError as error:
        raise Unfit(f"RUN_DIR can't be used: {error}") from None
    with lock:
        take(lock, run_dir)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def take(lock: IO[str], run_dir: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS + 5
    waiting = False
    while not try_lock(lock):
        lock.seek(0)
        runner = lock.read()
        if time.monotonic() > deadline or Path(f"/proc/{runner or 'none'}").exists():
            raise Unfit(f"an instance is already running in {run_dir} (process {runner}): stop it, or set RUN_DIR")
        if not waiting:
            say("the last run was killed and is still stopping, waiting for it")
            waiting = True
        time.sleep(0.2)


def try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m feedsvc.run",
        description="Run the whole service in the foreground, or, with a command, for as long as the command runs.",
        epilog="Environment: RUN_DIR (.run), PORT (8000; with a command, a free one), HOST (127.0.0.1); see README.md.",
    )
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="gets PORT, BASE_URL and RUN_DIR")
    return parser.parse_args()


def check_port(host: str, port: str, name: str = "PORT") -> None:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Unfit(f"{name} must be a number from 1 to 65535, not {port!r}")
    if not embedded.port_is_free(host, int(port)):
        raise Unfit(f"can't listen on port {port} of {host}, it is taken or not allowed: set {name} to another one")


def check_workers() -> None:
    try:
        workers.asked(os.environ)
    except ValueError as wrong:
        raise Unfit(str(wrong)) from None


def catch_signals() -> None:
    def stop(signum: int, _frame: object) -> None:
        ignore_signals()  # one is enough: a second must not cut the stopping short
        raise Stopped(signum)

    outlives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # started by nohup, which means it
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or not outlives_terminal:
            signal.signal(signum, stop)
    for stream in range(3):
        if os.isatty(stream) and not outlives_terminal:
            TERMINAL.register(stream, 0)  # 0: only that it hung up, not that there is something to read


def ignore_signals() -> None:
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own (PR_SET_CHILD_SUBREAPER): nobody gets away."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def bury_orphans() -> None:
    """End the processes that outlived supervisord, or their own parent, and wait until there is none."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    signal_children(signal.SIGTERM)
    with suppress(ChildProcessError):  # there is no child left
        while True:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
            if time.monotonic() > deadline:
                signal_children(signal.SIGKILL)


def signal_children(signum: signal.Signals) -> None:
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(child), signum)


def end(process: "subprocess.Popen[Any]", *, seconds: float) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def suppress_fault(name: str) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if not fault.faultString.startswith(name):
            raise


def tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:]) or "(it said nothing)"


def say(text: str, *, prefix: str = "feedsvc: ", to: IO[str] | None = None) -> None:
    with suppress(OSError):  # the terminal has gone: nobody reads it, and stopping must go on
        print(f"{prefix}{text}", file=to or sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

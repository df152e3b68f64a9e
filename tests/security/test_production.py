"""What docs/security.md promises and no other file tests: production's settings, headers, errors, files, locks, that page."""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.conf import settings
from django.core.management.utils import get_random_secret_key
from django.test import Client

from feeds.api import instance
from feeds.api.renderers import NO_PAGE
from feeds.web import pages
from feedsvc import embedded
from tests.factories import AccountFactory, PostFactory

ROOT = settings.BASE_DIR
SECURE = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": get_random_secret_key(),
    "ALLOWED_HOSTS": "example.org",
    "BASE_URL": "https://example.org",
}


def manage(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        env=os.environ | env,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


# Production's settings


def test_django_finds_nothing_wrong_with_productions_settings() -> None:
    checked = manage("check", "--deploy", "--fail-level", "WARNING", **SECURE)
    assert checked.returncode == 0, checked.stderr


def test_without_tls_it_does() -> None:
    checked = manage("check", "--deploy", "--fail-level", "WARNING", **SECURE | {"BASE_URL": "http://example.org"})
    assert checked.returncode == 1 and "feeds.W001" in checked.stderr


def test_production_has_no_secret_by_default_and_no_admin_nor_password_grant() -> None:
    """And without DEBUG no page shows what went wrong."""
    assert "SECRET_KEY" in manage("check", **SECURE | {"SECRET_KEY": "", "RUN_DIR": "/nowhere"}).stderr
    line = "print(s.ADMIN, s.OAUTH_PASSWORD_GRANT, s.DEBUG, s.TRUST_PROXY)"
    asked = manage("shell", "--no-imports", "-c", f"from django.conf import settings as s; {line}", **SECURE)
    assert asked.stdout.split() == ["False"] * 4, asked.stderr


def test_behind_a_proxy_browsers_are_told_to_come_by_tls_alone() -> None:
    line = "print(Client().get('/thumbnail.svg', HTTP_HOST='example.org', HTTP_X_FORWARDED_PROTO=proto).headers)"
    for proto, told in (("https", True), ("http", False)):
        code = f"from django.test import Client; proto = {proto!r}; {line}"
        asked = manage("shell", "--no-imports", "-c", code, **SECURE | {"TRUST_PROXY": "on", "RATE_LIMITS": "off"})
        assert ("'Strict-Transport-Security': 'max-age=31536000'" in asked.stdout) == told, asked.stderr


# Headers


@pytest.mark.django_db
def test_every_answer_of_the_api_says_that_it_is_no_page(api: Any) -> None:
    alice = AccountFactory()
    post = PostFactory(author=alice)
    for answer in (
        api(alice).get("/api/v1/timelines/home"),
        api(alice).post("/api/v1/statuses", {"status": "hello"}),
        api().get(f"/api/v1/statuses/{post.pk}"),
        api().get("/api/v1/nowhere"),
        api().post("/oauth/token"),
        api().get("/healthz"),
        api().get("/thumbnail.svg"),
        api().get(f"/avatars/{alice.pk}.png"),
        api().get("/api/v1/timelines/public", HTTP_HOST="evil.example"),
    ):
        assert answer.headers["Content-Security-Policy"] == NO_PAGE
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "html" not in answer.headers["Content-Type"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/admin/login/", "/admin/nowhere/", "/oauth/authorize", "/oauth/authorize/native", "/api/docs"]
)
def test_every_page_has_a_policy_and_lets_nobody_frame_it(path: str) -> None:
    answer = Client().get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Errors


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v2/instance", "/oauth/authorize?client_id=x", "/admin/login/"])
def test_what_nobody_expected_is_not_shown(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the inside of it")

    monkeypatch.setattr(instance, "_counted", fail)
    monkeypatch.setattr(pages, "_page", fail)
    monkeypatch.setattr("feeds.admin.SignInForm.__init__", fail)
    answer = Client(raise_request_exception=False).get(path)
    text = answer.content.decode()
    assert answer.status_code == 500
    assert not re.search("inside|RuntimeError|Traceback|django|feeds", text, re.IGNORECASE)
    kind = "application/json" if path.startswith("/api/") else "text/html"
    assert answer.headers["Content-Type"].startswith(kind)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/<b>", "/oauth/authorize/native?code=<b>"])
def test_people_get_a_plain_page_where_there_is_none(path: str) -> None:
    answer = Client().get(path, follow=True)
    assert "<b>" not in answer.content.decode()
    assert answer.headers["Content-Type"].startswith("text/html")


# Files


def test_what_an_instance_keeps_is_its_owners() -> None:
    """Of the instance that these tests run on. (Where PostgreSQL must be nobody, RUN_DIR may be walked through.)"""
    run_dir = settings.RUN_DIR
    assert stat.S_IMODE(run_dir.stat().st_mode) in (0o700, 0o711)
    files = [run_dir / "env", run_dir / "log", *run_dir.glob("*.conf")]
    assert len(files) > 6
    assert [str(file) for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077] == []
    assert [str(file) for file in run_dir.rglob("*") if file.is_socket()] == []  # the stores listen on 127.0.0.1


def test_a_folder_that_others_could_read_is_made_the_owners(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    given = dict.fromkeys(embedded.URLS, "redis://127.0.0.1:1/0") | {"DATABASE_URL": "postgres://127.0.0.1:1/x"}
    embedded.prepare(tmp_path, given)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600


# What is installed


def test_nothing_is_installed_whose_hash_is_not_known() -> None:
    for name in ("Makefile", ".ci/run"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        assert [line for line in text.splitlines() if "pip install" in line and "--require-hashes" not in line] == []
    for lock in ("requirements.txt", "requirements-dev.txt"):
        pins = re.findall(r"^[a-z].*?(?=^[a-z#]|\Z)", (ROOT / lock).read_text(), re.MULTILINE | re.DOTALL)
        assert len(pins) > 20
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


class Index(BaseHTTPRequestHandler):
    """A proxy that answers in the place of whatever package index is asked through it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms
    authority = trustme.CA()
    status, known = 200, {"django": [{"id": "TEST-1", "details": "a flaw", "aliases": [], "fixed_in": ["999.1"]}]}

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(self.path.partition(":")[0]).configure_cert(context)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def do_GET(self) -> None:
        found = [self.known[name] for name in self.known if f"/{name}/" in self.path]
        body = json.dumps({"vulnerabilities": found[0] if found else []}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"known": {}}, "No known vulnerabilities found"),
        ({}, r"django +[\d.]+ +TEST-1 +999\.1"),
        ({"status": 404}, "could not be audited"),
        ({"status": 503}, "503"),
        (None, "Connection refused"),
    ],
    ids=["nothing is known", "something is", "it knows no packages", "it is down", "nobody is there"],
)
def test_an_audit_is_passed_only_if_the_index_was_asked_and_knows_nothing(
    tmp_path: Path, index: dict[str, Any] | None, said: str
) -> None:
    """`make audit` with the locks; what was answered earlier is not remembered."""
    Index.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Index", (Index,), index or {})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.server_address[1] if index is not None else 1}"
        asked = audit(tmp_path, proxy)
        server.shutdown()
    assert (asked.returncode == 0) is (index == {"known": {}}), asked.stderr
    assert re.search(said, asked.stdout + asked.stderr), asked.stderr
    assert ("No known vulnerabilities" in asked.stderr) is (asked.returncode == 0)
    assert ("audit: not passed." in asked.stderr) is (asked.returncode != 0)


def audit(folder: Path, proxy: str) -> subprocess.CompletedProcess[str]:
    env = {
        **{name: value for name, value in os.environ.items() if name.lower() not in ("no_proxy", "all_proxy")},
        **dict.fromkeys(["HTTPS_PROXY", "https_proxy"], proxy),
        **dict.fromkeys(["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"], str(folder / "ca.pem")),
        "PIP_CACHE_DIR": str(folder),
    }
    installed = [word for name in ("requirements", "requirements-dev") for word in ("-o", f".venv/{name}.installed")]
    command = ["make", "--silent", *installed, "audit"]
    return subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)


# The page itself


def test_each_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/security.md").read_text())
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []

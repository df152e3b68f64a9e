"""create_account: accounts and tokens from the command line."""

import os
import pty
import sys
from contextlib import suppress
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from oauth2_provider.models import AccessToken
from rest_framework.test import APIClient

from followers.models import Account, Application

pytestmark = pytest.mark.django_db


def create_account(*words: str) -> list[str]:
    out = StringIO()
    call_command("create_account", *words, stdout=out)
    return out.getvalue().splitlines()


def verify(token: str) -> APIClient:
    caller = APIClient()
    caller.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return caller.get("/api/v1/accounts/verify_credentials")


def test_an_account_is_made_and_its_token_alone_is_on_the_last_line():
    token = create_account("alice", "--token")[-1]
    answer = verify(token)
    assert answer.status_code == 200
    assert answer.json()["username"] == "alice"


def test_an_account_that_exists_gets_another_token_and_stays_as_it_is():
    first = create_account("alice", "--token")[-1]
    lines = create_account("Alice", "--token")
    assert "exists already" in lines[0]
    assert Account.objects.count() == 1
    assert {verify(token).status_code for token in (first, lines[-1])} == {200}


def test_a_token_is_of_no_application_that_somebody_registered_under_its_name():
    for _ in range(2):
        form = {
            "client_name": "command line",
            "redirect_uris": "urn:ietf:wg:oauth:2.0:oob",
            "scopes": "read write profile",
        }
        assert APIClient().post("/api/v1/apps", form).status_code == 200
    strangers = set(Application.objects.values_list("pk", flat=True))
    assert verify(create_account("alice", "--token")[-1]).status_code == 200
    assert AccessToken.objects.get().application_id not in strangers


def test_staff_is_made_of_a_new_account_and_of_an_old_one():
    create_account("alice", "--staff")
    create_account("bob")
    assert not Account.objects.get(username="bob").is_staff
    create_account("bob", "--staff")
    assert set(Account.objects.filter(is_staff=True).values_list("username", flat=True)) == {"alice", "bob"}


@pytest.mark.parametrize("name", ["", "a b", "ünich", "x" * 31, "admin"])
def test_a_name_that_can_not_be_is_refused_with_a_sentence(name):
    with pytest.raises(CommandError, match="can't be taken"):
        create_account(name)
    assert not Account.objects.exists()


def test_a_password_is_read_from_the_standard_input_and_weak_ones_make_no_account(monkeypatch):
    monkeypatch.setattr("sys.stdin", StringIO("a pass phrase for tests\nmore\n"))
    assert "alice is staff now" in create_account("alice", "--staff", "--password")
    assert Account.objects.get(username="alice").check_password("a pass phrase for tests")
    monkeypatch.setattr("sys.stdin", StringIO("12345678\n"))
    with pytest.raises(CommandError, match="password can't be taken"):
        create_account("bob", "--password")
    assert not Account.objects.filter(username="bob").exists()


def test_a_password_that_is_replaced_takes_the_tokens_with_it_but_not_a_first_one(monkeypatch):
    """Somebody else may have had it, and let applications in. As Mastodon does where a password is reset."""
    token = create_account("alice", "--token")[-1]
    for password, status in (("a pass phrase for tests", 200), ("another pass phrase", 401)):
        monkeypatch.setattr("sys.stdin", StringIO(f"{password}\n"))
        create_account("alice", "--password")
        assert verify(token).status_code == status


def test_a_person_types_the_password_twice_and_sees_nothing_of_it(transactional_db):
    assert type_password("a pass phrase for tests", "another one") == 1
    assert not Account.objects.exists()
    assert type_password("a pass phrase for tests", "a pass phrase for tests") == 0
    assert Account.objects.get(username="alice").check_password("a pass phrase for tests")


def type_password(*answers: str) -> int:
    """Runs the command on a terminal of its own, answers each question, and returns the exit code."""
    database = settings.DATABASES["default"]
    server = f"{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
    env = os.environ | {"DATABASE_URL": f"postgres://{server}/{connection.settings_dict['NAME']}"}
    pid, terminal = pty.fork()
    if not pid:
        command = [sys.executable, "manage.py", "create_account", "alice", "--password"]
        os.execve(command[0], command, env)
    seen = b""
    for question, answer in zip((b"Password:", b"(again):"), answers, strict=True):
        while question not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, f"{answer}\n".encode())
    with suppress(OSError):  # the other end is closed
        while more := os.read(terminal, 1000):
            seen += more
    assert not any(answer.encode() in seen for answer in answers)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

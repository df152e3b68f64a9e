"""create_account: accounts and tokens from the command line."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from followers.models import Account

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

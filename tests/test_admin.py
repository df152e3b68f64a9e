"""The admin, through its pages: who gets in, what lists show, what deeds do, and that no list walks a big table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from feeds import actions, fanout, outbox, reconciler
from feeds.admin import COUNTED
from feeds.models import Batch, Delivery, Outbox, Post
from followers.models import Account, FollowRequest
from tests.factories import AccountFactory, PostFactory, follow, star

pytestmark = pytest.mark.django_db

PASSWORD = "a pass phrase for tests"
LISTS = {
    "followers/account": ["standing=staff", "standing=active", "standing=closed"],
    "followers/follow": [],
    "followers/followrequest": [],
    "feeds/post": [
        *(f"visibility={name}" for name in ("public", "unlisted", "private", "direct")),
        *(f"kind={name}" for name in ("post", "reply", "reblog")),
    ],
    "feeds/delivery": [f"state={name}" for name in ("open", "closed", "with+failed", "with+dead+batches", "cancelled")],
    "feeds/outbox": [*(f"state={name}" for name in ("unsent", "sent", "failed", "done")), "task=delete_account"],
}


@pytest.fixture
def staff() -> Account:
    account = AccountFactory(username="alice", email="alice.who.runs.this.service@example.org", is_staff=True)
    actions.set_password(account=account, password=PASSWORD)
    return account


@pytest.fixture
def admin(staff: Account) -> Client:
    client = Client()
    client.force_login(staff)
    return client


def sign_in(name: str, password: str = PASSWORD, **extra: str) -> tuple[Client, Any]:
    client = Client(enforce_csrf_checks=True)
    client.get("/admin/login/")
    form = {"username": name, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    return client, client.post("/admin/login/?next=/admin/", form, **extra)


def shown(client: Client, path: str) -> list[int]:
    answer = client.get(f"/admin/{path}")
    assert answer.status_code == 200, answer.content
    return [row.pk for row in answer.context["cl"].result_list]


def act(client: Client, path: str, action: str, *rows: Any, **more: str) -> Any:
    form = {"action": action, "_selected_action": [row.pk for row in rows], "index": "0", **more}
    return client.post(f"/admin/{path}/", form, follow=True)


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# Who gets in


@pytest.mark.parametrize("name", ["alice", "Alice", "alice.who.runs.this.service@example.org"])
def test_staff_sign_in_by_name_or_email(staff: Account, name: str) -> None:
    client, answer = sign_in(name)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    page = client.get("/admin/")
    assert page.status_code == 200
    assert {model["name"] for app in page.context["app_list"] for model in app["models"]} == {
        "Accounts",
        "Follows",
        "Follow requests",
        "Posts",
        "Deliveries",
        "Tasks",
    }


def test_cookies_are_the_admins_alone(staff: Account) -> None:
    client, _ = sign_in("alice")
    for name in ("sessionid", "csrftoken"):
        cookie = client.cookies[name]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/admin/", True, "Strict")
    assert client.get("/admin/").headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("url", "secure"), [("https://example.org", "True True"), ("http://example.org", "False False")]
)
def test_cookies_are_secure_where_the_service_is(url: str, secure: str) -> None:
    line = "from django.conf import settings as s; print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)"
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings", "BASE_URL": url}
    out = subprocess.run([sys.executable, "-c", line], env=env, text=True, capture_output=True, timeout=30, check=True)
    assert out.stdout.strip() == secure


def test_an_ordinary_account_is_refused(staff: Account) -> None:
    bob = AccountFactory(username="bob")
    actions.set_password(account=bob, password=PASSWORD)
    client, answer = sign_in("bob")
    assert answer.status_code == 200
    assert "staff account" in answer.content.decode()
    client.force_login(bob)
    for path in ("", *(f"{path}/" for path in LISTS), f"followers/account/{bob.pk}/change/"):
        assert client.get(f"/admin/{path}").headers["Location"].startswith("/admin/login/")


def test_tries_to_sign_in_are_limited_by_address_and_by_name(staff: Account, settings: Any) -> None:
    settings.RATE_LIMITS = True
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[::-1]  # the quick one first
    codes = [sign_in(f"nobody{turn}", REMOTE_ADDR="192.0.2.30")[1].status_code for turn in range(11)]
    assert codes == [200] * 10 + [429]
    assert sign_in("alice", REMOTE_ADDR="192.0.2.30")[1].status_code == 429
    assert sign_in("alice", REMOTE_ADDR="192.0.2.31")[1].status_code == 302
    tried = [sign_in(" Alice", "wrong", REMOTE_ADDR=f"198.51.100.{turn}")[1].status_code for turn in range(8)]
    assert tried == [200] * 8
    answer = sign_in("alice", REMOTE_ADDR="198.51.100.99")[1]
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert 0 < int(answer.headers["Retry-After"]) <= 300


def test_an_account_that_is_deleted_is_out_at_once(admin: Client, staff: Account) -> None:
    actions.delete_account(account=staff)
    assert admin.get("/admin/").status_code == 302


def test_staff_change_their_password_and_nothing_else_of_the_row(admin: Client, staff: Account) -> None:
    other, _ = sign_in("alice")
    Account.objects.filter(pk=staff.pk).update(followers_count=7)
    form = {"old_password": PASSWORD, "new_password1": "another long phrase", "new_password2": "another long phrase"}
    assert admin.post("/admin/password_change/", form | {"usable_password": "true"}).status_code == 302
    assert admin.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
    found = Account.objects.get(pk=staff.pk)
    assert found.check_password("another long phrase")
    assert found.followers_count == 7


def test_the_api_knows_no_sessions(api: Any, admin: Client) -> None:
    caller = api(AccountFactory())
    caller.cookies = admin.cookies
    with CaptureQueriesContext(
        connection,
    ) as seen:
        answers = [
            caller.get("/api/v1/timelines/home"),
            caller.post("/api/v1/statuses", {"status": "Hello"}),
            caller.post("/oauth/token", {"grant_type": "nothing"}),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert not any("django_session" in (query["sql"] or "") for query in seen)  # what is prepared is logged as None
    assert not any(answer.cookies or "Cookie" in answer.headers.get("Vary", "") for answer in answers)


def test_without_admin_there_is_no_such_page() -> None:
    line = (
        "import django; django.setup(); from django.urls import resolve, Resolver404\n"
        "try: resolve('/admin/'); print('there')\n"
        "except Resolver404: print('not there')"
    )
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "feedsvc.settings"}

    def is_there(**more: str) -> str:
        command = [sys.executable, "-c", line]
        done = subprocess.run(command, env=env | more, text=True, capture_output=True, timeout=30, check=True)
        return done.stdout.strip()

    production = {"ENVIRONMENT": "production", "SECRET_KEY": "x" * 40, "ALLOWED_HOSTS": "example.org"}
    assert is_there() == "there"
    assert is_there(ADMIN="off") == "not there"
    assert is_there(**production) == "not there"
    assert is_there(**production, ADMIN="on") == "there"


# What lists and pages show


def test_accounts_are_found_by_the_beginning_of_their_name(admin: Client, staff: Account) -> None:
    bob, bobby, carol = (AccountFactory(username=name) for name in ("bob", "bob_by", "carol"))
    actions.delete_account(account=carol)
    assert shown(admin, "followers/account/") == [carol.pk, bobby.pk, bob.pk, staff.pk]
    assert shown(admin, "followers/account/?q=Bob") == [bobby.pk, bob.pk]
    assert shown(admin, "followers/account/?q=bob_") == [bobby.pk]
    assert shown(admin, "followers/account/?standing=staff") == [staff.pk]
    assert shown(admin, "followers/account/?standing=closed") == [carol.pk]
    assert shown(admin, "followers/account/?standing=active&q=b") == [bobby.pk, bob.pk]


def test_follows_are_found_by_either_end(admin: Client) -> None:
    bob, carol, dora = (AccountFactory(username=name) for name in ("bob", "carol", "dora"))
    for follower, followee in ((bob, carol), (dora, carol), (bob, dora)):
        follow(follower, followee)
    first, second, third = sorted(
        bob.follows_out.values_list("pk", flat=True).union(dora.follows_out.values_list("pk"))
    )
    assert shown(admin, "followers/follow/") == [third, second, first]
    assert shown(admin, "followers/follow/?q=bob") == [third, first]
    assert shown(admin, "followers/follow/?q=to:@carol") == [second, first]
    assert shown(admin, "followers/follow/?q=bob+to:carol") == [first]
    assert shown(admin, "followers/follow/?q=nobody") == []


def test_posts_are_found_by_id_author_visibility_and_kind(admin: Client) -> None:
    bob, carol = AccountFactory(username="bob"), AccountFactory(username="carol")
    post = PostFactory(author=bob)
    secret = PostFactory(author=bob, visibility="direct", text="for your eyes only")
    reply = PostFactory(author=carol, in_reply_to=post)
    reblog = actions.reblog(author=carol, original=post)
    assert shown(admin, "feeds/post/") == [reblog.pk, reply.pk, secret.pk, post.pk]
    assert shown(admin, f"feeds/post/?q={post.pk}") == [post.pk]
    assert shown(admin, "feeds/post/?q=@carol") == [reblog.pk, reply.pk]
    assert shown(admin, f"feeds/post/?q={'9' * 30}") == []
    assert shown(admin, "feeds/post/?visibility=direct") == [secret.pk]
    assert shown(admin, "feeds/post/?kind=post") == [secret.pk, post.pk]
    assert shown(admin, "feeds/post/?kind=reply") == [reply.pk]
    assert shown(admin, "feeds/post/?kind=reblog") == [reblog.pk]
    for path in ("", f"{secret.pk}/change/"):
        assert "for your eyes only" not in admin.get(f"/admin/feeds/post/{path}").content.decode()


@pytest.fixture
def deliveries(settings: Any) -> dict[str, Delivery]:
    """One still queued, one half way, one closed, one with a dead batch, one cancelled."""
    settings.FANOUT_BATCH = settings.BATCH_ATTEMPTS = 1
    author, _ = star(2)
    posts = {name: PostFactory(author=author) for name in ("queued", "pushing", "closed", "failed", "cancelled")}
    for name in ("pushing", "closed", "failed"):
        fanout.plan(posts[name].pk, "push")
        fanout.deliver(posts[name].pk, "push", 0)
    fanout.deliver(posts["closed"].pk, "push", 1)
    Batch.objects.filter(post=posts["failed"], batch_no=1).update(attempts=1)
    reconciler.bury()
    for name in ("closed", "failed"):
        assert fanout.finish(posts[name].pk, "push", "callback")
    actions.cancel_delivery(post_id=posts["cancelled"].pk)
    return {name: Delivery.objects.get(post=post, kind="push") for name, post in posts.items()}


def test_deliveries_show_how_far_they_are(admin: Client, deliveries: dict[str, Delivery]) -> None:
    def found(query: str) -> set[int]:
        return set(shown(admin, f"feeds/delivery/?{query}"))

    by_name = {name: delivery.pk for name, delivery in deliveries.items()}
    [retraction] = Delivery.objects.filter(kind="retract").values_list("pk", flat=True)
    assert found("") == {*by_name.values(), retraction}
    assert found("state=open") == {by_name["queued"], by_name["pushing"], by_name["cancelled"], retraction}
    assert found("state=closed") == {by_name["closed"], by_name["failed"]}
    assert found("state=with+failed") == found("state=with+dead+batches") == {by_name["failed"]}
    assert found("state=cancelled") == {by_name["cancelled"]}
    assert found(f"q={deliveries['pushing'].post_id}") == {by_name["pushing"]}
    rows = admin.get("/admin/feeds/delivery/").context["cl"].result_list
    closed = {row.pk: (row.batches_closed, row.batches) for row in rows}
    assert closed[by_name["queued"]] == (0, 0)
    assert closed[by_name["pushing"]] == (1, 2)
    assert closed[by_name["closed"]] == (2, 2)


def test_a_delivery_shows_its_batches_two_hundred_at_most(
    admin: Client, deliveries: dict[str, Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/admin/feeds/delivery/{deliveries['failed'].pk}/change/"
    page = admin.get(url).content.decode()
    assert page.count("<td>dead</td>") == page.count("<td>done</td>") == 1
    monkeypatch.setattr("feeds.admin.BATCHES", 1)
    page = admin.get(url).content.decode()
    assert (page.count("<td>dead</td>"), page.count("<td>done</td>")) == (1, 0)


def test_tasks_are_found_by_state_name_and_subject(admin: Client) -> None:
    post = PostFactory()
    unsent, sent, failed, done = Outbox.objects.filter(subject_id=post.pk).order_by("id")
    Outbox.objects.filter(pk__gt=unsent.pk).update(sent_at=Now())
    Outbox.objects.filter(pk=failed.pk).update(attempts=outbox.ATTEMPTS)
    Outbox.objects.filter(pk=done.pk).update(done_at=Now(), attempts=outbox.ATTEMPTS)
    for name, row in (("unsent", unsent), ("sent", sent), ("failed", failed), ("done", done)):
        assert shown(admin, f"feeds/outbox/?state={name}") == [row.pk]
        assert f'field-state">{name}<' in admin.get(f"/admin/feeds/outbox/?state={name}").content.decode()
    assert shown(admin, f"feeds/outbox/?task={sent.task}") == [sent.pk]
    assert shown(admin, f"feeds/outbox/?q={post.pk}") == [done.pk, failed.pk, sent.pk, unsent.pk]


def test_nothing_is_added_edited_or_deleted_as_a_row(admin: Client, staff: Account) -> None:
    post = PostFactory()
    rows = {"feeds/post": post, "feeds/delivery": Delivery.objects.get(), "feeds/outbox": Outbox.objects.first()}
    follow(post.author, staff)
    rows |= {"followers/account": post.author, "followers/follow": post.author.follows_out.get()}
    actions.edit_account(account=post.author, locked=True)
    actions.follow(follower=staff, followee_id=post.author.pk)
    rows |= {"followers/followrequest": FollowRequest.objects.get()}
    for path, row in rows.items():
        assert admin.get(f"/admin/{path}/{row.pk}/change/").status_code == 200
        assert admin.get(f"/admin/{path}/add/").status_code == 403
        assert admin.post(f"/admin/{path}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert "delete_selected" not in admin.get(f"/admin/{path}/").content.decode()
        if path != "followers/account":
            assert admin.post(f"/admin/{path}/{row.pk}/change/", {}).status_code == 403


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_no_conditions_from_its_url(admin: Client, path: str) -> None:
    assert admin.get(f"/admin/{path}/?id__gt=1").status_code == 400
    assert shown(admin, f"{path}/?o=2.1") == sorted(shown(admin, f"{path}/"), reverse=True)


# What deeds do


def test_an_account_is_deleted_once_that_is_confirmed(admin: Client, staff: Account) -> None:
    bob, carol = AccountFactory(username="bob"), AccountFactory(username="carol")
    actions.delete_account(account=carol)
    page = act(admin, "followers/account", "delete_accounts", bob, carol)
    assert "This can't be undone" in page.content.decode().replace("&#x27;", "'")
    assert not Account.objects.get(pk=bob.pk).deleted_at
    answer = act(admin, "followers/account", "delete_accounts", bob, carol, confirmed="yes")
    assert said(answer) == ["1 of 2 deleted."]
    assert Account.objects.get(pk=bob.pk).deleted_at
    assert Outbox.objects.filter(task="delete_account", subject_id=bob.pk).exists()
    assert "deleted" in admin.get(f"/admin/followers/account/{bob.pk}/history/").content.decode()


def test_choosing_the_rows_of_all_pages_is_not_offered_and_means_one_page(admin: Client, staff: Account) -> None:
    AccountFactory.create_batch(101, away=True)
    assert "Select all 102" not in admin.get("/admin/followers/account/").content.decode()
    newest = Account.objects.latest("pk")
    answer = act(admin, "followers/account", "delete_accounts", newest, confirmed="yes", select_across="1")
    assert said(answer) == ["100 of 100 deleted."]
    assert not Account.objects.get(pk=staff.pk).deleted_at


def test_the_home_mode_is_chosen_and_nothing_else_of_the_row_changes(admin: Client) -> None:
    bob = AccountFactory(username="bob", display_name="Bob")
    url = f"/admin/followers/account/{bob.pk}/change/"
    form = {"home_mode_override": "pull", "display_name": "Robert", "followers_count": "9", "is_staff": "on"}
    assert admin.post(url, form).status_code == 302
    bob.refresh_from_db()
    assert (bob.home_mode_override, bob.display_name, bob.followers_count, bob.is_staff) == ("pull", "Bob", 0, False)
    assert admin.post(url, {"home_mode_override": ""}).status_code == 302
    bob.refresh_from_db()
    assert bob.home_mode_override is None


def test_posts_are_deleted_for_their_authors(admin: Client) -> None:
    first, second = PostFactory(), PostFactory()
    act(admin, "feeds/post", "delete_posts", first)
    assert Post.objects.live().count() == 2
    assert said(act(admin, "feeds/post", "delete_posts", first, confirmed="yes")) == ["1 of 1 deleted."]
    assert said(act(admin, "feeds/post", "delete_posts", first, second, confirmed="yes")) == ["1 of 2 deleted."]
    assert not Post.objects.live().exists()
    assert set(Delivery.objects.filter(kind="retract").values_list("post", flat=True)) == {first.pk, second.pk}


def test_dead_batches_are_replayed(admin: Client, deliveries: dict[str, Delivery]) -> None:
    answer = act(admin, "feeds/delivery", "replay", deliveries["failed"], deliveries["closed"])
    assert said(answer) == ["1 of 2 replayed."]
    assert Batch.objects.get(post=deliveries["failed"].post_id, batch_no=1).state == "open"
    assert Delivery.objects.get(pk=deliveries["failed"].pk).state == "pushing"


def test_dead_batches_are_dropped_once_that_is_confirmed_and_for_good(
    admin: Client, deliveries: dict[str, Delivery]
) -> None:
    chosen = deliveries["failed"], deliveries["closed"]
    act(admin, "feeds/delivery", "drop", *chosen)
    assert shown(admin, "feeds/delivery/?state=with+dead+batches") == [deliveries["failed"].pk]
    assert said(act(admin, "feeds/delivery", "drop", *chosen, confirmed="yes")) == ["1 of 2 dropped."]
    assert shown(admin, "feeds/delivery/?state=with+dead+batches") == []
    assert shown(admin, "feeds/delivery/?state=with+failed") == [deliveries["failed"].pk]
    assert said(act(admin, "feeds/delivery", "replay", *chosen)) == ["0 of 2 replayed."]


def test_a_fan_out_is_cancelled_once_that_is_confirmed(admin: Client, deliveries: dict[str, Delivery]) -> None:
    chosen = deliveries["pushing"], deliveries["cancelled"]
    act(admin, "feeds/delivery", "cancel", *chosen)
    assert Post.objects.get(pk=deliveries["pushing"].post_id).home_mode == "push"
    assert said(act(admin, "feeds/delivery", "cancel", *chosen, confirmed="yes")) == ["1 of 2 cancelled."]
    assert Post.objects.get(pk=deliveries["pushing"].post_id).home_mode == "none"
    actions.delete_post(author=deliveries["closed"].post.author, post_id=deliveries["closed"].post_id)
    answer = act(admin, "feeds/delivery", "cancel", deliveries["closed"], confirmed="yes")
    assert said(answer) == ["0 of 1 cancelled."]


def test_a_failed_task_is_sent_again_but_not_one_that_is_done_or_in_work(
    admin: Client, drain: Callable[[], None]
) -> None:
    PostFactory()
    failed, done, in_work = Outbox.objects.order_by("id")[:3]
    Outbox.objects.update(sent_at=Now(), attempts=outbox.ATTEMPTS)
    Outbox.objects.filter(pk=done.pk).update(done_at=Now())
    with outbox.claimed([in_work.pk]):
        answer = act(admin, "feeds/outbox", "send_again", failed, done, in_work)
    assert said(answer) == ["1 of 3 sent again."]
    failed.refresh_from_db()
    assert (failed.sent_at, failed.attempts) == (None, 0)
    assert Outbox.objects.get(pk=done.pk).sent_at
    assert Outbox.objects.filter(sent_at=None).count() == 1


# What it costs


@pytest.mark.parametrize("path", LISTS)
def test_a_list_makes_as_many_statements_however_long_it_is(
    admin: Client, staff: Account, path: str, settings: Any
) -> None:
    settings.FANOUT_BATCH = 1

    def statements() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert admin.get(f"/admin/{path}/").status_code == 200
        return len(seen)

    def one_more() -> None:
        reader, post = AccountFactory(), PostFactory()
        follow(reader, post.author)
        fanout.plan(post.pk, "push")
        PostFactory(in_reply_to=post)

    one_more()
    few = statements()
    for _ in range(5):
        one_more()
    assert statements() == few <= 4  # session, account, count, page


MANY = 200_000
ROWS = {
    "followers_account": f"""(id, username, password, display_name, note, is_staff, is_active, is_superuser)
        SELECT 10000000 + n, 'user' || n, '', '', '', false, n % 1000 > 0, false FROM generate_series(1, {MANY}) n""",
    "followers_follow": f"""(follower_id, followee_id)
        SELECT 10000000 + n, 10000000 + n % 1000 FROM generate_series(1000, {MANY}) n""",
    "followers_followrequest": f"""(follower_id, followee_id)
        SELECT 10000000 + n, 10000000 + n % 1000 FROM generate_series(1000, {MANY}) n""",
    "feeds_outbox": f"""(task, event, subject_id, sent_at, done_at, attempts)
        SELECT 'refresh_cache', '', n, now(), CASE WHEN n % 1000 > 0 THEN now() END, n % 11
        FROM generate_series(1, {MANY}) n""",
    "feeds_post": f"""(id, author_id, text, spoiler_text, sensitive, visibility, created_at)
        SELECT n * 32, 10000000 + n % 1000, '', '', false, 'public', now() FROM generate_series(1, {MANY // 4}) n""",
    "feeds_delivery": f"""(post_id, kind, state, failed, cancelled_at)
        SELECT n * 32, 'push', CASE WHEN n % 1000 > 0 THEN 'closed' ELSE 'pushing' END,
            CASE n % 2000 WHEN 5 THEN 1 ELSE 0 END, CASE n % 2000 WHEN 6 THEN now() END
        FROM generate_series(1, {MANY // 4}) n""",
}
SEARCHES = {
    "followers/account": ["q=user1234", "q=u", "standing=active&q=user77"],
    "followers/follow": ["q=user5000", "q=to:user500", "q=user1500+to:user500"],
    "followers/followrequest": ["q=user5000", "q=to:user500", "q=user1500+to:user500"],
    "feeds/post": ["q=user77", "q=3200", "visibility=direct&q=user77"],
    "feeds/delivery": ["q=3200"],
    "feeds/outbox": ["q=77", "state=failed&task=delete_account", "state=done&task=delete_account"],
}


def test_no_list_walks_or_counts_a_big_table(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.admin.NEWEST", MANY // 20)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no look at each foreign key
        for table, rows in ROWS.items():
            cursor.execute(f"INSERT INTO {table} {rows}")
        cursor.execute(f"SET LOCAL session_replication_role = origin; ANALYZE {', '.join(ROWS)}")
    for path, filters in LISTS.items():
        for query in ("", "p=100", *filters, *SEARCHES[path]):
            with CaptureQueriesContext(connection) as seen:
                assert admin.get(f"/admin/{path}/?{query}").status_code == 200
            for sql in {each["sql"] for each in seen if each["sql"].startswith("SELECT")}:
                assert "COUNT(" not in sql or f"LIMIT {COUNTED}" in sql or "feeds_batch" in sql
                plan = explain(sql)
                assert not re.search(rf"Seq Scan on ({'|'.join(ROWS)})\b", plan), f"{path}?{query}\n{sql}\n{plan}"
                if query == "q=user1234" and "COUNT(" not in sql and "LIKE" in sql:
                    assert re.search(r"Scan (using|on) followers_account_username_", plan), plan


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_a_long_list_says_that_nobody_counted_on(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.admin.COUNTED", 3)
    AccountFactory.create_batch(5)
    assert "3 or more accounts" in admin.get("/admin/followers/account/").content.decode()

"""What people write: all or nothing, once per idempotency key, with what follows from it in the outbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from feeds import actions, entities, outbox
from feeds.database import rows
from feeds.models import ID_END, Delivery, IdempotencyKey, Mention, Outbox, Post, PostTag, Tag
from followers.models import Account
from tests.factories import AccountFactory, PostFactory


@pytest.mark.django_db
def test_a_post_comes_with_its_delivery_record_its_outbox_rows_and_counters():
    author, named = AccountFactory(), AccountFactory()
    post = PostFactory(author=author, text=f"hello @{named.username.upper()}, @{named.username} and @nobody")
    assert post.pk % 32 == 0 and post.pk < ID_END
    assert post.pk >> 16 == round(post.created_at.timestamp() * 1000)
    assert Delivery.objects.get(post=post).state == "queued"
    assert list(Outbox.objects.filter(subject_id=post.pk).values_list("task", flat=True)) == [
        "fan_out_post",
        "send_notifications",
        "update_search_index",
        "refresh_cache",
    ]
    assert list(Mention.objects.filter(post=post).values_list("account", flat=True)) == [named.pk]
    author.refresh_from_db()
    assert (author.statuses_count, author.last_status_at) == (1, post.created_at)


@pytest.mark.django_db
def test_a_post_is_answered_as_it_is_read_later(django_assert_num_queries):
    author, named, parent = AccountFactory(), AccountFactory(), PostFactory(text="#known")
    text = f"@{named.username} #Known #new #Z_1 #zz"
    with (
        transaction.atomic(),
        django_assert_num_queries(4),
    ):  # with that of the tags, its savepoint, and the end of that
        post = PostFactory(author=author, text=text, in_reply_to=parent, idempotency_key="k")
    assert post.entity == entities.post(post, author)
    assert [tag["name"] for tag in post.entity["tags"]] == ["known", "new", "z_1", "zz"]
    parent.refresh_from_db()
    assert (parent.replies_count, parent.reblogs_count, parent.version) == (1, 0, 2)


@pytest.mark.django_db(transaction=True)
def test_a_post_is_one_statement(django_assert_num_queries):
    author = AccountFactory()
    with django_assert_num_queries(1):
        PostFactory(author=author, text="Hello @nobody")


@pytest.mark.django_db
def test_two_posts_of_one_moment_take_two_ids_and_the_key_is_that_of_its_post():
    author = AccountFactory()
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM feeds_post_sequence")
        [(last,)] = cursor.fetchall()
    moment = timezone.now()
    first = PostFactory(author=author, created_at=moment)
    rows("SELECT setval('feeds_post_sequence', %(last)s)", last=last)
    second = PostFactory(author=author, created_at=moment, idempotency_key="k")
    assert first.pk >> 16 == second.pk >> 16 and first.pk < second.pk
    assert IdempotencyKey.objects.get().post_id == second.pk
    author.refresh_from_db()
    assert author.statuses_count == 2


@pytest.mark.django_db(transaction=True)
def test_a_tag_that_two_make_at_once_is_one_and_on_both_posts():
    author = AccountFactory()

    def publish(n: int) -> int:
        try:
            return PostFactory(text=f"#fresh{n // 4} #other{n // 4}", author=author).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(publish, range(64)))
    assert PostTag.objects.filter(post__in=ids).count() == 128
    assert Tag.objects.count() == 32


@pytest.mark.django_db
def test_a_rolled_back_post_leaves_no_task_behind():  # 3
    author = AccountFactory()
    with pytest.raises(RuntimeError), transaction.atomic():
        PostFactory(author=author)
        raise RuntimeError
    assert not Outbox.objects.filter(task="fan_out_post").exists()
    assert not Post.objects.exists() and not Delivery.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong", [{"text": ""}, {"text": " \n"}, {"text": "x" * 501}, {"text": "x", "visibility": "secret"}]
)
def test_a_wrong_post_is_refused_and_changes_nothing(wrong):
    author = AccountFactory()
    with pytest.raises(ValidationError):
        actions.publish_post(author=author, **wrong)
    assert not Post.objects.exists() and not Outbox.objects.filter(task="fan_out_post").exists()


@pytest.mark.django_db
def test_the_same_key_twice_is_one_post_and_another_authors_key_another():  # 2
    author, other = AccountFactory(), AccountFactory()
    first = PostFactory(author=author, text="first", idempotency_key="k")
    assert PostFactory(author=author, text="second", idempotency_key="k").text == "first"
    assert PostFactory(author=other, text="third", idempotency_key="k").pk != first.pk
    author.refresh_from_db()
    assert author.statuses_count == 1
    assert Outbox.objects.filter(task="fan_out_post").count() == 2


@pytest.mark.django_db
def test_a_key_whose_post_was_deleted_gives_no_new_post():  # 2
    author = AccountFactory()
    post = PostFactory(author=author, idempotency_key="k")
    actions.delete_post(author=author, post_id=post.pk)
    with pytest.raises(Post.DoesNotExist):
        PostFactory(author=author, idempotency_key="k")


@pytest.mark.django_db
def test_a_key_counts_for_an_hour_and_is_pruned_then():  # 2
    author = AccountFactory()
    first = PostFactory(author=author, idempotency_key="k")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    second = PostFactory(author=author, idempotency_key="k")
    assert second.pk != first.pk
    assert PostFactory(author=author, idempotency_key="k").pk == second.pk
    assert actions.prune_keys() == 0
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    assert actions.prune_keys() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_key_at_once_is_one_post():  # 2
    author = AccountFactory()

    def publish(n: int) -> int:
        try:
            return PostFactory(author=author, text=f"try {n}", idempotency_key="k").pk
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(publish, range(16)))) == 1
    author.refresh_from_db()
    assert author.statuses_count == 1 and Post.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_one_author_does_at_once_ends_in_right_counts_and_waits_in_no_circle():
    author, original = AccountFactory(), PostFactory()

    def act(n: int) -> None:
        try:
            for _ in range(6):
                actions.reblog(author=author, original=original)
                answer = PostFactory(author=author, in_reply_to=original)
                actions.pin(author=author, post=answer)
                actions.unreblog(author=author, original=original)
                actions.delete_post(author=author, post_id=answer.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4)))
    original.refresh_from_db()
    author.refresh_from_db()
    assert (original.reblogs_count, original.replies_count, author.statuses_count) == (0, 0, 0)
    assert Post.objects.live().get() == original


@pytest.mark.django_db(transaction=True)
def test_two_who_follow_each_other_at_once_do_not_wait_for_each_other():
    one, two = AccountFactory(), AccountFactory()

    def flip(pair: tuple[Account, Account]) -> None:
        try:
            for _ in range(15):
                actions.follow(follower=pair[0], followee_id=pair[1].pk)
                actions.unfollow(follower=pair[0], followee_id=pair[1].pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(flip, [(one, two), (two, one)]))
    for account in (one, two):
        account.refresh_from_db()
        assert (account.followers_count, account.following_count) == (0, 0)


@pytest.mark.django_db
def test_a_second_follow_changes_nothing():
    reader, author = AccountFactory(), AccountFactory()
    for _ in range(2):
        actions.follow(follower=reader, followee_id=author.pk)
    author.refresh_from_db()
    assert author.followers_count == 1
    assert Outbox.objects.filter(task="sync_pair").count() == 1
    for _ in range(2):
        actions.unfollow(follower=reader, followee_id=author.pk)
    author.refresh_from_db()
    assert author.followers_count == 0
    assert Outbox.objects.filter(task="sync_pair").count() == 2


@pytest.mark.django_db
def test_nobody_follows_oneself_or_somebody_unknown():
    reader = AccountFactory()
    with pytest.raises(ValidationError):
        actions.follow(follower=reader, followee_id=reader.pk)
    with pytest.raises(Account.DoesNotExist):
        actions.follow(follower=reader, followee_id=10**9)
    assert not Outbox.objects.filter(task="sync_pair").exists()


@pytest.mark.django_db
def test_only_the_author_deletes_and_only_once():
    post = PostFactory(in_reply_to=(parent := PostFactory()))
    parent.refresh_from_db()
    assert parent.replies_count == 1
    with pytest.raises(Post.DoesNotExist):
        actions.delete_post(author=parent.author, post_id=post.pk)
    assert actions.delete_post(author=post.author, post_id=post.pk)["text"] == post.text
    with pytest.raises(Post.DoesNotExist):
        actions.delete_post(author=post.author, post_id=post.pk)
    parent.refresh_from_db()
    post.author.refresh_from_db()
    assert (parent.replies_count, post.author.statuses_count) == (0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("username", {"username": "admin"}),
        ("username", {"username": "no spaces"}),
        ("username", {"username": "x" * 31}),
        ("username", {"username": "Taken"}),
        ("email", {"email": "nobody"}),
        ("email", {"email": "taken@example.org"}),
        ("password", {"password": "123"}),
    ],
)
def test_a_registration_is_refused_by_field(field, values):
    AccountFactory(username="taken", email="taken@example.org")
    before = Account.objects.count()
    good = {"username": "newcomer", "email": "newcomer@example.org", "password": "correct horse battery"}
    with pytest.raises(ValidationError) as wrong:
        actions.register(**good | values)
    assert list(wrong.value.message_dict) == [field]
    assert Account.objects.count() == before and not outbox.gauges()["unsent"]

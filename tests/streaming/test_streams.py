"""What each stream brings, and to whom."""

from __future__ import annotations

import pytest

from feeds import actions, tasks
from feeds.models import Outbox, Post
from followers.models import Account, List
from tests.factories import AccountFactory, PostFactory, follow, star

from .clients import frame, told


def update(post: Post) -> tuple[str, str]:
    return "update", str(post.pk)


@pytest.fixture
def pair(transactional_db: None) -> tuple[Account, Account]:
    """An author, and a follower of it."""
    author, [reader] = star(1)
    return author, reader


def test_a_post_is_told_to_its_author_and_followers_as_everybody_reads_it(listen, drain, api, pair):
    author, reader = pair
    stranger = AccountFactory()
    homes = [listen(one, "user") for one in (author, reader, stranger)]
    post = PostFactory(author=author, text="hello #news")
    PostFactory(author=stranger)
    drain()
    kind, status = homes[1].next()
    assert (kind, status) == ("update", api().get(f"/api/v1/statuses/{post.pk}").json())
    assert homes[0].next_id() == update(post)
    assert homes[2].next_id()[1] != str(post.pk), "the stranger's own comes first"


def test_what_no_home_timeline_shows_is_told_to_nobody(listen, drain, pair):  # 30, 35
    author, reader = pair
    other, muted = AccountFactory.create_batch(2)
    follow(reader, muted)
    home = listen(reader, "user")
    PostFactory(author=author, visibility="direct", text=f"for @{other.username} alone")
    PostFactory(author=author, in_reply_to=PostFactory(author=other))
    actions.mute(account=reader, target_id=muted.pk)
    PostFactory(author=muted)
    actions.reblog(author=author, original=PostFactory(author=muted))
    PostFactory(author=author, text=f"hello @{other.username}")
    drain()
    assert home.next_id() == update(Post.objects.get(text=f"hello @{other.username}"))
    actions.block(blocker=reader, blocked_id=other.pk)
    PostFactory(author=author, text=f"again @{other.username}")
    shown = [PostFactory(author=author, visibility=one, text="told") for one in ("private", "unlisted")]
    shown.append(PostFactory(author=author, visibility="direct", text=f"@{reader.username}"))
    drain()
    assert [home.next_id() for _ in shown] == [update(post) for post in shown] + []
    actions.unfollow(follower=reader, followee_id=author.pk)
    PostFactory(author=author, visibility="private")
    own = PostFactory(author=reader)
    drain()
    assert home.next_id()[0] == "notification", "of the direct post"
    assert home.next_id() == update(own)


def test_a_followed_hashtag_and_a_pulled_account_reach_home(listen, drain, pair):
    author, reader = pair
    author.home_mode_override = "pull"
    author.save()
    actions.follow_tag(account=reader, name="news")
    home = listen(reader, "user")
    posts = [PostFactory(author=author), PostFactory(text="some #News")]
    drain()
    assert [home.next_id(), home.next_id()] == [update(post) for post in posts]


def test_of_a_post_and_its_reblogs_the_first_is_told(listen, drain, pair):
    author, reader = pair
    follow(reader, other := AccountFactory())
    home = listen(reader, "user")
    post, elsewhere = PostFactory(author=author), PostFactory()
    actions.reblog(author=other, original=post)
    first = actions.reblog(author=author, original=elsewhere)
    actions.reblog(author=other, original=elsewhere)
    last = PostFactory(author=author)
    drain()
    told = [event for event in (home.next() for _ in range(3)) if event]
    assert [status["id"] for _, status in told] == [str(one.pk) for one in (post, first, last)]
    assert told[1][1]["reblog"]["id"] == str(elsewhere.pk)


def test_edits_and_deletions_follow_the_post(listen, drain, api, pair):
    author, reader = pair
    stranger = AccountFactory()
    home, away, public = listen(reader, "user"), listen(stranger, "user"), listen(stranger, "public")
    post = PostFactory(author=author)
    hidden = PostFactory(author=author, visibility="private")
    drain()
    assert (home.next_id(), home.next_id(), public.next_id()) == (update(post), update(hidden), update(post))
    actions.edit_post(author=author, post_id=post.pk, text="edited")
    drain()
    kind, status = home.next()
    assert (kind, status["content"]) == ("status.update", "<p>edited</p>")
    assert public.next_id() == ("status.update", str(post.pk))
    for one in (hidden, post):
        actions.delete_post(author=author, post_id=one.pk)
    drain()
    deleted = [("delete", str(one.pk)) for one in (hidden, post)]
    assert sorted([home.next_id(), home.next_id()]) == sorted(deleted)
    assert public.next_id() == ("delete", str(post.pk)), "and nothing of the private one"
    own = PostFactory(author=stranger)
    drain()
    assert away.next_id() == update(own)


def test_notifications_come_on_the_user_stream_and_on_their_own(listen, drain, api, pair):
    author, reader = pair
    home, alone = listen(author, "user"), listen(author, "user/notification")
    without = listen(author, "user", scopes="read:statuses")
    post = PostFactory(author=author)
    drain()
    assert home.next_id() == without.next_id() == update(post)
    actions.favourite(account=reader, post=post)
    drain()
    kind, notification = alone.next()
    assert (kind, notification["type"], notification["account"]["id"]) == ("notification", "favourite", str(reader.pk))
    assert notification == api(author).get("/api/v1/notifications").json()[0]
    assert home.next() == (kind, notification)
    second = PostFactory(author=author)
    drain()
    assert without.next_id() == update(second), "its token may not read notifications"


def test_public_streams_bring_what_everybody_wrote_for_everybody(listen, drain, pair):
    author, reader = pair
    public, local, empty = listen(reader, "public"), listen(reader, "public/local"), listen(reader, "public/remote")
    post = PostFactory(author=author)
    PostFactory(author=author, visibility="unlisted")
    PostFactory(author=AccountFactory(), in_reply_to=post)
    actions.reblog(author=reader, original=post)
    last = PostFactory(author=author, in_reply_to=post)
    drain()
    for stream in (public, local):
        assert [stream.next_id(), stream.next_id()] == [update(post), update(last)]
    assert empty.heard.empty()


def test_blocks_and_mutes_count_on_public_streams_at_once(listen, drain, pair):  # 35
    author, reader = pair
    blocked, muted, named = AccountFactory.create_batch(3)
    public, everybody = listen(reader, "public"), listen(AccountFactory(), "public")
    actions.block(blocker=blocked, blocked_id=reader.pk)
    actions.block(blocker=reader, blocked_id=named.pk)
    actions.mute(account=reader, target_id=muted.pk)
    posts = [PostFactory(author=one) for one in (blocked, muted)]
    posts.append(PostFactory(author=author, text=f"with @{named.username}"))
    posts.append(PostFactory(author=author))
    drain()
    assert [everybody.next_id() for _ in posts] == [update(post) for post in posts]
    assert public.next_id() == update(posts[-1])


def test_hashtags_are_told_whatever_their_case(listen, drain, pair):
    author, reader = pair
    streams = [listen(reader, "hashtag", tag="News"), listen(reader, "hashtag/local", tag="news")]
    PostFactory(author=author, text="nothing")
    PostFactory(author=author, text="private #news", visibility="private")
    post = PostFactory(author=author, text="some #NEWS")
    drain()
    assert [stream.next_id() for stream in streams] == [update(post)] * 2


def test_a_list_brings_its_members_by_its_policy_and_to_its_owner_alone(listen, drain, pair):
    author, reader = pair
    found = actions.create_list(owner=reader, title="friends", replies_policy=List.Replies.NONE)
    actions.add_to_list(owner=reader, list_id=found.pk, account_ids=[author.pk])
    stream = listen(reader, "list", list=str(found.pk))
    assert listen(author, "list", list=str(found.pk)).status == 404
    PostFactory(author=author, in_reply_to=PostFactory())
    post = PostFactory(author=author, visibility="private")
    drain()
    assert stream.next_id() == update(post)
    actions.delete_post(author=author, post_id=post.pk)
    drain()
    assert stream.next_id() == ("delete", str(post.pk))
    actions.remove_from_list(owner=reader, list_id=found.pk, account_ids=[author.pk])
    actions.delete_post(author=author, post_id=PostFactory(author=author).pk)
    drain()
    assert stream.heard.empty()


def test_a_task_that_runs_twice_tells_once(listen, drain, pair):  # 36
    author, reader = pair
    home = listen(reader, "user")
    post = PostFactory(author=author, text=f"hello @{reader.username}")
    drain()
    actions.edit_post(author=author, post_id=post.pk, text="edited")
    drain()
    for task in ("fan_out_post", "refresh_cache", "send_notifications"):
        row_ids = list(Outbox.objects.filter(task=task).values_list("pk", flat=True))
        Outbox.objects.filter(pk__in=row_ids).update(done_at=None, lease_until=None)
        getattr(tasks, task)(row_ids)
    last = PostFactory(author=author)
    drain()
    kinds = []
    while (found := home.next_id()) != update(last):
        kinds.append(found[0])
    assert sorted(kinds) == ["notification", "status.update", "update"]


def test_a_frame_names_its_stream_and_each_stream_has_one(frames, drain, pair):
    author, reader = pair
    socket = frames(reader, stream="user")
    for stream in (
        {"stream": "public"},
        {"stream": "public"},
        {"stream": "hashtag", "tag": "News"},
        {"stream": "direct"},
    ):
        socket.send('{"type": "subscribe", ' + str(stream).replace("'", '"')[1:])
    socket.send("{}")
    assert frame(socket)["status"] == 400, "so all before it is done"
    post = PostFactory(author=author, text="#news")
    drain()
    got = sorted([told(socket), told(socket), told(socket)])
    assert got == [(["hashtag", "News"], *update(post)), (["public"], *update(post)), (["user"], *update(post))]
    socket.send('{"type": "unsubscribe", "stream": "public"}')
    socket.send('{"type": "unsubscribe", "stream": "hashtag", "tag": "news"}')
    socket.send("no JSON")
    assert "error" in frame(socket)
    last = PostFactory(author=author, text="#news")
    own = PostFactory(author=reader)
    drain()
    assert [told(socket), told(socket)] == [(["user"], *update(last)), (["user"], *update(own))]

"""Search, and hashtags."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from feeds.models import Tag, TagDay
from tests.factories import AccountFactory, PostFactory

from .reading import ids, walk

pytestmark = pytest.mark.django_db


def found(caller: Any, kind: str, q: str, **query: Any) -> list[Any]:
    answer = caller.get("/api/v2/search", {"q": q, **query})
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"accounts", "statuses", "hashtags"}
    return [one["name"] if kind == "hashtags" else int(one["id"]) for one in answer.json()[kind]]


def test_statuses_are_found_by_beginnings_of_their_words_newest_first(api: Any, drain: Any) -> None:
    first = PostFactory(text="The cat sat")
    second = PostFactory(text="a mat", spoiler_text="Category")
    drain()
    assert found(api(), "statuses", "cat") == [second.pk, first.pk]
    assert found(api(), "statuses", "CAT mat") == [second.pk]
    assert found(api(), "statuses", "cat", limit=1) == [second.pk]
    assert found(api(), "statuses", "cat", limit=1, offset=1) == [first.pk]
    assert found(api(), "statuses", "cat", type="accounts") == []
    assert found(api(), "statuses", "!?") == []


def test_search_follows_edits_and_deletions(api: Any, drain: Any) -> None:
    alice = AccountFactory()
    post = PostFactory(author=alice, text="a cat")
    drain()
    api(alice).put(f"/api/v1/statuses/{post.pk}", {"status": "a dog"})
    drain()
    assert found(api(), "statuses", "cat") == []
    assert found(api(), "statuses", "dog") == [post.pk]
    api(alice).delete(f"/api/v1/statuses/{post.pk}")
    assert found(api(), "statuses", "dog") == []


def test_the_url_of_a_status_finds_it_alone(api: Any, settings: Any) -> None:
    alice, bob = AccountFactory(username="alice"), AccountFactory()
    private = PostFactory(author=alice, visibility="private")
    url = api(alice).get(f"/api/v1/statuses/{private.pk}").json()["url"]
    assert found(api(alice), "statuses", url, resolve="true") == [private.pk]
    assert found(api(bob), "statuses", url) == []
    assert found(api(alice), "statuses", f"{settings.BASE_URL}/@alice/{'9' * 18}") == []


def test_the_url_of_an_account_finds_it_alone(api: Any, settings: Any) -> None:
    alice, bob = AccountFactory(username="alice"), AccountFactory(username="alice2")
    url = api().get(f"/api/v1/accounts/{alice.pk}").json()["url"]
    for q in (url, f"{url}/", url.replace("alice", "Alice")):
        assert found(api(bob), "accounts", q, resolve="true") == [alice.pk]
    assert found(api(), "accounts", f"{settings.BASE_URL}/@nobody") == []
    api(alice).post(f"/api/v1/accounts/{bob.pk}/block")
    assert found(api(bob), "accounts", url) == []


def test_statuses_of_one_account_alone_can_be_searched(api: Any, drain: Any) -> None:
    alice, bob = AccountFactory.create_batch(2)
    posts = [PostFactory(author=author, text="a cat") for author in (alice, bob)]
    drain()
    assert found(api(), "statuses", "cat", account_id=alice.pk, exclude_unreviewed="true") == [posts[0].pk]
    assert found(api(), "statuses", "cat", account_id=0) == []
    assert api().get("/api/v2/search", {"q": "cat", "account_id": "x"}).status_code == 400


def test_accounts_are_found_as_people_write_them(api: Any, settings: Any) -> None:
    alice = AccountFactory(username="alice")
    alicia = AccountFactory(username="carol", display_name="Alice Liddell")
    caller, host = api(AccountFactory(username="zoe")), settings.BASE_URL.partition("//")[2]
    assert found(caller, "accounts", "ALI") == [alice.pk, alicia.pk]
    assert found(caller, "accounts", "alice lid") == [alicia.pk]
    for q in ("@alice", f"alice@{host}", f"@Alice@{host.upper()}"):
        assert found(caller, "accounts", q)[0] == alice.pk
        assert ids(caller.get("/api/v1/accounts/search", {"q": q}))[0] == alice.pk
    for q in ("alice@elsewhere.example", "a%", "a_i", "@"):
        assert ids(caller.get("/api/v1/accounts/search", {"q": q})) == []
    assert ids(caller.get("/api/v1/accounts/search", {"q": "ali", "limit": 1, "offset": 1})) == [alicia.pk]
    assert ids(caller.get("/api/v1/accounts/search", {"q": "ali", "following": "true"})) == []


def test_those_who_block_the_searcher_are_not_found(api: Any) -> None:
    alice, bob = AccountFactory(username="alice"), AccountFactory()
    api(alice).post(f"/api/v1/accounts/{bob.pk}/block")
    assert found(api(bob), "accounts", "alice") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"q": ""},
        {"q": " "},
        {"q": "x" * 501},
        {"q": "\0"},
        {"q": "x", "type": "people"},
        {"q": "x", "limit": "0"},
        {"q": "x", "offset": "-1"},
        {"q": "x", "offset": 1 << 63},
    ],
)
def test_a_wrong_search_is_refused(api: Any, wrong: dict[str, Any]) -> None:
    caller = api(AccountFactory())
    for path in ("/api/v2/search", "/api/v1/accounts/search"):
        if path.startswith("/api/v1") and "type" in wrong:
            continue
        answer = caller.get(path, wrong)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_odd_searches_find_nothing(api: Any) -> None:
    for q in ("x" * 500, "🙂" * 500, "' | 'a':* & \\", "a:b", "%", "@@", "#", "_", "ß" * 400):
        assert found(api(), "statuses", q) == []
    assert found(api(), "statuses", "x", offset=(1 << 63) - 1) == []


@pytest.mark.parametrize("kind", ["statuses", "accounts", "hashtags"])
def test_behind_ten_thousand_results_nobody_asks_for_more(api: Any, kind: str) -> None:
    with CaptureQueriesContext(connection) as seen:
        assert found(api(), kind, "cat", type=kind, offset=10_000) == []
        asked = len(seen)
        assert found(api(), kind, "cat", type=kind, offset=10_001) == []
        assert len(seen) == 2 * asked - 1


def test_many_words_cost_no_more_than_a_few(api: Any, drain: Any) -> None:
    """Each is the beginning of many others: 250 of them took ten seconds among 200,000 posts."""
    words = [f"word{number}" for number in range(30)]
    post = PostFactory(text=" ".join(words[:20]))
    drain()
    with CaptureQueriesContext(connection) as seen:
        assert found(api(), "statuses", " ".join(words)) == [post.pk]
        assert found(api(), "statuses", "word1 " * 80) == [post.pk]
    queries = [query["sql"] for query in seen if "feeds_searchentry" in (query["sql"] or "")]
    assert [query.count(":*") for query in queries] == [16, 1]


def test_hashtags_are_found_by_prefix_in_the_order_of_names(api: Any) -> None:
    PostFactory(text="#Cats #catalogue #dogs #42nd")
    assert found(api(), "hashtags", "CAT") == ["catalogue", "cats"]
    assert found(api(), "hashtags", "#cats") == ["cats"]
    assert found(api(), "hashtags", "cat", limit=1, offset=1) == ["cats"]


def test_a_status_links_its_tags(api: Any, settings: Any) -> None:
    status = api(AccountFactory()).post("/api/v1/statuses", {"status": "#Cats"}).json()
    assert status["tags"] == [{"name": "cats", "url": f"{settings.BASE_URL}/tags/cats"}]
    assert f'href="{settings.BASE_URL}/tags/cats"' in status["content"]


def test_a_tag_shows_a_week_of_use(api: Any, drain: Any) -> None:
    alice = AccountFactory()
    for author in (alice, alice, AccountFactory()):
        PostFactory(author=author, text="#cats")
    drain()
    today = timezone.now().date()
    tag = Tag.objects.get(name="cats")
    TagDay.objects.create(tag=tag, day=today - timedelta(days=6), uses=9, accounts=4)
    TagDay.objects.create(tag=tag, day=today - timedelta(days=7), uses=8, accounts=3)
    shown = api().get("/api/v1/tags/CATS").json()
    assert (shown["id"], shown["name"], "following" in shown) == (str(tag.pk), "cats", False)
    assert [(day["uses"], day["accounts"]) for day in shown["history"]] == [("3", "2"), *[("0", "0")] * 5, ("9", "4")]
    assert all(int(day["day"]) % 86400 == 0 for day in shown["history"])
    assert api().get("/api/v1/tags/nothing").status_code == 404


def test_a_followed_tag_feeds_home_until_it_is_unfollowed(api: Any, drain: Any) -> None:
    alice = AccountFactory()
    caller = api(alice)
    for _ in range(2):
        assert caller.post("/api/v1/tags/Cats/follow").json()["following"] is True
    caller.post("/api/v1/tags/ants/follow")
    post = PostFactory(text="#cats")
    drain()
    assert ids(caller.get("/api/v1/timelines/home")) == [post.pk]
    assert [one["name"] for one in caller.get("/api/v1/followed_tags").json()] == ["ants", "cats"]
    for _ in range(2):
        assert caller.post("/api/v1/tags/cats/unfollow").json()["following"] is False
    assert ids(caller.get("/api/v1/timelines/home")) == []
    for wrong in ("a b", "42", "a-b", "%00", "x" * 101):
        assert caller.post(f"/api/v1/tags/{wrong}/follow").status_code == 422


def test_so_many_hashtags_are_followed_and_no_more(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.actions.graph.TAGS_MOST", 2)
    caller = api(AccountFactory())
    answers = [caller.post(f"/api/v1/tags/{name}/follow") for name in ("cats", "dogs", "dogs", "ants")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422]
    assert answers[-1].json()["error"] == "Validation failed: limit of 2 followed tags reached"
    assert len(caller.get("/api/v1/followed_tags").json()) == 2
    caller.post("/api/v1/tags/cats/unfollow")
    assert caller.post("/api/v1/tags/ants/follow").status_code == 200


def test_a_tags_timeline_takes_several_tags_and_pages(api: Any) -> None:
    author = AccountFactory()
    a, b, ab, abc = [PostFactory(author=author, text=text).pk for text in ("#a", "#b", "#A #b", "#a #b #c")]
    PostFactory(author=author, text="#a", visibility="unlisted")
    tag = "/api/v1/timelines/tag"
    assert ids(api().get(f"{tag}/A")) == [abc, ab, a]
    assert ids(api().get(f"{tag}/a?any[]=b")) == [abc, ab, b, a]
    assert ids(api().get(f"{tag}/a?all[]=B")) == [abc, ab]
    assert ids(api().get(f"{tag}/a?all[]=b&none[]=c&local=true")) == [ab]
    assert ids(api().get(f"{tag}/a?all[]=never")) == ids(api().get(f"{tag}/never")) == []
    assert ids(api().get(f"{tag}/a?only_media=1")) == ids(api().get(f"{tag}/a?remote=1")) == []
    assert walk(api(), f"{tag}/a?limit=2") == [[abc, ab], [a]]
    assert api().get(f"{tag}/%00").status_code == 400
    assert ids(api().get(f"/api/v1/accounts/{author.pk}/statuses?tagged=C")) == [abc]

"""What the caller does to a post without writing one: favourite, bookmark, pin, reblog, mute; and what was so marked.

A reblog is marked by marking its original.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponse

from feeds import actions, posts
from feeds.models import Post

from . import forms, pagination, serializers, throttling
from .auth import AccountRequest
from .statuses import answer
from .views import APIView


def _marking(scope: str, deed: Callable[..., None]) -> type[APIView]:
    """A view that does this to a post, or to what that reblogs, and answers it."""

    class Marking(APIView):
        scopes = {"POST": scope}

        def post(self, request: AccountRequest, post_id: int) -> HttpResponse:
            post = _original(request, post_id)
            deed(account=request.user, post=post)
            return answer(request, post)

    return Marking


Favourite = _marking("write:favourites", actions.favourite)
Unfavourite = _marking("write:favourites", actions.unfavourite)
Bookmark = _marking("write:bookmarks", actions.bookmark)
Unbookmark = _marking("write:bookmarks", actions.unbookmark)
Mute = _marking("write:mutes", actions.mute_conversation)
Unmute = _marking("write:mutes", actions.unmute_conversation)


class Pin(APIView):
    scopes = {"POST": "write:accounts"}

    def post(self, request: AccountRequest, post_id: int) -> HttpResponse:
        post = posts.get_visible(request.user, post_id)
        actions.pin(author=request.user, post=post)
        return answer(request, post)


class Unpin(APIView):
    scopes = {"POST": "write:accounts"}

    def post(self, request: AccountRequest, post_id: int) -> HttpResponse:
        post = posts.get_visible(request.user, post_id)
        actions.unpin(author=request.user, post=post)
        return answer(request, post)


class Reblog(APIView):
    """Answers the reblog, which has the original in it."""

    scopes = {"POST": "write:statuses"}
    rates = {"POST": (throttling.POSTS, throttling.PUSHES)}

    def post(self, request: AccountRequest, post_id: int) -> HttpResponse:
        wishes, original = forms.checked(forms.ReblogForm, request), _original(request, post_id)
        return answer(request, actions.reblog(author=request.user, original=original, **wishes))


class Unreblog(APIView):
    """Answers the original."""

    scopes = {"POST": "write:statuses"}
    rates = {"POST": (throttling.DELETES,)}

    def post(self, request: AccountRequest, post_id: int) -> HttpResponse:
        original = _original(request, post_id)
        actions.unreblog(author=request.user, original=original)
        return answer(request, original)


class Favourites(APIView):
    scopes = {"GET": "read:favourites"}

    def get(self, request: AccountRequest) -> HttpResponse:
        return serializers.status_page(request, posts.favourites(request.user, pagination.row_cursor(request)))


class Bookmarks(APIView):
    scopes = {"GET": "read:bookmarks"}

    def get(self, request: AccountRequest) -> HttpResponse:
        return serializers.status_page(request, posts.bookmarks(request.user, pagination.row_cursor(request)))


def _original(request: AccountRequest, post_id: int) -> Post:
    post = posts.get_visible(request.user, post_id)
    return post.reblog_of or post

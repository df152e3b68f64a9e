"""What goes out as JSON, and the only place that says "status": functions shape entities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponse
from oauth2_provider.models import AccessToken
from rest_framework.response import Response

from feeds import entities
from feeds.entities import Entity, Ref, content, iso, tag_url
from feeds.explain import Explanation
from feeds.models import Marker
from feeds.notifications import Told
from feeds.posts import Page
from followers import graph
from followers.models import Account, Application, List

from . import pagination, shapes
from .auth import AccountRequest, AnyRequest

PICTURES = {kind: f"{settings.BASE_URL}/{kind}s/%d.png" for kind in ("avatar", "header")}
HELD_MOST = 4_000  # statuses in a process's memory, of about 2 KB each


def status_page(request: AnyRequest | AccountRequest, page: Page) -> HttpResponse:
    """206 says that the timeline is still being built, and that this page came from the database alone."""
    return HttpResponse(
        b"[%b]" % b",".join(statuses(page.refs, request.user)),
        status=200 if page.built else 206,
        headers={
            "Content-Type": "application/json",
            **pagination.links(request, page.next_max_id, page.prev_min_id),
        },
    )


def status_alone(request: AnyRequest | AccountRequest, entity: Entity) -> HttpResponse:
    """As a Response of REST framework's, which takes three times as long."""
    return HttpResponse(orjson.dumps(status(entity, request.user)), content_type="application/json")


def account_page(request: AnyRequest | AccountRequest, page: graph.Page) -> Response:
    """Its cursors are ids of follows, blocks, marks: newest first is by when that was done."""
    return pagination.response(
        request,
        [account(facts) for facts in entities.accounts(page.account_ids)],
        next_max_id=page.next_max_id,
        prev_min_id=page.prev_min_id,
    )


def muted_page(request: AccountRequest, page: graph.Page, ends: dict[int, datetime | None]) -> Response:
    muted = [
        {**account(one), "mute_expires_at": iso(ends.get(one["id"]))} for one in entities.accounts(page.account_ids)
    ]
    return pagination.response(request, muted, next_max_id=page.next_max_id, prev_min_id=page.prev_min_id)


def statuses(refs: list[Ref], viewer: Account | None) -> list[bytes]:
    """The JSON of each, as `status` has it."""
    global _held
    if len(_held) > HELD_MOST:
        _held = {}
    held = _held
    me = viewer.id if viewer else None
    keys = [(ref, None if me is None else me in (ref.account_id, ref.original_account_id)) for ref in refs]
    found = list(filter(None, map(held.get, keys)))  # one look for each: to hash all these numbers takes longest
    if len(found) == len(keys):
        return found
    missing = [key for key in dict.fromkeys(keys) if key not in held]
    for key, entity in zip(missing, entities.hydrate([ref for ref, _ in missing]), strict=True):
        held[key] = orjson.dumps(status(entity, viewer))
    return [held[key] for key in keys]


_held: dict[tuple[Ref, bool | None], bytes] = {}
"""The JSON by the reference, with versions and marks in it, and by who sees it: an author, anybody else who has signed in,
or (None) somebody who has not."""


def status(entity: Entity, viewer: Account | None) -> dict[str, Any]:
    """With the viewer's fields, if there is one."""
    url = f"{entity['account']['url']}/{entity['id']}"
    shaped = {
        "id": str(entity["id"]),
        "uri": url,
        "url": url,
        "created_at": entity["created_at"],
        "edited_at": entity["edited_at"],
        "account": account(entity["account"]),
        "content": entity["content"],
        "visibility": entity["visibility"],
        "sensitive": entity["sensitive"],
        "spoiler_text": entity["spoiler_text"],
        "language": entity["language"],
        "in_reply_to_id": _id(entity["in_reply_to_id"]),
        "in_reply_to_account_id": _id(entity["in_reply_to_account_id"]),
        "media_attachments": [],
        "mentions": [mention(one) for one in entity["mentions"]],
        "tags": entity["tags"],
        "emojis": [],
        "card": None,
        "poll": None,
        "application": None,
        "replies_count": entity["replies_count"],
        "reblogs_count": entity["reblogs_count"],
        "favourites_count": entity["favourites_count"],
        "filtered": [],
        "reblog": status(entity["reblog"], viewer) if entity["reblog"] else None,
    }
    if viewer is None:
        return shaped
    return shaped | {
        "favourited": entity["favourited"],
        "reblogged": entity["reblogged"],
        "bookmarked": entity["bookmarked"],
        "muted": entity["muted"],
        "pinned": entity["pinned"] and entity["account"]["id"] == viewer.pk,
    }


def edit(said: dict[str, Any], entity: Entity) -> shapes.StatusEdit:
    """What a post said once. Who wrote it, and whom it mentions, are those of now."""
    return {
        "content": content(said["text"], [one["username"] for one in entity["mentions"]]),
        "spoiler_text": said["spoiler_text"],
        "sensitive": said["sensitive"],
        "created_at": said["created_at"],
        "account": account(entity["account"]),
        "poll": None,
        "media_attachments": [],
        "emojis": [],
    }


def source(entity: Entity) -> shapes.StatusSource:
    return {"id": str(entity["id"]), "text": entity["text"], "spoiler_text": entity["spoiler_text"]}


def tag(entity: Entity, viewer: Account | None) -> dict[str, Any]:
    history = [
        {"day": str(day["day"]), "uses": str(day["uses"]), "accounts": str(day["accounts"])}
        for day in entity["history"]
    ]
    shaped = {"id": str(entity["id"]), "name": entity["name"], "url": tag_url(entity["name"]), "history": history}
    return shaped | ({"following": entity["following"]} if viewer else {})


def mention(entity: Entity) -> shapes.Mention:
    return {"id": str(entity["id"]), "username": entity["username"], "url": entity["url"], "acct": entity["username"]}


def account(entity: Entity) -> shapes.Account:
    avatar, header = PICTURES["avatar"] % entity["id"], PICTURES["header"] % entity["id"]
    return {
        "id": str(entity["id"]),
        "username": entity["username"],
        "acct": entity["username"],
        "url": entity["url"],
        "uri": entity["url"],
        "display_name": entity["display_name"],
        "note": entity["note_html"],
        "avatar": avatar,
        "avatar_static": avatar,
        "header": header,
        "header_static": header,
        "locked": entity["locked"],
        "bot": entity["bot"],
        "group": False,
        "discoverable": entity["discoverable"],
        "noindex": False,
        "created_at": f"{_date(entity['created_at'])}T00:00:00.000Z",
        "last_status_at": _date(entity["last_status_at"]),
        "statuses_count": entity["statuses_count"],
        "followers_count": entity["followers_count"],
        "following_count": entity["following_count"],
        "emojis": [],
        "fields": [_field(name, value) for name, value in entity["fields_html"]],
        "roles": [],
    }


def _field(name: str, value: str) -> shapes.Field:
    return {"name": name, "value": value, "verified_at": None}


def credential_account(entity: Entity) -> shapes.CredentialAccount:
    """Of what entities.own_account knows."""
    source: shapes.Source = {
        "privacy": entity["default_visibility"],
        "sensitive": entity["default_sensitive"],
        "language": entity["default_language"],
        "note": entity["note"],
        "fields": [_field(name, value) for name, value in entity["fields"]],
        "follow_requests_count": entity["follow_requests_count"],
        "discoverable": entity["discoverable"],
        "hide_collections": False,
    }
    role: shapes.Role = {"id": "-99", "name": "", "color": "", "permissions": "0", "highlighted": False}
    return {**account(entity), "source": source, "role": role}


def relationship(found: graph.Relationship) -> shapes.Relationship:
    return {
        "id": str(found.account_id),
        "following": found.following,
        "showing_reblogs": found.showing_reblogs,
        "notifying": found.notifying,
        "languages": None,
        "followed_by": found.followed_by,
        "blocking": found.blocking,
        "blocked_by": found.blocked_by,
        "muting": found.muting,
        "muting_notifications": found.muting_notifications,
        "requested": found.requested,
        "requested_by": found.requested_by,
        "domain_blocking": False,
        "endorsed": False,
        "note": found.note,
    }


def familiar_followers(account_id: int, found: list[Entity]) -> shapes.FamiliarFollowers:
    return {"id": str(account_id), "accounts": [account(facts) for facts in found]}


def featured_tag(found: entities.Featured) -> shapes.FeaturedTag:
    return {
        "id": str(found.id),
        "name": found.name,
        "url": found.url,
        "statuses_count": str(found.posts),
        "last_status_at": _date(found.last_post_at),
    }


def list_of_accounts(found: List) -> dict[str, Any]:
    return {
        "id": str(found.pk),
        "title": found.title,
        "replies_policy": found.replies_policy,
        "exclusive": found.exclusive,
    }


def notification(told: Told, sender: Entity, post: Entity | None, viewer: Account) -> dict[str, Any]:
    shaped = {"id": str(told.id), "type": told.type, "created_at": told.created_at, "account": account(sender)}
    return shaped | ({"status": status(post, viewer)} if post else {})


def markers(found: Iterable[Marker]) -> dict[str, Any]:
    return {
        one.timeline: {
            "last_read_id": str(one.last_read_id),
            "version": one.version,
            "updated_at": iso(one.updated_at),
        }
        for one in found
    }


def delivery(report: dict[str, Any]) -> dict[str, Any]:
    return report | {"id": str(report["id"])}


def explanation(found: Explanation, reader: Account, post_id: int) -> dict[str, Any]:
    return {"status_id": str(post_id), "account_id": str(reader.pk), **asdict(found)}


def application(app: Application) -> shapes.Application:
    return {
        "id": str(app.pk),
        "name": app.name,
        "website": app.website or None,
        "scopes": app.scopes.split(),
        "redirect_uri": "\n".join(app.redirect_uris.split()),
        "redirect_uris": app.redirect_uris.split(),
    }


def client(app: Application, secret: str) -> dict[str, Any]:
    """What an application learns once, when it registers."""
    return {"client_id": app.client_id, "client_secret": secret, "client_secret_expires_at": 0, "vapid_key": ""}


def token(issued: AccessToken, text: str) -> shapes.Token:
    return {
        "access_token": text,
        "token_type": "Bearer",
        "scope": issued.scope,
        "created_at": int(issued.created.timestamp()),
    }


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _date(moment: str | None) -> str | None:
    return moment and moment[:10]

"""What the server says of itself: to clients as Mastodon's does, in both versions, to OAuth libraries, and as NodeInfo."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from rest_framework.request import Request
from rest_framework.response import Response

from feeds import actions, database, entities, replicas
from feeds.models import Post
from followers.models import Account

from . import oauth, serializers, shapes
from .auth import SCOPES, AccountRequest
from .errors import only_read
from .views import APIView

# The first number is what clients go by: it says which of Mastodon's API there is here.
VERSION = f"4.2.10 (compatible; feedsvc {settings.VERSION})"
TITLE = "feedsvc"
DESCRIPTION = "A social feed service that fans out on write."
NODEINFO = "http://nodeinfo.diaspora.software/ns/schema/2.0"
COUNTED_FOR = 60  # seconds
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 630"><rect width="1200" height="630" fill="#1d5fbf"/>\
<g fill="none" stroke="#fff" stroke-width="26" stroke-linecap="round"><path d="M330 315H870M330 315C560 315 560 165 870 165\
M330 315C560 315 560 465 870 465"/></g><g fill="#fff"><circle cx="310" cy="315" r="62"/><circle cx="890" cy="165" r="42"/>\
<circle cx="890" cy="315" r="42"/><circle cx="890" cy="465" r="42"/></g></svg>"""


class Public(APIView):
    """Anybody may ask, and a token that is no longer good does no harm: with it clients ask where they are."""

    authentication_classes = ()
    permission_classes = ()


class InstanceV1(Public):
    def get(self, request: Request) -> Response:
        counted = _counted()
        return Response(
            {
                "uri": urlsplit(settings.BASE_URL).netloc,
                "title": TITLE,
                "short_description": DESCRIPTION,
                "description": DESCRIPTION,
                "email": "",
                "version": VERSION,
                "urls": {"streaming_api": settings.STREAMING_URL},
                "stats": {"user_count": counted["users"], "status_count": counted["posts"], "domain_count": 0},
                "thumbnail": _thumbnail(),
                "languages": ["en"],
                "registrations": True,
                "approval_required": False,
                "invites_enabled": False,
                "configuration": _limits(),
                "contact_account": _contact(),
                "rules": [],
            }
        )


class InstanceV2(Public):
    def get(self, request: Request) -> Response:
        return Response(
            {
                "domain": urlsplit(settings.BASE_URL).netloc,
                "title": TITLE,
                "version": VERSION,
                "source_url": "",
                "description": DESCRIPTION,
                "usage": {"users": {"active_month": _counted()["active_month"]}},
                "thumbnail": {"url": _thumbnail()},
                "languages": ["en"],
                "configuration": {
                    "urls": {"streaming": settings.STREAMING_URL},
                    **_limits(),
                    "translation": {"enabled": False},
                },
                "registrations": {"enabled": True, "approval_required": False, "message": None, "url": None},
                "contact": {"email": "", "account": _contact()},
                "rules": [],
            }
        )


class ExtendedDescription(Public):
    def get(self, request: Request) -> Response:
        return Response({"updated_at": None, "content": ""})


class Preferences(APIView):
    """What a client starts with where its user has not chosen otherwise."""

    scopes = {"GET": "read:accounts"}

    def get(self, request: AccountRequest) -> Response:
        source = serializers.credential_account(entities.own_account(request.user.pk))["source"]
        return Response(
            {
                "posting:default:visibility": source["privacy"],
                "posting:default:sensitive": source["sensitive"],
                "posting:default:language": source["language"],
                "reading:expand:media": "default",
                "reading:expand:spoilers": False,
                "reading:autoplay:gifs": False,
            }
        )


class AuthorizationServer(Public):
    """RFC 8414."""

    def get(self, request: Request) -> Response:
        url = settings.BASE_URL
        return Response(
            {
                "issuer": url,
                "authorization_endpoint": f"{url}/oauth/authorize",
                "token_endpoint": f"{url}/oauth/token",
                "revocation_endpoint": f"{url}/oauth/revoke",
                "app_registration_endpoint": f"{url}/api/v1/apps",
                "scopes_supported": sorted(SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": list(oauth.grants()),
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            }
        )


class NodeInfoLinks(Public):
    def get(self, request: Request) -> Response:
        return Response({"links": [{"rel": NODEINFO, "href": f"{settings.BASE_URL}/nodeinfo/2.0"}]})


class NodeInfo(Public):
    def get(self, request: Request) -> Response:
        counted = _counted()
        users = {
            "total": counted["users"],
            "activeMonth": counted["active_month"],
            "activeHalfyear": counted["active_half_year"],
        }
        return Response(
            {
                "version": "2.0",
                "software": {"name": "feedsvc", "version": settings.VERSION},
                "protocols": [],  # between servers: it speaks none
                "services": {"inbound": [], "outbound": []},
                "usage": {"users": users, "localPosts": counted["posts"]},
                "openRegistrations": True,
                "metadata": {"nodeName": TITLE, "nodeDescription": DESCRIPTION},
            }
        )


@only_read
@cache_control(public=True, max_age=24 * 3600)
def picture(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PICTURE, content_type="image/svg+xml")


def _thumbnail() -> str:
    return f"{settings.BASE_URL}/thumbnail.svg"


def _counted() -> dict[str, int]:
    """Looked at once a minute at most; what there are very many of is estimated (database.about)."""
    return cache.get_or_set("instance:counted", lambda: replicas.read(_count), COUNTED_FOR) or _count()


def _count() -> dict[str, int]:
    accounts = Account.objects.filter(is_active=True)
    return {
        "users": database.about(accounts),
        "active_month": database.about(accounts.filter(last_active_at__gt=Now() - timedelta(days=28))),
        "active_half_year": database.about(accounts.filter(last_active_at__gt=Now() - timedelta(days=180))),
        "posts": database.about(Post.objects.live()),
    }


def _contact() -> shapes.Account | None:
    """The first of those who run the service."""
    staff = Account.objects.filter(is_staff=True, is_active=True).order_by("pk").values_list("pk", flat=True).first()
    return serializers.account(entities.account(staff)) if staff else None


def _limits() -> dict[str, Any]:
    """Zeros: there is none of it."""
    return {
        "accounts": {"max_featured_tags": actions.FEATURED_MOST, "max_pinned_statuses": actions.PINS_MAX},
        "statuses": {
            "max_characters": actions.TEXT_MAX,
            "max_media_attachments": 0,
            "characters_reserved_per_url": actions.LINK_LENGTH,
        },
        "media_attachments": {
            "supported_mime_types": [],
            "image_size_limit": 0,
            "image_matrix_limit": 0,
            "video_size_limit": 0,
            "video_frame_rate_limit": 0,
            "video_matrix_limit": 0,
        },
        "polls": {"max_options": 0, "max_characters_per_option": 0, "min_expiration": 0, "max_expiration": 0},
    }

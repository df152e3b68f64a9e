"""Every URL of the API, flat. A trailing slash may be left out or not, on any of them, and nothing is redirected."""

from typing import Any

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from . import accounts, oauth, operations, statuses, timelines


class IdConverter(IntConverter):
    """A decimal number below 2^63. Whatever else stands in an id's place names nothing, so it is 404."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        if (number := int(value)) >= 1 << 63:
            raise ValueError
        return number


register_converter(IdConverter, "id")

ROUTES: dict[str, Any] = {
    # OAuth
    "api/v1/apps": oauth.Apps.as_view(),
    "api/v1/apps/verify_credentials": oauth.VerifyApp.as_view(),
    "oauth/token": oauth.Token.as_view(),
    "oauth/revoke": oauth.Revoke.as_view(),
    # Accounts
    "api/v1/accounts": accounts.Register.as_view(),
    "api/v1/accounts/verify_credentials": accounts.VerifyCredentials.as_view(),
    "api/v1/accounts/lookup": accounts.Lookup.as_view(),
    "api/v1/accounts/relationships": accounts.Relationships.as_view(),
    "api/v1/accounts/<id:account_id>": accounts.Show.as_view(),
    "api/v1/accounts/<id:account_id>/statuses": accounts.Statuses.as_view(),
    "api/v1/accounts/<id:account_id>/followers": accounts.Followers.as_view(),
    "api/v1/accounts/<id:account_id>/following": accounts.Following.as_view(),
    "api/v1/accounts/<id:account_id>/follow": accounts.Follow.as_view(),
    "api/v1/accounts/<id:account_id>/unfollow": accounts.Unfollow.as_view(),
    # Statuses
    "api/v1/statuses": statuses.Publish.as_view(),
    "api/v1/statuses/<id:post_id>": statuses.Show.as_view(),
    "api/v1/statuses/<id:post_id>/delivery": statuses.Delivery.as_view(),
    "api/v1/statuses/<id:post_id>/explain": statuses.Explain.as_view(),
    # Timelines
    "api/v1/timelines/home": timelines.Home.as_view(),
    "api/v1/timelines/public": timelines.Public.as_view(),
    # Operations
    "healthz": operations.healthz,
    "metrics": operations.metrics,
    "avatars/default.svg": operations.picture,
    "headers/default.svg": operations.picture,
}

urlpatterns = [path(route + slash, view) for route, view in ROUTES.items() for slash in ("", "/")]

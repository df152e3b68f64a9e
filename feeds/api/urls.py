"""Every URL of the API, flat. A trailing slash may be left out or not, on any of them, and nothing is redirected."""

from typing import Any

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from . import (
    accounts,
    admin,
    docs,
    instance,
    lists,
    markers,
    marks,
    notifications,
    oauth,
    operations,
    pictures,
    relationships,
    search,
    statuses,
    tags,
    timelines,
    unbuilt,
)


class IdConverter(IntConverter):
    """A decimal number below 2^63. Whatever else stands in an id's place names nothing, so it is 404."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        if (number := int(value)) >= 1 << 63:
            raise ValueError
        return number


register_converter(IdConverter, "id")

ROUTES: dict[str, Any] = {
    # What is asked for most, since Django tries one after the other
    "api/v1/timelines/home": timelines.Home.as_view(),
    "api/v1/statuses": statuses.Statuses.as_view(),
    # OAuth
    "api/v1/apps": oauth.Apps.as_view(),
    "api/v1/apps/verify_credentials": oauth.VerifyApp.as_view(),
    "oauth/token": oauth.Token.as_view(),
    "oauth/revoke": oauth.Revoke.as_view(),
    # Accounts
    "api/v1/accounts": accounts.Accounts.as_view(),
    "api/v1/accounts/verify_credentials": accounts.VerifyCredentials.as_view(),
    "api/v1/accounts/update_credentials": accounts.UpdateCredentials.as_view(),
    "api/v1/accounts/lookup": accounts.Lookup.as_view(),
    "api/v1/accounts/search": accounts.Search.as_view(),
    "api/v1/accounts/<id:account_id>": accounts.Show.as_view(),
    "api/v1/accounts/<id:account_id>/statuses": accounts.Statuses.as_view(),
    "api/v1/accounts/<id:account_id>/followers": accounts.Followers.as_view(),
    "api/v1/accounts/<id:account_id>/following": accounts.Following.as_view(),
    "api/v1/accounts/<id:account_id>/lists": accounts.Lists.as_view(),
    "api/v1/accounts/<id:account_id>/featured_tags": tags.FeaturedBy.as_view(),
    # Relationships
    "api/v1/accounts/relationships": relationships.Relationships.as_view(),
    "api/v1/accounts/<id:account_id>/follow": relationships.Follow.as_view(),
    "api/v1/accounts/<id:account_id>/unfollow": relationships.Unfollow.as_view(),
    "api/v1/accounts/familiar_followers": relationships.FamiliarFollowers.as_view(),
    "api/v1/accounts/<id:account_id>/remove_from_followers": relationships.RemoveFollower.as_view(),
    "api/v1/accounts/<id:account_id>/note": relationships.Note.as_view(),
    "api/v1/follow_requests": relationships.FollowRequests.as_view(),
    "api/v1/follow_requests/<id:account_id>/authorize": relationships.Authorize.as_view(),
    "api/v1/follow_requests/<id:account_id>/reject": relationships.Reject.as_view(),
    "api/v1/accounts/<id:account_id>/block": relationships.Block.as_view(),
    "api/v1/accounts/<id:account_id>/unblock": relationships.Unblock.as_view(),
    "api/v1/accounts/<id:account_id>/mute": relationships.Mute.as_view(),
    "api/v1/accounts/<id:account_id>/unmute": relationships.Unmute.as_view(),
    "api/v1/blocks": relationships.Blocks.as_view(),
    "api/v1/mutes": relationships.Mutes.as_view(),
    # Statuses
    "api/v1/statuses/<id:post_id>": statuses.Show.as_view(),
    "api/v1/statuses/<id:post_id>/source": statuses.Source.as_view(),
    "api/v1/statuses/<id:post_id>/history": statuses.History.as_view(),
    "api/v1/statuses/<id:post_id>/context": statuses.Context.as_view(),
    "api/v1/statuses/<id:post_id>/reblogged_by": statuses.RebloggedBy.as_view(),
    "api/v1/statuses/<id:post_id>/favourited_by": statuses.FavouritedBy.as_view(),
    "api/v1/statuses/<id:post_id>/delivery": statuses.Delivery.as_view(),
    "api/v1/statuses/<id:post_id>/explain": statuses.Explain.as_view(),
    "api/v1/statuses/<id:post_id>/delivery/cancel": statuses.CancelDelivery.as_view(),
    "api/v1/statuses/<id:post_id>/delivery/replay": statuses.ReplayDelivery.as_view(),
    "api/v1/statuses/<id:post_id>/delivery/drop": statuses.DropDelivery.as_view(),
    # Marks
    "api/v1/statuses/<id:post_id>/favourite": marks.Favourite.as_view(),
    "api/v1/statuses/<id:post_id>/unfavourite": marks.Unfavourite.as_view(),
    "api/v1/statuses/<id:post_id>/bookmark": marks.Bookmark.as_view(),
    "api/v1/statuses/<id:post_id>/unbookmark": marks.Unbookmark.as_view(),
    "api/v1/statuses/<id:post_id>/pin": marks.Pin.as_view(),
    "api/v1/statuses/<id:post_id>/unpin": marks.Unpin.as_view(),
    "api/v1/statuses/<id:post_id>/reblog": marks.Reblog.as_view(),
    "api/v1/statuses/<id:post_id>/unreblog": marks.Unreblog.as_view(),
    "api/v1/statuses/<id:post_id>/mute": marks.Mute.as_view(),
    "api/v1/statuses/<id:post_id>/unmute": marks.Unmute.as_view(),
    "api/v1/favourites": marks.Favourites.as_view(),
    "api/v1/bookmarks": marks.Bookmarks.as_view(),
    # Timelines, lists, tags
    "api/v1/timelines/public": timelines.Public.as_view(),
    "api/v1/timelines/tag/<str:name>": timelines.Tag.as_view(),
    "api/v1/timelines/list/<id:list_id>": timelines.List.as_view(),
    "api/v1/lists": lists.Lists.as_view(),
    "api/v1/lists/<id:list_id>": lists.Show.as_view(),
    "api/v1/lists/<id:list_id>/accounts": lists.Accounts.as_view(),
    "api/v1/tags/<str:name>": tags.Show.as_view(),
    "api/v1/tags/<str:name>/follow": tags.Follow.as_view(),
    "api/v1/tags/<str:name>/unfollow": tags.Unfollow.as_view(),
    "api/v1/followed_tags": tags.Followed.as_view(),
    "api/v1/featured_tags": tags.Featured.as_view(),
    "api/v1/featured_tags/suggestions": tags.Suggestions.as_view(),
    "api/v1/featured_tags/<id:featured_id>": tags.Unfeature.as_view(),
    # Search, notifications, markers
    "api/v2/search": search.Search.as_view(),
    "api/v1/notifications": notifications.Notifications.as_view(),
    "api/v1/notifications/unread_count": notifications.UnreadCount.as_view(),
    "api/v1/notifications/clear": notifications.Clear.as_view(),
    "api/v1/notifications/<id:notification_id>": notifications.Show.as_view(),
    "api/v1/notifications/<id:notification_id>/dismiss": notifications.Dismiss.as_view(),
    "api/v1/markers": markers.Markers.as_view(),
    "api/v1/streaming": operations.streaming,
    "api/v1/streaming/<path:rest>": operations.streaming,
    # The instance
    "api/v1/instance": instance.InstanceV1.as_view(),
    "api/v2/instance": instance.InstanceV2.as_view(),
    "api/v1/instance/extended_description": instance.ExtendedDescription.as_view(),
    "api/v1/preferences": instance.Preferences.as_view(),
    ".well-known/oauth-authorization-server": instance.AuthorizationServer.as_view(),
    ".well-known/nodeinfo": instance.NodeInfoLinks.as_view(),
    "nodeinfo/2.0": instance.NodeInfo.as_view(),
    "thumbnail.svg": instance.picture,
    # What is not built
    **dict.fromkeys(
        """
        api/v1/custom_emojis api/v1/announcements api/v1/directory api/v1/trends api/v1/trends/tags api/v1/trends/statuses
        api/v1/trends/links api/v1/instance/rules api/v1/instance/peers api/v1/instance/activity api/v1/instance/domain_blocks
        """.split(),
        unbuilt.Nothing.as_view(anonymous=("GET",)),
    ),
    "api/v1/instance/translation_languages": unbuilt.Nothing.as_view(anonymous=("GET",), answer={}),
    "api/v1/filters": unbuilt.Nothing.as_view(scopes={"GET": "read:filters"}),
    "api/v2/filters": unbuilt.Nothing.as_view(scopes={"GET": "read:filters"}),
    "api/v1/conversations": unbuilt.Nothing.as_view(scopes={"GET": "read:statuses"}),
    "api/v1/scheduled_statuses": unbuilt.Nothing.as_view(scopes={"GET": "read:statuses"}),
    "api/v1/suggestions": unbuilt.Nothing.as_view(scopes={"GET": "read"}),
    "api/v2/suggestions": unbuilt.Nothing.as_view(scopes={"GET": "read"}),
    "api/v1/endorsements": unbuilt.Nothing.as_view(scopes={"GET": "read:accounts"}),
    "api/v1/domain_blocks": unbuilt.Nothing.as_view(scopes={"GET": "read:blocks"}),
    "api/v1/media": unbuilt.Media.as_view(),
    "api/v2/media": unbuilt.Media.as_view(),
    # Operations
    "api/v1/admin/deliveries": admin.Deliveries.as_view(),
    "healthz": operations.healthz,
    "metrics": operations.metrics,
    "api/openapi.json": docs.openapi,
    "api/docs": docs.page,
    # Pictures
    "avatars/<id:account_id>.png": pictures.avatar,
    "headers/<id:account_id>.png": pictures.header,
}

urlpatterns = [path(route + slash, view) for route, view in ROUTES.items() for slash in ("", "/")]

"""Posts, their fan-out, and home timelines."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


class FeedsConfig(AppConfig):
    name = "feeds"
    default_auto_field = "django.db.models.BigAutoField"


@register(Tags.security, deploy=True)
def tls(**_: Any) -> list[CheckMessage]:
    """Django's own check of it takes for granted that each answer passes SecurityMiddleware."""
    if settings.BASE_URL.startswith("https://"):
        return []
    hint = "Let a proxy end TLS before it, and set BASE_URL to https://..."
    return [Warning("Without TLS anybody on the way can read tokens and passwords", hint=hint, id="feeds.W001")]

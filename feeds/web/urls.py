"""Every page for people. A trailing slash may be left out or not."""

from __future__ import annotations

from typing import Any

from django.urls import path

from . import pages

ROUTES: dict[str, Any] = {
    "oauth/authorize": pages.Authorize.as_view(),
    "oauth/authorize/sign_up": pages.SignUp.as_view(),
    "oauth/authorize/native": pages.code,
}

urlpatterns = [path(route + slash, view) for route, view in ROUTES.items() for slash in ("", "/")]

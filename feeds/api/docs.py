"""The OpenAPI document, and a page of it: Swagger UI, of files that the web server has (run.py), and none from elsewhere."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import etag

from .errors import only_read

DIST = f"{settings.STATIC_URL}drf_spectacular_sidecar/swagger-ui-dist"
SCRIPT = """SwaggerUIBundle({
  url: "/api/openapi.json", dom_id: "#reference", deepLinking: true, docExpansion: "none", displayRequestDuration: true,
  defaultModelsExpandDepth: 0, validatorUrl: null
})"""
STYLE = "body { margin: 0 }"
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>feedsvc: the API</title>
<link rel="icon" href="{DIST}/favicon-32x32.png">
<link rel="stylesheet" href="{DIST}/swagger-ui.css">
<style>{STYLE}</style>
</head>
<body>
<div id="reference"></div>
<noscript>This page needs JavaScript. The document that it shows: <a href="/api/openapi.json">/api/openapi.json</a></noscript>
<script src="{DIST}/swagger-ui-bundle.js"></script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def allowed(text: str) -> str:
    """The source expression of a Content-Security-Policy that lets this inline text be."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' {allowed(SCRIPT)}",
        f"style-src 'self' {allowed(STYLE)}",
        "img-src 'self' data:",  # its icons
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@cache
def document() -> bytes:
    """The same until the process ends. What makes it is imported when somebody first asks: no worker needs it."""
    from . import schema

    return orjson.dumps(schema.document())


def version(request: HttpRequest) -> str:
    return f'"{hashlib.sha256(document()).hexdigest()[:16]}"'


@only_read
@cache_control(public=True, no_cache=True)  # a browser asks whether what it has is still so: releases change it
@etag(version)
def openapi(request: HttpRequest) -> HttpResponse:
    return HttpResponse(document(), content_type="application/json")


@only_read
@cache_control(public=True, no_cache=True)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE, headers={"Content-Security-Policy": POLICY})

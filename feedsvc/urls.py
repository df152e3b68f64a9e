"""Every URL of the service: the API's, those of the pages for people, and the admin's unless ADMIN is off."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView

from feeds.api import urls as api
from feeds.web import urls as web

urlpatterns: list[URLPattern | URLResolver] = [*api.urlpatterns, *web.urlpatterns]
if settings.ADMIN:
    from feeds.admin import site

    urlpatterns += [path("admin", RedirectView.as_view(pattern_name="admin:index")), path("admin/", site.urls)]

handler400 = "feeds.web.errors.bad_request"
handler404 = "feeds.web.errors.not_found"
handler500 = "feeds.web.errors.server_error"

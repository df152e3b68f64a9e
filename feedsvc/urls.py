"""Every URL of the service: the API's, and nothing else yet."""

from django.urls import include, path

urlpatterns = [path("", include("feeds.api.urls"))]

handler400 = "feeds.api.errors.bad_request"
handler404 = "feeds.api.errors.not_found"
handler500 = "feeds.api.errors.server_error"

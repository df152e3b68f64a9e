"""Middleware that only the admin needs, kept off the API's requests: its callers have tokens and no cookies."""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.deprecation import MiddlewareMixin


class AdminOnly(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> Any:
        return super().__call__(request) if request.path_info.startswith("/admin/") else self.get_response(request)


class Session(AdminOnly, SessionMiddleware):
    pass


class Csrf(AdminOnly, CsrfViewMiddleware):
    pass


class Authentication(AdminOnly, AuthenticationMiddleware):
    pass


class Message(AdminOnly, MessageMiddleware):
    pass


class XFrameOptions(AdminOnly, XFrameOptionsMiddleware):
    pass

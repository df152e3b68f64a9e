"""/oauth/authorize: a person signs in, or up, and lets an application in or not. The rules are those of api/oauth.py.

All of it happens at one address, that of the link by which the application sent the person here: what is asked is read from
it each time, nothing is kept between two pages but who is signed in, and no page has to be told where to go next.
Without JavaScript: each button is a form's, and its `deed` says what it is for.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from django import forms
from django.contrib.auth import login, logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.encoding import iri_to_uri
from django.utils.safestring import mark_safe
from django.views import View
from django.views.decorators.http import require_safe
from oauthlib.oauth2 import FatalClientError, InvalidClientIdError, MissingClientIdError, OAuth2Error
from oauthlib.oauth2.rfc6749.errors import (
    InvalidRedirectURIError,
    MismatchingRedirectURIError,
    MissingRedirectURIError,
)

from feeds.api import oauth, throttling
from feeds.api.forms import OUT_OF_BAND
from followers.models import Account

from .errors import AUTHORIZE
from .forms import SignInForm, SignUpForm
from .scopes import in_words

STYLE = mark_safe((Path(__file__).parent / "style.css").read_text())  # noqa: S308  a file of ours
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'; form-action %s"
)

UNTRUSTED: dict[type[OAuth2Error], str] = {
    MissingClientIdError: "The link does not say which application it is for (client_id).",
    InvalidClientIdError: "No application is registered here under this client_id.",
    MissingRedirectURIError: "The link does not say where the application wants you back (redirect_uri).",
    InvalidRedirectURIError: "The link wants you sent to what is no address (redirect_uri).",
    MismatchingRedirectURIError: "The link wants you sent to an address that the application has not named (redirect_uri).",
}


class Page(View):
    """Asked of a person by a link of an application's. `asked` is what (oauth.asked)."""

    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            self.asked = oauth.asked((name, value) for name, values in request.GET.lists() for value in values)
        except FatalClientError as wrong:
            return refusal(request, UNTRUSTED.get(type(wrong)) or f"The link is wrong: {wrong.description}")
        except OAuth2Error as wrong:
            # Only somebody who signed in is sent on: else a link to us could lead anybody anywhere (RFC 9700, 4.11.2).
            if request.user.is_authenticated and wrong.redirect_uri != OUT_OF_BAND:
                return _redirect(oauth.answer_uri(wrong.redirect_uri, wrong.twotuples))
            sentence = wrong.description or oauth.SENTENCES.get(wrong.error, "")
            return refusal(request, f"The application has asked for what it can't have ({wrong.error}). {sentence}")
        return super().dispatch(request, *args, **kwargs)

    def signed_in(self, account: Account) -> HttpResponse:
        self.request.session.flush()  # a new one each time: Django keeps that of who was signed in already
        login(self.request, account)
        return self.consent()

    def consent(self) -> HttpResponse:
        """To what was asked, with whoever is signed in now. `force_login` has had its way."""
        return HttpResponseRedirect(self.url("", without="force_login"))

    def url(self, path: str, without: str = "") -> str:
        query = self.request.GET.copy()
        query.pop(without, None)
        return f"{AUTHORIZE}{path}?{query.urlencode()}"


class Authorize(Page):
    def get(self, request: HttpRequest) -> HttpResponse:
        forced = request.GET.get("force_login", "").lower() in ("true", "1", "on")
        if forced or not request.user.is_authenticated:
            return self.sign_in_page(SignInForm(request))
        return self.consent_page()

    def post(self, request: HttpRequest) -> HttpResponse:
        deed = request.POST.get("deed")
        if deed == "sign_in":
            return self.sign_in()
        if deed == "leave":
            logout(request)
            return self.consent()
        # What was seen with another account signed in is nobody's consent for this one.
        if request.user.is_authenticated and request.POST.get("account") == str(request.user.pk):
            if deed == "allow":
                return self.answer(oauth.code_for(self.asked, request.user))
            if deed == "deny":
                return self.answer([("error", "access_denied"), ("error_description", "The person said no")])
        return self.consent()

    def sign_in(self) -> HttpResponse:
        if spent := throttling.sign_in_refused(self.request, self.request.POST.get("username", "")):
            return too_many(self.request, spent.wait)
        form = SignInForm(self.request, data=self.request.POST)
        if not form.is_valid():
            return self.sign_in_page(form, status=422)
        return self.signed_in(form.account())

    def answer(self, params: list[tuple[str, str]]) -> HttpResponse:
        if self.asked.redirect_uri != OUT_OF_BAND:
            if self.asked.state and "state" not in dict(params):
                params = [*params, ("state", self.asked.state)]
            return _redirect(oauth.answer_uri(self.asked.redirect_uri, params))
        if "code" in dict(params):
            return _redirect(f"{AUTHORIZE}/native?{urlencode({'code': dict(params)['code']})}")
        sentence = f"{self.asked.client.name} can't use your account. You can close this page."
        return _page(self.request, "message", title="You said no", sentence=sentence)

    def sign_in_page(self, form: forms.Form, status: int = 200) -> HttpResponse:
        return _page(
            self.request,
            "sign_in",
            status=status,
            form_action="'self'",
            form=form,
            app=self.asked.client,
            sign_up=self.url("/sign_up", without="force_login"),
        )

    def consent_page(self) -> HttpResponse:
        """Chromium lets a form lead only to where `form-action` says, redirects included: whatever has the scheme of the
        redirect URI, since the application's page there may send people on.
        """
        back = urlsplit(self.asked.redirect_uri)
        return _page(
            self.request,
            "consent",
            form_action=f"'self' {back.scheme}:",
            app=self.asked.client,
            may=in_words(self.asked.scopes),
            back=back.hostname if back.scheme in ("http", "https") else None,
        )


class SignUp(Page):
    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(SignUpForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = SignUpForm(request.POST)
        if form.is_valid():
            spent = throttling.refused(request, throttling.SIGN_UPS, ("address", throttling.address(request)))
            if spent:
                return too_many(request, spent.wait)
            if account := form.register():
                return self.signed_in(account)
        return self.page(form, status=422)

    def page(self, form: forms.Form, status: int = 200) -> HttpResponse:
        context = {"form": form, "app": self.asked.client, "sign_in": self.url("")}
        return _page(self.request, "sign_up", status=status, form_action="'self'", **context)


@require_safe
def code(request: HttpRequest) -> HttpResponse:
    """The code, to be copied. At an address of its own: some applications that show these pages look for it there."""
    found = request.GET.get("code", "")
    if not (found.isascii() and found.isalnum() and len(found) <= 64):  # nobody's words under our name
        raise Http404
    return _page(request, "code", code=found)


def expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the sign that it is one of ours, or with an old one."""
    sentence = "This form is too old, or your browser keeps no cookies. Go back, load the page again and try once more."
    return _page(request, "message", status=403, title="Once more, please", sentence=sentence)


def too_many(request: HttpRequest, wait: int) -> HttpResponse:
    """`wait`: seconds."""
    sentence = f"Wait {-(-wait // 60)} minutes, then try again."
    response = _page(request, "message", status=429, title="Too many tries", sentence=sentence)
    response["Retry-After"] = str(wait)
    return response


def refusal(request: HttpRequest, sentence: str) -> HttpResponse:
    return _page(request, "message", status=400, title="This link does not work", sentence=sentence)


def _redirect(url: str) -> HttpResponse:
    """To any scheme: that of a registered redirect URI."""
    return HttpResponse(status=302, headers={"Location": iri_to_uri(url), "Cache-Control": "no-store"})


def _page(
    request: HttpRequest, name: str, *, status: int = 200, form_action: str = "'none'", **context: Any
) -> HttpResponse:
    """With each answer come `nosniff` and `Referrer-Policy: same-origin`. Not `no-referrer`: then a browser says of these
    forms that they come from "null", and CsrfViewMiddleware believes it.
    """
    response = render(request, f"web/{name}.html", context | {"style": STYLE}, status=status)
    response["Content-Security-Policy"] = POLICY % form_action
    response["Cache-Control"] = "no-store"
    return response

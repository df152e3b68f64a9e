"""What people type, checked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from feeds import actions
from followers.models import Account


class SignInForm(AuthenticationForm):
    """By user name or e-mail. One answer to whatever is wrong: nobody learns by it who has an account."""

    error_messages = {"invalid_login": "There is no account with this name and this password.", "inactive": ""}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name: Any = self.fields["username"]
        name.label = "User name or e-mail"
        name.max_length = name.widget.attrs["maxlength"] = 254
        name.widget.attrs |= {"spellcheck": "false", "inputmode": "email"}

    def account(self) -> Account:
        found: Account = self.get_user()
        return found


class SignUpForm(forms.Form):
    username = forms.CharField(label="User name", max_length=30, help_text="Small letters, digits and _")
    email = forms.EmailField(label="E-mail", max_length=254)
    password = forms.CharField(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))
    agreement = forms.BooleanField(label="I agree to the rules of this server")

    def register(self) -> Account | None:
        """None where the name, the address or the password will not do: the fields say why."""
        told = {name: value for name, value in self.cleaned_data.items() if name != "agreement"}
        try:
            return actions.register(**told)
        except ValidationError as wrong:
            self.add_error(None, wrong)
            return None

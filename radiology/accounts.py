"""Signing in: nobody signs up, and a page that needs a person sends a stranger to the sign-in and back."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from urllib.parse import urlencode

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from radiology.models import User


class PageRequest(HttpRequest):
    """A request of somebody who is signed in, as the middleware leaves it."""

    user: User
    htmx: HtmxDetails
    csp_nonce: str


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by an administrator; nobody signs up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


def sign_in_url(next_path: str) -> str:
    """The sign-in page that leads on to `next_path`."""
    return f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': next_path})}"


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Lets only people who are signed in reach `view`.

    Others go to the sign-in and come back to the address that they asked for. A part of a page that
    is asked for after the session's end takes the whole page there.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        page = cast(PageRequest, request)
        if page.htmx:
            return HttpResponseClientRedirect(sign_in_url(page.htmx.current_url_abs_path or "/"))
        return HttpResponseRedirect(sign_in_url(request.get_full_path()))

    return wrapped

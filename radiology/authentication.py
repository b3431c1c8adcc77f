"""Who calls: bearer tokens, Basic with a person's password or a token as password, and the session of a page."""

import base64
import binascii
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework import authentication
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied

from radiology.services.access import token_of_text, user_of_password


def _header(request: Any, scheme: str) -> str | None:
    header = request.META.get("HTTP_AUTHORIZATION", "")
    name, _, rest = header.partition(" ")
    return rest.strip() if name.lower() == scheme else None


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN` (RFC 6750)."""

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        text = _header(request, "bearer")
        if text is None:
            return None
        token = token_of_text(text=text)
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked.")
        return token, token

    def authenticate_header(self, request: Any) -> str:
        return 'Bearer realm="Sinar", Basic realm="Sinar", charset="UTF-8"'


class BasicAuthentication(BaseAuthentication):
    """`Authorization: Basic` (RFC 7617): a user's name and password, or any name and an API token."""

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        encoded = _header(request, "basic")
        if encoded is None:
            return None
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise AuthenticationFailed("The Basic credentials are malformed.")
        who = token_of_text(text=password) or user_of_password(request=_plain(request), name=name, password=password)
        if who is None:
            raise AuthenticationFailed("The name or password is wrong.")
        return who, None

    def authenticate_header(self, request: Any) -> str:
        return 'Basic realm="Sinar", charset="UTF-8"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The session's cookie, with Django's CSRF token on requests that write.

    The token is looked for on Django's own request: REST framework's would parse the body in search
    of it, and refuse every body that is no form.
    """

    def enforce_csrf(self, request: Any) -> None:
        check: Any = CSRFCheck(lambda request: HttpResponse())
        check.process_request(_plain(request))
        reason = check.process_view(_plain(request), None, (), {})
        if reason:
            raise PermissionDenied(f"CSRF: {reason}")


def _plain(request: Any) -> HttpRequest:
    return getattr(request, "_request", request)

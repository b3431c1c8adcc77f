"""Who calls: bearer tokens, Basic with a person's password or a token as password, and the session of a page.

A token works from the addresses of its client, and as often as its client may call.
"""

import base64
import binascii
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from rest_framework import authentication
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied

from radiology.errors import NotAllowed, RadiologyError, TooManyRequests
from radiology.models import ApiToken, AuditAction
from radiology.services import audit, rates
from radiology.services.access import token_of_text, user_of_password

# Unknown tokens from one address within five minutes; a known one is looked at all the same.
MOST_WRONG_TOKENS = 300


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
        plain: Any = _plain(request)
        if not hasattr(plain, "bearer"):  # it is counted once, whichever ways the request goes
            plain.bearer = self._outcome(plain, text)
        if isinstance(plain.bearer, Exception):
            raise plain.bearer
        return plain.bearer, plain.bearer

    @staticmethod
    def _outcome(request: HttpRequest, text: str) -> ApiToken | Exception:
        token = token_of_text(text=text)
        try:
            if token is None:
                _require_calm(request)
                return AuthenticationFailed("This token is unknown, expired or revoked.")
            _admit(request, token)
        except RadiologyError as error:
            return error
        return token

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
        token = token_of_text(text=password)
        if token is not None:
            _admit(_plain(request), token)
            return token, None
        user = user_of_password(request=_plain(request), name=name, password=password)
        if user is None:
            raise AuthenticationFailed("The name or password is wrong.")
        return user, None

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


def _admit(request: HttpRequest, token: ApiToken) -> None:
    """Let a known token in. Raises NotAllowed from where its client may not call, TooManyRequests too often.

    The request carries what is left (`allowance`) for the headers of its answer.
    """
    client, address = token.client, audit.address_of(request)
    if not client.admits(address):
        if rates.WRITTEN.take(f"{client.pk} {address}", 1).is_granted:
            audit.record(
                event="api.refused",
                action=AuditAction.EXECUTE,
                who=token,
                address=address,
                succeeded=False,
                detail={"reason": "address"},
            )
        raise NotAllowed(_("The tokens of this client do not work from %(address)s.") % {"address": address})
    allowance = rates.OF_CLIENTS.take(str(client.pk), client.requests_per_minute)
    request.allowance = allowance  # type: ignore[attr-defined]
    if not allowance.is_granted:
        raise TooManyRequests(
            _("This client may make %(limit)d requests a minute: go on in %(seconds)d s.")
            % {"limit": allowance.limit, "seconds": allowance.wait},
            retry_after=allowance.wait,
        )


def _require_calm(request: HttpRequest) -> None:
    """Raises TooManyRequests when too many unknown tokens came from this address."""
    allowance = rates.WRONG_TOKENS.take(str(audit.address_of(request)), MOST_WRONG_TOKENS)
    if not allowance.is_granted:
        raise TooManyRequests(
            _("Too many unknown tokens came from your address: correct the token, and go on in %(seconds)d s.")
            % {"seconds": allowance.wait},
            retry_after=allowance.wait,
        )


def _plain(request: Any) -> HttpRequest:
    return getattr(request, "_request", request)

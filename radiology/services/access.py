"""Who may come in: API tokens and passwords of programs."""

import hashlib
import hmac
import secrets
import threading
import time
from datetime import datetime, timedelta

import structlog
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, TooManyRequests
from radiology.models import ApiClient, ApiToken, Scope, Site, User
from radiology.services.rows import Sought

log = structlog.get_logger(__name__)

LAST_USE_EVERY = timedelta(minutes=1)
PASSWORD_REMEMBERED = 60.0
# For one name from one address, and from one address altogether: a proxy is one address for many people.
WRONG_PASSWORDS = 20
WRONG_PASSWORDS_OF_ADDRESS = 200
WRONG_PASSWORDS_WITHIN = 300

_TOKENS = Sought(
    ApiToken,
    "token_sha256 = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s) AND is_active",
    fields=["client", "prefix", "scopes", "last_used_at"],
    related={"client": ["name", "site", "is_active", "addresses", "requests_per_minute"]},
)
_remembered: dict[bytes, tuple[float, int, str]] = {}
_lock = threading.Lock()


@transaction.atomic
def issue_token(
    *, name: str, scopes: list[str], site: Site | None = None, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A new token of the client `name` (made when missing), and its text, which is kept nowhere.

    Raises InvalidValue for a scope that does not exist, Conflict for a client of another site or one
    that was made inactive.
    """
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if unknown or not scopes:
        raise InvalidValue(
            _("%(scopes)s is not a scope: choose from %(known)s.")
            % {"scopes": ", ".join(unknown) or _("No scope"), "known": ", ".join(Scope.values)},
            field="scope",
        )
    if not name.strip():
        raise InvalidValue(_("The client needs a name."), field="name")
    client, _made = ApiClient.objects.get_or_create(
        name=name.strip(), defaults={"site": site or Site.objects.default()}
    )
    if site is not None and client.site_id != site.pk:
        raise Conflict(_("A client of this name belongs to another site: choose another name."), field="site")
    if not client.is_active:
        raise Conflict(_("This client is not active: activate it first, in the administration."), field="name")
    text = secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        client=client, prefix=text[:6], token_sha256=_digest(text), scopes=sorted(set(scopes)), expires_at=expires_at
    )
    return token, text


def revoke_token(*, token: ApiToken) -> None:
    """From now on the token opens nothing. Revoking twice is harmless."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def revoke_tokens_of(*, name: str) -> int:
    """Revoke every token of the client `name`; how many there were. Raises NotFound for an unknown client."""
    client = ApiClient.objects.filter(name=name.strip()).first()
    if client is None:
        raise NotFound(_("There is no client of this name."), field="name")
    return client.tokens.filter(revoked_at=None).update(revoked_at=timezone.now())


def token_of_text(*, text: str) -> ApiToken | None:
    """The usable token with this text, its last use noted once a minute."""
    now = timezone.now()
    token = next(iter(_TOKENS(_digest(text), now)), None)
    if token is None:
        return None
    if token.last_used_at is None or now - token.last_used_at > LAST_USE_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def user_of_password(*, request: HttpRequest, name: str, password: str) -> User | None:
    """The active user with this password, unless a second factor guards the account.

    A password found right is remembered for a minute in this process (as a keyed hash), because
    clients send it with every request and the stored hash is slow on purpose. After too many wrong
    ones for a name from an address, or from an address, no password is looked at for a while: raises
    TooManyRequests then.
    """
    mark = hmac.new(settings.SECRET_KEY.encode(), f"{name}\x00{password}".encode(), hashlib.sha256).digest()
    with _lock:
        until, user_id, stored = _remembered.get(mark, (0.0, 0, ""))
    if until > time.monotonic():
        user = User.objects.filter(pk=user_id, is_active=True, password=stored).select_related("site").first()
        if user is not None:
            return user
    address = request.META.get("REMOTE_ADDR", "")
    if _is_blocked(address, name):
        log.warning("password not looked at", address=address)
        raise TooManyRequests(_too_many(), retry_after=WRONG_PASSWORDS_WITHIN)
    found = None if "\x00" in name else authenticate(request, username=name, password=password)
    if not isinstance(found, User):
        _count_wrong(address, name)
        log.warning("password refused", address=address)
        return None
    if Authenticator.objects.filter(user=found).exists():
        log.warning("password refused without its second factor", address=address, user=found.pk)
        return None
    with _lock:
        if len(_remembered) > 1000:
            _remembered.clear()
        _remembered[mark] = (time.monotonic() + PASSWORD_REMEMBERED, found.pk, found.password)
    return found


def require_password(*, user: User, password: str, address: str | None) -> None:
    """Make sure that it is still the user who sits there, before what only they may do.

    Raises NotAllowed for a wrong password, TooManyRequests after too many.
    """
    name, where = user.get_username(), address or ""
    if _is_blocked(where, name):
        raise TooManyRequests(_too_many(), retry_after=WRONG_PASSWORDS_WITHIN)
    if not user.check_password(password):
        _count_wrong(where, name)
        log.warning("password refused", address=where, user=user.pk)
        raise NotAllowed(_("The password is wrong."), field="password")


def _too_many() -> str:
    return _("Too many wrong passwords: no password is looked at for up to %(minutes)d minutes.") % {
        "minutes": WRONG_PASSWORDS_WITHIN // 60
    }


def _attempts(address: str, name: str) -> dict[str, int]:
    """The counters of wrong passwords that concern this caller, and how far each may go."""
    whom = hashlib.sha256(name.casefold().encode()).hexdigest()
    return {
        f"wrong-passwords:{address}": WRONG_PASSWORDS_OF_ADDRESS,
        f"wrong-passwords:{address}:{whom}": WRONG_PASSWORDS,
    }


def _is_blocked(address: str, name: str) -> bool:
    limits = _attempts(address, name)
    counted = cache.get_many(list(limits))
    return any(counted.get(key, 0) >= most for key, most in limits.items())


def _count_wrong(address: str, name: str) -> None:
    for key in _attempts(address, name):
        cache.set(key, cache.get(key, 0) + 1, WRONG_PASSWORDS_WITHIN)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

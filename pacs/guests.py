"""Guests: who came by a token or a signed link and is not signed in.

What was opened stands in a signed cookie of the browser, for a while and never in its session: so nothing about
signing in changes hands, and what somebody may see who is signed in stays what it is. Each request asks the database
whether the token or the signer still holds: what is revoked ends at once.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from functools import wraps
from http.cookies import Morsel
from typing import Any, cast

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from pacs.models import LinkSigner, StudyToken
from pacs.services.study_tokens import is_of_its_patient
from radiology.accounts import PageRequest, sign_in_url, signed_in
from radiology.guest import Guest

COOKIE = "sinar_guest"
# In a frame of another site: kept apart for each site that embeds (CHIPS).
EMBEDDED = "sinar_guest_embedded"
SALT = "sinar.guests"
SECONDS = 2 * 3600
MOST = 20
LARGEST = 3500
TOKEN, LINK = "t", "l"
COLUMNS_OF_TOKEN = ("generation", "token_sha256", "patient_ref", "study_ref__site", "study_ref__patient_ref")


class GuestRequest(PageRequest):
    """A request of somebody who is signed in, or of a guest: `who`."""

    who: Any


@dataclass(frozen=True)
class Grant:
    """What a token (`kind` t) or a signed link (l) opened until a moment (seconds since 1970).

    `by` and `version` are key and generation of the token, or of the signer's secret; keys of studies and of a patient
    (0: none) are of links.
    """

    kind: str
    by: int
    version: int
    studies: tuple[int, ...]
    patient: int
    until: int


@dataclass(frozen=True)
class Opened:
    """A grant that holds: what it shows, by what name it is known, and the pages that may show it in a frame."""

    name: str
    studies: frozenset[int]
    patient: int
    site_id: int
    origins: tuple[str, ...]

    def shows(self, study: int, patient: int) -> bool:
        return study in self.studies or (self.patient != 0 and patient == self.patient)


def grant(*, token: StudyToken | None = None, signer: LinkSigner | None = None, **opens: Any) -> Grant:
    """A grant from now on; `opens` are `studies` and `patient` of a link."""
    until = int(time.time()) + SECONDS
    if token is not None:
        return Grant(TOKEN, token.pk, token.generation, (), 0, until)
    assert signer is not None
    return Grant(LINK, signer.pk, signer.secret_version, tuple(opens["studies"]), opens["patient"], until)


def opened(request: HttpRequest) -> list[Opened]:
    """The grants of this browser that still hold. Two queries at most, none without a cookie; once a request."""
    if not hasattr(request, "_opened"):
        grants = [each for name in (COOKIE, EMBEDDED) for each in _kept(request, name)]
        request._opened = _holding(grants) if grants else []  # type: ignore[attr-defined]
    return cast("list[Opened]", request._opened)  # type: ignore[attr-defined]


def guest_of(request: HttpRequest) -> Guest | None:
    """The guest that this browser is; None without a grant that holds."""
    found = opened(request)
    if not found:
        return None
    sites = {each.site_id for each in found}
    return Guest(
        name=", ".join(dict.fromkeys(each.name for each in found))[:200],
        studies=frozenset().union(*(each.studies for each in found)),
        patients=frozenset(each.patient for each in found if each.patient),
        site_id=sites.pop() if len(sites) == 1 else 0,
    )


def remember(request: HttpRequest, response: HttpResponse, new: Grant, *, embeds: bool) -> None:
    """Put a grant into the browser's cookie, beside those that are there; the oldest go when there are too many."""
    in_frame = embeds and request.is_secure() and request.headers.get("Sec-Fetch-Dest") in {"iframe", "frame"}
    name = EMBEDDED if in_frame else COOKIE
    kept = [each for each in _kept(request, name) if astuple(each)[:5] != astuple(new)[:5]]
    grants = [*kept, new][-MOST:]
    value = _signed(grants)
    while len(value) > LARGEST and len(grants) > 1:
        grants = grants[1:]
        value = _signed(grants)
    secure = request.is_secure() or settings.SESSION_COOKIE_SECURE
    response.set_cookie(name, value, httponly=True, secure=secure, samesite="None" if in_frame else "Lax")
    if in_frame:
        response.cookies[name] = _Partitioned.of(response.cookies[name])


def may_embed(response: HttpResponse, origins: Iterable[str]) -> None:
    """Let pages of these origins show this answer in a frame; of nobody else's."""
    if named := list(origins):
        response._csp_update = {"frame-ancestors": named}  # type: ignore[attr-defined]
        response.xframe_options_exempt = True


def embedders(request: HttpRequest, shown: Iterable[tuple[int, int]]) -> list[str]:
    """The origins that may show these studies (their keys, and those of their patients): of links that opened all."""
    rows = list(shown)
    by_origin: dict[str, list[Opened]] = {}
    for each in opened(request):
        for origin in each.origins:
            by_origin.setdefault(origin, []).append(each)
    return [
        origin
        for origin, found in by_origin.items()
        if rows and all(any(each.shows(*row) for each in found) for row in rows)
    ]


def welcomes_guests(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Lets people who are signed in reach `view`, and guests as far as their links go; `who` is the one or the other.

    What a guest may not see leads to the sign-in, as for everybody else.
    """

    @wraps(view)
    def as_user(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        cast(GuestRequest, request).who = request.user
        return view(request, *args, **kwargs)

    for_users = signed_in(as_user)

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        guest = None if request.user.is_authenticated else guest_of(request)
        if guest is None:
            if not request.user.is_authenticated and is_over(request):
                return over(request)
            return for_users(request, *args, **kwargs)
        cast(GuestRequest, request).who = guest
        response = view(request, *args, **kwargs)
        return HttpResponseRedirect(sign_in_url(request.get_full_path())) if response.status_code == 404 else response

    return wrapped


def is_over(request: HttpRequest) -> bool:
    """Whether this browser has grants, and none of them holds."""
    return any(request.COOKIES.get(name) for name in (COOKIE, EMBEDDED)) and not opened(request)


def over(request: HttpRequest) -> HttpResponse:
    """What a guest sees whose grants hold no more. The cookies go: from then on the sign-in comes."""
    message = _("What the link opened is closed again: its time is over, or it was withdrawn.")
    response = render(request, "pacs/link_refused.html", {"message": message, "again": True}, status=403)
    grants = [each for name in (COOKIE, EMBEDDED) for each in _kept(request, name, past=True)]
    signers = LinkSigner.objects.filter(pk__in={each.by for each in grants if each.kind == LINK})
    may_embed(response, dict.fromkeys(origin for each in signers for origin in each.frame_ancestors))
    response.delete_cookie(COOKIE)
    response.delete_cookie(EMBEDDED, samesite="None")
    response.cookies[EMBEDDED] = _Partitioned.of(response.cookies[EMBEDDED])
    return response


class _Partitioned(Morsel):
    """A cookie that a browser keeps apart for each site that embeds us; Python's own knows the attribute from 3.14."""

    @classmethod
    def of(cls, plain: "Morsel[str]") -> "_Partitioned":
        made = cls()
        made.set(plain.key, plain.value, plain.coded_value)
        made.update(plain)
        return made

    def OutputString(self, attrs: Any = None) -> str:
        return super().OutputString(attrs) + "; Partitioned"


def _signed(grants: list[Grant]) -> str:
    return signing.dumps([astuple(each) for each in grants], salt=SALT, compress=True)


def _kept(request: HttpRequest, name: str, *, past: bool = False) -> list[Grant]:
    """The grants of a cookie whose time has not passed; with `past` the others too."""
    value = request.COOKIES.get(name, "")
    if not value or len(value) > LARGEST + 1000:
        return []
    try:
        found = [Grant(k, by, v, tuple(s), p, until) for k, by, v, s, p, until in signing.loads(value, salt=SALT)]
    except (signing.BadSignature, ValueError, TypeError):
        return []
    now = time.time()
    return [each for each in found if past or each.until > now]


def _holding(grants: list[Grant]) -> list[Opened]:
    found = []
    tokens = StudyToken.objects.filter(pk__in={each.by for each in grants if each.kind == TOKEN})
    signers = LinkSigner.objects.filter(pk__in={each.by for each in grants if each.kind == LINK})
    tokens_by = {each.pk: each for each in tokens.select_related("study_ref").only(*COLUMNS_OF_TOKEN)}
    signers_by = {each.pk: each for each in signers.filter(client__is_active=True).select_related("client")}
    for each in grants:
        if each.kind == TOKEN and (token := tokens_by.get(each.by)) and token.generation == each.version:
            if not is_of_its_patient(token):
                continue
            found.append(Opened(str(token), frozenset([token.study_ref_id]), 0, token.study_ref.site_id, ()))
        elif each.kind == LINK and (signer := signers_by.get(each.by)) and signer.secret_version == each.version:
            origins = tuple(signer.frame_ancestors)
            found.append(Opened(f"link of {signer}", frozenset(each.studies), each.patient, signer.site_id, origins))
    return found

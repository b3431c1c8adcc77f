"""What can go wrong, named once, and what each peer is told of it.

Services raise these with their facts; only an edge (view, DIMSE handler, HL7 listener) turns one
into a status, through `OUTCOMES`.
"""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework import exceptions


class RadiologyError(Exception):
    """Something the caller must be told. `message` is one sentence that says what and what to do."""

    def __init__(self, message: str, *, field: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.facts = facts


class InvalidValue(RadiologyError):
    """A value of a request is malformed; `field` names it."""


class NotAuthenticated(RadiologyError):
    """No credentials, or credentials that are not valid."""


class NotAllowed(RadiologyError):
    """The caller is known and may not do this."""


class NotFound(RadiologyError):
    """There is no such thing, or none that the caller may see."""


class NotAcceptable(RadiologyError):
    """It exists but not in a form that the caller accepts."""


class Conflict(RadiologyError):
    """It contradicts what is there."""


class NeedsConfirmation(Conflict):
    """It can be done, after somebody has read the warnings and says so; `warnings` are among the facts."""


class PreconditionFailed(RadiologyError):
    """It is not the version that the caller read."""


class PreconditionRequired(RadiologyError):
    """The caller must say which version of it is meant."""


class TooLarge(RadiologyError):
    """The request or object exceeds a limit."""


class UnsupportedMediaType(RadiologyError):
    """The body's type is not one that this address takes."""


class CannotUnderstand(RadiologyError):
    """The bytes are not a complete, well-formed data set."""


class DataSetMismatch(RadiologyError):
    """The data set contradicts the SOP class or instance that the request names."""


class UnknownDestination(RadiologyError):
    """No node of that title that may receive."""


class OutOfResources(RadiologyError):
    """No space, no memory, no database: nothing is wrong with the request, try again later."""


class NotDone(RadiologyError):
    """Others who speak this protocol do it; this product does not."""


class NotInstalled(RadiologyError):
    """A library of the operating system is missing on this server; the message says which."""


class TooManyRequests(RadiologyError):
    """More than the caller may ask for in this time; `retry_after` among the facts says in how many seconds."""


class Unreachable(RadiologyError):
    """A peer did not answer or refused."""


class Busy(Unreachable):
    """A peer has all the connections that it may have, or says so: nothing is amiss, later there is room."""


@dataclass(frozen=True)
class Outcome:
    """HTTP status, DIMSE status (PS3.7 Annex C, PS3.4) and HL7 acknowledgement code of one error."""

    http: int
    dimse: int
    ack: str


OUTCOMES: dict[type[Exception], Outcome] = {
    InvalidValue: Outcome(400, 0xA900, "AE"),
    NotAuthenticated: Outcome(401, 0x0124, "AR"),
    NotAllowed: Outcome(403, 0x0124, "AR"),
    NotFound: Outcome(404, 0x0112, "AE"),
    NotAcceptable: Outcome(406, 0xC000, "AE"),
    Conflict: Outcome(409, 0x0111, "AE"),
    NeedsConfirmation: Outcome(409, 0x0111, "AE"),
    PreconditionFailed: Outcome(412, 0x0111, "AE"),
    PreconditionRequired: Outcome(428, 0x0111, "AE"),
    TooLarge: Outcome(413, 0xA700, "AE"),
    UnsupportedMediaType: Outcome(415, 0xC000, "AR"),
    CannotUnderstand: Outcome(400, 0xC000, "AE"),
    DataSetMismatch: Outcome(409, 0xA900, "AE"),
    UnknownDestination: Outcome(404, 0xA801, "AE"),
    OutOfResources: Outcome(507, 0xA700, "AE"),
    NotDone: Outcome(501, 0x0122, "AR"),
    NotInstalled: Outcome(503, 0xA700, "AE"),
    TooManyRequests: Outcome(429, 0xA700, "AE"),
    Unreachable: Outcome(502, 0xA702, "AE"),
    Busy: Outcome(503, 0xA702, "AE"),
}
UNEXPECTED = Outcome(500, 0xC001, "AE")


def outcome_of(error: BaseException) -> Outcome:
    """The row of `OUTCOMES` for `error`; Django's own exceptions included."""
    for kind in type(error).__mro__:
        if kind in OUTCOMES:
            return OUTCOMES[kind]
    if isinstance(error, Http404):
        return OUTCOMES[NotFound]
    if isinstance(error, PermissionDenied):
        return OUTCOMES[NotAllowed]
    return UNEXPECTED


def problem(error: RadiologyError, **more: Any) -> JsonResponse:
    """`error` as RFC 9457 problem+json; `more` are members beside the standard's."""
    status = outcome_of(error).http
    body: dict[str, Any] = {
        "type": f"urn:sinar:error:{type(error).__name__}",
        "title": type(error).__doc__ or "",
        "status": status,
        "detail": error.message,
    }
    if error.field:
        body["field"] = error.field
    response = JsonResponse({**body, **more}, status=status, content_type="application/problem+json")
    if "retry_after" in error.facts:
        response["Retry-After"] = str(error.facts["retry_after"])
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="Sinar", Basic realm="Sinar", charset="UTF-8"'
    return response


def handle_exception(error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
    """REST framework's exception handler: every error of a view as problem+json."""
    if isinstance(error, RadiologyError):
        return problem(error)
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return problem(NotAuthenticated(str(error.detail)))
    if isinstance(error, exceptions.PermissionDenied | PermissionDenied):
        return problem(NotAllowed(_("You may not do this.")))
    if isinstance(error, exceptions.NotFound | Http404):
        return problem(NotFound(_("There is nothing here, or nothing that you may see.")))
    if isinstance(error, exceptions.APIException):
        return JsonResponse(
            {
                "type": "about:blank",
                "title": error.default_detail,
                "status": error.status_code,
                "detail": str(error.detail),
            },
            status=error.status_code,
            content_type="application/problem+json",
        )
    return None

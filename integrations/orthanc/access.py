"""What every view of the Orthanc-shaped REST shares: who calls, the body's JSON, errors as Orthanc words them."""

import http
import json
from dataclasses import dataclass
from typing import Any, cast

from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.permissions import BasePermission

from pacs.dicomweb.access import DicomWebView
from radiology.errors import (
    CannotUnderstand,
    InvalidValue,
    NotAllowed,
    NotAuthenticated,
    NotDone,
    NotFound,
    OutOfResources,
    RadiologyError,
    TooLarge,
    Unreachable,
    UnsupportedMediaType,
    outcome_of,
)
from radiology.models import AuditAction
from radiology.services import audit

ROOT = "/orthanc"
LARGEST_JSON = 16 * 1024 * 1024


class OutOfRange(InvalidValue):
    """A word that is none of those that may stand there."""


# Orthanc's own numbers and words (OrthancFramework/Resources/CodeGeneration/ErrorCodes.json).
WORDS: dict[type[RadiologyError], tuple[int, str]] = {
    NotDone: (2, "Not implemented yet"),
    InvalidValue: (8, "Bad request"),
    OutOfRange: (3, "Parameter out of range"),
    TooLarge: (4, "Not enough memory"),
    UnsupportedMediaType: (3000, "Unsupported media type"),
    Unreachable: (9, "Error in the network protocol"),
    CannotUnderstand: (15, "Bad file format"),
    NotFound: (17, "Unknown resource"),
    OutOfResources: (19, "The file storage is full"),
    NotAuthenticated: (29, "Bad credentials were provided"),
    NotAllowed: (45, "Cannot access a resource"),
}
UNKNOWN = (-1, "Internal error")


@dataclass(frozen=True)
class OfOneSite:
    """A caller within their own site: Orthanc knows no sites, so this door shows each caller one archive."""

    who: Any
    sees_every_site = False

    @property
    def site_id(self) -> int:
        return cast(int, self.who.site_id)

    def may(self, scope: str) -> bool:
        return cast(bool, self.who.may(scope))


class MayDoThis(BasePermission):
    """The scope that the view names for the method; without one, reading."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated):
            return False
        return who.may(view.needs.get(request.method, "studies.read"))


class OrthancView(DicomWebView):
    """Any name of Accept is taken; errors are Orthanc's. `needs`: the scope by method, where it is not reading."""

    permission_classes = [MayDoThis]
    needs: dict[str, str] = {}

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Bodies are read here alone, whatever their type is said to be."""
        request.content_type = ""
        return super().initialize_request(request, *args, **kwargs)

    @property
    def here(self) -> OfOneSite:
        return OfOneSite(self.request.user)

    def get_exception_handler(self) -> Any:
        return self._handle

    def _handle(self, error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
        if isinstance(error, RadiologyError):
            return refusal(self.request, error)
        if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            return refusal(self.request, NotAuthenticated(str(error.detail)))
        if isinstance(error, exceptions.PermissionDenied):
            return refusal(self.request, NotAllowed("You may not do this."))
        if isinstance(error, exceptions.APIException):
            allow = {"Allow": ", ".join(self.allowed_methods)} if error.status_code == 405 else None
            return _refused(self.request, error.status_code, (8, "Bad request"), str(error.detail), allow)
        return None

    def record(self, event: str, action: AuditAction = AuditAction.READ, **about: Any) -> None:
        audit.record(
            event=f"orthanc.{event}",
            action=action,
            who=self.request.user,
            address=audit.address_of(self.request),
            **about,
        )


def refusal(request: Any, error: RadiologyError) -> HttpResponse:
    kinds = [kind for kind in type(error).__mro__ if kind in WORDS]
    words = WORDS[kinds[0]] if kinds else (8, "Bad request") if outcome_of(error).http < 500 else UNKNOWN
    status = outcome_of(error).http
    headers = {"WWW-Authenticate": 'Basic realm="Orthanc"'} if status == 401 else None
    return _refused(request, status, words, error.message, headers)


def _refused(
    request: Any, status: int, words: tuple[int, str], details: str, headers: dict[str, str] | None
) -> HttpResponse:
    body = {
        "Details": details,
        "HttpError": http.HTTPStatus(status).phrase,
        "HttpStatus": status,
        "Message": words[1],
        "Method": request.method,
        "OrthancError": words[1],
        "OrthancStatus": words[0],
        "Uri": uri(request),
    }
    return JsonResponse(body, status=status, headers=headers)


def uri(request: Any) -> str:
    """The path as it is below Orthanc's root, 256 characters of it."""
    return cast(str, request.path).removeprefix(ROOT)[:256]


def answer(body: Any, *, status: int = 200) -> HttpResponse:
    """JSON as Orthanc writes it: indented, in ASCII."""
    text = json.dumps(body, ensure_ascii=True, indent=3, sort_keys=isinstance(body, dict))
    return HttpResponse(text + "\n", status=status, content_type="application/json; charset=utf-8")


def text(body: str) -> HttpResponse:
    return HttpResponse(body, content_type="text/plain; charset=utf-8")


def raw_body(request: Any, *, most: int = LARGEST_JSON) -> bytes:
    """The body, at most so many bytes of it in memory. Raises TooLarge."""
    found = bytearray()
    plain = getattr(request, "_request", request)
    stream = plain.META["wsgi.input"] if _is_chunked(plain) else plain
    while block := stream.read(1 << 16):
        found += block
        if len(found) > most:
            raise TooLarge(f"The body may have {most} bytes at most.")
    return bytes(found)


def _is_chunked(plain: Any) -> bool:
    return bool(plain.META.get("wsgi.input_terminated")) and not plain.META.get("CONTENT_LENGTH")


def json_value(request: Any, body: bytes | None = None) -> Any:
    """The body as JSON, whatever its type is said to be; None for an empty one. Raises InvalidValue."""
    body = raw_body(request) if body is None else body
    if not body.strip():
        return None
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("The body must contain JSON.") from error


def _refuse_constant(name: str) -> None:
    """NaN and infinities are no JSON (RFC 8259 6)."""
    raise ValueError(name)


def json_object(request: Any, body: bytes | None = None) -> dict[str, Any]:
    """The body, or what was read of it, as a JSON object, {} for none. Raises InvalidValue."""
    found = json_value(request, body)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidValue("The body must contain a JSON object")
    return found


def field(given: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """A member of a body that must be of that kind. Without a default it must be there. Raises InvalidValue."""
    value = given.get(name, default)
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    if wrong and not (name not in given and default is not None):
        words = {str: "a string", int: "an integer", bool: "a Boolean", list: "a list", dict: "an object"}
        raise InvalidValue(f'Field "{name}" is missing, or should be {words[kind]}', field=name)
    return value


def flag(request: Any, name: str) -> bool:
    """Whether a parameter without a value, or with a true one, stands in the query."""
    value = request.GET.get(name)
    return value is not None and value.lower() not in {"0", "false", "no"}


def number(request: Any, name: str) -> int | None:
    """A parameter that is a number of the query. Raises InvalidValue."""
    value = request.GET.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise InvalidValue(f"The parameter {name} must be a number that is not negative.", field=name)
    return int(value)

"""How answers that are errors look (RFC 9457), for the documentation."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

MEDIA_TYPE = "application/problem+json"


class Problem(serializers.Serializer):
    """What went wrong, with which field, and what to do."""

    type = serializers.CharField(help_text="Names the kind of error: `urn:sinar:error:…`.")
    title = serializers.CharField(help_text="The kind of error in words.")
    status = serializers.IntegerField(help_text="The HTTP status once more.")
    detail = serializers.CharField(help_text="What went wrong here, and what to do.")
    existing = serializers.DictField(required=False, help_text="Of a conflict: what is there already.")
    field = serializers.CharField(required=False, help_text="The parameter, header or field that it is about.")
    candidates = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="Who is likely the same person (409)."
    )
    procedure = serializers.DictField(required=False, help_text="The procedure that stands in the order (409).")
    warnings = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="What must be confirmed (409): `code`, `message`."
    )
    merge = serializers.DictField(required=False, help_text="The merge that was made before (409).")


# By status: the kind, when it comes, and an example's detail and field.
CASES: dict[int, tuple[str, str, str, str]] = {
    400: (
        "InvalidValue",
        "A parameter or the body is malformed, unknown or given twice; `field` names it.",
        "StudyDate must be a date (YYYYMMDD) or a range of dates.",
        "StudyDate",
    ),
    401: (
        "NotAuthenticated",
        "No credentials, or credentials that are not valid any longer.",
        "This token is unknown, expired or revoked.",
        "",
    ),
    403: ("NotAllowed", "The token lacks the scope, or the person the right.", "You may not do this.", ""),
    404: (
        "NotFound",
        "There is no such thing, or it belongs to another site.",
        "There is no such study, or none that you may see.",
        "",
    ),
    406: ("NotAcceptable", "This object cannot be given in this form.", "This object has no picture.", ""),
    409: ("Conflict", "It contradicts what is there.", "The study is not deleted.", ""),
    412: (
        "PreconditionFailed",
        "Somebody changed it since it was read: read it again, then decide.",
        "The study was changed meanwhile: read it again and repeat the correction on what is there now.",
        "If-Match",
    ),
    413: ("TooLarge", "The body, or an object in it, is larger than what is taken.", "The body is too large.", ""),
    415: (
        "UnsupportedMediaType",
        "The body is of a type that this address does not take.",
        "Send application/dicom, application/zip or multipart/form-data.",
        "Content-Type",
    ),
    428: (
        "PreconditionRequired",
        "Say which version of it is to be changed: send `If-Match` with the ETag that it was read with.",
        "Send If-Match with the ETag of the study as you read it.",
        "If-Match",
    ),
    429: (
        "TooManyRequests",
        "The client made more requests than it may: wait as many seconds as `Retry-After` says.",
        "This client may make 12000 requests a minute: go on in 3 s.",
        "",
    ),
    502: ("Unreachable", "Where the bytes lie does not answer.", "The storage does not answer: try again.", ""),
    507: ("OutOfResources", "No space or no database: try again later.", "There is no space left.", ""),
}


def documented(*statuses: int) -> dict[tuple[int, str], Any]:
    """These error statuses as responses of an operation."""
    return {(status, MEDIA_TYPE): _response(status) for status in sorted(statuses)}


def _response(status: int) -> OpenApiResponse:
    kind, description, detail, field = CASES[status]
    value: dict[str, Any] = {
        "type": f"urn:sinar:error:{kind}",
        "title": description.split(".")[0].split(";")[0] + ".",
        "status": status,
        "detail": detail,
    }
    if field:
        value["field"] = field
    example = OpenApiExample(kind, value=value, media_type=MEDIA_TYPE, response_only=True, status_codes=[str(status)])
    return OpenApiResponse(Problem, description=description, examples=[example])

"""Operations of the API: one declaration says what an operation takes, checks it, and documents it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from radiology.api.parameters import Parameter, read_parameters
from radiology.api.problems import documented
from radiology.errors import InvalidValue

Handler = TypeVar("Handler", bound=Callable[..., Any])
LARGEST_JSON = 1 << 20
# What stands in addresses.
PATHS = {
    "performed": ("SOP Instance UID of the performed procedure step", "1.2.840.113619.2.55.3.4271045733.996.7"),
    "room": ("`public_id` of the room", "01930f5e-3a10-7a11-8b21-5d3f2c7b6e33"),
    "device": ("`public_id` of the device", "01930f5e-3b20-7b22-9c32-6e4f3d8c7f44"),
    "step": ("`public_id` of the scheduled procedure step", "01930f5e-3c30-7c33-ad43-7f504e9d8055"),
    "study": ("Study Instance UID (0020,000D)", "1.2.840.113619.2.55.3.4271045733.996"),
    "series": ("Series Instance UID (0020,000E)", "1.2.840.113619.2.55.3.4271045733.996.1"),
    "instance": ("SOP Instance UID (0008,0018)", "1.2.840.113619.2.55.3.4271045733.996.1.1"),
    "patient": ("`public_id` of the patient", "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11"),
    "correction": ("`public_id` of the correction", "01930f5e-8d22-7c4f-8a61-3b7a1d0b5f22"),
    "merge": ("`public_id` of the merge", "01930f5e-9a10-7d3b-9c44-1f5e2d7a6b33"),
    "order": ("`public_id` of the order", "01930f5e-9a41-7d10-b6b2-4c8b2e1c6a33"),
    "procedure": ("`public_id` of the procedure of an order", "01930f5e-9b52-7e21-8a13-6d0a4c3e8b55"),
    "key_image": ("`public_id` of the key image", "3b241101-e2bb-4255-8caf-4136c566a962"),
    "attachment": ("`public_id` of the attachment", "01930f5e-a0b3-7e21-9c43-5d9c3f2d7b44"),
    "webhook": ("`public_id` of the webhook", "01930f5e-cc20-7f4c-ad55-3a6f3e8b7c55"),
    "report": ("`public_id` of the report", "01930f5e-dd30-7a5d-be66-4b7a4f9c8d66"),
    "template": ("`public_id` of the report template", "01930f5e-ee41-7c2b-8d77-5b8e4f1a9c77"),
    "critical_result": ("`public_id` of the critical result", "01930f5e-ff52-7d3c-9e88-6c9f5a2b0d88"),
    "review": ("`public_id` of the peer review", "01930f5e-ab63-7d4e-8fa9-7dafb3c2e199"),
    "case": ("`public_id` of the reconciliation case", "01930f5e-bb10-7e3b-9c44-2f5e2d7a6b44"),
}


def operation(
    *,
    tag: str,
    summary: str,
    description: str = "",
    path: Sequence[str] = (),
    parameters: Sequence[Parameter] = (),
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    answers: Mapping[Any, Any],
    errors: Sequence[int] = (),
    examples: Sequence[OpenApiExample] = (),
) -> Callable[[Handler], Handler]:
    """Declare a view's method. `parameters` are checked before it runs and stand in `self.asked`."""
    asked = [_path(name) for name in path] + [_query(each) for each in parameters]
    asked += [
        OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=text)
        for name, text in (headers or {}).items()
    ]

    def decorate(handler: Handler) -> Handler:
        handler.declared = tuple(parameters)  # type: ignore[attr-defined]
        return extend_schema(
            operation_id=re.sub(r"[^a-z]+", "_", summary.lower()).strip("_"),
            tags=[tag],
            summary=summary,
            description=description,
            parameters=asked,
            request=body,
            responses={**answers, **documented(400, 401, 403, 429, *errors)},
            examples=list(examples),
        )(handler)

    return decorate


def _path(name: str) -> OpenApiParameter:
    description, example = PATHS[name]
    kind = OpenApiTypes.UUID if description.startswith("`public_id`") else OpenApiTypes.STR
    return OpenApiParameter(
        name, kind, OpenApiParameter.PATH, description=description, examples=[OpenApiExample(name, value=example)]
    )


def _query(each: Parameter) -> OpenApiParameter:
    kind = OpenApiTypes.INT if each.whole_number else OpenApiTypes.STR
    default: Any = int(each.default) if each.whole_number and each.default else each.default or None
    examples = [OpenApiExample(each.name, value=int(each.example) if each.whole_number else each.example)]
    return OpenApiParameter(
        each.name,
        kind,
        OpenApiParameter.QUERY,
        description=each.description,
        enum=list(each.choices) or None,
        default=default,
        examples=examples if each.example else [],
    )


def file_answer(description: str) -> OpenApiResponse:
    """An answer that is a file."""
    return OpenApiResponse(OpenApiTypes.BINARY, description=description)


class Operations(APIView):
    """A view of the API: checks the query, answers OPTIONS."""

    asked: dict[str, str]

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        handler = getattr(self, request.method.lower(), None)
        self.asked = read_parameters(request.GET, getattr(handler, "declared", ()))

    @extend_schema(exclude=True)
    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return Response(status=204)


def json_answer(
    request: Any, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, version: int | None = None
) -> HttpResponse:
    """`body` as JSON; to who has it already, 304. `version` stands at the beginning of its ETag."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    tag = etag_of(text) if version is None else f'"{version}-{etag_of(text)[1:17]}"'
    given = {"ETag": tag, **(headers or {})} if status == 200 or version is not None else headers
    if status == 200 and request.method in {"GET", "HEAD"} and matches(request.headers.get("If-None-Match", ""), tag):
        return HttpResponse(status=304, headers=given)
    return HttpResponse(text, status=status, content_type="application/json", headers=given)


def etag_of(text: bytes) -> str:
    return f'"{hashlib.sha256(text).hexdigest()[:32]}"'


def matches(header: str, tag: str, *, weak: bool = True) -> bool:
    """Whether `tag` is in an If-Match or If-None-Match (RFC 9110 8.8.3.2)."""
    for each in (part.strip() for part in header.split(",")):
        if each == tag or (weak and (each == "*" or each.removeprefix("W/") == tag)):
            return True
    return False


def json_body(request: Any, *, most: int = LARGEST_JSON) -> dict[str, Any]:
    """The request's body, an object of at most `most` bytes; nothing at all is an empty one. Raises InvalidValue."""
    raw = request._request.read(most + 1)
    if len(raw) > most:
        raise InvalidValue(f"The body is longer than {most >> 20} MiB.")
    if not raw.strip():
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("The body is no JSON.") from error
    if not isinstance(found, dict):
        raise InvalidValue("The body must be a JSON object.")
    return found


def text_of(found: Mapping[str, Any], name: str, *, most: int = 200) -> str:
    """A text in a JSON object; empty when it is not there. Raises InvalidValue for anything else."""
    value = found.get(name, "")
    if not isinstance(value, str) or len(value) > most or "\x00" in value:
        raise InvalidValue(f"{name} must be a text of at most {most} characters.", field=name)
    return value.strip()

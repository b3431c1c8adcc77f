"""WADO-URI (PS3.18 9): one object or picture by an address whose query says all."""

import math
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from pacs.byte_ranges import not_modified
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.bulk_data import bulk_response
from pacs.dicomweb.media_types import DICOM, EXPLICIT, NEVER_SENT, MediaRange, accepted, parse_accept
from pacs.dicomweb.rendered import video_response
from pacs.dicomweb.rendering_options import LARGEST_VIEWPORT, quality
from pacs.dicomweb.retrieve import object_response
from pacs.dicomweb.selection import location_of
from pacs.dicomweb.validators import state_of, strong
from pacs.models import Location
from pacs.services.annotation import PLACES, annotation_of
from pacs.services.frames import VIDEO, HasNoPixels
from pacs.services.outgoing import can_send, syntax_as_stored
from pacs.services.render import ENCAPSULATED_PDF, GIF, render_animation, render_frame
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotAcceptable
from radiology.models import AuditAction
from radiology.services import audit

PDF = "application/pdf"
PICTURES = ("image/jpeg", "image/png", GIF)
VIDEOS = ("video/mp4", "video/mpeg", "video/mp2t")
UIDS = ("studyUID", "seriesUID", "objectUID")
# What only makes sense for a picture.
OF_PICTURES = (
    "annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber", "imageQuality",
)  # fmt: skip
NOT_SUPPORTED = {
    "presentationUID": "Presentation states are not applied here: ask without presentationUID.",
    "presentationSeriesUID": "Presentation states are not applied here: ask without presentationSeriesUID.",
}


class RetrieveByUri(DicomWebView):
    """`/wado?requestType=WADO&studyUID=…&seriesUID=…&objectUID=…`."""

    def get(self, request: Any) -> HttpResponseBase:
        query = request.GET
        study, series, instance = _names(query)
        location = location_of(who=request.user, study=study, series=series, instance=instance)
        kind = _content_type(request, location)
        if kind == DICOM:
            _refuse(query, OF_PICTURES, "A DICOM object is sent as a whole: ask for a picture, or without {}.")
            response = object_response(request, location, _transfer_syntax(query.get("transferSyntax", ""), location))
        elif kind == PDF:
            response = bulk_response(request, location, "00420011", ranges=[MediaRange(PDF)], inline=True)
        elif kind in VIDEOS:
            _refuse(query, OF_PICTURES, "A video is sent as it is: ask without {}.")
            response = video_response(request, location, [MediaRange(kind)])
        else:
            response = _picture(request, location, kind)
        if request.method == "GET" and response.status_code in {200, 206}:
            audit.record(
                event="wado-uri.retrieve",
                action=AuditAction.READ,
                who=request.user,
                address=audit.address_of(request),
                study_instance_uid=study,
                detail={"series": series, "instance": instance, "type": kind},
            )
        return response


def _names(query: Mapping[str, str]) -> tuple[str, str, str]:
    """The three UIDs. Raises InvalidValue for what is missing, malformed or not done here."""
    if query.get("requestType", "") != "WADO":
        raise InvalidValue("requestType must be WADO.", field="requestType")
    for name in UIDS:
        if not query.get(name):
            raise InvalidValue(f"{name} is missing: name the study, the series and the object.", field=name)
        if not is_uid(query[name]):
            raise InvalidValue(f"{name} is no UID.", field=name)
    if query.get("anonymize", "") not in {"", "no"}:
        raise InvalidValue("Objects are not de-identified here: ask without anonymize.", field="anonymize")
    for name, reason in NOT_SUPPORTED.items():
        if query.get(name):
            raise InvalidValue(reason, field=name)
    return query["studyUID"], query["seriesUID"], query["objectUID"]


def _content_type(request: Any, location: Location) -> str:
    """The first type asked for (contentType, else Accept) in which this object can be had (PS3.18 9.1.2.2)."""
    text = request.GET.get("contentType", "")
    ranges = _asked(text) if text else accepted(request)
    offered = _offered(location)
    if not text and any(entry.type == "*/*" for entry in ranges):
        return offered[0]
    for entry in ranges:
        for kind in offered:
            if entry.takes(kind) and not entry.is_multipart:
                return kind
    raise NotAcceptable(f"This object can be had as {', '.join(offered)}.")


def _asked(text: str) -> list[MediaRange]:
    try:
        found = parse_accept(text.replace(" ", "+") if ";" not in text else text)
    except InvalidValue:
        found = []
    if not found:
        raise InvalidValue("contentType is no media type.", field="contentType")
    return sorted(found, key=lambda entry: -entry.quality)


def _offered(location: Location) -> tuple[str, ...]:
    """The types in which an object can be had, the usual one first."""
    instance = location.instance_ref
    if instance.sop_class_uid == ENCAPSULATED_PDF:
        return (PDF, DICOM)
    if location.transfer_syntax_uid in VIDEO:
        return (DICOM, *VIDEOS)
    if not instance.rows:
        return (DICOM,)
    return (DICOM, *PICTURES) if (instance.number_of_frames or 1) > 1 else (*PICTURES, DICOM)


def _refuse(query: Mapping[str, str], names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if query.get(name):
            raise InvalidValue(reason.format(name), field=name)


def _transfer_syntax(wanted: str, location: Location) -> str:
    """Explicit VR Little Endian unless another is asked for that can be had (PS3.18 9.1.2.2.1)."""
    if wanted and not is_uid(wanted):
        raise InvalidValue("transferSyntax is no UID.", field="transferSyntax")
    for syntax in (wanted,) if wanted else (EXPLICIT, syntax_as_stored(location)):
        if syntax not in NEVER_SENT and can_send(location=location, transfer_syntax_uid=syntax):
            return syntax
    raise NotAcceptable("This object cannot be sent in a transfer syntax that is asked for and allowed.")


def _picture(request: Any, location: Location, media_type: str) -> HttpResponseBase:
    query = request.GET
    options = _options(query)
    if query.get("transferSyntax"):
        raise InvalidValue("A picture has no transfer syntax: ask without transferSyntax.", field="transferSyntax")
    frame = _whole(query, "frameNumber", 1_000_000)
    tag = strong(state_of(location), media_type, request.META.get("QUERY_STRING", ""))
    if not_modified(request, etag=tag):
        return HttpResponse(status=304, headers={"ETag": tag})
    options["annotation"] = annotation_of(location=location, keywords=_annotations(query))
    try:
        if frame is None and media_type == GIF and (location.instance_ref.number_of_frames or 1) > 1:
            picture = render_animation(location=location, **options)
        else:
            picture = render_frame(location=location, frame=frame, media_type=media_type, **options)
    except HasNoPixels as error:
        raise NotAcceptable("This object has no picture.") from error
    return HttpResponse(picture, content_type=media_type, headers={"ETag": tag})


def _annotations(query: Mapping[str, str]) -> list[str]:
    words = [word for word in query.get("annotation", "").split(",") if word]
    if not set(words) <= set(PLACES):
        raise InvalidValue("annotation is patient, technique or both.", field="annotation")
    return sorted(set(words))


def _options(query: Mapping[str, str]) -> dict[str, Any]:
    """How the picture is to look. Raises InvalidValue, which names the parameter."""
    options: dict[str, Any] = {"quality": quality(query.get("imageQuality", ""), "imageQuality")}
    rows, columns = _whole(query, "rows", LARGEST_VIEWPORT), _whole(query, "columns", LARGEST_VIEWPORT)
    if rows or columns:
        options["viewport"] = (columns or 0, rows or 0)
    if region := query.get("region", ""):
        numbers = [_number(part, "region") for part in region.split(",")]
        if len(numbers) != 4 or not (0 <= numbers[0] < numbers[2] <= 1 and 0 <= numbers[1] < numbers[3] <= 1):
            raise InvalidValue("region is left,top,right,bottom as fractions from 0 to 1.", field="region")
        options["region"] = tuple(numbers)
    centre, width = query.get("windowCenter", ""), query.get("windowWidth", "")
    if centre or width:
        for name, text in (("windowCenter", centre), ("windowWidth", width)):
            if not text:
                raise InvalidValue("windowCenter and windowWidth are given together.", field=name)
        if _number(width, "windowWidth") <= 0:
            raise InvalidValue("windowWidth is larger than zero.", field="windowWidth")
        options["window"] = (_number(centre, "windowCenter"), _number(width, "windowWidth"), "linear")
    return options


def _whole(query: Mapping[str, str], name: str, largest: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= largest):
        raise InvalidValue(f"{name} is a whole number from 1 to {largest}.", field=name)
    return int(text)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise InvalidValue(f"{name} is no number.", field=name) from error
    if not math.isfinite(number):
        raise InvalidValue(f"{name} is no number.", field=name)
    return number


urlpatterns = [path("", RetrieveByUri.as_view(), name="wado-uri")]

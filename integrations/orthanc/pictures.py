"""Frames as pictures: whatever Accept says, a picture is answered."""

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from integrations.orthanc.access import answer
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.contents import frame_number
from integrations.orthanc.lookup import location_of, object_of
from pacs.dicomweb.validators import state_of, strong
from pacs.services.attributes import Level
from pacs.services.frames import HasNoPixels, StoredImage
from pacs.services.render import QUALITY, render_frame
from radiology.errors import InvalidValue, NotAcceptable, UnsupportedMediaType

JPEG, PNG = "image/jpeg", "image/png"
LARGEST = 4096


class Frames(ResourceView):
    """`/instances/{id}/frames`: their numbers, from 0."""

    level = Level.INSTANCE

    def get(self, request: Any, **_: str) -> HttpResponse:
        if not self.row.rows:
            return answer([])
        return answer(list(range(self.row.number_of_frames or 1)))


class Picture(ResourceView):
    """`/preview` and `/rendered`, of an object, one of its frames, or what stands for a series or study.

    PNG, as Orthanc gives it; JPEG to who accepts that by name. `/rendered` takes window-center, window-width,
    width, height and quality.
    """

    level = Level.INSTANCE
    rendered = False

    def get(self, request: Any, orthanc_frame: str = "", **_: str) -> HttpResponseBase:
        number = frame_number(orthanc_frame) if orthanc_frame else None
        row = object_of(self.here, self.level, self.row)
        location = location_of(self.here, row)
        options = _options(request) if self.rendered else {}
        media_type = _media_type(request)
        tag = strong("orthanc", state_of(location), number, media_type, sorted(options.items()))
        if request.META.get("HTTP_IF_NONE_MATCH") == tag:
            return HttpResponse(status=304, headers={"ETag": tag})
        try:
            picture = render_frame(location=location, frame=number or 1, media_type=media_type, **options)
        except (HasNoPixels, NotAcceptable) as error:
            raise UnsupportedMediaType("This object has no picture.") from error
        self.record_read("picture", instance=row.sop_instance_uid)
        return HttpResponse(picture, content_type=media_type, headers={"ETag": tag})


class RawFrame(ResourceView):
    """`/instances/{id}/frames/{n}/raw`: the frame's bytes as they are stored."""

    level = Level.INSTANCE

    def get(self, request: Any, orthanc_frame: str, **_: str) -> HttpResponse:
        with StoredImage(location_of(self.here, self.row)) as image:
            found = image.frame(frame_number(orthanc_frame))
        self.record_read("retrieve", instance=self.row.sop_instance_uid)
        return HttpResponse(found, content_type="application/octet-stream")


def _media_type(request: Any) -> str:
    accept = request.META.get("HTTP_ACCEPT", "").lower()
    jpeg, png = accept.find(JPEG), accept.find(PNG)
    return JPEG if jpeg >= 0 and (png < 0 or jpeg < png) else PNG


def _options(request: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    center, width = (_decimal(request, name) for name in ("window-center", "window-width"))
    if center is not None and width is not None:
        found["window"] = (center, width, "linear")
    sides = [_decimal(request, name) for name in ("width", "height")]
    if any(side is not None for side in sides):
        found["viewport"] = tuple(max(1.0, min(LARGEST, side or LARGEST)) for side in sides)
    quality = _decimal(request, "quality")
    found["quality"] = QUALITY if quality is None else int(max(1, min(100, quality)))
    return found


def _decimal(request: Any, name: str) -> float | None:
    value = request.GET.get(name)
    if value is None:
        return None
    try:
        found = float(value[:32])
    except ValueError:
        found = float("nan")
    if not abs(found) < 1e9:
        raise InvalidValue(f"The parameter {name} must be a number.", field=name)
    return found

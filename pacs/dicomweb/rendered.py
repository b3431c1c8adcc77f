"""WADO-RS rendered pictures and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4), and videos as they are."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from pacs.byte_ranges import Download, answer, not_modified
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.bulk_data import bulk_response
from pacs.dicomweb.frames import frame_numbers
from pacs.dicomweb.media_types import MediaRange, accepted, picture_type
from pacs.dicomweb.multipart import new_boundary, related, write_parts
from pacs.dicomweb.rendering_options import annotations, rendering_options, viewport
from pacs.dicomweb.retrieve import streamed
from pacs.dicomweb.selection import location_of, locations, representative_of
from pacs.dicomweb.validators import changed_at, state_of, strong, weak
from pacs.models import Location
from pacs.services.annotation import annotation_of
from pacs.services.frames import VIDEO, HasNoPixels
from pacs.services.render import (
    ENCAPSULATED_PDF,
    GIF,
    PICTURES,
    render_animation,
    render_frame,
    render_thumbnail,
)
from pacs.services.video import open_video
from radiology.errors import NotAcceptable, NotFound

MAX_ROWS = 100_000


class RetrieveRendered(DicomWebView):
    """A picture of an instance or frame; of a study or series, one of each object that has pixels.

    Of a multi-frame image without a frame number: the representative frame, as GIF all of them.
    """

    goes_straight = True

    def get(self, request: Any, study: str, series: str = "", instance: str = "", frames: str = "") -> HttpResponseBase:
        options = rendering_options(request)
        keywords, unknown = annotations(request)
        numbers: list[int | None] = list(frame_numbers(frames)) if frames else [None]
        if not instance:
            found = locations(who=request.user, study=study, series=series)[:MAX_ROWS]
            response = self._all(request, found, options, keywords)
        else:
            asked = [number for number in numbers if number]
            location = location_of(who=request.user, study=study, series=series, instance=instance, frames=asked)
            response = self._one(request, location, numbers, options, keywords)
        if unknown:  # PS3.18 8.3.5.1.1: left out, with a warning
            response.headers["Warning"] = '299 sinar "annotation: only patient and technique are supported."'
        return response

    def _one(
        self,
        request: Any,
        location: Location,
        numbers: list[int | None],
        options: dict[str, Any],
        keywords: list[str],
    ) -> HttpResponseBase:
        if numbers == [None] and location.instance_ref.sop_class_uid == ENCAPSULATED_PDF:
            return bulk_response(request, location, "00420011")
        if numbers == [None] and location.transfer_syntax_uid in VIDEO:
            return video_response(request, location)
        media_type, multipart = _form(request)
        tag = _tag(request, location, media_type)
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        try:
            if keywords:
                options["annotation"] = annotation_of(location=location, keywords=keywords)
            if len(numbers) == 1 and not multipart:
                picture = _picture(location, numbers[0], media_type, options)
                return HttpResponse(picture, content_type=media_type, headers={"ETag": tag})
            boundary = new_boundary()
            parts = ((media_type, iter([_picture(location, number, media_type, options)])) for number in numbers)
            return streamed(write_parts(boundary=boundary, parts=parts), related(media_type, boundary))
        except HasNoPixels as error:
            if numbers != [None]:
                raise
            raise NotAcceptable("This object has no picture.") from error

    @staticmethod
    def _all(request: Any, found: Any, options: dict[str, Any], keywords: list[str]) -> HttpResponseBase:
        media_type, _ = _form(request)
        rows = list(found.values_list("id", flat=True))
        if not rows:
            raise NotFound("There is no such study or series.")
        tag = weak(media_type, request.path, request.META.get("QUERY_STRING", ""), *rows)
        if not keywords and not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})

        def parts() -> Iterator[tuple[str, Iterator[bytes]]]:
            some = False
            for key in rows:
                location = Location.objects.select_related("instance_ref__series_ref__study_ref", "volume").get(pk=key)
                try:
                    drawn = {**options, "annotation": annotation_of(location=location, keywords=keywords)}
                    picture = render_frame(location=location, media_type=media_type, **drawn)
                except (NotFound, NotAcceptable):
                    continue  # reports, documents, videos and the like have no picture
                some = True
                yield media_type, iter([picture])
            if not some:
                raise NotAcceptable("None of these objects has a picture.")

        boundary = new_boundary()
        response = streamed(write_parts(boundary=boundary, parts=parts()), related(media_type, boundary))
        if not keywords:
            response.headers["ETag"] = tag
        return response


class RetrieveThumbnail(DicomWebView):
    """A small JPEG for a study, series, instance or frame; always something to show."""

    goes_straight = True

    def get(self, request: Any, study: str, series: str = "", instance: str = "", frames: str = "") -> HttpResponseBase:
        if picture_type(accepted(request), ["image/jpeg"]) is None:
            raise NotAcceptable("Thumbnails are sent as image/jpeg.")
        asked = viewport(request.GET.get("viewport", ""))
        size = max(16, min(512, int(max(asked[:2])))) if asked else 200
        who = request.user
        number = frame_numbers(frames)[0] if frames else None
        if instance:
            location = location_of(who=who, study=study, series=series, instance=instance)
        else:
            location = representative_of(who=who, study=study, series=series)
        tag = strong("thumbnail", location.pk, number, size)
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        picture = render_thumbnail(location=location, frame=number, size=size)
        return HttpResponse(picture, content_type="image/jpeg", headers={"ETag": tag})


def video_response(request: Any, location: Location, ranges: list[MediaRange] | None = None) -> HttpResponseBase:
    """A video's stream in ranges, so that players can begin anywhere. `ranges` as of `bulk_response`."""
    video = open_video(location=location)
    try:
        if picture_type(accepted(request) if ranges is None else ranges, [video.media_type]) is None:
            raise NotAcceptable(f"This object is a video: it is sent as {video.media_type}.")
        download = Download(
            blocks=video.blocks,
            size=video.size,
            etag=strong("video", location.pk),
            content_type=video.media_type,
            last_modified=changed_at(location),
            close=video.close,
        )
        return answer(request, download)
    except BaseException:
        video.close()
        raise


def _picture(location: Location, number: int | None, media_type: str, options: dict[str, Any]) -> bytes:
    if number is None and media_type == GIF and (location.instance_ref.number_of_frames or 1) > 1:
        return render_animation(location=location, **options)
    return render_frame(location=location, frame=number, media_type=media_type, **options)


def _form(request: Any) -> tuple[str, bool]:
    chosen = picture_type(accepted(request), PICTURES)
    if chosen is None:
        raise NotAcceptable("Pictures are sent as image/jpeg, image/png or image/gif.")
    return chosen


def _tag(request: Any, location: Location, media_type: str) -> str:
    """The object with its corrections and the query say all about the picture."""
    return strong(state_of(location), media_type, request.path, request.META.get("QUERY_STRING", ""))

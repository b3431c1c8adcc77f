"""WADO-RS bulk data (PS3.18 10.4.1.1.5) and pixel data (10.4.1.1.6), of one value up to a whole study."""

from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from pacs.byte_ranges import Download, answer, not_modified
from pacs.dicomweb import media_types
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.addresses import root_url
from pacs.dicomweb.media_types import MULTIPART, OCTETS, MediaRange, accepted, frame_form
from pacs.dicomweb.multipart import new_boundary, related, write_parts
from pacs.dicomweb.retrieve import BATCH, streamed
from pacs.dicomweb.selection import location_of, locations
from pacs.dicomweb.validators import changed_at, state_of, strong, weak
from pacs.models import Location
from pacs.services.decode import decode_frame
from pacs.services.frames import HasNoPixels, StoredImage
from pacs.services.metadata import bulk_data, bulk_values
from radiology.errors import NotAcceptable, NotFound

Part = tuple[str, Iterator[bytes], str]


class RetrieveBulkData(DicomWebView):
    """A value that the metadata name by BulkDataURI."""

    def get(self, request: Any, study: str, series: str, instance: str, path: str) -> HttpResponseBase:
        location = location_of(who=request.user, study=study, series=series, instance=instance)
        return bulk_response(request, location, path)


def bulk_response(
    request: Any, location: Location, path: str, *, ranges: list[MediaRange] | None = None, inline: bool = False
) -> HttpResponseBase:
    """One large value as the caller accepts it: in a multipart body or, in ranges, by itself.

    `ranges` take the place of what the caller accepts.
    """
    ranges = accepted(request) if ranges is None else ranges
    facts = ("value", state_of(location), path, request.META.get("HTTP_ACCEPT", ""), request.GET.urlencode())
    if not_modified(request, etag=weak(*facts)):
        return HttpResponse(status=304, headers={"ETag": weak(*facts)})
    value = bulk_data(location=location, path=path)
    try:
        # Of the types that objects claim, only this one is passed on; a browser must not run the others.
        offered = ["application/pdf", OCTETS] if value.media_type == "application/pdf" else [OCTETS]
        chosen = media_types.picture_type(ranges, offered)
        if chosen is None:
            raise NotAcceptable("This value cannot be sent in a form that is accepted.")
        media_type, multipart = chosen
        asked = next(entry for entry in ranges if entry.takes(media_type))
        if multipart or asked.type in {"*/*", MULTIPART}:
            boundary = new_boundary()
            body = write_parts(boundary=boundary, parts=[(media_type, value.blocks(0))])
            response = streamed(body, related(media_type, boundary))
            response.headers["ETag"] = weak(*facts)
            return response
        suffix = "pdf" if media_type == "application/pdf" else "bin"
        download = Download(
            blocks=value.blocks,
            size=value.length,
            etag=strong(*facts),
            content_type=media_type,
            filename=f"{location.instance_ref.sop_instance_uid}.{suffix}",
            inline=inline,
            last_modified=changed_at(location),
            close=value.close,
        )
        return answer(request, download)
    except BaseException:
        value.close()
        raise


class RetrieveAllBulkData(DicomWebView):
    """All large values of a study, series or instance, the pixels included: a part each, named by its address."""

    def get(self, request: Any, study: str, series: str = "", instance: str = "") -> HttpResponseBase:
        return _answer(request, (study, series, instance), _values_and_pixels)


class RetrievePixelData(DicomWebView):
    """The pixels of all images of a study, series or instance: one part an image, or one a compressed frame."""

    def get(self, request: Any, study: str, series: str = "", instance: str = "") -> HttpResponseBase:
        return _answer(request, (study, series, instance), _pixels)


def _answer(
    request: Any, names: tuple[str, str, str], parts_of: Callable[[Any, Location, str], Iterator[Part]]
) -> HttpResponseBase:
    study, series, instance = names
    found = locations(who=request.user, study=study, series=series, instance=instance)
    keys = list(found.values_list("id", flat=True))
    if not keys:
        raise NotFound("There is no such study, series or instance.")
    ranges = accepted(request)
    if not any(entry.is_multipart or entry.type in {"*/*", OCTETS} for entry in ranges):
        raise NotAcceptable("Bulk data of several values are sent as multipart/related.")
    tag = weak(request.path, request.META.get("HTTP_ACCEPT", ""), request.META.get("QUERY_STRING", ""), *keys)
    if not_modified(request, etag=tag):
        return HttpResponse(status=304, headers={"ETag": tag})
    base_url = root_url(request)

    def parts() -> Iterator[Part]:
        some = False
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            rows = Location.objects.select_related("instance_ref__series_ref__study_ref", "volume").in_bulk(batch)
            for key in batch:
                if key in rows:
                    for part in parts_of(ranges, rows[key], _url(base_url, rows[key])):
                        some = True
                        yield part
        if not some:
            raise NotFound("These objects hold no such data.")

    boundary = new_boundary()
    response = streamed(write_parts(boundary=boundary, parts=parts()), related(OCTETS, boundary))
    response.headers["ETag"] = tag
    return response


def _url(base_url: str, location: Location) -> str:
    instance = location.instance_ref
    series = instance.series_ref
    return (
        f"{base_url}/studies/{series.study_ref.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )


def _values_and_pixels(ranges: Any, location: Location, url: str) -> Iterator[Part]:
    for path, blocks in bulk_values(location=location):
        yield OCTETS, blocks, f"{url}/bulkdata/{path}"
    yield from _pixels(ranges, location, url)


def _pixels(ranges: Any, location: Location, url: str) -> Iterator[Part]:
    try:
        image = StoredImage(location)
    except HasNoPixels:
        return
    with image:
        form = frame_form(ranges, stored=image.frame_transfer_syntax_uid, several=True)
        if form is None:
            raise NotAcceptable("The pixels of these objects cannot be sent in a form that is accepted.")
        content_type, url = form.content_type, f"{url}/pixeldata"
        frames = range(1, image.description.number_of_frames + 1)
        if not image.is_encapsulated:
            yield content_type, image.native(), url
        elif form.transfer_syntax_uid != image.transfer_syntax_uid:
            yield content_type, _decoded(image), url
        elif image.is_video:
            yield content_type, image.extents_from(image.stream(), 0), url
        elif len(frames) == 1:
            yield content_type, image.blocks(1), url
        else:
            for number in frames:
                yield content_type, image.blocks(number), f"{url}/frames/{number}"


def _decoded(image: StoredImage) -> Iterator[bytes]:
    for number in range(1, image.description.number_of_frames + 1):
        pixels, _ = decode_frame(
            frame=image.frame(number), transfer_syntax_uid=image.transfer_syntax_uid, description=image.description
        )
        yield pixels

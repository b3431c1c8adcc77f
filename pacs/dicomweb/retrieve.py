"""WADO-RS: whole objects (PS3.18 10.4.1.1.1)."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from pacs.byte_ranges import Download, after, answer, not_modified
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.media_types import DICOM, accepted, object_syntax
from pacs.dicomweb.multipart import new_boundary, related, write_parts
from pacs.dicomweb.selection import locations
from pacs.dicomweb.validators import changed_at, state_of, strong, weak
from pacs.dicomweb.whole_files import WholeFile, files_response
from pacs.models import Location, Series
from pacs.services.outgoing import is_corrected, part10_blocks, part10_size, syntax_as_stored
from pacs.services.overlay import overlay_of
from pacs.storage import open_object
from radiology.errors import NotAcceptable, NotFound, OutOfResources
from radiology.models import AuditAction
from radiology.services import audit

BATCH = 100
FILE = ("id", "transfer_syntax_uid", "volume_id", "path", "data_set_offset", "size", "sha256")
COLUMNS = (
    "instance_ref_id", "instance_ref__series_ref_id", "instance_ref__series_ref__version",
    "instance_ref__series_ref__study_ref__version", *FILE,
)  # fmt: skip


def streamed(blocks: Iterator[bytes], content_type: str, status: int = 200) -> StreamingHttpResponse:
    """A streaming answer whose first block is made before its status is given."""
    first = next(blocks, b"")
    return StreamingHttpResponse(chain([first], blocks), content_type=content_type, status=status)


class RetrieveObjects(DicomWebView):
    """The objects of a study, of a series, or one: multipart, or a single Part 10 file."""

    def get(self, request: Any, study: str, series: str = "", instance: str = "") -> HttpResponseBase:
        ranges = accepted(request)
        found = locations(who=request.user, study=study, series=series, instance=instance)
        stored: dict[int, WholeFile] = {}  # one location of each instance
        versions: set[tuple[int, int, int]] = set()
        for instance_id, series_id, of_series, of_study, *file in found.values_list(*COLUMNS):
            stored.setdefault(instance_id, WholeFile(*file))
            versions.add((series_id, of_series, of_study))
        if not stored:
            raise NotFound("There is no such study, series or instance.")
        present = {each.transfer_syntax_uid for each in stored.values()}
        syntaxes = {syntax: object_syntax(ranges, stored=syntax) for syntax in present}
        files = [each for each in stored.values() if syntaxes[each.transfer_syntax_uid]]
        chosen = [each.location for each in files]
        if not chosen:
            raise NotAcceptable("None of these objects can be sent in a form that is accepted.")
        alone = next((entry for entry in ranges if entry.takes(DICOM)), None)
        if instance and alone is not None and alone.type == DICOM:
            response = self._alone(request, found.get(pk=chosen[0]), syntaxes)
        else:
            tag = weak(request.path, sorted(versions), *chosen, *sorted(syntaxes.items()))
            as_stored = all(wanted in (None, syntax) for syntax, wanted in syntaxes.items())
            if as_stored and not _is_any_corrected({series for series, *_ in versions}):
                response = self._files(request, files, tag, complete=len(files) == len(stored))
            else:
                response = self._parts(request, chosen, syntaxes, tag, complete=len(files) == len(stored))
        if request.method == "GET" and response.status_code in {200, 206}:
            audit.record(
                event="dicomweb.retrieve",
                action=AuditAction.READ,
                who=request.user,
                address=audit.address_of(request),
                study_instance_uid=study,
                detail={"series": series, "instance": instance, "instances": len(chosen)},
            )
        return response

    @staticmethod
    def _files(request: Any, files: list[WholeFile], tag: str, *, complete: bool) -> HttpResponseBase:
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        response = files_response(request, files, boundary=new_boundary(), status=200 if complete else 206)
        response.headers["ETag"] = tag
        return response

    @staticmethod
    def _parts(
        request: Any, chosen: list[int], syntaxes: dict[str, str | None], tag: str, *, complete: bool
    ) -> HttpResponseBase:
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        boundary = new_boundary()
        parts = ((DICOM + f"; transfer-syntax={syntax}", blocks) for syntax, blocks in _objects(chosen, syntaxes))
        response = streamed(
            write_parts(boundary=boundary, parts=parts), related(DICOM, boundary), status=200 if complete else 206
        )
        response.headers["ETag"] = tag
        return response

    @staticmethod
    def _alone(request: Any, location: Location, syntaxes: dict[str, str | None]) -> HttpResponseBase:
        return object_response(request, location, _sent_as(location, syntaxes))


def object_response(request: Any, location: Location, transfer_syntax_uid: str) -> HttpResponseBase:
    """One Part 10 file, in ranges where it leaves as it is stored."""
    as_stored = transfer_syntax_uid == location.transfer_syntax_uid and not is_corrected(location)

    def blocks(start: int) -> Iterator[bytes]:
        yield from after(part10_blocks(location=location, transfer_syntax_uid=transfer_syntax_uid), start)

    download = Download(
        blocks=blocks,
        size=part10_size(location=location) if as_stored else None,
        etag=strong("object", state_of(location), transfer_syntax_uid),
        content_type=DICOM,
        filename=f"{location.instance_ref.sop_instance_uid}.dcm",
        last_modified=changed_at(location),
        open_file=(lambda: _opened(location)) if as_stored else None,
    )
    return answer(request, download)


def _is_any_corrected(keys: set[int]) -> bool:
    series = Series.objects.filter(pk__in=keys).select_related("study_ref")
    return any(overlay_of(each) is not None for each in series.only("overlay", "study_ref__overlay").iterator(BATCH))


def _opened(location: Location) -> Any:
    try:
        return open_object(location=location)
    except FileNotFoundError as error:
        raise OutOfResources("The object's file is missing from the archive.") from error


def _objects(chosen: list[int], syntaxes: dict[str, str | None]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Each object's transfer syntax and its file in blocks; rows come in batches, in the order of `chosen`."""
    for start in range(0, len(chosen), BATCH):
        keys = chosen[start : start + BATCH]
        rows = Location.objects.select_related("instance_ref__series_ref__study_ref", "volume").in_bulk(keys)
        for key in keys:
            if key in rows:
                syntax = _sent_as(rows[key], syntaxes)
                yield syntax, part10_blocks(location=rows[key], transfer_syntax_uid=syntax)


def _sent_as(location: Location, syntaxes: dict[str, str | None]) -> str:
    chosen = syntaxes[location.transfer_syntax_uid] or ""
    return syntax_as_stored(location) if chosen == location.transfer_syntax_uid else chosen

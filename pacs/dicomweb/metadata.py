"""WADO-RS metadata (PS3.18 10.4.1.1.2): DICOM JSON, compressed where the caller takes it, or XML."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from django.db.models import QuerySet
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from pacs.byte_ranges import not_modified
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.addresses import root_url
from pacs.dicomweb.media_types import accepted, picture_type
from pacs.dicomweb.multipart import new_boundary, related, write_parts
from pacs.dicomweb.native_model import to_xml
from pacs.dicomweb.retrieve import BATCH, streamed
from pacs.dicomweb.selection import location_of, locations, series_of
from pacs.dicomweb.validators import state_of, weak
from pacs.models import Location, Series
from pacs.services.metadata import metadata_of, metadata_or_identity
from pacs.services.prepared import open_series_metadata, study_metadata
from radiology.errors import NotAcceptable

JSON, XML = "application/dicom+json", "application/dicom+xml"
BLOCK = 1 << 20


class RetrieveMetadata(DicomWebView):
    """Everything but the pixels, of a study, a series or an instance."""

    goes_straight = True

    def get(self, request: Any, study: str, series: str = "", instance: str = "") -> HttpResponseBase:
        chosen = picture_type(accepted(request), [JSON, "application/json", XML])
        if chosen is None:
            raise NotAcceptable(
                'Metadata are sent as application/dicom+json or multipart/related; type="application/dicom+xml".'
            )
        base_url = root_url(request)
        if instance:
            location = location_of(who=request.user, study=study, series=series, instance=instance)
            tag = weak("metadata", state_of(location), base_url, chosen[0])
        else:
            rows = series_of(who=request.user, study=study, series=series)
            versions = [f"{each.pk}.{each.version}.{each.study_ref.version}" for each in rows]
            tag = weak("metadata", *versions, base_url, chosen[0])
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        if chosen[0] == XML:
            found = locations(who=request.user, study=study, series=series, instance=instance)
            boundary = new_boundary()
            body = write_parts(boundary=boundary, parts=_documents(found, base_url))
            response: HttpResponseBase = streamed(body, related(XML, boundary))
        elif instance:
            attributes = metadata_of(location=location, base_url=base_url)
            text = json.dumps([attributes], ensure_ascii=False, allow_nan=False).encode()
            response = self._answer(request, HttpResponse(_whole(request, text), content_type=JSON))
        else:
            response = self._answer(request, self._of_series(request, rows, base_url))
        response.headers["ETag"] = tag
        return response

    @staticmethod
    def _of_series(request: Any, rows: list[Series], base_url: str) -> HttpResponseBase:
        if len(rows) > 1:
            blocks = study_metadata(who=request.user, series=rows, base_url=base_url)
            return streamed(_deflated(blocks) if _takes_gzip(request) else blocks, JSON)
        file = open_series_metadata(who=request.user, series=rows[0], base_url=base_url)
        if not _takes_gzip(request):
            return streamed(_inflated(file), JSON)
        response: HttpResponseBase = FileResponse(file, content_type=JSON)
        response.headers.pop("Content-Disposition", None)
        return response

    @staticmethod
    def _answer(request: Any, response: HttpResponseBase) -> HttpResponseBase:
        if _takes_gzip(request):
            response.headers["Content-Encoding"] = "gzip"
        patch_vary_headers(response, ["Accept-Encoding"])
        return response


def _documents(found: QuerySet[Location], base_url: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """A document of the Native DICOM Model for each instance (PS3.18 8.7.3.2)."""
    last = 0
    for location in found.iterator(BATCH):
        if location.instance_ref_id != last:
            last = location.instance_ref_id
            attributes, _ = metadata_or_identity(location=location, base_url=base_url)
            yield XML, iter([to_xml(attributes)])


def _takes_gzip(request: Any) -> bool:
    for entry in request.META.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, parameters = entry.partition(";")
        if name.strip() in {"gzip", "*"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0"}
    return False


def _whole(request: Any, body: bytes) -> bytes:
    return gzip.compress(body, 5, mtime=0) if _takes_gzip(request) else body


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    with file, gzip.open(file) as inflated:
        while block := inflated.read(BLOCK):
            yield block


def _deflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for block in blocks:
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()

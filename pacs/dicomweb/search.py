"""QIDO-RS (PS3.18 10.6): searching for studies, series and instances."""

import gzip
from collections.abc import Iterable
from typing import Any

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.addresses import root_url
from pacs.dicomweb.media_types import MediaRange, accepted
from pacs.dicomweb.multipart import new_boundary, related, write_parts
from pacs.dicomweb.native_model import to_xml
from pacs.dicomweb.parameters import Parameters, parse_parameters
from pacs.services.attributes import Level
from pacs.services.query import Search
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotAcceptable
from radiology.models import AuditAction
from radiology.services import audit

JSON, XML = "application/dicom+json", "application/dicom+xml"
# Answers to one request: archive-wide, and within one study, whose series may have thousands of images.
MOST_ANSWERS, MOST_WITHIN_STUDY = 1000, 10_000
SMALL = 1024

# Tables 10.6.3-3, 10.6.3-4 and 10.6.3-5; an attribute without value is answered empty.
STUDY_ATTRIBUTES = [
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "InstanceAvailability",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "RetrieveURL",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
]
SERIES_ATTRIBUTES = [
    "SpecificCharacterSet",
    "Modality",
    "TimezoneOffsetFromUTC",
    "SeriesDescription",
    "InstanceAvailability",
    "RetrieveURL",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "NumberOfSeriesRelatedInstances",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "RequestAttributesSequence",
]
INSTANCE_ATTRIBUTES = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceAvailability",
    "TimezoneOffsetFromUTC",
    "RetrieveURL",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
]


class SearchView(DicomWebView):
    """What the three searches share."""

    goes_straight = True

    level: Level
    attributes: list[str]

    def get(self, request: Any, study: str = "", series: str = "") -> HttpResponse:
        media = _chosen(accepted(request))
        parameters = parse_parameters(request.GET)
        keys = {**parameters.keys, **_named("StudyInstanceUID", study), **_named("SeriesInstanceUID", series)}
        search = Search(
            who=request.user,
            level=self.level,
            keys=keys,
            fuzzy=parameters.fuzzy,
            combined=True,  # as the archives do that clients are tried with; the standard names no choice here
            zone=parameters.zone,
        )
        most = MOST_WITHIN_STUDY if study else MOST_ANSWERS
        limit = most if parameters.limit is None else min(parameters.limit, most)
        returned = None if parameters.everything else self._returned(parameters, study, series)
        told = search.answers if media == XML else search.answers_as_text
        found: list[Any] = list(
            told(returned=returned, base_url=root_url(request), limit=limit + 1, offset=parameters.offset)
        )
        answers, more = found[:limit], len(found) > limit
        audit.record(
            event="dicomweb.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            study_instance_uid=study,
            detail={"level": self.level.value, "answers": len(answers)},
        )
        warnings = [*parameters.warnings, *(f"{key} is not matched and was ignored" for key in search.unmatched)]
        if more:
            warnings.append("There are additional results that can be requested")
        response = _response(request, answers, media)
        if warnings:
            response.headers["Warning"] = ", ".join(f'299 {request.get_host()} "{text}"' for text in warnings[:20])
        return response

    def _returned(self, parameters: Parameters, study: str, series: str) -> set[str]:
        """The attributes of the level, those of the levels that the address leaves open, and what was named."""
        returned = {*self.attributes, *parameters.included, *parameters.keys}
        if self.level != Level.STUDY and not study:
            returned.update(STUDY_ATTRIBUTES)
        if self.level == Level.INSTANCE and not series:
            returned.update(SERIES_ATTRIBUTES)
        return returned


class SearchStudies(SearchView):
    """`GET /studies`."""

    level = Level.STUDY
    attributes = STUDY_ATTRIBUTES


class SearchSeries(SearchView):
    """`GET /series` and `/studies/{study}/series`."""

    level = Level.SERIES
    attributes = SERIES_ATTRIBUTES


class SearchInstances(SearchView):
    """`GET /instances`, `/studies/{study}/instances` and `/studies/{study}/series/{series}/instances`."""

    level = Level.INSTANCE
    attributes = INSTANCE_ATTRIBUTES


def _named(keyword: str, uid: str) -> dict[str, str]:
    if uid and not is_uid(uid):
        raise InvalidValue(f"The address has no valid {keyword}.", field=keyword)
    return {keyword: uid} if uid else {}


def _chosen(ranges: list[MediaRange]) -> str:
    """The media type to answer in; what a client asks that does not care for DICOM is plain JSON."""
    for entry in ranges:
        if entry.is_multipart:
            if entry.inner in (XML, "*/*"):
                return XML
            continue
        for media_type in (JSON, "application/json"):
            if entry.takes(media_type):
                return media_type
    raise NotAcceptable(f'Search results come as {JSON} or multipart/related; type="{XML}".')


def _response(request: Any, answers: list[Any], media: str) -> HttpResponse:
    """The answers, objects where `media` is XML, else the text of JSON objects."""
    if media == XML:
        boundary = new_boundary()
        parts: Iterable[tuple[str, Iterable[bytes]]] = ((XML, [to_xml(answer)]) for answer in answers)
        body, content_type = b"".join(write_parts(boundary=boundary, parts=parts)), related(XML, boundary)
    else:
        body, content_type = f"[{','.join(answers)}]".encode(), media
    packed = len(body) > SMALL and _takes_gzip(request)
    response = HttpResponse(gzip.compress(body, 3, mtime=0) if packed else body, content_type=content_type)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept", "Accept-Encoding"])
    return response


def _takes_gzip(request: Any) -> bool:
    for entry in request.META.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, parameters = entry.partition(";")
        if name.strip() == "gzip":
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False

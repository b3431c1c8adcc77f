"""Downloads as ZIP, with DICOMDIR: of a study, a series, a patient. One that was cut can be resumed."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse

from pacs.api.access import ApiView, series_of, study_of
from pacs.api.patients import patient_of
from pacs.byte_ranges import Download, answer
from pacs.models import Instance, Location
from pacs.services.archive_zip import ZipStream, zip_of
from radiology.api.operations import file_answer, operation
from radiology.models import AuditAction
from radiology.services import audit

DESCRIPTION = (
    "A ZIP with a DICOMDIR, made while it is sent. A download that broke off goes on with `Range` and, as "
    "`If-Range`, the `ETag` of the first answer. Where corrected images are rewritten on the way the length is not "
    "known before: then there is no `Content-Length`, and `Range` is not honoured."
)
HEADERS = {
    "Range": "`bytes=1000000-`: from that byte on (206).",
    "If-Range": "The ETag of the answer that is to be continued; where the ZIP has changed since, all of it is sent.",
    "If-None-Match": "The ETag of the ZIP that is there already: 304 when nothing changed.",
}
ANSWERS: dict[Any, Any] = {
    (200, "application/zip"): file_answer("The whole ZIP."),
    (206, "application/zip"): file_answer("The part that was asked for."),
    416: OpenApiResponse(description="The range begins behind the end; `Content-Range` says how long the ZIP is."),
}
ERRORS = [404, 507]


class StudyArchive(ApiView):
    """`GET /studies/{study}/archive`."""

    @operation(
        tag="Downloads",
        summary="A study as ZIP",
        description=DESCRIPTION,
        path=["study"],
        headers=HEADERS,
        answers=ANSWERS,
        errors=ERRORS,
    )
    def get(self, request: Any, study: str) -> HttpResponseBase:
        found = study_of(request.user, study)
        locations = _locations(request.user, series_ref__study_ref=found)
        return zip_answer(
            request,
            locations,
            name="-".join(filter(None, ["study", found.study_date, found.accession_number])),
            site_id=found.site_id,
            patient_id=found.patient_ref_id,
            study_instance_uid=study,
        )


class SeriesArchive(ApiView):
    """`GET /series/{series}/archive`."""

    @operation(
        tag="Downloads",
        summary="A series as ZIP",
        description=DESCRIPTION,
        path=["series"],
        headers=HEADERS,
        answers=ANSWERS,
        errors=ERRORS,
    )
    def get(self, request: Any, series: str) -> HttpResponseBase:
        found = series_of(request.user, series)
        study = found.study_ref
        return zip_answer(
            request,
            _locations(request.user, series_ref=found),
            name="-".join(filter(None, ["series", study.study_date, found.modality, str(found.series_number or "")])),
            site_id=study.site_id,
            patient_id=study.patient_ref_id,
            study_instance_uid=study.study_instance_uid,
        )


class PatientArchive(ApiView):
    """`GET /patients/{patient}/archive`."""

    @operation(
        tag="Downloads",
        summary="All images of a patient as ZIP",
        description=DESCRIPTION,
        path=["patient"],
        headers=HEADERS,
        answers=ANSWERS,
        errors=ERRORS,
    )
    def get(self, request: Any, patient: uuid.UUID) -> HttpResponseBase:
        found = patient_of(request.user, patient)
        locations = _locations(request.user, series_ref__study_ref__patient_ref=found)
        return zip_answer(request, locations, name="patient", site_id=found.site_id, patient_id=found.pk)


def zip_answer(
    request: Any,
    locations: QuerySet[Location],
    *,
    name: str,
    who: Any = None,
    event: str = "api.archive",
    **subject: Any,
) -> HttpResponseBase:
    """The ZIP of these objects, or the part of it that is asked for. `subject` says in the audit whose it is.

    `who` asks: the request's user, where nobody is named.
    """
    stream = zip_of(locations=locations, name=name)
    download = Download(
        blocks=lambda start: _blocks(stream, start),
        size=stream.size,
        etag=stream.etag,
        content_type="application/zip",
        filename=stream.filename,
        close=stream.close,
    )
    response = answer(request, download)
    if response.streaming:
        audit.record(
            event=event,
            action=AuditAction.READ,
            who=who or request.user,
            address=audit.address_of(request),
            detail={"instances": stream.count, "part": response.status_code == 206},
            **subject,
        )
    return response


def _blocks(stream: ZipStream, start: int) -> Iterator[bytes]:
    try:
        yield from stream.blocks(start)
    finally:
        stream.close()


def _locations(who: Any, **above: Any) -> QuerySet[Location]:
    """The objects below a row that `who` may see."""
    wanted = Instance.objects.visible_to(who).filter(**above)
    return Location.objects.current().filter(instance_ref__in=wanted)

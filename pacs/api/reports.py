"""Reports over `/api/v1`: find, read, begin, and attach what was written elsewhere."""

import base64
import binascii
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.http import content_disposition_header

from pacs.api import report_shapes as shapes
from pacs.api.access import CURSOR, LIMIT, linked
from pacs.api.order_bodies import require_known
from pacs.api.report_access import ReportView, procedure_to_report, procedures_of_study, report_of, reports_of
from pacs.api.report_entries import newest_versions, report_entry, report_version_entry
from pacs.api.report_watch_entries import beside_of
from pacs.dicomweb.addresses import origin
from radiology.api.operations import file_answer, json_answer, json_body, operation, text_of
from radiology.api.pages import cursor_of, place_of, with_cursor
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Report, ReportOrigin, ReportStatus, RequestedProcedure, User
from radiology.services import audit, report_pdf
from radiology.services.attached_reports import LARGEST_PDF, attach_report
from radiology.services.key_images import find_key_image, picture_of
from radiology.services.report_versions import Content, record, require_given_out
from radiology.services.reports import write_draft

NEWEST_FIRST = ["-pk"]
LARGEST_BODY = 16 << 20
LARGEST_SIDE = 800
TARGET = ("procedure", "study_instance_uid", "accession_number", "requested_procedure_id")
NEW = (*TARGET, "sections", "status", "pdf", "author_name", "external_id", "at")
LISTED = [
    Parameter("patient_id", "Medical record number, exactly.", example="001234"),
    Parameter("accession_number", "Exactly.", example="24012500001"),
    Parameter("study_instance_uid", "Of the images that it is about.", example="1.2.840.113619.2.55.3.4271045733.996"),
    Parameter("status", "One or several, separated by commas.", example="final,amended", pattern=r"[a-z, -]+"),
    Parameter("updated_since", "A moment (ISO 8601): what changed then or later.", example="2024-01-25T08:00:00Z"),
    LIMIT,
    CURSOR,
]


class SearchReports(ReportView):
    """`GET /reports`."""

    @operation(
        tag="Reports",
        summary="Search for reports",
        description="The reports for which all parameters hold, newest first. Drafts are shown to who writes reports.",
        parameters=LISTED,
        answers={200: shapes.ReportList},
    )
    def get(self, request: Any) -> HttpResponse:
        found = self._asked(reports_of(request.user))
        if cursor := self.asked["cursor"]:
            found = found.filter(pk__lt=place_of(cursor=cursor, order=NEWEST_FIRST)[0][0])
        rows = list(found.order_by("-pk")[: self.limit + 1])
        here, shown, links = origin(request), rows[: self.limit], {}
        if len(rows) > len(shown):
            cursor = cursor_of(order=NEWEST_FIRST, values=[shown[-1].pk], backwards=False)
            links["next"] = with_cursor(address=here + request.path, asked=self.asked, cursor=cursor)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "report", "answers": len(shown)},
        )
        newest, beside = newest_versions(shown), beside_of(shown)
        data = [report_entry(each, here, request.user, newest=newest, beside=beside) for each in shown]
        body = {"data": data, **links}
        return json_answer(request, body, headers=linked(links))

    def _asked(self, found: Any) -> Any:
        asked = self.asked
        if asked["patient_id"]:
            found = found.filter(requested_procedure_ref__order_ref__patient_ref__patient_id=asked["patient_id"])
        if asked["accession_number"]:
            found = found.filter(requested_procedure_ref__order_ref__accession_number=asked["accession_number"])
        if uid := asked["study_instance_uid"]:
            found = found.filter(
                requested_procedure_ref__in=RequestedProcedure.objects.filter(procedures_of_study(uid))
            )
        if asked["status"]:
            statuses = [each.strip() for each in asked["status"].split(",") if each.strip()]
            if unknown := [each for each in statuses if each not in ReportStatus.values]:
                raise InvalidValue(
                    f"There is no status {unknown[0]}; there are: {', '.join(ReportStatus.values)}.", field="status"
                )
            found = found.filter(status__in=statuses)
        if asked["updated_since"]:
            found = found.filter(updated_at__gte=moment_of(asked["updated_since"], "updated_since"))
        return found


class MakeReport(ReportView):
    """`POST /reports`."""

    @operation(
        tag="Reports",
        summary="Begin or attach a report",
        description="With `status`: a report that was written elsewhere, as text, PDF or both; sent again it changes "
        "nothing and answers 200; with other content or status it is the next version. Without: the draft of a person, "
        "signed later. 409 tells as `existing` the report that stands in the way.",
        body=shapes.NewReport,
        answers={201: shapes.ReportShape, 200: shapes.ReportShape},
        errors=[404, 409, 415],
        examples=shapes.WRITTEN_ELSEWHERE,
    )
    def post(self, request: Any) -> HttpResponse:
        given = json_body(request, most=LARGEST_BODY)
        require_known(given, NEW, "")
        targets = {name: text_of(given, name, most=64) for name in TARGET}
        procedure = procedure_to_report(request.user, **targets)
        sections = given.get("sections", {})
        address = audit.address_of(request)
        if "status" not in given:
            if not isinstance(request.user, User):
                raise NotAllowed(
                    "People write drafts; a program attaches what was written elsewhere: say its status.",
                    field="status",
                )
            require_known(given, (*TARGET, "sections"), "")
            report = write_draft(procedure=procedure, sections=sections, who=request.user, address=address)
            is_new = report.version == 1
        else:
            version, is_new = attach_report(
                procedure=procedure,
                status=_status_of(given),
                content=Content(sections, _pdf_of(given)),
                author_name=text_of(given, "author_name", most=324),
                external_id=text_of(given, "external_id", most=64),
                origin=ReportOrigin.REST,
                at=moment_of(text_of(given, "at", most=64), "at") if given.get("at") else None,
                who=request.user,
                address=address,
            )
            report = version.report_ref
        found = report_of(request.user, report.public_id)
        entry = report_entry(found, origin(request), request.user)
        if is_new:
            where = {"Location": entry["links"]["self"]}
            return json_answer(request, entry, status=201, headers=where, version=found.version)
        return json_answer(request, entry, version=found.version)


class OneReport(ReportView):
    """`GET /reports/{report}`."""

    @operation(
        tag="Reports",
        summary="One report",
        description="The `ETag` of the answer is what changes want in `If-Match`.",
        path=["report"],
        answers={200: shapes.ReportShape},
        errors=[404],
    )
    def get(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        record_read(request, found)
        return json_answer(request, report_entry(found, origin(request), request.user), version=found.version)


class ReportVersions(ReportView):
    """`GET /reports/{report}/versions`."""

    @operation(
        tag="Reports",
        summary="What a report said before",
        path=["report"],
        answers={200: shapes.ReportVersionList},
        errors=[404, 409],
    )
    def get(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        require_given_out(found, request.user)
        record_read(request, found)
        here, versions = origin(request), found.versions.defer("pdf")
        return json_answer(request, {"data": [report_version_entry(each, found, here) for each in versions]})


class ReportPdf(ReportView):
    """`GET /reports/{report}/pdf`."""

    @operation(
        tag="Reports",
        summary="A report as PDF",
        description="The version that holds: as it was written elsewhere, or as the hospital's letter.",
        path=["report"],
        answers={(200, "application/pdf"): file_answer("The letter.")},
        errors=[404, 409],
    )
    def get(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        if not found.number:
            raise NotFound("Nothing of this report is published yet.", field="report")
        require_given_out(found)
        record_read(request, found)
        headers = {
            "Content-Disposition": content_disposition_header(False, report_pdf.file_name(found)) or "inline",
            "X-Content-Type-Options": "nosniff",
        }
        letter = report_pdf.pdf_of(report=found, origin=origin(request))
        return HttpResponse(letter, content_type="application/pdf", headers=headers)


class ReportKeyImage(ReportView):
    """`GET /reports/{report}/key-images/{key_image}`."""

    @operation(
        tag="Reports",
        summary="A key image of a report",
        description="In the window in which it was chosen, at most 800 pixels a side.",
        path=["report", "key_image"],
        answers={(200, "image/jpeg"): file_answer("The picture.")},
        errors=[404, 406, 409],
    )
    def get(self, request: Any, report: uuid.UUID, key_image: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        require_given_out(found, request.user)
        image = find_key_image(found, key_image, drafts=False)
        picture = picture_of(found, image, side=LARGEST_SIDE)
        record_read(request, found)
        return HttpResponse(picture, content_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})


def record_read(request: Any, report: Report, **detail: Any) -> None:
    record(report, request.user, audit.address_of(request), AuditAction.READ, detail)


def moment_of(text: str, field: str) -> datetime:
    """A moment with its offset. Raises InvalidValue."""
    try:
        found = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidValue(f"{field} is a moment with its offset, such as 2024-01-25T08:00:00+07:00.", field=field)
    return found


def _status_of(given: Mapping[str, Any]) -> ReportStatus:
    status = text_of(given, "status")
    if status not in ReportStatus.values or status == ReportStatus.DRAFT:
        known = ", ".join(value for value in ReportStatus.values if value != ReportStatus.DRAFT)
        raise InvalidValue(f"status must be one of {known}.", field="status")
    return ReportStatus(status)


def _pdf_of(given: Mapping[str, Any]) -> bytes | None:
    if not given.get("pdf"):
        return None
    text = given["pdf"]
    try:
        if not isinstance(text, str) or len(text) > LARGEST_PDF * 3 // 2:
            raise ValueError
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidValue("pdf is base64, of at most 10 MB.", field="pdf") from error

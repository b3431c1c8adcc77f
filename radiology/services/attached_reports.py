"""Reports that were written elsewhere, taken over: as text, as PDF, or as both."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, TooLarge, UnsupportedMediaType
from radiology.models import SIGNED, Report, ReportOrigin, ReportStatus, ReportVersion, RequestedProcedure
from radiology.services import co_signatures
from radiology.services.report_versions import (
    Content,
    claim_report_of,
    newest_version,
    publish,
    require_right,
    texts_of,
)

LARGEST_PDF = 10 << 20


@transaction.atomic
def attach_report(
    *,
    procedure: RequestedProcedure,
    status: ReportStatus,
    content: Content,
    author_name: str = "",
    external_id: str = "",
    origin: ReportOrigin,
    at: datetime | None = None,
    who: Any = None,
    address: str | None = None,
) -> tuple[ReportVersion, bool]:
    """Take over a report that was written elsewhere, or its next version; and whether it says anything new.

    `author_name` is a PN. Raises NotAllowed, InvalidValue, TooLarge and UnsupportedMediaType for the PDF, Conflict
    for a procedure that has a report of our own, or one under another number (`report` is among the facts).
    """
    require_right(who, "reports.write")
    if status in SIGNED:
        co_signatures.require_second_signature_given(who)
    said, author_name = _checked(content), clean(author_name)[:324]
    report = claim_report_of(procedure)
    if report is None:
        report = Report(
            site_id=procedure.order_ref.site_id,
            requested_procedure_ref=procedure,
            origin=origin,
            external_id=clean(external_id)[:64],
        )
    elif report.origin == ReportOrigin.HERE:
        raise Conflict(
            _("A report of this examination was written here: it is not replaced by another one."),
            field="report",
            report=report,
        )
    elif external_id and report.external_id and external_id != report.external_id:
        raise Conflict(
            _("This examination has a report under the number %(number)s.") % {"number": report.external_id},
            field="external_id",
            report=report,
        )
    newest = newest_version(report)
    is_same = newest is not None and _same(newest, said, author_name)
    status = _following(newest, status, is_same)
    if newest is not None and newest.status == status and is_same:
        return newest, False
    made = publish(report, status, said, author_name=author_name, at=at, who=who, address=address)
    return made, True


def _following(newest: ReportVersion | None, status: ReportStatus, is_same: bool) -> ReportStatus:
    """What a version is after the one before: another text under one that was signed amends it."""
    if newest is None or newest.status not in SIGNED:
        if status == ReportStatus.ENTERED_IN_ERROR and newest is None:
            raise Conflict(_("There is no report that could be withdrawn."), field="status")
        return ReportStatus.FINAL if status in SIGNED else status
    if status == ReportStatus.PRELIMINARY:
        raise Conflict(_("A signed report does not become preliminary again."), field="status")
    if status != ReportStatus.FINAL:
        return status
    return ReportStatus(newest.status) if is_same else ReportStatus.AMENDED


def _same(newest: ReportVersion, content: Content, author_name: str) -> bool:
    return (
        newest.sections == content.sections
        and newest.addenda == content.addenda
        and newest.written_pdf == content.pdf
        and newest.author_name == author_name
    )


def _checked(content: Content) -> Content:
    texts = texts_of(content.sections)
    if content.pdf is not None:
        if len(content.pdf) > LARGEST_PDF:
            raise TooLarge(_("A file may have 10 MB at most."), field="pdf")
        if not content.pdf.startswith(b"%PDF-"):
            raise UnsupportedMediaType(_("The file is no PDF."), field="pdf")
    if not texts and content.pdf is None:
        raise InvalidValue(_("The report says nothing yet."), field="sections")
    return Content(texts, content.pdf, content.addenda)

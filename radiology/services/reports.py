"""Reports that are written here: drafted, signed, changed after signing by a new version, withdrawn.

A version that was published is never overwritten. Whatever is to the right of us hears of it in the same transaction
(radiology/signals.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue
from radiology.models import (
    AuditAction,
    HoldOutcome,
    Report,
    ReportOrigin,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    User,
)
from radiology.services import co_signatures, report_holds
from radiology.services.key_images import key_images_of, require_here
from radiology.services.report_markup import markup_of, text_of_markup
from radiology.services.report_versions import (
    Content,
    claim_report,
    claim_report_of,
    content_of,
    name_of,
    newest_version,
    publish,
    record,
    require_not_held,
    require_reason,
    require_right,
    require_version,
    save,
    text_of,
    texts_of,
)

MOST_ADDENDA = 50


@transaction.atomic
def write_draft(
    *,
    procedure: RequestedProcedure,
    sections: Mapping[str, Any] | None = None,
    markup: Mapping[str, Any] | None = None,
    version: int | None = None,
    who: Any = None,
    address: str | None = None,
) -> Report:
    """Keep what is being written of a procedure, as the report's draft; of one that is signed, as its next version.

    It is given as texts by section, or as `markup`, of which the texts are made. While one person writes on, the audit
    tells it once. Without `version` the report must be a new one, or its draft the caller's own. Raises NotAllowed,
    InvalidValue, PreconditionFailed when the report is no longer at `version`, Conflict for a procedure that nobody is
    to report (cancelled, entered in error) or a draft of somebody else's that the caller has not read.
    """
    require_right(who, "reports.write")
    safe = None if markup is None else markup_of(markup)
    texts = texts_of(sections or {} if safe is None else {name: text_of_markup(each) for name, each in safe.items()})
    report = claim_report_of(procedure)
    if report is None:
        report = Report(site_id=procedure.order_ref.site_id, requested_procedure_ref=procedure)
    else:
        require_version(report, version)
        if report.origin != ReportOrigin.HERE:
            raise Conflict(_("This report was written elsewhere: it is changed there."), field="report", report=report)
        if version is None and not (isinstance(who, User) and report.draft_by_id == who.pk):
            raise Conflict(
                _("Somebody else is writing this report: read the draft first."), field="report", report=report
            )
    writer = who if isinstance(who, User) else None
    goes_on = writer is not None and report.draft is not None and report.draft_by_id == writer.pk
    report.draft, report.draft_markup, report.draft_by = texts, safe, writer
    save(report, is_new=report.pk is None, who=who, address=address, detail=None if goes_on else {"draft": True})
    return report


@transaction.atomic
def discard_draft(*, report: Report, version: int, who: Any = None, address: str | None = None) -> Report | None:
    """Throw away what is being written; of a report that never was published nothing is left (None)."""
    require_right(who, "reports.write")
    report = claim_report(report, version)
    if report.number == 0:
        report_holds.end(report, HoldOutcome.WITHDRAWN, who=who, reason=_("The draft was thrown away."))
        record(report, who, address, AuditAction.DELETE, {"draft": False})
        report.delete()
        return None
    report.draft = report.draft_markup = report.draft_key_images = report.draft_by = None
    save(report, who=who, address=address, detail={"draft": False})
    return report


@transaction.atomic
def sign_report(
    *,
    report: Report,
    version: int,
    status: ReportStatus | None = None,
    reason: str = "",
    supervisor: User | None = None,
    who: User,
    address: str | None = None,
) -> ReportVersion:
    """Publish the draft, as preliminary or final; what was signed before becomes amended, and then says why.

    A resident's signature makes a report preliminary, and asks `supervisor`, else any, for the second one; that makes
    it final, under both names. Without `status` it becomes what the signer may make of it.

    Raises NotAllowed, InvalidValue for an empty report or a missing reason, PreconditionFailed, Conflict when there
    is nothing to sign, or the report is held.
    """
    require_right(who, "reports.sign")
    report = claim_report(report, None)
    require_not_held(report)
    co_signatures.require_first(report, version, who)
    require_version(report, version)
    status = co_signatures.status_for(report, status, who)
    before = newest_version(report)
    if report.draft is None and not (before and before.status == ReportStatus.PRELIMINARY):
        raise Conflict(_("There is nothing to sign: write the report first."), field="report", report=report)
    if report.draft is not None:
        sections, markup = report.draft, report.draft_markup or {}
    else:
        sections, markup = (before.sections, before.markup) if before else ({}, {})
    if not any(sections.values()):
        raise InvalidValue(_("The report says nothing yet."), field="sections")
    said = ""
    if report.is_signed:
        status, said = ReportStatus.AMENDED, require_reason(reason)
    key_images = key_images_of(report)
    require_here(report, key_images)
    writer = co_signatures.settle(
        report, sections, status, key_images=key_images, supervisor=supervisor, who=who, address=address
    )
    if writer is None and before is not None:
        writer = co_signatures.Writer(before.writer, before.writer_name)
    content = Content(
        sections,
        addenda=before.addenda if before else [],
        markup=markup,
        writer=writer.user if writer else None,
        writer_name=writer.name if writer else "",
        key_images=key_images,
    )
    return publish(report, status, content, who=who, reason=said, address=address)


@transaction.atomic
def add_addendum(*, report: Report, version: int, text: str, who: User, address: str | None = None) -> ReportVersion:
    """Add a text to a report that is signed; what was signed stands as it was. Raises as `sign_report` does."""
    require_right(who, "reports.sign")
    report = claim_report(report, version)
    require_not_held(report)
    co_signatures.require_second_signature_given(who)
    if not report.is_signed or report.origin != ReportOrigin.HERE:
        raise Conflict(_("An addendum belongs to a signed report: sign this one first."), field="report", report=report)
    said = text_of(text, "text")
    if not said:
        raise InvalidValue(_("The addendum says nothing yet."), field="text")
    newest = newest_version(report)
    assert newest is not None
    if len(newest.addenda) >= MOST_ADDENDA:
        raise Conflict(_("A report may have %(most)d addenda.") % {"most": MOST_ADDENDA}, field="text")
    addendum = {"text": said, "by": name_of(who), "at": timezone.now().isoformat()}
    content = replace(content_of(newest), addenda=[*newest.addenda, addendum], pdf=None)
    return publish(report, ReportStatus.APPENDED, content, who=who, address=address, keeps_draft=True)


@transaction.atomic
def withdraw_report(
    *, report: Report, version: int | None, reason: str, who: Any = None, address: str | None = None
) -> ReportVersion:
    """Say that a published report should never have been: the wrong patient, above all. It cannot be taken back.

    Another report of the same procedure can be written then. Again changes nothing. Raises as `sign_report` does.
    """
    report = claim_report(report, version)
    require_right(who, "reports.sign" if report.origin == ReportOrigin.HERE else "reports.write")
    newest = newest_version(report)
    if newest is None:
        raise Conflict(_("A draft is not withdrawn: discard it."), field="report", report=report)
    if report.status == ReportStatus.ENTERED_IN_ERROR:
        return newest
    if report.is_signed and report.origin == ReportOrigin.HERE:
        co_signatures.require_second_signature_given(who)
    if report.held_at is not None and report.origin == ReportOrigin.HERE:
        report_holds.require_right(who)
    said = require_reason(reason)
    report_holds.end(report, HoldOutcome.WITHDRAWN, who=who, reason=said)
    return publish(report, ReportStatus.ENTERED_IN_ERROR, content_of(newest), who=who, reason=said, address=address)

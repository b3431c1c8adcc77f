"""The one way in which versions of reports are made, and the checks that everybody who makes one shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import (
    SIGNED,
    AuditAction,
    Order,
    OrderStatus,
    ProcedureStatus,
    Report,
    ReportSection,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    User,
)
from radiology.services import audit
from radiology.services.report_seals import seal
from radiology.signals import report_published

LONGEST_TEXT = 100_000
# Of a draft that goes on, what changes: the rest of the report stands as it did.
WRITTEN = ("draft", "draft_markup", "draft_key_images", "version", "updated_at")


@dataclass(frozen=True)
class Content:
    """What a report says: texts by section (`ReportSection`), or the PDF that somebody wrote elsewhere, or both.

    `markup` is the same as the texts, in HTML that is safe to show (radiology/services/report_markup.py). `writer` is
    the resident whose text a supervisor signed too, with the name as a PN. `key_images` are what was chosen of the
    archive (radiology/services/key_images.py).
    """

    sections: Mapping[str, str] = field(default_factory=dict)
    pdf: bytes | None = None
    addenda: list[dict[str, str]] = field(default_factory=list)
    markup: Mapping[str, str] = field(default_factory=dict)
    writer: User | None = None
    writer_name: str = ""
    key_images: Sequence[Mapping[str, Any]] = ()


def texts_of(sections: Mapping[str, Any]) -> dict[str, str]:
    """The text of each section, line ends as \\n. Raises InvalidValue, naming the section."""
    if not isinstance(sections, Mapping):
        raise InvalidValue(_("The sections are texts by their names."), field="sections")
    for name in sections:
        if name not in ReportSection.values:
            raise InvalidValue(
                _("There is no section %(name)s; there are: %(known)s.")
                % {"name": clean(str(name))[:64], "known": ", ".join(ReportSection.values)},
                field="sections",
            )
    texts = {name: text_of(sections[name], f"sections.{name}") for name in ReportSection.values if name in sections}
    return {name: text for name, text in texts.items() if text}


def name_of(who: User) -> str:
    """A person's name as a PN; of one without, the user name."""
    return f"{who.last_name}^{who.first_name}".rstrip("^") if who.last_name or who.first_name else who.get_username()


def publish(
    report: Report,
    status: ReportStatus,
    content: Content,
    *,
    who: Any,
    author_name: str = "",
    reason: str = "",
    at: datetime | None = None,
    address: str | None = None,
    keeps_draft: bool = False,
) -> ReportVersion:
    before, now = report.status, timezone.now()
    report.number += 1
    report.status, report.published_at = status, now
    if not keeps_draft:
        report.draft = report.draft_markup = report.draft_key_images = report.draft_by = None
    is_new = report.pk is None
    save(
        report,
        is_new=is_new,
        who=who,
        address=address,
        detail={"status": [None if is_new else before, status], "number": report.number},
    )
    version = ReportVersion.objects.create(
        report_ref=report,
        number=report.number,
        status=status,
        sections=dict(content.sections),
        markup=dict(content.markup),
        addenda=list(content.addenda),
        key_images=list(content.key_images),
        pdf=content.pdf,
        author=who if isinstance(who, User) else None,
        author_name=author_name or (name_of(who) if isinstance(who, User) else ""),
        writer=content.writer,
        writer_name=content.writer_name,
        agent=audit.agent_of(who),
        reason=reason,
        at=at or now,
    )
    if version.status in SIGNED and version.pdf is None:
        seal(version)
    report_published.send(sender=Report, report=report, version=version, who=who)
    return version


def save(report: Report, *, is_new: bool = False, who: Any, address: str | None, detail: dict[str, Any] | None) -> None:
    """Write the report; without `detail` nothing is told of it in the audit: it goes on as was told before."""
    report.updated_at = timezone.now()
    if not is_new:
        report.version += 1
    report.save(update_fields=WRITTEN if detail is None else None)
    if detail is not None:
        record(report, who, address, AuditAction.CREATE if is_new else AuditAction.UPDATE, detail)


def record(report: Report, who: Any, address: str | None, action: AuditAction, detail: dict[str, Any]) -> None:
    order = report.requested_procedure_ref.order_ref
    audit.record(
        event="report",
        action=action,
        who=who,
        address=address,
        site_id=report.site_id,
        patient_id=order.patient_ref_id,
        study_instance_uid=report.requested_procedure_ref.study_instance_uid,
        detail={"report": str(report.public_id), **detail},
    )


def claim_report_of(procedure: RequestedProcedure) -> Report | None:
    """The living report of a procedure, locked; whoever begins one at the same time waits for the order's row."""
    order = Order.objects.select_for_update(of=("self",), no_key=True).get(pk=procedure.order_ref_id)
    procedure = RequestedProcedure.objects.get(pk=procedure.pk)
    found = (
        Report.objects.select_for_update(of=("self",))
        .filter(requested_procedure_ref=procedure)
        .exclude(status=ReportStatus.ENTERED_IN_ERROR)
        .select_related("requested_procedure_ref__order_ref")
        .first()
    )
    called_off = order.status == OrderStatus.ENTERED_IN_ERROR or procedure.status == ProcedureStatus.CANCELLED
    if found is None and called_off:
        raise Conflict(_("This examination was called off: there is nothing to report."), field="procedure")
    return found


def claim_report(report: Report, version: int | None) -> Report:
    found = (
        Report.objects.select_for_update(of=("self",))
        .select_related("requested_procedure_ref__order_ref")
        .get(pk=report.pk)
    )
    require_version(found, version)
    return found


def require_version(report: Report, version: int | None) -> None:
    if version is not None and version != report.version:
        raise PreconditionFailed(
            _("Somebody else changed this report meanwhile: look at it again, then repeat your change."),
            report=report,
        )


def require_not_held(report: Report) -> None:
    """Raises Conflict while a report is held: nobody has looked yet whose it is."""
    if report.held_at is not None:
        raise Conflict(
            _("This report is held because its images were moved: release or withdraw it first."),
            field="report",
            report=report,
        )


def is_withheld(report: Report, who: Any = None) -> bool:
    """Whether a report is held, and what it says is not for `who` meanwhile: it is for those who write reports."""
    return report.held_at is not None and not (who is not None and who.may("reports.write"))


def require_given_out(report: Report, who: Any = None) -> None:
    """Raises Conflict while a report is held, for whoever does not write reports; without `who` for all."""
    if is_withheld(report, who):
        raise Conflict(_("This report is held: nothing of it is given out."), field="report")


def newest_version(report: Report) -> ReportVersion | None:
    """The version that holds; its PDF, which may be large, is read when it is asked for."""
    return report.versions.defer("pdf").first() if report.number else None


def content_of(version: ReportVersion) -> Content:
    """What a version says, for the next one that says the same."""
    return Content(
        version.sections,
        version.written_pdf,
        version.addenda,
        version.markup,
        version.writer,
        version.writer_name,
        version.key_images,
    )


def text_of(text: Any, name: str) -> str:
    if not isinstance(text, str):
        raise InvalidValue(_("This must be a text."), field=name)
    lines = clean(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    plain = "\n".join(line.rstrip() for line in lines)
    if len(plain) > LONGEST_TEXT:
        raise InvalidValue(_("This may have %(most)d characters.") % {"most": LONGEST_TEXT}, field=name)
    return plain


def require_reason(reason: str) -> str:
    said = " ".join(clean(reason).split())
    if not said:
        raise InvalidValue(_("Say why; it is kept with the report."), field="reason")
    if len(said) > 200:
        raise InvalidValue(_("The reason may have 200 characters."), field="reason")
    return said


def require_right(who: Any, right: str) -> None:
    """People and programs need the right; what the server itself does (`who` is nobody) needs none."""
    if who is not None and hasattr(who, "may") and not who.may(right):
        raise NotAllowed(
            _("You may not write reports.") if right == "reports.write" else _("You may not sign reports.")
        )

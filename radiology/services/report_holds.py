"""Reports whose images were moved are held: neither signed nor given out until somebody has looked whose they are.

The images know more than the report: who moves them does not read it. So the report says what happened, and waits for
a person, who lets it stand, withdraws it, or takes it along. That its images came back is said, and decides nothing.
"""

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, NotAllowed
from radiology.models import (
    AuditAction,
    HoldKind,
    HoldOutcome,
    Patient,
    PatientMerge,
    Report,
    ReportHold,
    ReportOrigin,
    ReportStatus,
    RequestedProcedure,
    User,
)
from radiology.services import audit, co_signatures
from radiology.services.report_versions import (
    claim_report,
    claim_report_of,
    content_of,
    newest_version,
    publish,
    record,
    require_reason,
)
from radiology.services.report_versions import save as save_report
from radiology.signals import report_hold_changed

RIGHT = "reports.release"


@transaction.atomic
def hold(
    *,
    procedures: set[int],
    kind: HoldKind,
    study_instance_uid: str = "",
    linked_to: RequestedProcedure | None = None,
    who: Any = None,
) -> list[ReportHold]:
    """Hold the living reports of these procedures (ids), drafts included, in the transaction that moves their images.

    What is held already keeps its row, which says where the images went last.
    """
    living = Report.objects.filter(requested_procedure_ref__in=procedures).exclude(status=ReportStatus.ENTERED_IN_ERROR)
    made = []
    for report in _locked(living):
        found = open_hold_of(report)
        is_new = found is None
        held = found or ReportHold(site_id=report.site_id, report_ref=report)
        held.kind, held.study_instance_uid, held.linked_to = kind, study_instance_uid, linked_to
        held.agent, held.moved_back_at = audit.agent_of(who), None
        held.save()
        report.held_at = report.held_at or held.held_at
        _tell(report, held, who, {"held": kind, "again": not is_new})
        made.append(held)
    return made


@transaction.atomic
def note_moved_back(*, procedures: set[int], study_instance_uid: str, who: Any = None) -> None:
    """Say of held reports that their images are where they were. They stay held until somebody has looked."""
    found = Report.objects.filter(
        requested_procedure_ref__in=procedures, holds__in=_of_study(study_instance_uid).filter(moved_back_at=None)
    )
    for report in _locked(found):
        held = open_hold_of(report)
        if held is None:
            continue
        held.moved_back_at, held.linked_to = timezone.now(), None
        held.save(update_fields=["moved_back_at", "linked_to"])
        _tell(report, held, who, {"moved_back": True})


@transaction.atomic
def note_linked(*, procedure: RequestedProcedure, study_instance_uid: str, who: Any = None) -> None:
    """Say of held reports which order their images are linked to now."""
    found = _of_study(study_instance_uid).exclude(report_ref__requested_procedure_ref=procedure)
    for report in _locked(Report.objects.filter(holds__in=found)):
        held = open_hold_of(report)
        if held is not None and held.linked_to_id != procedure.pk:
            held.linked_to, held.moved_back_at = procedure, None
            held.save(update_fields=["linked_to", "moved_back_at"])
            _tell(report, held, who, {"linked_to": str(procedure.public_id)})


def hold_unmerged(*, merge: PatientMerge, merged: Patient, who: Any) -> None:
    """Hold what was written of a patient's orders while it was taken for another one."""
    since = Q(published_at__gte=merge.created_at) | Q(draft__isnull=False, updated_at__gte=merge.created_at)
    found = Report.objects.filter(since, requested_procedure_ref__order_ref__patient_ref=merged)
    keys = set(found.values_list("requested_procedure_ref_id", flat=True))
    if keys:
        hold(procedures=keys, kind=HoldKind.UNMERGED, who=who)


@transaction.atomic
def release(*, report: Report, version: int | None, reason: str, who: User, address: str | None = None) -> Report:
    """Say that a held report stands for the right patient: it is signed and given out again.

    Raises NotAllowed, InvalidValue without a reason, PreconditionFailed, Conflict when it is not held.
    """
    report, held = _claimed(report, version, who)
    said = require_reason(reason)
    _end(report, held, HoldOutcome.RELEASED, who, said, address)
    return report


@transaction.atomic
def move_along(
    *, report: Report, version: int | None, reason: str, who: User, address: str | None = None
) -> RequestedProcedure:
    """Take a held report along to the order that its images are linked to now.

    A draft goes as it is. What was published is withdrawn where it stood, and its text is the draft of a new report
    there, which somebody reads again and signs. Raises as `release` does, Conflict where the images have no order, or
    that has a report.
    """
    report, held = _claimed(report, version, who)
    said = require_reason(reason)
    target = held.linked_to
    if target is None or report.origin != ReportOrigin.HERE:
        raise Conflict(
            _("The images are linked to no other order: link them first, in Reconciliation.")
            if target is None
            else _("This report was written elsewhere: withdraw it, and let it be sent for the right order."),
            field="report",
            report=report,
        )
    if claim_report_of(target) is not None:
        raise Conflict(_("That order has a report already: withdraw this one."), field="report", report=report)
    newest = newest_version(report)
    _end(report, held, HoldOutcome.MOVED, who, said, address)
    if newest is None:
        report.requested_procedure_ref = target
        save_report(report, who=who, address=address, detail={"moved_to": str(target.public_id)})
        return target
    if newest.addenda:
        raise Conflict(
            _("This report has addenda, which a draft cannot hold: withdraw it, and write it anew for that order."),
            field="report",
            report=report,
        )
    draft, markup = (report.draft, report.draft_markup) if report.draft else (newest.sections, newest.markup)
    images = newest.key_images if report.draft_key_images is None else report.draft_key_images
    co_signatures.end_with_report(report, who)
    publish(report, ReportStatus.ENTERED_IN_ERROR, content_of(newest), who=who, reason=said, address=address)
    made = Report(site_id=report.site_id, requested_procedure_ref=target, draft=dict(draft), draft_by=who)
    made.draft_markup = dict(markup or {}) or None
    made.draft_key_images = list(images) or None
    save_report(
        made, is_new=True, who=who, address=address, detail={"draft": True, "moved_from": str(report.public_id)}
    )
    return target


def end(report: Report, outcome: HoldOutcome, *, who: Any, reason: str) -> None:
    """Whatever else decided about a report, whose row the caller holds, ends its hold too."""
    held = open_hold_of(report)
    if held is not None:
        _end(report, held, outcome, who, reason, None)


def open_hold_of(report: Report) -> ReportHold | None:
    if report.held_at is None:
        return None
    return report.holds.open().select_related("linked_to__order_ref").first()


def _of_study(uid: str) -> Any:
    return ReportHold.objects.filter(ended_at=None, study_instance_uid=uid)


def _locked(found: Any) -> list[Report]:
    keys = sorted(set(found.values_list("pk", flat=True)))
    rows = Report.objects.select_for_update(of=("self",)).filter(pk__in=keys).order_by("pk")
    return list(rows.select_related("requested_procedure_ref__order_ref", "site"))


def may_decide(who: Any) -> bool:
    """Whether somebody may say what becomes of a held report: with the right to, and no resident."""
    return isinstance(who, User) and who.may(RIGHT) and not co_signatures.is_resident(who)


def require_right(who: Any) -> None:
    if not may_decide(who):
        raise NotAllowed(_("You may not decide about held reports."))


def _claimed(report: Report, version: int | None, who: User) -> tuple[Report, ReportHold]:
    require_right(who)
    report = claim_report(report, version)
    held = open_hold_of(report)
    if held is None:
        raise Conflict(_("This report is not held, or not any more."), field="report", report=report)
    return report, held


def _end(report: Report, held: ReportHold, outcome: HoldOutcome, who: Any, reason: str, address: str | None) -> None:
    held.ended_at, held.outcome, held.reason = timezone.now(), outcome, reason[:200]
    held.ended_by = who if isinstance(who, User) else None
    held.save()
    report.held_at = None
    _tell(report, held, who, {"hold": outcome}, address)


def _tell(report: Report, held: ReportHold, who: Any, detail: dict[str, Any], address: str | None = None) -> None:
    report.version += 1
    report.updated_at = timezone.now()
    report.save(update_fields=["held_at", "version", "updated_at"])
    record(report, who, address, AuditAction.UPDATE, detail)
    report_hold_changed.send(sender=ReportHold, report=report, hold=held, who=who)

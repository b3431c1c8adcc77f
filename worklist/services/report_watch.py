"""What images do to the report that stands on them: they leave it, come back to it, or more of them come.

Reports know their order and no images; so it is here, where both are known, that a move of images holds a report.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Max, Min

from pacs.models import Correction, CorrectionKind, Instance, Study
from radiology.models import HoldKind, Report, ReportStatus, RequestedProcedure
from radiology.services import late_images, report_holds
from worklist.models import CaseState, DecisionKind, ReconciliationCase, ReconciliationDecision


def procedures_served_by(study: Study) -> set[int]:
    """The procedures (ids) that a study stands for: its own, and those that it also serves."""
    also = ReconciliationCase.also_serves.through.objects.filter(
        reconciliationcase__study_ref=study, reconciliationcase__state=CaseState.LINKED
    )
    found = set(also.values_list("requestedprocedure", flat=True))
    if study.requested_procedure_ref_id is not None:
        found.add(study.requested_procedure_ref_id)
    return found


def follow_link(
    *, study: Study, now: Sequence[RequestedProcedure], before: Sequence[RequestedProcedure], who: Any
) -> None:
    """Images were linked to other procedures than before, within the transaction that does it."""
    keys = {each.pk for each in now}
    left = {each.pk for each in before} - keys
    uid = study.study_instance_uid
    target = now[0] if now else None
    if left:
        is_other = target is not None and any(
            each.order_ref.patient_ref_id != target.order_ref.patient_ref_id for each in before if each.pk in left
        )
        kind = HoldKind.UNLINKED if target is None else HoldKind.PATIENT if is_other else HoldKind.ORDER
        report_holds.hold(procedures=left, kind=kind, study_instance_uid=uid, linked_to=target, who=who)
    came = keys - {each.pk for each in before}
    if came:
        report_holds.note_moved_back(procedures=came, study_instance_uid=uid, who=who)
    if target is not None:
        report_holds.note_linked(procedure=target, study_instance_uid=uid, who=who)


def follow_correction(correction: Correction) -> None:
    """Images became another patient's by a correction, or no longer are: within the transaction that corrects."""
    who = correction.user or correction.agent
    study = Study.objects.get(pk=correction.study_ref_id)
    if correction.kind == CorrectionKind.PATIENT:
        left = correction.before["study"]["columns"]["requested_procedure_ref_id"]
        _follow_patient(study, {left} - {None} | procedures_served_by(study), who)
    elif correction.kind in {CorrectionKind.SPLIT, CorrectionKind.MERGE} and correction.other_study_ref_id is not None:
        other = Study.objects.get(pk=correction.other_study_ref_id)
        if study.patient_ref_id == other.patient_ref_id:
            return
        source = study if correction.kind == CorrectionKind.SPLIT else other
        _held_or_back(source, procedures_served_by(source), correction.undone_at is not None, who)


def _follow_patient(study: Study, procedures: set[int], who: Any) -> None:
    """Reports of the patient whom the images are of now have their images back; those of others lost them."""
    ordered = RequestedProcedure.objects.filter(pk__in=procedures, order_ref__patient_ref=study.patient_ref_id)
    own = set(ordered.values_list("pk", flat=True))
    _held_or_back(study, procedures - own, False, who)
    _held_or_back(study, own, True, who)


def _held_or_back(study: Study, procedures: set[int], is_undone: bool, who: Any) -> None:
    uid = study.study_instance_uid
    if not procedures:
        return
    if is_undone:
        report_holds.note_moved_back(procedures=procedures, study_instance_uid=uid, who=who)
        return
    report_holds.hold(procedures=procedures, kind=HoldKind.PATIENT, study_instance_uid=uid, who=who)


def follow_decision(decision: ReconciliationDecision) -> None:
    """Somebody says that images are of another patient than they name, whom nobody knows; or takes that back."""
    if decision.kind != DecisionKind.WRONG_PATIENT:
        return
    study = decision.case.study_ref
    procedures = procedures_served_by(study)
    before = decision.before.get("also_serves", [])
    procedures |= {pk for pk in [decision.before.get("procedure"), *before] if pk is not None}
    uid, who = study.study_instance_uid, decision.user or decision.agent
    if decision.undone_at is not None:
        report_holds.note_moved_back(procedures=procedures, study_instance_uid=uid, who=who)
    else:
        report_holds.hold(procedures=procedures, kind=HoldKind.HIDDEN, study_instance_uid=uid, who=who)


def look_for_late_images(study: Study) -> None:
    """Once a study is quiet again: images that came since its reports were published, told to who wrote them."""
    published = Report.objects.filter(requested_procedure_ref__in=procedures_served_by(study)).exclude(number=0)
    for report in published.exclude(status=ReportStatus.ENTERED_IN_ERROR).order_by("pk"):
        images = Instance.objects.filter(series_ref__study_ref=study).images()
        came = images.filter(created_at__gt=late_images.since(report))
        found = came.aggregate(number=Count("pk"), first=Min("created_at"), last=Max("created_at"))
        if found["number"]:
            late_images.note_late(
                report=report,
                study_instance_uid=study.study_instance_uid,
                number=found["number"],
                first_at=found["first"],
                last_at=found["last"],
            )

"""What performed steps do to scheduled ones: which they answer, and which state follows from all of them together.

One performed step may answer several scheduled ones, and one scheduled step may be performed in several,
also after it was completed (append case). What contradicts the schedule is kept, warned of, and moves nothing.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Max, Q
from django.utils import timezone

from pacs.models import WRITTEN, Instance
from radiology.errors import Conflict
from radiology.models import Order, OrderStatus, RequestedProcedure
from radiology.services.identity import patient_for_study
from worklist.models import (
    PerformedProcedureStep,
    PerformedStatus,
    PerformedStepReference,
    PerformedWarning,
    ScheduledProcedureStep,
    StepStatus,
)
from worklist.services.dicom_json import items, text
from worklist.services.patient_merges import merged_patient_named, note_former_number
from worklist.services.performed_identity import identity_of, is_of_patient
from worklist.services.performed_matching import Named, matching_step
from worklist.services.steps import MOVES, move_step
from worklist.services.unscheduled import unscheduled_step

_CLOCK_IS_OFF = PerformedWarning.CLOCK


def answer_scheduled_steps(*, performed: PerformedProcedureStep, who: Any) -> None:
    """Write what a new performed step answers, and set its patient and warnings.

    Where it answers nothing that is known here, or only what is another patient's, an unscheduled
    examination of its own patient is made for it.
    """
    identity = identity_of(performed)
    warnings = set(performed.warnings)
    found: dict[int, ScheduledProcedureStep] = {}
    references = []
    for item in items(performed.attributes, "ScheduledStepAttributesSequence"):
        named = Named.of(item)
        step = matching_step(site=performed.site, named=named, modality=performed.modality)
        if step is not None and not is_of_patient(identity, step.requested_procedure_ref.order_ref.patient_ref):
            warnings.add(PerformedWarning.OTHER_PATIENT)
            step = None
        if step is not None:
            found[step.pk] = step
        references.append(_reference(performed, named, step))
    performed.is_unscheduled = not found
    if found:
        performed.patient_ref = next(iter(found.values())).requested_procedure_ref.order_ref.patient_ref
    elif performed.study_instance_uid:
        performed.patient_ref = patient_for_study(
            site=performed.site, identity=identity, study_instance_uid=performed.study_instance_uid
        )
        step = unscheduled_step(
            site=performed.site,
            patient=performed.patient_ref,
            study_instance_uid=performed.study_instance_uid,
            modality=performed.modality,
            station_ae_title=performed.performed_station_ae_title,
            description=performed.performed_procedure_step_description or _described(performed),
            accession_number=references[0].accession_number,
            at=begun(performed),
            who=who,
        )
        if step is None:
            warnings.add(PerformedWarning.OTHER_PATIENT)
        else:
            references[0].scheduled_ref, found[step.pk] = step, step
            references[0].state_before = step.status
    if performed.patient_ref is not None:
        former = merged_patient_named(identity=identity, patient=performed.patient_ref)
        if former is not None:
            warnings.add(PerformedWarning.FORMER_NUMBER)
            orders = [step.requested_procedure_ref.order_ref for step in found.values()]
            note_former_number(performed=performed, named=former, orders=orders)
    warnings |= {warning for step in found.values() for warning in _contradictions(performed, step)}
    performed.warnings = sorted(warnings)
    PerformedStepReference.objects.bulk_create(references)


def let_steps_follow(*, performed: PerformedProcedureStep, who: Any, only: Q | None = None) -> None:
    """Bring the scheduled steps that a performed step answers to the state that all performed for them makes.

    With `only`, those among them.
    """
    keys = list(performed.references.exclude(scheduled_ref=None).values_list("scheduled_ref", flat=True))
    # Orders before steps, as by all who move them.
    orders = Order.objects.filter(requested_procedures__scheduled_procedure_steps__in=keys).order_by("pk")
    list(orders.select_for_update(of=("self",)).values_list("pk"))
    steps = ScheduledProcedureStep.objects.filter(pk__in=keys).order_by("pk").select_for_update(of=("self",))
    for step in steps.filter(only) if only is not None else steps:
        _follow(step, performed, who)


def take_state(*, step: ScheduledProcedureStep, to: str, **how: Any) -> bool:
    """`move_step`, where what happens in reality must not fail on the plan; whether the step kept its room.

    A step that comes back may find its room given to another one: it then goes without.
    """
    try:
        moved = move_step(step=step, to=StepStatus(to), **how)
    except Conflict as error:
        if error.field != "start":
            raise
        ScheduledProcedureStep.objects.filter(pk=step.pk).update(room=None)
        moved = move_step(step=step, to=StepStatus(to), **how)
    return moved.room_id == step.room_id


def begun(performed: PerformedProcedureStep) -> datetime:
    """When it began: as the device says, unless its clock is far off."""
    if performed.started_at is None or _CLOCK_IS_OFF in performed.warnings:
        return performed.created_at
    return performed.started_at


def last_sign_of(performed: PerformedProcedureStep) -> datetime:
    """When something of it came last: a report of its device, or an image of a study that it names."""
    uids = {performed.study_instance_uid, *performed.references.values_list("study_instance_uid", flat=True)}
    images = Instance.objects.filter(series_ref__study_ref__study_instance_uid__in=uids - {""}, site=performed.site_id)
    found = images.exclude(series_ref__modality__in=WRITTEN).aggregate(latest=Max("created_at"))
    latest: datetime | None = found["latest"]
    return max(latest, performed.updated_at) if latest is not None else performed.updated_at


def _ended(performed: PerformedProcedureStep) -> datetime:
    closed = performed.closed_at or timezone.now()
    return closed if performed.ended_at is None or _CLOCK_IS_OFF in performed.warnings else performed.ended_at


def _follow(step: ScheduledProcedureStep, performed: PerformedProcedureStep, who: Any) -> None:
    keys = PerformedStepReference.objects.filter(scheduled_ref=step).values("performed_ref")
    all_of_it = list(PerformedProcedureStep.objects.filter(pk__in=keys).defer("attributes").order_by("pk"))
    valid = [each for each in all_of_it if not each.is_wrong_entry]
    to, at, reason = _state(valid)
    if not valid:
        to, at = _state_before(step), timezone.now()
    is_inferred = to == StepStatus.COMPLETED and _is_given_up(valid)
    if to == step.status:
        if not is_inferred:
            _confirm(step, at)
        return
    warnings = set(performed.warnings)
    if valid and _is_called_off(step, performed):
        warnings.add(PerformedWarning.CANCELLED)
    for target in _way(step.status, to):
        if not take_state(step=step, to=target, at=at, reason=reason, who=who, inferred=is_inferred):
            warnings.add(PerformedWarning.ROOM_TAKEN)
    if warnings != set(performed.warnings):
        performed.warnings = sorted(warnings)
        performed.save(update_fields=["warnings"])


def _state(valid: Iterable[PerformedProcedureStep]) -> tuple[str, datetime, str]:
    """State of a scheduled step, since when, and why: it has ended when all that was performed for it has."""
    by_status: dict[str, list[PerformedProcedureStep]] = {}
    for each in valid:
        by_status.setdefault(each.performed_procedure_step_status, []).append(each)
    in_progress = by_status.get(PerformedStatus.IN_PROGRESS, [])
    if running := [each for each in in_progress if each.is_at_work]:
        return StepStatus.STARTED, min(map(begun, running)), ""
    if completed := by_status.get(PerformedStatus.COMPLETED):
        return StepStatus.COMPLETED, max(map(_ended, completed)), ""
    if in_progress:
        return StepStatus.COMPLETED, max(map(last_sign_of, in_progress)), ""
    if discontinued := by_status.get(PerformedStatus.DISCONTINUED):
        last = max(discontinued, key=_ended)
        return StepStatus.DISCONTINUED, _ended(last), _reason(last)
    return StepStatus.SCHEDULED, timezone.now(), ""


def _is_given_up(valid: Iterable[PerformedProcedureStep]) -> bool:
    """Whether no device says that it was completed, but one never said that it ended."""
    statuses = {each.performed_procedure_step_status for each in valid}
    return PerformedStatus.IN_PROGRESS in statuses and PerformedStatus.COMPLETED not in statuses


def _reason(performed: PerformedProcedureStep) -> str:
    """Why it was discontinued, in the device's words."""
    code = performed.discontinuation_reason
    return next((each for each in (code[2:] + code[:1]) if each), "")


def _state_before(step: ScheduledProcedureStep) -> str:
    """What it was before the first that was performed for it began; SCHEDULED where nobody knows."""
    first = step.performed_references.exclude(state_before="").order_by("pk").first()
    before = first.state_before if first is not None else StepStatus.SCHEDULED
    # Nothing is performed for it any more, but the patient is here.
    return StepStatus.ARRIVED if before == StepStatus.STARTED else before


def _way(status: str, to: str) -> list[str]:
    """The moves that lead there; by way of a state that both know, where one move is not allowed.

    What was called off is taken up again before it ends, since its procedure and order are too.
    """
    if to in MOVES[status] and not (status == StepStatus.CANCELLED and to == StepStatus.COMPLETED):
        return [to]
    middle = [each for each in (StepStatus.STARTED, StepStatus.SCHEDULED) if each in MOVES[status]]
    return next(([each, to] for each in middle if to in MOVES[each]), [])


def _confirm(step: ScheduledProcedureStep, at: datetime) -> None:
    """What was inferred from images is now reported."""
    if not step.is_inferred:
        return
    moment = {"started_at": at} if step.status == StepStatus.STARTED else {"ended_at": at}
    ScheduledProcedureStep.objects.filter(pk=step.pk).update(
        is_inferred=False, version=step.version + 1, updated_at=timezone.now(), **moment
    )


def _reference(
    performed: PerformedProcedureStep, named: Named, step: ScheduledProcedureStep | None
) -> PerformedStepReference:
    return PerformedStepReference(
        performed_ref=performed,
        scheduled_ref=step,
        study_instance_uid=named.study_instance_uid,
        accession_number=named.accession_number,
        requested_procedure_id=named.requested_procedure_id,
        scheduled_procedure_step_id=named.scheduled_procedure_step_id,
        state_before=step.status if step is not None else "",
    )


def _contradictions(performed: PerformedProcedureStep, step: ScheduledProcedureStep) -> set[PerformedWarning]:
    """What about the scheduled step somebody should know."""
    found = set()
    others = PerformedProcedureStep.objects.filter(
        references__scheduled_ref=step, performed_procedure_step_status=PerformedStatus.IN_PROGRESS
    ).exclude(pk=performed.pk)
    if others.exclude(performed_station_ae_title=performed.performed_station_ae_title).exists():
        found.add(PerformedWarning.STEP_TAKEN)
    if _is_called_off(step, performed):
        found.add(PerformedWarning.CANCELLED)
    return found


def _is_called_off(step: ScheduledProcedureStep, performed: PerformedProcedureStep) -> bool:
    """Whether somebody decided that it shall not be done; an order that only followed its performed steps is not."""
    order = step.requested_procedure_ref.order_ref
    if step.status == StepStatus.CANCELLED or order.status == OrderStatus.ENTERED_IN_ERROR:
        return True
    before = PerformedStepReference.objects.filter(scheduled_ref=step).exclude(performed_ref=performed)
    ended = before.exclude(performed_ref__performed_procedure_step_status=PerformedStatus.IN_PROGRESS)
    return order.status == OrderStatus.REVOKED and not ended.exists()


def _described(performed: PerformedProcedureStep) -> str:
    """What an unscheduled examination is, where the device has no name for it."""
    for keyword in ("PerformedProtocolCodeSequence", "ProcedureCodeSequence"):
        for item in items(performed.attributes, keyword):
            if meaning := text(item, "CodeMeaning"):
                return meaning
    procedures = RequestedProcedure.objects.filter(study_instance_uid=performed.study_instance_uid)
    return procedures.values_list("requested_procedure_description", flat=True).first() or ""

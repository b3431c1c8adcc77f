"""The states of scheduled steps, and the only code that moves them.

What a step does its procedure does too: the order follows (radiology/services/order_states.py).
"""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, NotFound, PreconditionFailed
from radiology.models import AuditAction, Order, ProcedureStatus, RequestedProcedure
from radiology.services import audit
from radiology.services.order_states import move_procedure
from radiology.services.rows import Sought
from radiology.services.whole import atomic
from worklist.models import OPEN, ScheduledProcedureStep, StepStatus
from worklist.services.room_guard import never_twice
from worklist.signals import step_moved

_BEFORE = {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY}
_AFTER = {StepStatus.COMPLETED, StepStatus.DISCONTINUED}
_LOCKED = Sought(ScheduledProcedureStep, "id = %s FOR UPDATE")
_LOCKED_ORDER = Sought(
    Order,
    f'id IN (SELECT procedure.order_ref_id FROM "{ScheduledProcedureStep._meta.db_table}" AS step'
    f' JOIN "{RequestedProcedure._meta.db_table}" AS procedure ON procedure.id = step.requested_procedure_ref_id'
    " WHERE step.id = %s) FOR UPDATE",
    fields=["id"],
)
_NEVER = {StepStatus.CANCELLED, StepStatus.NO_SHOW}
# Every move may be taken back, since people press the wrong button.
MOVES: dict[str, set[str]] = {
    StepStatus.SCHEDULED: {StepStatus.ARRIVED, StepStatus.READY, StepStatus.STARTED, *_AFTER, *_NEVER},
    StepStatus.ARRIVED: {StepStatus.SCHEDULED, StepStatus.READY, StepStatus.STARTED, *_AFTER, *_NEVER},
    StepStatus.READY: {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.STARTED, *_AFTER, *_NEVER},
    StepStatus.STARTED: {*_BEFORE, *_AFTER},
    StepStatus.COMPLETED: {StepStatus.STARTED, StepStatus.DISCONTINUED, *_BEFORE},
    StepStatus.DISCONTINUED: {StepStatus.STARTED, StepStatus.COMPLETED, *_BEFORE},
    StepStatus.CANCELLED: {*_BEFORE, StepStatus.STARTED, StepStatus.COMPLETED},
    StepStatus.NO_SHOW: {*_BEFORE, StepStatus.STARTED, StepStatus.COMPLETED},
}


@atomic()
def move_step(
    *,
    step: ScheduledProcedureStep,
    to: StepStatus,
    who: Any = None,
    at: datetime | None = None,
    reason: str = "",
    inferred: bool = False,
    version: int | None = None,
    alone: bool = False,
) -> ScheduledProcedureStep:
    """Move a step to another state, its procedure and order along with it; the step as it now stands.

    `at` is when it happened, by default now. `inferred` marks a state that follows from images. `alone`
    is for who moves a step because its procedure has moved already.
    Moving to the state that it has changes nothing. Raises Conflict for a move that is not allowed, or that
    would take a room's time again which somebody else has by now; PreconditionFailed when the step is no
    longer at `version`.
    """
    procedure = step.requested_procedure_ref if alone else None
    step = lock_step(step)
    if procedure is not None and procedure.pk == step.requested_procedure_ref_id:
        step.requested_procedure_ref = procedure  # as who moved it holds it
    if version is not None and version != step.version:
        raise PreconditionFailed(
            _("Somebody else changed this examination meanwhile: look at it again, then repeat your change.")
        )
    if step.status == to:
        return step
    if to not in MOVES[step.status]:
        raise Conflict(
            _("An examination that is %(before)s cannot become %(after)s.")
            % {"before": step.get_status_display(), "after": StepStatus(to).label},
            field="status",
        )
    before, step.status = step.status, to
    _note_times(step, at or timezone.now())
    step.status_reason = reason[:200]
    step.is_inferred = inferred
    step.version += 1
    step.updated_at = timezone.now()
    _save(step, before)
    if not alone:
        _move_along(step, who, reason)
    audit.record(
        event="step.moved",
        action=AuditAction.UPDATE,
        who=who,
        site_id=step.site_id,
        patient_id=step.requested_procedure_ref.order_ref.patient_ref_id,
        study_instance_uid=step.requested_procedure_ref.study_instance_uid,
        detail={"step": step.scheduled_procedure_step_id, "before": before, "after": to, "inferred": inferred},
    )
    step_moved.send(sender=ScheduledProcedureStep, step=step, before=before, who=who)
    return step


def lock_step(step: ScheduledProcedureStep) -> ScheduledProcedureStep:
    """The step as it stands, to be written in this transaction. Its order is locked first, as by all who move orders.

    Raises NotFound when it was removed meanwhile.
    """
    _LOCKED_ORDER(step.pk)
    found = _LOCKED(step.pk)
    if not found:
        raise NotFound(_("This examination is not there any longer."))
    return found[0]


def _save(step: ScheduledProcedureStep, before: str) -> None:
    """What had given its time back takes it again; what happens in a room that is taken happens all the same."""
    if before in OPEN:
        step.save()
        return
    try:
        with never_twice(step):
            step.save()
    except Conflict:
        if step.status != StepStatus.STARTED:
            raise
        step.room = None
        step.save()


def _note_times(step: ScheduledProcedureStep, at: datetime) -> None:
    """Times of what has happened; of what was taken back, none."""
    if step.status in {StepStatus.SCHEDULED, *_NEVER}:
        step.arrived_at = None
    elif step.arrived_at is None:
        step.arrived_at = at
    if step.status in {*_BEFORE, *_NEVER}:
        step.started_at = step.ended_at = None
    elif step.status == StepStatus.STARTED:
        step.started_at, step.ended_at = step.started_at or at, None
    else:
        step.started_at, step.ended_at = step.started_at or at, at


def _move_along(step: ScheduledProcedureStep, who: Any, reason: str) -> None:
    """The procedure is what its steps together are."""
    procedure = RequestedProcedure.objects.select_related("order_ref").get(pk=step.requested_procedure_ref_id)
    steps = set(procedure.scheduled_procedure_steps.values_list("status", flat=True))
    move_procedure(procedure=procedure, to=_procedure_status(steps), who=who, reason=reason)


def _procedure_status(steps: set[str]) -> ProcedureStatus:
    happening = steps - _NEVER
    if not happening:
        # Who did not come may still be given another time; an order is cancelled where it was placed.
        return ProcedureStatus.REQUESTED if StepStatus.NO_SHOW in steps else ProcedureStatus.CANCELLED
    if happening <= _BEFORE:
        return ProcedureStatus.REQUESTED
    if happening <= _AFTER:
        return ProcedureStatus.COMPLETED if StepStatus.COMPLETED in happening else ProcedureStatus.DISCONTINUED
    return ProcedureStatus.IN_PROGRESS

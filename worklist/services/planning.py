"""The steps that orders need: one for each requested procedure, called off and taken up again along with it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from radiology.errors import Conflict
from radiology.models import Order, OrderStatus, ProcedureStatus, RequestedProcedure
from radiology.services.rows import Added, Sought
from radiology.services.whole import atomic
from worklist.models import OPEN, Device, ScheduledProcedureStep, StepStatus
from worklist.services.stations import stations_of
from worklist.services.steps import move_step
from worklist.signals import step_scheduled

_STEPS = ScheduledProcedureStep._meta.db_table
# A number may have come from another system with its own step: that one is left out.
_NEW_IDS = f"""
    WITH numbers AS (
        SELECT nextval(pg_get_serial_sequence('{_STEPS}', 'id'))::text AS number FROM generate_series(1, %s)
    ), made AS (
        SELECT 'SPS' || lpad(number, greatest(8, length(number)), '0') AS own FROM numbers
    )
    SELECT own FROM made WHERE NOT EXISTS (
        SELECT FROM {_STEPS} AS other WHERE other.site_id = %s AND other.scheduled_procedure_step_id = made.own
    )
"""
_add = Added(ScheduledProcedureStep)
_PLANNED = Sought(ScheduledProcedureStep, "requested_procedure_ref_id = ANY(%s)", fields=["requested_procedure_ref"])
_CALLED_OFF = {ProcedureStatus.CANCELLED, ProcedureStatus.DISCONTINUED}
_STATES = set(ProcedureStatus.values)
_WAITING = {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY}
UNKNOWN = "OT"  # Other (PS3.3 C.7.3.1.1.1), for an order that names no modality
_LIVING = {OrderStatus.ACTIVE, OrderStatus.ON_HOLD, OrderStatus.COMPLETED}


@atomic()
def plan_order(
    *, order: Order, new: Sequence[RequestedProcedure] | None = None, who: Any = None
) -> list[ScheduledProcedureStep]:
    """Make a step for each procedure of the order that waits to be done and has none; the steps that were made.

    They begin when the order asks for it, one after the other; without such a wish they wait to be put on the
    calendar. A draft gets none. The caller holds the order's row or has just made it; `new` are then its procedures.
    """
    if order.status not in _LIVING:
        return []
    procedures = _without_step(order) if new is None else _of_these_without_step(new)
    start = order.requested_start
    steps = []
    for procedure, step_id in zip(procedures, _new_ids(order.site_id, len(procedures)), strict=True):
        step = _step_for(procedure, order, step_id)
        step.scheduled_start, step.scheduled_end = start, start and start + timedelta(minutes=procedure.duration)
        steps.append(step)
        start = step.scheduled_end
    _add(steps)
    for step in steps:
        step_scheduled.send(sender=ScheduledProcedureStep, step=step, who=who)
    return steps


def _without_step(order: Order) -> list[RequestedProcedure]:
    waiting = order.requested_procedures.filter(status=ProcedureStatus.REQUESTED, scheduled_procedure_steps=None)
    found = waiting.select_related("procedure_ref").prefetch_related("procedure_ref__protocols")
    return list(found.order_by("pk"))


@atomic()
def follow_order(*, order: Order, changes: Mapping[str, Any] | None = None, who: Any = None, reason: str = "") -> None:
    """Let the steps follow what became of their order: made, changed, called off or taken up again.

    What had begun is discontinued, not cancelled. A step that is taken up again keeps its time if that is still
    to come and still free, and otherwise waits to be put on the calendar anew. A new wish for a time moves the
    steps that have no room yet. `reason` is why a procedure was called off; without one, why the order was.
    """
    described = {name for name, values in (changes or {}).items() if not _is_move(name, values)}
    steps = list(
        ScheduledProcedureStep.objects.select_for_update(of=("self",))
        .filter(requested_procedure_ref__order_ref=order)
        .select_related("requested_procedure_ref__procedure_ref", "room", "site")
        .order_by("pk")
    )
    for step in steps:
        step.requested_procedure_ref.order_ref = order
    by_procedure: dict[int, list[ScheduledProcedureStep]] = {}
    for step in steps:
        by_procedure.setdefault(step.requested_procedure_ref_id, []).append(step)
    for mine in by_procedure.values():
        procedure = mine[0].requested_procedure_ref
        if procedure.status in _CALLED_OFF:
            _call_off(mine, who, reason or order.status_reason)
        elif procedure.status == ProcedureStatus.REQUESTED and order.status in _LIVING:
            _take_up(mine, who)
            if described:
                _describe(mine, who)
    if "requested_start" in described:
        _wish(steps, order, who)
    plan_order(order=order, who=who)


def _of_these_without_step(new: Sequence[RequestedProcedure]) -> list[RequestedProcedure]:
    known = {each.requested_procedure_ref_id for each in _PLANNED([each.pk for each in new])}
    return [each for each in new if each.status == ProcedureStatus.REQUESTED and each.pk not in known]


def _step_for(procedure: RequestedProcedure, order: Order, step_id: str) -> ScheduledProcedureStep:
    stations = stations_of(site_id=order.site_id, modality=procedure.modality, room=None, device=None)
    return ScheduledProcedureStep(
        site_id=order.site_id,
        requested_procedure_ref=procedure,
        scheduled_procedure_step_id=step_id,
        scheduled_procedure_step_description=description_of(procedure),
        scheduled_protocol_codes=_protocols(procedure),
        modality=procedure.modality or UNKNOWN,
        scheduled_station_ae_titles=stations.titles,
        scheduled_station_name=stations.name,
    )


def description_of(procedure: RequestedProcedure) -> str:
    return procedure.requested_procedure_description or (
        procedure.procedure_ref.name if procedure.procedure_ref else procedure.procedure_code_value
    )


def _protocols(procedure: RequestedProcedure) -> list[list[str]]:
    """Code, coding scheme and meaning of each protocol of the catalogue's entry."""
    if procedure.procedure_ref is None:
        return []
    return [
        [each.code_value, each.coding_scheme_designator, each.code_meaning]
        for each in procedure.procedure_ref.protocols.all()
    ]


def _new_ids(site_id: int | None, count: int) -> list[str]:
    """Scheduled procedure step IDs (SH, 16 characters) that nobody else is given: the numbers of a sequence."""
    ids: list[str] = []
    while len(ids) < count:
        with connection.cursor() as cursor:
            cursor.execute(_NEW_IDS, [count - len(ids), site_id])
            ids += [own for (own,) in cursor.fetchall()]
    return ids


def _call_off(steps: Sequence[ScheduledProcedureStep], who: Any, reason: str) -> None:
    for step in steps:
        if step.status in OPEN:
            begun = step.status == StepStatus.STARTED
            to = StepStatus.DISCONTINUED if begun else StepStatus.CANCELLED
            move_step(step=step, to=to, who=who, reason=reason, alone=True)


def _take_up(steps: Sequence[ScheduledProcedureStep], who: Any) -> None:
    """Only where all were cancelled: a step that did not take place is otherwise what somebody wanted."""
    if any(step.status != StepStatus.CANCELLED for step in steps):
        return
    for step in steps:
        if step.scheduled_start is not None and step.scheduled_start < timezone.now():
            _off_the_calendar(step)
        try:
            with transaction.atomic():
                move_step(step=step, to=StepStatus.SCHEDULED, who=who, alone=True)
        except Conflict:
            _off_the_calendar(step)
            move_step(step=step, to=StepStatus.SCHEDULED, who=who, alone=True)


def _off_the_calendar(step: ScheduledProcedureStep) -> None:
    stations = stations_of(site_id=step.site_id, modality=step.modality, room=None, device=None)
    ScheduledProcedureStep.objects.filter(pk=step.pk).update(
        room=None,
        device=None,
        scheduled_start=None,
        scheduled_end=None,
        scheduled_station_ae_titles=stations.titles,
        scheduled_station_name=stations.name,
    )


def _is_move(name: str, values: Any) -> bool:
    """Whether a change of an order is that of a state, its own or a procedure's."""
    if name in {"status", "status_reason"}:
        return True
    return name.startswith("procedure ") and isinstance(values, list) and all(each in _STATES for each in values)


def _describe(steps: Sequence[ScheduledProcedureStep], who: Any) -> None:
    """What the steps say of their procedure, after it was changed; another modality takes them out of their room."""
    procedure = steps[0].requested_procedure_ref
    told = (procedure.modality or UNKNOWN, description_of(procedure), _protocols(procedure))
    for step in steps:
        says = (step.modality, step.scheduled_procedure_step_description, step.scheduled_protocol_codes)
        if step.status not in _WAITING or says == told:
            continue
        if step.modality != told[0]:
            step.modality, step.device = told[0], None
            here = Device.objects.active().filter(room=step.room, modality=step.modality)
            step.room = step.room if step.room is not None and here.exists() else None
            stations = stations_of(site_id=step.site_id, modality=step.modality, room=step.room, device=None)
            step.scheduled_station_ae_titles, step.scheduled_station_name = stations.titles, stations.name
        _, step.scheduled_procedure_step_description, step.scheduled_protocol_codes = told
        _save(step, who)


def _wish(steps: Iterable[ScheduledProcedureStep], order: Order, who: Any) -> None:
    start = order.requested_start
    for step in steps:
        if step.status in _WAITING and step.room_id is None:
            end = start and start + timedelta(minutes=step.requested_procedure_ref.duration)
            step.scheduled_start, step.scheduled_end, start = start, end, end
            _save(step, who)


def _save(step: ScheduledProcedureStep, who: Any) -> None:
    step.version += 1
    step.updated_at = timezone.now()
    step.save()
    step_scheduled.send(sender=ScheduledProcedureStep, step=step, who=who)

"""Steps on the calendar: put, moved, taken off. The only code that gives a step its time and room."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import AuditAction, Order
from radiology.services import audit
from radiology.services.order_states import record_version
from radiology.services.whole import atomic
from worklist.models import Device, Room, RoomBlock, ScheduledProcedureStep, StepStatus
from worklist.models.step import LONGEST
from worklist.services import opening
from worklist.services.room_guard import lock_room, never_twice
from worklist.services.stations import stations_of
from worklist.services.steps import lock_step, move_step
from worklist.signals import step_scheduled

WAITING = {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY}
LONGEST_MINUTES = int(LONGEST.total_seconds()) // 60
YEARS_AHEAD = 5
# A form takes a moment to be sent.
GRACE = timedelta(minutes=2)


@atomic()
def schedule_step(
    *,
    step: ScheduledProcedureStep,
    room: Room,
    start: datetime,
    device: Device | None = None,
    duration: int | None = None,
    who: Any = None,
    version: int | None = None,
    anyway: bool = False,
    back: bool = False,
    reason: str = "",
) -> ScheduledProcedureStep:
    """Put a step on the calendar, or move it there; the step as it now stands.

    `duration` is in minutes; without it the step keeps its own, or takes its procedure's. Without `device`, any
    device of the modality in the room may do it. `anyway` books a closed or blocked room, for those who may, with
    a `reason`. `back` takes a move back, also to a time that has passed meanwhile. Sending the same again changes
    nothing.

    Raises InvalidValue that names the field; Conflict when the room is taken (`facts["step"]` is who takes it),
    closed, or the step has begun or ended; PreconditionFailed when it is no longer at `version`.
    """
    require(who, "schedule.write")
    step = lock_step(step)
    minutes = _duration(step, duration)
    end = _end(start, minutes)
    place = (room.pk, device and device.pk, start, end)
    if place == (step.room_id, step.device_id, step.scheduled_start, step.scheduled_end):
        return step
    _require_waiting(step, version)
    if not back:
        _require_time(step, start)
    _require_place(step, room, device)
    lock_room(room)
    if not anyway and not back:
        _require_open(step, room, start, end)
    elif not back and not is_open_for(step=step, room=room, start=start, end=end):
        require(who, "schedule.anyway")
        if not reason.strip():
            raise InvalidValue(_("Say why the room is used while it is closed."), field="reason")
    return _write(step, room=room, device=device, start=start, end=end, who=who, reason=reason)


@atomic()
def unschedule_step(
    *, step: ScheduledProcedureStep, who: Any = None, version: int | None = None, reason: str = ""
) -> ScheduledProcedureStep:
    """Take a step off the calendar: it waits to be put there anew. Raises as `schedule_step` does."""
    require(who, "schedule.write")
    step = lock_step(step)
    if step.room_id is None and step.scheduled_start is None:
        return step
    _require_waiting(step, version)
    return _write(step, room=None, device=None, start=None, end=None, who=who, reason=reason)


def swap_room(
    *, step: ScheduledProcedureStep, room: Room, who: Any = None, version: int | None = None, reason: str = ""
) -> ScheduledProcedureStep:
    """The same time in another room. Raises as `schedule_step` does."""
    if step.scheduled_start is None:
        raise Conflict(_("This examination has no time yet."), field="start")
    return schedule_step(step=step, room=room, start=step.scheduled_start, who=who, version=version, reason=reason)


@atomic()
def walk_in(
    *, step: ScheduledProcedureStep, rooms: Sequence[Room] = (), who: Any = None, version: int | None = None
) -> ScheduledProcedureStep:
    """The patient is here and is to be examined now: the first room that is free now, and the step is ARRIVED.

    `rooms` are those to choose from, by default all of the site that have a device of the modality.
    Raises Conflict when none is free now.
    """
    require(who, "schedule.write")
    now = timezone.now().replace(second=0, microsecond=0)
    tried = rooms or rooms_for(site_id=step.site_id, modality=step.modality)
    refusal: Conflict | None = None
    for room in tried:
        try:
            with transaction.atomic():
                placed = schedule_step(step=step, room=room, start=now, who=who, version=version)
                return move_step(step=placed, to=StepStatus.ARRIVED, who=who)
        except Conflict as error:
            refusal = error
    if refusal is not None and len(tried) == 1:
        raise refusal
    raise Conflict(
        _("No room for %(modality)s is free now: choose a time on the calendar.") % {"modality": step.modality},
        field="room",
    )


def rooms_for(*, site_id: int | None, modality: str) -> list[Room]:
    """The rooms in use that have a device of that modality, in the order of the calendar's columns."""
    found = Room.objects.active().filter(site__in=[site_id], devices__modality=modality, devices__is_active=True)
    return list(found.distinct())


def is_open_for(*, step: ScheduledProcedureStep, room: Room, start: datetime, end: datetime) -> bool:
    """Whether the room takes patients during that whole time."""
    try:
        _require_open(step, room, start, end)
    except Conflict:
        return False
    return True


def require(who: Any, scope: str) -> None:
    """Raises NotAllowed. The system itself, and a device, may."""
    if who is not None and hasattr(who, "may") and not who.may(scope):
        raise NotAllowed(_("You may not change the schedule in this way."))


def _duration(step: ScheduledProcedureStep, duration: int | None) -> int:
    if duration is None:
        if step.scheduled_start is not None and step.scheduled_end is not None:
            return int((step.scheduled_end - step.scheduled_start).total_seconds()) // 60 or 1
        return step.requested_procedure_ref.duration
    if not 1 <= duration <= LONGEST_MINUTES:
        raise InvalidValue(
            _("The duration must be between 1 and %(most)d minutes.") % {"most": LONGEST_MINUTES}, field="duration"
        )
    return duration


def _end(start: datetime, minutes: int) -> datetime:
    if start.tzinfo is None:
        raise InvalidValue(_("The start needs a time zone."), field="start")
    if start > timezone.now() + timedelta(days=366 * YEARS_AHEAD):
        raise InvalidValue(_("The start is more than %(years)d years ahead.") % {"years": YEARS_AHEAD}, field="start")
    return start + timedelta(minutes=minutes)


def _require_waiting(step: ScheduledProcedureStep, version: int | None) -> None:
    if version is not None and version != step.version:
        raise PreconditionFailed(
            _("Somebody else changed this examination meanwhile: look at it again, then repeat your change.")
        )
    if step.status not in WAITING:
        raise Conflict(
            _("This examination is %(status)s: it cannot be moved on the calendar.")
            % {"status": step.get_status_display()},
            field="status",
        )


def _require_time(step: ScheduledProcedureStep, start: datetime) -> None:
    if start < timezone.now() - GRACE and start != step.scheduled_start:
        raise InvalidValue(_("This time has passed."), field="start")


def _require_place(step: ScheduledProcedureStep, room: Room, device: Device | None) -> None:
    if room.site_id != step.site_id or not room.is_active:
        raise InvalidValue(_("%(room)s is not in use here.") % {"room": room}, field="room")
    if device is not None and (device.room_id != room.pk or not device.is_active):
        raise InvalidValue(_("%(device)s is not in %(room)s.") % {"device": device, "room": room}, field="device")
    if device is not None and device.modality != step.modality:
        raise InvalidValue(
            _("%(device)s is for %(its)s, the examination for %(wanted)s.")
            % {"device": device, "its": device.modality, "wanted": step.modality},
            field="device",
        )
    modalities = set(room.devices.filter(is_active=True).values_list("modality", flat=True))
    if modalities and step.modality not in modalities:
        raise InvalidValue(
            _("%(room)s has no device for %(modality)s.") % {"room": room, "modality": step.modality}, field="room"
        )


def _require_open(step: ScheduledProcedureStep, room: Room, start: datetime, end: datetime) -> None:
    """Raises Conflict that says what the room is closed for."""
    block = RoomBlock.objects.filter(room=room, starts__lt=end, ends__gt=start).order_by("starts").first()
    zone = ZoneInfo(step.site.time_zone)
    if block is not None:
        raise Conflict(
            _("%(room)s is blocked until %(until)s: %(reason)s.")
            % {"room": room, "until": f"{block.ends.astimezone(zone):%d.%m. %H:%M}", "reason": block.reason},
            field="start",
        )
    if not opening.is_open(hours=list(room.opening_hours.all()), zone=zone, start=start, end=end):
        raise Conflict(_("%(room)s is closed at that time.") % {"room": room}, field="start")


def _write(
    step: ScheduledProcedureStep,
    *,
    room: Room | None,
    device: Device | None,
    start: datetime | None,
    end: datetime | None,
    who: Any,
    reason: str,
) -> ScheduledProcedureStep:
    before = _where(step)
    stations = stations_of(site_id=step.site_id, modality=step.modality, room=room, device=device)
    step.room, step.device = room, device
    step.scheduled_start, step.scheduled_end = start, end
    step.scheduled_station_ae_titles, step.scheduled_station_name = stations.titles, stations.name
    step.version += 1
    step.updated_at = timezone.now()
    with never_twice(step):
        step.save()
    order = Order.objects.get(requested_procedures=step.requested_procedure_ref_id)
    change = {f"step {step.scheduled_procedure_step_id}": [before, _where(step)]}
    record_version(order=order, changes=change, who=who, reason=reason)
    audit.record(
        event="step.scheduled",
        action=AuditAction.UPDATE,
        who=who,
        site_id=step.site_id,
        patient_id=order.patient_ref_id,
        study_instance_uid=step.requested_procedure_ref.study_instance_uid,
        detail={"step": step.scheduled_procedure_step_id, "before": before, "after": _where(step), "reason": reason},
    )
    step_scheduled.send(sender=ScheduledProcedureStep, step=step, who=who)
    return step


def _where(step: ScheduledProcedureStep) -> str:
    """Room, device and time in one line, as the history keeps it."""
    parts = [step.room.code if step.room else "", step.device.station_ae_title if step.device else ""]
    parts += [each.isoformat() if each else "" for each in (step.scheduled_start, step.scheduled_end)]
    return " ".join(part for part in parts if part)

"""What the calendar in the browser draws, by the site's clock: times are wall-clock texts without an offset."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.models import Priority
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.bookings import Bookings
from worklist.services.scheduling import WAITING

URGENT = {Priority.STAT, Priority.HIGH}


def calendar_data(found: Bookings, *, may_move: bool) -> dict[str, Any]:
    """Rooms as columns, examinations, and what is closed or blocked."""
    zone = found.zone
    shaded = [
        _shade(f"closed-{room}-{number}", room, start, end, _("Closed"), "closed", zone)
        for room, intervals in found.closed.items()
        for number, (start, end) in enumerate(intervals)
    ]
    shaded += [
        _shade(f"block-{each.pk}", each.room_id, each.starts, each.ends, each.reason, "block", zone)
        for each in found.blocks
    ]
    return {
        "now": wall(timezone.now(), zone),
        "rooms": [
            {"id": str(room.pk), "title": room.name, "modalities": sorted({each.modality for each in active})}
            for room in found.rooms
            for active in [[each for each in room.devices.all() if each.is_active]]
        ],
        "shaded": shaded,
        "steps": [_step(each, zone, may_move) for each in found.steps],
    }


def wall(at: datetime, zone: ZoneInfo) -> str:
    """What the clock on the wall shows."""
    return f"{at.astimezone(zone):%Y-%m-%dT%H:%M}"


def examination_address(step: ScheduledProcedureStep) -> str:
    """The page of the examination; where there is none, its place on the calendar."""
    try:
        return reverse("examination", args=[step.public_id])
    except NoReverseMatch:
        return reverse("schedule-step", args=[step.public_id])


def is_late(step: ScheduledProcedureStep) -> bool:
    """Whether somebody should have come or begun by now."""
    return bool(
        step.status in {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY}
        and step.scheduled_start
        and step.scheduled_start < timezone.now()
    )


def _shade(
    key: str, room: int, start: datetime, end: datetime, title: str, kind: str, zone: ZoneInfo
) -> dict[str, Any]:
    return {
        "id": key, "room": str(room), "start": wall(start, zone), "end": wall(end, zone), "title": title, "kind": kind,
    }  # fmt: skip


def _step(step: ScheduledProcedureStep, zone: ZoneInfo, may_move: bool) -> dict[str, Any]:
    order = step.requested_procedure_ref.order_ref
    start, end = step.scheduled_start, step.scheduled_end
    return {
        "id": str(step.public_id),
        "room": str(step.room_id),
        "device": step.device_id or "",
        "start": wall(start, zone) if start else "",
        "end": wall(end, zone) if end else "",
        "title": str(step),
        "patient": order.patient_ref.display_name,
        "modality": step.modality,
        "status": step.status,
        "state": step.get_status_display(),
        "urgent": order.get_priority_display() if order.priority in URGENT else "",
        "late": is_late(step),
        "takes": step.status not in {StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.NO_SHOW},
        "movable": may_move and step.status in WAITING,
        "version": step.version,
        "open": examination_address(step),
        "place": reverse("schedule-step", args=[step.public_id]),
    }

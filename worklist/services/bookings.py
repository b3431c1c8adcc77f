"""What a calendar shows of a day or a week: rooms, what is booked in them, when they are closed, and who waits."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from radiology.models import Site
from worklist.models import Room, RoomBlock, ScheduledProcedureStep, StepStatus
from worklist.services import opening
from worklist.services.opening import Interval
from worklist.services.slots import hours_of

MOST_WAITING = 100
MOST_BOOKED = 2000
# What stands on the calendar: not what was called off.
SHOWN = [status for status in StepStatus.values if status != StepStatus.CANCELLED]
QUERIES = 6


@dataclass
class Bookings:
    """From `start` to `end`, in the zone of the site. `closed` is by room; `waiting` are open steps without a room."""

    site: Site
    zone: ZoneInfo
    start: datetime
    end: datetime
    rooms: list[Room] = field(default_factory=list)
    steps: list[ScheduledProcedureStep] = field(default_factory=list)
    blocks: list[RoomBlock] = field(default_factory=list)
    closed: dict[int, list[Interval]] = field(default_factory=dict)
    waiting: list[ScheduledProcedureStep] = field(default_factory=list)
    more_waiting: bool = False


def bookings(*, who: Any, site: Site, day: date, days: int = 1, modality: str = "") -> Bookings:
    """The calendar of a site from midnight of `day` on, as `who` may see it, with `QUERIES` queries at most."""
    zone = ZoneInfo(site.time_zone)
    start = opening.midnight(day=day, zone=zone)
    end = opening.midnight(day=day + timedelta(days=days), zone=zone)
    found = Bookings(site, zone, start, end)
    rooms = Room.objects.visible_to(who).active().filter(site=site).prefetch_related("devices")
    found.rooms = list(rooms.filter(devices__modality=modality).distinct() if modality else rooms)
    hours = hours_of(found.rooms)
    found.closed = {
        room.pk: opening.closed_intervals(hours=hours.get(room.pk, []), zone=zone, start=start, end=end)
        for room in found.rooms
    }
    found.blocks = list(
        RoomBlock.objects.filter(room__in=found.rooms, starts__lt=end, ends__gt=start).order_by("starts", "pk")
    )
    steps = ScheduledProcedureStep.objects.visible_to(who).filter(site=site).with_patient()
    if modality:
        steps = steps.filter(modality=modality)
    booked = steps.touching(start, end).filter(status__in=SHOWN, room__in=found.rooms)
    found.steps = list(booked.order_by("scheduled_start", "pk")[:MOST_BOOKED])
    waiting = list(steps.waiting().order_by("scheduled_start", "pk")[: MOST_WAITING + 1])
    found.waiting, found.more_waiting = waiting[:MOST_WAITING], len(waiting) > MOST_WAITING
    return found

"""Free times: computed from opening hours, blocks and what is booked, each read with one query."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from django.utils import timezone

from radiology.models import Procedure, Site
from worklist.models import OpeningHours, Room, RoomBlock, ScheduledProcedureStep
from worklist.models.step import TAKES_ROOM
from worklist.services import opening
from worklist.services.opening import Interval

MOST_DAYS = 92
MOST_SLOTS = 500
QUERIES = 4


@dataclass(frozen=True, order=True)
class Slot:
    """A time at which a room could take one examination. Sorts by time, then by the calendar's columns."""

    start: datetime
    position: tuple[int, str, int]
    end: datetime
    room: Room


def free_slots(
    *,
    site: Site,
    modality: str = "",
    procedure: Procedure | None = None,
    duration: int | None = None,
    room: Room | None = None,
    start: datetime,
    days: int = 14,
    limit: int = 20,
) -> list[Slot]:
    """The first free times of `duration` minutes, from `start` (or now, if that is later) for `days` days.

    Rooms are those that have a device of the modality: that of `procedure`, whose duration counts too where none
    is given; `room` narrows it to one. Times lie on the room's grid, counted from its opening or from the end of
    what is before.
    """
    modality = procedure.modality if procedure is not None else modality
    minutes = duration or (procedure.duration if procedure is not None else 0)
    start = max(start, timezone.now()).astimezone(UTC)
    end = start + timedelta(days=min(days, MOST_DAYS))
    rooms = _rooms(site, modality, room)
    taken = busy_times(rooms=rooms, start=start, end=end)
    hours = hours_of(rooms)
    zone = ZoneInfo(site.time_zone)
    streams = [
        _slots_of(each, hours.get(each.pk, []), taken.get(each.pk, []), zone, start, end, minutes) for each in rooms
    ]
    return list(islice(heapq.merge(*streams), min(limit, MOST_SLOTS)))


def hours_of(rooms: Sequence[Room]) -> dict[int, list[OpeningHours]]:
    """Opening hours by room."""
    found: dict[int, list[OpeningHours]] = {}
    for each in OpeningHours.objects.filter(room__in=rooms).order_by("room_id", "weekday", "opens"):
        found.setdefault(each.room_id, []).append(each)
    return found


def busy_times(*, rooms: Sequence[Room], start: datetime, end: datetime) -> dict[int, list[Interval]]:
    """What is blocked and booked, by room."""
    taken: dict[int, list[Interval]] = {}
    blocks = RoomBlock.objects.filter(room__in=rooms, starts__lt=end, ends__gt=start)
    sites = {each.site_id for each in rooms}
    steps = ScheduledProcedureStep.objects.touching(start, end).filter(TAKES_ROOM, site__in=sites, room__in=rooms)
    for rows in (
        blocks.values_list("room_id", "starts", "ends"),
        steps.values_list("room_id", "scheduled_start", "scheduled_end"),
    ):
        for room_id, from_, until in rows:
            if from_ is not None and until is not None:
                taken.setdefault(room_id, []).append((from_, until))
    return taken


def _rooms(site: Site, modality: str, room: Room | None) -> list[Room]:
    found = Room.objects.active().filter(site=site)
    if modality:
        found = found.filter(devices__modality=modality, devices__is_active=True).distinct()
    return list(found if room is None else found.filter(pk=room.pk))


def _slots_of(
    room: Room,
    hours: Sequence[OpeningHours],
    taken: Sequence[Interval],
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
    minutes: int,
) -> Iterator[Slot]:
    step, length = timedelta(minutes=room.slot_minutes), timedelta(minutes=minutes or room.slot_minutes)
    # From the midnight before, so that the grid does not hang on the moment of asking.
    begin = opening.midnight(day=start.astimezone(zone).date(), zone=zone)
    opened = opening.open_intervals(hours=hours, zone=zone, start=begin, end=end)
    position = (room.position, room.name, room.pk)
    for opens, closes in opened:
        for from_, until in opening.without(intervals=[(max(opens, start), closes)], taken=taken):
            at = opens + -((opens - from_) // step) * step
            while at + length <= until:
                yield Slot(at, position, at + length, room)
                at += step

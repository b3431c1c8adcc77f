"""Rooms, devices and free times."""

import uuid
from typing import Any

from django.http import HttpResponse
from django.utils import timezone

from pacs.api.access import CURSOR, LIMIT, linked
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotFound
from radiology.models import Procedure
from worklist.api import shapes
from worklist.api.access import ScheduleView, device_of, moment_of, room_of, site_of
from worklist.api.entries import device_entry, room_entry, slot_entry
from worklist.models import Device, Room
from worklist.services.scheduling import LONGEST_MINUTES
from worklist.services.slots import MOST_DAYS, MOST_SLOTS, free_slots

BY_COLUMN = ["position", "name", "pk"]
BY_TITLE = ["station_ae_title", "pk"]
MODALITY = Parameter("modality", "Those that have a device of it, or are of it.", example="CT")


class Rooms(ScheduleView):
    """`GET /rooms`."""

    @operation(
        tag="Schedule",
        summary="Rooms",
        description="In the order of the calendar's columns, with their opening hours.",
        parameters=[MODALITY, Parameter("code", "The room's code.", example="CT1"), LIMIT, CURSOR],
        answers={200: shapes.RoomsShape},
    )
    def get(self, request: Any) -> HttpResponse:
        rows = Room.objects.visible_to(request.user).prefetch_related("opening_hours", "devices")
        if self.asked["code"]:
            rows = rows.filter(code=self.asked["code"])
        if self.asked["modality"]:
            wanted = Device.objects.filter(modality=self.asked["modality"], is_active=True)
            rows = rows.filter(pk__in=wanted.values("room_id"))
        page = keyset.page(found=rows, size=self.limit, order=BY_COLUMN, place=self.place(BY_COLUMN))
        here = origin(request)
        links = self.neighbours(page, order=BY_COLUMN, address=here + request.path)
        body = {"data": [room_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class OneRoom(ScheduleView):
    """`GET /rooms/{room}`."""

    @operation(tag="Schedule", summary="One room", path=["room"], answers={200: shapes.RoomShape}, errors=[404])
    def get(self, request: Any, room: uuid.UUID) -> HttpResponse:
        return json_answer(request, room_entry(room_of(request.user, room), origin(request)))


class Devices(ScheduleView):
    """`GET /devices`."""

    @operation(
        tag="Schedule",
        summary="Devices",
        description="The modalities, by AE title.",
        parameters=[
            MODALITY,
            Parameter("room", "The room's code.", example="CT1"),
            Parameter("station_ae_title", "Exactly.", example="CT1"),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.DevicesShape},
    )
    def get(self, request: Any) -> HttpResponse:
        rows = Device.objects.visible_to(request.user).select_related("room")
        columns = {"modality": "modality", "room": "room__code", "station_ae_title": "station_ae_title"}
        rows = rows.filter(**{column: self.asked[name] for name, column in columns.items() if self.asked[name]})
        page = keyset.page(found=rows, size=self.limit, order=BY_TITLE, place=self.place(BY_TITLE))
        here = origin(request)
        links = self.neighbours(page, order=BY_TITLE, address=here + request.path)
        body = {"data": [device_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class OneDevice(ScheduleView):
    """`GET /devices/{device}`."""

    @operation(tag="Schedule", summary="One device", path=["device"], answers={200: shapes.DeviceShape}, errors=[404])
    def get(self, request: Any, device: uuid.UUID) -> HttpResponse:
        return json_answer(request, device_entry(device_of(request.user, device), origin(request)))


class Slots(ScheduleView):
    """`GET /slots`."""

    @operation(
        tag="Schedule",
        summary="Free times",
        description="The first times at which a room that has a device of the modality is open and free for long "
        "enough. They are not reserved: schedule the step, and take the next one if that is refused (409).",
        parameters=[
            Parameter("procedure", "Code of the catalogue: its modality and duration count.", example="CTTHX"),
            Parameter("modality", "Instead of `procedure`.", example="CT"),
            Parameter("room", "The room's code: this room only.", example="CT1"),
            Parameter("duration", "Minutes.", example="20", whole_number=True),
            Parameter("start", "Not before this moment; by default now.", example="2026-03-02T09:30:00+07:00"),
            Parameter("days", f"So many days from then; at most {MOST_DAYS}.", example="7", default="14",
                      whole_number=True),
            Parameter("limit", f"At most so many; more than {MOST_SLOTS} counts as {MOST_SLOTS}.", example="10",
                      default="20", pattern="0*[1-9][0-9]*", whole_number=True),
        ],
        answers={200: shapes.SlotsShape},
        errors=[404],
    )  # fmt: skip
    def get(self, request: Any) -> HttpResponse:
        asked, site = self.asked, site_of(request.user)
        procedure = None
        if asked["procedure"]:
            catalogue = Procedure.objects.visible_to(request.user).active().filter(site=site)
            procedure = catalogue.filter(code=asked["procedure"]).first()
            if procedure is None:
                raise NotFound("The catalogue has no such procedure.", field="procedure")
        elif not asked["modality"]:
            raise InvalidValue("Say for which procedure or modality: give procedure or modality.", field="procedure")
        room = None
        if asked["room"]:
            room = Room.objects.visible_to(request.user).filter(site=site, code=asked["room"]).first()
            if room is None:
                raise NotFound("There is no such room.", field="room")
        duration = int(asked["duration"] or 0)
        if duration > LONGEST_MINUTES:
            raise InvalidValue(f"duration may be {LONGEST_MINUTES} minutes at most.", field="duration")
        found = free_slots(
            site=site,
            procedure=procedure,
            modality=asked["modality"],
            room=room,
            duration=duration or None,
            start=moment_of(asked["start"], "start") if asked["start"] else timezone.now(),
            days=min(int(asked["days"]), MOST_DAYS),
            limit=min(int(asked["limit"]), MOST_SLOTS),
        )
        return json_answer(request, {"data": [slot_entry(each) for each in found]})

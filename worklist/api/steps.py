"""Scheduled procedure steps: what is to be done when and where, and how far it is."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpResponse

from pacs.api.access import CURSOR, LIMIT, linked
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue
from radiology.models import AuditAction
from radiology.services import audit
from worklist.api import shapes
from worklist.api.access import IF_MATCH, ScheduleView, days_of, moment_of, site_of, step_of, version_of
from worklist.api.entries import step_entry
from worklist.models import Device, Room, ScheduledProcedureStep, StepStatus
from worklist.services.opening import midnight
from worklist.services.scheduling import schedule_step, unschedule_step
from worklist.services.steps import move_step

BY_START = ["scheduled_start", "pk"]
BY_UPDATE = ["updated_at", "pk"]
PLACING = {"start", "room", "device", "duration", "anyway", "reason"}


class Steps(ScheduleView):
    """`GET /scheduled-procedure-steps`."""

    @operation(
        tag="Schedule",
        summary="Scheduled procedure steps",
        description="By their start, those without one last; with `updated_since`, in the order of their changes, so "
        "that a program that asks again and again misses none.",
        parameters=[
            Parameter("date", "YYYYMMDD, or a range of days, by the site's clock.", example="20260302-20260308"),
            Parameter("modality", "Exactly.", example="CT"),
            Parameter("room", "The room's code.", example="CT1"),
            Parameter("station_ae_title", "Steps that are for this station.", example="CT1"),
            Parameter("status", "Exactly.", choices=StepStatus.values),
            Parameter("accession_number", "Exactly.", example="ACC12345"),
            Parameter("patient_id", "Medical record number (MRN), exactly.", example="001234"),
            Parameter("updated_since", "Changed at or after this moment.", example="2026-03-02T09:30:00+07:00"),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.StepsShape},
    )
    def get(self, request: Any) -> HttpResponse:
        rows = self._asked_for(ScheduledProcedureStep.objects.visible_to(request.user).with_patient())
        order = BY_UPDATE if self.asked["updated_since"] else BY_START
        page = keyset.page(found=rows, size=self.limit, order=order, place=self.place(order))
        here = origin(request)
        links = self.neighbours(page, order=order, address=here + request.path)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "SPS", "answers": len(page.rows)},
        )
        body = {"data": [step_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))

    def _asked_for(self, rows: Any) -> Any:
        asked = self.asked
        columns = {
            "modality": "modality",
            "room": "room__code",
            "status": "status",
            "accession_number": "requested_procedure_ref__order_ref__accession_number",
            "patient_id": "requested_procedure_ref__order_ref__patient_ref__patient_id",
        }
        rows = rows.filter(**{column: asked[name] for name, column in columns.items() if asked[name]})
        if asked["station_ae_title"]:
            rows = rows.filter(scheduled_station_ae_titles__contains=[asked["station_ae_title"]])
        if asked["date"]:
            first, last = days_of(asked["date"], "date")
            zone = ZoneInfo(site_of(self.request.user).time_zone)
            rows = rows.filter(
                scheduled_start__gte=midnight(day=first, zone=zone),
                scheduled_start__lt=midnight(day=last + timedelta(days=1), zone=zone),
            )
        if asked["updated_since"]:
            rows = rows.filter(updated_at__gte=moment_of(asked["updated_since"], "updated_since"))
        return rows


class OneStep(ScheduleView):
    """`GET` and `PATCH /scheduled-procedure-steps/{step}`."""

    @operation(
        tag="Schedule",
        summary="One scheduled procedure step",
        path=["step"],
        answers={200: shapes.StepShape},
        errors=[404],
    )
    def get(self, request: Any, step: uuid.UUID) -> HttpResponse:
        found = step_of(request.user, step)
        audit.record(
            event="api.read",
            action=AuditAction.READ,
            who=request.user,
            address=audit.address_of(request),
            site_id=found.site_id,
            patient_id=found.requested_procedure_ref.order_ref.patient_ref_id,
        )
        return _answer(request, found)

    @operation(
        tag="Schedule",
        summary="Put a step on the calendar",
        description="Gives it a time and a room, moves it, or takes it off. A taken time is refused (409), and "
        "`existing` is who takes it. Needs the scope `schedule.write`.",
        path=["step"],
        headers={"If-Match": "Required: " + IF_MATCH["If-Match"]},
        body=shapes.Placing,
        answers={200: shapes.StepShape},
        errors=[404, 409, 412, 428],
        examples=shapes.PLACING,
    )
    def patch(self, request: Any, step: uuid.UUID) -> HttpResponse:
        found = step_of(request.user, step)
        version = version_of(request, required=True)
        given = json_body(request)
        if unknown := sorted(given.keys() - PLACING):
            raise InvalidValue(f"There is only {', '.join(sorted(PLACING))} to change.", field=_printable(unknown[0]))
        if not given.keys() - {"reason", "anyway"}:
            raise InvalidValue("The body names nothing to change: give start, room, device or duration.")
        common = {"step": found, "who": request.user, "version": version, "reason": text_of(given, "reason")}
        start = _start(given, found)
        device = _device(given, found)
        room = _room(given, found, device)
        if start is None and room is None:
            return _answer(request, unschedule_step(**common))
        if room is None or start is None:
            missing = "room" if room is None else "start"
            raise InvalidValue(f"{missing} is needed too: this step has none yet.", field=missing)
        if "device" not in given and device is not None and device.room_id != room.pk:
            device = None
        duration, anyway = given.get("duration"), given.get("anyway", False)
        if duration is not None and (isinstance(duration, bool) or not isinstance(duration, int)):
            raise InvalidValue("duration must be a whole number of minutes.", field="duration")
        if not isinstance(anyway, bool):
            raise InvalidValue("anyway must be true or false.", field="anyway")
        placed = schedule_step(room=room, start=start, device=device, duration=duration, anyway=anyway, **common)
        return _answer(request, placed)


def _start(given: Mapping[str, Any], step: ScheduledProcedureStep) -> datetime | None:
    if "start" not in given:
        return step.scheduled_start
    return None if given["start"] is None else moment_of(text_of(given, "start"), "start")


def _room(given: Mapping[str, Any], step: ScheduledProcedureStep, device: Device | None) -> Room | None:
    if "room" not in given:
        return device.room if device is not None and "device" in given else step.room
    if given["room"] is None:
        return None
    room = Room.objects.filter(site=step.site_id, code=text_of(given, "room")).first()
    if room is None:
        raise InvalidValue("There is no room of that code.", field="room")
    return room


def _device(given: Mapping[str, Any], step: ScheduledProcedureStep) -> Device | None:
    if "device" not in given:
        return step.device
    if given["device"] is None:
        return None
    devices = Device.objects.select_related("room").filter(site=step.site_id)
    device = devices.filter(station_ae_title=text_of(given, "device")).first()
    if device is None:
        raise InvalidValue("There is no device of that AE title.", field="device")
    return device


class Move(ScheduleView):
    """A step moves to another state."""

    scope = "steps.write"
    to: StepStatus

    def move(self, request: Any, public_id: uuid.UUID) -> HttpResponse:
        found = step_of(request.user, public_id)
        given = json_body(request)
        if unknown := sorted(given.keys() - {"at", "reason"}):
            raise InvalidValue("There is only at and reason to say.", field=_printable(unknown[0]))
        at = moment_of(text_of(given, "at"), "at") if given.get("at") is not None else None
        moved = move_step(
            step=found,
            to=self.to,
            who=request.user,
            at=at,
            reason=text_of(given, "reason"),
            version=version_of(request, required=False),
        )
        return _answer(request, moved)


def _move(summary: str, description: str) -> Any:
    return operation(
        tag="Schedule",
        summary=summary,
        description=f"{description} Saying it twice changes nothing. Needs the scope `steps.write`.",
        path=["step"],
        headers=IF_MATCH,
        body=shapes.Moving,
        answers={200: shapes.StepShape},
        errors=[404, 409, 412, 428],
    )


class Arrive(Move):
    """`POST /scheduled-procedure-steps/{step}/arrive`."""

    to = StepStatus.ARRIVED

    @_move("The patient has arrived", "Check-in.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


class Start(Move):
    """`POST /scheduled-procedure-steps/{step}/start`."""

    to = StepStatus.STARTED

    @_move("The examination begins", "For devices that send no MPPS.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


class Complete(Move):
    """`POST /scheduled-procedure-steps/{step}/complete`."""

    to = StepStatus.COMPLETED

    @_move("The examination is done", "The order is complete when all its procedures are.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


class Discontinue(Move):
    """`POST /scheduled-procedure-steps/{step}/discontinue`."""

    to = StepStatus.DISCONTINUED

    @_move("The examination was broken off", "It began and will not go on.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


class Cancel(Move):
    """`POST /scheduled-procedure-steps/{step}/cancel`."""

    to = StepStatus.CANCELLED

    @_move("Cancel a step", "It has not begun and will not; an order whose steps are all cancelled is revoked.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


class NoShow(Move):
    """`POST /scheduled-procedure-steps/{step}/no-show`."""

    to = StepStatus.NO_SHOW

    @_move("The patient did not come", "The room's time is free again; the order stays.")
    def post(self, request: Any, step: uuid.UUID) -> HttpResponse:
        return self.move(request, step)


def _answer(request: Any, step: ScheduledProcedureStep) -> HttpResponse:
    found = step_of(request.user, step.public_id)
    return json_answer(request, step_entry(found, origin(request)), version=found.version)


def _printable(name: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in name)[:64]

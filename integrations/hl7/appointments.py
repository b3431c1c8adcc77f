"""SIU: appointments that the hospital's scheduling system gives (HL7 v2 chapter 10)."""

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from integrations.hl7 import order_lookup, orders, values
from integrations.hl7.message import MISSING, Message, Segment
from integrations.hl7.order_content import OrderContent, Wanted, procedure_of
from integrations.hl7.outcome import Outcome
from integrations.models import Hl7Peer
from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import Order, OrderOrigin, Patient
from radiology.services.orders import change_order, place_order
from worklist.models import Device, Room, ScheduledProcedureStep, StepStatus
from worklist.services.scheduling import schedule_step, unschedule_step
from worklist.services.steps import move_step

# AIS-8, SCH-10: units of a duration, in minutes.
UNITS = {"": 1.0, "MIN": 1.0, "M": 1.0, "MINUTES": 1.0, "S": 1 / 60, "SEC": 1 / 60, "H": 60.0, "HR": 60.0, "HOUR": 60.0}
_DONE = {StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELLED}


@dataclass
class Service:
    """One AIS of an appointment, with the places and devices (AIL, AIG) that follow it; without one, all of it."""

    ais: Segment = MISSING
    ail: Segment = MISSING
    aig: Segment = MISSING


def book(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """S12 S13 S14: the appointment is as the message says. One whose order nobody sent is an order."""
    patient = _patient(message, peer, outcome)
    services = _services(message)
    order = _order(message, peer, patient) or _place(message, services, peer, patient, outcome)
    outcome.order = order
    start = None
    for service, step in _steps(services, order, peer):
        start = _start(message, service, peer) or start
        if start is None:
            raise InvalidValue(_("The appointment has no time."), field="SCH-11")
        minutes = _minutes(message, service, start, peer)
        if step.status == StepStatus.NO_SHOW:  # given another time
            step = move_step(step=step, to=StepStatus.SCHEDULED, who=peer)
        if _put(step, _room(service, peer), start, minutes, peer):
            outcome.did("scheduled", step)
        start = start + timedelta(minutes=minutes or step.requested_procedure_ref.duration)
    if _wish(order, message, services, peer):
        outcome.did("changed", order)
    if not outcome.changed:
        outcome.note(_("Nothing was changed: the appointment stands as it is."))


def call_off(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """S15 S17: off the calendar. The order waits for another time, and not from the one that is called off."""
    steps = _known(message, peer, outcome)
    for step in steps:
        if step.scheduled_start is not None:
            unschedule_step(step=step, who=peer, reason=_("The hospital system says so"))
            outcome.did("changed", step)
    order, start = outcome.order, _start(message, _services(message)[0], peer)
    is_whole = order is not None and not _waiting(order).exclude(pk__in=[step.pk for step in steps]).exists()
    if order is not None and is_whole and start == order.requested_start and _ask_for(order, None, peer):
        outcome.did("changed", order)


def miss(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """S26: the patient did not come."""
    for step in _known(message, peer, outcome):
        if step.status != StepStatus.NO_SHOW:
            outcome.did("changed", move_step(step=step, to=StepStatus.NO_SHOW, who=peer))


def _patient(message: Message, peer: Hl7Peer, outcome: Outcome) -> Patient:
    patient, _named = orders.patient_of(message, peer, outcome)
    outcome.patient = patient
    return patient


def _known(message: Message, peer: Hl7Peer, outcome: Outcome) -> list[ScheduledProcedureStep]:
    """The steps of an appointment that is here. Raises NotFound."""
    patient = _patient(message, peer, outcome)
    order = _order(message, peer, patient)
    if order is None:
        raise NotFound(_("There is no such appointment."), field="SCH-1")
    outcome.order = order
    return [step for _service, step in _steps(_services(message), order, peer)]


def _content(message: Message) -> OrderContent:
    """The order that the appointment is for: SCH-26 and SCH-27, else an ORC in the message."""
    sch, orc = message.require("SCH"), message.first("ORC")
    placer = sch.value(26) if sch.text(26) else orc.value(2)
    return OrderContent(
        control="SC",
        status="",
        placer_order_number=clean(placer.text(1)),
        placer_namespace=clean(placer.text(2)),
        filler_order_number=clean(sch.text(27) or orc.text(3)),
        accession_number="",
        values={},
    )


def _key(message: Message, content: OrderContent, peer: Hl7Peer) -> str:
    """Under which an appointment's order is found again: the order's number, else the appointment's."""
    if content.placer_order_number or content.filler_order_number:
        return order_lookup.key_of(content, peer)
    sch = message.first("SCH")
    number = clean(sch.text(1) or sch.text(2))
    if not number:
        raise InvalidValue(_("The appointment has no number."), field="SCH-1")
    return order_lookup.key_of_number(f"appointment {number}", peer)


def _order(message: Message, peer: Hl7Peer, patient: Patient) -> Order | None:
    content = _content(message)
    key = _key(message, content, peer)
    order_lookup.lock_key(peer, key)
    if content.placer_order_number or content.filler_order_number:
        found = order_lookup.find(content, peer, patient, field="SCH-26")
        return found[0] if found else None
    order = Order.objects.filter(site=peer.site_id, client_key=key).first()
    if order is not None and order.patient_ref_id != patient.pk:
        raise Conflict(_("The appointment with this number is another patient's."), field="SCH-1")
    return order


def _place(message: Message, services: list[Service], peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    content = _content(message)
    for service in services:
        if service.ais:
            request = procedure_of(service.ais.value(3), peer, field="AIS-3", modality="")
            content.wanted.append(Wanted(request))
    if not content.wanted:
        raise NotFound(_("The order of this appointment is not here, and AIS-3 names no procedure."), field="SCH-26")
    numbers = {
        "placer_order_number": content.placer_order_number,
        "filler_order_number": content.filler_order_number,
        "reason_for_the_requested_procedure": values.coded_text(message.first("SCH").repetitions(7)),
        "requested_start": _start(message, services[0], peer),
    }
    order = place_order(
        site=peer.site,
        patient=patient,
        procedures=[each.request for each in content.wanted],
        values={name: value for name, value in numbers.items() if value},
        who=peer,
        origin=OrderOrigin.HL7,
        client_key=_key(message, content, peer),
        accept_warnings=True,
        asks_safety=False,
    )
    outcome.did("created", order)
    return order


def _services(message: Message) -> list[Service]:
    found = [Service()]
    for segment in message.segments:
        if segment.name == "AIS":
            found.append(Service(ais=segment))
        elif segment.name == "AIL" and not found[-1].ail:
            found[-1].ail = segment
        elif segment.name == "AIG" and not found[-1].aig:
            found[-1].aig = segment
    first, *others = found
    for each in others:  # what stands before the first AIS is of all
        each.ail, each.aig = each.ail or first.ail, each.aig or first.aig
    return others or found


def _steps(services: list[Service], order: Order, peer: Hl7Peer) -> list[tuple[Service, ScheduledProcedureStep]]:
    """The step that each service is about: of the procedure that it names, else of all that wait."""
    steps = list(_waiting(order).select_related("requested_procedure_ref", "site", "room", "device").order_by("pk"))
    if not steps:
        raise Conflict(_("No examination of this order waits."), field="status")
    found = []
    for service in services:
        code, text = clean(service.ais.text(3)), clean(service.ais.text(3, 2))
        named = [
            step
            for step in steps
            if (code and code == step.requested_procedure_ref.procedure_code_value)
            or (text and text == step.requested_procedure_ref.requested_procedure_description)
        ]
        says_nothing = not (code or text) or len(services) == len(steps) == 1  # they have codes of their own
        found += [(service, step) for step in named or (steps if says_nothing else [])]
    if not found:
        raise NotFound(_("The order has no procedure that AIS-3 names."), field="AIS-3")
    return found


def _waiting(order: Order) -> QuerySet[ScheduledProcedureStep]:
    return ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order).exclude(status__in=_DONE)


def _put(
    step: ScheduledProcedureStep,
    place: tuple[Room, Device | None] | None,
    start: datetime,
    minutes: int | None,
    peer: Hl7Peer,
) -> bool:
    """Put a step on the calendar, or move it there; whether something changed. Without any room, see `_wish`."""
    room, device = place or (step.room, step.device)
    if room is None:
        return False
    if device is None and step.room_id == room.pk:
        device = step.device
    before, why = step.version, _("The hospital system says so")
    put = schedule_step(step=step, room=room, device=device, start=start, duration=minutes, who=peer, reason=why)
    return put.version != before


def _wish(order: Order, message: Message, services: list[Service], peer: Hl7Peer) -> bool:
    """Steps that have no room wait for one, from the time of the appointment on, one after the other."""
    start = _start(message, services[0], peer)
    return start is not None and _ask_for(order, start, peer)


def _ask_for(order: Order, start: datetime | None, peer: Hl7Peer) -> bool:
    """The order is wanted at that time, or at none; whether that is new."""
    order.refresh_from_db()
    if order.requested_start == start:
        return False
    change_order(
        order=order,
        version=order.version,
        changes={"requested_start": start},
        who=peer,
        accept_warnings=True,
        asks_safety=False,
    )
    return True


def _room(service: Service, peer: Hl7Peer) -> tuple[Room, Device | None] | None:
    """Where it takes place: a room by its code or name (AIL-3), or a device by its AE or station (AIG-3).

    Raises NotFound for a place that is named and not known.
    """
    said = [part for part in (*service.ail.value(3).texts()[:3], service.ail.text(3, 9)) if part]
    for name in said:
        rooms = Room.objects.active().filter(site=peer.site_id)
        room = rooms.filter(code__iexact=name).first() or rooms.filter(name__iexact=name).first()
        if room is not None:
            return room, None
    resource = [part for part in service.aig.value(3).texts()[:2] if part]
    for name in resource:
        devices = Device.objects.active().filter(room__site=peer.site_id, room__is_active=True).select_related("room")
        device = devices.filter(station_ae_title=name).first() or devices.filter(station_name__iexact=name).first()
        if device is not None and device.room is not None:
            return device.room, device
        room = Room.objects.active().filter(site=peer.site_id, code__iexact=name).first()
        if room is not None:
            return room, None
    if said:
        raise NotFound(_("There is no room %(name)s.") % {"name": " ".join(said)}, field="AIL-3")
    return None


def _start(message: Message, service: Service, peer: Hl7Peer) -> datetime | None:
    zone = zoneinfo.ZoneInfo(peer.site.time_zone)
    sch, tq1 = message.first("SCH"), message.first("TQ1")
    places = (("AIS-4", service.ais.text(4)), ("TQ1-7", tq1.text(7)), ("SCH-11", sch.text(11, 4)))
    where, said = next(((name, text) for name, text in places if text), ("", ""))
    if not said:
        return None
    start = values.moment(said, zone)
    if start is None:
        raise InvalidValue(_("This is no moment of HL7: YYYYMMDDHHMM."), field=where)
    return start


def _minutes(message: Message, service: Service, start: datetime, peer: Hl7Peer) -> int | None:
    """How long it lasts: AIS-7, SCH-9, or until SCH-11.5; None where nothing is said."""
    sch = message.first("SCH")
    for number, unit in ((service.ais.text(7), service.ais.text(8)), (sch.text(9), sch.text(10))):
        if re.fullmatch(r"\d{1,5}(\.\d{1,6})?", number, re.ASCII) and float(number):
            return max(1, round(float(number) * UNITS.get(unit.upper(), 1.0)))
    end = values.moment(sch.text(11, 5), zoneinfo.ZoneInfo(peer.site.time_zone)) if sch.text(11, 5) else None
    return int((end - start).total_seconds()) // 60 if end is not None and end > start else None


Handler = Callable[[Message, Hl7Peer, Outcome], None]

EVENTS: dict[str, Handler] = {
    **dict.fromkeys(("S12", "S13", "S14"), book),
    **dict.fromkeys(("S15", "S17"), call_off),
    "S26": miss,
}

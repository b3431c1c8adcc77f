"""ADT about visits, as far as it changes something here: where the patient lies, and that the patient has come."""

import zoneinfo
from datetime import datetime, time, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.hl7 import patients, values
from integrations.hl7.message import MISSING, Message, Segment
from integrations.hl7.outcome import Outcome
from integrations.models import Hl7Peer
from radiology.errors import InvalidValue
from radiology.models import Order, OrderStatus, Patient
from radiology.services.orders import change_order
from radiology.services.survivors import hold_survivor
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.steps import move_step

WAITING = (OrderStatus.ACTIVE, OrderStatus.ON_HOLD)
LONGEST_LOCATION = 64


def change_location(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A02 A06 A07 A12 A17: the orders that wait say where the patient lies now, by PV1-3."""
    for pid, pv1 in _visits(message):
        patient = _known(pid, peer, outcome)
        place = values.location(pv1, 3)[:LONGEST_LOCATION]
        if patient is None or not place:
            continue
        for order in Order.objects.filter(patient_ref=patient, status__in=WAITING).order_by("pk"):
            before = order.version
            changed = change_order(
                order=order,
                version=order.version,
                changes={"current_patient_location": place},
                who=peer,
                accept_warnings=True,
                asks_safety=False,
            )
            if changed.version != before:
                outcome.did("changed", changed)
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no order of the patient waits, or the place was known."))


def arrive(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A10: today's scheduled examinations of the patient have arrived."""
    for pid, _pv1 in _visits(message):
        patient = _known(pid, peer, outcome)
        if patient is None:
            continue
        zone = zoneinfo.ZoneInfo(peer.site.time_zone)
        begin = datetime.combine(timezone.localtime(timezone=zone).date(), time(0), tzinfo=zone)
        steps = ScheduledProcedureStep.objects.filter(
            requested_procedure_ref__order_ref__patient_ref=patient,
            status=StepStatus.SCHEDULED,
            scheduled_start__gte=begin,
            scheduled_start__lt=begin + timedelta(days=1),
        )
        for step in steps.order_by("pk"):
            outcome.did("arrived", move_step(step=step, to=StepStatus.ARRIVED, who=peer))
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no examination of the patient is scheduled for today."))


def _known(pid: Segment, peer: Hl7Peer, outcome: Outcome) -> Patient | None:
    """The survivor of whom the PID names; None for somebody of whom nothing waits here."""
    known = patients.find(peer, patients.mrn_of(pid, peer))
    if known is None:
        return None
    outcome.patient = hold_survivor(known)
    return outcome.patient


def _visits(message: Message) -> list[tuple[Segment, Segment]]:
    """Each PID with the PV1 that follows it; A17, which swaps two beds, has two."""
    found: list[tuple[Segment, Segment]] = []
    for segment in message.segments:
        if segment.name == "PID":
            found.append((segment, MISSING))
        elif segment.name == "PV1" and found and not found[-1][1]:
            found[-1] = (found[-1][0], segment)
    if not found:
        raise InvalidValue(_("The message has no %(name)s segment.") % {"name": "PID"}, field="PID")
    return found

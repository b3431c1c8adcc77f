"""ADT about visits, as far as it changes something here: where the patient lies, and whether the patient has come."""

import zoneinfo
from datetime import datetime, time, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.hl7 import patients, values
from integrations.hl7.message import MISSING, Message, Segment, lacks
from integrations.hl7.outcome import Outcome
from integrations.models import Hl7Peer
from radiology.models import Order, OrderStatus, Patient
from radiology.services.orders import change_order
from radiology.services.survivors import hold_survivor
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.steps import move_step

WAITING = (OrderStatus.ACTIVE, OrderStatus.ON_HOLD)
LONGEST_LOCATION = 64


def change_location(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A02 A06 A07 A12 A13 A17: the orders that wait say where the patient lies now, by PV1-3."""
    for pid, pv1 in _visits(message):
        place = values.location(pv1, 3)[:LONGEST_LOCATION]
        if place:
            _tell_orders(pid, peer, outcome, {"current_patient_location": place})
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no order of the patient waits, or the place was known."))


def leave(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A03: the patient has left; the orders that wait name no place any more."""
    for pid, _pv1 in _visits(message):
        _tell_orders(pid, peer, outcome, {"current_patient_location": ""})
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no order of the patient waits, or it named no place."))


def cancel(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A11 A23 A38: the visit does not take place. Orders that came of it lose its place and admission ID, and wait on:
    the system that placed them calls them off.
    """
    for pid, pv1 in _visits(message):
        number = pv1.text(19) or pid.text(18)
        _tell_orders(pid, peer, outcome, {"current_patient_location": "", "admission_id": ""}, admission_id=number)
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no order of this visit waits."))


def arrive(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A10: today's scheduled examinations of the patient have arrived."""
    _move_todays(message, peer, outcome, StepStatus.SCHEDULED, StepStatus.ARRIVED, "arrived")


def take_arrival_back(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A32: the patient is not here after all."""
    _move_todays(message, peer, outcome, StepStatus.ARRIVED, StepStatus.SCHEDULED, "changed")


def _tell_orders(
    pid: Segment, peer: Hl7Peer, outcome: Outcome, changes: dict[str, str], *, admission_id: str = ""
) -> None:
    """Change the orders of a patient that wait; only those of a visit, where it has a number."""
    patient = _known(pid, peer, outcome)
    if patient is None:
        return
    waiting = Order.objects.filter(patient_ref=patient, status__in=WAITING)
    if admission_id:
        waiting = waiting.filter(admission_id=admission_id)
    for order in waiting.order_by("pk"):
        before = order.version
        changed = change_order(
            order=order, version=before, changes=changes, who=peer, accept_warnings=True, asks_safety=False
        )
        if changed.version != before:
            outcome.did("changed", changed)


def _move_todays(
    message: Message, peer: Hl7Peer, outcome: Outcome, before: StepStatus, to: StepStatus, did: str
) -> None:
    for pid, _pv1 in _visits(message):
        patient = _known(pid, peer, outcome)
        if patient is None:
            continue
        zone = zoneinfo.ZoneInfo(peer.site.time_zone)
        begin = datetime.combine(timezone.localtime(timezone=zone).date(), time(0), tzinfo=zone)
        steps = ScheduledProcedureStep.objects.filter(
            requested_procedure_ref__order_ref__patient_ref=patient,
            status=before,
            scheduled_start__gte=begin,
            scheduled_start__lt=begin + timedelta(days=1),
        )
        for step in steps.order_by("pk"):
            outcome.did(did, move_step(step=step, to=to, who=peer))
    if not outcome.changed:
        outcome.note(_("Nothing was changed: no examination of the patient today is in that state."))


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
        raise lacks("PID")
    return found

"""ORM^O01, OMG^O19, OMI^O23: orders placed, changed and called off (IHE RAD-2)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from integrations.hl7 import order_content, patients
from integrations.hl7.acknowledgment import OrderReply
from integrations.hl7.message import Message, lacks
from integrations.hl7.order_content import OrderContent, Wanted
from integrations.hl7.order_lookup import find, key_of, lock_key
from integrations.hl7.outcome import Outcome
from integrations.models import Hl7Peer
from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import Order, OrderOrigin, OrderStatus, Patient, ProcedureStatus, RequestedProcedure
from radiology.services import order_moves
from radiology.services.order_numbers import keep_placer_number
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import add_procedures, change_order, place_order, remove_procedure
from radiology.services.patient_values import LONGEST
from radiology.services.registration import change_patient
from radiology.services.rows import Sought
from radiology.services.survivors import hold_survivor, note_late_arrival
from worklist.models import ScheduledProcedureStep
from worklist.services.step_details import detail_step

_STEPS = Sought(
    ScheduledProcedureStep,
    f'requested_procedure_ref_id IN (SELECT id FROM "{RequestedProcedure._meta.db_table}" WHERE order_ref_id = %s)'
    " ORDER BY id",
    fields=["requested_procedure_ref"],
)
_CALLED_OFF = {ProcedureStatus.CANCELLED, ProcedureStatus.DISCONTINUED}


def process(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """Every order of the message, or none."""
    contents = order_content.read(message, peer)
    for content in contents:
        if content.control not in CONTROLS:
            raise InvalidValue(
                _("The order control code %(code)s is not one that this department acts on.")
                % {"code": content.control or '""'},
                field="ORC-1",
            )
    patient, named = patient_of(message, peer, outcome)
    outcome.patient = patient
    for content in contents:
        handler, reply = CONTROLS[content.control]
        order = handler(content, peer, patient, outcome)
        outcome.order = outcome.order or order
        if named.pk != patient.pk and {"model": order._meta.label, "id": order.pk, "did": "created"} in outcome.changed:
            note_late_arrival(named=named, row=order)
        outcome.orders.append(OrderReply(reply, content.placer_order_number, order.filler_order_number or str(order)))


def patient_of(message: Message, peer: Hl7Peer, outcome: Outcome) -> tuple[Patient, Patient]:
    """Whose order it is, and whom the message names: another one where that was merged away.

    An order does not change who the patient is: a known number with another name and birth date is refused.
    """
    pid = message.require("PID")
    number = patients.mrn_of(pid, peer)
    known = patients.find(peer, number)
    if known is None:
        made = patients.register(peer, pid, number, outcome)
        return made, made
    patients.require_same(known, pid, number)
    return hold_survivor(known), known


def _new(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """NW. Sent again, it places nothing; more procedures under the same accession number are added."""
    if not content.wanted:
        raise lacks("OBR")
    key = key_of(content, peer)
    lock_key(peer, key)
    found = find(content, peer, patient)
    if found is None:
        return _place(content, key, peer, patient, outcome)
    order, is_same = found
    if order.status in {OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR}:
        raise Conflict(_("This order was called off: place it under another number."), field="ORC-2")
    living = _living(order)
    new = [each for each in content.wanted if _match(each.request, living) is None]
    if not new and not is_same:
        raise Conflict(
            _("There is an order with the accession number %(number)s already.") % {"number": content.accession_number},
            field="accession_number",
        )
    if new:
        _add(new, order, peer, outcome)
    else:
        outcome.note(_("This order was here already."))
    return order


def _change(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """XO. Of an order that never came, it is the order."""
    found = find(content, peer, patient)
    if found is None:
        return _new(content, peer, patient, outcome)
    order, _is_same = found
    before = order.version
    order = change_order(
        order=order,
        version=order.version,
        changes=content.values,
        reason=_("The hospital system says so"),
        who=peer,
        accept_warnings=True,
        asks_safety=False,
    )
    if order.version != before:
        outcome.did("changed", order)
    _alert(content, patient, peer, outcome)
    _exchange(content, order, peer, outcome)
    return order


def _exchange(content: OrderContent, order: Order, peer: Hl7Peer, outcome: Outcome) -> None:
    """The procedures of a change: those that are not there are added; the one that they stand for is called off."""
    there = _living(order)
    matched = [(each, _match(each.request, there)) for each in content.wanted]
    for each, procedure in matched:
        if procedure is not None:
            _detail_first(each, procedure, peer, outcome)
    new = [each for each, procedure in matched if procedure is None]
    if not new:
        return
    stand = {procedure.pk for _each, procedure in matched if procedure is not None}
    left = [each for each in there if each.pk not in stand]
    _add(new, order, peer, outcome)
    if len(new) == 1 and len(left) == 1:
        order.refresh_from_db()
        remove_procedure(
            procedure=left[0], version=order.version, reason=_("Exchanged by the hospital system"), who=peer
        )


def _cancel(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """CA: what has not begun. Only the procedures that are named, where the order has others."""
    return _call_off(content, peer, patient, outcome, order_moves.cancel_order)


def _discontinue(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """DC: also what has begun."""
    return _call_off(content, peer, patient, outcome, order_moves.discontinue_order)


def _call_off(
    content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome, whole: Callable[..., Order]
) -> Order:
    order = _require(content, peer, patient)
    before = order.version
    living = _living(order)
    named = [found for each in content.wanted if (found := _match(each.request, living)) is not None]
    others = {each.pk for each in living} - {each.pk for each in named}
    if named and others and content.accession_number:
        for procedure in named:
            order.refresh_from_db()
            order = remove_procedure(procedure=procedure, version=order.version, reason=_reason(), who=peer)
    else:
        order = whole(order=order, reason=_reason(), who=peer)
    _tell(order, before, outcome)
    return order


def _hold(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    order = _require(content, peer, patient)
    before = order.version
    order = order_moves.hold_order(order=order, reason=_("The hospital system says so"), who=peer)
    _tell(order, before, outcome)
    return order


def _release(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    order = _require(content, peer, patient)
    before = order.version
    order = order_moves.release_order(order=order, reason=_("The hospital system says so"), who=peer)
    _tell(order, before, outcome)
    return order


def _status(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """SC: what the placer may decide is done; how far an examination is, this department knows itself."""
    acts: dict[str, Any] = {"CA": _cancel, "DC": _discontinue, "HD": _hold}
    if content.status in acts:
        done: Order = acts[content.status](content, peer, patient, outcome)
        return done
    outcome.note(_("Nothing was changed: how far an examination is, this department says itself."))
    return _require(content, peer, patient)


def _number(content: OrderContent, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    """NA: the number that the hospital system has given an order that was made here (IHE RAD-3)."""
    order = _require(replace(content, placer_order_number=""), peer, patient)
    before = order.version
    order = keep_placer_number(order=order, number=content.placer_order_number, who=peer)
    _tell(order, before, outcome)
    return order


def _place(content: OrderContent, key: str, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> Order:
    numbers = {
        "placer_order_number": content.placer_order_number,
        "filler_order_number": content.filler_order_number,
    }
    order = place_order(
        site=peer.site,
        patient=patient,
        procedures=[each.request for each in content.wanted],
        values={**content.values, **{name: number for name, number in numbers.items() if number}},
        who=peer,
        origin=OrderOrigin.HL7,
        client_key=key,
        accession_number=content.accession_number,
        accept_warnings=True,
        asks_safety=False,
        is_unplaced=True,
    )
    outcome.did("created", order)
    for each, step in zip(content.wanted, _STEPS(order.pk), strict=True):
        _detail(each, step, peer, outcome)
    _alert(content, patient, peer, outcome)
    return order


def _add(new: list[Wanted], order: Order, peer: Hl7Peer, outcome: Outcome) -> None:
    made = add_procedures(
        order=order,
        version=order.version,
        procedures=[each.request for each in new],
        reason=_("The hospital system says so"),
        who=peer,
        accept_warnings=True,
        asks_safety=False,
    )
    outcome.did("changed", order)
    for each, procedure in zip(new, made, strict=True):
        _detail_first(each, procedure, peer, outcome)


def _detail_first(wanted: Wanted, procedure: RequestedProcedure, peer: Hl7Peer, outcome: Outcome) -> None:
    step = ScheduledProcedureStep.objects.filter(requested_procedure_ref=procedure).order_by("pk").first()
    if step is not None:
        _detail(wanted, step, peer, outcome)


def _detail(wanted: Wanted, step: ScheduledProcedureStep, peer: Hl7Peer, outcome: Outcome) -> None:
    outcome.did("scheduled", step)
    if any(wanted.details.values()):
        detail_step(step=step, details=wanted.details, who=peer)


def _alert(content: OrderContent, patient: Patient, peer: Hl7Peer, outcome: Outcome) -> None:
    """OBR-13 stands among the patient's alerts (0010,2000), beside what stood there."""
    if not content.alerts or content.alerts in patient.medical_alerts:
        return
    both = "; ".join(part for part in (patient.medical_alerts, content.alerts) if part)
    if len(both) > LONGEST["medical_alerts"]:
        outcome.note(_("The clinical information (OBR-13) stands with the order alone: the patient's alerts are full."))
        return
    locked = Patient.objects.select_for_update(no_key=True, of=("self",)).get(pk=patient.pk)
    changed = change_patient(who=peer, patient=locked, version=locked.version, values={"medical_alerts": both})
    outcome.did("changed", changed)


def _require(content: OrderContent, peer: Hl7Peer, patient: Patient) -> Order:
    found = find(content, peer, patient)
    if found is None:
        raise NotFound(
            _("There is no order with the number %(number)s.")
            % {"number": content.placer_order_number or content.accession_number or content.filler_order_number},
            field="ORC-2",
        )
    return found[0]


def _match(request: ProcedureRequest, living: Sequence[RequestedProcedure]) -> RequestedProcedure | None:
    """The procedure of an order that is meant: by its id, else by its code, else by its text."""
    code = request.procedure.code if request.procedure else request.code
    for each in living:
        if request.requested_procedure_id:
            is_meant = each.requested_procedure_id == request.requested_procedure_id
        elif code:
            is_meant = each.procedure_code_value == code
        else:
            is_meant = each.requested_procedure_description == request.description
        if is_meant:
            return each
    return None


def _living(order: Order) -> list[RequestedProcedure]:
    return list(order.requested_procedures.exclude(status__in=_CALLED_OFF).order_by("pk"))


def _tell(order: Order, before: int, outcome: Outcome) -> None:
    if order.version != before:
        outcome.did("changed", order)
    else:
        outcome.note(_("The order was so already."))


def _reason() -> str:
    return _("Called off by the hospital system")


Handler = Callable[[OrderContent, Hl7Peer, Patient, Outcome], Order]

# By ORC-1 (HL7 table 0119): what is done, and how an order response answers.
CONTROLS: dict[str, tuple[Handler, str]] = {
    "NW": (_new, "OK"),
    "XO": (_change, "XR"),
    "CA": (_cancel, "CR"),
    "DC": (_discontinue, "DR"),
    "HD": (_hold, "HR"),
    "RL": (_release, "OE"),
    "SC": (_status, "OK"),
    "NA": (_number, "OK"),
}

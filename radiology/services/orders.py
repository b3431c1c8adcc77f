"""Ordering examinations: the one way in for the desk, the ward, REST, HL7 and FHIR.

An order is there with its procedures, its number and its history, or it is not there at all. Whatever is to
the right of us hears of it in the same transaction (radiology/signals.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NeedsConfirmation, NotAllowed, PreconditionFailed
from radiology.models import (
    ApiToken,
    AuditAction,
    Order,
    OrderOrigin,
    OrderStatus,
    Patient,
    ProcedureStatus,
    RequestedProcedure,
    Site,
    User,
)
from radiology.services import audit, order_safety
from radiology.services.accession import lock, next_accession_number, require_free
from radiology.services.order_fields import FIELDS, IDENTIFIER_OF, NUMBERS, as_text, read_values, require_sense
from radiology.services.order_procedures import (
    ProcedureRequest,
    Wanted,
    find_procedures,
    make_procedures,
    require_new,
)
from radiology.services.order_states import move_procedure, name_in_history, record_version
from radiology.services.survivors import hold_survivor, note_late_arrival
from radiology.services.whole import atomic
from radiology.signals import order_changed, order_placed

LONGEST_KEY = 128
CHANGEABLE = {OrderStatus.DRAFT, OrderStatus.ACTIVE, OrderStatus.ON_HOLD, OrderStatus.COMPLETED}
OPEN = {OrderStatus.DRAFT, OrderStatus.ACTIVE, OrderStatus.ON_HOLD}


@atomic()
def place_order(
    *,
    site: Site,
    patient: Patient,
    procedures: Sequence[ProcedureRequest],
    values: Mapping[str, Any] | None = None,
    who: Any = None,
    origin: OrderOrigin = OrderOrigin.DESK,
    client_key: str = "",
    accession_number: str = "",
    issuer_of_accession_number: str = "",
    accept_warnings: bool = False,
    asks_safety: bool = True,
    is_unplaced: bool = False,
    address: str | None = None,
) -> Order:
    """A new order with its procedures; with a `client_key` that made one already, that one.

    `values` are fields of the order by name (order_fields.FIELDS and NUMBERS). `asks_safety` is left out by
    those who speak for a system that has asked already (HL7) or where images were there first. `is_unplaced`: the
    caller has locked the key (`accession.lock`), looked, and found that nothing was made under it. An order for a
    patient who was merged into another is the other's; should that merge be undone, it goes back.

    Raises NotAllowed, InvalidValue (naming the field; several are in its facts as `fields`), Conflict with
    the existing order among its facts as `order`, NeedsConfirmation with `warnings` that were not accepted.
    """
    require_right(who)
    if len(client_key) > LONGEST_KEY or not client_key.isprintable():
        raise InvalidValue(_("The key may have %(most)d characters.") % {"most": LONGEST_KEY}, field="client_key")
    if patient.site_id != site.pk:
        raise InvalidValue(_("The patient belongs to another site."), field="patient")
    named, patient = patient, hold_survivor(patient)
    if client_key and not is_unplaced:
        lock("order", site.pk, client_key)
        earlier = Order.objects.filter(site=site, client_key=client_key).first()
        if earlier is not None:
            return _same(earlier, patient, procedures)
    wanted = find_procedures(site=site, requests=procedures)
    order = Order(
        site=site,
        patient_ref=patient,
        origin=origin,
        client_key=client_key,
        entered_by=who if isinstance(who, User) else None,
        **read_values(values or {}, allowed=(*FIELDS, *NUMBERS)),
    )
    accepted = _require_safe(order, wanted, accept_warnings=accept_warnings, asks=asks_safety)
    number = clean(accession_number)
    order.issuer_of_accession_number = clean(issuer_of_accession_number)[:64]
    if number:
        require_free(site=site, accession_number=number, issuer=order.issuer_of_accession_number)
    order.accession_number = number or next_accession_number(site=site)
    order.save()
    if named.pk != patient.pk:
        note_late_arrival(named=named, row=order)
    made = make_procedures(order=order, wanted=wanted, is_first=True)
    audit.record(
        event="order.placed",
        action=AuditAction.CREATE,
        who=who,
        address=address,
        site_id=site.pk,
        patient_id=patient.pk,
        detail={
            "order": str(order.public_id),
            "accession_number": order.accession_number,
            "origin": origin,
            "accepted": accepted,
        },
    )
    order_placed.send(sender=Order, order=order, procedures=made, who=who)
    return order


@atomic()
def change_order(
    *,
    order: Order,
    version: int,
    changes: Mapping[str, Any],
    reason: str = "",
    who: Any = None,
    accept_warnings: bool = False,
    asks_safety: bool = True,
    address: str | None = None,
) -> Order:
    """The order with other values; what they were and became is kept. Values that are the same change nothing.

    Raises NotAllowed, InvalidValue, PreconditionFailed when it is no longer at `version`, Conflict when it was
    called off (the `order` is among its facts), NeedsConfirmation as `place_order` does.
    """
    require_right(who)
    order = claim_order(order, version)
    if order.status not in CHANGEABLE:
        raise Conflict(
            _("An order that is %(status)s is not changed any more: reinstate it first.")
            % {"status": order.get_status_display()},
            field="status",
            order=order,
        )
    after = read_values(changes, allowed=FIELDS)
    differing = {name: value for name, value in after.items() if getattr(order, name) != value}
    if not differing:
        return order
    for name, number in IDENTIFIER_OF.items():
        if name in differing and number not in after and getattr(order, number):
            differing[number] = ""
    told = {name: [as_text(getattr(order, name)), as_text(value)] for name, value in differing.items()}
    for name, value in differing.items():
        setattr(order, name, value)
    rows = [each for each in _procedures(order) if each.status not in {ProcedureStatus.CANCELLED}]
    _require_safe(order, _as_wanted(rows), accept_warnings=accept_warnings, asks=asks_safety, repeats=False)
    record_version(order=order, changes=told, who=who, reason=clean(reason), written=differing)
    order_changed.send(sender=Order, order=order, procedures=[], changes=told, who=who)
    return order


@atomic()
def add_procedures(
    *,
    order: Order,
    version: int | None,
    procedures: Sequence[ProcedureRequest],
    reason: str = "",
    who: Any = None,
    accept_warnings: bool = False,
    asks_safety: bool = True,
    address: str | None = None,
) -> list[RequestedProcedure]:
    """More procedures under the same accession number. Raises as `change_order` does.

    One that stands in the order already (the same code and side, neither called off nor discontinued) is a
    Conflict, with `order` and `procedure` among its facts.
    """
    require_right(who)
    order = claim_order(order, version)
    if order.status not in OPEN:
        raise Conflict(
            _("Nothing can be added to an order that is %(status)s: place a new one.")
            % {"status": order.get_status_display()},
            field="status",
            order=order,
        )
    wanted = find_procedures(site=order.site, requests=procedures)
    there = [each for each in _procedures(order) if each.status != ProcedureStatus.CANCELLED]
    require_new(order=order, there=there, wanted=wanted)
    _require_safe(order, [*_as_wanted(there), *wanted], accept_warnings=accept_warnings, asks=asks_safety, new=wanted)
    made = make_procedures(order=order, wanted=wanted)
    told = {name_in_history(each): [None, str(each)] for each in made}
    record_version(order=order, changes=told, who=who, reason=clean(reason))
    order_changed.send(sender=Order, order=order, procedures=made, changes=told, who=who)
    return made


@atomic()
def remove_procedure(
    *, procedure: RequestedProcedure, version: int | None, reason: str, who: Any = None, address: str | None = None
) -> Order:
    """Call one procedure off; it stays in the order as cancelled, and an order of which nothing is left is revoked.

    One that is called off already stays so: nothing changes. Raises NotAllowed, InvalidValue without a reason,
    PreconditionFailed, Conflict when it has begun (the `order` is among its facts).
    """
    require_right(who)
    claim_order(procedure.order_ref, version)
    return move_procedure(procedure=procedure, to=ProcedureStatus.CANCELLED, who=who, reason=require_reason(reason))


@atomic()
def restore_procedure(
    *,
    procedure: RequestedProcedure,
    version: int | None,
    reason: str = "",
    who: Any = None,
    address: str | None = None,
) -> Order:
    """Take back that one procedure was called off; an order that had ended with it goes on.

    One that waits to be done stays so: nothing changes. Raises NotAllowed, PreconditionFailed, Conflict when it has
    begun, when its order was entered in error, or when the same was added anew (`order`, `procedure` are facts).
    """
    require_right(who)
    order = claim_order(procedure.order_ref, version)
    rows = {each.pk: each for each in _procedures(order)}
    mine = rows.pop(procedure.pk)
    if mine.status == ProcedureStatus.REQUESTED:
        return order
    if mine.status != ProcedureStatus.CANCELLED or order.status == OrderStatus.ENTERED_IN_ERROR:
        raise Conflict(_("Only what was called off can be taken up again."), field="status", order=order)
    since = _added_since(order, mine)
    anew = [each for each in rows.values() if name_in_history(each) in since]
    try:
        require_new(order=order, there=anew, wanted=_as_wanted([mine]))
    except Conflict as error:
        error.field = "procedure"
        raise
    return move_procedure(procedure=mine, to=ProcedureStatus.REQUESTED, who=who, reason=clean(reason))


def require_right(who: Any) -> None:
    """People and programs need the right; what the server itself does (`who` is no account) needs none."""
    if isinstance(who, User | ApiToken) and not who.may("orders.write"):
        raise NotAllowed(_("You may not place or change orders."))


def require_reason(reason: str) -> str:
    """Why, in at most 200 characters. Raises InvalidValue when nothing was said."""
    said = " ".join(clean(reason).split())
    if not said:
        raise InvalidValue(_("Say why; it is kept with the order."), field="reason")
    if len(said) > 200:
        raise InvalidValue(_("The reason may have 200 characters."), field="reason")
    return said


def claim_order(order: Order, version: int | None) -> Order:
    """The order, locked. Raises PreconditionFailed when it is no longer as the caller read it."""
    found = Order.objects.select_for_update(of=("self",)).select_related("site", "patient_ref").get(pk=order.pk)
    if version is not None and found.version != version:
        raise PreconditionFailed(
            _("Somebody else changed this order meanwhile: look at it again, then repeat your change.")
        )
    return found


def _same(earlier: Order, patient: Patient, procedures: Sequence[ProcedureRequest]) -> Order:
    """What the key made before, if it was this. Raises Conflict with that order for another one."""
    made = earlier.requested_procedures.values_list("procedure_code_value", "procedure_ref__code")
    codes = {code for pair in made for code in pair if code}
    asked = {request.procedure.code if request.procedure else request.code for request in procedures} - {""}
    schemes = {request.scheme for request in procedures if request.procedure is None}
    is_ours = schemes <= {"", "99SINAR"}
    if earlier.patient_ref_id != patient.pk or (is_ours and not asked <= codes):
        raise Conflict(
            _("This key was used for another order: give each order a key of its own."),
            field="client_key",
            order=earlier,
        )
    return earlier


def _procedures(order: Order) -> list[RequestedProcedure]:
    return list(order.requested_procedures.select_related("procedure_ref").order_by("pk"))


def _added_since(order: Order, cancelled: RequestedProcedure) -> set[str]:
    """What was added to the order after a procedure was called off, by its name in the history."""
    name, added = name_in_history(cancelled), set()
    for changes in order.versions.order_by("-version", "-pk").values_list("changes", flat=True):
        if changes.get(name, [None, None])[1] == ProcedureStatus.CANCELLED:
            break
        added |= {each for each, change in changes.items() if each.startswith("procedure ") and change[0] is None}
    return added


def _as_wanted(rows: Sequence[RequestedProcedure]) -> list[Wanted]:
    return [
        Wanted(
            ProcedureRequest(
                code=each.procedure_code_value,
                scheme=each.procedure_coding_scheme,
                description=each.requested_procedure_description,
                modality=each.modality,
                laterality=each.laterality,
            ),
            each.procedure_ref,
        )
        for each in rows
    ]


def _require_safe(
    order: Order,
    wanted: Sequence[Wanted],
    *,
    accept_warnings: bool,
    asks: bool = True,
    repeats: bool = True,
    new: Sequence[Wanted] | None = None,
) -> list[str]:
    """The codes of the warnings that were accepted.

    Raises InvalidValue for answers that are missing or make no sense, NeedsConfirmation for warnings.
    """
    require_sense(order)
    today = timezone.localdate()
    for name in ("last_menstrual_date", "egfr_date"):
        day = getattr(order, name)
        if day is not None and day > today:
            raise InvalidValue(_("This day has not come yet."), field=name)
    if not asks:
        return []
    entries = [each.procedure for each in wanted]
    missing = order_safety.missing_answers(patient=order.patient_ref, site=order.site, procedures=entries, order=order)
    if missing:
        name = next(iter(missing))
        raise InvalidValue(missing[name], field=name, fields=missing)
    warnings = order_safety.warnings_of(
        patient=order.patient_ref,
        site=order.site,
        order=order,
        procedures=entries,
        codes=[each.code for each in (wanted if new is None else new)] if repeats else [],
    )
    if warnings and not accept_warnings:
        raise NeedsConfirmation(
            " ".join(each.message for each in warnings),
            field="accept_warnings",
            warnings=order_safety.as_facts(warnings),
        )
    return [each.code for each in warnings]

"""Questions about patients: QRY^A19, and QBP of IHE PDQ (ITI-21) and PIX (ITI-9), HL7 v2 chapters 3 and 5."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from integrations.hl7 import patients
from integrations.hl7.message import Message, Repetition, Segment
from integrations.hl7.outcome import Outcome, Response
from integrations.hl7.outgoing import values as written
from integrations.hl7.outgoing.writing import Composite, Value, Writer
from integrations.hl7.values import identifiers
from integrations.models import Hl7Peer
from radiology.dicom import PersonName
from radiology.errors import InvalidValue, NotFound
from radiology.models import AuditAction, Patient, PatientIdentifier, PatientNameWord
from radiology.services import audit
from radiology.services.survivors import survivor_of, survivors_of_numbers

MOST = 50
FOUND, NOTHING = "OK", "NF"  # HL7 table 0208


def find_candidates(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """QBP^Q22: the patients that fit (PDQ). A page of them where there are more than asked for (RCP-2, DSC)."""
    qpd = message.require("QPD")
    found = _fitting(qpd, peer)
    limit = _limit(message.first("RCP"))
    after = message.first("DSC").text(1)
    if after:
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise InvalidValue(_("This continuation pointer was not given by us."), field="DSC-1")
        found = found.filter(pk__gt=int(after))
    rows = list(found.prefetch_related("identifiers").order_by("pk")[: limit + 1])
    page = rows[:limit]
    more = [_dsc(peer, page[-1])] if len(rows) > limit else []
    outcome.response = _answer("RSP^K22^RSP_K21", qpd, [*_pids(page, peer), *more], peer)
    _note(page, peer, outcome)


def get_demographics(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """QBP^Q21: who has the number of QPD-3."""
    qpd = message.require("QPD")
    patient = _known(qpd.value(3), peer)
    page = [patient] if patient is not None else []
    outcome.response = _answer("RSP^K21^RSP_K21", qpd, _pids(page, peer), peer)
    _note(page, peer, outcome)


def get_identifiers(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """QBP^Q23: the other numbers of whom QPD-3 names (PIX), of the domains in QPD-4 where some are named there.

    Raises NotFound for a number that nobody has, as PIX wants it (AE).
    """
    qpd = message.require("QPD")
    patient = _known(qpd.value(3), peer)
    if patient is None:
        raise NotFound(_("Nobody has the number %(number)s.") % {"number": qpd.text(3)}, field="QPD-3")
    asked = {each.text(4) or each.text(1) for each in qpd.repetitions(4)} - {""}
    numbers = [
        each
        for each in written.identifiers(patient)
        if each[0] != qpd.text(3) and (not asked or _issuer(each) in asked)
    ]
    nameless: Composite = ("", "", "", "", "", "", "S")
    pid = [Writer(peer).segment("PID", {3: numbers, 5: [nameless]})] if numbers else []
    outcome.response = _answer("RSP^K23^RSP_K23", qpd, pid, peer)
    _note([patient], peer, outcome)


def query_patient(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """QRY^A19: who is named in QRD-8, by number or by name."""
    qrd = message.require("QRD")
    who = qrd.value(8)
    if not who:
        raise InvalidValue(_("The question names nobody."), field="QRD-8")
    found = {patient.pk: patient for each in qrd.repetitions(8) if (patient := _known_by_xcn(each, peer)) is not None}
    if not found and who.text(2):
        rows = _visible(peer).filter(*_named([who.text(2), who.text(3)])).prefetch_related("identifiers")
        found = {row.pk: row for row in rows.order_by("pk")[:MOST]}
    page = list(found.values())
    copied = Writer(peer).segment("QRD", _as_asked(qrd))
    outcome.response = Response("ADR^A19^ADR_A19", [copied, *_pids(page, peer)])
    _note(page, peer, outcome)


@dataclass(frozen=True)
class _Asked:
    """One parameter of QPD-3: @PID.5.1^SMITH."""

    field: int
    component: int
    value: str


def _fitting(qpd: Segment, peer: Hl7Peer) -> QuerySet[Patient]:
    asked = [_parameter(each) for each in qpd.repetitions(3)]
    if not asked:
        raise InvalidValue(_("The question says nothing of the patient."), field="QPD-3")
    found = _visible(peer)
    names: list[str] = []
    number = issuer = ""
    for each in asked:
        if each.field == 3 and each.component == 1:
            number = each.value
        elif each.field == 3:
            issuer = issuer or (each.value if each.component == 4 else "")
        elif each.field == 5:
            names.append(each.value)
        elif each.field == 7:
            found = found.filter(patient_birth_date=each.value[:8])
        elif each.field == 8:
            found = found.filter(patient_sex=patients.SEXES.get(each.value.upper(), each.value.upper()))
        elif each.field == 11:
            found = found.filter(patient_address__icontains=each.value)
        elif each.field == 13:
            found = found.filter(patient_telephone_numbers__contains=each.value)
        else:
            told = _("Patients cannot be searched by PID-%(field)d.") % {"field": each.field}
            raise InvalidValue(told, field="QPD-3")
    if not (number or names or {3, 7} & {each.field for each in asked}):
        raise InvalidValue(_("Ask by name, number or birth date."), field="QPD-3")
    if number:
        found = found.filter(pk__in=_keys_of_number(number, issuer, peer))
    elif issuer:
        raise InvalidValue(_("An issuer alone names nobody: give the number too."), field="QPD-3")
    if names:
        found = found.filter(*_named(names))
    return found


def _parameter(said: Repetition) -> _Asked:
    name, value = said.text(1), said.text(2)
    parts = name.removeprefix("@").split(".")
    if (
        parts[0] != "PID"
        or len(parts) < 2
        or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts[1:])
    ):
        raise InvalidValue(_("%(name)s is no field of PID.") % {"name": name or '""'}, field="QPD-3")
    if not value:
        raise InvalidValue(_("%(name)s has no value.") % {"name": name}, field="QPD-3")
    return _Asked(int(parts[1]), int(parts[2]) if len(parts) > 2 else 1, value)


def _visible(peer: Hl7Peer) -> QuerySet[Patient]:
    return Patient.objects.visible_to(peer).current().filter(provisional_for="")


def _named(names: list[str]) -> list[Q]:
    """Each word must be one of the name's; `*` at its end stands for anything."""
    found = []
    for name in names:
        for word in PersonName(name.replace("*", "")).words:
            lookup = {"word__startswith": word} if name.endswith("*") else {"word": word}
            found.append(Q(pk__in=PatientNameWord.objects.filter(**lookup).values("patient_ref")))
    if not found:
        raise InvalidValue(_("The name has no letters."), field="QPD-3")
    return found


def _keys_of_number(number: str, issuer: str, peer: Hl7Peer) -> list[int]:
    """Whose number it is or was: the MRN, another number, that of a patient who was merged away."""
    own = Patient.objects.filter(site=peer.site_id, patient_id=number)
    other = PatientIdentifier.objects.filter(patient_ref__site=peer.site_id, value=number)
    if issuer:
        own, other = own.filter(issuer_of_patient_id=issuer), other.filter(issuer=issuer)
    keys = list(own.values_list("pk", flat=True)[:MOST]) + list(other.values_list("patient_ref", flat=True)[:MOST])
    return keys + survivors_of_numbers([number], issuer=issuer, sites=[peer.site.pk])


def _known(number: Repetition, peer: Hl7Peer) -> Patient | None:
    """Whose number a CX is. Raises InvalidValue for none."""
    found = identifiers([number])
    if not found:
        raise InvalidValue(_("The question names nobody."), field="QPD-3")
    keys = _keys_of_number(found[0].value, found[0].issuer, peer)
    rows = list(_visible(peer).filter(pk__in=keys).prefetch_related("identifiers").order_by("pk")[:2])
    if len(rows) > 1:
        raise InvalidValue(_("Several patients have this number: name its issuer."), field="QPD-3")
    return survivor_of(rows[0]) if rows else None


def _known_by_xcn(who: Repetition, peer: Hl7Peer) -> Patient | None:
    if not who.text(1):
        return None
    keys = _keys_of_number(who.text(1), who.text(9), peer)
    return _visible(peer).filter(pk__in=keys).prefetch_related("identifiers").order_by("pk").first()


def _pids(rows: list[Patient], peer: Hl7Peer) -> list[str]:
    writer = Writer(peer)
    return [written.pid(writer, row, position=position) for position, row in enumerate(rows, start=1)]


def _answer(kind: str, qpd: Segment, segments: list[str], peer: Hl7Peer) -> Response:
    """With the query's tag and how it went (QAK), and the question as it was asked (QPD)."""
    writer = Writer(peer)
    qak = writer.segment("QAK", {1: qpd.text(2), 2: FOUND if segments else NOTHING})
    return Response(kind, [qak, writer.segment("QPD", _as_asked(qpd)), *segments])


def _as_asked(segment: Segment) -> dict[int, Value]:
    """The fields of a question, to be repeated in its answer."""
    fields: dict[int, Value] = {}
    for number in range(1, len(segment.fields)):
        if repetitions := segment.repetitions(number):
            said: list[Composite] = [tuple(each.parts) for each in repetitions]
            fields[number] = said
    return fields


def _dsc(peer: Hl7Peer, last: Patient) -> str:
    return Writer(peer).segment("DSC", {1: str(last.pk), 2: "I"})


def _issuer(number: Composite) -> str:
    """CX.4: a namespace, or a universal ID."""
    authority = number[3]
    return authority if isinstance(authority, str) else authority[1]


def _limit(rcp: Segment) -> int:
    said = rcp.text(2)
    return min(int(said), MOST) if said.isascii() and said.isdigit() and len(said) < 6 and int(said) > 0 else MOST


def _note(rows: list[Patient], peer: Hl7Peer, outcome: Outcome) -> None:
    """That somebody was told of these patients."""
    outcome.patient = rows[0] if len(rows) == 1 else None
    audit.record(
        event="patient.queried",
        action=AuditAction.READ,
        who=peer,
        site_id=peer.site_id,
        patient_id=rows[0].pk if len(rows) == 1 else None,
        detail={"found": len(rows)},
    )


Handler = Callable[[Message, Hl7Peer, Outcome], None]

EVENTS: dict[tuple[str, str], Handler] = {
    ("QRY", "A19"): query_patient,
    ("QBP", "Q21"): get_demographics,
    ("QBP", "Q22"): find_candidates,
    ("QBP", "Q23"): get_identifiers,
}

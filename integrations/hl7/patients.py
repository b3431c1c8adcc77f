"""The patient that a PID segment means: found, registered, or brought up to date (IHE RAD-1, RAD-12; PIX ITI-8)."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils.translation import gettext as _

from integrations.hl7 import values
from integrations.hl7.message import Segment
from integrations.hl7.outcome import Outcome
from integrations.hl7.values import Identifier
from integrations.models import Hl7Peer, UnknownPatient
from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import IdentifierKind, Patient
from radiology.services.accession import lock
from radiology.services.identity import Identity, OtherIdentifier, means
from radiology.services.registration import change_patient, register_patient
from radiology.services.rows import Sought
from radiology.services.survivors import hold_survivor, survivor_of

# HL7 table 0203: a patient's number within a hospital, in the order in which one is chosen as the MRN.
MRN_KINDS = ("MR", "PI", "PT", "")
KINDS = {
    "NI": IdentifierKind.NIK,
    "NIK": IdentifierKind.NIK,
    "NNIDN": IdentifierKind.NIK,
    "BPJS": IdentifierKind.BPJS,
    "PPN": IdentifierKind.PASSPORT,
    "MR": IdentifierKind.MRN,
}
DIGITS = {IdentifierKind.NIK: 16, IdentifierKind.BPJS: 13}
# HL7 table 0001; what is not listed stays as it is and must be right.
SEXES = {"U": "", "A": "O", "N": "O", "O": "O", "C": "O"}
_WITH_NUMBER = "site_id = %s AND patient_id = %s AND provisional_for = ''"
_OF_ANY_ISSUER = Sought(Patient, f"{_WITH_NUMBER} ORDER BY id LIMIT 3")
_OF_ISSUER = Sought(Patient, f"{_WITH_NUMBER} AND issuer_of_patient_id IN ('', %s) ORDER BY id LIMIT 3")


def numbers_of(segment: Segment, peer: Hl7Peer, *, field: int = 3, instead: int = 2) -> list[Identifier]:
    """A patient's numbers, the MRN first. `instead` is where senders of 2.2 put it. Raises InvalidValue."""
    default = peer.issuer_of_patient_id
    found = values.identifiers(segment.repetitions(field), default_issuer=default)
    if not found and instead:
        found = values.identifiers(segment.repetitions(instead), default_issuer=default)

    for number in found:
        if not (number.value.isprintable() and number.issuer.isprintable()):
            raise InvalidValue(_("A number has no control characters."), field=f"{segment.name}-{field}")

    def rank(number: Identifier) -> tuple[bool, int]:
        kind = MRN_KINDS.index(number.kind) if number.kind in MRN_KINDS else len(MRN_KINDS)
        return number.issuer != default, kind

    return sorted(found, key=rank)


def mrn_of(segment: Segment, peer: Hl7Peer, *, field: int = 3, instead: int = 2) -> Identifier:
    """The MRN. Raises InvalidValue when there is none."""
    numbers = numbers_of(segment, peer, field=field, instead=instead)
    if not numbers:
        raise InvalidValue(
            _("The message names no patient: there is no number."), field=f"{segment.name or 'PID'}-{field}"
        )
    return numbers[0]


def find(peer: Hl7Peer, number: Identifier) -> Patient | None:
    """The patient who has that number, possibly merged away since. Until the transaction ends nobody else makes one.

    A number without issuer is anybody's. Raises InvalidValue when it is that of several.
    """
    known = _numbered(peer, number)
    if not known:
        lock("patient", peer.site_id, number.value)
        known = _numbered(peer, number)
    if len(known) > 1:
        raise InvalidValue(
            _("Several patients have this number: name its issuer (PID-3.4)."), field="issuer_of_patient_id"
        )
    return known[0] if known else None


def _numbered(peer: Hl7Peer, number: Identifier) -> list[Patient]:
    """Those whom a number may mean; only those of its issuer, if there are such."""
    if number.issuer:
        known = _OF_ISSUER(peer.site_id, number.value, number.issuer)
    else:
        known = _OF_ANY_ISSUER(peer.site_id, number.value)
    for each in known:
        each.site = peer.site
    return [each for each in known if each.issuer_of_patient_id == number.issuer] or known


def require_same(known: Patient, pid: Segment, number: Identifier) -> None:
    """Make sure that a message about something else names whom it says. Raises Conflict for another person's number."""
    said = values_of(pid)
    identity = Identity(
        patient_id=known.patient_id,
        issuer_of_patient_id=known.issuer_of_patient_id,
        patient_name=said.get("patient_name", ""),
        patient_birth_date=said.get("patient_birth_date", ""),
    )
    if identity.patient_name and not means(known, identity):
        raise Conflict(
            _("The number %(number)s is that of another patient: the name and the birth date differ.")
            % {"number": number.value},
            field="patient_id",
        )


def find_or_register(peer: Hl7Peer, pid: Segment, outcome: Outcome) -> tuple[Patient, bool]:
    """The survivor of whom a PID names, registered when nobody has the number; whether it was.

    Raises InvalidValue; NotFound when the peer's messages about unknown patients are to be held.
    """
    number = mrn_of(pid, peer)
    known = find(peer, number)
    if known is not None:
        return survivor_of(known), False
    return register(peer, pid, number, outcome), True


def register(peer: Hl7Peer, pid: Segment, number: Identifier, outcome: Outcome) -> Patient:
    """A new patient with `number` and what else the PID says. Raises as `find_or_register` does."""
    if peer.unknown_patient == UnknownPatient.HOLD:
        raise NotFound(
            _("Nobody has the number %(number)s: register the patient, then process this message again.")
            % {"number": number.value},
            field="patient_id",
        )
    patient = register_patient(
        who=peer,
        site=peer.site,
        values={**values_of(pid), "patient_id": number.value, "issuer_of_patient_id": number.issuer},
        identifiers=[_as_given(each) for each in numbers_of(pid, peer) if each != number],
        despite_duplicates=True,
        reason=_("The hospital system says so"),
    )
    outcome.did("created", patient)
    return patient


def update(peer: Hl7Peer, pid: Segment, patient: Patient, outcome: Outcome) -> Patient:
    """Bring a patient up to what a PID says. Its number stays, and so do other numbers that the PID leaves out.

    Most messages about a patient are about a visit, and say nothing new of the person: those end here.
    """
    held = hold_survivor(patient)
    said = values_of(pid)
    numbers = [_as_given(each) for each in numbers_of(pid, peer) if (each.value, each.issuer) != _own(held)]
    if not _of_these_new(numbers, held) and all(getattr(held, name) == value for name, value in said.items()):
        return held
    # Held against those who edit at the same moment, who then are told.
    before = Patient.objects.select_for_update(no_key=True).values_list("version", flat=True).get(pk=held.pk)
    changed = change_patient(
        who=peer,
        patient=held,
        version=before,
        values=said,
        identifiers=_of_these_new(numbers, held) or None,
        reason=_("The hospital system says so"),
    )
    if changed.version != before:
        outcome.did("changed", changed)
    return changed


def _of_these_new(numbers: Sequence[dict[str, str]], held: Patient) -> list[dict[str, str]]:
    """All other numbers of a patient from now on; none when it has all of `numbers` already.

    A number that led here through a merge stands among the others already.
    """
    if not numbers:
        return []
    known = [
        {"kind": each.kind, "value": each.value, "issuer": each.issuer} for each in held.identifiers.order_by("pk")
    ]
    new = [each for each in numbers if not _is_known(each, known)]
    return [*known, *new] if new else []


def _own(patient: Patient) -> tuple[str, str]:
    return patient.patient_id, patient.issuer_of_patient_id


def values_of(pid: Segment) -> dict[str, str]:
    """What a PID says of a patient, by field of ours. What it leaves empty is not among them; `""` is empty text."""
    found: dict[str, str] = {}
    if pid.value(5).is_null:
        found["patient_name"] = ""
    elif name := values.person_name(pid.repetitions(5)):
        found["patient_name"] = name
    if pid.value(6).is_null:
        found["patient_mother_birth_name"] = ""
    elif name := values.person_name(pid.repetitions(6)):
        found["patient_mother_birth_name"] = name
    born = pid.given(7)
    if born is not None and (not born or re.match(r"\d{8}", born)):  # a year alone is no DICOM date
        found["patient_birth_date"] = born[:8]
    elif born is not None and not re.fullmatch(r"\d{4}(\d{2})?", born):
        found["patient_birth_date"] = born  # and is refused
    sex = pid.given(8)
    if sex is not None:
        found["patient_sex"] = SEXES.get(sex.upper(), sex)
    addresses = [values.address(each) for each in pid.repetitions(11)][:1]
    telephones = [values.telephone(each) for field in (13, 14) for each in pid.repetitions(field)]
    for name, field, written in (("patient_address", 11, addresses), ("patient_telephone_numbers", 13, telephones)):
        if pid.value(field).is_null:
            found[name] = ""
        elif text := "; ".join(dict.fromkeys(filter(None, written))):
            found[name] = text
    return found


def _as_given(number: Identifier) -> dict[str, str]:
    kind = KINDS.get(number.kind) or OtherIdentifier(number.value, number.issuer).kind
    digits = DIGITS.get(kind)
    if digits and re.fullmatch(rf"\d{{{digits}}}", number.value, re.ASCII) is None:
        kind = IdentifierKind.OTHER
    return {"kind": kind.value, "value": number.value, "issuer": number.issuer}


def _is_known(number: dict[str, str], known: Iterable[dict[str, Any]]) -> bool:
    return any(each["value"] == number["value"] and each["issuer"] == number["issuer"] for each in known)

"""ADT that we send: patients registered, changed, merged, renumbered here (HL7 v2 chapter 3; IHE RAD-12, ITI-8)."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from integrations.hl7.outgoing import values
from integrations.hl7.outgoing.writing import Writer, Written
from integrations.models import Hl7Peer, SentVersion
from radiology.models import IdentifierKind, Patient

# The message structure of each event (HL7 table 0354).
STRUCTURES = {
    "A04": "ADT_A01",
    "A08": "ADT_A01",
    "A28": "ADT_A05",
    "A31": "ADT_A05",
    "A40": "ADT_A39",
    "A47": "ADT_A30",
}
NOT_APPLICABLE = "N"  # HL7 table 0004
# What PID says, so that a change of anything else is not told.
SAID = {
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "patient_address",
    "patient_telephone_numbers",
    "patient_mother_birth_name",
    "identifiers",
}
NUMBER = ("patient_id", "issuer_of_patient_id")


def registered(peer: Hl7Peer, patient: Patient) -> Written:
    """A28 or A04."""
    return _about(Writer(peer), peer.patient_events.split()[0], patient)


def changed(peer: Hl7Peer, patient: Patient, changes: Mapping[str, Any]) -> Written:
    """A31 or A08: how the patient is now. What was emptied is written as to be deleted."""
    cleared = frozenset(name for name, (_before, after) in changes.items() if not after)
    return _about(Writer(peer), peer.patient_events.split()[1], patient, cleared)


def renumbered(peer: Hl7Peer, patient: Patient, changes: Mapping[str, Any]) -> Written:
    """A47: MRG-1 is the number until now."""
    number, issuer = ((changes[name][0] or "") if name in changes else getattr(patient, name) for name in NUMBER)
    return _instead_of(Writer(peer), "A47", patient, number, issuer, patient.patient_name)


def merged(peer: Hl7Peer, survivor: Patient, gone: Patient) -> Written:
    """A40: MRG-1 is whom the survivor of PID-3 takes in."""
    return _instead_of(Writer(peer), "A40", survivor, gone.patient_id, gone.issuer_of_patient_id, gone.patient_name)


def _about(writer: Writer, event: str, patient: Patient, cleared: frozenset[str] = frozenset()) -> Written:
    segments = [
        _event(writer, event),
        values.pid(writer, patient, cleared=cleared),
        writer.segment("PV1", {1: "1", 2: NOT_APPLICABLE}),
    ]
    return writer.message("ADT", event, _structure(writer, event), segments)


def _instead_of(writer: Writer, event: str, patient: Patient, number: str, issuer: str, name: str) -> Written:
    old = values.identifier(number, issuer, values.KINDS[IdentifierKind.MRN])
    spelt = values.names(name)[:1] if writer.is_since(SentVersion.V2_3_1) else ""
    segments = [
        _event(writer, event),
        values.pid(writer, patient),
        writer.segment("MRG", {1: [old], 7: spelt}),
    ]
    return writer.message("ADT", event, _structure(writer, event), segments)


def _event(writer: Writer, event: str) -> str:
    return writer.segment("EVN", {1: event, 2: writer.moment(timezone.now())})


def _structure(writer: Writer, event: str) -> str:
    """Before 2.4 all of these were of the first structure."""
    structure = STRUCTURES[event]
    return "ADT_A01" if structure == "ADT_A05" and not writer.is_since(SentVersion.V2_4) else structure

"""Values of DICOM as data types of HL7 v2: the way back of integrations.hl7.values (IHE RAD TF-2 Appendix B)."""

import re

from integrations.hl7.outgoing.writing import DELETE, Component, Composite, Writer
from integrations.models import SentVersion
from radiology.dicom import PersonName
from radiology.models import IdentifierKind, Order, Patient

# HL7 table 0203.
KINDS: dict[str, str] = {
    IdentifierKind.NIK: "NI",
    IdentifierKind.BPJS: "BPJS",
    IdentifierKind.PASSPORT: "PPN",
    IdentifierKind.MRN: "MR",
    IdentifierKind.OTHER: "U",
}
# XPN-8, by component group.
SPELLINGS = ("A", "I", "P")
NAMESPACE = "SINAR"
OUR_CODES = "99SINAR"
LOCAL_CODES = "L"


def identifier(number: str, issuer: str, kind: str) -> Composite:
    """CX."""
    return (number, "", "", authority(issuer), kind)


def authority(issuer: str) -> Component:
    """HD: a namespace, or a universal ID where it is an OID."""
    if re.fullmatch(r"\d+(\.\d+){2,}", issuer):
        return ("", issuer, "ISO")
    return issuer


def identifiers(patient: Patient) -> list[Composite]:
    """PID-3: the MRN first, then the other numbers."""
    own = identifier(patient.patient_id, patient.issuer_of_patient_id, KINDS[IdentifierKind.MRN])
    others = [
        identifier(each.value, each.issuer, KINDS.get(each.kind, "U"))
        for each in sorted(patient.identifiers.all(), key=lambda each: each.pk)
    ]
    return [own, *others]


def names(patient_name: str) -> list[Composite]:
    """XPN, a repetition for each group; HL7 has suffix before prefix."""
    name = PersonName(patient_name)
    found: list[Composite] = []
    for number, group in enumerate(name.groups):
        if group:
            family, given, middle, prefix, suffix = name.components(number)
            spelling = SPELLINGS[number] if number else ""
            found.append((family, given, middle, suffix, prefix, "", "L", spelling))
    return found


def person(written: str, number: str = "") -> tuple[str, ...]:
    """XCN of a person by name (PN), number, or both; of one without either nothing."""
    if not written.strip("^= "):
        return (number,) if number else ()
    family, given, middle, prefix, suffix = PersonName(written).components()
    return (number, family, given, middle, suffix, prefix)


def or_delete(text: str, *, was_there: bool) -> str:
    """A text; where it was taken away, the order to delete it."""
    return DELETE if was_there and not text else text


def filler_number(order: Order) -> str:
    """ORC-3: what the order is called here."""
    return order.filler_order_number or order.accession_number or str(order.public_id)


def pid(writer: Writer, patient: Patient, *, cleared: frozenset[str] = frozenset(), position: int = 1) -> str:
    """PID. `cleared` are fields that were emptied, which the receiver is to empty too; `position` is PID-1."""

    def said(name: str) -> str:
        return or_delete(getattr(patient, name), was_there=name in cleared)

    spelt, mother = names(patient.patient_name), names(patient.patient_mother_birth_name)
    if not writer.is_since(SentVersion.V2_3_1):
        spelt, mother = spelt[:1], mother[:1]  # there PID-5 and PID-6 do not repeat
    return writer.segment(
        "PID",
        {
            1: str(position),
            3: identifiers(patient),
            5: spelt,
            6: mother or said("patient_mother_birth_name"),
            7: said("patient_birth_date")[:8],
            8: patient.patient_sex or "U",
            11: said("patient_address"),
            13: said("patient_telephone_numbers"),
        },
    )

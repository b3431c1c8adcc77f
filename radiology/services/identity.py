"""Whose is it? Patients found or made by the identity that images and messages give them."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from radiology.dicom import PersonName, fold, parse_da
from radiology.models import IdentifierKind, Patient, PatientIdentifier, PatientNameWord, Site
from radiology.services.patients import derived_values, name_words
from radiology.services.rows import Sought, Statement, insert_missing
from radiology.services.survivors import hold_survivor, survivor_of


@dataclass(frozen=True)
class OtherIdentifier:
    """One more identifier of a patient: an item of OtherPatientIDsSequence (0010,1002)."""

    value: str
    issuer: str = ""

    @property
    def kind(self) -> IdentifierKind:
        """What kind of number this is, as its issuer says."""
        issuer = self.issuer.casefold()
        return next((kind for word, kind in KINDS.items() if word in issuer), IdentifierKind.OTHER)


_NUMBERED = Sought(
    Patient,
    "site_id = %s AND patient_id = %s AND provisional_for = ''"
    " AND (%s::varchar = '' OR issuer_of_patient_id IN ('', %s::varchar)) ORDER BY id LIMIT 3",
)

_KNOWN_NUMBERS = Statement(
    "SELECT DISTINCT patient_id FROM radiology_patient"
    " WHERE site_id = %s AND patient_id = ANY(%s::varchar[]) AND provisional_for = ''"
)

# What stands in the issuer of numbers that everybody knows; SATUSEHAT writes .../id/nik.
KINDS = {
    "nik": IdentifierKind.NIK,
    "kemendagri": IdentifierKind.NIK,
    "bpjs": IdentifierKind.BPJS,
    "passport": IdentifierKind.PASSPORT,
    "paspor": IdentifierKind.PASSPORT,
}


@dataclass(frozen=True)
class Identity:
    """What somebody says of a patient (PS3.3 C.2.2, C.2.3). `patient_id` may be empty."""

    patient_id: str
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    trusted: bool = True
    others: tuple[OtherIdentifier, ...] = ()


def same_person(patient: Patient, identity: Identity) -> bool:
    """Whether `identity` may be `patient`: the same id, and not both another name and birth date.

    A birth date that one side leaves out confirms nothing, so another name then counts as another
    person; a name that one side leaves out contradicts nothing.
    """
    if patient.patient_id != identity.patient_id:
        return False
    issuers = {patient.issuer_of_patient_id, identity.issuer_of_patient_id} - {""}
    if len(issuers) > 1:
        return False
    if _same_name(patient.patient_name, identity.patient_name):
        return True
    born = parse_da(identity.patient_birth_date)
    return born is not None and born == patient.birth_date


def patient_for_study(*, site: Site, identity: Identity, study_instance_uid: str) -> Patient:
    """The patient that a new study belongs to, made when there is none.

    An identity that is empty, ambiguous or contradicts the patient of that id gets a provisional
    patient, which is that study's alone. One who was merged into another is that other. Concurrent
    callers get the same row, which no merge takes away from them.
    """
    if not identity.patient_id or not identity.trusted:
        return _provisional(site, identity, study_instance_uid)
    known = patients_numbered(site, identity)
    if not known:
        [made] = _insert(site, [(identity, "")])
        if made is not None:  # no one else sees it, so no merge can take it away
            _keep_identifiers(made, identity)
            return made
        known = patients_numbered(site, identity)
    if len(known) == 1 and means(known[0], identity):
        patient = hold_survivor(known[0])
        _keep_identifiers(patient, identity)
        return patient
    return _provisional(site, identity, study_instance_uid)


def patients_for_studies(*, site: Site, wanted: Sequence[tuple[Identity, str]]) -> list[Patient]:
    """`patient_for_study` for each identity and StudyInstanceUID; those of numbers that are new are made together."""
    first = {one.patient_id: one for one, _ in reversed(wanted) if one.patient_id and one.trusted}
    known = {number for (number,) in _KNOWN_NUMBERS(site.pk, sorted(first))}
    new = [one for number, one in sorted(first.items()) if number not in known]
    made = dict(zip(map(id, new), _insert(site, [(one, "") for one in new]), strict=True))
    for one in new:
        patient = made[id(one)]
        if patient is not None:  # no one else sees it, so no merge can take it away
            _keep_identifiers(patient, one)
    return [
        made.get(id(one)) or patient_for_study(site=site, identity=one, study_instance_uid=study)
        for one, study in wanted
    ]


def means(patient: Patient, identity: Identity) -> bool:
    """Whether `identity` is `patient`, by its own name or by that of whom it was merged into."""
    if same_person(patient, identity):
        return True
    survivor = survivor_of(patient)
    renamed = Patient(
        patient_id=patient.patient_id,
        issuer_of_patient_id=patient.issuer_of_patient_id,
        patient_name=survivor.patient_name,
        birth_date=survivor.birth_date,
    )
    return survivor.pk != patient.pk and same_person(renamed, identity)


def survivor_named(*, site: Site, identity: Identity) -> Patient | None:
    """Whom a merged patient that `identity` names was merged into; None when it names no merged one."""
    if not identity.patient_id or not identity.trusted:
        return None
    known = patients_numbered(site, identity)
    if len(known) != 1 or known[0].merged_into_id is None or not means(known[0], identity):
        return None
    return survivor_of(known[0])


def patients_numbered(site: Site, identity: Identity) -> list[Patient]:
    """The patients whom this id may mean, merged ones too: a key without issuer matches any issuer."""
    issuer = identity.issuer_of_patient_id
    patients = _NUMBERED(site.pk, identity.patient_id, issuer, issuer)
    exact = [each for each in patients if each.issuer_of_patient_id == identity.issuer_of_patient_id]
    return exact or patients


def _provisional(site: Site, identity: Identity, study_instance_uid: str) -> Patient:
    found = Patient.objects.filter(site=site, provisional_for=study_instance_uid).first()
    if found is None:
        _insert(site, [(identity, study_instance_uid)])
        found = Patient.objects.get(site=site, provisional_for=study_instance_uid)
        _keep_identifiers(found, identity)
    return hold_survivor(found)


def _keep_identifiers(patient: Patient, identity: Identity) -> None:
    if identity.others:
        PatientIdentifier.objects.bulk_create(
            [
                PatientIdentifier(patient_ref=patient, kind=each.kind, value=each.value, issuer=each.issuer)
                for each in identity.others
            ],
            ignore_conflicts=True,
        )


def _insert(site: Site, wanted: Sequence[tuple[Identity, str]]) -> list[Patient | None]:
    """The new patients, each of an identity and for what it is provisional; None where there is one by now."""
    patients = [_new(site, identity, provisional_for) for identity, provisional_for in wanted]
    made = insert_missing(patients, returning="public_id")
    words: list[PatientNameWord] = []
    for patient in patients:
        patient.pk = made.get(patient.public_id)
        if patient.pk is not None:
            patient._state.adding, patient._state.db = False, connection.alias
            words += name_words(patient=patient.pk, patient_name=patient.patient_name)
    insert_missing(words, returning="patient_ref_id")
    return [patient if patient.pk is not None else None for patient in patients]


def _new(site: Site, identity: Identity, provisional_for: str) -> Patient:
    return Patient(
        site=site,
        patient_id=identity.patient_id,
        issuer_of_patient_id=identity.issuer_of_patient_id,
        provisional_for=provisional_for,
        patient_name=identity.patient_name,
        patient_birth_date=identity.patient_birth_date,
        patient_sex=identity.patient_sex,
        **derived_values(patient_name=identity.patient_name, patient_birth_date=identity.patient_birth_date),
    )


def _same_name(one: str, other: str) -> bool:
    """Whether two names may be one person's: in any group, the words of one are all in the other."""
    groups = list(zip(PersonName(one).groups, PersonName(other).groups, strict=True))
    both = [(_words(left), _words(right)) for left, right in groups if left and right]
    if not both:
        return not any(left for left, _ in groups) or not any(right for _, right in groups)
    return any(left <= right or right <= left for left, right in both)


def _words(group: str) -> set[str]:
    return set(fold(group.replace("^", " ").replace(",", " ").replace(".", " ")).split())

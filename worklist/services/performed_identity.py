"""Whose examination a device says it performs, and whether that is the patient of an order."""

from radiology.dicom import parse_da
from radiology.models import Patient
from radiology.services.identity import Identity, OtherIdentifier, means, same_person
from radiology.services.survivors import survivor_of
from worklist.models import PerformedProcedureStep
from worklist.services.dicom_json import items, text

MOST_IDENTIFIERS = 20


def identity_of(performed: PerformedProcedureStep) -> Identity:
    """What the data set of a performed step says of its patient."""
    said = performed.attributes
    node, site = performed.node, performed.site
    patient_id = text(said, "PatientID", most=200)
    issuer = text(said, "IssuerOfPatientID") or (node.issuer_of_patient_id if node else "") or site.issuer_of_patient_id
    others = [
        OtherIdentifier(text(item, "PatientID"), text(item, "IssuerOfPatientID"))
        for item in items(said, "OtherPatientIDsSequence")[:MOST_IDENTIFIERS]
    ]
    return Identity(
        patient_id=patient_id[:64],
        issuer_of_patient_id=issuer if patient_id else "",
        patient_name=text(said, "PatientName", most=324),
        patient_birth_date=text(said, "PatientBirthDate", most=16),
        patient_sex=text(said, "PatientSex", most=16),
        trusted=len(patient_id) <= 64,
        others=tuple(each for each in others if each.value),
    )


def is_of_patient(identity: Identity, patient: Patient) -> bool:
    """Whether a device that names `identity` means `patient`.

    It does when it names no number, as long as name and birth date do not both contradict; and when
    it names somebody who has been merged into that patient meanwhile.
    """
    if not identity.patient_id:
        return _may_be(identity, patient)
    if means(patient, identity):
        return True
    named = Patient.objects.filter(site=patient.site, patient_id=identity.patient_id, provisional_for="")
    now = survivor_of(patient)
    return any(survivor_of(each).pk == now.pk and means(each, identity) for each in named.order_by("pk")[:5])


def _may_be(identity: Identity, patient: Patient) -> bool:
    born = parse_da(identity.patient_birth_date)
    other_birth = born is not None and patient.birth_date is not None and born != patient.birth_date
    return not other_birth or same_person(patient, Identity(patient.patient_id, patient_name=identity.patient_name))

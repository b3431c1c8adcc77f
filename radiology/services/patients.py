"""Writing patients: whoever changes a name or birth date changes what is derived from it too."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError
from django.utils.translation import gettext as _

from radiology.dicom import PersonName, clean, parse_da
from radiology.errors import Conflict
from radiology.models import AuditAction, Patient, PatientIdentifier, PatientNameWord, PatientVersion, User
from radiology.phonetics import sound_key
from radiology.services import audit
from radiology.services.whole import atomic
from radiology.signals import patient_saved

# What a version of a patient tells of.
RECORDED = (
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "patient_address",
    "patient_telephone_numbers",
    "patient_mother_birth_name",
    "allergies",
    "medical_alerts",
    "patient_comments",
    "is_temporary",
)

# Nobody types these, and to look at each costs a question to the database.
NOT_TYPED = ("site", "merged_into")


def derived_values(*, patient_name: str, patient_birth_date: str) -> dict[str, Any]:
    """The columns of a patient that follow from the name and the birth date as written."""
    name = PersonName(patient_name)
    alphabetic, ideographic, phonetic = name.groups
    return {
        "patient_name_alphabetic": alphabetic,
        "patient_name_ideographic": ideographic,
        "patient_name_phonetic": phonetic,
        "patient_name_search": name.normalised[:512],
        "patient_name_sort": name.sort_key[:324],
        "birth_date": parse_da(patient_birth_date),
    }


def recorded(patient: Patient) -> dict[str, Any]:
    """What a patient says of what its versions tell of."""
    return {name: getattr(patient, name) for name in RECORDED}


def name_words(*, patient: int, patient_name: str) -> list[PatientNameWord]:
    """The rows by which a patient's name is found: each word of it, and how it sounds."""
    words = sorted({word[:64] for word in PersonName(patient_name).words})
    return [PatientNameWord(patient_ref_id=patient, word=word, sound=sound_key(word)) for word in words]


@atomic()
def save_patient(
    *,
    patient: Patient,
    who: Any = None,
    reason: str = "",
    address: str | None = None,
    also_changed: dict[str, list[Any]] | None = None,
    identifiers: Sequence[PatientIdentifier] = (),
    before: Mapping[str, Any] | None = None,
) -> None:
    """Write a new or edited patient with all that is derived from it; an edit raises `version`.

    What changed is kept as a version, with who did it and why; `also_changed` are changes beside the row
    (identifiers: before and after), `identifiers` the other numbers that a new patient gets. `before` is what the row
    says of `RECORDED`, from who has locked it and looked whether it is as it was read; else that is done here. Raises
    ValidationError for values that do not fit or a number that is somebody's, Conflict when somebody else changed
    the patient since it was read, or merged it into another.
    """
    patient.clean_fields(exclude=NOT_TYPED)
    for column, value in derived_values(
        patient_name=patient.patient_name, patient_birth_date=patient.patient_birth_date
    ).items():
        setattr(patient, column, value)
    is_new = patient.pk is None
    if is_new:
        before = {}
    else:
        before = before or _claim(patient)
        patient.version += 1
    _write(patient)
    if is_new or before["patient_name"] != patient.patient_name:
        words = name_words(patient=patient.pk, patient_name=patient.patient_name)
        if not is_new:
            patient.name_words.exclude(word__in=[each.word for each in words]).delete()
        PatientNameWord.objects.bulk_create(words, ignore_conflicts=True)
    for each in identifiers:
        each.patient_ref = patient
    PatientIdentifier.objects.bulk_create(identifiers)
    changes = {
        name: [before.get(name), getattr(patient, name)]
        for name in RECORDED
        if (before.get(name) or "") != (getattr(patient, name) or "")
    }
    changes.update(also_changed or {})
    record_version(patient=patient, changes=changes, who=who, reason=reason)
    if who is not None:
        audit.record(
            event="patient.registered" if is_new else "patient.changed",
            action=AuditAction.CREATE if is_new else AuditAction.UPDATE,
            who=who,
            address=address,
            site_id=patient.site_id,
            patient_id=patient.pk,
            detail={"version": patient.version, "changed": sorted(changes)},
        )
    patient_saved.send(sender=Patient, patient=patient, is_new=is_new, changes=changes, who=who)


def _claim(patient: Patient) -> dict[str, Any]:
    """What the row of a patient says of `RECORDED`, locked. Raises Conflict when it is not as it was read."""
    rows = Patient.objects.select_for_update(no_key=True).filter(pk=patient.pk)
    before = rows.values(*RECORDED, "merged_into", "version").get()
    if before["merged_into"] is not None:
        raise Conflict(_("This patient was merged into another: change that one."))
    if before["version"] != patient.version:
        raise Conflict(_("Somebody else changed this patient meanwhile: look at it again, then repeat your change."))
    return before


def _write(patient: Patient) -> None:
    """Insert or update the row. Whether it fits beside the others only the database knows at this moment."""
    try:
        patient.save()
    except IntegrityError as error:
        violated = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
        for constraint in Patient._meta.constraints:
            if constraint.name == violated:
                raise ValidationError({NON_FIELD_ERRORS: [constraint.get_violation_error_message()]}) from error
        raise


def record_version(*, patient: Patient, changes: dict[str, list[Any]], who: Any, reason: str = "") -> None:
    """Keep what a change made of a patient. Nothing is kept when nothing changed."""
    if not changes:
        return
    PatientVersion.objects.bulk_create(
        [
            PatientVersion(
                patient_ref=patient,
                version=patient.version,
                changes=changes,
                reason=clean(reason)[:200],
                user=who if isinstance(who, User) else None,
                agent=audit.agent_of(who),
            )
        ],
        ignore_conflicts=True,
    )

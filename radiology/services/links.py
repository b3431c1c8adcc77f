"""Patients whom another system takes for one person, without merging them (HL7 ADT^A24 and A37; IHE PIX)."""

from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, NotAllowed
from radiology.models import AuditAction, Patient, PatientLink
from radiology.services import audit
from radiology.services.patient_moves import stays
from radiology.services.survivors import survivor_of

MOST = 20

stays("radiology.patientlink.one")
stays("radiology.patientlink.other")


@transaction.atomic
def link_patients(*, who: Any, one: Patient, other: Patient) -> bool:
    """Link two patients; whether they were not linked yet. Raises NotAllowed, InvalidValue for one and the same."""
    first, second = _pair(who, one, other)
    _link, is_new = PatientLink.objects.get_or_create(
        one=first, other=second, defaults={"site": first.site, "agent": audit.agent_of(who)}
    )
    if is_new:
        _record("patient.linked", who, first, second)
    return is_new


@transaction.atomic
def unlink_patients(*, who: Any, one: Patient, other: Patient) -> bool:
    """Take a link back; whether there was one. Raises as `link_patients` does."""
    first, second = _pair(who, one, other)
    gone, _rows = PatientLink.objects.filter(one=first, other=second).delete()
    if gone:
        _record("patient.unlinked", who, first, second)
    return bool(gone)


def is_linked() -> Exists:
    """For a query of patients: whether each is linked with anybody."""
    return Exists(PatientLink.objects.filter(Q(one=OuterRef("pk")) | Q(other=OuterRef("pk"))))


def linked_patients(*, who: Any, patient: Patient) -> list[Patient]:
    """Whom a patient is linked with, as far as `who` may see them: as they are now, at most twenty."""
    links = PatientLink.objects.filter(Q(one=patient) | Q(other=patient)).order_by("pk")[:MOST]
    keys = [key for link in links.values_list("one", "other") for key in link if key != patient.pk]
    if not keys:
        return []
    visible = Patient.objects.visible_to(who).select_related("merged_into", "site").in_bulk(keys)
    found = {survivor.pk: survivor for key in keys if key in visible and (survivor := survivor_of(visible[key]))}
    return [each for each in found.values() if each.pk != patient.pk]


def _pair(who: Any, one: Patient, other: Patient) -> tuple[Patient, Patient]:
    if not who.may("patients.merge"):
        raise NotAllowed(_("You may not link patients."))
    if one.pk == other.pk:
        raise InvalidValue(_("A patient cannot be linked with itself."), field="other")
    return (one, other) if one.pk < other.pk else (other, one)


def _record(event: str, who: Any, one: Patient, other: Patient) -> None:
    for patient, counterpart in ((one, other), (other, one)):
        audit.record(
            event=event,
            action=AuditAction.UPDATE,
            who=who,
            site_id=patient.site_id,
            patient_id=patient.pk,
            detail={"other": counterpart.pk},
        )

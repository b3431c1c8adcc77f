"""Whose order it is, as another system says it: a patient who is known, or one who is registered along with it."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import AuditAction, Patient, Site
from radiology.services import audit
from radiology.services.accession import lock
from radiology.services.identity import Identity, same_person
from radiology.services.patients import save_patient


@transaction.atomic
def patient_for_order(*, who: Any, site: Site, identity: Identity, address: str | None = None) -> Patient:
    """The patient with that number; where there is none, and a name is given, a new one. At once, or not at all.

    Raises InvalidValue when the number means nobody and no name is given, or more than one; NotAllowed when
    the caller may not register; Conflict with `existing` when the number is somebody else's.
    """
    if not identity.patient_id:
        raise InvalidValue(_("Give the patient's number."), field="patient.patient_id")
    lock("patient", site.pk, identity.patient_id)
    found = Patient.objects.filter(site=site, patient_id=identity.patient_id, provisional_for="")
    if identity.issuer_of_patient_id:
        found = found.filter(issuer_of_patient_id__in=["", identity.issuer_of_patient_id])
    known = list(found.order_by("-issuer_of_patient_id", "pk")[:2])
    exact = [each for each in known if each.issuer_of_patient_id == identity.issuer_of_patient_id]
    known = exact[:1] or known
    if len(known) > 1:
        raise InvalidValue(
            _("Several patients have this number: name its issuer."), field="patient.issuer_of_patient_id"
        )
    if known:
        if identity.patient_name and not same_person(known[0], identity):
            raise Conflict(
                _("The number %(number)s is that of another patient: the name and the birth date differ.")
                % {"number": identity.patient_id},
                field="patient.patient_id",
                patient=known[0],
            )
        return known[0]
    if not identity.patient_name:
        raise InvalidValue(
            _("Nobody has this number; give name, birth date and sex to register the patient."),
            field="patient.patient_id",
        )
    return _register(who, site, identity, address)


def _register(who: Any, site: Site, identity: Identity, address: str | None) -> Patient:
    if hasattr(who, "may") and not who.may("patients.write"):
        raise NotAllowed(_("You may not register patients: this order is for somebody who is not known here."))
    if identity.patient_sex not in {"M", "F", "O", ""}:
        raise InvalidValue(_("The sex is M, F, O or empty."), field="patient.patient_sex")
    patient = Patient(
        site=site,
        patient_id=identity.patient_id,
        issuer_of_patient_id=identity.issuer_of_patient_id or site.issuer_of_patient_id,
        patient_name=identity.patient_name,
        patient_birth_date=identity.patient_birth_date,
        patient_sex=identity.patient_sex,
    )
    save_patient(patient=patient)
    audit.record(
        event="patient.registered",
        action=AuditAction.CREATE,
        who=who,
        address=address,
        site_id=site.pk,
        patient_id=patient.pk,
        detail={"with": "order"},
    )
    return patient

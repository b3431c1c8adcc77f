"""Whose order it is, as another system says it: a patient who is known, or one who is registered along with it."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue, NotAllowed, RadiologyError
from radiology.models import Patient, Site
from radiology.services.accession import lock
from radiology.services.identity import Identity, means, patients_numbered
from radiology.services.registration import register_patient
from radiology.services.survivors import survivor_of


@transaction.atomic
def patient_for_order(
    *,
    who: Any,
    site: Site,
    identity: Identity,
    despite_duplicates: bool = False,
    reason: str = "",
    address: str | None = None,
) -> Patient:
    """The patient with that number, also one who was merged into another: `place_order` goes on to the survivor.

    Where nobody has the number, and a name is given, a new patient is registered.

    Raises InvalidValue when the number means nobody and no name is given, or more than one; NotAllowed when
    the caller may not register; Conflict with `existing` when the number is somebody else's; LikelyDuplicate
    with `candidates` unless `despite_duplicates`, which needs a `reason`. Fields are named `patient.…`.
    """
    if not identity.patient_id:
        raise InvalidValue(_("Give the patient's number."), field="patient.patient_id")
    lock("patient", site.pk, identity.patient_id)
    known = patients_numbered(site, identity)
    if len({survivor_of(each).pk for each in known}) > 1:
        raise InvalidValue(
            _("Several patients have this number: name its issuer."), field="patient.issuer_of_patient_id"
        )
    if known:
        named = known if not identity.patient_name else [each for each in known if means(each, identity)]
        if not named:
            raise Conflict(
                _("The number %(number)s is that of another patient: the name and the birth date differ.")
                % {"number": identity.patient_id},
                field="patient.patient_id",
                existing=survivor_of(known[0]),
            )
        return named[0]
    if not identity.patient_name:
        raise InvalidValue(
            _("Nobody has this number; give name, birth date and sex to register the patient."),
            field="patient.patient_id",
        )
    if not who.may("patients.write"):
        raise NotAllowed(_("You may not register patients: this order is for somebody who is not known here."))
    return _register(
        who, site, identity, {"despite_duplicates": despite_duplicates, "reason": reason, "address": address}
    )


def _register(who: Any, site: Site, identity: Identity, more: dict[str, Any]) -> Patient:
    values = {
        "patient_id": identity.patient_id,
        "issuer_of_patient_id": identity.issuer_of_patient_id or site.issuer_of_patient_id,
        "patient_name": identity.patient_name,
        "patient_birth_date": identity.patient_birth_date,
        "patient_sex": identity.patient_sex,
    }
    try:
        return register_patient(who=who, site=site, values=values, **more)
    except RadiologyError as error:
        error.field = f"patient.{error.field}" if error.field else "patient"
        raise

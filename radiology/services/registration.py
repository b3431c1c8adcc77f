"""Patients by hand and by program: registering, changing, and those whom nobody knows yet."""

import re
import unicodedata
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.birth_dates import parse_birth_date
from radiology.dicom import clean, parse_da
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed
from radiology.models import Patient, PatientIdentifier, Site
from radiology.services import duplicates
from radiology.services.duplicates import Person
from radiology.services.patient_numbers import next_number
from radiology.services.patient_values import Numbered, checked_identifiers, checked_values
from radiology.services.patients import recorded, save_patient
from radiology.services.rows import Sought
from radiology.services.survivors import survivor_of
from radiology.services.whole import atomic

_HOLDERS = Sought(
    Patient,
    "site_id = %s AND patient_id = %s AND provisional_for = '' AND (%s = '' OR issuer_of_patient_id IN ('', %s))"
    " AND id <> %s ORDER BY id LIMIT 1",
)
SEX_WORDS = {"M": "MALE", "F": "FEMALE", "O": "OTHER", "": ""}


class LikelyDuplicate(Conflict):
    """Somebody who is likely the same person is here already; `facts["candidates"]` are who."""


def register_patient(
    *,
    who: Any,
    values: Mapping[str, Any],
    identifiers: Iterable[Mapping[str, Any]] = (),
    despite_duplicates: bool = False,
    reason: str = "",
    address: str | None = None,
    site: Site | None = None,
) -> Patient:
    """A new patient; without an MRN the site's next number is given.

    `values` are fields by name; the name is required. Raises NotAllowed; InvalidValue, naming the field;
    Conflict with `existing`, who has that number (also through a merge); LikelyDuplicate with `candidates`
    unless `despite_duplicates`, which needs a `reason`.
    """
    _require_right(who)
    site = site or Site.objects.get(pk=who.site_id)
    checked, numbers = checked_values(values), checked_identifiers(identifiers)
    if not checked.get("patient_name"):
        raise InvalidValue(_("Give the name of the patient."), field="patient_name")
    checked.setdefault("issuer_of_patient_id", site.issuer_of_patient_id)
    with atomic():
        _require_free_number(who, site, checked.get("patient_id", ""), checked["issuer_of_patient_id"])
        if not (despite_duplicates and reason.strip()):
            _require_nobody_alike(who, person_of(site=site, values=checked, identifiers=numbers), despite_duplicates)
        return _insert(who, site, checked, numbers, reason, address)


def register_unknown(
    *,
    who: Any,
    patient_sex: str = "",
    values: Mapping[str, Any] | None = None,
    reason: str = "",
    address: str | None = None,
    site: Site | None = None,
) -> Patient:
    """A patient whom nobody knows yet: with the site's temporary name and a number of that kind.

    When it is known who it is, merge it into the right patient, or change its name and number.
    """
    _require_right(who)
    site = site or Site.objects.get(pk=who.site_id)
    checked = {**checked_values(values or {}), **checked_values({"patient_sex": patient_sex})}
    checked["patient_name"] = temporary_name(site=site, patient_sex=checked["patient_sex"])
    checked["issuer_of_patient_id"] = site.issuer_of_patient_id
    checked.pop("patient_id", None)
    with atomic():
        return _insert(who, site, checked, [], reason, address, is_temporary=True)


def change_patient(
    *,
    who: Any,
    patient: Patient,
    version: int,
    values: Mapping[str, Any],
    identifiers: Iterable[Mapping[str, Any]] | None = None,
    reason: str = "",
    address: str | None = None,
) -> Patient:
    """Change the fields named in `values`, and all other numbers when `identifiers` are given.

    Raises NotAllowed, NotFound, InvalidValue; Conflict with `existing` when the number is somebody's or the
    patient was merged; PreconditionFailed with `existing`, as it is now, when somebody changed it since `version`.
    """
    _require_right(who)
    checked = checked_values(values)
    numbers = None if identifiers is None else checked_identifiers(identifiers)
    with atomic():
        row = Patient.objects.visible_to(who).select_for_update(no_key=True, of=("self",)).select_related("site")
        found = row.filter(pk=patient.pk).first()
        if found is None:
            raise NotFound(_("This patient is not here, or not for you to see."))
        if found.merged_into_id is not None:
            raise Conflict(_("This patient was merged into another: change that one."), existing=survivor_of(found))
        if found.version != version:
            raise PreconditionFailed(
                _("Somebody else changed this patient meanwhile: look at it again, then repeat your change."),
                field="version",
                existing=found,
            )
        if "patient_name" in checked and not checked["patient_name"]:
            raise InvalidValue(_("Give the name of the patient."), field="patient_name")
        number = checked.get("patient_id", found.patient_id)
        issuer = checked.get("issuer_of_patient_id", found.issuer_of_patient_id)
        if found.patient_id and not number:
            raise InvalidValue(_("A patient keeps a number: give another one."), field="patient_id")
        if (number, issuer) != (found.patient_id, found.issuer_of_patient_id) and not found.is_provisional:
            _require_free_number(who, found.site, number, issuer, but=found)
        before = recorded(found)
        if found.is_temporary and "patient_name" in checked and checked["patient_name"] != found.patient_name:
            found.is_temporary = False
        changed = {name: value for name, value in checked.items() if getattr(found, name) != value}
        also = {} if numbers is None else _replace_identifiers(found, numbers)
        if changed or also:
            for name, value in changed.items():
                setattr(found, name, value)
            _save(who, found, reason, address, also, before=before)
        return found


def person_of(*, site: Site, values: Mapping[str, str], identifiers: Sequence[Numbered] = ()) -> Person:
    """Values as they are typed, as somebody who may be here already."""
    return Person(
        site_id=site.pk,
        patient_id=values.get("patient_id", ""),
        patient_name=values.get("patient_name", ""),
        birth_date=parse_da(values.get("patient_birth_date", ""))
        or parse_birth_date(values.get("patient_birth_date", "")),
        patient_sex=values.get("patient_sex", ""),
        patient_telephone_numbers=values.get("patient_telephone_numbers", ""),
        identifiers=identifiers,
    )


def person_as_typed(*, site: Site, values: Mapping[str, str], identifiers: Iterable[Mapping[str, Any]]) -> Person:
    """The same while somebody is typing: what is not right yet counts as far as it goes."""
    numbers = [Numbered(each["kind"], each["value"].replace(" ", "")) for each in identifiers]
    plain = {name: clean(value)[:200] for name, value in values.items()}
    return person_of(site=site, values=plain, identifiers=numbers)


def temporary_name(*, site: Site, patient_sex: str) -> str:
    """What somebody is called whom nobody knows: all in the family name, so that it reads the same everywhere."""
    now = timezone.localtime(timezone.now(), _zone(site))
    filled = (
        site.temporary_name_pattern.replace("{sex}", SEX_WORDS.get(patient_sex, ""))
        .replace("{date}", f"{now:%Y-%m-%d}")
        .replace("{time}", f"{now:%H:%M}")
    )
    plain = re.sub(r"[\\^=]", " ", unicodedata.normalize("NFC", filled))
    return " ".join(plain.split())[:64]


def _zone(site: Site) -> Any:
    return zoneinfo.ZoneInfo(site.time_zone)


def _require_right(who: Any) -> None:
    if not who.may("patients.write"):
        raise NotAllowed(_("You may not register or change patients."))


def _require_free_number(who: Any, site: Site, number: str, issuer: str, *, but: Patient | None = None) -> None:
    """Whether nobody else here has this number. A number without issuer matches any issuer's."""
    if not number:
        return
    besides = 0 if but is None or but.pk is None else but.pk
    holders = _HOLDERS(site.pk, number, issuer, issuer, besides)
    if not holders:
        return
    existing = survivor_of(holders[0])
    if but is not None and existing.pk == but.pk:
        raise Conflict(
            _("This number is that of a patient who was merged into this one: take that merge back first."),
            field="patient_id",
            existing=existing,
        )
    raise Conflict(
        _("This number is %(name)s's: choose that patient, or give another number.") % {"name": existing.display_name},
        field="patient_id",
        existing=existing,
    )


def _require_nobody_alike(who: Any, person: Person, despite_duplicates: bool) -> None:
    """Raises LikelyDuplicate; InvalidValue where somebody says that it is another person, and not why."""
    candidates = duplicates.candidates_for(who=who, person=person)
    likely = [each for each in candidates if each.is_likely]
    if likely and not despite_duplicates:
        raise LikelyDuplicate(
            _("%(name)s is likely the same person: choose that patient, or say why this is another one.")
            % {"name": likely[0].patient.display_name},
            candidates=candidates,
        )
    if likely:
        raise InvalidValue(_("Say why this is another person."), field="reason")


def _insert(
    who: Any,
    site: Site,
    checked: Mapping[str, str],
    numbers: Sequence[Numbered],
    reason: str,
    address: str | None,
    *,
    is_temporary: bool = False,
) -> Patient:
    patient = Patient(site=site, is_temporary=is_temporary, **checked)
    if not patient.patient_id:
        pattern = site.temporary_mrn_pattern if is_temporary else site.mrn_pattern
        patient.patient_id = next_number(site=site, pattern=pattern)
    also = {"identifiers": [[], [_written(each) for each in numbers]]} if numbers else {}
    rows = [PatientIdentifier(kind=each.kind, value=each.value, issuer=each.issuer) for each in numbers]
    _save(who, patient, reason, address, also, rows)
    return patient


def _save(
    who: Any,
    patient: Patient,
    reason: str,
    address: str | None,
    also: dict[str, list[Any]],
    identifiers: Sequence[PatientIdentifier] = (),
    before: Mapping[str, Any] | None = None,
) -> None:
    try:
        with transaction.atomic():
            save_patient(
                patient=patient,
                who=who,
                reason=reason,
                address=address,
                also_changed=also,
                identifiers=identifiers,
                before=before,
            )
    except (IntegrityError, ValidationError) as error:
        # Somebody took the number in the same moment.
        _require_free_number(who, patient.site, patient.patient_id, patient.issuer_of_patient_id, but=patient)
        if isinstance(error, ValidationError):
            field, messages = next(iter(error.message_dict.items()))
            raise InvalidValue(messages[0], field="" if field == "__all__" else field) from error
        raise
    duplicates.look_later(patient)


def _replace_identifiers(patient: Patient, numbers: Sequence[Numbered]) -> dict[str, list[Any]]:
    """Let the patient have these other numbers; what changed, for its history."""
    known = {Numbered(each.kind, each.value, each.issuer): each for each in patient.identifiers.all()}
    wanted = set(numbers)
    if wanted == set(known):
        return {}
    patient.identifiers.filter(pk__in=[row.pk for number, row in known.items() if number not in wanted]).delete()
    PatientIdentifier.objects.bulk_create(
        [
            PatientIdentifier(patient_ref=patient, kind=each.kind, value=each.value, issuer=each.issuer)
            for each in numbers
            if each not in known
        ],
        ignore_conflicts=True,
    )
    return {"identifiers": [sorted(map(_written, known)), sorted(map(_written, numbers))]}


def _written(number: Numbered) -> str:
    return " ".join(part for part in (number.kind, number.value, number.issuer) if part)

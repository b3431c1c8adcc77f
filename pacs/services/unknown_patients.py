"""Provisional patients: whose study is it? Proposals, and the answers that a person may give."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, Max, OuterRef, Prefetch
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from pacs.models import Correction, Study
from pacs.services import corrections
from radiology.dicom import PersonName, clean, fold
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import Patient, PatientIdentifier, PatientNameWord
from radiology.services.patients import save_patient

PAGE = 10
MOST_PROPOSALS = 3
# Of one question to the database; the best few of them are shown.
MOST_CANDIDATES = 300
SAME_NUMBER, SAME_IDENTIFIER, SAME_BIRTH_DATE, SAME_NAME = 4, 4, 3, 3


@dataclass(frozen=True)
class Proposal:
    """A patient whom the study may belong to, and what speaks for it."""

    patient: Patient
    score: int
    reasons: tuple[Any, ...]


@dataclass
class Unknown:
    """A provisional patient with the study that has no other."""

    patient: Patient
    study: Study
    proposals: list[Proposal] = field(default_factory=list)

    @property
    def card_id(self) -> str:
        return str(self.patient.public_id)


@dataclass(frozen=True)
class UnknownPage:
    unknown: list[Unknown]
    older: int | None


def waiting(*, who: Any) -> Any:
    """The provisional patients of studies that `who` may correct."""
    if not who.may("inbox.decide"):
        return Patient.objects.none()
    studies = Study.objects.visible_to(who).filter(patient_ref=OuterRef("pk"))
    return Patient.objects.visible_to(who).exclude(provisional_for="").filter(Exists(studies))


def waiting_version(*, who: Any) -> tuple[Any, ...]:
    """Changes whenever somebody joins or leaves the list."""
    return tuple(waiting(who=who).aggregate(Max("id"), Count("id")).values())


def unknown_patients(*, who: Any, before: int | None = None, size: int = PAGE) -> UnknownPage:
    """Those who wait, the newest first, each with the patients that it may be."""
    found = waiting(who=who).order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    studies = Study.objects.visible_to(who).select_related("site").order_by("pk")
    rows = list(
        found.prefetch_related("identifiers", Prefetch("studies", studies, to_attr="visible_studies"))[: size + 1]
    )
    unknown = [Unknown(row, row.visible_studies[0]) for row in rows[:size] if row.visible_studies]
    _propose(unknown, who)
    return UnknownPage(unknown, rows[size - 1].pk if len(rows) > size else None)


def _propose(unknown: Sequence[Unknown], who: Any) -> None:
    """The best candidates for each: by number, other identifier, or name and birth date."""
    known = Patient.objects.visible_to(who).current().filter(provisional_for="").prefetch_related("identifiers")
    numbers = {each.patient.patient_id for each in unknown} - {""}
    others = {identifier.value for each in unknown for identifier in each.patient.identifiers.all()}
    words = {word[:64] for each in unknown for word in PersonName(each.patient.patient_name).words}
    births = {each.patient.patient_birth_date for each in unknown} - {""}
    candidates: dict[int, Patient] = {}
    by_number = PatientIdentifier.objects.filter(value__in=numbers | others).values("patient_ref")
    by_name = PatientNameWord.objects.filter(word__in=words).values("patient_ref")
    for found in (
        known.filter(patient_id__in=numbers | others),
        known.filter(pk__in=by_number),
        known.filter(patient_birth_date__in=births, pk__in=by_name),
        known.filter(pk__in=by_name.filter(patient_ref__patient_birth_date="")),
    ):
        candidates.update({patient.pk: patient for patient in found.order_by("-pk")[:MOST_CANDIDATES]})
    for each in unknown:
        ranked = [
            proposal
            for candidate in candidates.values()
            if candidate.site_id == each.patient.site_id and (proposal := _proposal(each.patient, candidate))
        ]
        ranked.sort(key=lambda proposal: (-proposal.score, -proposal.patient.pk))
        each.proposals = ranked[:MOST_PROPOSALS]


def _proposal(unknown: Patient, candidate: Patient) -> Proposal | None:
    """What speaks for `candidate`; None when too little does."""
    score, reasons = 0, []
    if unknown.patient_id and unknown.patient_id == candidate.patient_id:
        score += SAME_NUMBER
        reasons.append(gettext_lazy("same MRN"))
    elif _numbers(unknown) & _numbers(candidate):
        score += SAME_IDENTIFIER
        reasons.append(gettext_lazy("same number elsewhere"))
    mine, theirs = _words(unknown), _words(candidate)
    if mine and mine == theirs:
        score += SAME_NAME
        reasons.append(gettext_lazy("same name"))
    elif mine & theirs:
        score += 1 + (mine <= theirs or theirs <= mine)
        reasons.append(gettext_lazy("similar name"))
    if unknown.birth_date and unknown.birth_date == candidate.birth_date:
        score += SAME_BIRTH_DATE
        reasons.append(gettext_lazy("same birth date"))
    elif unknown.birth_date and candidate.birth_date:
        score -= 2
    if unknown.patient_sex and candidate.patient_sex and unknown.patient_sex != candidate.patient_sex:
        score -= 2
    return Proposal(candidate, score, tuple(reasons)) if score >= SAME_NAME else None


def _numbers(patient: Patient) -> set[str]:
    return ({patient.patient_id} | {each.value for each in patient.identifiers.all()}) - {""}


def _words(patient: Patient) -> set[str]:
    return {fold(word) for word in PersonName(patient.patient_name).words}


def assign(*, who: Any, unknown: Patient, patient: Patient, version: int, address: str | None = None) -> Correction:
    """Say whose the provisional patient's study is. Raises NotAllowed, NotFound, Conflict."""
    _require_right(who)
    study = _study(who, unknown)
    return corrections.assign_patient(who=who, study=study, version=version, patient=patient, address=address)


@transaction.atomic
def register(
    *, who: Any, unknown: Patient, version: int, values: dict[str, str], address: str | None = None
) -> Correction:
    """Say that this is a new patient: with an MRN of its own, and whatever of `values` was put right.

    `values` may hold patient_id (required), patient_name, patient_birth_date and patient_sex. Raises
    InvalidValue that names the field, Conflict when the number is somebody's.
    """
    _require_right(who)
    study = _study(who, unknown)
    number = clean(values.get("patient_id", ""))[:64]
    if not number:
        raise InvalidValue(_("Give the medical record number of the new patient."), field="patient_id")
    issuer = unknown.issuer_of_patient_id or unknown.site.issuer_of_patient_id
    taken = Patient.objects.filter(site=unknown.site_id, patient_id=number, provisional_for="")
    holder = taken.filter(issuer_of_patient_id__in={"", issuer} if issuer else [""]).first() or (
        None if issuer else taken.first()
    )
    if holder is not None:
        raise InvalidValue(
            _("This number is %(name)s's: choose that patient, or give another number.")
            % {"name": holder.display_name},
            field="patient_id",
        )
    patient = Patient(
        site=unknown.site,
        patient_id=number,
        issuer_of_patient_id=issuer,
        patient_name=clean(values.get("patient_name", unknown.patient_name))[:324],
        patient_birth_date=clean(values.get("patient_birth_date", unknown.patient_birth_date))[:16],
        patient_sex=clean(values.get("patient_sex", unknown.patient_sex))[:16],
    )
    save_patient(patient=patient, who=who, address=address)
    _copy_identifiers(unknown.identifiers.all(), patient)
    return corrections.assign_patient(who=who, study=study, version=version, patient=patient, address=address)


def _copy_identifiers(identifiers: Iterable[PatientIdentifier], patient: Patient) -> None:
    PatientIdentifier.objects.bulk_create(
        [
            PatientIdentifier(patient_ref=patient, kind=each.kind, value=each.value, issuer=each.issuer)
            for each in identifiers
        ]
    )


def _study(who: Any, unknown: Patient) -> Study:
    if not unknown.is_provisional:
        raise Conflict(_("This patient is not provisional any more."))
    study = Study.objects.visible_to(who).filter(patient_ref=unknown).order_by("pk").first()
    if study is None:
        raise NotFound(_("The study of this patient is somebody else's already: look at the inbox again."))
    return study


def _require_right(who: Any) -> None:
    if not who.may("inbox.decide"):
        raise NotAllowed(_("You may not decide whose images these are."))

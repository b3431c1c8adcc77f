"""Who may be the same person: candidates with what speaks for them, and the suspected pairs of a site.

Candidates are found along indexes (numbers, birth date, sounds of the name) and scored in Python; each question
is bounded, however many patients there are. Pairs are found by jobs, when a patient was registered or changed and
once a day for those whom images brought; a pair that somebody said to be two people does not come back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from radiology.dicom import PersonName
from radiology.errors import NotAllowed, NotFound
from radiology.models import (
    AuditAction,
    IdentifierKind,
    Job,
    Patient,
    PatientDuplicate,
    PatientIdentifier,
    PatientNameWord,
)
from radiology.phonetics import sound_key
from radiology.services import audit
from radiology.services.jobs import enqueue, enqueue_once, handles
from radiology.services.patient_values import Numbered

# Of one question to the database.
MOST_ASKED = 100
MOST_SHOWN = 5
# From this score on somebody is shown; from this on nobody is registered beside them without a reason.
SHOWN, LIKELY = 45, 75
UNIQUE_KINDS = {IdentifierKind.NIK, IdentifierKind.BPJS, IdentifierKind.PASSPORT}
SWEPT = timedelta(days=2)
SWEEP = 500
REASONS = {
    "number": gettext_lazy("same MRN"),
    "identifier": gettext_lazy("same number elsewhere"),
    "name": gettext_lazy("same name"),
    "sound": gettext_lazy("name sounds the same"),
    "similar": gettext_lazy("similar name"),
    "birth_date": gettext_lazy("same birth date"),
    "near_birth_date": gettext_lazy("birth date differs in one place"),
    "telephone": gettext_lazy("same telephone"),
    "sex": gettext_lazy("other sex"),
}


@dataclass(frozen=True)
class Person:
    """What is known of somebody who may be here already."""

    site_id: int | None
    patient_id: str = ""
    patient_name: str = ""
    birth_date: date | None = None
    patient_sex: str = ""
    patient_telephone_numbers: str = ""
    identifiers: Sequence[Numbered] = ()
    pk: int | None = None

    @classmethod
    def of(cls, patient: Patient) -> "Person":
        numbers = tuple(Numbered(each.kind, each.value, each.issuer) for each in patient.identifiers.all())
        return cls(
            site_id=patient.site_id,
            patient_id=patient.patient_id,
            patient_name=patient.patient_name,
            birth_date=patient.birth_date,
            patient_sex=patient.patient_sex,
            patient_telephone_numbers=patient.patient_telephone_numbers,
            identifiers=numbers,
            pk=patient.pk,
        )

    @property
    def words(self) -> set[str]:
        return set(PersonName(self.patient_name).words)

    @property
    def sounds(self) -> set[str]:
        return {sound_key(word) for word in self.words if len(word) > 1}


@dataclass(frozen=True)
class Candidate:
    """A patient who may be that person, and what speaks for it."""

    patient: Patient
    score: int
    reasons: list[str] = field(default_factory=list)

    @property
    def is_likely(self) -> bool:
        return self.score >= LIKELY

    @property
    def because(self) -> list[str]:
        return [str(REASONS[reason]) for reason in self.reasons]


def candidates_for(*, who: Any, person: Person) -> list[Candidate]:
    """The patients that `who` sees and `person` may be, the likeliest first; at most five."""
    return _ranked(person, Patient.objects.visible_to(who))[:MOST_SHOWN]


def _ranked(person: Person, visible: Any) -> list[Candidate]:
    known = visible.filter(site=person.site_id, merged_into=None, provisional_for="")
    found: dict[int, Patient] = {}
    for asked in _questions(person, known):
        for patient in asked.select_related("site").prefetch_related("identifiers")[:MOST_ASKED]:
            found.setdefault(patient.pk, patient)
    found.pop(person.pk or 0, None)
    scored = [_scored(person, patient) for patient in found.values()]
    likely = [each for each in scored if each.score >= SHOWN]
    return sorted(likely, key=lambda each: (-each.score, each.patient.pk))


def _questions(person: Person, known: Any) -> Iterable[Any]:
    if person.patient_id:
        yield known.filter(patient_id=person.patient_id)
    values = {each.value for each in person.identifiers} | ({person.patient_id} - {""})
    if values:
        holders = PatientIdentifier.objects.filter(value__in=values)
        yield known.filter(pk__in=holders.values("patient_ref"))
    numbers = {each.value for each in person.identifiers if each.kind == IdentifierKind.MRN}
    if numbers:
        yield known.filter(patient_id__in=numbers)
    if person.birth_date and person.sounds:
        near = [f"{day:%Y%m%d}".zfill(8) for day in _near(person.birth_date)]
        yield known.filter(patient_birth_date__in=near)
    sounds = sorted(person.sounds, key=len, reverse=True)
    if sounds:
        found = known
        for sound in sounds[:6]:
            found = found.filter(Q(pk__in=_with_sound(sound)))
        yield found


def _with_sound(sound: str) -> Any:
    return PatientNameWord.objects.filter(sound=sound).values("patient_ref")


def _near(day: date) -> list[date]:
    """The day itself, and with day and month exchanged."""
    days = [day]
    if day.day <= 12 and day.day != day.month:
        days.append(date(day.year, day.day, day.month))
    return days


def _scored(person: Person, patient: Patient) -> Candidate:
    other = Person.of(patient)
    score, reasons = 0, []

    def add(points: int, reason: str) -> None:
        nonlocal score
        score += points
        reasons.append(reason)

    if person.patient_id and person.patient_id == other.patient_id:
        add(60, "number")
    mine = {(each.kind, each.value) for each in person.identifiers} | {(IdentifierKind.MRN, person.patient_id)}
    theirs = {(each.kind, each.value) for each in other.identifiers} | {(IdentifierKind.MRN, other.patient_id)}
    shared = {each for each in mine & theirs if each[1] and each[1] not in {person.patient_id, other.patient_id}}
    crossed = {person.patient_id} & {value for _, value in theirs} - {"", other.patient_id}
    if shared or crossed:
        add(80 if any(kind in UNIQUE_KINDS for kind, _ in shared) else 50, "identifier")
    if person.words and person.words == other.words:
        add(45, "name")
    elif person.sounds and person.sounds == other.sounds:
        add(40, "sound")
    elif _overlap(person.sounds, other.sounds) >= 0.5:
        add(25, "similar")
    if person.birth_date and person.birth_date == other.birth_date:
        add(35, "birth_date")
    elif person.birth_date and other.birth_date and _is_near(person.birth_date, other.birth_date):
        add(15, "near_birth_date")
    elif person.birth_date and other.birth_date:
        score -= 25
    if _digits(person.patient_telephone_numbers) and (
        _digits(person.patient_telephone_numbers) == _digits(other.patient_telephone_numbers)
    ):
        add(15, "telephone")
    if person.patient_sex and other.patient_sex and person.patient_sex != other.patient_sex:
        add(-30, "sex")
    return Candidate(patient, max(score, 0), reasons)


def _overlap(mine: set[str], theirs: set[str]) -> float:
    return len(mine & theirs) / max(len(mine), len(theirs)) if mine and theirs else 0.0


def _is_near(one: date, other: date) -> bool:
    """Day and month exchanged, or one digit of eight another."""
    if other in _near(one):
        return True
    return sum(left != right for left, right in zip(f"{one:%Y%m%d}", f"{other:%Y%m%d}", strict=False)) == 1


def _digits(text: str) -> str:
    """The last eight digits of a telephone number: +62 812… and 0812… are one."""
    digits = "".join(character for character in text if character.isdigit())
    return digits[-8:] if len(digits) >= 8 else ""


def suspected(*, who: Any) -> Any:
    """The open pairs of the sites that `who` sees, the likeliest first."""
    if not who.may("patients.merge"):
        return PatientDuplicate.objects.none()
    found = PatientDuplicate.objects.filter(dismissed_at=None, one__merged_into=None, other__merged_into=None)
    found = found if who.sees_every_site else found.filter(site_id=who.site_id)
    return found.select_related("one__site", "other__site").order_by("-score", "-pk")


def dismiss(*, who: Any, pair: PatientDuplicate, address: str | None = None, undo: bool = False) -> None:
    """Say that two patients are two people (or, with `undo`, that they may be one after all)."""
    if not who.may("patients.merge"):
        raise NotAllowed(_("You may not merge patients."))
    found = PatientDuplicate.objects.filter(pk=pair.pk)
    found = found if who.sees_every_site else found.filter(site_id=who.site_id)
    if undo:
        changed = found.update(dismissed_at=None, dismissed_by="")
    else:
        changed = found.update(dismissed_at=timezone.now(), dismissed_by=audit.agent_of(who))
    if not changed:
        raise NotFound(_("There is no such pair."))
    audit.record(
        event="patient.duplicate.dismissed",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=pair.site_id,
        patient_id=pair.one_id,
        detail={"other": pair.other_id, "undone": undo},
    )


def look_later(patient: Patient) -> None:
    """Look for duplicates of a patient who was registered or changed, once this transaction is through."""
    key = f"radiology.suspect_duplicates:{patient.pk}:{patient.version}"
    arguments = {"patient": patient.pk}
    enqueue_once(Job(kind="radiology.suspect_duplicates", arguments=arguments, idempotency_key=key, max_attempts=5))


@handles("radiology.suspect_duplicates")
def suspect_duplicates(job: Job) -> None:
    """Keep the pairs that a patient is likely one of."""
    for patient in Patient.objects.filter(pk=job.arguments["patient"]).prefetch_related("identifiers"):
        keep_pairs(patient)


@handles("radiology.sweep_duplicates", daily=True)
def sweep_duplicates(job: Job | None = None) -> None:
    """Look for duplicates of those who came in the last days, the first time of everybody; in parts."""
    arguments: dict[str, Any] = job.arguments if job is not None else {}
    rows = Patient.objects.filter(merged_into=None, provisional_for="").order_by("-pk")
    if "before" in arguments:
        rows = rows.filter(pk__lt=arguments["before"])
    everybody = arguments.get("everybody", not PatientDuplicate.objects.exists())
    if not everybody:
        rows = rows.filter(created_at__gte=timezone.now() - SWEPT)
    batch = list(rows.select_related("site").prefetch_related("identifiers")[:SWEEP])
    for patient in batch:
        keep_pairs(patient)
    if len(batch) == SWEEP:
        last = batch[-1].pk
        enqueue(
            kind="radiology.sweep_duplicates",
            arguments={"before": last, "everybody": everybody},
            idempotency_key=f"radiology.sweep_duplicates:{timezone.localdate()}:{last}",
        )


def keep_pairs(patient: Patient) -> None:
    """Write the likely pairs of a patient; those that are no longer likely and nobody judged go."""
    if patient.merged_into_id is not None or patient.is_provisional:
        return
    likely = [each for each in _ranked(Person.of(patient), Patient.objects.all()) if each.is_likely]
    pairs = [
        PatientDuplicate(
            site=patient.site,
            one_id=min(patient.pk, each.patient.pk),
            other_id=max(patient.pk, each.patient.pk),
            score=each.score,
            reasons=each.reasons,
        )
        for each in likely[:20]
    ]
    PatientDuplicate.objects.bulk_create(
        pairs, update_conflicts=True, unique_fields=["one", "other"], update_fields=["score", "reasons"]
    )
    kept = {(each.one_id, each.other_id) for each in pairs}
    for stale in PatientDuplicate.objects.filter(Q(one=patient) | Q(other=patient), dismissed_at=None):
        if (stale.one_id, stale.other_id) not in kept:
            stale.delete()

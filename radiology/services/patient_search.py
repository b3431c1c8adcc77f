"""Finding a patient by what people say: words of the name in any order, how it sounds, a number, a birth date.

One text is understood as all of these at once. Each question to the database is one along an index and brings
no more than asked for, however many patients there are; their number does not depend on what was typed.
Patients who were merged into others are found by their old numbers and names, and shown as whom they are now.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import Q, QuerySet

from radiology.birth_dates import parse_birth_date
from radiology.dicom import PersonName, clean
from radiology.models import Patient, PatientIdentifier, PatientNameWord, Site
from radiology.services.survivors import survivor_of

MOST = 20
LONGEST_TEXT = 200
MOST_WORDS = 6
MOST_DATE_WORDS = 3
NUMBER_NAMES = {"mrn", "rm", "nrm", "norm", "no.rm", "nik", "bpjs", "id"}


@dataclass(frozen=True)
class Asked:
    """What a text may mean."""

    words: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    born: date | None = None
    year: int | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.numbers or self.born or self.year)


@dataclass(frozen=True)
class Found:
    """A patient, and under which former name or number it was found, if so."""

    patient: Patient
    formerly: Patient | None = None


def understand_patient(text: str) -> Asked:
    """The words, numbers and birth date in a text. No text is an error."""
    parts = clean(text)[:LONGEST_TEXT].replace("^", " ").replace(",", " ").split()
    words: list[str] = []
    numbers: list[str] = []
    born: date | None = None
    year: int | None = None
    at = 0
    while at < len(parts):
        day, taken = _date_at(parts, at)
        if day is not None and born is None:
            born = day
            if taken == 1 and parts[at].isdigit():
                numbers.append(parts[at])  # it may be a number as well
            at += taken
            continue
        part = parts[at].rstrip(":")
        name, mark, value = parts[at].partition(":")
        if mark and value and name.lower() in NUMBER_NAMES:
            part = value
        if part.lower() in NUMBER_NAMES and at + 1 < len(parts) and _has_digit(parts[at + 1]):
            pass  # says which number follows; every number is looked for everywhere
        elif _has_digit(part):
            numbers.append(part)
        else:
            words += PersonName(part).words
        at += 1
    if words and len(numbers) == 1 and re.fullmatch(r"(?:19|20)\d{2}", numbers[0]):
        year = int(numbers.pop())
    return Asked(list(dict.fromkeys(words))[:MOST_WORDS], numbers[:3], born, year)


def find_patients(*, who: Any, text: str, sites: Iterable[int] | None = None, limit: int = MOST) -> list[Found]:
    """The patients that `who` sees and `text` may mean, the best first: by number, by name, by its sound."""
    asked = understand_patient(text)
    if asked.is_empty:
        return []
    visible = Patient.objects.visible_to(who).filter(provisional_for="")
    if sites is None and who.sees_every_site:
        sites = Site.objects.values_list("pk", flat=True)  # indexes begin with the site
    if sites is not None:
        visible = visible.filter(site__in=list(sites))
    keys: dict[int, None] = {}
    for question in _questions(asked, visible):
        if len(keys) >= limit:
            break
        rows = list(question.order_by()[: limit * 2].values_list("patient_name_sort", "pk"))
        keys |= dict.fromkeys(pk for _, pk in sorted(rows))
    known = Patient.objects.select_related("site", "merged_into__site").in_bulk(list(keys)[: limit * 2])
    found: dict[int, Found] = {}
    for key in keys:
        if key in known:
            row = known[key]
            patient = survivor_of(row)
            found.setdefault(patient.pk, Found(patient, row if patient.pk != row.pk else None))
    return list(found.values())[:limit]


def _questions(asked: Asked, visible: QuerySet[Patient]) -> Iterator[QuerySet[Patient]]:
    """From the surest to the vaguest."""
    within = visible
    if asked.born:
        within = within.filter(birth_date=asked.born, patient_birth_date__in=_written(asked.born))
    if asked.year:
        within = within.filter(birth_date__year=asked.year)
    numbers = [*dict.fromkeys([*asked.numbers, *(number.upper() for number in asked.numbers)])]
    if numbers:
        yield visible.filter(patient_id__in=numbers)
        yield visible.filter(pk__in=PatientIdentifier.objects.filter(value__in=numbers).values("patient_ref"))
    if asked.words:
        yield within.filter(*(_having(word=word) for word in asked.words))
        yield within.filter(*(_having(word__startswith=word) for word in asked.words))
        yield within.sounding(asked.words)  # type: ignore[attr-defined]
    elif asked.born:
        yield within
    for number in numbers:
        yield visible.filter(patient_id__startswith=number)
        begins = PatientIdentifier.objects.filter(value__startswith=number)
        yield visible.filter(pk__in=begins.values("patient_ref"))
        yield visible.filter(Q(_having(word__startswith=number.lower())))


def _having(**lookup: Any) -> Q:
    return Q(pk__in=PatientNameWord.objects.filter(**lookup).values("patient_ref"))


def _written(day: date) -> list[str]:
    """How the column with the index writes a day; the retired form has dots."""
    return [f"{day:%Y%m%d}".zfill(8), f"{day:%Y.%m.%d}".zfill(10)]


def _date_at(parts: list[str], at: int) -> tuple[date | None, int]:
    """The birth date that begins with a part, and of how many parts it is."""
    for count in range(min(MOST_DATE_WORDS, len(parts) - at), 0, -1):
        day = parse_birth_date(" ".join(parts[at : at + count]))
        if day is not None and day.year >= 1850:
            return day, count
    return None, 0


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)

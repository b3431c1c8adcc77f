"""Finding studies for a person at a screen: one box, a few filters, keyset pages, and the version that tells
a page whether anything happened. Every question begins with `visible_to` and ends within a page of rows.
"""

import re
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from pacs.models import PatientModality, Series, Study
from pacs.models.study import StudyQuerySet
from pacs.services import first_patients, keyset
from pacs.services.conditions import IsOneOf, having_word
from pacs.services.first_patients import are_listed, first_named
from pacs.services.keyset import Place
from pacs.services.nearest import nearest
from pacs.services.search_words import Understanding, understand
from radiology.dicom import fold
from radiology.models import Patient, PatientIdentifier, PatientNameWord, Site
from radiology.services.survivors import survivor_of

PAGE = 50
MOST_PATIENTS = 200
FEW_SERIES = 2000
DESCRIPTION_DAYS = 31
VERSION_ROWS = 50


class Order(StrEnum):
    """How a list is sorted; every order has an index that serves it."""

    DATE = "date"
    ARRIVAL = "arrival"
    NAME = "name"


ORDERS: dict[Order, list[str]] = {
    Order.DATE: ["-sort_at", "-pk"],
    Order.ARRIVAL: ["-created_at", "-pk"],
    Order.NAME: ["patient_ref__patient_name_sort", "patient_ref__pk", "-sort_at", "-pk"],
}


@dataclass(frozen=True)
class Criteria:
    """What is looked for. `start` and `end` are days of the site, both included."""

    text: str = ""
    modality: str = ""
    start: date | None = None
    end: date | None = None
    patient: uuid.UUID | None = None
    order: Order = Order.DATE

    @property
    def is_empty(self) -> bool:
        return self == Criteria(order=self.order)

    def understood(self) -> Understanding:
        """What the text of the box means today."""
        return understand(self.text, timezone.localdate())

    def days(self) -> tuple[date | None, date | None]:
        """The days of the filter and of the box together."""
        every = self.understood().days
        starts = [day for day in (self.start, *(days.start for days in every)) if day]
        ends = [day for day in (self.end, *(days.end for days in every)) if day]
        return max(starts, default=None), min(ends, default=None)

    def is_within(self, days: int) -> bool:
        """Whether what is looked for lies within so many days."""
        start, end = self.days()
        return start is not None and (end or timezone.localdate()) - start < timedelta(days=days)

    def searches_descriptions(self) -> bool:
        """Descriptions have no index: their words count only within a month, and for one patient."""
        return self.patient is not None or self.is_within(DESCRIPTION_DAYS)

    def served_order(self) -> Order:
        """The order that the list really has: over long spans of days only that of the days is indexed."""
        spans = any(self.days()) and not self.is_within(DESCRIPTION_DAYS)
        return Order.DATE if spans and self.patient is None else self.order


@dataclass(frozen=True)
class Cursor:
    """A place in the list: between two rows, whichever rows come later."""

    at: datetime | None
    pk: int
    newer: bool = False

    def __str__(self) -> str:
        return f"{int(self.at.timestamp() * 1_000_000) if self.at else 'n'}-{self.pk}"

    @classmethod
    def parse(cls, text: str, *, newer: bool = False) -> "Cursor | None":
        found = re.fullmatch(r"(-?\d{1,17}|n)-(\d{1,18})", text, re.ASCII)
        if found is None:
            return None
        if found[1] == "n":
            return cls(None, int(found[2]), newer)
        try:
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(found[1]))
        except OverflowError:
            return None
        return cls(at, int(found[2]), newer)


@dataclass(frozen=True)
class StudyPage:
    """One page of a list, in an order that an index serves. `newer` and `older` lead to the pages around it."""

    studies: list[Study] = field(default_factory=list)
    order: Order = Order.DATE
    newer: Cursor | None = None
    older: Cursor | None = None


def search_studies(*, who: Any, criteria: Criteria, cursor: Cursor | None = None, size: int = PAGE) -> StudyPage:
    """One page of the studies that `who` may see, in a bounded number of queries.

    Sorted as asked for, else by date: over a long span of days, and names that thousands have, only
    that can be read along an index.
    """
    wanted = _matching(who, criteria)
    served = Order.DATE if wanted.is_of_many and criteria.order == Order.NAME else criteria.served_order()
    order = ORDERS[served]
    place = _place(cursor, order, who)
    direction = keyset.reverse(order) if place and place.backwards else order
    rows = wanted.rows(order=direction, size=size + 1, place=place)
    page = keyset.page_of(found=rows, size=size, order=order, place=place)
    return StudyPage(
        page.rows,
        served,
        _cursor(page.rows[0], order, newer=True) if page.previous else None,
        _cursor(page.rows[-1], order) if page.next else None,
    )


def studies_version(*, who: Any) -> str:
    """Changes whenever a study that `who` may see is added, changed or removed. One query (two for who sees all).

    Made of the studies changed last, so that a transaction that began earlier and ended later counts too.
    """
    if not who.may("studies.read"):
        return ""
    sites = Site.objects.values_list("pk", flat=True) if who.sees_every_site else [who.site_id]
    latest = [
        Study.objects.filter(site_id=site)
        .order_by("-updated_at")
        .values_list("pk", "version", "deleted_at")[:VERSION_ROWS]
        for site in sites
    ]
    if not latest:
        return ""
    rows = latest[0].union(*latest[1:], all=True) if len(latest) > 1 else latest[0]
    return ",".join(f"{pk}.{version}.{deleted is not None:d}" for pk, version, deleted in sorted(rows, key=_first))


def patients_of_id(*, who: Any, patient_id: str) -> list[Patient]:
    """Every patient that `who` may see with this PatientID, whoever issued it; at most twenty.

    One who was merged into another is that other.
    """
    wanted = patient_id.strip()
    if not wanted:
        return []
    found = Patient.objects.visible_to(who).filter(patient_id=wanted).select_related("site", "merged_into__site")
    return list({each.pk: each for each in map(survivor_of, found.order_by("pk")[:20])}.values())


def studies_of_accession(*, who: Any, accession_number: str) -> list[Study]:
    """The studies that `who` may see with this accession number, newest first; at most twenty."""
    wanted = accession_number.strip()
    if not wanted:
        return []
    found = Study.objects.visible_to(who).filter(accession_number=wanted)
    return list(found.select_related("patient_ref", "site").order_by("-sort_at", "-pk")[:20])


def studies_of_patient(*, who: Any, patient: Patient, size: int = PAGE, cursor: Cursor | None = None) -> list[Study]:
    """The newest studies of a patient that `who` may see; those behind `cursor` if there is one."""
    found = Study.objects.visible_to(who).filter(patient_ref=patient)
    if cursor and cursor.at:
        found = found.filter(keyset.behind(ORDERS[Order.DATE], [cursor.at, cursor.pk]))
    return list(found.select_related("patient_ref", "site").order_by("-sort_at", "-pk")[:size])


def _first(row: tuple[int, int, datetime | None]) -> int:
    return row[0]


def _cursor(study: Study, order: list[str], *, newer: bool = False) -> Cursor:
    """A place told by the moment of a study; in the order of names only by its number, for addresses are logged."""
    moments = {"-sort_at": study.sort_at, "-created_at": study.created_at}
    return Cursor(moments.get(order[0]), study.pk, newer)


def _place(cursor: Cursor | None, order: list[str], who: Any) -> Place | None:
    if cursor is None:
        return None
    if (cursor.at is None) != (order == ORDERS[Order.NAME]):
        return None
    if cursor.at is not None:
        return Place([cursor.at, cursor.pk], cursor.newer)
    row = (
        Study.objects.filter(site_id__in=_sites(who), pk=cursor.pk)
        .values_list(*(F(name.removeprefix("-")) for name in order))
        .first()
    )
    return Place(row, cursor.newer) if row else None


@dataclass(frozen=True)
class _Names:
    """How patients with a name are told from others: `having` of a study whether its patient is one of them.

    `many` says that they are very many; `listed` then makes what leads from them to their studies, if anything does.
    """

    having: Q
    many: bool = False
    listed: Callable[[], Q | None] = lambda: None


@dataclass(frozen=True)
class _Wanted:
    """Studies that match, but for the names; `every` is the list in which they stand."""

    every: StudyQuerySet
    found: StudyQuerySet
    names: _Names
    is_of_many: bool = False

    def rows(self, *, order: Sequence[str], size: int, place: Place | None) -> list[Study]:
        """The first `size` behind a place."""
        beyond = keyset.behind(order, place.values) if place else Q()
        found = self.found.filter(beyond).order_by(*keyset.expressions(order))
        found = found.select_related("patient_ref", "site").defer("attributes", "patient_ref__attributes")
        named = found.filter(self.names.having)
        if self.names.many:
            rows = nearest(named, every=self.every.filter(beyond), order=order, size=size)
            if rows is not None:
                return rows
        if (listed := self.names.listed()) is not None:
            return list(found.filter(pk__in=found.filter(listed).values("pk")[:size]))
        return list(named[:size])


def _matching(who: Any, criteria: Criteria) -> _Wanted:
    """The studies that match."""
    found = Study.objects.visible_to(who)
    understood = criteria.understood()
    if criteria.patient:
        found = found.filter(patient_ref__public_id=criteria.patient)
    zone = timezone.get_current_timezone()
    start, end = criteria.days()
    if start:
        found = found.filter(sort_at__gte=_midnight(start, zone))
    if end:
        found = found.filter(sort_at__lt=_midnight(end + timedelta(days=1), zone))
    every = found
    modalities = [codes for codes in ([criteria.modality] if criteria.modality else [], understood.modalities) if codes]
    for codes in modalities:
        found = found.filter(_of_modalities(codes, who))
    descriptions = criteria.searches_descriptions()
    names = [word for word in understood.words if not any(character.isdigit() for character in word)]
    numbers = [word for word in understood.words if word not in names]
    for word in numbers:
        matches = _begins("accession_number", word) | Q(patient_ref__in=_numbered(word, who))
        found = found.filter(matches | _described(word) if descriptions else matches)
    if not descriptions:
        named = _named(names, who, modalities, criteria.order) if names else _Names(Q())
        return _Wanted(every, found, named, named.many)
    several = False
    for word in names:
        named = _named([word], who, [], criteria.order)
        found = found.filter(_described(word) | named.having)
        several = several or named.many
    return _Wanted(every, found, _Names(Q()), several)


def _sites(who: Any) -> Any:
    return Site.objects.values("pk") if who.sees_every_site else [who.site_id]


def _of_modalities(codes: list[str], who: Any) -> Q:
    """Studies with one of these modalities. One that is rare, or was never here, would be looked for to the end
    of the archive: its series become a list.
    """
    having = Q(modalities_in_study__overlap=codes)
    series = Series.objects.filter(site_id__in=_sites(who), modality__in=codes)
    if series[FEW_SERIES : FEW_SERIES + 1].exists():
        return having
    return having & Q(IsOneOf("pk", series.values("study_ref")))


def _named(words: list[str], who: Any, modalities: list[list[str]], order: Order) -> _Names:
    """Patients whose name has, for each of `words`, a word that begins so.

    Few patients, of those with a study of `modalities` if there are any, become a list, which leads to their studies
    by index. A look at the first of those who have the name tells of a name that many have and of a modality that is
    usual among them, so that not all of them are looked at; but a list in the order of names must know how many.
    """
    parts = [part for word in words for part in _parts(word)]
    if len(parts) < len(words):
        return _Names(Q(pk__in=[]))
    found = first_named(
        who=who, beginnings=parts, modalities=modalities[0] if modalities else [], counted=order == Order.NAME
    )
    if found.patients is not None:
        return _Names(Q(patient_ref__in=found.patients))
    begins = PatientNameWord.objects.filter(patient_ref=OuterRef("patient_ref"))
    having = Q(*(Exists(begins.filter(word__startswith=part)) for part in parts))

    def listed() -> Q | None:
        known = found.are_listed
        return _listed(parts, modalities) if known or (known is None and are_listed(parts)) else None

    return _Names(having, True, listed)


def _listed(parts: list[str], modalities: list[list[str]]) -> Q:
    """Studies of those patients, by index."""
    named = [IsOneOf("patient_ref_id", having_word(part)[: first_patients.MOST_LISTED]) for part in parts]
    if not modalities:
        return Q(*named)
    examined = PatientModality.objects.filter(*named, modality__in=modalities[0])
    return Q(IsOneOf("patient_ref_id", examined.values("patient_ref")))


def _described(word: str) -> Q:
    """Descriptions have no index: they count only within a few days, or for one patient."""
    return Q(study_description__icontains=word)


def _begins(column: str, word: str) -> Q:
    """Numbers are compared as they are; their letters may have been typed small."""
    return Q(**{f"{column}__startswith": word}) | Q(**{f"{column}__startswith": word.upper()})


def _parts(word: str) -> list[str]:
    """A word as the index of name words holds it; "nur-aini" is two."""
    return [part[:64] for part in re.findall(r"[^\W_]+", fold(word))]


def _numbered(word: str, who: Any) -> list[int]:
    visible = Patient.objects.visible_to(who)
    by_id = visible.filter(_begins("patient_id", word)).order_by("patient_id").values_list("pk", flat=True)
    others = PatientIdentifier.objects.filter(value=word, patient_ref__in=visible)
    kept = [*by_id[:MOST_PATIENTS], *others.values_list("patient_ref", flat=True)[:MOST_PATIENTS]]
    parts = _parts(word)
    return kept + list(visible.named(parts).values_list("pk", flat=True)[:MOST_PATIENTS]) if parts else kept


def _midnight(day: date, zone: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone or zoneinfo.ZoneInfo("UTC"))

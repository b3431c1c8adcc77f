"""Searching the archive: one service for C-FIND, QIDO-RS and everything else that matches attributes.

`search` gives answers in the DICOM JSON model; a `Search` also gives them as text, and the model rows themselves. All
are read in pages along an index, so that the first answers come at once and memory stays small however much is found.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta, tzinfo
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from pacs.models import Study
from pacs.services.answers import answers_for
from pacs.services.attributes import Level, path
from pacs.services.conditions import sorted_within
from pacs.services.criteria import MODELS, Criteria, Keys, Test
from pacs.services.keyset import Page, Place, behind, expressions, page_of, reverse
from pacs.services.matching import DateRanges, Text
from pacs.services.nearest import nearest
from pacs.services.overlay import Element
from pacs.services.stored_values import Columns, Models, ValueOf
from pacs.services.studies_of_numbers import studies_of_numbers
from radiology.guest import Guest
from radiology.models import Site

# To ask once more costs more than to read a hundred rows more.
FIRST_PAGE = 200
PAGE = 500
DAY = timedelta(days=1)


def search(
    *,
    who: Any,
    level: Level,
    keys: Keys,
    returned: Collection[str] | None = None,
    base_url: str = "",
    limit: int | None = None,
    offset: int = 0,
    **options: Any,
) -> Iterator[dict[str, Element]]:
    """What `who` may see of what matches, as DICOM JSON with the `returned` attributes.

    `options` are those of Search. Raises InvalidValue, before anything is read, for a malformed value.
    """
    found = Search(who=who, level=level, keys=keys, **options)
    return found.answers(returned=returned, base_url=base_url, limit=limit, offset=offset)


class Search:
    """One search, understood.

    `keys` maps keywords or tags to the text of their value (several joined by a backslash; empty
    matches everything) or, for a sequence, to the keys of its one item. `fuzzy` matches names by the
    beginnings of their words, `combined` takes a date and its time as one moment, `zone` is the time
    zone in which the study's date and time are meant. Where an attribute of `empty_matches` is stored
    empty, it matches any key (PS3.4 C.2.2.1). `with_studies` leaves out patients of
    whom there is no study. Keys of lower levels match what has something matching below it. `unsupported`
    names the keys that are not returned or not matched, `unmatched` those of them whose value is ignored.
    """

    def __init__(
        self,
        *,
        who: Any,
        level: Level,
        keys: Keys,
        fuzzy: bool = False,
        combined: bool = False,
        zone: tzinfo | None = None,
        empty_matches: Collection[str] = (),
        with_studies: bool = True,
    ) -> None:
        self.who = who
        self.with_studies = with_studies
        self.level = level
        self.criteria = Criteria(
            who=who, level=level, keys=keys, fuzzy=fuzzy, combined=combined, zone=zone, empty_matches=empty_matches
        )
        self.unsupported = self.criteria.unsupported
        self.unmatched = self.criteria.unmatched

    def rows(self, *, limit: int | None = None, offset: int = 0) -> Iterator[Any]:
        """The rows found, with the rows above them, in an order that stays the same: studies newest
        first, series and instances of one study by number."""
        for page in self._pages(Models(self.level, with_json=True), limit=limit, offset=offset):
            yield from page

    def answers(
        self, *, returned: Collection[str] | None, base_url: str = "", limit: int | None = None, offset: int = 0
    ) -> Iterator[dict[str, Element]]:
        """The rows found as DICOM JSON; `returned` and `base_url` as of `answers_for`."""
        answers = answers_for(self.who, self.level, returned, base_url)
        for page in self._pages(answers.columns, limit=limit, offset=offset):
            yield from answers.page(page)

    def answers_as_text(
        self, *, returned: Collection[str] | None, base_url: str = "", limit: int | None = None, offset: int = 0
    ) -> Iterator[str]:
        """The same, each as the text of a JSON object."""
        answers = answers_for(self.who, self.level, returned, base_url)
        for page in self._pages(answers.columns, limit=limit, offset=offset):
            yield from answers.page_as_text(page)

    def page(self, *, size: int, order: Sequence[str] = (), place: Place | None = None) -> Page:
        """One page of the rows found, in the order of some indexed columns (else that of `rows`)."""
        order = order or self._order()
        towards = reverse(order) if place and place.backwards else order
        pages = self._pages(Models(self.level, with_json=False), limit=size + 1, order=towards, place=place)
        return page_of(found=[row for rows in pages for row in rows], size=size, order=order, place=place)

    def count(self, *, most: int) -> int:
        """How many are found, counted no further than one more than `most`."""
        if not self.criteria.tests:
            return sum(self._found().filter(branch)[: most + 1].count() for branch in self._branches())
        pages = self._pages(Columns(), limit=most + 1, size=most + 1)
        return sum(len(rows) for rows in pages)

    def _pages(
        self,
        read: Models | Columns,
        *,
        limit: int | None,
        offset: int = 0,
        order: Sequence[str] = (),
        place: Place | None = None,
        size: int = PAGE,
    ) -> Iterator[list[Any]]:
        first = FIRST_PAGE if limit is None else min(limit, size)
        if self._only_numbers and not (offset or order or place):
            rows = studies_of_numbers(who=self.who, numbers=self._only_numbers, most=first, read=read)
            if len(rows) < first or first == limit:
                if rows:
                    yield rows
                return
        order = order or self._order()
        columns = [name.removeprefix("-") for name in order]
        tests = self.criteria.tests
        found = read.of(self._found(), tested=[*columns, *self.criteria.tested])
        found = found.order_by(*expressions(order))
        if within := self._within_site(order):
            found = found.filter(within)
        if place is not None:
            found = found.filter(behind(order, place.values))
        branches = self._branches()
        skipped_in_sql = offset if not tests and len(branches) == 1 else 0
        offset -= skipped_in_sql
        for branch in branches:
            first = FIRST_PAGE if limit is None else min(limit, size)
            pending = found.filter(branch) if branch else found
            page = self._next(pending, branch, order, place.values if place else None, first, skipped_in_sql)
            while page:
                kept = [row for row in page if _accepted(tests, read.value_of(row))] if tests else page
                kept, offset = kept[offset:], max(0, offset - len(kept))
                if limit is not None:
                    kept = kept[:limit]
                    limit -= len(kept)
                if kept:
                    yield kept
                if len(page) < first or limit == 0:
                    break
                first, last = size, [*map(read.value_of(page[-1]), columns)]
                page = self._next(pending.filter(behind(order, last)), branch, order, last, first)
            if limit == 0:
                return

    def _next(
        self,
        pending: QuerySet[Any],
        branch: Q,
        order: Sequence[str],
        last: Sequence[Any] | None,
        size: int,
        skip: int = 0,
    ) -> list[Any]:
        """The next rows, behind those `last` values: of a common name and a modality not by reading on to the end."""
        criteria = self.criteria
        if "PatientName" in criteria.matchers and criteria.modalities and criteria.few_patients is None:
            every = Study.objects.visible_to(self.who).filter(branch, self._within_site(order))
            every = every.filter(behind(order, last)) if last else every
            rows = nearest(pending, every=every, order=order, size=size)
            if rows is not None:
                return rows
            if criteria.few_examined is not None:
                pending = pending.filter(patient_ref__in=criteria.few_examined)
        return list(pending[skip : skip + size])

    @property
    def _only_numbers(self) -> list[str]:
        """The numbers of patients, where their studies are asked for by nothing else."""
        matcher = self.criteria.matchers.get("PatientID")
        if (
            self.level != Level.STUDY
            or len(self.criteria.conditions) != 1
            or self.criteria.tests
            or not isinstance(matcher, Text)
            or matcher.has_patterns
            or "PatientID" in self.criteria.empty_matches
            or isinstance(self.who, Guest)
        ):
            return []
        return matcher.values

    def _found(self) -> QuerySet[Any]:
        model: Any = MODELS[self.level]
        found = model.objects.visible_to(self.who)
        if self.level == Level.PATIENT and self.with_studies:
            studies = Study.objects.visible_to(self.who).filter(patient_ref=OuterRef("pk"))
            found = found.filter(Exists(studies))
        elif self.level == Level.PATIENT:
            found = found.filter(merged_into=None)
        for condition in self.criteria.conditions:
            found = found.filter(condition() if callable(condition) else condition)
        if self.criteria.matchers:
            found = found.filter(self._same_site())
        return found

    def _within_site(self, order: Sequence[str]) -> Q:
        """Where the patient's columns decide the order, their index begins with the patient's site."""
        patient = path(self.level, Level.PATIENT)
        one = patient and not self.who.sees_every_site and order[0].removeprefix("-").startswith(patient)
        return Q(**{f"{patient}site_id": self.who.site_id}) if one else Q()

    def _same_site(self) -> Q:
        """The site spelled out wherever an index begins with it; of somebody who sees all of them, each."""
        sites = Site.objects.values("pk") if self.who.sees_every_site else [self.who.site_id]
        within = Q(site_id__in=sites) if self.who.sees_every_site else Q()
        if self.level != Level.PATIENT and any(each.level == Level.PATIENT for each in self.criteria.matched):
            within &= Q(**{f"{path(self.level, Level.PATIENT)}site_id__in": sites})
        return within

    def _branches(self) -> list[Q]:
        """Rows with a study date in the range, then those without one: each has an index of its own."""
        matcher = self.criteria.matchers.get("StudyDate")
        if not isinstance(matcher, DateRanges) or self.level == Level.PATIENT:
            return [Q()]
        column = path(self.level, Level.STUDY) + "study_date"
        dated = (self._widened(matcher) if self.criteria.zone else matcher).condition(column)
        if self.level == Level.STUDY:
            dated &= sorted_within(matcher)
        return [dated, Q(**{column: ""})] if "StudyDate" in self.criteria.empty_matches else [dated]

    @staticmethod
    def _widened(matcher: DateRanges) -> DateRanges:
        """A day more at both ends: what the date may be in another time zone."""
        return DateRanges([(_shifted(first, -1), _shifted(last, 1)) for first, last in matcher.ranges])

    def _order(self) -> list[str]:
        if self.level == Level.PATIENT:
            return ["patient_name_sort", "pk"]
        if self.level == Level.STUDY:
            return ["-sort_at", "-pk"]
        if self.level == Level.SERIES:
            return ["series_number", "pk"] if self.criteria.names_one("StudyInstanceUID") else ["-pk"]
        if self.criteria.names_one("SeriesInstanceUID"):
            return ["instance_number", "pk"]
        if self.criteria.names_one("StudyInstanceUID"):
            return ["series_ref__series_number", "series_ref_id", "instance_number", "pk"]
        return ["-pk"]


def _accepted(tests: Sequence[Test], value: ValueOf) -> bool:
    return all(test(value) for test in tests)


def _shifted(day: date, days: int) -> date:
    return day if day in (date.min, date.max) else day + days * DAY

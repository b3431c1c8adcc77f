"""Searching the archive: one service for C-FIND, QIDO-RS and everything else that matches attributes.

`search` gives answers in the DICOM JSON model; a `Search` also gives the model rows themselves. Both
read in pages along an index, so that the first answers come at once and memory stays small however
much is found. The rules of matching are those of PS3.4 C.2.2.2; see pacs.services.matching.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, Union

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from pacs.models import Instance, Series, Study
from pacs.services.answers import UNANSWERED, Answers, Element, Objects, Row, texts
from pacs.services.attributes import BY_KEYWORD, PAIRS, Attribute, Kind, Level, attribute, keyword_of
from pacs.services.conditions import (
    JSON_OF,
    column_condition,
    empty_condition,
    few_examined,
    few_patients,
    json_condition,
    rows_condition,
    set_condition,
    sorted_within,
)
from pacs.services.keyset import Page, Place, behind, expressions, page_of, reverse, values_of
from pacs.services.matching import MATCHED_VR, DateRanges, Matcher, Text, TimeRanges, parse
from pacs.services.nearest import nearest
from pacs.services.studies_of_numbers import studies_of_numbers
from radiology.dicom import parse_da, parse_tm
from radiology.errors import InvalidValue
from radiology.guest import Guest
from radiology.models import Patient, Site
from radiology.services.survivors import survivors_of_numbers

Keys = Mapping[str, Union[str, "Keys"]]
Test = Callable[[Row], bool]

FIRST_PAGE = 100
PAGE = 500
MODELS: dict[Level, type[Model]] = {
    Level.PATIENT: Patient,
    Level.STUDY: Study,
    Level.SERIES: Series,
    Level.INSTANCE: Instance,
}
UP = {Level.STUDY: "patient_ref__", Level.SERIES: "study_ref__", Level.INSTANCE: "series_ref__"}
# Keys that say how to answer and are never compared.
NOT_MATCHED = {"RetrieveAETitle", "InstanceAvailability", "RetrieveURL", "SpecificCharacterSet"}
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
        self.zone = zone
        self.empty_matches = empty_matches
        self.unsupported: list[str] = []
        self.unmatched: list[str] = []
        self._conditions: list[Q | Callable[[], Q]] = []
        self._below: dict[Level, list[Q]] = {}
        self._tests: list[Test] = []
        self._matchers: dict[str, Matcher] = {}
        for name, value in keys.items():
            self._understand(name, value, fuzzy)
        if combined:
            for day, moment in PAIRS.items():
                self._combine(day, moment)
        for keyword, matcher in self._matchers.items():
            self._match(BY_KEYWORD[keyword], matcher)
        for below, conditions in self._below.items():
            self._conditions.append(self._having(below, conditions))

    def rows(self, *, limit: int | None = None, offset: int = 0) -> Iterator[Row]:
        """The rows found, with the rows above them, in an order that stays the same: studies newest
        first, series and instances of one study by number."""
        for page in self._pages(limit=limit, offset=offset, with_json=True):
            yield from page

    def answers(
        self, *, returned: Collection[str] | None, base_url: str = "", limit: int | None = None, offset: int = 0
    ) -> Iterator[dict[str, Element]]:
        """The rows found as DICOM JSON; `returned` and `base_url` as in Answers."""
        answers = Answers(self.who, self.level, returned, base_url)
        for page in self._pages(limit=limit, offset=offset, with_json=answers.needs_json, for_answers=True):
            yield from answers.page(page)

    def page(self, *, size: int, order: Sequence[str] = (), place: Place | None = None) -> Page:
        """One page of the rows found, in the order of some indexed columns (else that of `rows`)."""
        order = order or self._order()
        towards = reverse(order) if place and place.backwards else order
        pages = self._pages(limit=size + 1, order=towards, place=place, with_json=False)
        return page_of(found=[row for rows in pages for row in rows], size=size, order=order, place=place)

    def count(self, *, most: int) -> int:
        """How many are found, counted no further than one more than `most`."""
        if not self._tests:
            return sum(self._found(with_json=False).filter(branch)[: most + 1].count() for branch in self._branches())
        pages = self._pages(limit=most + 1, with_json=False, size=most + 1, only_matched=True)
        return sum(len(rows) for rows in pages)

    def _understand(self, name: str, value: "str | Keys", fuzzy: bool) -> None:
        each = attribute(name)
        if each is None:
            self._ignore(name, value)
            self._unsupported(name)
            return
        if each.level.depth > self.level.depth:
            self._unsupported(each.keyword)
        if each.vr == "SQ":
            self._match_item(each, {} if isinstance(value, str) else value)
            return
        if not isinstance(value, str) or each.keyword in NOT_MATCHED or each.keyword == "TimezoneOffsetFromUTC":
            return
        if each.kind == Kind.WORKED_OUT or each.vr not in MATCHED_VR:
            self._ignore(each.keyword, value)
            return
        matcher = parse(keyword=each.keyword, vr=each.vr, text=value, fuzzy=fuzzy)
        if matcher is not None:
            self._matchers[each.keyword] = matcher

    def _ignore(self, name: str, value: "str | Keys") -> None:
        """A key that cannot be matched: no matter while it has no value."""
        if value.strip() if isinstance(value, str) else value:
            self.unmatched.append(name)
            self._unsupported(name)

    def _unsupported(self, name: str) -> None:
        if name not in self.unsupported:
            self.unsupported.append(name)

    def _match(self, each: Attribute, matcher: Matcher) -> None:
        if isinstance(matcher, TimeRanges) and any(first > last for first, last in matcher.ranges):
            # C.2.2.2.5.2: a range within a day does not cross midnight.
            raise InvalidValue(f"{each.keyword} must be a range whose first time is the earlier.", field=each.keyword)
        if each.level.depth > self.level.depth:
            self._match_below(each, matcher)
            return
        prefix = path(self.level, each.level)
        test = not matcher.exact
        if each.kind == Kind.COLUMN and self._in_zone(each):
            test = True
        elif each.kind == Kind.COLUMN and each.keyword != "StudyDate":
            self._conditions.append(lambda: self._column(each, matcher, prefix))
        elif each.kind == Kind.SET:
            self._conditions.append(set_condition(each, matcher, prefix))
            test = True
        elif each.kind == Kind.ROWS:
            self._conditions.append(rows_condition(each, matcher.condition(each.items[""]), prefix))
            test = False
        elif each.kind == Kind.JSON:
            at = JSON_OF[each.level] if self.level != Level.PATIENT else Level.PATIENT
            self._conditions.append(json_condition(each, matcher, path(self.level, at)))
            test = True
        if test:
            self._tests.append(lambda row: self._accepts(each, matcher, Objects.of(row)))

    def _column(self, each: Attribute, matcher: Matcher, prefix: str) -> Q:
        empty = empty_condition(each, prefix) if each.keyword in self.empty_matches else Q()
        found = column_condition(each, matcher, prefix) | empty | self._merged(each, matcher, prefix)
        if each.keyword == "PatientName" and self._few_patients is not None:
            found &= Q(**{f"{prefix}pk__in": self._few_patients})
        return found

    @cached_property
    def _few_patients(self) -> list[int] | None:
        """Those whom the name leaves, where they are few."""
        return few_patients(self._matchers["PatientName"], unnamed="PatientName" in self.empty_matches)

    @cached_property
    def _few_examined(self) -> list[int] | None:
        """Those whom the name and the modality leave, where they are few."""
        unnamed = "PatientName" in self.empty_matches
        return few_examined(self._matchers["PatientName"], modalities=self._modalities, unnamed=unnamed)

    @property
    def _modalities(self) -> list[str]:
        """The modalities that studies are asked for by, each as it is."""
        matcher = self._matchers.get("ModalitiesInStudy") or self._matchers.get("Modality")
        known = self.level == Level.STUDY and isinstance(matcher, Text) and not matcher.has_patterns
        return matcher.values if isinstance(matcher, Text) and known else []

    def _merged(self, each: Attribute, matcher: Matcher, prefix: str) -> Q:
        """Whoever asks by the number of a merged patient means the survivor."""
        if each.keyword != "PatientID" or not isinstance(matcher, Text) or matcher.has_patterns:
            return Q()
        sites = None if self.who.sees_every_site else [self.who.site_id]
        survivors = survivors_of_numbers(matcher.values, sites=sites)
        return Q(**{f"{prefix}pk__in": survivors}) if survivors else Q()

    def _match_below(self, each: Attribute, matcher: Matcher) -> None:
        if each.keyword == "Modality" and self.level == Level.STUDY and not getattr(matcher, "has_patterns", False):
            self._conditions.append(set_condition(BY_KEYWORD["ModalitiesInStudy"], matcher, ""))
            others = {other.keyword for other in self._matched if other.level == Level.SERIES} - {"Modality"}
            if not others and Level.SERIES not in self._below:
                return
        if each.kind == Kind.COLUMN:
            self._below.setdefault(each.level, []).append(column_condition(each, matcher, ""))
        elif each.kind == Kind.SET:
            self._below.setdefault(each.level, []).append(set_condition(each, matcher, ""))
        else:
            self.unmatched.append(each.keyword)

    def _match_item(self, each: Attribute, item: Keys) -> None:
        """Sequence matching (C.2.2.2.6): all keys of the item within one stored item."""
        wanted = Q()
        for name, value in item.items():
            part = Attribute(keyword_of(name), each.level, Kind.COLUMN)
            column = each.items.get(part.keyword)
            if column is None or not isinstance(value, str):
                self._ignore(each.keyword, value)
                continue
            matcher = parse(keyword=part.keyword, vr=part.vr, text=value)
            if matcher is not None:
                wanted &= matcher.condition(column)
        if wanted and each.level.depth > self.level.depth:
            self._below.setdefault(each.level, []).append(rows_condition(each, wanted, ""))
        elif wanted:
            self._conditions.append(rows_condition(each, wanted, path(self.level, each.level)))

    def _having(self, below: Level, conditions: list[Q]) -> Q:
        """Rows with something at the level `below` for which all conditions hold."""
        model: Any = MODELS[below]
        found = model.objects.visible_to(self.who)
        for condition in conditions:
            found = found.filter(condition)
        return Q(pk__in=found.values(path(below, self.level) + "pk"))

    def _combine(self, day: str, moment: str) -> None:
        """Combined datetime matching (C.2.2.2.5.3): from the first date's time to the last date's."""
        dates, times = self._matchers.get(day), self._matchers.get(moment)
        if not (isinstance(dates, DateRanges) and isinstance(times, TimeRanges)):
            return
        if BY_KEYWORD[day].level.depth > self.level.depth:
            return
        del self._matchers[moment]
        spans = [
            (datetime.combine(first, start), datetime.combine(last, end))
            for first, last in dates.ranges
            for start, end in times.ranges
        ]

        def within(row: Row) -> bool:
            objects = Objects.of(row)
            on, at = (self._stored(BY_KEYWORD[keyword], objects) for keyword in (day, moment))
            if not on or not at:
                return (bool(on) or day in self.empty_matches) and (bool(at) or moment in self.empty_matches)
            stored_day, stored_time = parse_da(on), parse_tm(at)
            if stored_day is None or stored_time is None:
                return False
            return any(start <= datetime.combine(stored_day, stored_time) <= end for start, end in spans)

        self._tests.append(within)

    def _accepts(self, each: Attribute, matcher: Matcher, objects: Objects) -> bool:
        if each.kind == Kind.JSON:
            return matcher.accepts(texts(objects.other(each.level, each.tag)))
        stored = self._stored(each, objects)
        if not stored and each.keyword in self.empty_matches:
            return True
        return matcher.accepts(stored if isinstance(stored, list) else str(stored).split("\\"))

    def _in_zone(self, each: Attribute) -> bool:
        return self.zone is not None and each.keyword in ("StudyDate", "StudyTime")

    def _stored(self, each: Attribute, objects: Objects) -> Any:
        stored = getattr(objects.at(each.level), each.column)
        study = objects.study
        if stored and self._in_zone(each) and study is not None and study.study_datetime is not None:
            local = study.study_datetime.astimezone(self.zone)
            return f"{local:%Y%m%d}" if each.keyword == "StudyDate" else f"{local:%H%M%S.%f}"
        return stored

    def _pages(
        self,
        *,
        limit: int | None,
        offset: int = 0,
        with_json: bool,
        order: Sequence[str] = (),
        place: Place | None = None,
        size: int = PAGE,
        only_matched: bool = False,
        for_answers: bool = False,
    ) -> Iterator[list[Row]]:
        first = FIRST_PAGE if limit is None else min(limit, size)
        if self._only_numbers and not (offset or order or place or only_matched):
            rows = studies_of_numbers(
                who=self.who, numbers=self._only_numbers, most=first, with_json=with_json, for_answers=for_answers
            )
            if len(rows) < first or first == limit:
                if rows:
                    yield list(rows)
                return
        order = order or self._order()
        found = self._found(with_json).order_by(*expressions(order)).filter(self._within_site(order))
        if only_matched and not any(each.kind == Kind.JSON for each in self._matched):
            found = found.only(*self._needed(order))
        elif for_answers:
            found = found.defer(*self._unanswered())
        if place is not None:
            found = found.filter(behind(order, place.values))
        branches = self._branches()
        skipped_in_sql = offset if not self._tests and len(branches) == 1 else 0
        offset -= skipped_in_sql
        for branch in branches:
            first = FIRST_PAGE if limit is None else min(limit, size)
            pending = found.filter(branch)
            page = self._next(pending, branch, order, place.values if place else None, first, skipped_in_sql)
            while page:
                kept = [row for row in page if all(test(row) for test in self._tests)]
                kept, offset = kept[offset:], max(0, offset - len(kept))
                if limit is not None:
                    kept = kept[:limit]
                    limit -= len(kept)
                if kept:
                    yield kept
                if len(page) < first or limit == 0:
                    break
                first, last = size, values_of(order, page[-1])
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
    ) -> list[Row]:
        """The next rows, behind those `last` values: of a common name and a modality not by reading on to the end."""
        if "PatientName" in self._matchers and self._modalities and self._few_patients is None:
            every = Study.objects.visible_to(self.who).filter(branch, self._within_site(order))
            every = every.filter(behind(order, last)) if last else every
            rows = nearest(pending, every=every, order=order, size=size)
            if rows is not None:
                return rows
            if self._few_examined is not None:
                pending = pending.filter(patient_ref__in=self._few_examined)
        return list(pending[skip : skip + size])

    @property
    def _only_numbers(self) -> list[str]:
        """The numbers of patients, where their studies are asked for by nothing else."""
        matcher = self._matchers.get("PatientID")
        if (
            self.level != Level.STUDY
            or len(self._conditions) != 1
            or self._tests
            or not isinstance(matcher, Text)
            or matcher.has_patterns
            or "PatientID" in self.empty_matches
            or isinstance(self.who, Guest)
        ):
            return []
        return matcher.values

    def _found(self, with_json: bool) -> QuerySet[Any]:
        model: Any = MODELS[self.level]
        found = model.objects.visible_to(self.who)
        levels = [each for each in JSON_OF if each.depth <= self.level.depth]
        if self.level == Level.PATIENT and self.with_studies:
            studies = Study.objects.visible_to(self.who).filter(patient_ref=OuterRef("pk"))
            found = found.filter(Exists(studies))
        elif self.level == Level.PATIENT:
            found = found.filter(merged_into=None)
        else:
            found = found.select_related(path(self.level, Level.PATIENT).removesuffix("__"))
        if not with_json and not any(each.kind == Kind.JSON for each in self._matched):
            found = found.defer(*(f"{path(self.level, each)}attributes" for each in levels))
        for condition in self._conditions:
            found = found.filter(condition() if callable(condition) else condition)
        if self._matchers:
            found = found.filter(self._same_site())
        return found

    def _within_site(self, order: Sequence[str]) -> Q:
        """Where the patient's columns decide the order, their index begins with the patient's site."""
        patient = path(self.level, Level.PATIENT)
        one = patient and not self.who.sees_every_site and order[0].removeprefix("-").startswith(patient)
        return Q(**{f"{patient}site_id": self.who.site_id}) if one else Q()

    @property
    def _matched(self) -> list[Attribute]:
        return [BY_KEYWORD[keyword] for keyword in self._matchers]

    def _needed(self, order: Sequence[str]) -> list[str]:
        """The columns that the order and the tests of rows ask for."""
        matched = (each for each in self._matched if each.column and each.level.depth <= self.level.depth)
        columns = {path(self.level, each.level) + each.column for each in matched}
        return [*columns, *(name.removeprefix("-") for name in order), path(self.level, Level.PATIENT) + "id"]

    def _unanswered(self) -> Iterator[str]:
        for level, columns in UNANSWERED.items():
            if level.depth <= self.level.depth:
                yield from (path(self.level, level) + column for column in columns)
        if not self.zone and self.level != Level.PATIENT:
            yield path(self.level, Level.STUDY) + "study_datetime"

    def _same_site(self) -> Q:
        """The site spelled out wherever an index begins with it; of somebody who sees all of them, each."""
        sites = Site.objects.values("pk") if self.who.sees_every_site else [self.who.site_id]
        within = Q(site_id__in=sites) if self.who.sees_every_site else Q()
        if self.level != Level.PATIENT and any(each.level == Level.PATIENT for each in self._matched):
            within &= Q(**{f"{path(self.level, Level.PATIENT)}site_id__in": sites})
        return within

    def _branches(self) -> list[Q]:
        """Rows with a study date in the range, then those without one: each has an index of its own."""
        matcher = self._matchers.get("StudyDate")
        if not isinstance(matcher, DateRanges) or self.level == Level.PATIENT:
            return [Q()]
        column = path(self.level, Level.STUDY) + "study_date"
        dated = (self._widened(matcher) if self.zone else matcher).condition(column)
        if self.level == Level.STUDY:
            dated &= sorted_within(matcher)
        return [dated, Q(**{column: ""})] if "StudyDate" in self.empty_matches else [dated]

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
            return ["series_number", "pk"] if self._names_one("StudyInstanceUID") else ["-pk"]
        if self._names_one("SeriesInstanceUID"):
            return ["instance_number", "pk"]
        if self._names_one("StudyInstanceUID"):
            return ["series_ref__series_number", "series_ref_id", "instance_number", "pk"]
        return ["-pk"]

    def _names_one(self, keyword: str) -> bool:
        return len(getattr(self._matchers.get(keyword), "values", ())) == 1


def path(level: Level, above: Level) -> str:
    """The ORM's path from a row of `level` to the row of `above` that it belongs to."""
    levels = list(Level)
    return "".join(UP[each] for each in reversed(levels[above.depth + 1 : level.depth + 1]))


def _shifted(day: date, days: int) -> date:
    return day if day in (date.min, date.max) else day + days * DAY

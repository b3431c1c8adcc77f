"""What the keys of a search mean: conditions on the archive's tables, and tests of the rows that these leave.

The rules of matching are those of PS3.4 C.2.2.2; see pacs.services.matching.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, tzinfo
from functools import cached_property
from typing import Any, Union

from django.db.models import Model, Q

from pacs.models import Instance, Series, Study
from pacs.services.attributes import BY_KEYWORD, PAIRS, Attribute, Kind, Level, attribute, keyword_of, path
from pacs.services.conditions import (
    JSON_OF,
    column_condition,
    empty_condition,
    few_examined,
    few_patients,
    json_condition,
    rows_condition,
    set_condition,
)
from pacs.services.matching import MATCHED_VR, DateRanges, Matcher, Text, TimeRanges, parse
from pacs.services.stored_values import OtherAttributes, ValueOf, texts
from radiology.dicom import parse_da, parse_tm
from radiology.errors import InvalidValue
from radiology.models import Patient
from radiology.services.survivors import survivors_of_numbers

Keys = Mapping[str, Union[str, "Keys"]]
Test = Callable[[ValueOf], bool]

MODELS: dict[Level, type[Model]] = {
    Level.PATIENT: Patient,
    Level.STUDY: Study,
    Level.SERIES: Series,
    Level.INSTANCE: Instance,
}
# Keys that say how to answer and are never compared.
NOT_MATCHED = {"RetrieveAETitle", "InstanceAvailability", "RetrieveURL", "SpecificCharacterSet"}


class Criteria:
    """Keys, understood. `who`, `level` and what follows are as of a Search.

    A row is found where all `conditions` hold (or the Q that one of them makes when it is needed) and all `tests`
    accept what stands at `tested`, paths of the ORM.
    """

    def __init__(
        self,
        *,
        who: Any,
        level: Level,
        keys: Keys,
        fuzzy: bool,
        combined: bool,
        zone: tzinfo | None,
        empty_matches: Collection[str],
    ) -> None:
        self.who = who
        self.level = level
        self.zone = zone
        self.empty_matches = empty_matches
        self.unsupported: list[str] = []
        self.unmatched: list[str] = []
        self.conditions: list[Q | Callable[[], Q]] = []
        self.tests: list[Test] = []
        self.tested: list[str] = []
        self.matchers: dict[str, Matcher] = {}
        self._below: dict[Level, list[Q]] = {}
        self._others = OtherAttributes(level)
        self._instant = path(level, Level.STUDY) + "study_datetime"
        for name, value in keys.items():
            self._understand(name, value, fuzzy)
        if combined:
            for day, moment in PAIRS.items():
                self._combine(day, moment)
        for keyword, matcher in self.matchers.items():
            self._match(BY_KEYWORD[keyword], matcher)
        for below, conditions in self._below.items():
            self.conditions.append(self._having(below, conditions))

    @property
    def matched(self) -> list[Attribute]:
        return [BY_KEYWORD[keyword] for keyword in self.matchers]

    def names_one(self, keyword: str) -> bool:
        """Whether the key asks for one value."""
        return len(getattr(self.matchers.get(keyword), "values", ())) == 1

    @cached_property
    def few_patients(self) -> list[int] | None:
        """Those whom the name leaves, where they are few."""
        return few_patients(self.matchers["PatientName"], unnamed="PatientName" in self.empty_matches)

    @cached_property
    def few_examined(self) -> list[int] | None:
        """Those whom the name and the modality leave, where they are few."""
        unnamed = "PatientName" in self.empty_matches
        return few_examined(self.matchers["PatientName"], modalities=self.modalities, unnamed=unnamed)

    @property
    def modalities(self) -> list[str]:
        """The modalities that studies are asked for by, each as it is."""
        matcher = self.matchers.get("ModalitiesInStudy") or self.matchers.get("Modality")
        known = self.level == Level.STUDY and isinstance(matcher, Text) and not matcher.has_patterns
        return matcher.values if isinstance(matcher, Text) and known else []

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
            self.matchers[each.keyword] = matcher

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
            self.conditions.append(lambda: self._column(each, matcher, prefix))
        elif each.kind == Kind.SET:
            self.conditions.append(set_condition(each, matcher, prefix))
            test = True
        elif each.kind == Kind.ROWS:
            self.conditions.append(rows_condition(each, matcher.condition(each.items[""]), prefix))
            test = False
        elif each.kind == Kind.JSON:
            at = JSON_OF[each.level] if self.level != Level.PATIENT else Level.PATIENT
            self.conditions.append(json_condition(each, matcher, path(self.level, at)))
            test = True
        if test:
            self._test(each, lambda value: self._accepts(each, matcher, value))

    def _test(self, each: Attribute, test: Test) -> None:
        self.tests.append(test)
        if each.kind == Kind.JSON:
            self.tested += self._others.names
            return
        self.tested.append(path(self.level, each.level) + each.column)
        if self._in_zone(each):
            self.tested.append(self._instant)

    def _column(self, each: Attribute, matcher: Matcher, prefix: str) -> Q:
        empty = empty_condition(each, prefix) if each.keyword in self.empty_matches else Q()
        found = column_condition(each, matcher, prefix) | empty | self._merged(each, matcher, prefix)
        if each.keyword == "PatientName" and self.few_patients is not None:
            found &= Q(**{f"{prefix}pk__in": self.few_patients})
        return found

    def _merged(self, each: Attribute, matcher: Matcher, prefix: str) -> Q:
        """Whoever asks by the number of a merged patient means the survivor."""
        if each.keyword != "PatientID" or not isinstance(matcher, Text) or matcher.has_patterns:
            return Q()
        sites = None if self.who.sees_every_site else [self.who.site_id]
        survivors = survivors_of_numbers(matcher.values, sites=sites)
        return Q(**{f"{prefix}pk__in": survivors}) if survivors else Q()

    def _match_below(self, each: Attribute, matcher: Matcher) -> None:
        if each.keyword == "Modality" and self.level == Level.STUDY and not getattr(matcher, "has_patterns", False):
            self.conditions.append(set_condition(BY_KEYWORD["ModalitiesInStudy"], matcher, ""))
            others = {other.keyword for other in self.matched if other.level == Level.SERIES} - {"Modality"}
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
            self.conditions.append(rows_condition(each, wanted, path(self.level, each.level)))

    def _having(self, below: Level, conditions: list[Q]) -> Q:
        """Rows with something at the level `below` for which all conditions hold."""
        model: Any = MODELS[below]
        found = model.objects.visible_to(self.who)
        for condition in conditions:
            found = found.filter(condition)
        return Q(pk__in=found.values(path(below, self.level) + "pk"))

    def _combine(self, day: str, moment: str) -> None:
        """Combined datetime matching (C.2.2.2.5.3): from the first date's time to the last date's."""
        dates, times = self.matchers.get(day), self.matchers.get(moment)
        if not (isinstance(dates, DateRanges) and isinstance(times, TimeRanges)):
            return
        if BY_KEYWORD[day].level.depth > self.level.depth:
            return
        del self.matchers[moment]
        spans = [
            (datetime.combine(first, start), datetime.combine(last, end))
            for first, last in dates.ranges
            for start, end in times.ranges
        ]

        def within(value: ValueOf) -> bool:
            on, at = (self._stored(BY_KEYWORD[keyword], value) for keyword in (day, moment))
            if not on or not at:
                return (bool(on) or day in self.empty_matches) and (bool(at) or moment in self.empty_matches)
            stored_day, stored_time = parse_da(on), parse_tm(at)
            if stored_day is None or stored_time is None:
                return False
            return any(start <= datetime.combine(stored_day, stored_time) <= end for start, end in spans)

        self._test(BY_KEYWORD[day], within)
        self.tested.append(path(self.level, BY_KEYWORD[moment].level) + BY_KEYWORD[moment].column)

    def _accepts(self, each: Attribute, matcher: Matcher, value: ValueOf) -> bool:
        if each.kind == Kind.JSON:
            return matcher.accepts(texts(self._others.one(value, each.level, each.tag)))
        stored = self._stored(each, value)
        if not stored and each.keyword in self.empty_matches:
            return True
        return matcher.accepts(stored if isinstance(stored, list) else str(stored).split("\\"))

    def _in_zone(self, each: Attribute) -> bool:
        return self.zone is not None and each.keyword in ("StudyDate", "StudyTime")

    def _stored(self, each: Attribute, value: ValueOf) -> Any:
        stored = value(path(self.level, each.level) + each.column)
        if stored and self._in_zone(each) and (moment := value(self._instant)) is not None:
            local = moment.astimezone(self.zone)
            return f"{local:%Y%m%d}" if each.keyword == "StudyDate" else f"{local:%H%M%S.%f}"
        return stored

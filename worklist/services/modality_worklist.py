"""The modality worklist (PS3.4 Annex K): which scheduled steps a station is told of, and why not of others.

One understanding of a query serves C-FIND, REST and the page that explains an empty worklist: whatever
refuses a step there refuses it here. SQL narrows the rows on indexed columns, `refusals` is exact.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from pacs.services.attributes import keyword_of
from pacs.services.criteria import Keys
from pacs.services.keyset import Place, behind
from pacs.services.matching import MATCHED_VR, Matcher, Text, parse
from pacs.services.overlay import Element
from worklist.models import ScheduledProcedureStep
from worklist.services.start_interval import DATE, TIME, StartInterval
from worklist.services.worklist_attributes import (
    ATTRIBUTES,
    MANY,
    PATIENT,
    STEP,
    Context,
    WorklistAttribute,
    answer_of,
)
from worklist.services.worklist_rules import Rule, Station

FIRST_PAGE, PAGE = 100, 500
ORDER = ("scheduled_start", "pk")
TITLES = "ScheduledStationAETitle"


@dataclass(frozen=True)
class KeyTest:
    """One matching key of a query that has a value: `keywords` name it (start date and time are one), `asked` is
    its text, `accepts` decides of a step, `stored` is what the step has instead."""

    keywords: tuple[str, ...]
    asked: str
    accepts: Callable[[Any, Context], bool]
    stored: Callable[[Any, Context], Sequence[str]]
    condition: Q = field(default_factory=Q)


class WorklistSearch:
    """A worklist query, understood.

    `keys` are those of the identifier, by tag or keyword: text (several values joined by a backslash),
    or of a sequence the keys of its one item. Dates and times are meant, matched and answered in
    `zone`, by default the site's. `unsupported` names the keys that are neither returned nor matched.
    Raises InvalidValue, naming the keyword, for a value that is malformed.
    """

    def __init__(
        self, *, station: Station, keys: Keys, zone: tzinfo | None = None, now: datetime | None = None
    ) -> None:
        self.station = station
        self.context = Context(zone=zone or station.zone, title=station.title)
        self.now = now or timezone.now()
        self.rules: list[Rule] = station.rules(self.now)
        self.tests: list[KeyTest] = []
        self.unsupported: list[str] = []
        self.interval: StartInterval | None = None
        self.wanted: dict[str, Any] = {}
        self._needs: set[str] = set()
        self._understand(ATTRIBUTES, keys, self.wanted, self.tests)

    def rows(
        self, steps: QuerySet[ScheduledProcedureStep], *, place: Place | None = None
    ) -> Iterator[ScheduledProcedureStep]:
        """Of `steps` those that match, by start, read in pages along an index."""
        conditions = [*(rule.condition for rule in self.rules), *(test.condition for test in self.tests)]
        narrowed = steps.filter(*filter(None, conditions), site_id=self.station.site.pk)
        found, size = self._with_what_is_read(narrowed).order_by(*ORDER), FIRST_PAGE
        last = list(place.values) if place else None
        while True:
            page = list((found.filter(behind(ORDER, last)) if last else found)[:size])
            yield from (step for step in page if self.matches(step))
            if len(page) < size:
                return
            last, size = [page[-1].scheduled_start, page[-1].pk], PAGE

    def answers(self, steps: QuerySet[ScheduledProcedureStep]) -> Iterator[dict[str, Element]]:
        """What was asked for of each step that matches, in the DICOM JSON model."""
        return (self.answer(step) for step in self.rows(steps))

    def answer(self, step: ScheduledProcedureStep) -> dict[str, Element]:
        return answer_of(ATTRIBUTES, step, self.context, self.wanted) if self.wanted else {}

    def matches(self, step: ScheduledProcedureStep) -> bool:
        return next(self.refusals(step), None) is None

    def refusals(self, step: ScheduledProcedureStep) -> Iterator[Rule | KeyTest]:
        """Each rule and key that keeps the step from being told."""
        yield from (rule for rule in self.rules if not rule.accepts(step))
        yield from (test for test in self.tests if not test.accepts(step, self.context))

    def candidates(self, steps: QuerySet[ScheduledProcedureStep]) -> QuerySet[ScheduledProcedureStep]:
        """Of `steps` those of the station's site, with everything that `refusals` and `answer` read of them."""
        return self._with_what_is_read(steps.filter(site_id=self.station.site.pk))

    def _with_what_is_read(self, steps: QuerySet[ScheduledProcedureStep]) -> QuerySet[ScheduledProcedureStep]:
        joined = {PATIENT, *(path for path in self._needs if path not in MANY)}
        return steps.select_related(*sorted(joined)).prefetch_related(*sorted(self._needs & MANY))

    def _understand(
        self, known: Mapping[str, WorklistAttribute], keys: Keys, wanted: dict[str, Any], tests: list[KeyTest]
    ) -> None:
        """Take up the keys of one level; those of a step's start are one key."""
        start = {}
        for name, value in keys.items():
            each = _named(known, name)
            if each is None:
                self.unsupported.append(keyword_of(name) or name)
                continue
            self._needs.update(each.needs)
            if each.keyword in (DATE, TIME) and known is STEP.items:
                start[each.keyword] = value if isinstance(value, str) else ""
            if each.vr != "SQ":
                wanted[each.tag] = None
                if each.keyword not in start:
                    tests.extend(self._test(each, value if isinstance(value, str) else ""))
                continue
            below: list[KeyTest] = []
            wanted[each.tag] = {}
            self._understand(each.items, value if isinstance(value, Mapping) else {}, wanted[each.tag], below)
            # The step of an item is the item itself: its keys are told one by one.
            tests.extend(below if each is STEP else _item_test(each, below))
        tests.extend(self._start_test(start.get(DATE, ""), start.get(TIME, "")))

    def _test(self, each: WorklistAttribute, text: str) -> Iterator[KeyTest]:
        if each.vr not in MATCHED_VR or each.keyword == "TimezoneOffsetFromUTC":
            return
        matcher = parse(keyword=each.keyword, vr=each.vr, text=text)
        if matcher is not None:
            accepts = _exactly(each, matcher)
            yield KeyTest((each.keyword,), text, accepts, each.texts, _condition(each, matcher))

    def _start_test(self, dates: str, times: str) -> Iterator[KeyTest]:
        interval = StartInterval.parse(dates=dates, times=times, zone=self.context.zone)
        if interval is None:
            return
        self.interval = interval
        keywords = tuple(keyword for keyword, text in ((DATE, dates), (TIME, times)) if text.strip(" -*"))
        asked = " ".join(text for text in (dates, times) if text)

        def stored(step: ScheduledProcedureStep, context: Context) -> list[str]:
            return [*STEP.items[_tag(DATE)].texts(step, context), *STEP.items[_tag(TIME)].texts(step, context)]

        yield KeyTest(
            keywords or (DATE,),
            asked,
            lambda step, _: interval.accepts(step.scheduled_start),
            stored,
            interval.condition,
        )


def _named(known: Mapping[str, WorklistAttribute], name: str) -> WorklistAttribute | None:
    return known.get(name.upper()) or next((each for each in known.values() if each.keyword == name), None)


def _tag(keyword: str) -> str:
    return next(tag for tag, each in STEP.items.items() if each.keyword == keyword)


def _exactly(each: WorklistAttribute, matcher: Matcher) -> Callable[[Any, Context], bool]:
    """An empty stored value fails any key but an empty one and a lone `*` (K.2.2.1.1.1)."""

    def accepts(row: Any, context: Context) -> bool:
        stored = each.texts(row, context)
        return bool(stored) and matcher.accepts(stored)

    return accepts


def _condition(each: WorklistAttribute, matcher: Matcher) -> Q:
    if each.keyword == TITLES:
        # A step without titles is for whoever asks: it has that one's title.
        if isinstance(matcher, Text) and not matcher.has_patterns:
            return Q(scheduled_station_ae_titles__overlap=matcher.values) | Q(scheduled_station_ae_titles=[])
        return Q()
    return matcher.condition(each.column) if each.column else Q()


def _item_test(each: WorklistAttribute, below: list[KeyTest]) -> Iterator[KeyTest]:
    """Sequence matching (C.2.2.2.6): all keys of the item within one stored item."""
    if not below:
        return

    def accepts(row: Any, context: Context) -> bool:
        return any(all(test.accepts(item, context) for test in below) for item in each.values(row, context))

    def stored(row: Any, context: Context) -> list[str]:
        return [
            " ".join(text for test in below for text in test.stored(item, context))
            for item in each.values(row, context)
        ]

    yield KeyTest((each.keyword,), " ".join(test.asked for test in below), accepts, stored)

"""Scheduled Procedure Step Start Date and Time as matching keys: together one interval (PS3.4 Table K.6-1)."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from django.db.models import Q

from pacs.services.matching import DateRanges, TimeRanges, any_of, parse

DATE, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class StartInterval:
    """What the two keys ask for, in one zone: `spans` of local time, and a time of the day (`times`) where a time
    that is no range, or that comes without a date, holds on each day."""

    spans: tuple[tuple[datetime, datetime], ...]
    times: TimeRanges | None
    zone: tzinfo

    @classmethod
    def parse(cls, *, dates: str, times: str, zone: tzinfo) -> "StartInterval | None":
        """The matcher of the keys' texts; None where both match everything. Raises InvalidValue, naming the key.

        Dates and a range of times are one interval, from the first date's time to the last date's. On a
        single date, a range of times that ends before it begins goes on into the next day.
        """
        days = parse(keyword=DATE, vr="DA", text=dates)
        moments = parse(keyword=TIME, vr="TM", text=times)
        assert days is None or isinstance(days, DateRanges)
        assert moments is None or isinstance(moments, TimeRanges)
        if days is None and moments is None:
            return None
        if days is not None and moments is not None and "-" in times:
            spans = tuple(
                _span(first, last, start, end) for first, last in days.ranges for start, end in moments.ranges
            )
            return cls(spans, None, zone)
        whole = (
            tuple((datetime.combine(a, time.min), datetime.combine(b, time.max)) for a, b in days.ranges)
            if days
            else ()
        )
        return cls(whole, moments, zone)

    def accepts(self, start: datetime | None) -> bool:
        if start is None:
            return False
        local = start.astimezone(self.zone).replace(tzinfo=None)
        if self.spans and not any(first <= local <= last for first, last in self.spans):
            return False
        return self.times is None or any(
            first <= local.time() <= last if first <= last else local.time() >= first or local.time() <= last
            for first, last in self.times.ranges
        )

    @property
    def condition(self) -> Q:
        """Rows of scheduled steps that may be accepted."""
        return any_of(self._between(first, last) for first, last in self.spans) if self.spans else Q()

    @property
    def first_day(self) -> date | None:
        """The day around which to look for what was meant."""
        days = [first.date() for first, _ in self.spans if first.date() != date.min]
        return min(days) if days else max((last.date() for _, last in self.spans), default=None)

    def _between(self, first: datetime, last: datetime) -> Q:
        found = Q(scheduled_start__isnull=False)
        if first.date() > date.min:  # what an open end means has no instant in other zones
            found &= Q(scheduled_start__gte=first.replace(tzinfo=self.zone))
        if last.date() < date.max:
            found &= Q(scheduled_start__lte=last.replace(tzinfo=self.zone))
        return found


def _span(first: date, last: date, start: time, end: time) -> tuple[datetime, datetime]:
    until = datetime.combine(last, end)
    if first == last and end < start and last < date.max:
        until += DAY
    return datetime.combine(first, start), until


def _ranges(days: DateRanges | None) -> list[tuple[date, date]]:
    return days.ranges if days else []

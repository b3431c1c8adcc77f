"""When rooms take patients: opening hours and blocks as intervals of instants.

Opening hours are wall-clock times in the site's zone and may pass midnight; an interval is a pair of aware
instants of which the start belongs to it and the end does not. A room without any hours is always open.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from worklist.models import OpeningHours, RoomBlock

Interval = tuple[datetime, datetime]
ONE_DAY = timedelta(days=1)


def at_wall(*, day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The instant of a wall-clock time. What a change of the clock leaves out counts as the hour behind it."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def midnight(*, day: date, zone: ZoneInfo) -> datetime:
    return at_wall(day=day, clock=time.min, zone=zone)


def open_intervals(*, hours: Sequence[OpeningHours], zone: ZoneInfo, start: datetime, end: datetime) -> list[Interval]:
    """When a room with these hours is open from `start` to `end`, joined where one opening follows another."""
    if not hours:
        return [(start, end)]
    first, last = start.astimezone(zone).date() - ONE_DAY, end.astimezone(zone).date()
    return list(_clipped(joined(_openings(hours, zone, first, last)), start, end))


def without(*, intervals: Iterable[Interval], taken: Iterable[Interval]) -> Iterator[Interval]:
    """What of the intervals nothing in `taken` touches. Both may come in any order."""
    busy = list(joined(taken))
    for start, end in sorted(intervals):
        for from_, until in busy:
            if until <= start:
                continue
            if from_ >= end:
                break
            if from_ > start:
                yield start, from_
            start = max(start, until)
        if start < end:
            yield start, end


def joined(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The same times in order, without overlaps and without seams."""
    current: Interval | None = None
    for start, end in sorted(intervals):
        if current is not None and start <= current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current


def closed_intervals(
    *, hours: Sequence[OpeningHours], zone: ZoneInfo, start: datetime, end: datetime
) -> list[Interval]:
    """The rest of the time from `start` to `end`."""
    return list(without(intervals=[(start, end)], taken=open_intervals(hours=hours, zone=zone, start=start, end=end)))


def is_open(*, hours: Sequence[OpeningHours], zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    """Whether the whole time lies within opening hours."""
    return open_intervals(hours=hours, zone=zone, start=start, end=end) == [(start, end)]


def of_blocks(blocks: Iterable[RoomBlock]) -> list[Interval]:
    return [(each.starts, each.ends) for each in blocks]


def _openings(hours: Sequence[OpeningHours], zone: ZoneInfo, first: date, last: date) -> Iterator[Interval]:
    for number in range((last - first).days + 1):
        day = first + number * ONE_DAY
        for each in hours:
            if each.weekday == day.weekday():
                until = day if each.closes > each.opens else day + ONE_DAY
                yield (
                    at_wall(day=day, clock=each.opens, zone=zone),
                    at_wall(day=until, clock=each.closes, zone=zone),
                )


def _clipped(intervals: Iterable[Interval], start: datetime, end: datetime) -> Iterator[Interval]:
    for from_, until in intervals:
        if from_ < end and until > start:
            yield max(from_, start), min(until, end)

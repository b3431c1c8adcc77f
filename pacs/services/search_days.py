"""Days as people say them in a search box, in English and Indonesian: "yesterday", "3 nov", "1-5 nov", "minggu lalu".

A phrase is a whole one or none: what is no phrase about days is left to others. A day without a year is the
latest one that has come; a month alone needs its year, because "nov" and "agus" begin names.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta

FIRST_YEAR, LAST_YEAR = 1895, 9990

MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "jan january januari",
            "feb february februari pebruari",
            "mar march maret",
            "apr april",
            "may mei",
            "jun june juni",
            "jul july juli",
            "aug august agu agt ags agus agustus",
            "sep sept september",
            "oct october okt oktober",
            "nov november nop nopember",
            "dec december des desember",
        ],
        start=1,
    )
    for name in names.split()
}
WEEKDAYS = {
    name: number
    for number, names in enumerate(
        [
            "monday senin",
            "tuesday selasa",
            "wednesday rabu",
            "thursday kamis",
            "friday jumat jum'at",
            "saturday sabtu",
            "sunday ahad",
        ]
    )
    for name in names.split()
}
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
MONTH = rf"(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})\.?"
YEAR = r"(?P<year>\d{4})"
MOMENTS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?P<year>\d{4})[-/.](?P<number>\d{1,2})[-/.](?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})(?P<mark>[-/.])(?P<number>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})/(?P<number>\d{1,2})",
        r"(?P<year>\d{4})[-/](?P<number>\d{1,2})",
        r"(?P<number>\d{1,2})/(?P<year>\d{4})",
        rf"{DAY}[ -]?{MONTH}(?:[ -]{YEAR})?",
        rf"{MONTH} {DAY}(?: {YEAR})?",
        rf"{MONTH}[ -]?{YEAR}",
        rf"{YEAR} {MONTH}",
    )
]
BETWEEN = re.compile(r"\s*(?:–|—|\.\.|(?<=\S)-(?=\S)|\s(?:-|to|until|till|sampai|hingga|s/d|sd|s\.d\.)\s)\s*")
FROM = re.compile(r"(?:since|from|sejak|mulai|dari) (.+)")
UNITS = {
    "day": 1, "days": 1, "hari": 1, "week": 7, "weeks": 7, "minggu": 7, "pekan": 7,
    "month": 30, "months": 30, "bulan": 30,
}  # fmt: skip
UNIT = "|".join(UNITS)
LAST = re.compile(rf"(?:(?:last|past) (\d{{1,4}}) ({UNIT})|(\d{{1,4}}) ({UNIT}) (?:terakhir|belakangan))", re.ASCII)
AGO = re.compile(r"(\d{1,4}) (?:days? ago|hari(?: yang)? lalu)", re.ASCII)


@dataclass(frozen=True)
class Days:
    """From `start` to `end`, both included; None is open."""

    start: date | None
    end: date | None


@dataclass(frozen=True)
class _Moment:
    """A day, or without `day` a month; without `year` the latest one that has come."""

    year: int | None
    month: int
    day: int | None

    def days(self, today: date) -> Days | None:
        year = self.year
        if year is None:
            year = today.year if (self.month, self.day or 1) <= (today.month, today.day) else today.year - 1
            if (self.month, self.day) == (2, 29):
                year -= year % 4
        if not FIRST_YEAR <= year <= LAST_YEAR or not 1 <= self.month <= 12:
            return None
        last = monthrange(year, self.month)[1]
        if self.day is None:
            return Days(date(year, self.month, 1), date(year, self.month, last))
        if not 1 <= self.day <= last:
            return None
        day = date(year, self.month, self.day)
        return Days(day, day)


def days_of(phrase: str, today: date) -> Days | None:
    """What `phrase` (in lower case, single blanks) says about days, seen from `today`; None when it says nothing."""
    return (
        _relative(phrase, today)
        or _counted(phrase, today)
        or _single(phrase, today)
        or _between(phrase, today)
        or _since(phrase, today)
    )


def _relative(phrase: str, today: date) -> Days | None:
    def ago(days: int) -> Days:
        day = today - timedelta(days=days)
        return Days(day, day)

    def week(back: int) -> Days:
        monday = today - timedelta(days=today.weekday() + 7 * back)
        return Days(monday, monday + timedelta(days=6))

    def month(back: int) -> Days:
        last = today
        for _ in range(back):
            last = last.replace(day=1) - timedelta(days=1)
        return Days(last.replace(day=1), last.replace(day=monthrange(last.year, last.month)[1]))

    def year(back: int) -> Days:
        return Days(date(today.year - back, 1, 1), date(today.year - back, 12, 31))

    match phrase:
        case "today" | "hari ini" | "hari-ini" | "hariini":
            return ago(0)
        case "yesterday" | "kemarin" | "kemaren" | "kmrn":
            return ago(1)
        case "day before yesterday" | "the day before yesterday" | "kemarin dulu" | "kemarin lusa":
            return ago(2)
        case "this week" | "minggu ini" | "pekan ini":
            return week(0)
        case "last week" | "minggu lalu" | "pekan lalu" | "minggu kemarin" | "minggu yang lalu":
            return week(1)
        case "this month" | "bulan ini":
            return month(0)
        case "last month" | "bulan lalu" | "bulan kemarin" | "bulan yang lalu":
            return month(1)
        case "this year" | "tahun ini":
            return year(0)
        case "last year" | "tahun lalu" | "tahun kemarin" | "tahun yang lalu":
            return year(1)
        case "hari minggu":  # alone the word means a week too
            return ago((today.weekday() - 6) % 7)
    weekday = WEEKDAYS.get(re.sub(r"^(?:on|last|hari) ", "", phrase))
    return ago((today.weekday() - weekday) % 7) if weekday is not None else None


def _counted(phrase: str, today: date) -> Days | None:
    if found := LAST.fullmatch(phrase):
        days = int(found[1] or found[3]) * UNITS[found[2] or found[4]]
        return Days(today - timedelta(days=max(days - 1, 0)), today)
    if found := AGO.fullmatch(phrase):
        day = today - timedelta(days=int(found[1]))
        return Days(day, day)
    return None


def _single(phrase: str, today: date) -> Days | None:
    moment = _moment(phrase)
    return moment.days(today) if moment else None


def _between(phrase: str, today: date) -> Days | None:
    """Two days or months with a word or dash between them; what the first does not say, the second does."""
    if found := re.fullmatch(r"(\d{4})(\d\d)(\d\d)-(\d{4})(\d\d)(\d\d)", phrase, re.ASCII):
        start, end = _Moment(*map(int, found.groups()[:3])), _Moment(*map(int, found.groups()[3:]))
        return _joined(start.days(today), end.days(today))
    for mark in BETWEEN.finditer(phrase):
        left, right = phrase[: mark.start()], phrase[mark.end() :]
        if until := _moment(right):
            end_days = until.days(today)
            if end_days is None:
                continue
            if re.fullmatch(r"\d{1,2}", left, re.ASCII) and until.day is not None:
                start_moment: _Moment | None = _Moment(_year(end_days), until.month, int(left))
            elif left in MONTHS:
                start_moment = _Moment(_year(end_days) - (MONTHS[left] > until.month), MONTHS[left], None)
            else:
                start_moment = _moment(left)
                if start_moment and start_moment.year is None:
                    later = (start_moment.month, start_moment.day or 1) > (until.month, until.day or 31)
                    start_moment = _Moment(_year(end_days) - later, start_moment.month, start_moment.day)
            if start_moment and (joined := _joined(start_moment.days(today), end_days)):
                return joined
        named = re.fullmatch(rf"{MONTH} (\d{{1,2}})", left, re.ASCII)
        if named and (last := re.fullmatch(r"(\d{1,2})(?: (\d{4}))?", right, re.ASCII)):
            end_days = _Moment(int(last[2]) if last[2] else None, MONTHS[named["month"]], int(last[1])).days(today)
            if end_days and end_days.start:
                start_days = _Moment(end_days.start.year, end_days.start.month, int(named[2])).days(today)
                return _joined(start_days, end_days)
    return None


def _since(phrase: str, today: date) -> Days | None:
    if found := FROM.fullmatch(phrase):
        days = _relative(found[1], today) or _counted(found[1], today) or _single(found[1], today)
        return Days(days.start, None) if days else None
    return None


def _moment(phrase: str) -> _Moment | None:
    for pattern in MOMENTS:
        found = pattern.fullmatch(phrase)
        if found is None:
            continue
        parts = found.groupdict()
        year = parts.get("year")
        number = int(parts["number"]) if parts.get("number") else MONTHS[parts["month"]]
        whole = int(year) + (2000 if len(year) == 2 else 0) if year else None
        return _Moment(whole, number, int(parts["day"]) if parts.get("day") else None)
    return None


def _joined(start: Days | None, end: Days | None) -> Days | None:
    if not start or not end or not start.start or not start.end or not end.start or not end.end:
        return None
    return Days(min(start.start, end.start), max(start.end, end.end))


def _year(days: Days) -> int:
    assert days.start is not None
    return days.start.year

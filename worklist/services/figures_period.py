"""Which days the figures are of, and which ones they are compared with."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from radiology.errors import InvalidValue
from radiology.models import Site
from worklist.services.board import day_of

PERIODS = {
    "today": gettext_lazy("Today"),
    "7d": gettext_lazy("7 days"),
    "30d": gettext_lazy("30 days"),
    "90d": gettext_lazy("90 days"),
    "month": gettext_lazy("This month"),
    "last-month": gettext_lazy("Last month"),
    "year": gettext_lazy("This year"),
    "range": gettext_lazy("From – to"),
}
USUAL = "30d"
UNITS = {"day": gettext_lazy("Days"), "week": gettext_lazy("Weeks"), "month": gettext_lazy("Months")}
LONGEST = timedelta(days=3653)
# As many columns as a plot shows well.
MOST_DAYS, MOST_WEEKS = 62, 370


@dataclass(frozen=True)
class Period:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> "Period":
        """As many days, right before it."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    @property
    def unit(self) -> str:
        """By what it is plotted."""
        return "day" if self.days <= MOST_DAYS else "week" if self.days <= MOST_WEEKS else "month"


def period_of(*, name: str, site: Site, first: str = "", last: str = "") -> Period:
    """The period of that name, by the site's clock; of `range`, from `first` to `last` (YYYY-MM-DD).

    Raises InvalidValue for days that are none, in the wrong order, or more than ten years apart.
    """
    today = day_of(site)
    match name:
        case "today":
            return Period(today, today)
        case "7d" | "30d" | "90d":
            return Period(today - timedelta(days=int(name[:-1]) - 1), today)
        case "month":
            return Period(today.replace(day=1), today)
        case "last-month":
            end = today.replace(day=1) - timedelta(days=1)
            return Period(end.replace(day=1), end)
        case "year":
            return Period(today.replace(month=1, day=1), today)
        case "range":
            return _range(first, last, today)
        case _:
            raise InvalidValue(_("There is no such period."), field="period")


def start_of(day: date, unit: str) -> date:
    """The first day of the day, week (from Monday) or month that a day is in."""
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "month" else day


def starts(period: Period, unit: str) -> list[date]:
    """The first days of all units that a period touches."""
    found = [start_of(period.first, unit)]
    while (following := _next(found[-1], unit)) <= period.last:
        found.append(following)
    return found


def _next(day: date, unit: str) -> date:
    if unit == "month":
        return (day + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if unit == "week" else 1)


def _range(first: str, last: str, today: date) -> Period:
    from_ = _day(first, "from") or today
    until = _day(last, "to") or today
    if until < from_:
        raise InvalidValue(_("The last day is before the first one."), field="to")
    if until - from_ > LONGEST:
        raise InvalidValue(_("Ten years at most at once."), field="to")
    return Period(from_, until)


def _day(text: str, field: str) -> date | None:
    if not text:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidValue(_("This is no day, such as 2026-11-30."), field=field) from error
    if not 1990 <= found.year <= 2200:
        raise InvalidValue(_("This is no day, such as 2026-11-30."), field=field)
    return found


def choices(names: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(label)) for name, label in names.items()]

"""How much time is left, in words; static/worklist/reading-list.js says the same each minute, with the same words."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

SOON = timedelta(minutes=15)
_MINUTES, _HOURS = 120, 48


@dataclass(frozen=True)
class Due:
    """`text` for people; `meaning` is the class of its colour, empty while there is time."""

    text: str
    meaning: str


def words() -> dict[str, list[str]]:
    """The patterns, by minutes, hours and days."""
    return {
        "left": [_("%(n)s min left"), _("%(n)s h left"), _("%(n)s d left")],
        "late": [_("late by %(n)s min"), _("late by %(n)s h"), _("late by %(n)s d")],
    }


def due_in(due_at: datetime, now: datetime) -> Due:
    """Below two hours in minutes, below two days in hours, else in days; never more than there is."""
    left = due_at - now
    minutes = int(abs(left).total_seconds() // 60)
    unit, count = 0, minutes
    if minutes >= _HOURS * 60:
        unit, count = 2, minutes // (24 * 60)
    elif minutes >= _MINUTES:
        unit, count = 1, minutes // 60
    late = left < timedelta(0)
    text = words()["late" if late else "left"][unit] % {"n": count}
    return Due(text, "urgent" if late else "waiting" if left <= SOON else "")

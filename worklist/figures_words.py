"""Figures as people read them, and as spreadsheets take them."""

from datetime import date
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _

from radiology.services.tables import write_table
from worklist.services.figures_tables import Column, Table

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float | None) -> str:
    """In the unit that fits: 45 s, 12 min, 3.2 h, 2.5 d."""
    if seconds is None:
        return "—"
    size = abs(seconds)
    if size < MINUTE:
        return _("%(n)s s") % {"n": formats.number_format(round(seconds), 0)}
    if size < 2 * HOUR:
        return _("%(n)s min") % {"n": formats.number_format(round(seconds / MINUTE), 0)}
    if size < 2 * DAY:
        return _("%(n)s h") % {"n": formats.number_format(seconds / HOUR, 1)}
    return _("%(n)s d") % {"n": formats.number_format(seconds / DAY, 1)}


def percent(value: float | None) -> str:
    return "—" if value is None else f"{formats.number_format(100 * value, 1)} %"


def shown(value: Any, column: Column) -> str:
    """One value of a table as a page has it."""
    match column.kind:
        case "time":
            return duration(value)
        case "share":
            return percent(value)
        case "count":
            return "—" if value is None else formats.number_format(value, 0, use_l10n=True, force_grouping=True)
        case _:
            return start(str(value)) if column.name == "start" else str(value)


def start(text: str) -> str:
    """The first day of a unit, short."""
    return formats.date_format(date.fromisoformat(text), "j M Y")


def change(column: Column, before: Any) -> str:
    """What stood there in the period before."""
    return _("before: %(value)s") % {"value": shown(before, column)}


def csv_of(table: Table) -> str:
    """Seconds and shares stay numbers; what is not known is empty."""
    return write_table([each.name for each in table.columns], [[_cell(value) for value in row] for row in table.rows])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return str(round(value, 4))
    return "" if value is None else str(value)

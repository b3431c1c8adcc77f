"""How much was done, by whom, at which device, and when."""

from typing import Any

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _

from radiology.dicom import PersonName
from worklist.services.figures_numbers import Selection
from worklist.services.figures_period import starts
from worklist.services.figures_tables import MOST_LINES, Column, Figures, Table, number, people, rows, text

_DONE = "worklist_examinationfigures"


def workload(*, selection: Selection, unit: str = "") -> Figures:
    """Examinations count on the day they began, reports on the day they were first signed."""
    before = selection.before
    tables = [
        _over_time(selection, unit or selection.period.unit),
        _radiologists(selection),
        _radiographers(selection),
        _devices(selection),
        _hours("examinations-by-hour", _("Examinations by weekday and hour"), selection, "day", "hour"),
        _hours("reports-by-hour", _("Signed reports by weekday and hour"), selection, "signed_on", "signed_hour"),
    ]
    headlines = [
        (title, number("count", ""), _total(selection, day), _total(before, day))
        for title, day in ((_("Examinations"), "day"), (_("Signed reports"), "signed_on"))
    ]
    return Figures(tables, headlines)


def _counted(selection: Selection, day: str, groups: str) -> dict[Any, int]:
    """How many by some columns, in one scan of the days' index."""
    where, parameters = selection.where(day)
    query = f"SELECT {groups}, count(*) FROM {_DONE} WHERE {where} GROUP BY {groups}"
    found = rows(query, parameters)
    return {(row[0] if len(row) == 2 else row[:-1]): row[-1] for row in found}


def _total(selection: Selection, day: str) -> int:
    where, parameters = selection.where(day)
    return int(rows(f"SELECT count(*) FROM {_DONE} WHERE {where}", parameters)[0][0])


def _over_time(selection: Selection, unit: str) -> Table:
    # Unit is a word of our own (figures_period.UNITS); weeks begin on Mondays for both.
    made = _counted(selection, "day", f"date_trunc('{unit}', day)::date")
    signed = _counted(selection, "signed_on", f"date_trunc('{unit}', signed_on)::date")
    return Table(
        "over-time",
        _("Examinations and signed reports over time"),
        [text("start", _("From")), number("examinations", _("Examinations")), number("reports", _("Signed reports"))],
        [[each.isoformat(), made.get(each, 0), signed.get(each, 0)] for each in starts(selection.period, unit)],
        plot="bars",
    )


def _radiologists(selection: Selection) -> Table:
    now = _counted(selection, "signed_on", "radiologist_id")
    before = _counted(selection.before, "signed_on", "radiologist_id")
    names = people([key for key in {*now, *before} if key is not None])
    labels = {key: names[key] if key is not None else _("Reported elsewhere") for key in {*now, *before}}
    title = _("Signed reports by radiologist")
    return _table(
        "by-radiologist", title, _("Radiologist"), _("Signed reports"), _named(now, labels), _named(before, labels)
    )


def _radiographers(selection: Selection) -> Table:
    now = _counted(selection, "day", "radiographer_id, operators_name")
    before = _counted(selection.before, "day", "radiographer_id, operators_name")
    names = people([key for key, _operator in {*now, *before} if key is not None])
    labels = {key: names[key[0]] if key[0] is not None else _as_written(key[1]) for key in {*now, *before}}
    title = _("Examinations by radiographer")
    return _table(
        "by-radiographer", title, _("Radiographer"), _("Examinations"), _named(now, labels), _named(before, labels)
    )


def _devices(selection: Selection) -> Table:
    now = _counted(selection, "day", "device_id, station_ae_title")
    before = _counted(selection.before, "day", "device_id, station_ae_title")
    labels = device_labels({*now, *before})
    title = _("Examinations by device")
    return _table("by-device", title, _("Device"), _("Examinations"), _named(now, labels), _named(before, labels))


def device_labels(keys: set[Any]) -> dict[Any, str]:
    """The names of devices by key and AE title."""
    found = rows(
        "SELECT id, name FROM worklist_device WHERE id = ANY(%(keys)s)",
        {"keys": [key for key, _title in keys if key is not None]},
    )
    names = dict(found)
    return {key: names.get(key[0]) or key[1] or "—" for key in keys}


def _hours(name: str, title: str, selection: Selection, day: str, hour: str) -> Table:
    found = _counted(selection, day, f"extract(isodow FROM {day})::int, {hour}")
    columns: list[Column] = [
        text("weekday", _("Weekday")),
        *(number(f"h{each:02}", f"{each:02}") for each in range(24)),
    ]
    lines = [
        [str(label), *(found.get((weekday + 1, each), 0) for each in range(24))] for weekday, label in WEEKDAYS.items()
    ]
    return Table(name, title, columns, lines, plot="heat")


def _table(name: str, title: str, what: str, of: str, now: dict[str, int], before: dict[str, int]) -> Table:
    lines = sorted({*now, *before}, key=lambda each: (-now.get(each, 0), each))
    return Table(
        name,
        title,
        [text("name", what), number("count", of), number("before", _("Period before"))],
        [[each, now.get(each, 0), before.get(each, 0)] for each in lines[:MOST_LINES]],
        plot="bars",
    )


def _named(counted: dict[Any, int], labels: dict[Any, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, count in counted.items():
        found[labels[key]] = found.get(labels[key], 0) + count
    return found


def _as_written(name: str) -> str:
    return PersonName(name).display or "—"

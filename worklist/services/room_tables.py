"""Rooms and devices as tables: written for spreadsheets, read back strictly, all of a table or nothing.

A row is found by its key, made when missing, and never removed. A column that the table has not is left as it is.
"""

import re
from dataclasses import dataclass, field
from datetime import time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import BooleanField, Model
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, NotAllowed
from radiology.models import AuditAction, Site
from radiology.services import audit
from radiology.services.tables import MOST_ERRORS, read_table, refuse, told, write_table
from worklist.models import Device, OpeningHours, Room

MOST_ROWS = 2000
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
YES, NO = {"yes", "ya", "1", "true"}, {"no", "tidak", "0", "false"}


@dataclass(frozen=True)
class Table:
    """A model as a table: its columns, the first of which finds a row; `hours` and `room` are read by themselves."""

    name: str
    model: type[Model]
    columns: tuple[str, ...]
    needed: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.columns[0]


@dataclass(frozen=True)
class Change:
    """What a line does: a new row, or fields of one that is there (before and after)."""

    line: int
    name: str
    is_new: bool
    values: dict[str, tuple[str, str]] = field(default_factory=dict)


ROOMS = Table(
    "rooms", Room, ("code", "name", "location", "position", "slot_minutes", "is_active", "hours"), ("code", "name")
)
DEVICES = Table(
    "devices",
    Device,
    (
        "station_ae_title",
        "name",
        "modality",
        "room",
        "station_name",
        "worklist_reach",
        "worklist_days_back",
        "worklist_days_ahead",
        "sends_mpps",
        "quiet_minutes",
        "abandoned_after_hours",
        "is_active",
    ),
    ("station_ae_title", "name", "modality", "room"),
)
TABLES = {table.name: table for table in (ROOMS, DEVICES)}


def export_table(*, table: Table, site: Site) -> str:
    """All rows of a site; with a byte order mark, so that Excel reads it as UTF-8."""
    return write_table(table.columns, (_written(table, row).values() for row in _rows(table, site)))


def plan_table(*, table: Table, site: Site, text: str) -> list[Change]:
    """What reading the table in would change; nothing stays. Raises InvalidValue that names line and column."""
    with transaction.atomic():
        changes = _carried_out(table, site, text)
        transaction.set_rollback(True)
    return changes


@transaction.atomic
def import_table(*, table: Table, site: Site, text: str, who: Any = None, address: str | None = None) -> list[Change]:
    """Read a table in, all of it or nothing; what was changed. Raises NotAllowed, InvalidValue."""
    if who is not None and not who.has_perms(
        [f"worklist.{verb}_{table.model._meta.model_name}" for verb in ("add", "change")]
    ):
        raise NotAllowed(_("You may not change rooms and devices."))
    changes = _carried_out(table, site, text)
    audit.record(
        event=f"{table.name}.imported",
        action=AuditAction.UPDATE,
        who=who,
        site_id=site.pk,
        address=address,
        detail={"changes": [f"{'+' if each.is_new else '~'} {each.name}" for each in changes][:500]},
    )
    return changes


def _carried_out(table: Table, site: Site, text: str) -> list[Change]:
    _names, lines = read_table(text, columns=table.columns, needed=table.needed)
    known = {getattr(row, table.key): row for row in _rows(table, site)}
    changes: list[Change] = []
    errors: list[str] = []
    seen: dict[str, int] = {}
    for line in lines:
        number, given = line.number, line.cells
        if not any(given.values()):
            continue
        key = given.get(table.key, "")
        if key in seen:
            errors.append(told(number, table.key, _("it stands in line %(line)d already") % {"line": seen[key]}))
        elif len(seen) >= MOST_ROWS:
            raise InvalidValue(_("A table may have %(most)d lines.") % {"most": MOST_ROWS}, field="file")
        else:
            seen[key] = number
            try:
                if (change := _row(table, site, known.get(key), given, number)) is not None:
                    changes.append(change)
            except ValidationError as error:
                errors += [told(number, name, " ".join(each)) for name, each in _by_column(error)]
        if len(errors) >= MOST_ERRORS:
            break
    refuse(errors)
    return changes


def _row(table: Table, site: Site, known: Any, given: dict[str, str], number: int) -> Change | None:
    """Write a line. Raises ValidationError."""
    before = _written(table, known) if known is not None else {}
    row: Any = known or table.model(site=site)
    hours: list[OpeningHours] | None = None
    for name, cell in given.items():
        if name == "hours":
            hours = _hours(cell)
        elif name == "room":
            row.room = _room(site, cell)
        elif cell or name in table.needed or known is not None:
            setattr(row, name, _value(table, name, cell))
    row.full_clean()
    row.save()
    if hours is not None and (known is None or _hours_text(row.opening_hours.all()) != _hours_text(hours)):
        row.opening_hours.all().delete()
        for each in hours:
            each.room = row
            each.save()
        row._prefetched_objects_cache = {}
    after = _written(table, row)
    changed = {name: (before.get(name, ""), value) for name, value in after.items() if before.get(name) != value}
    return Change(number, str(row), known is None, changed) if known is None or changed else None


def _rows(table: Table, site: Site) -> list[Any]:
    rows: Any = table.model._default_manager.filter(site=site).order_by(table.key)
    return list(rows.prefetch_related("opening_hours") if table is ROOMS else rows.select_related("room"))


def _written(table: Table, row: Any) -> dict[str, str]:
    """The cells of a row."""
    cells: dict[str, str] = {}
    for name in table.columns:
        if name == "hours":
            cells[name] = _hours_text(row.opening_hours.all())
        elif name == "room":
            cells[name] = row.room.code
        else:
            value = getattr(row, name)
            cells[name] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return cells


def _value(table: Table, name: str, cell: str) -> Any:
    column: Any = table.model._meta.get_field(name)
    if isinstance(column, BooleanField):
        word = cell.casefold()
        if word not in YES | NO:
            raise ValidationError({name: _("write yes or no")})
        return word in YES
    try:
        return column.clean(cell, None)
    except ValidationError as error:
        raise ValidationError({name: error.messages}) from error


def _room(site: Site, code: str) -> Room:
    found = Room.objects.filter(site=site, code=code).first()
    if found is None:
        raise ValidationError({"room": _("there is no room of this code: read the rooms in first")})
    return found


def _hours(cell: str) -> list[OpeningHours]:
    """`mon-fri 08:00-16:00 | sat 08:00-12:00`; empty: always open. Raises ValidationError."""
    found = []
    for part in filter(None, (each.strip().lower() for each in cell.split("|"))):
        match = re.fullmatch(r"([a-z]{3})(?:-([a-z]{3}))? (\d\d:\d\d)-(\d\d:\d\d)", part, re.ASCII)
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if match is None or first not in DAYS or last not in DAYS or DAYS.index(last) < DAYS.index(first):
            raise ValidationError({"hours": _("write them as mon-fri 08:00-16:00 | sat 08:00-12:00")})
        try:
            opens, closes = time.fromisoformat(match[3]), time.fromisoformat(match[4])
        except ValueError as error:
            raise ValidationError({"hours": _("%(part)s holds no time of day") % {"part": part}}) from error
        days = range(DAYS.index(first), DAYS.index(last) + 1)
        found += [OpeningHours(weekday=day, opens=opens, closes=closes) for day in days]
    if len({(each.weekday, each.opens) for each in found}) < len(found):
        raise ValidationError({"hours": _("an opening stands there twice")})
    return found


def _hours_text(hours: Any) -> str:
    ordered = sorted(hours, key=lambda each: (each.weekday, each.opens))
    return " | ".join(f"{DAYS[each.weekday]} {each.opens:%H:%M}-{each.closes:%H:%M}" for each in ordered)


def _by_column(error: ValidationError) -> list[tuple[str, list[str]]]:
    if hasattr(error, "error_dict"):
        return [("" if name == "__all__" else name, each) for name, each in error.message_dict.items()]
    return [("", error.messages)]

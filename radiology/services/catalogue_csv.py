"""The procedure catalogue as a table: written for spreadsheets, read back strictly, all of it or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue
from radiology.models import ContrastUse, Procedure, ProcedureProtocol, Site
from radiology.services.catalogue import record, require_right, save_procedure
from radiology.services.tables import MOST_ERRORS, read_table, refuse, told, write_table

MOST_ROWS = 5000
SCHEMES = {"loinc": "LN", "snomed": "SCT", "kptl": "KPTL"}
COLUMNS = (
    "code",
    "name",
    "modality",
    "body_part",
    "asks_side",
    "duration",
    "contrast",
    "ionising",
    "preparation",
    "price_code",
    "active",
    *SCHEMES,
    "other_codes",
    "protocols",
)
NEEDED = ("code", "name", "modality")
YES, NO = {"yes", "ya", "y", "1", "true"}, {"no", "tidak", "n", "0", "false", ""}
DEFAULT_SCHEME = str(ProcedureProtocol._meta.get_field("coding_scheme_designator").default)


@dataclass(frozen=True)
class Row:
    """One line of the table as it will be written; a column that the table has not is left as it is."""

    line: int
    fields: dict[str, Any]
    codes: list[dict[str, str]] | None
    protocols: list[dict[str, str]] | None


@dataclass(frozen=True)
class Change:
    """What a line does: a new entry, or fields of one that is there (before and after)."""

    line: int
    code: str
    name: str
    is_new: bool
    values: dict[str, tuple[str, str]] = field(default_factory=dict)


def export_csv(*, site: Site) -> str:
    """The whole catalogue of a site, by code; with a byte order mark, so that Excel reads it as UTF-8."""
    entries = Procedure.objects.filter(site=site).prefetch_related("codes", "protocols").order_by("code")
    written = (_written(entry) for entry in entries)
    return write_table(COLUMNS, ([cells[name] for name in COLUMNS] for cells in written))


def plan(*, site: Site, text: str) -> list[Change]:
    """What reading the table in would change; nothing is written. Raises InvalidValue, see `read_rows`."""
    rows = read_rows(text)
    known = {
        each.code: each
        for each in Procedure.objects.filter(site=site, code__in=[row.fields["code"] for row in rows]).prefetch_related(
            "codes", "protocols"
        )
    }
    changes = [_change(row, known.get(row.fields["code"])) for row in rows]
    return [change for change in changes if change.is_new or change.values]


@transaction.atomic
def import_csv(*, site: Site, text: str, who: Any = None, address: str | None = None) -> list[Change]:
    """Read a table in: entries are found by their code, made when missing, and never removed.

    All of it or nothing. Reading the same table in again changes nothing. Raises NotAllowed, InvalidValue.
    """
    require_right(who)
    changes = plan(site=site, text=text)
    touched = {change.line for change in changes}
    rows = [row for row in read_rows(text) if row.line in touched]
    codes = [row.fields["code"] for row in rows]
    known = {each.code: each for each in Procedure.objects.select_for_update().filter(site=site, code__in=codes)}
    for row in rows:
        entry = known.get(row.fields["code"]) or Procedure(site=site)
        for name, value in row.fields.items():
            setattr(entry, name, value)
        try:
            save_procedure(procedure=entry, codes=row.codes, protocols=row.protocols)
        except ValidationError as error:
            raise InvalidValue(told(row.line, *_first(error)), field="file") from error
    if rows:
        record(
            who=who,
            site=site,
            address=address,
            new=sum(change.is_new for change in changes),
            changed=sum(not change.is_new for change in changes),
        )
    return changes


def usual_procedures() -> str:
    """The table of usual procedures that comes with the product, to begin with."""
    return (resources.files("radiology") / "data" / "procedures.csv").read_text(encoding="utf-8")


def read_rows(text: str) -> list[Row]:
    """The lines of a table, checked. Commas, semicolons and tabs are understood, by the first line.

    Raises InvalidValue that names line and column of each mistake, of the first twenty at most.
    """
    names, lines = read_table(text, columns=COLUMNS, needed=NEEDED)
    rows: list[Row] = []
    errors: list[str] = []
    seen: dict[str, int] = {}
    for line in lines:
        if line.has_surplus:
            errors.append(told(line.number, "", _("there are more cells than columns")))
            continue
        row, wrong = _row(line.number, {**dict.fromkeys(names, ""), **line.cells})
        if row is not None and row.fields["code"] in seen:
            wrong = [
                told(line.number, "code", _("it stands in line %(line)d already") % {"line": seen[row.fields["code"]]})
            ]
        errors += wrong
        if row is not None:
            seen.setdefault(row.fields["code"], line.number)
            rows.append(row)
        if len(rows) > MOST_ROWS:
            raise InvalidValue(_("A catalogue may have %(most)d lines.") % {"most": MOST_ROWS}, field="file")
        if len(errors) >= MOST_ERRORS:
            break
    refuse(errors)
    return rows


def _row(number: int, given: Mapping[str, str]) -> tuple[Row | None, list[str]]:
    """A line read, or what is wrong with it."""
    errors: list[str] = []
    fields: dict[str, Any] = {}
    for column, (name, read) in _READ.items():
        if column not in given:
            continue
        try:
            value = read(given[column])
            model_field: Any = Procedure._meta.get_field(name)
            fields[name] = model_field.clean(value, None)
        except ValidationError as error:
            errors.append(told(number, column, " ".join(error.messages)))
    codes = protocols = None
    try:
        codes = _codes(given)
    except ValueError as error:
        errors.append(told(number, *error.args))
    try:
        protocols = _protocols(given["protocols"]) if "protocols" in given else None
    except ValueError as error:
        errors.append(told(number, *error.args))
    return (None, errors) if errors else (Row(number, fields, codes, protocols), [])


def _yes(text: str) -> bool:
    word = text.casefold()
    if word not in YES | NO:
        raise ValidationError(_("write yes or no"))
    return word in YES


def _active(text: str) -> bool:
    return _yes(text) if text else True


def _contrast(text: str) -> str:
    return text.casefold() or ContrastUse.NONE.value


def _minutes(text: str) -> str | int:
    return text or Procedure._meta.get_field("duration").default


def _as_it_is(text: str) -> str:
    return text


def _capital(text: str) -> str:
    return text.upper()


_READ: dict[str, tuple[str, Callable[[str], Any]]] = {
    "code": ("code", _as_it_is),
    "name": ("name", _as_it_is),
    "modality": ("modality", _capital),
    "body_part": ("body_part_examined", _capital),
    "asks_side": ("asks_laterality", _yes),
    "duration": ("duration", _minutes),
    "contrast": ("contrast", _contrast),
    "ionising": ("is_ionising", _yes),
    "preparation": ("preparation", _as_it_is),
    "price_code": ("price_code", _as_it_is),
    "active": ("is_active", _active),
}


def _codes(given: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Codes of other schemes; None when the table has no column of them. Raises ValueError(column, message)."""
    if not {*SCHEMES, "other_codes"} & set(given):
        return None
    found = [
        {"coding_scheme_designator": scheme, "code_value": code}
        for column, scheme in SCHEMES.items()
        for code in given.get(column, "").split()
    ]
    for part in given.get("other_codes", "").split():
        scheme, sign, code = part.partition("=")
        if not (sign and scheme and code):
            raise ValueError("other_codes", _("write SCHEME=CODE, several separated by spaces"))
        found.append({"coding_scheme_designator": scheme, "code_value": code})
    for each in found:
        if len(each["code_value"]) > 64 or len(each["coding_scheme_designator"]) > 16:
            raise ValueError("other_codes", _("a code may have 64 characters, a scheme 16"))
    return found


def _protocols(text: str) -> list[dict[str, str]]:
    """`CODE=Meaning`, several separated by `|`. Raises ValueError(column, message)."""
    found = []
    for part in filter(None, (each.strip() for each in text.split("|"))):
        code, sign, meaning = (each.strip() for each in part.partition("="))
        scheme, colon, own = code.rpartition(":")
        if not (sign and own and meaning) or len(own) > 16 or len(meaning) > 64 or len(scheme) > 16:
            raise ValueError("protocols", _("write CODE=Meaning (16 and 64 characters), several separated by |"))
        found.append(
            {
                "code_value": own,
                "coding_scheme_designator": scheme if colon else DEFAULT_SCHEME,
                "code_meaning": meaning,
            }
        )
    return found


def _written(entry: Procedure) -> dict[str, str]:
    """The cells of an entry."""
    codes = sorted(entry.codes.all(), key=lambda each: (each.coding_scheme_designator, each.code_value))
    by_scheme = {
        column: " ".join(each.code_value for each in codes if each.coding_scheme_designator == scheme)
        for column, scheme in SCHEMES.items()
    }
    others = [each for each in codes if each.coding_scheme_designator not in SCHEMES.values()]
    protocols = []
    for each in entry.protocols.all():
        scheme = each.coding_scheme_designator
        named = each.code_value if scheme == DEFAULT_SCHEME else f"{scheme}:{each.code_value}"
        protocols.append(f"{named}={each.code_meaning}")
    return {
        "code": entry.code,
        "name": entry.name,
        "modality": entry.modality,
        "body_part": entry.body_part_examined,
        "asks_side": _said(entry.asks_laterality),
        "duration": str(entry.duration),
        "contrast": entry.contrast,
        "ionising": _said(entry.is_ionising),
        "preparation": entry.preparation,
        "price_code": entry.price_code,
        "active": _said(entry.is_active),
        **by_scheme,
        "other_codes": " ".join(f"{each.coding_scheme_designator}={each.code_value}" for each in others),
        "protocols": " | ".join(protocols),
    }


def _change(row: Row, known: Procedure | None) -> Change:
    if known is None:
        return Change(row.line, row.fields["code"], row.fields["name"], is_new=True)
    before = _written(known)
    values: dict[str, tuple[str, str]] = {}
    for column, (name, _read) in _READ.items():
        if name in row.fields and getattr(known, name) != row.fields[name]:
            value = row.fields[name]
            values[column] = (before[column], _said(value) if isinstance(value, bool) else str(value))
    if row.codes is not None:
        was = {(each.coding_scheme_designator, each.code_value) for each in known.codes.all()}
        now = {(each["coding_scheme_designator"], each["code_value"]) for each in row.codes}
        if was != now:
            values["codes"] = (_listed(was), _listed(now))
    if row.protocols is not None:
        was_protocols = [(each.code_value, each.code_meaning) for each in known.protocols.all()]
        now_protocols = [(each["code_value"], each["code_meaning"]) for each in row.protocols]
        if was_protocols != now_protocols:
            values["protocols"] = (
                " | ".join(map("=".join, was_protocols)),
                " | ".join(map("=".join, now_protocols)),
            )
    return Change(row.line, known.code, row.fields["name"], is_new=False, values=values)


def _listed(codes: set[tuple[str, str]]) -> str:
    return " ".join(f"{scheme}={code}" for scheme, code in sorted(codes))


def _said(value: bool) -> str:
    return "yes" if value else "no"


def _first(error: ValidationError) -> tuple[str, str]:
    for name, messages in getattr(error, "message_dict", {"": error.messages}).items():
        return ("" if name == "__all__" else name), " ".join(messages)
    return "", ""

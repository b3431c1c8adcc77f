"""What may stand in the fields of a patient: checked at the door, the same at the desk and for programs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.birth_dates import parse_birth_date
from radiology.errors import InvalidValue
from radiology.models import IdentifierKind

OLDEST = 130
# PS3.5 6.2: a component group of PN has 64 characters at most, LO has 64.
LONGEST_GROUP = 64
LONGEST = {
    "patient_id": 64,
    "issuer_of_patient_id": 64,
    "patient_address": 300,
    "patient_telephone_numbers": 100,
    "allergies": 500,
    "medical_alerts": 500,
    "patient_comments": 2000,
}
SEXES = {"m": "M", "f": "F", "o": "O", "male": "M", "female": "F", "other": "O", "l": "M", "p": "F", "": ""}
SEVERAL_LINES = {"patient_address", "allergies", "medical_alerts", "patient_comments"}
NAMES = ("patient_name", "patient_mother_birth_name")
FIELDS = (*NAMES, "patient_birth_date", "patient_sex", *LONGEST)
MOST_IDENTIFIERS = 20


@dataclass(frozen=True)
class Numbered:
    """One more number of a patient."""

    kind: str
    value: str
    issuer: str = ""


def checked_values(given: Mapping[str, Any]) -> dict[str, str]:
    """The values of the patient's fields among `given`, as they are kept. Raises InvalidValue, naming the field."""
    values: dict[str, str] = {}
    for name in FIELDS:
        if name not in given:
            continue
        text = given[name]
        if not isinstance(text, str):
            raise InvalidValue(_("This must be a text."), field=name)
        _require_characters(name, text)
        text = text.strip()
        if name in NAMES:
            values[name] = _name(name, text)
        elif name == "patient_birth_date":
            values[name] = _birth_date(text)
        elif name == "patient_sex":
            values[name] = _sex(text)
        else:
            values[name] = _text(name, text)
    return values


def checked_identifiers(given: Iterable[Mapping[str, Any]]) -> list[Numbered]:
    """Other numbers of a patient. Raises InvalidValue."""
    found: list[Numbered] = []
    for each in given:
        parts = [each.get(name, "") for name in ("kind", "value", "issuer")]
        if not all(isinstance(part, str) for part in parts):
            raise InvalidValue(_("An identifier has a kind, a value and perhaps an issuer."), field="identifiers")
        kind, value, issuer = (part.strip() for part in parts)
        if not value:
            continue
        if kind not in IdentifierKind.values:
            raise InvalidValue(
                _("The kind of an identifier is one of %(known)s.") % {"known": ", ".join(IdentifierKind.values)},
                field="identifiers",
            )
        for part in (value, issuer):
            _require_characters("identifiers", part)
            if len(part) > 64 or "\\" in part or "\n" in part:
                raise InvalidValue(_("A number has 64 characters at most, and no backslash."), field="identifiers")
        if kind == IdentifierKind.NIK and re.fullmatch(r"\d{16}", value.replace(" ", ""), re.ASCII) is None:
            raise InvalidValue(_("A NIK has 16 digits."), field="identifiers")
        if kind == IdentifierKind.BPJS and re.fullmatch(r"\d{13}", value.replace(" ", ""), re.ASCII) is None:
            raise InvalidValue(_("A BPJS number has 13 digits."), field="identifiers")
        if kind in {IdentifierKind.NIK, IdentifierKind.BPJS}:
            value = value.replace(" ", "")
        found.append(Numbered(kind, value, issuer))
    if len(found) > MOST_IDENTIFIERS:
        raise InvalidValue(_("A patient has %(most)d other numbers at most.") % {"most": MOST_IDENTIFIERS})
    return list(dict.fromkeys(found))


def _require_characters(name: str, text: str) -> None:
    allowed = "\n\r\t" if name in SEVERAL_LINES else ""
    if any((ord(character) < 32 and character not in allowed) or character == "\x7f" for character in text):
        raise InvalidValue(_("Control characters such as NUL have no place here."), field=name)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidValue(_("This is no valid text."), field=name)


def _name(name: str, text: str) -> str:
    if "\\" in text:
        raise InvalidValue(_("A name has no backslash."), field=name)
    groups = text.split("=")
    if len(groups) > 3 or any(len(group.split("^")) > 5 for group in groups):
        raise InvalidValue(_("A name has five parts and three spellings at most."), field=name)
    if any(len(group) > LONGEST_GROUP for group in groups):
        raise InvalidValue(
            _("A name may have %(most)d characters: leave out titles, or shorten it.") % {"most": LONGEST_GROUP},
            field=name,
        )
    return "=".join("^".join(" ".join(part.split()) for part in group.split("^")).rstrip("^") for group in groups)


def _birth_date(text: str) -> str:
    if not text:
        return ""
    day = parse_birth_date(text[:40])
    if day is None:
        raise InvalidValue(_("Write the birth date as 31/01/1970 or 1970-01-31."), field="patient_birth_date")
    today = timezone.localdate()
    if day > today:
        raise InvalidValue(_("This birth date lies in the future."), field="patient_birth_date")
    if day.year < today.year - OLDEST:
        raise InvalidValue(
            _("This birth date is more than %(years)d years ago.") % {"years": OLDEST}, field="patient_birth_date"
        )
    return f"{day:%Y%m%d}".zfill(8)


def _sex(text: str) -> str:
    if text.lower() not in SEXES:
        raise InvalidValue(_("Sex is M, F, O or empty."), field="patient_sex")
    return SEXES[text.lower()]


def _text(name: str, text: str) -> str:
    if len(text) > LONGEST[name]:
        raise InvalidValue(_("This may have %(most)d characters at most.") % {"most": LONGEST[name]}, field=name)
    if name in {"patient_id", "issuer_of_patient_id"} and "\\" in text:
        raise InvalidValue(_("A number has no backslash."), field=name)
    return text

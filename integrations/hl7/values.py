"""Data types of HL7 v2 as values of DICOM: names, addresses, times, identifiers (IHE RAD TF-2 Appendix B)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from integrations.hl7.message import Repetition, Segment

SCHOLARLY = 6  # XPN: the degree, which DICOM has among the suffixes
IDEOGRAPHIC, PHONETIC = "I", "P"
# HL7 table 0200: names that are known to be wrong, or are no longer to be used.
PAST_NAMES = {"BAD", "NOUSE"}


@dataclass(frozen=True)
class Identifier:
    """A CX: number, assigning authority, type code (HL7 table 0203)."""

    value: str
    issuer: str = ""
    kind: str = ""


def person_name(names: Iterable[Repetition], *, first: int = 1) -> str:
    """A PN value of XPN repetitions (`first` 1) or of XCN ones, whose name begins at component 2.

    HL7 has family, given, middle, suffix, prefix, degree; DICOM prefix before suffix. Repetitions that say so of
    themselves (XPN-8) become the ideographic and phonetic group; those that are no longer to be used (XPN-7) are
    passed over, where there is another.
    """
    kind, spelled = (7, 8) if first == 1 else (10, 15)
    told = list(names)
    groups: dict[str, str] = {}
    for name in [each for each in told if each.text(kind).upper() not in PAST_NAMES] or told:
        spelling = name.text(spelled).upper()
        group = spelling if spelling in {IDEOGRAPHIC, PHONETIC} else ""
        groups.setdefault(group, _group(name, first))
    return "=".join([groups.get("", ""), groups.get(IDEOGRAPHIC, ""), groups.get(PHONETIC, "")]).rstrip("=")


def _group(name: Repetition, first: int) -> str:
    family, given, middle, suffix, prefix, degree = (_plain(name.text(first + offset)) for offset in range(SCHOLARLY))
    suffixes = " ".join(part for part in (suffix, degree) if part)
    return "^".join([family, given, middle, prefix, suffixes]).rstrip("^")


def person_of_subcomponents(value: Repetition) -> str:
    """A PN value of an NDL (OBR-32 to OBR-35), whose first component holds the person in its subcomponents."""
    parts = [_plain(value.text(1, number)) for number in range(1, 8)]
    _number, family, given, middle, suffix, prefix, degree = parts
    suffixes = " ".join(part for part in (suffix, degree) if part)
    return "^".join([family, given, middle, prefix, suffixes]).rstrip("^")


def _plain(text: str) -> str:
    """What may stand in a component of PN: none of its delimiters, one line."""
    return " ".join(re.sub(r"[\\^=\s]+", " ", text).split())


def identifiers(field: Iterable[Repetition], *, default_issuer: str = "") -> list[Identifier]:
    """The numbers of a CX field that have a value. The issuer is the authority's namespace, else its universal id."""
    found = []
    for each in field:
        value = each.text(1)
        if value:
            issuer = each.text(4, 1) or each.text(4, 2) or default_issuer
            found.append(Identifier(value, issuer, each.text(5).upper()))
    return found


def address(value: Repetition) -> str:
    """An XAD on one line: street, other designation, city, state, postal code, country.

    Of a street in parts (SAD) the first is all of it; without that, its name and the number of the dwelling.
    """
    street, other, city, state, postal, country = (value.text(number) for number in range(1, 7))
    street = street or " ".join(part for part in (value.text(1, 2), value.text(1, 3)) if part)
    parts = [street, other, " ".join(part for part in (city, postal) if part), state, country]
    return ", ".join(" ".join(part.split()) for part in parts if part)


def telephone(value: Repetition) -> str:
    """An XTN as people dial it: component 1, else 12, else country, area and local number."""
    if number := value.text(1) or value.text(12):
        return " ".join(number.split())
    country, area, local = value.text(5), value.text(6), value.text(7)
    return " ".join(part for part in (f"+{country.lstrip('+')}" if country else "", area, local) if part)


def moment(text: str, zone: tzinfo) -> datetime | None:
    """A TS (YYYYMMDD[HH[MM[SS[.S…]]]][+/-ZZZZ]) in UTC; without an offset it is of `zone`. None when it is none."""
    found = re.fullmatch(
        r"(\d{8})(\d{2})?(\d{2})?(\d{2})?(?:\.\d{1,6})?(?:([+-])(\d{2})(\d{2}))?", text.strip(), re.ASCII
    )
    if found is None:
        return None
    day, hour, minute, second, sign, hours, minutes = found.groups()
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset > timedelta(hours=14):
            return None
        zone = timezone(-offset if sign == "-" else offset)
    try:
        told = datetime(
            int(day[:4]), int(day[4:6]), int(day[6:]), int(hour or 0), int(minute or 0), min(int(second or 0), 59),
            tzinfo=zone,
        )  # fmt: skip
        return told.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def coded_text(values: Iterable[Repetition]) -> str:
    """CE or CWE values for people: their texts, else their codes."""
    return "; ".join(dict.fromkeys(text for each in values if (text := each.text(2) or each.text(1))))


def location(segment: Segment, number: int) -> str:
    """A PL as people write it: point of care, room, bed, facility."""
    value = segment.value(number)
    return " ".join(part for part in (value.text(1), value.text(2), value.text(3), value.text(4)) if part)

"""How a site's accession numbers look: `{yy}{mm}{dd}{n:05}`. An accession number is SH: 16 characters (PS3.5 6.2)."""

import re
from datetime import date

from django.utils.translation import gettext as _

from radiology.errors import InvalidValue

LONGEST = 16
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
NUMBER = re.compile(r"n(?::0?(\d{1,2}))?", re.ASCII)
DAYS = {"yyyy": "%Y", "yy": "%y", "mm": "%m", "dd": "%d"}
# Wild cards and separators of DICOM and HL7, which peers would read as such.
SEPARATORS = set("\\*?^=~|&")
# A number without a width may have so many digits.
WIDTH = 5


def require_pattern(pattern: str) -> None:
    """Raises InvalidValue for a pattern that would give numbers that are too long, or the same twice."""
    names = PLACEHOLDER.findall(pattern)
    plain = PLACEHOLDER.sub("", pattern)
    unknown = [name for name in names if name not in DAYS and NUMBER.fullmatch(name) is None]
    if unknown:
        raise _invalid(
            _("{%(name)s} is not known: there are {yyyy}, {yy}, {mm}, {dd} and {n:05}.") % {"name": unknown[0]}
        )
    if "{" in plain or "}" in plain:
        raise _invalid(_("A brace has no partner: write {n:05}, for example."))
    if len([name for name in names if name not in DAYS]) != 1:
        raise _invalid(_("The running number {n:05} must stand in it once."))
    if not plain.isascii() or not plain.isprintable() or " " in plain or SEPARATORS & set(plain):
        raise _invalid(
            _("Use letters, digits and simple signs: no spaces, and none of %(signs)s") % {"signs": "\\*?^=~|&"}
        )
    years = {"yyyy", "yy"} & set(names)
    if ("dd" in names and "mm" not in names) or ("mm" in names and not years):
        raise _invalid(_("A day needs its month and a month its year, or the numbers come back."))
    longest = fill(pattern, day=date(2026, 12, 31), number=10 ** (_width(pattern) - 1))
    if len(longest) > LONGEST:
        raise _invalid(
            _("%(example)s has %(count)d characters; an accession number may have %(most)d.")
            % {"example": longest, "count": len(longest), "most": LONGEST}
        )


def fill(pattern: str, *, day: date, number: int) -> str:
    """The number that the pattern gives; longer than its width where the number has outgrown it."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in DAYS:
            return f"{day:{DAYS[name]}}"
        width = NUMBER.fullmatch(name)
        return f"{number:0{int(width[1])}d}" if width and width[1] else str(number)

    return PLACEHOLDER.sub(value, pattern)


def period(pattern: str, *, day: date) -> str:
    """What the running number counts within: a day, a month, a year or for ever."""
    names = set(PLACEHOLDER.findall(pattern))
    for name, form in (("dd", "%Y%m%d"), ("mm", "%Y%m"), ("yyyy", "%Y"), ("yy", "%Y")):
        if name in names:
            return f"{day:{form}}"
    return ""


def _width(pattern: str) -> int:
    found = next((NUMBER.fullmatch(name) for name in PLACEHOLDER.findall(pattern) if name not in DAYS), None)
    return max(1, int(found[1])) if found and found[1] else WIDTH


def _invalid(message: str) -> InvalidValue:
    return InvalidValue(message, field="accession_pattern")

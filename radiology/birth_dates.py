"""Birth dates as people write them, in Indonesia and elsewhere. Values only, no Django."""

import re
from datetime import date

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january januari jan",
            "february februari pebruari feb peb",
            "march maret mar",
            "april apr",
            "may mei",
            "june juni jun",
            "july juli jul",
            "august agustus aug agu agt ags",
            "september sept sep",
            "october oktober oct okt",
            "november nopember nov nop",
            "december desember dec des",
        ),
        start=1,
    )
    for name in names.split()
}
MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
SPELLINGS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
        r"(?P<year>\d{4})[-/. ](?P<month>\d{1,2})[-/. ](?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})[-/. ](?P<month>\d{1,2})[-/. ](?P<year>\d{4})",
        r"(?P<day>\d{2})(?P<month>\d{2})(?P<year>(?:18|19|20)\d{2})",
        rf"(?P<day>\d{{1,2}})[- ]?(?P<name>{MONTH})\.?[- ]?(?P<year>\d{{4}})",
        rf"(?P<name>{MONTH})\.? (?P<day>\d{{1,2}}),? (?P<year>\d{{4}})",
    )
]


def parse_birth_date(text: str) -> date | None:
    """The day that `text` names: 1970-01-31, 19700131, 31/1/1970, 31011970, 31 Januari 1970. None when it is none."""
    plain = " ".join(text.split()).lower()
    for spelling in SPELLINGS:
        found = spelling.fullmatch(plain)
        if found is None:
            continue
        parts = found.groupdict()
        month = MONTHS[parts["name"]] if parts.get("name") else int(parts["month"])
        try:
            return date(int(parts["year"]), month, int(parts["day"]))
        except ValueError:
            continue
    return None

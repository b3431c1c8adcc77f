"""Which attributes of studies and series a person may correct, and which values DICOM lets them have."""

import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from radiology.dicom import clean, parse_da, parse_tm
from radiology.errors import InvalidValue

# Attributes that may be corrected, and how long their values may be (PS3.5 6.2).
OF_STUDY = {
    "AccessionNumber": 16,
    "StudyDescription": 64,
    "StudyID": 16,
    "StudyDate": 8,
    "StudyTime": 16,
    "ReferringPhysicianName": 194,
}
OF_SERIES = {"SeriesDescription": 64, "Laterality": 1, "BodyPartExamined": 16, "SeriesNumber": 10}


def value_of(keyword: str, text: str, allowed: Mapping[str, int]) -> Any:
    """A value as DICOM takes it. Raises InvalidValue that names the attribute."""
    if keyword not in allowed:
        raise InvalidValue(
            _("%(keyword)s cannot be corrected: choose from %(allowed)s.")
            % {"keyword": keyword, "allowed": ", ".join(allowed)},
            field=keyword,
        )
    value = clean(str(text))
    if len(value) > allowed[keyword]:
        raise InvalidValue(
            _("%(keyword)s may have %(most)d characters at most.") % {"keyword": keyword, "most": allowed[keyword]},
            field=keyword,
        )
    if re.search(r"[\x00-\x1f\x7f\\\\]", value):
        raise InvalidValue(
            _("%(keyword)s may hold neither backslashes nor control characters.") % {"keyword": keyword}, field=keyword
        )
    wrong = {
        "StudyDate": bool(value) and parse_da(value) is None,
        "StudyTime": bool(value) and parse_tm(value) is None,
        "Laterality": value not in {"", "L", "R"},
        "SeriesNumber": re.fullmatch(r"[+-]?\d{0,9}", value, re.ASCII) is None or value in {"+", "-"},
        "BodyPartExamined": re.fullmatch(r"[A-Z0-9_ ]*", value) is None,
    }
    if wrong.get(keyword):
        form = {"StudyDate": "YYYYMMDD", "StudyTime": _("HHMM or HHMMSS"), "Laterality": _("L, R or empty")}
        raise InvalidValue(
            _("%(keyword)s must be %(form)s.")
            % {"keyword": keyword, "form": form.get(keyword) or _("as DICOM writes it")},
            field=keyword,
        )
    if keyword == "StudyDate":
        return value.replace("-", "").replace(".", "")
    return value

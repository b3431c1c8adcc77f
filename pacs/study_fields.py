"""The fields of the correction forms: DICOM values as people write them, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from pacs.models import Series, Study
from radiology.dicom import PersonName, parse_da, parse_tm
from radiology.errors import InvalidValue

NAME_PARTS = ("family", "given", "middle", "prefix", "suffix")


@dataclass(frozen=True)
class Field:
    """One input. `stored` is what stands in the row now; `theirs` what somebody else made of it meanwhile."""

    name: str
    label: str
    stored: str
    value: str = ""
    kind: str = "text"
    most: int = 64
    options: tuple[tuple[str, str], ...] = ()
    theirs: str | None = None


class Fields:
    """The inputs of one form. A field whose value nobody touched changes nothing."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = [replace(each, value=each.stored) for each in fields]

    def shown(self, posted: Mapping[str, str] | None) -> list[Field]:
        """With what was typed, and what changed under it."""
        if posted is None:
            return self.fields
        found = []
        for each in self.fields:
            was = posted.get(f"was_{each.name}", each.stored)
            typed = posted.get(each.name, each.stored)
            if typed == was:
                found.append(each)
            else:
                found.append(replace(each, value=typed, theirs=each.stored if was != each.stored else None))
        return found

    def changes(self, posted: Mapping[str, str]) -> dict[str, str]:
        """What was changed, by DICOM keyword, as DICOM writes it. Raises InvalidValue when nothing was."""
        touched = {
            each.name: posted.get(each.name, "")
            for each in self.fields
            if each.name in posted and posted[each.name] != posted.get(f"was_{each.name}", each.stored)
        }
        if not touched:
            raise InvalidValue(_("Nothing was changed."))
        found = {name: _dicom(name, text) for name, text in touched.items() if not name.startswith("Referring")}
        if any(name.startswith("Referring") for name in touched):
            parts = [posted.get(f"Referring_{part}", "").strip() for part in NAME_PARTS]
            if any(set(part) & set("^=\\") for part in parts):
                raise InvalidValue(_("A name holds neither ^ nor = nor a backslash."), field="Referring_family")
            found["ReferringPhysicianName"] = "^".join(parts).rstrip("^")
        return found


def study_fields(study: Study) -> Fields:
    day, moment = parse_da(study.study_date), parse_tm(study.study_time)
    labels = (
        pgettext("name", "Family name"), pgettext("name", "Given names"), pgettext("name", "Middle name"),
        pgettext("name", "Title before the name"), pgettext("name", "Title behind the name"),
    )  # fmt: skip
    name = PersonName(study.referring_physician_name).components()
    return Fields(
        [
            Field("AccessionNumber", _("Accession"), study.accession_number, most=16),
            Field("StudyDescription", _("Description"), study.study_description),
            Field("StudyDate", _("Date"), day.isoformat() if day else study.study_date,
                  kind="date" if day or not study.study_date else "text", most=10),
            Field("StudyTime", _("Time"), moment.strftime("%H:%M:%S") if moment else study.study_time,
                  kind="time" if moment or not study.study_time else "text", most=16),
            Field("StudyID", _("Study ID"), study.study_id, most=16),
            *(
                Field(f"Referring_{part}", _("Referring physician: %(part)s") % {"part": label}, value)
                for part, label, value in zip(NAME_PARTS, labels, name, strict=True)
            ),
        ]
    )  # fmt: skip


def series_fields(series: Series) -> Fields:
    sides: tuple[tuple[str, str], ...] = (("", _("none, or both sides")), ("R", _("R: right")), ("L", _("L: left")))
    if series.laterality not in {"", "R", "L"}:
        sides = (*sides, (series.laterality, series.laterality))
    number = "" if series.series_number is None else str(series.series_number)
    return Fields(
        [
            Field("SeriesDescription", _("Description"), series.series_description),
            Field("Laterality", _("Side"), series.laterality, kind="select", options=sides),
            Field("BodyPartExamined", _("Body part"), series.body_part_examined, most=16),
            Field("SeriesNumber", _("Number"), number, kind="number", most=10),
        ]
    )


def _dicom(name: str, text: str) -> str:
    if name == "StudyDate":
        return text.replace("-", "")
    if name == "StudyTime":
        return text.replace(":", "")
    return text.upper() if name == "BodyPartExamined" else text

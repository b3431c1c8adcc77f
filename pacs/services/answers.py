"""Rows as answers to a search, in the DICOM JSON model (PS3.18 F)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Count, Sum

from pacs.models import Instance, RequestAttributes, Series, Study
from pacs.services.attributes import BY_KEYWORD, Attribute, Kind, Level, attribute, known_at
from pacs.services.metadata import ONE_TEXT
from pacs.services.overlay import laid_over
from radiology.dicom import NAME_GROUPS, PersonName
from radiology.models import Patient, PatientIdentifier

Row = Patient | Study | Series | Instance
Element = dict[str, Any]
# Columns that no answer, no order and no matching of rows looks at.
UNANSWERED: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "public_id", "provisional_for", "patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic",
        "patient_name_search", "birth_date", "patient_address", "patient_telephone_numbers",
        "patient_mother_birth_name", "allergies", "medical_alerts", "patient_comments", "is_temporary", "merged_at",
        "version", "created_at", "updated_at",
    ),
    Level.STUDY: (
        "requested_procedure_ref", "ordering_physician", "referring_physician_name_search", "size", "merged_into",
        "version", "created_at", "updated_at", "deleted_at", "deletion_reason",
    ),
    Level.SERIES: (
        "source_ae_title", "size", "received_study_instance_uid", "version", "created_at", "updated_at", "removed_at",
    ),
    Level.INSTANCE: ("created_at", "removed_at"),
}  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """A row with the rows above it."""

    patient: Patient
    study: Study | None = None
    series: Series | None = None
    instance: Instance | None = None

    @classmethod
    def of(cls, row: Row) -> "Objects":
        if isinstance(row, Instance):
            return cls(row.series_ref.study_ref.patient_ref, row.series_ref.study_ref, row.series_ref, row)
        if isinstance(row, Series):
            return cls(row.study_ref.patient_ref, row.study_ref, row)
        return cls(row.patient_ref, row) if isinstance(row, Study) else cls(row)

    @property
    def rows(self) -> tuple[Any, ...]:
        """Those of the levels from above, None where there is none."""
        return (self.patient, self.study, self.series, self.instance)

    def at(self, level: Level) -> Any:
        return self.rows[level.depth]

    def others(self, level: Level) -> dict[str, Element]:
        """The JSON in which other attributes of `level` are kept."""
        if level == Level.PATIENT:
            study = self.study
            return {**(laid_over(study.overlay, study.attributes) if study else {}), **self.patient.attributes}
        row = self.at(level)
        return laid_over(row.overlay, row.attributes) if row is not None and level != Level.INSTANCE else {}

    def other(self, level: Level, tag: str) -> Element:
        """One of those attributes, empty where there is none."""
        if level == Level.PATIENT and tag in self.patient.attributes:
            return self.patient.attributes[tag]
        row = self.study if level == Level.PATIENT else self.at(level)
        if row is None or level == Level.INSTANCE:
            return {}
        laid = row.overlay.get("attributes", {})
        found = laid[tag] if tag in laid else row.attributes.get(tag)
        return found or {}


@dataclass
class Answers:
    """Makes the answers of one search, a page of rows at a time with a fixed number of queries.

    `returned` are keywords or tags; None returns whatever there is. An attribute without value is
    answered empty. `base_url` is the DICOMweb root, for RetrieveURL.
    """

    who: Any
    level: Level
    returned: Collection[str] | None
    base_url: str = ""
    _attributes: list[Attribute] = field(init=False)
    _described: list[tuple[Attribute, str, str, int]] = field(init=False)
    _unlisted: list[str] = field(init=False)

    def __post_init__(self) -> None:
        known = list(known_at(self.level))
        self._unlisted = []
        if self.returned is not None:
            wanted = {found.keyword for name in self.returned if (found := attribute(name))}
            known = [each for each in known if each.keyword in wanted]
            self._unlisted = sorted({name.upper() for name in self.returned if len(name) == 8 and not attribute(name)})
        self._attributes = known
        self._described = [(each, each.tag, each.vr, each.level.depth) for each in self._attributes]

    @property
    def needs_json(self) -> bool:
        """Whether the JSON columns must be loaded."""
        kinds = {each.kind for each in self._attributes} | {Kind.JSON for _ in self._unlisted}
        return Kind.JSON in kinds or any(each.column == "identifiers" for each in self._attributes)

    def page(self, rows: Sequence[Row]) -> Iterable[dict[str, Element]]:
        """The answers of these rows, in their order."""
        objects = [Objects.of(row) for row in rows]
        related = self._related(objects)
        return [self._answer(each, related) for each in objects]

    def _related(self, objects: list[Objects]) -> dict[str, dict[int, Any]]:
        wanted = {each.column or each.kind.value for each in self._attributes if each.kind != Kind.COLUMN}
        patients = {each.patient.pk for each in objects}
        found: dict[str, dict[int, Any]] = {"identifiers": {}, "request_attributes": {}, "counts": {}}
        if "identifiers" in wanted:
            for identifier in PatientIdentifier.objects.filter(patient_ref__in=patients).order_by("id"):
                found["identifiers"].setdefault(identifier.patient_ref_id, []).append(identifier)
        if "request_attributes" in wanted:
            series = {each.series.pk for each in objects if each.series}
            for item in RequestAttributes.objects.filter(series_ref__in=series).order_by("id"):
                found["request_attributes"].setdefault(item.series_ref_id, []).append(item)
        if any(each.keyword.startswith("NumberOfPatientRelated") for each in self._attributes):
            counts = (
                Study.objects.visible_to(self.who)
                .filter(patient_ref__in=patients)
                .values("patient_ref")
                .annotate(
                    Studies=Count("pk"),
                    Series=Sum("number_of_study_related_series"),
                    Instances=Sum("number_of_study_related_instances"),
                )
            )
            found["counts"] = {each["patient_ref"]: each for each in counts}
        return found

    def _answer(self, objects: Objects, related: dict[str, dict[int, Any]]) -> dict[str, Element]:
        answer = {}
        if self.returned is None:
            for level in (Level.STUDY, Level.SERIES):
                if level.depth <= self.level.depth:
                    answer.update(objects.others(level))
        rows = objects.rows
        for each, tag, vr, depth in self._described:
            if each.kind is Kind.COLUMN:
                value = getattr(rows[depth], each.column)
                if vr != "PN" and isinstance(value, str) and value and "\\" not in value:
                    answer[tag] = {"vr": vr, "Value": [value]}
                else:
                    answer[tag] = element(vr, value)
            elif each.kind is not Kind.JSON:
                answer[tag] = element(vr, self._values(each, objects, related))
            elif self.returned is not None:
                answer[tag] = objects.other(each.level, tag) or {"vr": vr}
        for tag in self._unlisted:
            for level in (Level.SERIES, Level.STUDY):
                if tag in (others := objects.others(level)):
                    answer[tag] = others[tag]
                    break
        return dict(sorted(answer.items())) if self.returned is None or self._unlisted else answer

    def _values(self, each: Attribute, objects: Objects, related: dict[str, dict[int, Any]]) -> Any:
        row = objects.at(each.level)
        if each.kind == Kind.SET:
            return getattr(row, each.column)
        if each.kind == Kind.ITEM:
            item = _item(row, each.items)
            return [item] if any("Value" in value for value in item.values()) else []
        if each.kind == Kind.ROWS:
            rows = related[each.column].get(row.pk, [])
            if each.column == "request_attributes":
                return [_item(item, each.items) for item in rows]
            received = objects.other(Level.PATIENT, each.tag).get("Value", [])
            if each.vr == "SQ":
                return [_item(item, each.items) for item in rows] or received
            return list(dict.fromkeys([*(identifier.value for identifier in rows), *received]))
        if each.keyword.startswith("NumberOfPatientRelated"):
            counts = related["counts"].get(objects.patient.pk, {})
            return counts.get(each.keyword.removeprefix("NumberOfPatientRelated"), 0)
        return {
            "RetrieveAETitle": settings.DIMSE["AE_TITLE"],
            "InstanceAvailability": "ONLINE",
            "SpecificCharacterSet": "ISO_IR 192",
        }.get(each.keyword) or self._retrieve_url(objects)

    def _retrieve_url(self, objects: Objects) -> str:
        if not self.base_url or objects.study is None:
            return ""
        url = f"{self.base_url}/studies/{objects.study.study_instance_uid}"
        if objects.series is not None:
            url += f"/series/{objects.series.series_instance_uid}"
        if objects.instance is not None:
            url += f"/instances/{objects.instance.sop_instance_uid}"
        return url


def element(vr: str, value: Any) -> Element:
    """One attribute of the model; a text of several values is split at its backslashes."""
    if isinstance(value, str):
        values: list[Any] = [value] if vr in ONE_TEXT else value.split("\\")
        values = values if value else []
    else:
        values = list(value) if isinstance(value, list) else [] if value is None else [value]
    if vr == "PN":
        values = [name_json(each) if isinstance(each, str) else each for each in values]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def name_json(raw: str) -> dict[str, str]:
    """A person name as an object of its component groups (PS3.18 F.2.2)."""
    names = zip(NAME_GROUPS, PersonName(raw).groups, strict=True)
    return {group: text for group, text in names if text}


def texts(found: Element) -> list[str]:
    """The values of an element as they are matched."""
    values = found.get("Value", [])
    if found.get("vr") == "PN":
        names = [value for value in values if isinstance(value, dict)]
        return ["=".join(name.get(group, "") for group in NAME_GROUPS) for name in names]
    return [str(value) for value in values if not isinstance(value, dict)]


def _item(row: Any, columns: Any) -> dict[str, Element]:
    return dict(sorted((tag, element(vr, getattr(row, column))) for tag, vr, column in _described(columns)))


def _described(columns: Any) -> Iterable[tuple[str, str, str]]:
    for keyword, column in columns.items():
        each = BY_KEYWORD.get(keyword) or Attribute(keyword, Level.PATIENT, Kind.COLUMN)
        yield each.tag, each.vr, column

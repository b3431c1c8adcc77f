"""The attributes that searches know: at which level each stands and where its value is kept.

The levels are those of the Query/Retrieve information models (PS3.4 C.3, C.6.1.1, C.6.2.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from pacs.services.incoming import SERIES_ATTRIBUTES, STUDY_ATTRIBUTES


class Level(StrEnum):
    """Values of Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    INSTANCE = "IMAGE"

    @property
    def depth(self) -> int:
        return _DEPTHS[self]


_DEPTHS = {level: depth for depth, level in enumerate(Level)}
# The ORM's names of the rows above.
_UP = {Level.STUDY: "patient_ref__", Level.SERIES: "study_ref__", Level.INSTANCE: "series_ref__"}


def path(level: Level, above: Level) -> str:
    """The ORM's path from a row of `level` to the row of `above` that it belongs to."""
    levels = list(Level)
    return "".join(_UP[each] for each in reversed(levels[above.depth + 1 : level.depth + 1]))


class Kind(Enum):
    """Where a value is kept: a column, an array column, rows of another table, the JSON of other
    attributes, one item made of columns; or nowhere, because it is worked out."""

    COLUMN = "column"
    SET = "set"
    ROWS = "rows"
    JSON = "json"
    ITEM = "item"
    WORKED_OUT = "worked out"


@dataclass(frozen=True)
class Attribute:
    """One attribute. `column` is relative to the row of its level; `search` is the folded form of a name;
    `items` maps the keywords of a sequence's item to columns of its rows."""

    keyword: str
    level: Level
    kind: Kind
    column: str = ""
    search: str = ""
    items: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        return _tag(self.keyword)

    @property
    def vr(self) -> str:
        return _vr(self.keyword)


@lru_cache(maxsize=2048)
def _tag(keyword: str) -> str:
    number = tag_for_keyword(keyword)
    return keyword if number is None else f"{number:08X}"


@lru_cache(maxsize=2048)
def _vr(keyword: str) -> str:
    number = tag_for_keyword(keyword)
    return "UN" if number is None else dictionary_VR(number)


COLUMNS = {
    Level.PATIENT: {
        "PatientName": "patient_name",
        "PatientID": "patient_id",
        "IssuerOfPatientID": "issuer_of_patient_id",
        "PatientBirthDate": "patient_birth_date",
        "PatientSex": "patient_sex",
    },
    Level.STUDY: {
        "StudyInstanceUID": "study_instance_uid",
        "StudyDate": "study_date",
        "StudyTime": "study_time",
        "AccessionNumber": "accession_number",
        "StudyID": "study_id",
        "StudyDescription": "study_description",
        "ReferringPhysicianName": "referring_physician_name",
        "TimezoneOffsetFromUTC": "timezone_offset_from_utc",
        "NumberOfStudyRelatedSeries": "number_of_study_related_series",
        "NumberOfStudyRelatedInstances": "number_of_study_related_instances",
    },
    Level.SERIES: {
        "SeriesInstanceUID": "series_instance_uid",
        "Modality": "modality",
        "SeriesNumber": "series_number",
        "SeriesDescription": "series_description",
        "SeriesDate": "series_date",
        "SeriesTime": "series_time",
        "BodyPartExamined": "body_part_examined",
        "Laterality": "laterality",
        "StationName": "station_name",
        "ProtocolName": "protocol_name",
        "PerformedProcedureStepStartDate": "performed_procedure_step_start_date",
        "PerformedProcedureStepStartTime": "performed_procedure_step_start_time",
        "NumberOfSeriesRelatedInstances": "number_of_series_related_instances",
    },
    Level.INSTANCE: {
        "SOPInstanceUID": "sop_instance_uid",
        "SOPClassUID": "sop_class_uid",
        "InstanceNumber": "instance_number",
        "ContentDate": "content_date",
        "ContentTime": "content_time",
        "Rows": "rows",
        "Columns": "columns",
        "BitsAllocated": "bits_allocated",
        "NumberOfFrames": "number_of_frames",
    },
}
SEARCH_COLUMNS = {
    "PatientName": "patient_name_search",
    "ReferringPhysicianName": "referring_physician_name_search",
}
SETS = {"ModalitiesInStudy": "modalities_in_study", "SOPClassesInStudy": "sop_classes_in_study"}
# Of the attributes that the store keeps in DICOM JSON on the study, those of the patient.
OTHERS_OF_PATIENT = frozenset(
    {
        "TypeOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "PatientBirthTime",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientAddress",
        "PatientMotherBirthName",
        "PatientTelephoneNumbers",
        "EthnicGroup",
        "PatientComments",
    }
)
# Required keys (type R) of the Study Root model, C.6.2.1; PatientID is a unique key in Patient Root.
REQUIRED = frozenset(
    {
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "Modality",
        "SeriesNumber",
        "InstanceNumber",
    }
)
UNIQUE = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.INSTANCE: "SOPInstanceUID",
}
# Date and time that combined matching takes together (PS3.4 C.2.2.2.5.3).
PAIRS = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
    "ContentDate": "ContentTime",
}


def _attributes() -> list[Attribute]:
    found = [
        Attribute(keyword, level, Kind.COLUMN, column, SEARCH_COLUMNS.get(keyword, ""))
        for level, columns in COLUMNS.items()
        for keyword, column in columns.items()
    ]
    found += [Attribute(keyword, Level.STUDY, Kind.SET, column) for keyword, column in SETS.items()]
    found += [
        Attribute(f"NumberOfPatientRelated{what}", Level.PATIENT, Kind.WORKED_OUT)
        for what in ("Studies", "Series", "Instances")
    ]
    found += [
        Attribute(keyword, Level.PATIENT, Kind.WORKED_OUT)
        for keyword in ("RetrieveAETitle", "InstanceAvailability", "RetrieveURL", "SpecificCharacterSet")
    ]
    found += [
        Attribute("OtherPatientIDs", Level.PATIENT, Kind.ROWS, "identifiers", items={"": "value"}),
        Attribute(
            "OtherPatientIDsSequence",
            Level.PATIENT,
            Kind.ROWS,
            "identifiers",
            items={"PatientID": "value", "IssuerOfPatientID": "issuer"},
        ),
        Attribute(
            "RequestAttributesSequence",
            Level.SERIES,
            Kind.ROWS,
            "request_attributes",
            items={
                "ScheduledProcedureStepID": "scheduled_procedure_step_id",
                "RequestedProcedureID": "requested_procedure_id",
                "AccessionNumber": "accession_number",
                "StudyInstanceUID": "study_instance_uid",
            },
        ),
        Attribute(
            "IssuerOfAccessionNumberSequence",
            Level.STUDY,
            Kind.ITEM,
            items={"LocalNamespaceEntityID": "issuer_of_accession_number"},
        ),
    ]
    known = {attribute.keyword for attribute in found}
    for level, tags in ((Level.STUDY, STUDY_ATTRIBUTES), (Level.SERIES, SERIES_ATTRIBUTES)):
        for keyword in sorted({keyword_for_tag(tag) for tag in tags} - known):
            found.append(Attribute(keyword, Level.PATIENT if keyword in OTHERS_OF_PATIENT else level, Kind.JSON))
    return found


BY_KEYWORD = {attribute.keyword: attribute for attribute in _attributes()}
BY_TAG = {attribute.tag: attribute for attribute in BY_KEYWORD.values()}


def attribute(name: str) -> Attribute | None:
    """The attribute of that keyword or tag (eight hex digits); None when searches do not know it."""
    return BY_KEYWORD.get(name) or BY_TAG.get(name.upper())


def keyword_of(name: str) -> str:
    """The keyword of a keyword or tag, the tag itself where PS3.6 has none (private, unknown); else empty."""
    if len(name) == 8:
        try:
            return keyword_for_tag(int(name, 16)) or name.upper()
        except ValueError:
            pass
    return name if tag_for_keyword(name) is not None else ""


@lru_cache
def known_at(level: Level) -> tuple[Attribute, ...]:
    """What an answer at `level` can hold: the attributes of that level and those above, by their tags."""
    known = (attribute for attribute in BY_KEYWORD.values() if attribute.level.depth <= level.depth)
    return tuple(sorted(known, key=lambda each: each.tag))

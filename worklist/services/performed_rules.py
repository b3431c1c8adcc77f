"""What a performed step must say when it is made, changed and ended (PS3.4 Table F.7.2-1).

What the table requires with a value (type 1) is required; what may be empty (type 2) may be missing too,
since devices leave it out.
"""

from typing import Any

from pacs.services.metadata import Attributes
from radiology.dicom import is_uid, parse_da, parse_tm
from radiology.errors import Conflict, InvalidValue, TooLarge
from worklist.models import PerformedStatus
from worklist.services.dicom_json import is_present, items, name_of, tag_of, text

# Elements at all levels together, levels, and items of the sequences that have effects.
MOST_ELEMENTS = 200_000
DEEPEST = 16
MOST_STEPS = 100
MOST_SERIES = 10_000

_MADE_WITH = (
    "Modality",
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
)
_ENDED_WITH = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "PerformedSeriesSequence")
_DATES = ("PerformedProcedureStepStartDate", "PerformedProcedureStepEndDate")
_TIMES = ("PerformedProcedureStepStartTime", "PerformedProcedureStepEndTime")
# Whose and what examination it is stays as it was made: "Not allowed" in N-SET.
FIXED = frozenset(
    name_of(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "Modality",
        "ScheduledStepAttributesSequence",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence",
        "PatientBirthDate",
        "PatientSex",
        "ReferencedPatientSequence",
        "AdmissionID",
        "IssuerOfAdmissionIDSequence",
        "ServiceEpisodeID",
        "PerformedProcedureStepID",
        "PerformedStationAETitle",
        "PerformedStationName",
        "PerformedLocation",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "StudyID",
        "TimezoneOffsetFromUTC",
    )
)


class WrongAttribute(InvalidValue):
    """An attribute of a performed step has a value that cannot be; `facts["tag"]` is its tag."""


class MissingAttribute(WrongAttribute):
    """A required attribute of a performed step is not there."""


class MissingValue(WrongAttribute):
    """A required attribute of a performed step has no value."""


class StepEnded(Conflict):
    """A performed step that was completed or discontinued is not changed any more."""


def check_size(attributes: Attributes) -> None:
    """Raises TooLarge for more elements or levels than any device means."""
    count, level, depth = 0, [attributes], 0
    while level:
        depth += 1
        count += sum(len(each) + 1 for each in level)
        if count > MOST_ELEMENTS or depth > DEEPEST:
            raise TooLarge("The performed step has too many attributes or levels.")
        sequences = [element for each in level for element in each.values() if element.get("vr") == "SQ"]
        level = [item for sequence in sequences for item in sequence.get("Value", [])]


def check_made(attributes: Attributes) -> None:
    """Raises WrongAttribute and its kinds unless a step may be made of this (F.7.2.1)."""
    for keyword in _MADE_WITH:
        _require(attributes, keyword)
    if text(attributes, "PerformedProcedureStepStatus") != PerformedStatus.IN_PROGRESS:
        raise _wrong("PerformedProcedureStepStatus", "A performed step is made IN PROGRESS.")
    steps = items(attributes, "ScheduledStepAttributesSequence")
    if len(steps) > MOST_STEPS:
        raise _wrong("ScheduledStepAttributesSequence", f"At most {MOST_STEPS} scheduled steps.")
    for step in steps:
        _require(step, "StudyInstanceUID")
        if not is_uid(text(step, "StudyInstanceUID", most=65)):
            raise _wrong("StudyInstanceUID", "Study Instance UID is no UID.")
    check_values(attributes)


def check_values(attributes: Attributes) -> None:
    """Raises WrongAttribute for a value that cannot be, in what is made or changed."""
    if is_present(attributes, "PerformedProcedureStepStatus"):
        status = text(attributes, "PerformedProcedureStepStatus")
        if status not in PerformedStatus.values:
            raise _wrong("PerformedProcedureStepStatus", "Status is IN PROGRESS, COMPLETED or DISCONTINUED.")
    for keywords, parse in ((_DATES, parse_da), (_TIMES, parse_tm)):
        for keyword in keywords:
            value = text(attributes, keyword)
            if value and parse(value) is None:
                raise _wrong(keyword, f"{keyword} cannot be read.")
    if is_present(attributes, "PerformedSeriesSequence"):
        _check_series(attributes)


def check_ended(attributes: Attributes) -> None:
    """Raises WrongAttribute and its kinds unless a step may end like this: the final state of Table F.7.2-1.

    A series stands in it even when no image was made (note 2 of the table).
    """
    for keyword in _ENDED_WITH:
        _require(attributes, keyword)


def _check_series(attributes: Attributes) -> None:
    if attributes[name_of("PerformedSeriesSequence")].get("vr") != "SQ":
        raise _wrong("PerformedSeriesSequence", "Performed Series Sequence is no sequence.")
    series = items(attributes, "PerformedSeriesSequence")
    if len(series) > MOST_SERIES:
        raise _wrong("PerformedSeriesSequence", f"At most {MOST_SERIES} series.")
    for each in series:
        _require(each, "SeriesInstanceUID")
        if not is_uid(text(each, "SeriesInstanceUID", most=65)):
            raise _wrong("SeriesInstanceUID", "Series Instance UID is no UID.")
        for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"):
            for reference in items(each, keyword):
                if not is_uid(text(reference, "ReferencedSOPInstanceUID", most=65)):
                    raise _wrong("ReferencedSOPInstanceUID", "Referenced SOP Instance UID is no UID.")


def _require(attributes: Any, keyword: str) -> None:
    if not is_present(attributes, keyword):
        raise MissingAttribute(f"{keyword} is missing.", field=keyword, tag=tag_of(keyword))
    if not items(attributes, keyword) and not text(attributes, keyword):
        raise MissingValue(f"{keyword} is empty.", field=keyword, tag=tag_of(keyword))


def _wrong(keyword: str, message: str) -> WrongAttribute:
    return WrongAttribute(message, field=keyword, tag=tag_of(keyword))

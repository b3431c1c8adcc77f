"""The series that a performed step made (Performed Series Sequence, PS3.3 C.4.15)."""

from dataclasses import dataclass

from worklist.models import PerformedProcedureStep
from worklist.services.dicom_json import items, text

MOST_SERIES = 1000
OBJECTS = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")


@dataclass(frozen=True)
class PerformedSeries:
    """One series as the device describes it, with the SOP Instance UIDs of its objects."""

    series_instance_uid: str
    series_description: str
    protocol_name: str
    performing_physician_name: str
    operators_name: str
    objects: tuple[str, ...]


def series_of(*, performed: PerformedProcedureStep) -> list[PerformedSeries]:
    """Its series, in the device's order; the first thousand."""
    return [
        PerformedSeries(
            series_instance_uid=text(item, "SeriesInstanceUID"),
            series_description=text(item, "SeriesDescription", most=256),
            protocol_name=text(item, "ProtocolName", most=256),
            performing_physician_name=text(item, "PerformingPhysicianName", most=324),
            operators_name=text(item, "OperatorsName", most=324),
            objects=tuple(
                text(reference, "ReferencedSOPInstanceUID") for keyword in OBJECTS for reference in items(item, keyword)
            ),
        )
        for item in items(performed.attributes, "PerformedSeriesSequence")[:MOST_SERIES]
    ]


def objects_of(*, performed: PerformedProcedureStep) -> set[str]:
    """The SOP Instance UIDs of all objects that it lists."""
    listed = items(performed.attributes, "PerformedSeriesSequence")
    found = (items(series, keyword) for series in listed for keyword in OBJECTS)
    return {text(reference, "ReferencedSOPInstanceUID") for references in found for reference in references} - {""}

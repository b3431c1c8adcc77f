"""The measurements in a report as a Comprehensive SR (PS3.3 A.35.3) after TID 1500, Measurement Report (PS3.16).

One group (TID 1501) a measurement, its figures (TID 300) inferred from its outline (TID 320) on its image. Tracking
Identifiers are those of the viewer's tools, by which it opens them again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage

from pacs.models import Instance, ReportObjectKind, Study
from pacs.services.key_images import shown_of
from pacs.services.report_document import coded, derived_uid, document, organisation, part10, signer_of
from pacs.services.report_measurements import Figure, Measured, Point
from pacs.services.report_sr import Predecessor, describe
from pacs.services.sr_content import (
    CONTEXT,
    Code,
    Reference,
    container,
    device_observer,
    image,
    item,
    language_item,
    of_study,
    person_observer,
    set_evidence,
    template,
    text_item,
    uid_item,
)
from radiology.models import ReportVersion

REPORT: Code = ("126000", "DCM", "Imaging Measurement Report")
TRACKING = "Cornerstone3DTools@^0.1.0"
IMAGING_PROCEDURE: Code = ("363679005", "SCT", "Imaging procedure")
AREA: dict[str, Code] = {
    "area": ("42798000", "SCT", "Area"),
    "radius": ("131190003", "SCT", "Radius"),
    "mean": ("373098007", "SCT", "Mean"),
    "stdDev": ("386136009", "SCT", "Standard Deviation"),
    "max": ("56851009", "SCT", "Maximum"),
    "min": ("255605001", "SCT", "Minimum"),
}
# What the figures of each tool are (PS3.16 CID 218 and 7464).
CONCEPTS: dict[str, dict[str, Code]] = {
    "Length": {"length": ("410668003", "SCT", "Length")},
    "Bidirectional": {"length": ("103339001", "SCT", "Long Axis"), "width": ("103340004", "SCT", "Short Axis")},
    "Angle": {"angle": ("1483009", "SCT", "Angle")},
    "CobbAngle": {"angle": ("285285000", "SCT", "Cobb angle")},
    "EllipticalROI": AREA,
    "RectangleROI": AREA,
    "CircleROI": AREA,
    "PlanarFreehandROI": AREA,
    "Probe": {"value": ("112031", "DCM", "Attenuation Coefficient")},
}
# In UCUM; by the unit's first word, which in the viewer may be followed by how it was calibrated.
UNITS: dict[str, Code] = {
    "mm": ("mm", "UCUM", "mm"),
    "cm": ("cm", "UCUM", "cm"),
    "mm²": ("mm2", "UCUM", "mm2"),
    "cm²": ("cm2", "UCUM", "cm2"),
    "HU": ("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "°": ("deg", "UCUM", "deg"),
    "deg": ("deg", "UCUM", "deg"),
}
NO_UNIT: Code = ("1", "UCUM", "no units")
Outline = tuple[str, list[Point]]


@dataclass(frozen=True)
class OnImage:
    """A measurement, and the image of the same patient that it was made on."""

    measured: Measured
    instance: Instance


def on_images(measured: Sequence[Measured], study: Study) -> list[OnImage]:
    """Those whose image the archive shows, of this patient, and of which something can be said in codes."""
    wanted = {each.sop_instance_uid for each in measured}
    shown = shown_of(patient=study.patient_ref_id, site=study.site_id, instances=wanted)
    by_uid = {each.sop_instance_uid: each for each in shown.select_related("series_ref__study_ref")}
    return [
        OnImage(each, by_uid[each.sop_instance_uid])
        for each in measured
        if each.sop_instance_uid in by_uid and _figures(each)
    ]


def measurement_report(
    *, version: ReportVersion, study: Study, found: Sequence[OnImage], predecessor: Predecessor | None
) -> bytes:
    """A Part 10 file of the measurements in a version of a report, for the study that it is about."""
    kind = ReportObjectKind.MEASUREMENTS
    made = document(version=version, study=study, kind=kind, sop_class_uid=ComprehensiveSRStorage)
    made.SeriesDescription = "Measurements of the report"
    describe(made, version, study)
    if predecessor is not None:
        former = (predecessor.series_instance_uid, str(ComprehensiveSRStorage), predecessor.sop_instance_uid)
        made.PredecessorDocumentsSequence = [of_study(predecessor.study_instance_uid, [former])]
    set_evidence(made, study.study_instance_uid, sorted({_reference(each.instance) for each in found}))
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [coded(*REPORT)]
    made.ContentTemplateSequence = [template("1500")]
    made.ContentSequence = [
        language_item(),
        *_observers(version, study),
        *_procedures(made),
        _library(found),
        container("CONTAINS", ("126010", "DCM", "Imaging Measurements"), [_group(each, version) for each in found]),
    ]
    return part10(made)


def _observers(version: ReportVersion, study: Study) -> list[Dataset]:
    """Who signed, where somebody is named, and this server."""
    name, device = signer_of(version), device_observer(study.site)
    if not name:
        return device
    who = organisation(version.report_ref)
    return [*person_observer(name=name, organisation=who, user=version.author), *device]


def _procedures(made: Dataset) -> list[Dataset]:
    """TID 1500 row 4: what was done, as the header has it."""
    reported = item("HAS CONCEPT MOD", "CODE", ("121058", "DCM", "Procedure reported"))
    reported.ConceptCodeSequence = list(made.PerformedProcedureCodeSequence) or [coded(*IMAGING_PROCEDURE)]
    return [reported]


def _reference(instance: Instance) -> Reference:
    series = instance.series_ref
    study = series.study_ref
    return study.study_instance_uid, series.series_instance_uid, instance.sop_class_uid, instance.sop_instance_uid


def _library(found: Sequence[OnImage]) -> Dataset:
    """TID 1600: each image once."""
    images = dict.fromkeys((each.instance.sop_class_uid, each.instance.sop_instance_uid) for each in found)
    shown = [image("CONTAINS", *each) for each in images]
    group = container("CONTAINS", ("126200", "DCM", "Image Library Group"), shown)
    return container("CONTAINS", ("111028", "DCM", "Image Library"), [group])


def _group(each: OnImage, version: ReportVersion) -> Dataset:
    """TID 1501. The same measurement has the same Tracking Unique Identifier in every version of the report."""
    measured = each.measured
    uid = derived_uid(version.report_ref.public_id, measured.sop_instance_uid, measured)
    content = [
        text_item(CONTEXT, ("112039", "DCM", "Tracking Identifier"), f"{TRACKING}:{measured.tool}"),
        uid_item(CONTEXT, ("112040", "DCM", "Tracking Unique Identifier"), uid),
    ]
    outlines = _outlines(measured)
    for place, figure in enumerate(_figures(measured)):
        content.append(_number(figure, measured, each.instance, outlines[place] if place < len(outlines) else None))
    if measured.label:
        content.append(text_item("CONTAINS", ("121106", "DCM", "Comment"), measured.label))
    return container("CONTAINS", ("125007", "DCM", "Measurement Group"), content)


def _figures(measured: Measured) -> list[Figure]:
    """Those that have a code; the first is the one that the outline belongs to."""
    concepts = CONCEPTS[measured.tool]
    found = {each.name: each for each in measured.figures if each.name in concepts}
    if next(iter(concepts)) not in found:
        return []
    if measured.tool == "Probe" and any(each.unit != "HU" for each in found.values()):
        return []  # what the value of a pixel means is known of CT alone
    return [found[name] for name in concepts if name in found]


def _number(figure: Figure, measured: Measured, instance: Instance, outline: Outline | None) -> Dataset:
    """TID 300, with its outline or at least its image."""
    made = item("CONTAINS", "NUM", CONCEPTS[measured.tool][figure.name])
    value = Dataset()
    value.NumericValue = f"{figure.value:.9g}"
    unit = "deg" if figure.name == "angle" else figure.unit.partition(" ")[0]
    value.MeasurementUnitsCodeSequence = [coded(*UNITS.get(unit, NO_UNIT))]
    made.MeasuredValueSequence = [value]
    frame = measured.frame if (instance.number_of_frames or 1) > 1 else None
    if outline is not None:
        made.ContentSequence = [_scoord(outline, instance, frame)]
    elif not measured.points:
        made.ContentSequence = [image("INFERRED FROM", instance.sop_class_uid, instance.sop_instance_uid, frame)]
    return made


def _scoord(outline: Outline, instance: Instance, frame: int | None) -> Dataset:
    kind, points = outline
    made = item("INFERRED FROM", "SCOORD", None)
    made.GraphicType = kind
    made.GraphicData = [coordinate for point in points for coordinate in point]
    made.ContentSequence = [image("SELECTED FROM", instance.sop_class_uid, instance.sop_instance_uid, frame)]
    return made


def _outlines(measured: Measured) -> list[Outline]:
    """From the handles of the viewer's tool to PS3.3 C.18.6.1.2; one for each of its first figures."""
    return list(_drawn(measured.tool, list(measured.points))) if measured.points else []


def _drawn(tool: str, points: list[Point]) -> Iterator[Outline]:
    if tool == "Bidirectional":
        axes = sorted((points[:2], points[2:]), key=_squared, reverse=True)
        yield from (("POLYLINE", axis) for axis in axes)
    elif tool == "Angle":
        yield "POLYLINE", [points[0], points[1], points[1], points[2]]
    elif tool == "EllipticalROI":
        first, second = sorted((points[:2], points[2:]), key=_squared, reverse=True)
        yield "ELLIPSE", [*first, *second]
    elif tool == "RectangleROI":
        yield "POLYLINE", [points[0], points[1], points[3], points[2], points[0]]
    elif tool == "CircleROI":
        yield "CIRCLE", points
    elif tool == "PlanarFreehandROI":
        yield "POLYLINE", points if points[0] == points[-1] else [*points, points[0]]
    elif tool == "Probe":
        yield "POINT", points
    else:
        yield "POLYLINE", points


def _squared(axis: list[Point]) -> float:
    (x1, y1), (x2, y2) = axis
    return (x1 - x2) ** 2 + (y1 - y2) ** 2

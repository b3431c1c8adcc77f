"""Structured documents: reports in words and in measurements, and a selection of key images."""

from collections.abc import Sequence as Items

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, ComprehensiveSRStorage, KeyObjectSelectionDocumentStorage

from pacs.demo.labels import Examination, coded, equipment, finish
from pacs.demo.patients import HOSPITAL

RADIOLOGIST = "Kusuma^Dewi^^dr.^Sp.Rad"
# series UID, SOP class, SOP Instance UIDs
Evidence = tuple[str, str, Items[str]]


def content(relationship: str, value_type: str, concept: Dataset | None, **values: object) -> Dataset:
    """One content item (PS3.3 C.17.3)."""
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, value_type
    if concept is not None:
        item.ConceptNameCodeSequence = Sequence([concept])
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def container(relationship: str, concept: Dataset, items: Items[Dataset]) -> Dataset:
    return content(relationship, "CONTAINER", concept, ContinuityOfContent="SEPARATE", ContentSequence=Sequence(items))


def _code(relationship: str, concept: tuple[str, str], value: Dataset) -> Dataset:
    return content(relationship, "CODE", coded(concept[0], "DCM", concept[1]), ConceptCodeSequence=Sequence([value]))


def language() -> Dataset:
    """TID 1204: what follows is Indonesian."""
    return _code("HAS CONCEPT MOD", ("121049", "Language of Content Item and Descendants"),
                 coded("id", "RFC5646", "Indonesian"))  # fmt: skip


def observer() -> list[Dataset]:
    """TID 1002: a person."""
    return [
        _code("HAS OBS CONTEXT", ("121005", "Observer Type"), coded("121006", "DCM", "Person")),
        content("HAS OBS CONTEXT", "PNAME", coded("121008", "DCM", "Person Observer Name"), PersonName=RADIOLOGIST),
    ]


def referenced(sop_class_uid: str, sop_instance_uid: str) -> Sequence:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return Sequence([item])


def evidence(examination: Examination, series: Items[Evidence]) -> Sequence:
    """The objects that a document speaks of (PS3.3 C.17.2.2)."""
    study = Dataset()
    study.StudyInstanceUID = examination.study_instance_uid
    study.ReferencedSeriesSequence = Sequence()
    for series_uid, sop_class_uid, instances in series:
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedSOPSequence = Sequence([referenced(sop_class_uid, uid)[0] for uid in instances])
        study.ReferencedSeriesSequence.append(item)
    return Sequence([study])


def _document(examination: Examination, *, number: int, modality: str, description: str, minutes: int) -> Dataset:
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Content", seconds=60 * minutes)
    equipment(ds, station="REPORT-1", model="Reporting workstation")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = modality, description, number, 1
    ds.SeriesInstanceUID = examination.uid("document", number)
    ds.ReferencedPerformedProcedureStepSequence = Sequence()
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    return ds


def _signed(examination: Examination, ds: Dataset, minutes: int) -> None:
    """Complete and verified (PS3.3 C.17.2)."""
    ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag = "COMPLETE", "VERIFIED", "FINAL"
    ds.PerformedProcedureCodeSequence = Sequence()
    verifier = Dataset()
    verifier.VerifyingOrganization, verifier.VerifyingObserverName = HOSPITAL, RADIOLOGIST
    verifier.VerificationDateTime = examination.date_time(60 * minutes)
    verifier.VerifyingObserverIdentificationCodeSequence = Sequence()
    ds.VerifyingObserverSequence = Sequence([verifier])


def text_report(
    examination: Examination,
    *,
    findings: Items[str],
    impression: Items[str],
    series: Items[Evidence],
    minutes: int = 20,
) -> Dataset:
    """Basic Text SR (PS3.3 A.35.1) after TID 2000."""
    ds = _document(examination, number=800, modality="SR", description="Laporan radiologi", minutes=minutes)
    _signed(examination, ds, minutes)
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(examination, series)
    ds.ConceptNameCodeSequence = Sequence([coded("18748-4", "LN", "Diagnostic imaging report")])
    sections = [
        container("CONTAINS", coded(heading[0], "DCM", heading[1]), [
            content("CONTAINS", "TEXT", coded(item[0], "DCM", item[1]), TextValue=text) for text in texts
        ])
        for heading, item, texts in (
            (("121070", "Findings"), ("121071", "Finding"), findings),
            (("121072", "Impressions"), ("121073", "Impression"), impression),
        )
    ]  # fmt: skip
    ds.ContentSequence = Sequence([language(), *observer(), *sections])
    return finish(ds, BasicTextSRStorage, examination.uid("document", 800, 1))


def measurement_report(
    examination: Examination,
    *,
    image: tuple[str, str, str],
    ends: tuple[float, float, float, float],
    millimetres: float,
) -> Dataset:
    """Comprehensive SR (PS3.3 A.35.3) after TID 1500: the long axis of a nodule. `image`: series, class, instance."""
    ds = _document(examination, number=801, modality="SR", description="Pengukuran nodul", minutes=18)
    _signed(examination, ds, 18)
    series, sop_class, uid = image
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(examination, [(series, sop_class, [uid])])
    ds.ConceptNameCodeSequence = Sequence([coded("126000", "DCM", "Imaging Measurement Report")])
    picture = content("SELECTED FROM", "IMAGE", None, ReferencedSOPSequence=referenced(sop_class, uid))
    line = content("INFERRED FROM", "SCOORD", None, GraphicType="POLYLINE", GraphicData=list(ends),
                   ContentSequence=Sequence([picture]))  # fmt: skip
    measured = Dataset()
    measured.NumericValue = f"{millimetres:.1f}"
    measured.MeasurementUnitsCodeSequence = Sequence([coded("mm", "UCUM", "millimeter")])
    length = content("CONTAINS", "NUM", coded("103339001", "SCT", "Long Axis"),
                     MeasuredValueSequence=Sequence([measured]), ContentSequence=Sequence([line]))  # fmt: skip
    group = container("CONTAINS", coded("125007", "DCM", "Measurement Group"), [
        content("HAS OBS CONTEXT", "TEXT", coded("112039", "DCM", "Tracking Identifier"), TextValue="Nodul 1"),
        content("HAS OBS CONTEXT", "UIDREF", coded("112040", "DCM", "Tracking Unique Identifier"),
                UID=examination.label.uid("nodule")),
        content("CONTAINS", "CODE", coded("121071", "DCM", "Finding"),
                ConceptCodeSequence=Sequence([coded("27925004", "SCT", "Nodule")])),
        length,
    ])  # fmt: skip
    library = container("CONTAINS", coded("111028", "DCM", "Image Library"), [
        container("CONTAINS", coded("126200", "DCM", "Image Library Group"),
                  [content("CONTAINS", "IMAGE", None, ReferencedSOPSequence=referenced(sop_class, uid))]),
    ])  # fmt: skip
    procedure = coded("241541005", "SCT", "High resolution computed tomography of chest")
    ds.ContentSequence = Sequence([
        language(), *observer(), _code("HAS CONCEPT MOD", ("121058", "Procedure reported"), procedure), library,
        container("CONTAINS", coded("126010", "DCM", "Imaging Measurements"), [group]),
    ])  # fmt: skip
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "1500"
    ds.ContentTemplateSequence = Sequence([template])
    return finish(ds, ComprehensiveSRStorage, examination.uid("document", 801, 1))


def key_images(examination: Examination, *, series: Items[Evidence], description: str) -> Dataset:
    """Key Object Selection (PS3.3 A.35.4, TID 2010) titled "Of Interest"."""
    ds = _document(examination, number=802, modality="KO", description="Gambar kunci", minutes=16)
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(examination, series)
    ds.ConceptNameCodeSequence = Sequence([coded("113000", "DCM", "Of Interest")])
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = Sequence([template])
    words = content("CONTAINS", "TEXT", coded("113012", "DCM", "Key Object Description"), TextValue=description)
    pictures = [
        content("CONTAINS", "IMAGE", None, ReferencedSOPSequence=referenced(sop_class, uid))
        for _, sop_class, instances in series
        for uid in instances
    ]
    ds.ContentSequence = Sequence([language(), words, *pictures])
    return finish(ds, KeyObjectSelectionDocumentStorage, examination.uid("document", 802, 1))

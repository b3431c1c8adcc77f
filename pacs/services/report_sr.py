"""A report as a Basic Text SR (PS3.3 A.35.1) after TID 2000, Basic Diagnostic Imaging Report (PS3.16).

Whose it is stands in the header alone, and not again in the content: what is corrected later is laid over headers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.dateparse import parse_datetime
from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage

from pacs.models import Instance, ReportObjectKind, Study
from pacs.services.report_document import (
    TITLE,
    coded,
    date_time,
    document,
    is_verified,
    issuer,
    local,
    organisation,
    part10,
    person,
    signer_of,
    whole,
    whole_text,
    writer_of,
)
from pacs.services.report_key_images import key_image_references, key_image_section, key_images_here
from pacs.services.sr_content import (
    CONTEXT,
    Code,
    Evidence,
    container,
    device_observer,
    item,
    language_item,
    of_study,
    person_observer,
    set_evidence,
    template,
    text_item,
)
from radiology.dicom import fit
from radiology.models import ReportSection, ReportStatus, ReportVersion, RequestedProcedure

# So many images are named as evidence; of a larger study its first ones.
MOST_REFERENCES = 5000
# Heading (CID 7001) and what stands under it (CID 7002).
SECTIONS: dict[ReportSection, tuple[Code, Code]] = {
    ReportSection.INDICATION: (
        ("18785-6", "LN", "Indications for Procedure"),
        ("18785-6", "LN", "Indications for Procedure"),
    ),
    ReportSection.TECHNIQUE: (
        ("55111-9", "LN", "Current Procedure Descriptions"),
        ("121065", "DCM", "Procedure Description"),
    ),
    ReportSection.COMPARISON: (("18834-2", "LN", "Previous Findings"), ("121069", "DCM", "Previous Finding")),
    ReportSection.FINDINGS: (("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding")),
    ReportSection.IMPRESSION: (("19005-8", "LN", "Impressions"), ("121073", "DCM", "Impression")),
}
ADDENDUM: tuple[Code, Code] = (("55107-7", "LN", "Addendum"), ("121106", "DCM", "Comment"))


@dataclass(frozen=True)
class Predecessor:
    """The former version of a report, where it is now."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


def says_anything(version: ReportVersion) -> bool:
    """Whether a version has words of which an SR can be made: one that is only a PDF has none."""
    return bool(version.texts or version.addenda)


def evidence_of(study: Study) -> list[Evidence]:
    """The images that a study shows, by series, MOST_REFERENCES at most."""
    images = Instance.objects.filter(series_ref__study_ref=study).images()
    return list(
        images.order_by("series_ref_id", "instance_number", "pk").values_list(
            "series_ref__series_instance_uid", "sop_class_uid", "sop_instance_uid"
        )[:MOST_REFERENCES]
    )


def structured_report(
    *, version: ReportVersion, study: Study, evidence: Sequence[Evidence], predecessor: Predecessor | None
) -> bytes:
    """A Part 10 file of what a version of a report says in words, for the study that it is about."""
    made = document(version=version, study=study, kind=ReportObjectKind.SR, sop_class_uid=BasicTextSRStorage)
    procedure = version.report_ref.requested_procedure_ref
    describe(made, version, study)
    if predecessor is not None:
        former = [(predecessor.series_instance_uid, str(BasicTextSRStorage), predecessor.sop_instance_uid)]
        made.PredecessorDocumentsSequence = [of_study(predecessor.study_instance_uid, former)]
    images = key_images_here(version, study)
    uid = study.study_instance_uid
    set_evidence(made, uid, [*((uid, *each) for each in evidence), *key_image_references(images)])
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [coded(*TITLE)]
    made.ContentTemplateSequence = [template("2000")]
    made.ContentSequence = [
        language_item(),
        *_observer(version),
        *[_observed_procedure(code) for code in _procedure_code(procedure)],
        *[_section(*SECTIONS[section], text) for section, text in version.texts],
        *[_addendum(each, study) for each in version.addenda],
        *key_image_section(images),
    ]
    return part10(made)


def describe(made: Dataset, version: ReportVersion, study: Study) -> None:
    """SR Document General (PS3.3 C.17.2) of a document made of a version: what it is of, who verified it."""
    procedure = version.report_ref.requested_procedure_ref
    made.ReferencedPerformedProcedureStepSequence = []  # type 2
    _status(made, version, study)
    made.ReferencedRequestSequence = [_request(procedure, study)]
    made.PerformedProcedureCodeSequence = _procedure_code(procedure)


def _status(made: Dataset, version: ReportVersion, study: Study) -> None:
    """SR Document General (PS3.3 C.17.2)."""
    is_preliminary = version.status == ReportStatus.PRELIMINARY
    made.CompletionFlag = "PARTIAL" if is_preliminary else "COMPLETE"
    made.PreliminaryFlag = "PRELIMINARY" if is_preliminary else "FINAL"
    if version.status != ReportStatus.FINAL:
        words = version.status if not version.reason else f"{version.status}: {version.reason}"
        made.CompletionFlagDescription = fit("LO", words)
    made.VerificationFlag = "VERIFIED" if is_verified(version) else "UNVERIFIED"
    if version.writer_name:
        author = Dataset()
        author.ObserverType = "PSN"
        author.PersonName = writer_of(version)
        author.PersonIdentificationCodeSequence = []  # type 2
        author.InstitutionName = organisation(version.report_ref)
        author.InstitutionCodeSequence = []  # type 2
        made.AuthorObserverSequence = [author]
    if is_verified(version):
        verifier = Dataset()
        verifier.VerifyingObserverName = signer_of(version)
        verifier.VerifyingOrganization = organisation(version.report_ref)
        verifier.VerificationDateTime = date_time(local(version.at, study))
        verifier.VerifyingObserverIdentificationCodeSequence = []  # type 2
        made.VerifyingObserverSequence = [verifier]


def _request(procedure: RequestedProcedure, study: Study) -> Dataset:
    order = procedure.order_ref
    made = Dataset()
    made.StudyInstanceUID = study.study_instance_uid
    made.ReferencedStudySequence = []  # type 2
    made.AccessionNumber = whole("SH", order.accession_number)
    if made.AccessionNumber and order.issuer_of_accession_number:
        made.IssuerOfAccessionNumberSequence = [issuer(order.issuer_of_accession_number)]
    made.PlacerOrderNumberImagingServiceRequest = whole("LO", order.placer_order_number)
    made.FillerOrderNumberImagingServiceRequest = whole("LO", order.filler_order_number)
    made.RequestedProcedureID = whole("SH", procedure.requested_procedure_id)
    made.RequestedProcedureDescription = fit("LO", procedure.requested_procedure_description)
    made.RequestedProcedureCodeSequence = _procedure_code(procedure)
    return made


def _procedure_code(procedure: RequestedProcedure) -> list[Dataset]:
    value, scheme = procedure.procedure_code_value, procedure.procedure_coding_scheme
    meaning = fit("LO", procedure.requested_procedure_description) or value
    return [coded(value, scheme, meaning)] if value and scheme else []


def _observed_procedure(code: Dataset) -> Dataset:
    observed = item(CONTEXT, "CODE", ("121023", "DCM", "Procedure Code"))
    observed.ConceptCodeSequence = [code]
    return observed


def _observer(version: ReportVersion) -> list[Dataset]:
    """TID 1001, 1002: who wrote it and for which organisation; where nobody is named, the server that took it over."""
    name = writer_of(version) or signer_of(version)
    if name:
        return person_observer(name=name, organisation=organisation(version.report_ref))
    return device_observer(version.report_ref.site)


def _section(heading: Code, concept: Code, text: str) -> Dataset:
    return container("CONTAINS", heading, [text_item("CONTAINS", concept, whole_text(text) or "-")])


def _addendum(addendum: dict[str, str], study: Study) -> Dataset:
    """With who added it, and when."""
    section = _section(*ADDENDUM, addendum.get("text", ""))
    at = _moment(addendum.get("at", ""))
    if at is not None:
        section.ObservationDateTime = date_time(local(at, study))
    name = person(addendum.get("by", ""))
    if name:
        section.ContentSequence = [*person_observer(name=name), *section.ContentSequence]
    return section


def _moment(text: str) -> datetime | None:
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None

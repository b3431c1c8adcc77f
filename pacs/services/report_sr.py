"""A report as a Basic Text SR (PS3.3 A.35.1) after TID 2000, Basic Diagnostic Imaging Report (PS3.16).

Whose it is stands in the header alone, and not again in the content: what is corrected later is laid over headers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils.dateparse import parse_datetime
from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage

from pacs.models import Instance, ReportObjectKind, Study
from pacs.services.report_document import (
    TITLE,
    coded,
    date_time,
    derived_uid,
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
from pacs.services.report_key_images import key_image_section, key_images_here, other_evidence, with_key_images
from pacs.services.sr_content import Code, Evidence
from pacs.services.sr_content import item as _item
from pacs.services.sr_content import of_study as _of_study
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
LANGUAGES = {"id": "Indonesian", "en": "English"}


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
        made.PredecessorDocumentsSequence = [_of_study(predecessor.study_instance_uid, former)]
    images = key_images_here(version, study)
    evidence = with_key_images(evidence, images, study)
    if evidence:
        made.CurrentRequestedProcedureEvidenceSequence = [_of_study(study.study_instance_uid, evidence)]
    if others := other_evidence(images, study):
        made.PertinentOtherEvidenceSequence = [_of_study(uid, found) for uid, found in others.items()]
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [coded(*TITLE)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2000"
    made.ContentTemplateSequence = [template]
    made.ContentSequence = [
        _language(),
        *_observer(version),
        *[_observed(("121023", "DCM", "Procedure Code"), item) for item in _procedure_code(procedure)],
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
    item = Dataset()
    item.StudyInstanceUID = study.study_instance_uid
    item.ReferencedStudySequence = []  # type 2
    item.AccessionNumber = whole("SH", order.accession_number)
    if item.AccessionNumber and order.issuer_of_accession_number:
        item.IssuerOfAccessionNumberSequence = [issuer(order.issuer_of_accession_number)]
    item.PlacerOrderNumberImagingServiceRequest = whole("LO", order.placer_order_number)
    item.FillerOrderNumberImagingServiceRequest = whole("LO", order.filler_order_number)
    item.RequestedProcedureID = whole("SH", procedure.requested_procedure_id)
    item.RequestedProcedureDescription = fit("LO", procedure.requested_procedure_description)
    item.RequestedProcedureCodeSequence = _procedure_code(procedure)
    return item


def _procedure_code(procedure: RequestedProcedure) -> list[Dataset]:
    value, scheme = procedure.procedure_code_value, procedure.procedure_coding_scheme
    meaning = fit("LO", procedure.requested_procedure_description) or value
    return [coded(value, scheme, meaning)] if value and scheme else []


def _language() -> Dataset:
    """TID 1204: the language of the installation, in which its reports are written."""
    item = _item("HAS CONCEPT MOD", "CODE", ("121049", "DCM", "Language of Content Item and Descendants"))
    language = settings.LANGUAGE_CODE
    item.ConceptCodeSequence = [coded(language, "RFC5646", LANGUAGES[language])]
    return item


def _observed(concept: Code, code: Dataset) -> Dataset:
    item = _item("HAS OBS CONTEXT", "CODE", concept)
    item.ConceptCodeSequence = [code]
    return item


def _observer(version: ReportVersion) -> list[Dataset]:
    """TID 1001, 1002: who wrote it and for which organisation; where nobody is named, the server that took it over."""
    name = writer_of(version) or signer_of(version)
    if name:
        of = _item("HAS OBS CONTEXT", "TEXT", ("121009", "DCM", "Person Observer's Organization Name"))
        of.TextValue = organisation(version.report_ref)
        return [*_person(name), of]
    uid = _item("HAS OBS CONTEXT", "UIDREF", ("121012", "DCM", "Device Observer UID"))
    uid.UID = derived_uid("site", version.report_ref.site.code)
    title = _item("HAS OBS CONTEXT", "TEXT", ("121013", "DCM", "Device Observer Name"))
    title.TextValue = "Sinar"
    device = ("121007", "DCM", "Device")
    return [_observed(("121005", "DCM", "Observer Type"), coded(*device)), uid, title]


def _person(name: str) -> list[Dataset]:
    kind = _observed(("121005", "DCM", "Observer Type"), coded("121006", "DCM", "Person"))
    who = _item("HAS OBS CONTEXT", "PNAME", ("121008", "DCM", "Person Observer Name"))
    who.PersonName = name
    return [kind, who]


def _section(heading: Code, concept: Code, text: str) -> Dataset:
    container = _item("CONTAINS", "CONTAINER", heading)
    container.ContinuityOfContent = "SEPARATE"
    words = _item("CONTAINS", "TEXT", concept)
    words.TextValue = whole_text(text) or "-"
    container.ContentSequence = [words]
    return container


def _addendum(addendum: dict[str, str], study: Study) -> Dataset:
    """With who added it, and when."""
    container = _section(*ADDENDUM, addendum.get("text", ""))
    at = _moment(addendum.get("at", ""))
    if at is not None:
        container.ObservationDateTime = date_time(local(at, study))
    name = person(addendum.get("by", ""))
    if name:
        container.ContentSequence = [*_person(name), *container.ContentSequence]
    return container


def _moment(text: str) -> datetime | None:
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None

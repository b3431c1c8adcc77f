"""A published report is found in its study as DICOM objects, which independent programs read."""

import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import BasicTextSRStorage, EncapsulatedPDFStorage

from pacs.models import HeldObject, Instance, Study
from pacs.services import report_document, report_sr
from pacs.services.report_sr import SECTIONS
from radiology.models import (
    ReportOrigin,
    ReportSection,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Role,
    Site,
    User,
)
from radiology.services.attached_reports import attach_report
from radiology.services.report_pdf import pdf_of
from radiology.services.report_versions import Content
from tests.factories import make_patient, make_site, make_user
from tests.pacs.reported import (
    errors_of,
    files_of,
    imaged,
    objects_of,
    ordered,
    through_all,
    tree_of,
    work,
    written,
)

PDF = b"%PDF-1.4\n\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
Tool = Callable[[str], str]


@pytest.fixture
def radiologist(site: Site) -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat Ñ.", last_name="Hidayat")


@pytest.fixture
def procedure(site: Site) -> RequestedProcedure:
    return ordered()


def attached(procedure: RequestedProcedure, status: ReportStatus = ReportStatus.FINAL, **content: Any) -> ReportVersion:
    author = content.pop("author_name", "SpRad^Dewi^^dr.")
    version, _ = attach_report(
        procedure=procedure,
        status=status,
        content=Content(content.pop("sections", {}), content.pop("pdf", None)),
        author_name=author,
        origin=ReportOrigin.HL7,
        at=datetime(2026, 3, 1, 3, 4, 5, tzinfo=UTC),
    )
    return version


def items(node: Dataset) -> dict[str, list[Dataset]]:
    """The content items below a node, by the meanings of their concepts."""
    found: dict[str, list[Dataset]] = {}
    for item in node.ContentSequence:
        found.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item)
    return found


def test_every_section_has_a_heading_and_a_concept() -> None:
    assert set(SECTIONS) == set(ReportSection)


def test_every_version_is_a_valid_document_that_names_the_one_before(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    through_all(procedure, radiologist)
    files = files_of(study, "SR")
    documents = [dcmread(BytesIO(file)) for file in files]
    assert [
        (each.PreliminaryFlag, each.CompletionFlag, each.VerificationFlag, each.get("CompletionFlagDescription", ""))
        for each in documents
    ] == [
        ("PRELIMINARY", "PARTIAL", "UNVERIFIED", "preliminary"),
        ("FINAL", "COMPLETE", "VERIFIED", ""),
        ("FINAL", "COMPLETE", "VERIFIED", "amended: Sisi tertukar"),
        ("FINAL", "COMPLETE", "VERIFIED", "appended"),
    ]
    assert "VerifyingObserverSequence" not in documents[0]
    assert "PredecessorDocumentsSequence" not in documents[0]
    for former, later in pairwise(documents):
        [named] = later.PredecessorDocumentsSequence
        [series] = named.ReferencedSeriesSequence
        [reference] = series.ReferencedSOPSequence
        assert named.StudyInstanceUID == study.study_instance_uid
        assert series.SeriesInstanceUID == former.SeriesInstanceUID
        assert reference.ReferencedSOPInstanceUID == former.SOPInstanceUID
        [verifier] = later.VerifyingObserverSequence
        assert str(verifier.VerifyingObserverName) == "Hidayat^Rahmat Ñ."
        assert re.fullmatch(r"\d{14}\.\d{6}\+0700", verifier.VerificationDateTime)
    assert len({each.SeriesInstanceUID for each in documents}) == 1
    assert [each.InstanceNumber for each in documents] == [1, 2, 3, 4]
    papers = files_of(study, "DOC")
    assert [dcmread(BytesIO(file)).VerificationFlag for file in papers] == ["UNVERIFIED"] + ["VERIFIED"] * 3
    for file in [*files, *papers]:
        assert errors_of(tool("dciodvfy"), file, tmp_path) == []


def test_dsrdump_reads_sections_observers_and_indonesian_words(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    through_all(procedure, radiologist)
    tree = tree_of(tool("dsrdump"), files_of(study, "SR")[-1], tmp_path)
    for heading in (
        "Indications for Procedure", "Current Procedure Descriptions", "Previous Findings", "Findings", "Impressions",
        "Addendum",
    ):  # fmt: skip
        assert f'CONTAINER:(,,"{heading}")=SEPARATE' in tree, heading
    assert "Sesak napas — “3 hari”" in tree and "nodul Ø 8 mm" in tree and "CTR ± 48 %" in tree
    assert 'PNAME:(,,"Person Observer Name")="Hidayat^Rahmat Ñ."' in tree
    assert "Ditelepon ke dr. Sari." in tree and "Nodul kiri." in tree
    assert 'CODE:(,,"Language of Content Item and Descendants")=(en,RFC5646,"English")' in tree
    document = objects_of(study, "SR")[-1]
    addendum = items(items(document)["Addendum"][0])
    assert str(addendum["Person Observer Name"][0].PersonName) == "Hidayat^Rahmat Ñ."
    assert items(document)["Addendum"][0].ObservationDateTime.endswith("+0700")


def test_the_document_is_of_the_study_as_it_is_and_names_request_and_images(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure, count=3, StudyDate="20260227", StudyTime="081500")
    written(procedure, radiologist)
    work()
    [document] = objects_of(study, "SR")
    assert document.SOPClassUID == BasicTextSRStorage and document.SpecificCharacterSet == "ISO_IR 192"
    assert (document.StudyInstanceUID, document.StudyID, document.AccessionNumber) == (
        study.study_instance_uid,
        "77",
        "ACC1",
    )
    assert (document.StudyDate, document.StudyTime) == ("20260227", "081500")
    assert (document.PatientID, str(document.PatientName), document.PatientSex) == ("MRN-1001", "SANTOSO^BUDI", "M")
    assert str(document.ReferringPhysicianName) == "HARTONO^DEWI"
    assert (document.Manufacturer, document.SeriesDescription, document.Modality) == ("Sinar", "Report", "SR")
    [request] = document.ReferencedRequestSequence
    assert (
        request.AccessionNumber,
        request.PlacerOrderNumberImagingServiceRequest,
        request.FillerOrderNumberImagingServiceRequest,
        request.RequestedProcedureID,
        request.RequestedProcedureDescription,
        request.RequestedProcedureCodeSequence[0].CodeValue,
    ) == ("ACC1", "PL-7", "FI-7", "RP1", "CT Thorax", "CTTHX")
    [evidence] = document.CurrentRequestedProcedureEvidenceSequence
    [series] = evidence.ReferencedSeriesSequence
    images = Instance.objects.filter(series_ref__modality="CT").order_by("instance_number")
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence] == [
        each.sop_instance_uid for each in images
    ]
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "2000"
    assert HeldObject.objects.count() == 0


def test_evidence_is_bounded(procedure: RequestedProcedure, radiologist: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_sr, "MOST_REFERENCES", 2)
    study = imaged(procedure, count=3)
    written(procedure, radiologist)
    work()
    [document] = objects_of(study, "SR")
    [series] = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 2


def test_the_letter_is_an_encapsulated_pdf_that_dcmtk_takes_out_again(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    written(procedure, radiologist)
    work()
    [file] = files_of(study, "DOC")
    document = dcmread(BytesIO(file))
    assert document.SOPClassUID == EncapsulatedPDFStorage and document.BurnedInAnnotation == "YES"
    assert (document.DocumentTitle, document.Modality) == ("Report: CT Thorax", "DOC")
    assert document.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    (tmp_path / "in.dcm").write_bytes(file)
    subprocess.run([tool("dcm2pdf"), "in.dcm", "out.pdf"], cwd=tmp_path, check=True, timeout=30)
    said = subprocess.run([tool("pdftotext"), "out.pdf", "-"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "nodul Ø 8 mm" in said.stdout and "MRN-1001" in said.stdout


@pytest.mark.parametrize("pdf", [PDF, PDF + b"\n"], ids=["odd", "even"])
def test_a_pdf_from_elsewhere_is_stored_byte_by_byte(
    procedure: RequestedProcedure, tool: Tool, tmp_path: Path, pdf: bytes
) -> None:
    assert len(PDF) % 2
    study = imaged(procedure)
    attached(procedure, pdf=pdf)
    work()
    [file] = files_of(study, "DOC")
    document = dcmread(BytesIO(file))
    assert document.EncapsulatedDocumentLength == len(pdf)
    (tmp_path / "in.dcm").write_bytes(file)
    subprocess.run([tool("dcm2pdf"), "in.dcm", "out.pdf"], cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "out.pdf").read_bytes() == pdf
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    assert files_of(study, "SR") == []  # it has no words


def test_a_text_from_elsewhere_says_who_wrote_it_and_when(
    procedure: RequestedProcedure, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    attached(procedure, sections={"impression": "Normal."}, author_name="SpRad^Dewi^Ayu^dr.^M.Kes")
    work()
    [document] = objects_of(study, "SR")
    [verifier] = document.VerifyingObserverSequence
    assert str(verifier.VerifyingObserverName) == "SpRad^Dewi^Ayu^dr.^M.Kes"
    assert verifier.VerificationDateTime == "20260301100405.000000+0700"
    assert (document.ContentDate, document.TimezoneOffsetFromUTC) == ("20260301", "+0700")


def test_what_nobody_is_named_for_is_not_verified(procedure: RequestedProcedure, tool: Tool, tmp_path: Path) -> None:
    study = imaged(procedure)
    attached(procedure, sections={"impression": "Normal."}, author_name="")
    work()
    [file] = files_of(study, "SR")
    document = dcmread(BytesIO(file))
    assert document.VerificationFlag == "UNVERIFIED" and "VerifyingObserverSequence" not in document
    found = items(document)
    for concept in ("Device Observer Name", "Device Observer Manufacturer"):
        assert found[concept][0].TextValue == "Sinar"
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []


def test_the_same_version_makes_the_same_bytes(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    report = written(procedure, radiologist)
    work()
    again = {
        "version": report.versions.select_related("report_ref__requested_procedure_ref__order_ref").get(),
        "study": Study.objects.select_related("site", "patient_ref").get(pk=study.pk),
    }
    made = report_sr.structured_report(**again, evidence=report_sr.evidence_of(study), predecessor=None)
    [stored] = objects_of(study, "SR")
    assert report_document.part10(stored) == report_document.part10(dcmread(BytesIO(made)))
    [paper] = objects_of(study, "DOC")
    assert paper.EncapsulatedDocument.rstrip(b"\0") == pdf_of(report=report)


HOSTILE = "a\x00\x07\x1b\\b^c=d \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u202e\t<&>\r\nbaris"


def test_hostile_words_stay_within_their_values(
    procedure: RequestedProcedure, tool: Tool, tmp_path: Path, site: Site
) -> None:
    Site.objects.filter(pk=site.pk).update(name="RS \\ " + "e" * 150)
    order = procedure.order_ref
    type(order).objects.filter(pk=order.pk).update(placer_order_number="A\\B" * 20)
    RequestedProcedure.objects.filter(pk=procedure.pk).update(
        requested_procedure_description="CT \\ ^=" + "x" * 57, procedure_code_value="X" * 64
    )
    study = imaged(procedure, StudyDescription="S" * 64)
    long = ("kata 😀 " * 20_000)[:100_000].rstrip()
    name = "\\".join(["K^" * 9, "=" * 4, "n" * 300]) + "=組^織=ほ^げ"
    attached(procedure, sections={"findings": HOSTILE, "impression": long}, author_name=name)
    work()
    for modality in ("SR", "DOC"):
        [file] = files_of(study, modality)
        assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    [document] = objects_of(study, "SR")
    found = items(items(document)["Findings"][0])["Finding"][0].TextValue
    assert found.replace(" ", "") == HOSTILE.translate(dict.fromkeys(b"\0\a\x1b \t"))
    assert items(items(document)["Impressions"][0])["Impression"][0].TextValue == long
    verifier = document.VerifyingObserverSequence[0]
    for group in str(verifier.VerifyingObserverName).split("="):
        assert len(group) <= 64 and group.count("^") <= 4
    assert len(verifier.VerifyingOrganization) == 64
    assert document.ReferencedRequestSequence[0].PlacerOrderNumberImagingServiceRequest == ""
    assert document.ReferencedRequestSequence[0].RequestedProcedureCodeSequence[0].LongCodeValue == "X" * 64
    assert "Findings" in tree_of(tool("dsrdump"), files_of(study, "SR")[0], tmp_path)


def test_names_of_three_groups_and_patients_of_another_site(tool: Tool, tmp_path: Path, site: Site) -> None:
    other = make_site("jpn", time_zone="Asia/Jayapura", name="RSUD Ñusa")
    patient = make_patient(
        "MRN-1001", "Yamada^Tarou=山田^太郎=やまだ^たろう", site=other, patient_birth_date="19701231"
    )
    here, there = ordered(), ordered(patient)
    mine, theirs = imaged(here), imaged(there)
    for each in (here, there):
        attached(each, sections={"impression": "Normal."}, author_name="Kim^Hana=金^花=キム^ハナ")
    work()
    [document] = objects_of(theirs, "SR")
    assert str(document.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert str(document.VerifyingObserverSequence[0].VerifyingObserverName) == "Kim^Hana=金^花=キム^ハナ"
    assert (document.TimezoneOffsetFromUTC, document.InstitutionName) == ("+0900", "RSUD Ñusa")
    assert document.ContentTime.startswith("120405")
    assert errors_of(tool("dciodvfy"), files_of(theirs, "SR")[0], tmp_path) == []
    tree = tree_of(tool("dsrdump"), files_of(theirs, "SR")[0], tmp_path)
    assert "Kim^Hana=金^花=キム^ハナ" in tree
    [own] = objects_of(mine, "SR")
    assert own.SOPInstanceUID != document.SOPInstanceUID and own.TimezoneOffsetFromUTC == "+0700"

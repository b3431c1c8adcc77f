"""Measurements in the text of a report are stored as figures too: with image, outline and signer, once a version."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage

from pacs.models import Instance, ReportObject, ReportObjectKind, Study
from pacs.services import report_objects
from pacs.services.report_measurements import measured_in
from radiology.models import Report, ReportObjects, ReportStatus, RequestedProcedure, Role, Site, User
from radiology.services import jobs
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import make_user
from tests.pacs.objects import ct
from tests.pacs.reported import errors_of, files_of, imaged, keep, objects_of, ordered, tree_of, work

MEASUREMENTS = ReportObjectKind.MEASUREMENTS
Tool = Callable[[str], str]
# What the reading view keeps of one measurement of each tool.
LENGTH: dict[str, Any] = {"tool": "Length", "shown": "12.3 mm", "value": ["length 12.345 mm"], "points": "1 2 4 6"}
OF_EVERY_TOOL: list[dict[str, Any]] = [
    {**LENGTH, "label": "Nodul"},
    {
        "tool": "Bidirectional",
        "shown": "L: 12 mm, W: 8 mm",
        "value": ["length 12 mm", "width 8 mm"],
        "points": "1 1 1 5 0 2 9.25 2",
    },
    {"tool": "Angle", "shown": "90.0 °", "value": ["angle 90"], "points": "0 0 5 5 10 0"},
    {"tool": "CobbAngle", "shown": "12.0 °", "value": ["angle 12 °"], "points": "0 0 5 5 10 0 9 9"},
    {
        "tool": "EllipticalROI",
        "shown": "770 mm², Max: 76.0 HU",
        "value": ["area 770.13 mm²", "mean 70.5 HU", "stdDev 3.29 HU", "max 76 HU", "min 65 HU"],
        "points": "5 2 5 8 1 5 12 5",
    },
    {"tool": "RectangleROI", "shown": "368 mm²", "value": ["area 367.7 mm²", "max 80"], "points": "1 1 8 1 1 5 8 5"},
    {"tool": "CircleROI", "shown": "513 px²", "value": ["area 513 px²", "radius 12.7 px"], "points": "6 6 9 6"},
    {"tool": "PlanarFreehandROI", "shown": "184 mm²", "value": ["area 184 mm²"], "points": "1 1 6 1 6 6 1 6"},
    {"tool": "Probe", "shown": "-1.00 HU", "value": ["value -1 HU"], "points": "3 3"},
    {"tool": "Length", "shown": "40 mm", "value": ["length 40 mm"]},
]


@pytest.fixture
def radiologist(site: Site) -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat Ñ.", last_name="Hidayat")


@pytest.fixture
def procedure(site: Site) -> RequestedProcedure:
    return ordered()


def link(study: Study, *, words: str = "", image: Instance | None = None, **kept: Any) -> str:
    """As the reading view puts it into the text."""
    image = image or Instance.objects.filter(series_ref__study_ref=study).exclude(rows=None).order_by("pk").first()
    assert image is not None
    address = urlencode(
        {
            "StudyInstanceUIDs": image.series_ref.study_ref.study_instance_uid,
            "initialSeriesInstanceUID": image.series_ref.series_instance_uid,
            "initialSOPInstanceUID": image.sop_instance_uid,
        }
    )
    href = f"/viewer?{address}#{urlencode(kept, doseq=True)}".replace("&", "&amp;")
    return f'<a href="{href}">{words or kept.get("shown", "")}</a>'


def sign(procedure: RequestedProcedure, who: User, *links: str, reason: str = "", **sections: str) -> Report:
    found = Report.objects.filter(requested_procedure_ref=procedure).exclude(status=ReportStatus.ENTERED_IN_ERROR)
    report = found.first()
    markup = {"findings": f"<p>Nodul {' dan '.join(links)} di kanan.</p>", **sections}
    report = write_draft(procedure=procedure, markup=markup, version=report.version if report else None, who=who)
    sign_report(report=report, version=report.version, reason=reason, who=who)
    report.refresh_from_db()
    return report


def documents(study: Study) -> list[Dataset]:
    return [each for each in objects_of(study, "SR") if each.SOPClassUID == ComprehensiveSRStorage]


def groups(document: Dataset) -> list[Dataset]:
    return list(document.ContentSequence[-1].ContentSequence)


def outline(group: Dataset, number: int = 0) -> tuple[str, list[float]]:
    numbers = [each for each in group.ContentSequence if each.ValueType == "NUM"]
    [scoord] = numbers[number].ContentSequence
    return scoord.GraphicType, list(scoord.GraphicData)


def test_every_measurement_is_a_group_that_programs_read(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    sign(procedure, radiologist, *(link(study, **each) for each in OF_EVERY_TOOL), impression=link(study, **LENGTH))
    work()
    file = files_of(study, "SR")[-1]
    [document] = documents(study)
    assert (document.VerificationFlag, document.CompletionFlag) == ("VERIFIED", "COMPLETE")
    assert document.AccessionNumber == "ACC1" and document.SeriesNumber == 9912
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    tree = tree_of(tool("dsrdump"), file, tmp_path)
    for line in (
        'PNAME:(,,"Person Observer Name")="Hidayat^Rahmat Ñ."',
        'TEXT:(,,"Person Observer\'s Login Name")="rahmat"',
        'TEXT:(,,"Device Observer Name")="Sinar"',
        'NUM:(,,"Length")="12.345" (mm,UCUM,"mm")',
        'TEXT:(,,"Comment")="Nodul"',
        'NUM:(,,"Long Axis")="12" (mm,UCUM,"mm")',
        'NUM:(,,"Short Axis")="8" (mm,UCUM,"mm")',
        'NUM:(,,"Angle")="90" (deg,UCUM,"deg")',
        'NUM:(,,"Cobb angle")="12" (deg,UCUM,"deg")',
        'NUM:(,,"Area")="770.13" (mm2,UCUM,"mm2")',
        'NUM:(,,"Mean")="70.5" ([hnsf\'U],UCUM,"Hounsfield unit")',
        'NUM:(,,"Maximum")="80" (1,UCUM,"no units")',
        'NUM:(,,"Radius")="12.7" (1,UCUM,"no units")',
        'NUM:(,,"Attenuation Coefficient")="-1" ([hnsf\'U],UCUM,"Hounsfield unit")',
    ):
        assert line in tree, line
    found = groups(document)
    assert len(found) == len(OF_EVERY_TOOL) + 1  # the first without a label is another one
    assert [outline(each) for each in found[:9]] == [
        ("POLYLINE", [1, 2, 4, 6]),
        ("POLYLINE", [0, 2, 9.25, 2]),
        ("POLYLINE", [0, 0, 5, 5, 5, 5, 10, 0]),
        ("POLYLINE", [0, 0, 5, 5, 10, 0, 9, 9]),
        ("ELLIPSE", [1, 5, 12, 5, 5, 2, 5, 8]),
        ("POLYLINE", [1, 1, 8, 1, 8, 5, 1, 5, 1, 1]),
        ("CIRCLE", [6, 6, 9, 6]),
        ("POLYLINE", [1, 1, 6, 1, 6, 6, 1, 6, 1, 1]),
        ("POINT", [3, 3]),
    ]
    assert outline(found[1], 1) == ("POLYLINE", [1, 1, 1, 5])
    assert found[9].ContentSequence[-1].ContentSequence[0].ValueType == "IMAGE"
    [evidence] = document.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == study.study_instance_uid
    assert len(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_each_version_has_its_own_once_and_names_the_one_before(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    report = sign(procedure, radiologist, link(study, **LENGTH))
    work()
    sign(procedure, radiologist, link(study, **LENGTH), impression="<p>Nodul kiri.</p>", reason="Sisi tertukar")
    work()
    jobs.run_again(jobs=report_objects.Job.objects.filter(kind=report_objects.STORE))
    work()
    made = documents(study)
    assert [each.InstanceNumber for each in made] == [1, 2]
    assert len({each.SeriesInstanceUID for each in made}) == 1
    for former, later in pairwise(made):
        [named] = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert named.ReferencedSOPInstanceUID == former.SOPInstanceUID
        assert groups(former)[0].ContentSequence[1].UID == groups(later)[0].ContentSequence[1].UID
    assert ReportObject.objects.filter(kind=MEASUREMENTS).count() == 2
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    work()
    assert files_of(study, "SR") == []
    assert ReportObject.objects.filter(kind=MEASUREMENTS, removal=None).count() == 0


def test_without_a_measurement_there_is_none(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    sign(procedure, radiologist, link(study, shown="12 mm"))  # a link to an image, as earlier versions wrote them
    work()
    assert documents(study) == [] and len(objects_of(study, "SR")) == 1


def test_a_figure_that_somebody_wrote_over_is_none(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    sign(procedure, radiologist, link(study, words="13 mm", **LENGTH), link(study, words="Lesi: 12.3\nmm", **LENGTH))
    work()
    [document] = documents(study)
    assert len(groups(document)) == 1


@pytest.mark.parametrize(
    "kept",
    [
        {**LENGTH, "tool": "Chainsaw"},
        {**LENGTH, "value": ["length nan mm"]},
        {**LENGTH, "value": ["length inf mm", "length 1e300 mm"]},
        {**LENGTH, "value": ["girth 12 mm"]},
        {**LENGTH, "value": []},
        {**LENGTH, "shown": ""},
        {"tool": "Probe", "shown": "7", "value": ["value 7"], "points": "3 3"},
        {"tool": "Bidirectional", "shown": "W: 8 mm", "value": ["width 8 mm"], "points": "1 1 1 5 0 2 9 2"},
    ],
)
def test_what_is_no_measurement_is_none(procedure: RequestedProcedure, radiologist: User, kept: dict[str, Any]) -> None:
    study = imaged(procedure)
    sign(procedure, radiologist, link(study, words="12.3 mm 7 W: 8 mm", **kept))
    work()
    assert documents(study) == []


@pytest.mark.parametrize("points", ["1 2 4", "1 2 4 6 8 9", "1 2 4 x", "nan 2 4 6", "1 2 4 9999999", "", "1  2 4"])
def test_points_that_do_not_fit_are_left_out(procedure: RequestedProcedure, radiologist: User, points: str) -> None:
    study = imaged(procedure)
    sign(procedure, radiologist, link(study, **{**LENGTH, "points": points}))
    work()
    [document] = documents(study)
    [group] = groups(document)
    assert group.ContentSequence[-1].ContentSequence[0].ValueType == "IMAGE"


def test_images_of_an_earlier_study_count_and_those_of_another_patient_do_not(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    prior = ct(PatientID=study.patient_ref.patient_id, StudyDate="20200101")
    other = ct(PatientID="MRN-2", PatientName="LESTARI^WAYAN")
    keep(prior, other)
    images = [Instance.objects.get(sop_instance_uid=each.SOPInstanceUID) for each in (prior, other)]
    sign(procedure, radiologist, *(link(study, image=each, **LENGTH) for each in images))
    work()
    [document] = documents(study)
    assert len(groups(document)) == 1
    assert "CurrentRequestedProcedureEvidenceSequence" not in document
    assert [each.StudyInstanceUID for each in document.PertinentOtherEvidenceSequence] == [prior.StudyInstanceUID]


def test_the_site_chooses_and_a_late_version_does_not_follow_a_newer_one(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    Site.objects.filter(pk=study.site_id).update(report_objects=ReportObjects.PDF)
    report = sign(procedure, radiologist, link(study, **LENGTH))
    work()
    assert documents(study) == []
    Site.objects.filter(pk=study.site_id).update(report_objects=ReportObjects.BOTH)
    sign(procedure, radiologist, "8 mm", reason="Salah ukur")
    work()
    report_objects.watch_version(version=report.versions.get(number=1))
    work()
    assert documents(study) == [] and [each.InstanceNumber for each in objects_of(study, "SR")] == [2]


def test_what_is_in_the_text_is_found_in_order(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    links = [link(study, **each) for each in OF_EVERY_TOOL]
    report = sign(procedure, radiologist, *links, *links)
    found = measured_in(report.versions.get())
    assert [each.tool for each in found] == [each["tool"] for each in OF_EVERY_TOOL]
    assert found[0].label == "Nodul" and found[0].points == ((1.0, 2.0), (4.0, 6.0))

"""Measurements that a session saves are of who signed in, and valid; whatever comes another way stays as it came.

The file is what OHIF 3.13.2 sent when one of each of its measurements was saved.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from pacs.models import HeldObject, Instance, Series, Study
from radiology.models import AuditEvent, RequestedProcedure, Role, Site, User
from radiology.services.access import issue_token
from tests.factories import make_user
from tests.pacs.guests import follow, link, signer
from tests.pacs.objects import bare, part10
from tests.pacs.reported import errors_of, files_of, imaged, objects_of, ordered, tree_of, work, written

SAVED = Path(__file__).parent / "data" / "ohif-measurements.dcm"
URL = "/dicom-web/studies"
PERSON = "Person Observer Name"
Tool = Callable[[str], str]


@pytest.fixture
def radiologist(site: Site) -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat Ñ.", last_name="Hidayat")


@pytest.fixture
def procedure(site: Site) -> RequestedProcedure:
    return ordered()


@pytest.fixture
def study(procedure: RequestedProcedure) -> Study:
    return imaged(procedure)


def saved(study: Study, **attributes: Any) -> Dataset:
    """What the viewer sends of this study."""
    made = dcmread(SAVED)
    made.StudyInstanceUID = study.study_instance_uid
    made.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = study.study_instance_uid
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def save(who: User | None, made: Dataset, client: Client | None = None, **headers: str) -> Any:
    client = client or Client()
    if who is not None:
        client.force_login(who)
    return client.post(URL, data=part10(made), content_type="application/dicom", headers=headers)


def comment(response: Any) -> str:
    assert response.status_code == 409
    return str(response.json()["00081198"]["Value"][0]["00000902"]["Value"][0])


def people(node: Dataset) -> list[str]:
    """Everybody whom a document names anywhere but as patient and referring physician."""
    named = [
        str(each.value)
        for each in node.iterall()
        if each.VR == "PN" and each.keyword not in {"PatientName", "ReferringPhysicianName"}
    ]
    return [name for name in named if name]


def test_what_the_viewer_saves_is_of_who_signed_in_and_valid(
    study: Study, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    sent = saved(study, PatientName="SOMEBODY^ELSE", PatientID="X", AccessionNumber="X")
    assert save(radiologist, sent).status_code == 200
    [file] = files_of(study, "SR")
    made = dcmread(BytesIO(file))
    assert people(made) == ["Hidayat^Rahmat Ñ."]
    assert (made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex) == (
        "SANTOSO^BUDI",
        study.patient_ref.patient_id,
        study.patient_ref.patient_birth_date,
        study.patient_ref.patient_sex,
    )
    assert (made.AccessionNumber, made.StudyID, made.StudyDescription) == ("ACC1", "77", "CT Thorax")
    assert (made.Manufacturer, made.InstitutionName) == ("Sinar", study.site.name)
    assert (made.CompletionFlag, made.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert "ContentQualification" not in made and "ImageComments" not in made
    for keyword in ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert made[keyword].value == sent[keyword].value
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    tree = tree_of(tool("dsrdump"), file, tmp_path)
    for line in (
        'PNAME:(,,"Person Observer Name")="Hidayat^Rahmat Ñ."',
        'TEXT:(,,"Person Observer\'s Login Name")="rahmat"',
        f'TEXT:(,,"Person Observer\'s Organization Name")="{study.site.name}"',
        'CODE:(,,"Person Observer\'s Role in the Organization")=(309343006,SCT,"Physician")',
        'TEXT:(,,"Device Observer Name")="Sinar"',
        'NUM:(,,"Length")="36.2287447274155" (mm,UCUM[1.4],"mm")',
        'NUM:(,,"Angle")="90',
    ):
        assert line in tree, line
    assert '"Cobb angle"' not in tree
    assert tree.count('"Measurement Group"') == str(sent).count("Measurement Group")
    event = AuditEvent.objects.get(event="dicomweb.store")
    assert (event.agent, event.study_instance_uid) == ("rahmat", study.study_instance_uid)


def test_the_outlines_stay_and_numbers_that_are_none_go(study: Study, radiologist: User) -> None:
    def outlines(node: Dataset) -> list[list[float]]:
        return [list(each.value) for each in node.iterall() if each.keyword == "GraphicData"]

    def numbers(node: Dataset) -> list[str]:
        return [str(each.value) for each in node.iterall() if each.keyword == "NumericValue"]

    sent = saved(study)
    save(radiologist, sent)
    [made] = objects_of(study, "SR")
    assert sorted(outlines(made)) == sorted(outlines(sent)) and outlines(made)
    assert {"nan", "-inf"} & {each.lower().replace("inity", "") for each in numbers(sent)}
    assert all(float(each) == float(each) and abs(float(each)) < 1e9 for each in numbers(made))


def test_an_outline_outlives_the_number_that_it_hangs_on(
    study: Study, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    sent = saved(study)
    length, _, ellipse, *_ = sent.ContentSequence[-1].ContentSequence
    for group in (length, ellipse):
        first = next(each for each in group.ContentSequence if each.ValueType == "NUM")
        first.MeasuredValueSequence[0].NumericValue = "0"
        first.MeasuredValueSequence[0]["NumericValue"]._value = "NaN"
    save(radiologist, sent)
    [file] = files_of(study, "SR")
    length, _, ellipse, *_ = dcmread(BytesIO(file)).ContentSequence[-1].ContentSequence
    number = next(each for each in length.ContentSequence if each.ValueType == "NUM")
    assert not number.MeasuredValueSequence and number.ContentSequence[0].GraphicType == "POLYLINE"
    assert number.NumericValueQualifierCodeSequence[0].CodeValue == "114000"
    number = next(each for each in ellipse.ContentSequence if each.ValueType == "NUM")
    assert number.ConceptNameCodeSequence[0].CodeMeaning == "Maximum"
    assert number.ContentSequence[0].GraphicType == "ELLIPSE"
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []


def test_it_was_saved_when_the_viewer_says_in_universal_time(study: Study, radiologist: User) -> None:
    save(radiologist, saved(study, ContentDate="20260301", ContentTime="200405"))
    [made] = objects_of(study, "SR")
    assert made.TimezoneOffsetFromUTC == "+0700"
    assert (made.ContentDate, made.ContentTime) == ("20260302", "030405")


def test_nobody_saves_as_somebody_else(study: Study, radiologist: User) -> None:
    sent = saved(study)
    verifier = Dataset()
    verifier.VerifyingObserverName, verifier.VerifyingOrganization = "Chief^The", "Elsewhere"
    sent.VerificationFlag, sent.VerifyingObserverSequence = "VERIFIED", [verifier]
    sent.OperatorsName = sent.PerformingPhysicianName = "Chief^The"
    observer = next(each for each in sent.ContentSequence if each.ValueType == "PNAME")
    observer.PersonName = "Chief^The"
    group = sent.ContentSequence[-1].ContentSequence[0]
    group.ContentSequence = [observer, *group.ContentSequence]
    assert save(radiologist, sent).status_code == 200
    [made] = objects_of(study, "SR")
    assert people(made) == ["Hidayat^Rahmat Ñ."]
    assert made.VerificationFlag == "UNVERIFIED" and "VerifyingObserverSequence" not in made


def test_a_program_s_documents_stay_as_they_are(study: Study, site: Site) -> None:
    patient = study.patient_ref
    sent = saved(study, PatientID=patient.patient_id, PatientName=patient.patient_name)
    _, token = issue_token(name="program", scopes=["studies.write"], site=site)
    assert save(None, sent, authorization=f"Bearer {token}").status_code == 200
    [file] = files_of(study, "SR")
    assert bare(file) == bare(part10(sent))


def test_a_session_saves_no_measurements_of_another_program(study: Study, radiologist: User) -> None:
    other = saved(study)
    other.file_meta.ImplementationClassUID = generate_uid()
    untitled = saved(study)
    untitled.file_meta.ImplementationClassUID = generate_uid()
    del untitled.ContentTemplateSequence
    for sent in (other, untitled):
        assert comment(save(radiologist, sent)) == "A page saves the viewer's measurements only; import others."
    assert files_of(study, "SR") == [] and HeldObject.objects.count() == 0


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.DESK, ""])
def test_who_may_not_save_is_told_so(study: Study, role: str) -> None:
    who = make_user("sari", role=role)
    assert comment(save(who, saved(study))).startswith("You may not save measurements")
    assert files_of(study, "SR") == []


def test_radiographers_save_too_and_guests_do_not(study: Study, site: Site) -> None:
    assert save(make_user("wayan", role=Role.RADIOGRAPHER), saved(study)).status_code == 200
    [made] = objects_of(study, "SR")
    assert people(made) == ["wayan"]
    guest = Client()
    follow(guest, link(signer()[1], StudyInstanceUIDs=study.study_instance_uid))
    assert save(None, saved(study, SOPInstanceUID=generate_uid()), guest).status_code in {401, 403}
    assert len(files_of(study, "SR")) == 1


def test_measurements_of_a_study_that_one_cannot_see_are_refused(site: Site, radiologist: User) -> None:
    elsewhere = Site.objects.create(name="Elsewhere", code="elsewhere")
    there = imaged(ordered())
    Study.objects.filter(pk=there.pk).update(site=elsewhere)
    assert comment(save(radiologist, saved(there))) == "The study of these measurements is not here."
    there.study_instance_uid = generate_uid()
    assert comment(save(radiologist, saved(there))) == "The study of these measurements is not here."
    assert not Instance.objects.filter(sop_class_uid__startswith="1.2.840.10008.5.1.4.1.1.88.").exists()


def test_sent_twice_they_are_kept_once(study: Study, radiologist: User) -> None:
    sent = saved(study)
    assert [save(radiologist, sent).status_code for _ in range(2)] == [200, 200]
    assert len(files_of(study, "SR")) == 1 and HeldObject.objects.count() == 0


def test_they_join_no_series_of_images_or_of_reports(
    procedure: RequestedProcedure, study: Study, radiologist: User
) -> None:
    written(procedure, radiologist)
    work()
    taken = list(Series.objects.filter(study_ref=study).values_list("series_instance_uid", flat=True))
    assert len(taken) == 3
    for uid in taken:
        made = saved(study, SOPInstanceUID=generate_uid(), SeriesInstanceUID=uid)
        assert save(radiologist, made).status_code == 200
    study.refresh_from_db()
    assert study.number_of_study_related_series == 6


def test_a_colleague_s_changes_are_a_document_of_theirs_that_names_the_first(study: Study, radiologist: User) -> None:
    first = saved(study)
    save(radiologist, first)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    series, former = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = first.SeriesInstanceUID, [reference]
    former.StudyInstanceUID, former.ReferencedSeriesSequence = study.study_instance_uid, [series]
    second = saved(study, SOPInstanceUID=generate_uid(), InstanceNumber=2, PredecessorDocumentsSequence=[former])
    assert save(make_user("wayan", role=Role.RADIOGRAPHER), second).status_code == 200
    before, after = objects_of(study, "SR")
    assert (people(before), people(after)) == (["Hidayat^Rahmat Ñ."], ["wayan"])
    assert before.SeriesInstanceUID == after.SeriesInstanceUID
    [named] = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID


def test_what_cannot_be_read_is_refused(study: Study, radiologist: User) -> None:
    made = saved(study)
    made.SeriesNumber = None
    assert save(radiologist, made).status_code == 200
    broken = part10(saved(study, SOPInstanceUID=generate_uid()))[:-7]
    client = Client()
    client.force_login(radiologist)
    assert client.post(URL, data=broken, content_type="application/dicom").status_code == 409
    assert len(files_of(study, "SR")) == 1

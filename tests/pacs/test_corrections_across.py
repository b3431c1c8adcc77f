"""Corrections beside everything else that may happen to a study: sent again, deleted, merged, at the same time."""

import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.test import Client
from django.utils import timezone
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import (
    HeldChoice,
    HeldDecision,
    HeldObject,
    HeldReason,
    Instance,
    Location,
    Removal,
    RemovalCode,
    Series,
    Study,
)
from pacs.services import corrections, held, held_cases, removal
from pacs.services.outgoing import part10_blocks
from pacs.services.retrieve import instances_of
from pacs.services.store import StoreOutcome
from pacs.storage import open_object
from radiology.errors import Conflict, NotFound
from radiology.models import ResentDeleted, Site, User
from radiology.services.jobs import run_due
from radiology.services.patients import save_patient
from tests.factories import make_patient, make_user
from tests.pacs.dicomweb import body, parts, store
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True)


def objects(count: int = 1, **attributes: Any) -> list[pydicom.FileDataset]:
    fixed = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [ct(**fixed, InstanceNumber=number) for number in range(1, count + 1)]


def stored(site: Site, *, count: int = 1, **attributes: Any) -> tuple[Study, list[pydicom.FileDataset]]:
    sent = objects(count, **attributes)
    for each in sent:
        assert store(site, part10(each)).outcome is StoreOutcome.STORED
    return Study.objects.get(study_instance_uid=sent[0].StudyInstanceUID), sent


def two_series(site: Site, **attributes: Any) -> tuple[Study, Series, pydicom.FileDataset]:
    """A study of two series, the second of them, and what was sent of that."""
    study, _ = stored(site, **attributes)
    (sent,) = objects(StudyInstanceUID=study.study_instance_uid, SeriesNumber=2, **attributes)
    store(site, part10(sent))
    study.refresh_from_db()
    return study, Series.objects.get(series_instance_uid=sent.SeriesInstanceUID), sent


def late(sent: pydicom.FileDataset) -> bytes:
    """Another image of the series that `sent` names."""
    return part10(ct(StudyInstanceUID=sent.StudyInstanceUID, SeriesInstanceUID=sent.SeriesInstanceUID))


@pytest.mark.parametrize("how", ["split", "merged"])
@pytest.mark.parametrize("policy", [ResentDeleted.REFUSE, ResentDeleted.RESTORE])
def test_late_images_of_a_series_that_went_to_a_study_deleted_since_ask_the_site(
    site: Site, chief: User, how: str, policy: str
) -> None:
    Site.objects.update(resent_deleted=policy)
    site.refresh_from_db()
    study, series, sent = two_series(site)
    if how == "split":
        target = corrections.move_series(who=chief, series=[series], version=study.version).other_study_ref
    else:
        target, _ = stored(site)
        corrections.merge_studies(who=chief, study=study, version=study.version, into=target)
    assert target is not None
    target.refresh_from_db()
    deleted = removal.delete_study(who=chief, study=target, reason="test")
    for file in (late(sent), part10(ct(StudyInstanceUID=sent.StudyInstanceUID)) if how == "merged" else late(sent)):
        outcome = store(site, file).outcome
        deleted.refresh_from_db()
        visible = Study.objects.visible_to(chief).filter(pk=target.pk).exists()
        if policy == ResentDeleted.REFUSE:
            assert (outcome, visible, deleted.restored_at) == (StoreOutcome.REFUSED, False, None)
        else:
            assert outcome is StoreOutcome.STORED
            assert visible and deleted.restored_at is not None


def test_a_moved_image_that_comes_again_in_another_transfer_syntax_changes_nothing(site: Site, chief: User) -> None:
    study, series, sent = two_series(site)
    corrections.move_series(who=chief, series=[series], version=study.version)
    again = pydicom.dcmread(BytesIO(part10(sent)))
    again.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    again.save_as(buffer, implicit_vr=True, little_endian=True, enforce_file_format=True)
    assert store(site, buffer.getvalue()).outcome is StoreOutcome.UNCHANGED
    sent.PatientComments = "better"
    assert store(site, part10(sent)).outcome is StoreOutcome.HELD
    assert HeldObject.objects.get().reason == "other-header"


def test_every_address_in_the_metadata_of_a_moved_series_resolves(site: Site, chief: User, reader: Client) -> None:
    study, series, _ = two_series(site)
    held = ct(
        StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID=series.series_instance_uid,
        EncapsulatedDocument=b"x" * 4096, MIMETypeOfEncapsulatedDocument="application/octet-stream",
    )  # fmt: skip
    store(site, part10(held))
    study.refresh_from_db()
    new = corrections.move_series(who=chief, series=[series], version=study.version).other_study_ref
    assert new is not None
    here = f"/studies/{new.study_instance_uid}"
    for level in (here, f"{here}/series/{series.series_instance_uid}"):
        found = json.loads(body(reader.get(f"/dicom-web{level}/metadata")))
        addresses = [element["BulkDataURI"] for each in found for element in each.values() if "BulkDataURI" in element]
        assert len(found) == 2 and len(addresses) == 1
        for address in addresses:
            response = reader.get(address)
            assert response.status_code == 200 and len(body(response)) >= 512, address
    old = f"/dicom-web/studies/{study.study_instance_uid}/series/{series.series_instance_uid}"
    assert reader.get(f"{old}/metadata").status_code == 404


DOORS = (
    "/dicom-web/studies/{study}",
    "/dicom-web/studies/{study}/series/{series}",
    "/dicom-web/studies/{study}/series/{series}/instances/{instance}",
    "/dicom-web/studies/{study}/metadata",
    "/dicom-web/studies/{study}/series/{series}/metadata",
    "/dicom-web/studies/{study}/series/{series}/instances/{instance}/metadata",
    "/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}&contentType=application/dicom",
    "/api/v1/studies/{study}",
    "/api/v1/studies/{study}/archive",
    "/api/v1/series/{series}/archive",
    "/api/v1/instances/{instance}/file",
)


@pytest.mark.parametrize("door", DOORS)
def test_a_correction_and_its_undoing_each_make_another_answer_under_another_tag(
    site: Site, chief: User, reader: Client, door: str
) -> None:
    study, (sent,) = stored(site)
    address = door.format(study=sent.StudyInstanceUID, series=sent.SeriesInstanceUID, instance=sent.SOPInstanceUID)
    headers = {"Accept": "*/*"} if "metadata" not in door else {"Accept": "application/dicom+json"}

    def ask(tag: str = "") -> tuple[int, str, bytes]:
        response = reader.get(address, headers={**headers, **({"If-None-Match": tag} if tag else {})})
        content = body(response) if response.status_code == 200 else b""
        return response.status_code, response.headers.get("ETag", ""), content

    status, first, content = ask()
    assert status == 200 and first and b"Rahasia" not in content
    assert ask(first)[0] == 304
    correction = corrections.correct_study(
        who=chief, study=study, version=study.version, changes={"StudyDescription": "Rahasia"}
    )
    status, second, content = ask(first)
    assert status == 200 and second != first and b"Rahasia" in content
    assert ask(second)[0] == 304
    corrections.undo(who=chief, correction=correction)
    status, third, content = ask(second)
    assert status == 200 and third != second and b"Rahasia" not in content


def test_pixels_and_xml_of_a_corrected_study(site: Site, chief: User, reader: Client) -> None:
    study, (sent,) = stored(site)
    corrections.correct_study(who=chief, study=study, version=study.version, changes={"StudyDescription": "Betul"})
    here = f"/dicom-web/studies/{sent.StudyInstanceUID}"
    ((_, pixels),) = parts(reader.get(f"{here}/pixeldata"))
    assert pixels == sent.PixelData
    ((_, document),) = parts(
        reader.get(f"{here}/metadata", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    )
    assert b"Betul" in document and b"OriginalAttributesSequence" in document


def test_a_patient_of_many_studies_is_renamed_in_all_of_them(site: Site, chief: User, reader: Client) -> None:
    sent = [stored(site)[1][0] for _ in range(12)]
    patient = Study.objects.all()[0].patient_ref
    assert patient.studies.count() == 12
    patient.patient_name = "Baru^Nama"
    save_patient(patient=patient)
    for each in sent:
        path = f"/api/v1/instances/{each.SOPInstanceUID}/file"
        assert pydicom.dcmread(BytesIO(body(reader.get(path)))).PatientName == "Baru^Nama"


def test_split_then_rejected_then_undone(site: Site, chief: User) -> None:
    study, series, _sent = two_series(site)
    split = corrections.move_series(who=chief, series=[series], version=study.version)
    assert split.other_study_ref is not None
    split.other_study_ref.refresh_from_db()
    rejected = removal.reject(who=chief, study=split.other_study_ref, code="113001", reason="blurred")
    corrections.undo(who=chief, correction=split)
    assert Study.objects.visible_to(chief).count() == 1
    study.refresh_from_db()
    assert study.number_of_study_related_instances == 1
    assert Instance.objects.visible_to(chief).count() == 1
    removal.restore(who=chief, removal=rejected)
    study.refresh_from_db()
    assert study.number_of_study_related_instances == 2
    assert [each.pk for each in Study.objects.visible_to(chief)] == [study.pk]
    assert Instance.objects.visible_to(chief).count() == 2


def replaced(chief: User) -> HeldDecision:
    """The one case that waits: the new one replaces the first."""
    (case,) = held_cases.cases(who=chief, reasons=list(HeldReason)).cases
    return held.decide(who=chief, case=case.key, choice=HeldChoice.REPLACE, why="better")


def leaves(who: User, sop_instance_uid: str) -> pydicom.Dataset:
    location = instances_of(who=who, sop_instance_uids=[sop_instance_uid]).get()
    return pydicom.dcmread(BytesIO(b"".join(part10_blocks(location=location))))


def test_a_new_header_of_a_corrected_study_takes_no_correction_back(site: Site, chief: User) -> None:
    study, (sent,) = stored(site, StudyDescription="Salah")
    corrections.correct_study(
        who=chief, study=study, version=study.version,
        changes={"AccessionNumber": "RIGHT1", "StudyDate": "20200101", "ReferringPhysicianName": "BARU^DOKTER"},
    )  # fmt: skip
    series = Series.objects.get()
    study.refresh_from_db()
    corrections.correct_series(who=chief, series=series, version=study.version, changes={"Laterality": "L"})
    sent.StudyDescription, sent.StudyID, sent.Laterality = "Betul", "77", "R"
    assert store(site, part10(sent)).outcome is StoreOutcome.HELD
    decision = replaced(chief)
    for _ in range(2):
        study.refresh_from_db()
        series.refresh_from_db()
        out = leaves(chief, sent.SOPInstanceUID)
        assert (study.accession_number, study.study_date, series.laterality) == ("RIGHT1", "20200101", "L")
        assert study.referring_physician_name_search == "baru dokter"
        assert study.sort_at.year in {2019, 2020}
        assert (out.AccessionNumber, out.StudyDate, out.Laterality) == ("RIGHT1", "20200101", "L")
        assert study.study_description == out.StudyDescription
        if decision.undone_at is None:
            assert (study.study_description, study.study_id) == ("Betul", "77")
            held.undo(who=chief, decision=decision)
            decision.refresh_from_db()
    assert study.study_description == "Salah"


def test_a_new_header_of_a_study_given_to_another_patient_leaves_it_there(site: Site, chief: User) -> None:
    study, (sent,) = stored(site)
    right = make_patient("RM-7", "Lestari^Wayan")
    corrections.assign_patient(who=chief, study=study, version=study.version, patient=right)
    sent.StudyDescription = "Betul"
    store(site, part10(sent))
    replaced(chief)
    study.refresh_from_db()
    assert (study.patient_ref, study.study_description) == (right, "Betul")
    out = leaves(chief, sent.SOPInstanceUID)
    assert (out.PatientID, out.PatientName, out.StudyDescription) == ("RM-7", "Lestari^Wayan", "Betul")


@pytest.mark.parametrize("how", ["split", "merged"])
def test_a_new_header_of_a_moved_image_does_not_describe_the_study_that_it_moved_to(
    site: Site, chief: User, how: str
) -> None:
    study, series, sent = two_series(site, AccessionNumber="OLD1", StudyDescription="Lama")
    if how == "split":
        target = corrections.move_series(who=chief, series=[series], version=study.version).other_study_ref
        assert target is not None
        target.refresh_from_db()
        corrections.correct_study(who=chief, study=target, version=target.version, changes={"AccessionNumber": "NEW1"})
    else:
        target, _ = stored(site, AccessionNumber="NEW1", StudyDescription="Lama")
        corrections.merge_studies(who=chief, study=study, version=study.version, into=target)
    first = Instance.objects.filter(series_ref__study_ref=target).order_by("pk")[0]
    again = leaves_as_stored(first)
    again.StudyDescription, again.AccessionNumber = "Tajuk", "OLD2"
    store(site, part10(again))
    replaced(chief)
    target.refresh_from_db()
    assert (target.accession_number, target.study_description) == ("NEW1", "Lama")
    out = leaves(chief, first.sop_instance_uid)
    assert (out.AccessionNumber, out.StudyDescription) == ("NEW1", "Lama")
    assert sent.SeriesInstanceUID in {each.series_instance_uid for each in target.series.all()}


def leaves_as_stored(instance: Instance) -> pydicom.FileDataset:
    with open_object(location=Location.objects.current().get(instance_ref=instance)) as file:
        return pydicom.dcmread(BytesIO(file.read()))


def test_a_correction_is_not_undone_behind_a_deletion(site: Site, chief: User) -> None:
    study, series, _ = two_series(site)
    first = corrections.correct_study(who=chief, study=study, version=study.version, changes={"StudyID": "9"})
    study.refresh_from_db()
    split = corrections.move_series(who=chief, series=[series], version=study.version)
    assert split.other_study_ref is not None
    split.other_study_ref.refresh_from_db()
    deleted = removal.delete_study(who=chief, study=split.other_study_ref, reason="test")
    with pytest.raises(Conflict, match="restore"):
        corrections.undo(who=chief, correction=split)
    removal.restore(who=chief, removal=deleted)
    corrections.undo(who=chief, correction=split)
    study.refresh_from_db()
    removal.delete_study(who=chief, study=study, reason="test")
    with pytest.raises(NotFound):
        corrections.undo(who=chief, correction=first)


def test_a_new_image_of_a_series_that_was_rejected_whole_shows_the_series_again(
    site: Site, chief: User, reader: Client
) -> None:
    study, (sent,) = stored(site)
    removal.reject(who=chief, study=study, code="113001", reason="blurred")
    assert not Series.objects.visible_to(chief).exists()
    assert store(site, late(sent)).outcome is StoreOutcome.STORED
    series = Series.objects.visible_to(chief).get()
    assert series.number_of_series_related_instances == 1
    study.refresh_from_db()
    assert (study.number_of_study_related_series, study.number_of_study_related_instances) == (1, 1)
    address = f"/dicom-web/studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}/metadata"
    assert len(json.loads(body(reader.get(address)))) == 1


@pytest.mark.parametrize("code", ["deleted", RemovalCode.EXPIRED])
def test_a_purge_leaves_no_bytes_of_decided_conflicts(site: Site, chief: User, tmp_path: Path, code: str) -> None:
    study, (sent,) = stored(site)
    sent.StudyDescription = "Betul"
    store(site, part10(sent))
    replaced(chief)
    sent.StudyDescription = "Lagi"
    store(site, part10(sent))
    assert HeldObject.objects.count() == 2
    if code == "deleted":
        removal.delete_study(who=chief, study=study, reason="test")
    else:
        removal.reject(who=chief, study=study, code=RemovalCode.EXPIRED)
    Removal.objects.update(created_at=timezone.now() - timedelta(days=400))
    assert removal.purge(site=site) == 1
    run_due()
    assert not HeldObject.objects.exists() and not Location.objects.exists()
    assert not list((tmp_path / "archive").rglob("*.dcm"))

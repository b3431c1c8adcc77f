"""Corrections: rows and objects say what is right, bytes stay, undo brings back what came in."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from pacs.models import Correction, HeldObject, Location, Series, Study, Volume
from pacs.services import corrections
from pacs.services.history import history
from pacs.services.metadata import metadata_of
from pacs.services.outgoing import is_corrected, part10_blocks, part10_size
from pacs.services.query import Level, search
from pacs.services.retrieve import instances_of
from pacs.services.store import Source, Stored, StoreOutcome, receive_part10, store_instance
from pacs.storage import open_object
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, AuditEvent, Patient, Site, User
from radiology.services import audit
from radiology.services.patients import save_patient
from tests.factories import make_patient, make_site, make_study, make_token, make_user
from tests.pacs.objects import ct, part10


@pytest.fixture
def archive(db: None, settings: object, tmp_path: Path) -> Iterator[Path]:
    Volume.objects.update(path=str(tmp_path / "archive"))
    yield tmp_path / "archive"


@pytest.fixture
def dewi(archive: Path) -> User:
    return make_user(role="radiographer")


def store(file: bytes) -> Stored:
    with receive_part10(source=Source.of_site(Site.objects.default(), "CT1")) as incoming:
        incoming.write(file)
        received = incoming.finish()
    return store_instance(received=received)


def stored_study(count: int = 2, **attributes: Any) -> Study:
    fixed = {"StudyInstanceUID": pydicom.uid.generate_uid(), "SeriesInstanceUID": pydicom.uid.generate_uid()}
    for number in range(1, count + 1):
        assert store(part10(ct(**fixed, InstanceNumber=number, **attributes))).outcome is StoreOutcome.STORED
    return Study.objects.get(study_instance_uid=fixed["StudyInstanceUID"])


def leaving(who: User, study_instance_uid: str) -> list[pydicom.FileDataset]:
    found = instances_of(who=who, study_instance_uids=[study_instance_uid])
    return [pydicom.dcmread(BytesIO(b"".join(part10_blocks(location=each)))) for each in found]


def digests() -> list[bytes]:
    found = []
    for location in Location.objects.order_by("pk"):
        with open_object(location=location) as file:
            file.seek(location.data_set_offset)
            data = file.read()
        assert hashlib.sha256(data).digest() == bytes(location.sha256)
        found.append(bytes(location.sha256))
    return found


def answers(who: User, level: Level = Level.STUDY, **keys: str) -> list[dict[str, Any]]:
    return list(search(who=who, level=level, keys=keys))


def test_what_is_wrong_in_a_study_is_put_right_everywhere_and_undone(dewi: User) -> None:
    study = stored_study(AccessionNumber="WRONG", StudyDescription="CT Abdomen")
    before = digests()
    correction = corrections.correct_study(
        who=dewi,
        study=study,
        version=study.version,
        changes={"AccessionNumber": "ACC-77", "StudyDescription": "CT Thorax", "StudyDate": "20260103"},
        reason="order of the neighbour",
    )
    assert not answers(dewi, AccessionNumber="WRONG")
    (answer,) = answers(dewi, AccessionNumber="ACC-77", StudyDate="20260103")
    assert answer["00081030"]["Value"] == ["CT Thorax"]
    for each in leaving(dewi, study.study_instance_uid):
        assert (each.AccessionNumber, each.StudyDescription, each.StudyDate) == ("ACC-77", "CT Thorax", "20260103")
        assert each.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].AccessionNumber == "WRONG"
    location = instances_of(who=dewi, study_instance_uids=[study.study_instance_uid])[0]
    assert metadata_of(location=location, base_url="")["00080050"]["Value"] == ["ACC-77"]
    assert digests() == before
    newer = Study.objects.get(pk=study.pk)
    assert newer.sort_at.date().isoformat() == "2026-01-03"
    assert newer.version > study.version

    corrections.undo(who=dewi, correction=correction)
    corrections.undo(who=dewi, correction=correction)
    assert answers(dewi, AccessionNumber="WRONG")
    restored = Study.objects.get(pk=study.pk)
    assert (restored.study_date, restored.sort_at, restored.overlay) == ("20260102", study.sort_at, {})
    for each in leaving(dewi, study.study_instance_uid):
        assert each.AccessionNumber == "WRONG"
        assert "OriginalAttributesSequence" not in each
    assert digests() == before
    assert AuditEvent.objects.filter(event__startswith="study.correct").count() == 2


def test_an_object_that_nobody_corrected_leaves_as_it_lies_on_the_disk(dewi: User) -> None:
    study = stored_study(1)
    (location,) = instances_of(who=dewi, study_instance_uids=[study.study_instance_uid])
    with open_object(location=location) as file:
        assert b"".join(part10_blocks(location=location)) == file.read()
    assert not is_corrected(location)
    assert part10_size(location=location) == location.data_set_offset + location.size


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"AccessionNumber": "A" * 17}, "AccessionNumber"),
        ({"StudyDate": "20261399"}, "StudyDate"),
        ({"StudyTime": "2500"}, "StudyTime"),
        ({"StudyDescription": "a\\b"}, "StudyDescription"),
        ({"StudyDescription": "a\x1bb"}, "StudyDescription"),
        ({"PatientName": "X"}, "PatientName"),
        ({"StudyInstanceUID": "1.2"}, "StudyInstanceUID"),
    ],
)
def test_a_value_that_dicom_cannot_hold_is_refused_by_name(dewi: User, changes: dict[str, str], field: str) -> None:
    study = stored_study(1)
    with pytest.raises(InvalidValue) as refusal:
        corrections.correct_study(who=dewi, study=study, version=study.version, changes=changes)
    assert refusal.value.field == field
    assert not Correction.objects.exists()


def test_of_two_people_the_second_is_told(dewi: User) -> None:
    study = stored_study(1)
    seen = study.version
    corrections.correct_study(who=dewi, study=study, version=seen, changes={"StudyDescription": "one"})
    with pytest.raises(Conflict) as refusal:
        corrections.correct_study(who=dewi, study=study, version=seen, changes={"StudyDescription": "two"})
    assert refusal.value.facts["version"] == Study.objects.get(pk=study.pk).version


def test_images_that_arrive_meanwhile_are_no_conflict(dewi: User) -> None:
    study = stored_study(1)
    seen = study.version
    series = Series.objects.get()
    uids = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    store(part10(ct(**uids, InstanceNumber=2)))
    corrections.correct_study(who=dewi, study=study, version=seen, changes={"StudyDescription": "one"})
    assert {each.StudyDescription for each in leaving(dewi, study.study_instance_uid)} == {"one"}


def test_another_sites_people_and_readers_correct_nothing(dewi: User) -> None:
    study = stored_study(1)
    stranger = make_user("rina", site=make_site(), role="radiographer")
    with pytest.raises(NotFound):
        corrections.correct_study(who=stranger, study=study, version=study.version, changes={"StudyID": "9"})
    reader, _ = make_token(scopes=["studies.read"])
    with pytest.raises(NotAllowed):
        corrections.correct_study(who=reader, study=study, version=study.version, changes={"StudyID": "9"})
    doctor = make_user("doctor", role="doctor")
    with pytest.raises(NotAllowed):
        corrections.correct_study(who=doctor, study=study, version=study.version, changes={"StudyID": "9"})
    client, _ = make_token("his", scopes=["studies.read", "studies.write"])
    corrections.correct_study(who=client, study=study, version=study.version, changes={"StudyID": "9"})


def test_a_study_of_another_patient_leaves_with_that_patients_identity_alone(dewi: User) -> None:
    study = stored_study(OtherPatientIDs="3171", PatientAge="056Y", PatientName="SANTOSO^BUDI")
    right = make_patient("RM-9", "Ayu^Ketut", patient_birth_date="19900202", patient_sex="F")
    correction = corrections.assign_patient(who=dewi, study=study, version=study.version, patient=right)
    (answer,) = answers(dewi, PatientID="RM-9")
    assert answer["00100010"]["Value"] == [{"Alphabetic": "Ayu^Ketut"}]
    assert "Value" not in answer["00101000"]
    assert not answers(dewi, PatientID="MRN-1001")
    for each in leaving(dewi, study.study_instance_uid):
        assert (each.PatientID, each.PatientName, each.PatientSex) == ("RM-9", "Ayu^Ketut", "F")
        assert "OtherPatientIDs" not in each
        assert "PatientAge" not in each
        assert each.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == "SANTOSO^BUDI"
    corrections.undo(who=dewi, correction=correction)
    assert {each.PatientID for each in leaving(dewi, study.study_instance_uid)} == {"MRN-1001"}
    assert {each.OtherPatientIDs for each in leaving(dewi, study.study_instance_uid)} == {"3171"}


def test_late_images_with_the_wrong_identity_join_the_corrected_study(dewi: User) -> None:
    study = stored_study(1)
    right = make_patient("RM-9", "Ayu^Ketut")
    corrections.assign_patient(who=dewi, study=study, version=study.version, patient=right)
    series = Series.objects.get()
    uids = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    assert store(part10(ct(**uids, InstanceNumber=2))).outcome is StoreOutcome.STORED
    assert {each.PatientID for each in leaving(dewi, study.study_instance_uid)} == {"RM-9"}
    stranger = ct(**uids, InstanceNumber=3, PatientID="RM-77", PatientName="LAIN^ORANG", PatientBirthDate="19500101")
    assert store(part10(stranger)).outcome is StoreOutcome.HELD


def test_a_patient_who_is_renamed_leaves_with_the_new_name(dewi: User) -> None:
    study = stored_study(1, PatientName="SANTSO^BUDI")
    patient = Patient.objects.get()
    patient.patient_name = "SANTOSO^BUDI"
    save_patient(patient=patient)
    (each,) = leaving(dewi, study.study_instance_uid)
    assert each.PatientName == "SANTOSO^BUDI"
    assert each.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == "SANTSO^BUDI"
    assert "PatientBirthDate" not in each.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]


def test_undoing_an_older_correction_keeps_a_newer_name(dewi: User) -> None:
    study = stored_study(1, PatientName="SANTSO^BUDI")
    correction = corrections.correct_study(
        who=dewi, study=study, version=study.version, changes={"AccessionNumber": "X1"}
    )
    patient = Patient.objects.get()
    patient.patient_name = "SANTOSO^BUDI"
    save_patient(patient=patient)
    corrections.undo(who=dewi, correction=correction)
    (each,) = leaving(dewi, study.study_instance_uid)
    assert (each.PatientName, each.AccessionNumber) == ("SANTOSO^BUDI", "ACC1")


def test_the_side_of_a_series_is_put_right(dewi: User) -> None:
    study = stored_study(1, Laterality="R", ImageLaterality="R")
    series = Series.objects.get()
    corrections.correct_series(who=dewi, series=series, version=study.version, changes={"Laterality": "L"})
    (each,) = leaving(dewi, study.study_instance_uid)
    assert (each.Laterality, each.ImageLaterality) == ("L", "L")
    (answer,) = answers(dewi, Level.SERIES, StudyInstanceUID=study.study_instance_uid)
    assert answer["00200060"]["Value"] == ["L"]
    assert Series.objects.get().version > series.version
    study.refresh_from_db()
    with pytest.raises(InvalidValue):
        corrections.correct_series(who=dewi, series=series, version=study.version, changes={"Laterality": "X"})


def two_series(**attributes: Any) -> tuple[Study, Series, Series]:
    study = stored_study(1, SeriesNumber=1, **attributes)
    other = part10(ct(StudyInstanceUID=study.study_instance_uid, SeriesNumber=2, **attributes))
    assert store(other).outcome is StoreOutcome.STORED
    first, second = Series.objects.filter(study_ref=study).order_by("series_number")
    return Study.objects.get(pk=study.pk), first, second


def test_a_series_that_goes_to_a_new_study_is_found_there_and_comes_back(dewi: User) -> None:
    study, first, second = two_series()
    before = digests()
    correction = corrections.move_series(who=dewi, series=[second], version=study.version)
    new = correction.other_study_ref
    assert new is not None
    assert [each["0020000D"]["Value"][0] for each in answers(dewi)].count(new.study_instance_uid) == 1
    (moved,) = leaving(dewi, new.study_instance_uid)
    assert moved.StudyInstanceUID == new.study_instance_uid
    assert (
        moved.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].StudyInstanceUID == study.study_instance_uid
    )
    counts = Study.objects.in_bulk([study.pk, new.pk])
    assert [counts[pk].number_of_study_related_instances for pk in (study.pk, new.pk)] == [1, 1]
    late = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": second.series_instance_uid}
    assert store(part10(ct(**late, InstanceNumber=2))).outcome is StoreOutcome.STORED
    assert len(leaving(dewi, new.study_instance_uid)) == 2
    with pytest.raises(InvalidValue):
        corrections.move_series(who=dewi, series=[first], version=Study.objects.get(pk=study.pk).version)

    corrections.undo(who=dewi, correction=correction)
    assert len(leaving(dewi, study.study_instance_uid)) == 3
    assert leaving(dewi, new.study_instance_uid) == []
    assert {each.StudyInstanceUID for each in leaving(dewi, study.study_instance_uid)} == {study.study_instance_uid}
    assert not Study.objects.visible_to(dewi).filter(pk=new.pk).exists()
    assert digests()[: len(before)] == before


def test_a_study_that_is_merged_goes_over_with_all_that_still_arrives(dewi: User) -> None:
    study, _, _ = two_series()
    target = stored_study(1, PatientID="RM-9", PatientName="Ayu^Ketut", AccessionNumber="ACC9")
    correction = corrections.merge_studies(who=dewi, study=study, version=study.version, into=target)
    found = leaving(dewi, target.study_instance_uid)
    assert {(each.StudyInstanceUID, each.PatientID, each.AccessionNumber) for each in found} == {
        (target.study_instance_uid, "RM-9", "ACC9")
    }
    assert len(found) == 3
    assert not Study.objects.visible_to(dewi).filter(pk=study.pk).exists()
    assert store(part10(ct(StudyInstanceUID=study.study_instance_uid))).outcome is StoreOutcome.STORED
    assert len(leaving(dewi, target.study_instance_uid)) == 4
    assert Study.objects.get(pk=target.pk).number_of_study_related_instances == 4

    corrections.undo(who=dewi, correction=correction)
    assert len(leaving(dewi, target.study_instance_uid)) == 1
    back = leaving(dewi, study.study_instance_uid)
    assert {(each.StudyInstanceUID, each.PatientID) for each in back} == {(study.study_instance_uid, "MRN-1001")}
    assert len(back) == 3
    assert Study.objects.get(pk=study.pk).number_of_study_related_instances == 3


def test_the_same_objects_sent_again_after_a_split_change_nothing(dewi: User) -> None:
    study, _, second = two_series()
    (location,) = Location.objects.filter(instance_ref__series_ref=second)
    with open_object(location=location) as file:
        again = file.read()
    corrections.move_series(who=dewi, series=[second], version=study.version)
    assert store(again).outcome is StoreOutcome.UNCHANGED
    assert not HeldObject.objects.exists()


def test_the_later_correction_is_undone_first(dewi: User) -> None:
    study = stored_study(1)
    first = corrections.correct_study(who=dewi, study=study, version=study.version, changes={"StudyID": "A"})
    study.refresh_from_db()
    second = corrections.correct_study(who=dewi, study=study, version=study.version, changes={"StudyID": "B"})
    with pytest.raises(Conflict):
        corrections.undo(who=dewi, correction=first)
    corrections.undo(who=dewi, correction=second)
    corrections.undo(who=dewi, correction=first)
    assert Study.objects.get(pk=study.pk).study_id == "1"


def test_studies_and_patients_of_other_sites_cannot_be_chosen(dewi: User) -> None:
    study, _, second = two_series()
    elsewhere = make_study(make_patient(site=make_site()))
    with pytest.raises(NotFound):
        corrections.merge_studies(who=dewi, study=study, version=study.version, into=elsewhere)
    with pytest.raises(NotFound):
        corrections.move_series(who=dewi, series=[second], version=study.version, into=elsewhere)
    with pytest.raises(NotFound):
        corrections.assign_patient(who=dewi, study=study, version=study.version, patient=elsewhere.patient_ref)
    with pytest.raises(InvalidValue):
        corrections.merge_studies(who=dewi, study=study, version=study.version, into=study)


@pytest.mark.django_db
def test_the_history_says_in_words_what_orthancs_door_was_asked_for(site: Site) -> None:
    study, chief = make_study(), make_user("chief", is_superuser=True)
    asked = {"orthanc.read": "READ", "orthanc.tags": "READ", "orthanc.modify": "CREATE", "orthanc.store": "CREATE"}
    for event, action in asked.items():
        audit.record(
            event=event, action=AuditAction[action], who=chief, site_id=site.pk,
            study_instance_uid=study.study_instance_uid,
        )  # fmt: skip
    told = [(each.what, each.count) for each in history(who=chief, study=study).entries]
    assert told == [
        ("Images received by the Orthanc API", 1), ("Asked for by the Orthanc API", 1), ("Read by the Orthanc API", 2)
    ]  # fmt: skip

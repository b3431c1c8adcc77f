"""Deleting, modifying, merging and splitting over the Orthanc-shaped REST: copies, deletions, corrections in place."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from integrations.models import OrthancJob, OrthancOrigin
from pacs.models import Correction, Instance, Removal, Series, Study
from pacs.services import removal
from radiology.models import AuditEvent, ResentDeleted, Site
from radiology.services import jobs
from tests.factories import make_patient, make_user
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.integrations.test_orthanc_copies import done
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10
from tests.pacs.visibility import caller

pytestmark = pytest.mark.django_db
STUDY, OTHER, MRN = "1.2.826.0.1.61", "1.2.826.0.1.62", "MRN-1001"
NAME = sha1(MRN, STUDY)
ONE, TWO = sha1(MRN, STUDY, f"{STUDY}.1"), sha1(MRN, STUDY, f"{STUDY}.2")


def image(series: int, number: int, **attributes: Any) -> bytes:
    uids = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.{series}",
        "SOPInstanceUID": f"{STUDY}.{series}.{number}",
    }
    return part10(ct(**{**uids, "InstanceNumber": number, "seed": 10 * series + number, **attributes}))


def name_of(series: int, number: int) -> str:
    return sha1(MRN, STUDY, f"{STUDY}.{series}", f"{STUDY}.{series}.{number}")


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


@pytest.fixture
def stored(site: Site) -> None:
    """A study of two series, of two images and of one."""
    for series, number in ((1, 1), (1, 2), (2, 1)):
        store(site, image(series, number))


def test_series_and_objects_are_deleted_at_every_door_and_can_be_restored(
    khanza: OrthancProgram, stored: None, site: Site
) -> None:
    writes = OrthancProgram(scopes=["studies.read", "studies.write"], name="writes")
    refused(writes.delete(f"series/{ONE}"), 403)
    refused(writes.delete(f"instances/{name_of(1, 1)}"), 403)
    answer = khanza.delete(f"instances/{name_of(1, 1)}").json()
    assert answer == {"RemainingAncestor": {"ID": ONE, "Path": f"/series/{ONE}", "Type": "Series"}}
    refused(khanza.get(f"instances/{name_of(1, 1)}"), 404, 17)
    refused(khanza.delete(f"instances/{name_of(1, 1)}"), 404)
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 2
    answer = khanza.delete(f"series/{ONE}").json()
    assert answer["RemainingAncestor"] == {"ID": NAME, "Path": f"/studies/{NAME}", "Type": "Study"}
    refused(khanza.get(f"series/{ONE}"), 404, 17)
    assert khanza.json(f"studies/{NAME}")["Series"] == [TWO] == khanza.json("series")
    assert khanza.json("statistics")["CountInstances"] == 1
    study = Study.objects.get()
    assert (study.number_of_study_related_series, study.number_of_study_related_instances) == (1, 1)
    person = caller(make_user("chief", is_superuser=True))
    found = person.get(f"/api/v1/studies/{STUDY}").json()
    assert found["number_of_study_related_instances"] == 1
    told = person.get(f"/api/v1/studies/{STUDY}/history").json()["removals"]
    assert [each["code"] for each in told] == ["images", "images"] and all(each["restorable_until"] for each in told)
    assert AuditEvent.objects.filter(event="study.images.deleted").count() == 2
    page = person.get(f"/studies/{STUDY}").content.decode()
    assert "Images deleted" in page and page.count('/restore"') == 2
    correcting = caller(make_user("rina", role="radiographer")).get(f"/studies/{STUDY}").content.decode()
    assert "Images deleted" in correcting and '/restore"' not in correcting  # deleting is another right
    for each in told:
        assert person.post(f"/studies/{STUDY}/removals/{each['public_id']}/restore").status_code == 302
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 3
    assert khanza.json(f"instances/{name_of(1, 1)}")["ParentSeries"] == ONE


def test_what_was_deleted_comes_again_or_not_as_the_site_wants(
    khanza: OrthancProgram, stored: None, site: Site
) -> None:
    khanza.delete(f"series/{ONE}")
    Site.objects.update(resent_deleted=ResentDeleted.REFUSE)
    assert khanza.post("instances", image(1, 1)).status_code >= 400
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 1
    Site.objects.update(resent_deleted=ResentDeleted.RESTORE)
    assert khanza.post("instances", image(1, 1)).json()["Status"] == "AlreadyStored"
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 3
    khanza.delete(f"series/{ONE}")
    Removal.objects.update(created_at=Removal.objects.latest("pk").created_at - timedelta(days=999))
    removal.purge(site=Site.objects.get(pk=site.pk))
    assert khanza.post("instances", image(1, 1)).json()["Status"] == "Success"
    assert khanza.json(f"series/{ONE}")["Instances"] == [name_of(1, 1)]


def test_several_of_any_level_are_deleted_at_once_or_none(khanza: OrthancProgram, stored: None) -> None:
    khanza.post("tools/bulk-delete", {"Resources": [ONE, name_of(1, 1), sha1("nobody")]})
    assert Removal.objects.get().code == "images" and khanza.json("series") == [TWO]
    khanza.post("tools/bulk-delete", {"Resources": [name_of(2, 1)]})  # the last one: the study goes
    assert khanza.json("studies") == khanza.json("patients") == []
    assert Removal.objects.latest("pk").code == "deleted"


def file_of(khanza: OrthancProgram, name: str) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(body(khanza.get(f"instances/{name}/file"))))


def test_what_cannot_be_corrected_becomes_copies_and_the_source_goes(khanza: OrthancProgram, stored: None) -> None:
    writes = OrthancProgram(scopes=["studies.read", "studies.write"], name="writes")
    given = {"Replace": {"InstitutionName": "RS"}, "Remove": ["Manufacturer"], "KeepSource": False}
    refused(writes.post(f"studies/{NAME}/modify", given), 403)
    content = done(khanza, f"studies/{NAME}/modify", given)["Content"]
    assert khanza.json("studies") == [content["ID"]] and content["ID"] != NAME
    assert khanza.json(f"studies/{content['ID']}")["ModifiedFrom"] == NAME
    first = khanza.json(f"studies/{content['ID']}/instances")[0]["ID"]
    assert file_of(khanza, first).InstitutionName == "RS"
    refused(khanza.get(f"studies/{NAME}"), 404)
    assert Removal.objects.get().code == "deleted" and Instance.objects.count() == 6
    removal.restore(who=make_user("chief", is_superuser=True), removal=Removal.objects.get())
    assert sorted(khanza.json("studies")) == sorted([content["ID"], NAME])


def test_a_job_begun_again_after_its_sources_went_tells_the_same(khanza: OrthancProgram, stored: None) -> None:
    job = done(khanza, f"studies/{NAME}/modify", {"KeepSource": False})
    jobs.run_again(jobs=jobs.Job.objects.filter(orthanc_job__public_id=job["ID"]))
    jobs.run_due()
    assert khanza.json(f"jobs/{job['ID']}")["Content"] == job["Content"]
    assert Removal.objects.count() == 1 and khanza.json("studies") == [job["Content"]["ID"]]


def test_a_series_is_modified_and_only_its_own_source_goes(khanza: OrthancProgram, stored: None) -> None:
    given = {"Replace": {"ProtocolName": "new"}, "KeepSource": False}
    content = done(khanza, f"series/{ONE}/modify", given)["Content"]
    assert content["Type"] == "Series" and content["InstancesCount"] == 2
    assert set(khanza.json(f"studies/{NAME}")["Series"]) == {TWO, content["ID"]}
    assert Removal.objects.get().code == "images" and Removal.objects.get().instances.count() == 2
    content = done(khanza, f"series/{TWO}/anonymize", {"KeepSource": False})["Content"]
    assert khanza.json(f"series/{content['ID']}")["ParentStudy"] != NAME
    assert len(khanza.json(f"studies/{NAME}")["Series"]) == 1


def test_objects_are_copied_into_their_own_series_in_the_place_of_their_sources(
    khanza: OrthancProgram, stored: None
) -> None:
    given = {
        "Replace": {"InstitutionName": "RS"},
        "Keep": ["StudyInstanceUID", "SeriesInstanceUID"],
        "Force": True,
        "KeepSource": False,
    }
    content = done(khanza, f"studies/{NAME}/modify", given)["Content"]
    assert content["ID"] == NAME and khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 3
    names = khanza.json(f"series/{ONE}")["Instances"]
    assert name_of(1, 1) not in names and file_of(khanza, names[0]).InstitutionName == "RS"
    assert Removal.objects.get().instances.count() == 3


def test_a_patient_gets_another_number_and_a_study_one_that_nobody_has(khanza: OrthancProgram, stored: None) -> None:
    given = {"Replace": {"PatientID": "NEW-1"}, "Force": True, "KeepSource": False}
    content = done(khanza, f"studies/{NAME}/modify", given)["Content"]
    assert content["PatientID"] == sha1("NEW-1") and content["Type"] == "Study"
    assert khanza.json("patients") == [sha1("NEW-1")]
    given = {"Replace": {"PatientID": "NEW-2", "PatientName": "NEW^NAME"}, "Force": True, "KeepSource": False}
    content = done(khanza, f"patients/{sha1('NEW-1')}/modify", given)["Content"]
    assert khanza.json("patients") == [content["ID"]] == [sha1("NEW-2")]
    assert khanza.json(f"patients/{content['ID']}")["MainDicomTags"]["PatientName"] == "NEW^NAME"


@pytest.mark.parametrize("keeps_source", [True, False])
def test_what_keeps_its_uids_is_corrected_in_place(khanza: OrthancProgram, stored: None, keeps_source: bool) -> None:
    kept = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    given: dict[str, Any] = {"Keep": kept, "Force": True, "KeepSource": keeps_source}
    answer = khanza.told(f"studies/{NAME}/modify", {**given, "Replace": {"StudyDescription": "here"}})
    assert answer["ID"] == NAME and answer["InstancesCount"] == 3
    assert file_of(khanza, name_of(1, 1)).StudyDescription == "here"
    answer = khanza.told(f"series/{ONE}/modify", {**given, "Keep": kept[1:], "Replace": {"SeriesDescription": "axial"}})
    assert answer["ID"] == ONE and file_of(khanza, name_of(1, 1)).SeriesDescription == "axial"
    assert Correction.objects.count() == 2 and Instance.objects.count() == 3
    for wrong, status in (
        ({**given, "Replace": {"InstitutionName": "RS"}}, 501),
        ({**given, "Replace": {"StudyDescription": "x"}, "Remove": ["StudyID"]}, 501),
        ({**given, "Force": False, "Replace": {"StudyDescription": "x"}}, 400),
    ):
        refused(khanza.post(f"studies/{NAME}/modify", wrong), status)
    assert Correction.objects.count() == 2 and not OrthancJob.objects.exists()


@pytest.fixture
def other(site: Site) -> str:
    """A study of another patient."""
    store(site, part10(ct(StudyInstanceUID=OTHER, SeriesInstanceUID=f"{OTHER}.1", SOPInstanceUID=f"{OTHER}.1.1",
                          PatientID="OTHER", PatientName="ANI", StudyDescription="theirs")))  # fmt: skip
    return sha1("OTHER", OTHER)


def test_series_are_merged_as_copies_beside_their_source(khanza: OrthancProgram, stored: None, other: str) -> None:
    given = {"Resources": [ONE], "KeepSource": True}
    job = done(khanza, f"studies/{other}/merge", given)
    assert job["Type"] == "MergeStudy"
    assert job["Content"] == {
        "Description": "REST API", "FailedInstancesCount": 0, "InstancesCount": 2, "TargetStudy": other,
    }  # fmt: skip
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 3
    assert khanza.json(f"studies/{other}/statistics")["CountInstances"] == 3
    (made,) = Series.objects.filter(study_ref__study_instance_uid=OTHER).exclude(series_instance_uid=f"{OTHER}.1")
    files = [file_of(khanza, name) for name in khanza.json(f"series/{sha1('OTHER', OTHER, made.series_instance_uid)}")[
        "Instances"]]  # fmt: skip
    assert {(str(file.PatientName), file.PatientID, file.StudyDescription) for file in files} == {
        ("ANI", "OTHER", "theirs")
    }
    assert "PatientAge" not in files[0] and not {file.SOPInstanceUID for file in files} & {f"{STUDY}.1.1"}
    jobs.run_again(jobs=jobs.Job.objects.filter(orthanc_job__public_id=job["ID"]))
    jobs.run_due()
    assert Instance.objects.count() == 6 and not Correction.objects.exists() and not OrthancOrigin.objects.exists()
    assert {"orthanc.merge", "orthanc.merge.done"} <= set(AuditEvent.objects.values_list("event", flat=True))


def test_merging_moves_what_is_named_unless_the_source_stays(khanza: OrthancProgram, stored: None, other: str) -> None:
    answer = khanza.told(f"studies/{other}/merge", {"Resources": [TWO]})
    assert (answer["InstancesCount"], answer["TargetStudy"]) == (1, other)
    writes = OrthancProgram(scopes=["studies.read", "studies.write"], name="writes")
    refused(writes.post(f"studies/{other}/merge", {"Resources": [name_of(1, 1)]}), 403)
    content = done(khanza, f"studies/{other}/merge", {"Resources": [name_of(1, 1)]})["Content"]
    assert content["InstancesCount"] == 1
    refused(khanza.get(f"instances/{name_of(1, 1)}"), 404)
    assert khanza.told(f"studies/{other}/merge", {"Resources": [ONE]})["InstancesCount"] == 1  # the last: all of it
    assert khanza.json("studies") == [other] and khanza.json(f"studies/{other}/statistics")["CountInstances"] == 4
    assert [each.kind for each in Correction.objects.order_by("pk")] == ["split", "merge"]


def test_series_are_split_off_as_copies(khanza: OrthancProgram, stored: None) -> None:
    given = {
        "Series": [ONE],
        "Instances": [name_of(2, 1)],
        "Replace": {"StudyDescription": "off", "0010,0020": "R-9", "PatientName": "R^NINE"},
        "Remove": ["AccessionNumber"],
        "KeepSource": True,
    }
    job = done(khanza, f"studies/{NAME}/split", given)
    content = job["Content"]
    assert job["Type"] == "SplitStudy" and content["InstancesCount"] == 3
    assert content["TargetStudy"] == sha1("R-9", content["TargetStudyUID"])
    assert sorted(content) == ["Description", "FailedInstancesCount", "InstancesCount", "TargetStudy", "TargetStudyUID"]
    study = khanza.json(f"studies/{content['TargetStudy']}")
    assert len(study["Series"]) == 2 and study["MainDicomTags"]["StudyDescription"] == "off"
    assert "AccessionNumber" not in file_of(khanza, khanza.json(f"series/{study['Series'][0]}")["Instances"][0])
    assert khanza.json(f"studies/{NAME}/statistics")["CountInstances"] == 3


def test_splitting_moves_series_unless_more_is_wanted(khanza: OrthancProgram, stored: None) -> None:
    answer = khanza.told(f"studies/{NAME}/split", {"Series": [TWO]})
    assert answer["InstancesCount"] == 1 and Instance.objects.count() == 3
    content = done(khanza, f"studies/{NAME}/split", {"Series": [ONE]})["Content"]  # all that is left of it
    assert Instance.objects.count() == 5 and NAME not in khanza.json("studies")
    assert khanza.json(f"studies/{content['TargetStudy']}/statistics")["CountInstances"] == 2
    assert Correction.objects.count() == 1 and Removal.objects.get().code == "deleted"


def test_copies_are_transcoded(khanza: OrthancProgram, site: Site) -> None:
    kept = pydicom.dcmread(get_testdata_file("JPEG2000.dcm"))
    store(site, Path(kept.filename).read_bytes())
    (name,) = khanza.json("studies")
    (object_name,) = khanza.json("instances")
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        content = done(khanza, f"studies/{name}/modify", {"Transcode": syntax})["Content"]
        assert content["Transcode"] == syntax
        file = file_of(khanza, khanza.json(f"studies/{content['ID']}/instances")[0]["ID"])
        assert file.file_meta.TransferSyntaxUID == syntax and file.PatientName == kept.PatientName
        assert (file.pixel_array == kept.pixel_array).all()
    sent = khanza.post(f"instances/{object_name}/anonymize", {"Transcode": "1.2.840.10008.1.2"})
    file = pydicom.dcmread(io.BytesIO(body(sent)))
    assert (file.pixel_array == kept.pixel_array).all() and file.is_implicit_VR
    plain = khanza.post("instances", image(1, 1)).json()["ID"]
    sent = khanza.post(f"instances/{plain}/modify", {"Replace": {"StudyID": "Ä"}, "Transcode": "1.2.840.10008.1.2"})
    file = pydicom.dcmread(io.BytesIO(body(sent)))
    assert file.is_implicit_VR and file.StudyID == "Ä"
    for wrong, status in (("1.2.840.10008.1.2.4.70", 501), ("nonsense", 400), (7, 400)):
        refused(khanza.post(f"studies/{name}/modify", {"Transcode": wrong}), status)
        refused(khanza.post(f"instances/{plain}/modify", {"Transcode": wrong}), status)


def test_single_objects_are_modified_in_the_place_of_their_sources(khanza: OrthancProgram, stored: None) -> None:
    given = {"Resources": [name_of(1, 1)], "Replace": {"ImageComments": "seen"}, "KeepSource": False}
    content = done(khanza, "tools/bulk-modify", given)["Content"]
    (made,) = [each["ID"] for each in content["Resources"] if each["Type"] == "Instance"]
    assert sorted(khanza.json(f"series/{ONE}")["Instances"]) == sorted([made, name_of(1, 2)])
    assert file_of(khanza, made).ImageComments == "seen" and Removal.objects.get().instances.count() == 1


def test_merging_into_a_study_that_was_given_to_another_patient(
    khanza: OrthancProgram, stored: None, other: str
) -> None:
    make_patient("001234", "WATI")
    given = {"Replace": {"PatientID": "001234", "StudyDescription": "right"}, "KeepSource": False}
    name = khanza.told(f"studies/{other}/modify", given)["ID"]
    job = done(khanza, f"studies/{name}/merge", {"Resources": [NAME], "KeepSource": True})
    assert job["State"] == "Success" and job["Content"]["TargetStudy"] == name
    files = [file_of(khanza, each["ID"]) for each in khanza.json(f"studies/{name}/instances")]
    assert {(str(file.PatientName), file.PatientID, file.StudyDescription) for file in files} == {
        ("WATI", "001234", "right")
    }
    assert len(files) == 4


@pytest.mark.parametrize("what", ["merge", "split", "modify", "anonymize"])
def test_what_no_row_can_hold_is_refused_or_passed_over(
    khanza: OrthancProgram, stored: None, other: str, what: str
) -> None:
    given = {"Resources": [other], "Series": [ONE], "KeepSource": True, "Synchronous": False, "Unknown": "\x00\ud800"}
    assert khanza.post(f"studies/{NAME}/{what}", given).status_code == 200
    if what in {"modify", "anonymize"}:
        refused(khanza.post(f"studies/{NAME}/{what}", {**given, "PrivateCreator": "\x00"}), 400)
    for wrong in (
        '{"Replace": {"StudyID": NaN}}',
        '{"Series": ["a\\u0000b"], "Resources": ["\\ud800"], "Keep": ["x"]}',
    ):
        assert 400 <= khanza.post(f"studies/{NAME}/{what}", wrong).status_code < 500

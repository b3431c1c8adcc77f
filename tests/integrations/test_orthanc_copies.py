"""`/anonymize` and `/modify` of the Orthanc-shaped REST: new objects of stored ones, which stay as they are."""

import io
import json
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from integrations.models import OrthancJob, OrthancOrigin
from pacs.models import HeldObject, Instance, Location, Series, Study
from radiology.models import AuditEvent, Job, Patient, Site
from radiology.services import jobs
from tests.factories import make_site, make_user
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10
from tests.pacs.visibility import caller

pytestmark = pytest.mark.django_db
STUDY, SERIES, MRN = "1.2.826.0.1.55", "1.2.826.0.1.55.1", "MRN-1001"
NAME = sha1(MRN, STUDY)
ONE = sha1(MRN, STUDY, SERIES, f"{SERIES}.1")


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


@pytest.fixture
def stored(site: Site) -> None:
    """Two images that refer to one another, with all that tells whose they are."""
    for number, other in ((1, 2), (2, 1)):
        reference = Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        reference.ReferencedSOPInstanceUID = f"{SERIES}.{other}"
        reference.StudyInstanceUID = STUDY
        reference.InstitutionName = "RSUD"
        reference.PatientName = "SANTOSO^BUDI"
        reference.add_new(0x00091002, "LO", "SANTOSO")
        file = ct(
            StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=f"{SERIES}.{number}",
            InstanceNumber=number, FrameOfReferenceUID="1.2.3.9", ReferencedImageSequence=[reference],
            InstitutionName="RSUD", StudyDescription="Thorax of Budi", OtherPatientIDs="NIK-1", PixelSpacing=["1", "1"],
            PatientComments="knows nobody", seed=number,
        )  # fmt: skip
        file.add_new(0x00090010, "LO", "SINAR TEST")
        file.add_new(0x00091001, "LO", "SANTOSO")
        store(site, part10(file))


def done(khanza: OrthancProgram, path: str, given: Any) -> dict[str, Any]:
    """The job that a request began, when it has ended."""
    began = khanza.told(path, {**given, "Asynchronous": True})
    assert began["Path"] == f"/jobs/{began['ID']}"
    jobs.run_due()
    return khanza.json(f"jobs/{began['ID']}")


def test_the_answer_says_what_was_made_though_it_was_done_in_that_moment(
    khanza: OrthancProgram, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends while its request looks whether it has."""
    look = Job.refresh_from_db

    def look_late(self: Job, *arguments: Any, **options: Any) -> None:
        jobs.run_due()
        look(self, *arguments, **options)

    monkeypatch.setattr(Job, "refresh_from_db", look_late)
    made = khanza.told(f"studies/{NAME}/anonymize", {})
    assert made["Type"] == "Study" and made["ID"] not in {"", NAME}


def read(khanza: OrthancProgram, name: str) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(body(khanza.get(f"instances/{name}/file"))))


def test_an_anonymized_study_is_a_new_one_that_tells_nobodys_name(khanza: OrthancProgram, stored: None) -> None:
    before = {each.pk: bytes(each.sha256) for each in Location.objects.all()}
    job = done(khanza, f"studies/{NAME}/anonymize", {})
    assert (job["State"], job["Type"], job["Progress"]) == ("Success", "ResourceModification", 100)
    content = job["Content"]
    assert content["IsAnonymization"] is True and content["InstancesCount"] == 2 and content["Type"] == "Study"
    assert content["ParentResources"] == [NAME] and content["Path"] == f"/studies/{content['ID']}"
    study = khanza.json(f"studies/{content['ID']}")
    assert study["AnonymizedFrom"] == NAME and study["ParentPatient"] == content["PatientID"] != sha1(MRN)
    patient = khanza.json(f"patients/{content['PatientID']}")
    assert patient["AnonymizedFrom"] == sha1(MRN)
    assert patient["MainDicomTags"]["PatientName"].startswith("Anonymized")
    (series,) = study["Series"]
    assert khanza.get(f"series/{series}/metadata/AnonymizedFrom").content.decode() == sha1(MRN, STUDY, SERIES)
    one, two = (read(khanza, name) for name in khanza.json(f"series/{series}")["Instances"])
    anew = sha1(one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    assert khanza.json(f"instances/{anew}/metadata?expand")["AnonymizedFrom"] == ONE
    assert one.StudyInstanceUID == two.StudyInstanceUID != STUDY and one.PatientID == two.PatientID != MRN
    assert one.ReferencedImageSequence[0].ReferencedSOPInstanceUID == two.SOPInstanceUID
    assert one.ReferencedImageSequence[0].StudyInstanceUID == one.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID != "1.2.3.9"
    assert one.PatientIdentityRemoved == "YES" and one.DeidentificationMethod.startswith("Sinar - PS 3.15-2023e")
    assert one.StudyDate == one.AccessionNumber == one.PatientBirthDate == "" and "StudyDescription" not in one
    original = pydicom.dcmread(io.BytesIO(body(khanza.get(f"instances/{ONE}/file"))))
    assert one.PixelData == original.PixelData and original.PatientName == "SANTOSO^BUDI"
    for file in (one, two):
        assert not any(word in file.to_json() for word in ("SANTOSO", "RSUD", "Budi", "NIK-1", "ACC1", "HARTONO"))
    assert {each.pk: bytes(each.sha256) for each in Location.objects.filter(pk__in=before)} == before
    assert Patient.objects.count() == 2 and not Patient.objects.exclude(provisional_for="").exists()
    events = set(AuditEvent.objects.values_list("event", flat=True))
    assert {"orthanc.anonymize", "orthanc.anonymize.done"} <= events
    (listed,) = khanza.json("jobs?expand")
    assert listed["ID"] == job["ID"] and khanza.json("jobs") == [job["ID"]]


def test_what_the_request_wants_stays_changes_or_goes(khanza: OrthancProgram, stored: None) -> None:
    given = {
        "Keep": ["StudyDescription", "0009-1001", "ReferencedImageSequence[0].InstitutionName"],
        "Replace": {"PatientName": "ÄNNE^X", "0010-0020": "R-7", "SeriesDescription": "axial", "0009-1003": "mine"},
        "Remove": ["PixelSpacing"],
        "Force": True,
        "PrivateCreator": "SINAR TEST",
    }
    content = done(khanza, f"studies/{NAME}/anonymize", given)["Content"]
    assert content["PatientID"] == sha1("R-7")
    (series,) = khanza.json(f"studies/{content['ID']}")["Series"]
    file = read(khanza, khanza.json(f"series/{series}")["Instances"][0])
    assert file.StudyDescription == "Thorax of Budi" and file.SeriesDescription == "axial"
    assert file.PatientName == "ÄNNE^X" and file.PatientID == "R-7" and "PixelSpacing" not in file
    assert file[0x00091001].value == "SANTOSO" and file[0x00091003].value == "mine"
    inner = file.ReferencedImageSequence[0]
    assert inner.InstitutionName == "RSUD" and inner.PatientName != "SANTOSO^BUDI" and 0x00091002 not in inner
    assert file.DeidentificationMethod.endswith("changed")
    kept = done(khanza, f"studies/{NAME}/anonymize", {"DicomVersion": "2008", "KeepPrivateTags": True})["Content"]
    (series,) = khanza.json(f"studies/{kept['ID']}")["Series"]
    file = read(khanza, khanza.json(f"series/{series}")["Instances"][0])
    assert file.StudyDate == "20260102" and file[0x00091001].value == "SANTOSO" and "AccessionNumber" not in file


def test_requests_that_make_no_sense_begin_nothing(khanza: OrthancProgram, stored: None) -> None:
    given: Any
    for given, status in (
        ({"Keep": ["PatientID"]}, 400),  # without Force
        ({"Replace": {"StudyInstanceUID": "1.2"}}, 400),
        ({"Remove": ["PatientID"], "Force": True}, 400),
        ({"Keep": ["SOPInstanceUID"], "Force": True}, 501),
        ({"Keep": ["StudyInstanceUID"], "Force": True}, 501),
        ({"Replace": {"SOPInstanceUID": "1.2"}, "Force": True}, 400),  # there are two
        ({"Replace": {"PixelData": "data:;base64,AAAA"}}, 400),
        ({"Replace": {"StudyDate": "yesterday"}}, 400),
        ({"Replace": {"NoSuch": "1"}}, 400),
        ({"Replace": {"PatientName": {"a": 1}}}, 400),
        ({"Replace": {"PatientName": "\ud800"}}, 400),
        ({"Replace": {"ReferencedImageSequence": "x"}}, 400),
        ({"Replace": {"ReferencedImageSequence": [[]]}}, 400),
        ({"Replace": []}, 400),
        ({"Remove": [1]}, 400),
        ({"Remove": ["A[b].c"]}, 400),
        ({"DicomVersion": "1999"}, 400),
        ({"DicomVersion": 1}, 400),
        ({"KeepPrivateTags": "yes"}, 400),
        ({"Transcode": "1.2.840.10008.1.2.4.70"}, 501),
        ({"KeepSource": "no"}, 400),
        ([], 400),
    ):
        refused(khanza.post(f"studies/{NAME}/anonymize", given), status)
    refused(khanza.post(f"studies/{NAME}/anonymize", b" " * (2 << 20)), 413)
    for given, status in (
        ({"Replace": {"PatientID": "7"}, "Force": True}, 400),  # of the level above
        ({"Keep": ["SeriesInstanceUID"], "Force": True}, 501),
    ):
        refused(khanza.post(f"studies/{NAME}/modify", given), status)
    refused(khanza.post(f"patients/{sha1(MRN)}/modify", {"Replace": {"PatientName": "X"}}), 400)
    refused(khanza.post("tools/bulk-anonymize", {"Resources": []}), 400)
    refused(khanza.post("tools/bulk-anonymize", {"Resources": [sha1("nobody")]}), 404)
    refused(khanza.post("tools/bulk-modify", {"Resources": [NAME], "Level": "Foo"}), 400)
    assert not OrthancJob.objects.exists() and Study.objects.count() == 1


def test_who_may_not_correct_makes_no_copies(khanza: OrthancProgram, stored: None, site: Site) -> None:
    reads = OrthancProgram(scopes=["studies.read"], name="reads")
    writes = OrthancProgram(scopes=["studies.read", "studies.write"], name="writes")
    for path in (f"studies/{NAME}/anonymize", f"studies/{NAME}/modify", f"patients/{sha1(MRN)}/anonymize"):
        refused(reads.post(path, {}), 403)
    refused(reads.post("tools/bulk-anonymize", {"Resources": [NAME]}), 403)
    refused(writes.post(f"studies/{NAME}/anonymize", {"KeepSource": False}), 403)
    doctor = caller(make_user("doctor", role="doctor"))
    assert doctor.post(f"/orthanc/studies/{NAME}/anonymize", "{}", content_type="text/plain").status_code == 403
    elsewhere = OrthancProgram(site=make_site(), name="elsewhere")
    refused(elsewhere.post(f"studies/{NAME}/anonymize", {}), 404)
    began = khanza.told(f"studies/{NAME}/anonymize", {"Asynchronous": True})
    refused(elsewhere.get(f"jobs/{began['ID']}"), 404)
    refused(reads.post(f"jobs/{began['ID']}/cancel"), 403)
    assert khanza.told(f"jobs/{began['ID']}/cancel") == {}
    jobs.run_due()
    assert Study.objects.count() == 1
    assert khanza.json(f"jobs/{began['ID']}")["ErrorCode"] == 37
    assert khanza.told(f"jobs/{began['ID']}/resubmit") == {}
    jobs.run_due()
    assert khanza.json(f"jobs/{began['ID']}")["State"] == "Success" and Study.objects.count() == 2


def test_a_job_done_twice_makes_its_objects_once(khanza: OrthancProgram, stored: None) -> None:
    first = done(khanza, f"studies/{NAME}/anonymize", {})
    jobs.run_again(jobs=jobs.Job.objects.filter(orthanc_job__public_id=first["ID"]))
    jobs.run_due()
    again = khanza.json(f"jobs/{first['ID']}")
    assert again["State"] == "Success" and again["Content"] == first["Content"]
    assert Instance.objects.count() == 4 and OrthancOrigin.objects.count() == 5 and not HeldObject.objects.exists()
    other = done(khanza, f"studies/{NAME}/anonymize", {})  # another request: other identifiers
    assert other["Content"]["PatientID"] != first["Content"]["PatientID"] and Instance.objects.count() == 6


def test_the_source_goes_where_the_request_wants_and_only_when_all_was_copied(
    khanza: OrthancProgram, stored: None, site: Site
) -> None:
    store(site, part10(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.2")))
    broken = Location.objects.order_by("pk")[0]
    Location.objects.filter(pk=broken.pk).update(size=broken.size - 400)  # ends too early
    failed = done(khanza, f"studies/{NAME}/anonymize", {"KeepSource": False})
    assert failed["State"] == "Failure" and "1 of 3" in failed["ErrorDetails"]
    assert Study.objects.get(study_instance_uid=STUDY).deleted_at is None
    Location.objects.filter(pk=broken.pk).update(size=broken.size)
    khanza.told(f"jobs/{failed['ID']}/resubmit")
    jobs.run_due()
    assert khanza.json(f"jobs/{failed['ID']}")["State"] == "Success"
    assert Study.objects.get(study_instance_uid=STUDY).deleted_at is not None
    refused(khanza.get(f"studies/{NAME}"), 404)


def test_copies_of_a_study_are_a_study_of_the_same_patient(khanza: OrthancProgram, stored: None) -> None:
    given = {"Replace": {"StudyDescription": "Teaching", "InstitutionName": "RS"}, "Remove": ["PatientComments"]}
    content = done(khanza, f"studies/{NAME}/modify", given)["Content"]
    assert content["IsAnonymization"] is False and content["PatientID"] == sha1(MRN) and content["ID"] != NAME
    study = khanza.json(f"studies/{content['ID']}")
    assert study["ModifiedFrom"] == NAME and study["MainDicomTags"]["StudyDescription"] == "Teaching"
    (series,) = study["Series"]
    file = read(khanza, khanza.json(f"series/{series}")["Instances"][0])
    assert file.PatientName == "SANTOSO^BUDI" and file.InstitutionName == "RS" and "PatientComments" not in file
    assert file[0x00091001].value == "SANTOSO" and "PatientIdentityRemoved" not in file
    assert "ModifiedFrom" not in khanza.json(f"patients/{sha1(MRN)}")
    assert khanza.json(f"studies/{NAME}")["MainDicomTags"]["StudyDescription"] == "Thorax of Budi"


def test_series_are_copied_into_their_study_and_studies_into_themselves(khanza: OrthancProgram, stored: None) -> None:
    series = sha1(MRN, STUDY, SERIES)
    content = done(khanza, f"series/{series}/modify", {"Replace": {"SeriesDescription": "copy"}})["Content"]
    assert content["Type"] == "Series" and khanza.json(f"series/{content['ID']}")["ParentStudy"] == NAME
    assert Series.objects.count() == 2 and Study.objects.count() == 1
    kept = {"Keep": ["StudyInstanceUID"], "Force": True, "Replace": {"SeriesDescription": "again"}}
    job = done(khanza, f"studies/{NAME}/modify", kept)
    assert job["Content"]["ID"] == NAME and Series.objects.count() == 4 and Instance.objects.count() == 8
    jobs.run_again(jobs=jobs.Job.objects.filter(orthanc_job__public_id=job["ID"]))
    jobs.run_due()
    assert Instance.objects.count() == 8  # what was copied into the study is not copied again


def test_a_patients_studies_are_copied_to_another_number(khanza: OrthancProgram, stored: None) -> None:
    given = {"Replace": {"PatientID": "TEACH-1", "PatientName": "TEACHING^CASE"}, "Force": True}
    content = done(khanza, f"patients/{sha1(MRN)}/modify", given)["Content"]
    assert content["Type"] == "Patient" and content["ID"] == content["PatientID"] == sha1("TEACH-1")
    assert Patient.objects.get(patient_id="TEACH-1").patient_name == "TEACHING^CASE"


def test_one_object_is_answered_as_a_file_and_not_stored(khanza: OrthancProgram, stored: None) -> None:
    reads = OrthancProgram(scopes=["studies.read"], name="reads")
    answer = reads.post(f"instances/{ONE}/anonymize", {"Keep": ["StudyDescription"]})
    assert answer["Content-Type"] == "application/dicom"
    file = pydicom.dcmread(io.BytesIO(body(answer)))
    assert file.PatientID != MRN and file.StudyDescription == "Thorax of Budi" and len(file.PixelData) == 512
    changed = pydicom.dcmread(io.BytesIO(body(reads.post(f"instances/{ONE}/modify", {"Replace": {"StudyID": "9"}}))))
    assert changed.StudyID == "9" and changed.StudyInstanceUID == STUDY and changed.SOPInstanceUID != f"{SERIES}.1"
    given = {"Replace": {"StudyID": "9"}, "Keep": ["SOPInstanceUID"], "Force": True}
    same = pydicom.dcmread(io.BytesIO(body(reads.post(f"instances/{ONE}/modify", given))))
    assert same.SOPInstanceUID == f"{SERIES}.1"
    refused(reads.post(f"instances/{ONE}/modify", {"Replace": {"SOPInstanceUID": "1.2"}}), 400)
    assert Instance.objects.count() == 2 and AuditEvent.objects.filter(event="orthanc.anonymize").exists()


def test_several_resources_at_once(khanza: OrthancProgram, stored: None, site: Site) -> None:
    store(site, part10(ct(StudyInstanceUID=f"{STUDY}.7", PatientID="OTHER", PatientName="ANI")))
    second = sha1("OTHER", f"{STUDY}.7")
    content = done(khanza, "tools/bulk-anonymize", {"Resources": [ONE, second]})["Content"]
    assert [each["Type"] for each in content["Resources"]] == [
        *["Instance"] * 2, *["Series"] * 2, *["Study"] * 2, *["Patient"] * 2,
    ]  # fmt: skip
    for each in content["Resources"]:
        assert khanza.json(each["Path"][1:])["ID"] == each["ID"]
    given = {"Resources": [ONE], "Replace": {"ImageComments": "seen"}}
    content = done(khanza, "tools/bulk-modify", given)["Content"]
    (instance,) = [each["ID"] for each in content["Resources"] if each["Type"] == "Instance"]
    assert khanza.json(f"instances/{instance}/simplified-tags")["ImageComments"] == "seen"
    assert khanza.json(f"instances/{instance}/study")["ID"] == NAME


def test_described_resources_cost_one_query_more_however_many(
    khanza: OrthancProgram, stored: None, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        done(khanza, f"studies/{NAME}/anonymize", {})
    with django_assert_max_num_queries(12):
        found = khanza.json("studies?expand")
    assert len([each for each in found if each.get("AnonymizedFrom") == NAME]) == 3
    with django_assert_max_num_queries(5):
        assert len(khanza.json("jobs?expand")) == 3


def test_a_request_kept_in_its_row_is_read_as_it_was(khanza: OrthancProgram, stored: None) -> None:
    given = {"Replace": {"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3"}], "0018-0050": "1.5"}}
    content = done(khanza, f"studies/{NAME}/modify", given)["Content"]
    (series,) = khanza.json(f"studies/{content['ID']}")["Series"]
    file = read(khanza, khanza.json(f"series/{series}")["Instances"][0])
    assert file.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3" and str(file.SliceThickness) == "1.5"
    assert json.loads(json.dumps(OrthancJob.objects.get().request))["Replace"] == given["Replace"]

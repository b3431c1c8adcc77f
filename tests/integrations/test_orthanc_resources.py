"""The Orthanc-shaped REST: resources, their identifiers and contents, lists, and errors."""

import io
import json
import zipfile
from typing import Any

import pydicom
import pytest
from django.test import Client
from django.utils import timezone
from PIL import Image

from integrations.models import OrthancArrival, OrthancResource, OrthancUnsettled
from integrations.orthanc import registrar
from pacs.models import Instance, Series, Study
from pacs.services import corrections
from radiology.models import AuditEvent, Patient, Site
from radiology.services.merges import merge_patients
from tests.factories import make_patient, make_site, make_user
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10, real

pytestmark = pytest.mark.django_db
STUDY, SERIES = "1.2.826.0.1.77", "1.2.826.0.1.77.1"
OBJECT = f"{SERIES}.1"
NUMBER = "MRN-1001"
IDS = {
    "patients": sha1(NUMBER),
    "studies": sha1(NUMBER, STUDY),
    "series": sha1(NUMBER, STUDY, SERIES),
    "instances": sha1(NUMBER, STUDY, SERIES, OBJECT),
}


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


def image(number: int = 1, **attributes: Any) -> bytes:
    fixed = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "InstanceNumber": number,
        "StudyDescription": "Thorax",
    }
    return part10(ct(**{**fixed, **attributes}))


def test_every_level_is_found_by_the_identifiers_that_orthanc_computes(khanza: OrthancProgram, site: Site) -> None:
    store(site, image(2))
    store(site, image(1, ImageComments="héllo"))
    patient = khanza.json(f"patients/{IDS['patients']}")
    assert patient["Type"] == "Patient" and patient["Studies"] == [IDS["studies"]] and patient["Labels"] == []
    study = khanza.json(f"studies/{IDS['studies']}")
    assert study["MainDicomTags"] == {
        "AccessionNumber": "ACC1",
        "ReferringPhysicianName": "HARTONO^DEWI",
        "StudyDate": "20260102",
        "StudyDescription": "Thorax",
        "StudyID": "1",
        "StudyInstanceUID": STUDY,
        "StudyTime": "101112",
    }
    assert study["PatientMainDicomTags"]["PatientName"] == "SANTOSO^BUDI"
    assert study["ParentPatient"] == IDS["patients"] and study["Series"] == [IDS["series"]]
    assert study["IsStable"] is False and len(study["LastUpdate"]) == 15
    series = khanza.json(f"series/{IDS['series']}")
    assert series["Instances"] == [IDS["instances"], sha1(NUMBER, STUDY, SERIES, f"{SERIES}.2")]
    instance = khanza.json(f"instances/{IDS['instances']}")
    assert instance["MainDicomTags"]["ImageComments"] == "héllo" and instance["ParentSeries"] == IDS["series"]
    assert instance["IndexInSeries"] == 1 and instance["FileSize"] > 500
    for path, wanted in (
        (f"instances/{IDS['instances']}/study", IDS["studies"]),
        (f"instances/{IDS['instances']}/series", IDS["series"]),
        (f"series/{IDS['series']}/patient", IDS["patients"]),
    ):
        assert khanza.json(path)["ID"] == wanted
    children = khanza.json(f"patients/{IDS['patients']}/instances")
    assert [each["ID"] for each in children] == series["Instances"]
    assert khanza.json(f"studies/{IDS['studies']}/series", {"expand": "false"}) == [IDS["series"]]
    assert AuditEvent.objects.filter(event="orthanc.read", study_instance_uid=STUDY).count() >= 5


def test_lists_go_on_by_since_and_limit(khanza: OrthancProgram, site: Site) -> None:
    names = []
    for number in range(5):
        uid = f"{STUDY}.{number}"
        store(site, part10(ct(StudyInstanceUID=uid, StudyDescription=f"S{number}")))
        names.append(sha1(NUMBER, uid))
    assert khanza.json("studies") == names
    assert khanza.json("studies", {"since": 1, "limit": 2}) == names[1:3]
    assert khanza.json("studies", {"since": 9, "limit": 2}) == []
    assert khanza.json("studies", {"since": 4, "limit": 0}) == names  # as Orthanc takes a limit of 0
    expanded = khanza.json("studies?expand&since=3&limit=5&requestedTags=ModalitiesInStudy;0010,0010")
    assert [each["MainDicomTags"]["StudyDescription"] for each in expanded] == ["S3", "S4"]
    assert expanded[0]["RequestedTags"] == {"ModalitiesInStudy": "CT", "PatientName": "SANTOSO^BUDI"}
    assert khanza.json("patients") == [sha1(NUMBER)]
    assert len(khanza.json("series?expand")) == len(khanza.json("instances?expand")) == 5
    assert "missing" in refused(khanza.get("studies?limit=1"), 400).lower()
    for wrong in ("since=-1&limit=1", "since=x&limit=1", "since=0&limit=1e3", "since=0&limit=" + "9" * 40):
        refused(khanza.get(f"studies?{wrong}"), 400)


def test_former_identifiers_lead_on_to_the_same_study(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    khanza.json(f"studies/{IDS['studies']}")
    study = Study.objects.get()
    other = make_patient("002222", "ANI")
    corrections.assign_patient(
        who=make_user("chief", is_superuser=True), study=study, version=study.version, patient=other
    )
    renamed = sha1("002222", STUDY, SERIES, OBJECT)
    assert khanza.json(f"instances/{renamed}")["ID"] == renamed
    assert khanza.json(f"instances/{IDS['instances']}")["ID"] == renamed
    assert khanza.json(f"studies/{IDS['studies']}")["PatientMainDicomTags"]["PatientID"] == "002222"
    assert khanza.json(f"instances/{renamed}/simplified-tags")["PatientID"] == "002222"
    refused(khanza.get(f"patients/{IDS['patients']}"), 404, 17)  # nothing of that patient is left
    store(site, image(2))
    late = sha1("002222", STUDY, SERIES, f"{SERIES}.2")
    assert khanza.json(f"series/{sha1('002222', STUDY, SERIES)}")["Instances"][1] == late


def test_after_a_merge_of_patients_the_survivors_identifiers_are_found(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    registrar.catch_up()
    survivor = make_patient("7", "SANTOSO^BUDI", patient_birth_date="19700101")
    merge_patients(
        who=make_user("chief", is_superuser=True), survivor=survivor, merged=Patient.objects.get(patient_id=NUMBER)
    )
    assert khanza.json(f"series/{sha1('7', STUDY, SERIES)}")["Instances"] == [sha1("7", STUDY, SERIES, OBJECT)]
    assert khanza.json(f"studies/{IDS['studies']}")["ParentPatient"] == sha1("7")


def test_a_series_that_moved_has_the_identifier_of_its_new_study(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    store(site, part10(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.2")))
    answer = khanza.told(f"studies/{IDS['studies']}/split", {"Series": [IDS["series"]], "KeepSource": False})
    uid = answer["TargetStudyUID"]
    assert answer["TargetStudy"] == sha1(NUMBER, uid) and answer["InstancesCount"] == 1
    assert khanza.json(f"instances/{sha1(NUMBER, uid, SERIES, OBJECT)}")["ParentSeries"] == sha1(NUMBER, uid, SERIES)
    back = khanza.told(f"studies/{IDS['studies']}/merge", {"Resources": [answer["TargetStudy"]], "KeepSource": False})
    assert back["InstancesCount"] == 1
    assert khanza.json(f"instances/{IDS['instances']}")["ParentSeries"] == IDS["series"]


def test_equal_numbers_of_two_patients_and_two_sites_stay_apart(khanza: OrthancProgram, site: Site) -> None:
    store(site, image(IssuerOfPatientID="A"))
    store(site, part10(ct(StudyInstanceUID=f"{STUDY}.2", IssuerOfPatientID="B", PatientName="OTHER^ONE")))
    other = make_site()
    store(other, image())
    first, second = khanza.json("patients?expand")
    assert first["ID"] == IDS["patients"] != second["ID"]
    assert khanza.json(f"patients/{second['ID']}")["Studies"] == [sha1(NUMBER, f"{STUDY}.2")]
    assert khanza.json(f"patients/{first['ID']}")["Studies"] == [IDS["studies"]]
    assert len(khanza.json("instances")) == 2
    there = OrthancProgram(site=other, name="there")
    assert there.json("studies") == [IDS["studies"]]
    assert there.json("patients") == [IDS["patients"]]
    chief = Client()
    chief.force_login(make_user("chief", is_superuser=True), backend="django.contrib.auth.backends.ModelBackend")
    listed = chief.get("/orthanc/patients")
    assert len(json.loads(body(listed))) == 2  # their own site's, as an Orthanc is one archive


def test_tags_in_every_form(khanza: OrthancProgram, site: Site) -> None:
    item = pydicom.Dataset()
    item.RequestedProcedureID = "RP1"
    store(site, image(RequestAttributesSequence=[item], PixelSpacing=["0.50", "0.5"], ImageComments="x" * 300))
    path = f"instances/{IDS['instances']}"
    full = khanza.json(f"{path}/tags")
    assert full["0010,0020"] == {"Name": "PatientID", "Type": "String", "Value": NUMBER}
    assert full["0028,0030"]["Value"] == "0.50\\0.5"
    assert full["0040,0275"]["Type"] == "Sequence"
    assert full["0040,0275"]["Value"][0]["0040,1001"]["Value"] == "RP1"
    assert full["0020,4000"] == {"Name": "ImageComments", "Type": "TooLong", "Value": None}
    assert full["7fe0,0010"] == {"Name": "PixelData", "Type": "Null", "Value": None}
    assert khanza.json(f"{path}/tags?short")["0010,0020"] == NUMBER
    simple = khanza.json(f"{path}/simplified-tags")
    assert simple == khanza.json(f"{path}/tags?simplify")
    assert simple["RequestAttributesSequence"] == [{"RequestedProcedureID": "RP1"}]
    assert khanza.get(f"{path}/content/0010-0010").content == b"SANTOSO^BUDI"
    assert khanza.get(f"{path}/content/RequestAttributesSequence/0/0040-1001").content == b"RP1"
    assert khanza.json(f"{path}/content/0040-0275") == ["0"]
    assert "0010-0020" in khanza.json(f"{path}/content")
    items = [f"0040-0275/{position}/0040-1001" for position in ("1", "x", "0" * 9 + "7", "9" * 5000)]
    for wrong in ("9999-0000", "0010-0010/0/0010-0010", "0040-0275/1", "../file", *items):
        refused(khanza.get(f"{path}/content/{wrong}"), 404)
    store(site, image(2))
    shared = khanza.json(f"studies/{IDS['studies']}/shared-tags?simplify")
    assert shared["PatientID"] == NUMBER and "SOPInstanceUID" not in shared and "InstanceNumber" not in shared
    both = khanza.json(f"series/{IDS['series']}/instances-tags?simplify")
    assert [each["InstanceNumber"] for each in both.values()] == ["1", "2"]
    assert khanza.json(f"studies/{IDS['studies']}/module?simplify")["StudyDescription"] == "Thorax"
    assert khanza.json(f"studies/{IDS['studies']}/module-patient?simplify")["PatientID"] == NUMBER
    Instance.objects.update(removed_at=timezone.now())
    assert khanza.json(f"studies/{IDS['studies']}")["MainDicomTags"]["StudyDescription"] == "Thorax"
    for what in ("module", "module-patient"):
        refused(khanza.get(f"studies/{IDS['studies']}/{what}"), 404)


def test_metadata_statistics_and_attachments(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    metadata = khanza.json(f"instances/{IDS['instances']}/metadata?expand")
    assert metadata["TransferSyntax"] == "1.2.840.10008.1.2.1" and metadata["IndexInSeries"] == "1"
    assert khanza.json(f"instances/{IDS['instances']}/metadata") == sorted(metadata)
    assert khanza.get(f"instances/{IDS['instances']}/metadata/TransferSyntax").content == b"1.2.840.10008.1.2.1"
    refused(khanza.get(f"instances/{IDS['instances']}/metadata/None"), 404)
    assert khanza.json(f"studies/{IDS['studies']}/metadata") == ["LastUpdate"]
    found = khanza.json(f"patients/{IDS['patients']}/statistics")
    assert (found["CountStudies"], found["CountSeries"], found["CountInstances"]) == (1, 1, 1)
    assert int(found["DiskSize"]) > 500
    assert khanza.json(f"instances/{IDS['instances']}/attachments") == ["dicom"]
    size = int(khanza.get(f"instances/{IDS['instances']}/attachments/dicom/size").content)
    assert len(body(khanza.get(f"instances/{IDS['instances']}/attachments/dicom/data"))) == size
    refused(khanza.get(f"instances/{IDS['instances']}/attachments/dicom-as-json"), 404)
    assert khanza.json("statistics")["CountInstances"] == 1
    assert b"orthanc_count_studies 1 " in khanza.get("tools/metrics-prometheus").content


def test_files_and_archives(khanza: OrthancProgram, site: Site) -> None:
    store(site, image(1))
    store(site, image(2))
    response = khanza.get(f"instances/{IDS['instances']}/file", accept="image/jpeg")
    assert response.status_code == 200
    assert pydicom.dcmread(io.BytesIO(body(response))).SOPInstanceUID == OBJECT
    for path in (
        f"studies/{IDS['studies']}/archive",
        f"series/{IDS['series']}/media",
        f"patients/{IDS['patients']}/archive",
    ):
        names = zipfile.ZipFile(io.BytesIO(body(khanza.get(path)))).namelist()
        assert len([name for name in names if name.startswith("DICOM/")]) == 2 and "DICOMDIR" in names
    assert body(khanza.post(f"studies/{IDS['studies']}/archive", {"Synchronous": True}))[:2] == b"PK"
    refused(khanza.post(f"studies/{IDS['studies']}/archive", {"Asynchronous": True}), 501, 2)
    archive = body(khanza.post("tools/create-archive", {"Resources": [IDS["instances"], IDS["series"]]}))
    assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == 4
    for wrong in ([], [1], {"Resources": "x"}, None):
        refused(khanza.post("tools/create-archive", wrong), 400)
    refused(khanza.post("tools/create-archive", [sha1("nobody")]), 404)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", "PNG"), ("*/*", "PNG"), ("image/jpeg", "JPEG"), ("image/png", "PNG"), ("text/html", "PNG"), ("x", "PNG")],
)
def test_pictures_whatever_accept_says(khanza: OrthancProgram, site: Site, accept: str, kind: str) -> None:
    store(site, image())
    for what in (
        "preview",
        "rendered?width=8&height=8",
        "frames/0/preview",
        "frames/0/rendered?window-center=9&window-width=5",
    ):
        response = khanza.get(f"instances/{IDS['instances']}/{what}", accept=accept)
        assert response.status_code == 200, response.content
        picture = Image.open(io.BytesIO(response.content))
        assert picture.format == kind
        assert picture.size == ((8, 8) if "width=8" in what else (16, 16))
    assert khanza.json(f"instances/{IDS['instances']}/frames") == [0]
    assert len(khanza.get(f"instances/{IDS['instances']}/frames/0/raw").content) == 512
    for wrong in ("frames/1/preview", "frames/x/preview", "frames/-1/raw", "frames/99999999999/rendered"):
        refused(khanza.get(f"instances/{IDS['instances']}/{wrong}"), 404)
    refused(khanza.get(f"instances/{IDS['instances']}/rendered?width=x"), 400)


def test_an_object_without_pixels_has_no_picture(khanza: OrthancProgram, site: Site) -> None:
    stored = store(site, real("reportsi.dcm").read_bytes())
    (name,) = khanza.json("instances")
    refused(khanza.get(f"instances/{name}/preview", accept="image/jpeg"), 415)
    assert khanza.json(f"instances/{name}/frames") == []
    assert khanza.json(f"instances/{name}")["MainDicomTags"]["SOPInstanceUID"] == stored.sop_instance_uid


def test_deleting_a_study_needs_its_scope_and_can_be_undone(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    store(site, part10(ct(StudyInstanceUID=f"{STUDY}.2")))
    reader = OrthancProgram(scopes=["studies.read", "studies.write"], name="reader")
    refused(reader.delete(f"studies/{IDS['studies']}"), 403)
    answer = khanza.delete(f"instances/{IDS['instances']}").json()  # all that its study holds
    assert answer["RemainingAncestor"]["ID"] == IDS["patients"]
    assert Study.objects.get(study_instance_uid=STUDY).deleted_at is not None
    for level, name in IDS.items():
        if level != "patients":
            refused(khanza.get(f"{level}/{name}"), 404, 17)
    store(site, part10(ct(StudyInstanceUID=f"{STUDY}.2")))
    assert khanza.delete(f"patients/{IDS['patients']}").json() == {"RemainingAncestor": None}
    assert khanza.json("studies") == khanza.json("patients") == []
    refused(khanza.delete(f"patients/{IDS['patients']}"), 404)


def test_another_sites_objects_are_nowhere(khanza: OrthancProgram, site: Site) -> None:
    store(make_site(), image())
    registrar.catch_up()
    for level, name in IDS.items():
        refused(khanza.get(f"{level}/{name}"), 404, 17)
        assert khanza.json(level) == []
    assert khanza.told("tools/lookup", NUMBER) == []
    assert khanza.json("changes")["Changes"] == []


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "a" * 10_000,
        "0b834efd-42f76568-96fd5623-2a7bc3b5-0073b53D",
        "'--",
        "٣" * 44,
    ],
)
def test_what_does_not_exist_is_404(khanza: OrthancProgram, name: str) -> None:
    for level in IDS:
        refused(khanza.get(f"{level}/{name}"), 404, 17)
        refused(khanza.get(f"{level}/{name}/metadata"), 404, 17)
    refused(khanza.get(f"instances/{name}/file"), 404)
    refused(khanza.post(f"studies/{name}/modify", {"Replace": {"AccessionNumber": "1"}}), 404)
    refused(khanza.delete(f"studies/{name}"), 404)
    refused(khanza.get(f"nowhere/{name}"), 404)


def test_who_may_come_in(khanza: OrthancProgram, site: Site) -> None:
    response = Client().get("/orthanc/system")
    assert refused(response, 401) and response["WWW-Authenticate"].startswith("Basic")
    assert Client(headers={"Authorization": f"Bearer {khanza.token}"}).get("/orthanc/system").status_code == 200
    person = Client()
    person.force_login(make_user("doctor", role="doctor"))
    assert person.get("/orthanc/studies").status_code == 200
    nothing = OrthancProgram(scopes=["orders.write"], name="orders")
    refused(nothing.get("studies"), 403)
    refused(OrthancProgram(scopes=["studies.read"], name="reads").post("instances", image()), 403)
    assert khanza.json("system")["DicomAet"] == "MINIPACS"
    assert person.get("/orthanc", follow=True).status_code == 200
    refused(khanza.get("tools/find"), 405)


def test_changes_tell_what_is_new_and_what_became_stable(
    khanza: OrthancProgram, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert khanza.json("changes") == {"Changes": [], "Done": True, "Last": 0}
    store(site, image(1))
    first = khanza.json("changes")
    assert [each["ChangeType"] for each in first["Changes"]] == ["NewInstance", "NewSeries", "NewStudy", "NewPatient"]
    assert first["Changes"][2]["ID"] == IDS["studies"] and first["Changes"][2]["Path"] == f"/studies/{IDS['studies']}"
    store(site, image(2))
    store(site, image(2))
    later = khanza.json("changes", {"since": first["Last"]})
    assert [each["ChangeType"] for each in later["Changes"]] == ["NewInstance"]
    assert khanza.json("changes", {"since": 0, "limit": 2})["Done"] is False
    assert khanza.json("changes?last")["Changes"] == later["Changes"]
    assert khanza.json("changes", {"since": later["Last"]}) == {"Changes": [], "Done": True, "Last": later["Last"]}
    OrthancUnsettled.objects.update(at="2020-01-01T00:00:00Z")
    stable = khanza.json("changes", {"since": later["Last"]})
    assert [each["ChangeType"] for each in stable["Changes"]] == ["StableSeries", "StableStudy", "StablePatient"]
    Study.objects.update(updated_at="2020-01-01T00:00:00Z")
    Series.objects.update(updated_at="2020-01-01T00:00:00Z")
    assert khanza.json(f"studies/{IDS['studies']}")["IsStable"] is True


def test_what_was_there_before_is_written_down_in_the_background(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    OrthancArrival.objects.all().delete()  # as if it had been stored by an older version
    refused(khanza.get(f"studies/{IDS['studies']}"), 404)
    OrthancArrival.objects.create(studies=[Study.objects.get().pk], is_backlog=True)
    assert registrar.work_off_backlog(seconds=5) is False
    assert khanza.json(f"instances/{IDS['instances']}")["ID"] == IDS["instances"]
    assert OrthancResource.objects.count() == 4


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        ("patients/{patients}", 9),
        ("studies/{studies}", 9),
        ("series/{series}", 9),
        ("instances/{instances}", 8),
        ("series/{series}/instances", 7),
        ("studies/{studies}/statistics", 8),
        ("instances/{instances}/preview", 6),
        ("studies?expand", 7),
        ("instances", 4),
        ("changes", 9),
        ("statistics", 6),
        ("tools/find", 8),
    ],
)
def test_the_number_of_queries_is_fixed(
    khanza: OrthancProgram, site: Site, path: str, queries: int, django_assert_max_num_queries: Any
) -> None:
    for number in range(3):
        store(site, image(number + 1))
        store(site, part10(ct(StudyInstanceUID=f"{STUDY}.{number}", PatientID=f"P{number}")))
    registrar.catch_up()
    with django_assert_max_num_queries(queries):
        if path == "tools/find":
            assert len(khanza.told(path, {"Level": "Study", "Expand": True, "Query": {"PatientID": "*"}})) == 4
        else:
            assert khanza.get(path.format(**IDS)).status_code == 200


def test_storing_costs_one_statement_more_for_a_batch(site: Site, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        registrar.arrived(instances=range(1, 65))
    registrar.arrived()
    assert OrthancArrival.objects.count() == 1

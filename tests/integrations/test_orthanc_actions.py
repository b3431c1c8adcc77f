"""What the Orthanc-shaped REST takes: uploads, searches, corrections; and what it says where it does nothing."""

import io
import json
import zipfile
from typing import Any

import pydicom
import pytest
from django.test import Client

from pacs.models import Correction, Study
from radiology.models import AuditEvent, Site
from tests.factories import make_patient, make_site, make_user
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.django_db
STUDY, MRN = "1.2.826.0.1.88", "MRN-1001"
NAME = sha1(MRN, STUDY)


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


def image(**attributes: Any) -> bytes:
    fixed = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1", "SOPInstanceUID": f"{STUDY}.1.1"}
    return part10(ct(**{**fixed, **attributes}))


@pytest.mark.parametrize("path", ["instances", "studies"])
@pytest.mark.parametrize("kind", ["application/dicom", "", "text/plain", "application/json", "image/jpeg"])
def test_an_object_is_stored_whatever_its_type_is_said_to_be(khanza: OrthancProgram, path: str, kind: str) -> None:
    answer = khanza.post(path, image(), kind).json()
    assert answer == {
        "ID": sha1(MRN, STUDY, f"{STUDY}.1", f"{STUDY}.1.1"),
        "ParentPatient": sha1(MRN),
        "ParentSeries": sha1(MRN, STUDY, f"{STUDY}.1"),
        "ParentStudy": NAME,
        "Path": f"/instances/{sha1(MRN, STUDY, f'{STUDY}.1', f'{STUDY}.1.1')}",
        "Status": "Success",
    }
    again = khanza.post(path, image(), kind).json()
    assert again == {**answer, "Status": "AlreadyStored"}
    assert AuditEvent.objects.filter(event="orthanc.store").count() == 2


def test_what_contradicts_is_filtered_out_and_what_is_no_dicom_is_refused(khanza: OrthancProgram) -> None:
    khanza.post("instances", image())
    other = khanza.post("instances", image(PatientID="OTHER", SOPInstanceUID=f"{STUDY}.1.2")).json()
    assert other["Status"] == "FilteredOut" and other["ID"] == ""
    for wrong in (b"", b"nothing", b"{}", image()[:800], b"PK\x03\x04 no zip"):
        refused(khanza.post("instances", wrong), 400)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.dcm", image(SOPInstanceUID=f"{STUDY}.1.3"))
        archive.writestr("../../d.dcm", image(SOPInstanceUID=f"{STUDY}.1.5"))
        archive.writestr("b.txt", "text")
        archive.writestr("c.dcm", image(SOPInstanceUID=f"{STUDY}.1.4")[:800])
    found = khanza.post("instances", buffer.getvalue()).json()
    assert sorted(each["Status"] for each in found) == ["Failure", "Failure", "Success"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"Level": "Study", "Query": {}}, ["CHEST", "HEAD"]),
        ({"Level": "study", "Query": {"PatientID": "001*"}}, ["HEAD"]),
        ({"Level": "Study", "Query": {"PatientName": "siti*"}}, ["HEAD"]),
        ({"Level": "Study", "Query": {"PatientName": "siti*"}, "CaseSensitive": True}, []),
        ({"Level": "Study", "Query": {"PatientName": "SITI*"}, "CaseSensitive": True}, ["HEAD"]),
        ({"Level": "Study", "Query": {"0010,0020": MRN}}, ["CHEST"]),
        ({"Level": "Study", "Query": {"0010-0020": MRN, "StudyDate": "20260101-"}}, ["CHEST"]),
        ({"Level": "Study", "Query": {"ModalitiesInStudy": "MR"}}, ["HEAD"]),
        ({"Level": "Study", "Query": {"Modality": "MR"}}, ["HEAD"]),
        ({"Level": "Study", "Query": {"StudyDescription": "?EAD"}}, ["HEAD"]),
        ({"Level": "Study", "Query": {}, "Limit": 1}, ["HEAD"]),
        ({"Level": "Study", "Query": {}, "Limit": 5, "Since": 1}, ["CHEST"]),
        ({"Level": "Study", "Query": {"PatientName": "*"}, "Since": 1, "CaseSensitive": True}, ["CHEST"]),
        ({"Level": "Study", "Query": {}, "Labels": ["x"]}, []),
        ({"Level": "Study", "Query": {}, "Labels": ["x"], "LabelsConstraint": "None"}, ["CHEST", "HEAD"]),
        ({"Level": "Study", "Query": {"PatientID": "'; DROP TABLE"}}, []),
    ],
)
def test_studies_are_found(khanza: OrthancProgram, site: Site, query: dict[str, Any], found: list[str]) -> None:
    store(site, part10(ct(StudyDescription="CHEST")))
    head = ct(StudyDescription="HEAD", PatientID="001234", PatientName="SITI", Modality="MR", StudyDate="20260301")
    store(site, part10(head))
    store(make_site(), part10(ct(StudyDescription="ELSEWHERE")))
    answer = khanza.told("tools/find", {**query, "Expand": True})
    assert sorted(each["MainDicomTags"]["StudyDescription"] for each in answer) == found
    assert len(khanza.told("tools/find", query)) == len(found)


def test_forms_of_what_is_found(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    asked = {"Level": "Instance", "Query": {"StudyInstanceUID": STUDY}, "Expand": True}
    (short,) = khanza.told("tools/find", {**asked, "Short": True})
    assert short["MainDicomTags"]["0008,0018"] == f"{STUDY}.1.1"
    (full,) = khanza.told("tools/find", {**asked, "Full": True, "RequestedTags": ["PatientID", "0020,000d"]})
    assert full["MainDicomTags"]["0020,0013"] == {"Name": "InstanceNumber", "Type": "String", "Value": "1"}
    assert full["RequestedTags"]["0020,000d"]["Value"] == STUDY
    (found,) = khanza.told("tools/lookup", f" {STUDY}\n")
    assert found == {"ID": NAME, "Path": f"/studies/{NAME}", "Type": "Study"}
    assert [each["Type"] for each in khanza.told("tools/lookup", MRN)] == ["Patient"]
    refused(khanza.post("tools/lookup", "x" * 2000), 413)
    assert khanza.get("tools/generate-uid?level=study").content.startswith(b"2.25.")
    refused(khanza.get("tools/generate-uid"), 400)
    assert len(khanza.get("tools/now").content) == len(khanza.get("tools/now-local").content) == 15


@pytest.mark.parametrize(
    "wrong",
    [
        "x", "[]", "3", "null", "{}", '{"Level":"Study"}', '{"Level":"Study","Query":[]}', "{" * 100_000,
        '{"Level":"Study","Query":{"NoSuch":"x"}}', '{"Level":"Study","Query":{"PatientID":3}}',
        '{"Level":"Study","Query":{"PatientID":{"a":1}}}', '{"Level":"Study","Query":{},"Limit":"1"}',
        '{"Level":"Study","Query":{},"Limit":-1}', '{"Level":"Study","Query":{},"Expand":"yes"}',
        '{"Level":"Study","Query":{"StudyDate":"x"}}', '{"Level":{},"Query":{}}', b"\xff\xfe\x00", b"\x00",
    ],
)  # fmt: skip
def test_searches_that_make_no_sense_are_refused(khanza: OrthancProgram, wrong: Any) -> None:
    refused(khanza.post("tools/find", wrong), 400)


def test_what_cannot_be_searched_for_is_said_and_not_ignored(khanza: OrthancProgram) -> None:
    for query in ({"Level": "Study", "Query": {"PixelSpacing": "1"}}, {"Level": "Study", "Query": {}, "OrderBy": [{}]}):
        refused(khanza.post("tools/find", query), 501, 2)


def test_a_study_is_corrected_under_its_identifier(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    changes = {"AccessionNumber": "PR1", "0008,1030": "CT Thorax"}
    answer = khanza.told(f"studies/{NAME}/modify", {"Replace": changes, "KeepSource": False})
    assert answer["ID"] == NAME and answer["Path"] == f"/studies/{NAME}" and answer["InstancesCount"] == 1
    assert answer["PatientID"] == sha1(MRN) and answer["Type"] == "Study"
    file = khanza.get(f"instances/{sha1(MRN, STUDY, f'{STUDY}.1', f'{STUDY}.1.1')}/file")
    sent = pydicom.dcmread(io.BytesIO(body(file)))
    assert (sent.AccessionNumber, sent.StudyDescription) == ("PR1", "CT Thorax")
    series = sha1(MRN, STUDY, f"{STUDY}.1")
    khanza.told(f"series/{series}/modify", {"Replace": {"SeriesDescription": "axial"}, "KeepSource": False})
    assert khanza.json(f"series/{series}")["MainDicomTags"]["SeriesDescription"] == "axial"
    assert Correction.objects.count() == 2


def test_a_study_is_given_to_a_registered_patient(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    make_patient("001234", "ANI")
    asked = {"Replace": {"PatientID": "001234", "StudyID": "9"}, "Force": True, "KeepSource": False}
    answer = khanza.told(f"studies/{NAME}/modify", asked)
    assert answer["ID"] == sha1("001234", STUDY) and answer["PatientID"] == sha1("001234")
    assert khanza.json(f"studies/{NAME}")["PatientMainDicomTags"]["PatientName"] == "ANI"
    make_patient("7"), make_patient("7", "BUDI", issuer_of_patient_id="OTHER")
    refused(khanza.post(f"studies/{NAME}/modify", {**asked, "Replace": {"PatientID": "7", "StudyID": "1"}}), 409)
    assert Study.objects.get().study_id == "9"  # all of it, or nothing


def test_corrections_that_are_not_made_say_so_and_change_nothing(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    series = sha1(MRN, STUDY, f"{STUDY}.1")
    given: Any
    for given, status in (
        ({"Replace": {"StudyInstanceUID": "1.2"}, "KeepSource": False}, 400),  # without Force
        ({"Replace": {"PatientID": "nobody"}, "KeepSource": False}, 400),
        ({"Remove": "StudyID", "Replace": {"AccessionNumber": "1"}, "KeepSource": False}, 400),
        ({"Replace": [], "KeepSource": False}, 400),
        ({"Replace": {"AccessionNumber": "1" * 17}, "KeepSource": False}, 400),
        ({"Replace": {"AccessionNumber": True}, "KeepSource": False}, 400),
        ({"Replace": {"NoSuch": "1"}, "KeepSource": False}, 400),
        ({"Replace": {"StudyDate": "yesterday"}, "KeepSource": False}, 400),
        ({"Replace": {"AccessionNumber": "1"}, "KeepSource": "no"}, 400),
        ([], 400),
    ):
        refused(khanza.post(f"studies/{NAME}/modify", given), status)
    reader = OrthancProgram(scopes=["studies.read"], name="reads")
    refused(reader.post(f"studies/{NAME}/modify", {"Replace": {"AccessionNumber": "1"}, "KeepSource": False}), 403)
    others: list[tuple[str, Any, int]] = [
        (f"studies/{NAME}/merge", {"Resources": [NAME], "KeepSource": False}, 404),
        (f"studies/{NAME}/merge", {"Resources": [sha1("x")], "KeepSource": False}, 404),
        (f"studies/{NAME}/merge", {"Resources": [series], "KeepSource": True}, 404),  # its own study
        (f"studies/{NAME}/merge", {"Resources": [sha1(MRN)]}, 404),
        (f"studies/{NAME}/merge", {"Resources": [series], "KeepSource": "no"}, 400),
        (f"studies/{NAME}/merge", {"Resources": []}, 400),
        (f"studies/{NAME}/split", {"Series": [sha1("x")], "KeepSource": False}, 404),
        (f"studies/{NAME}/split", {"Instances": "x"}, 400),
        (f"studies/{NAME}/split", {}, 400),
        (f"studies/{NAME}/split", {"Series": [], "KeepSource": False}, 400),
        (f"studies/{NAME}/split", {"Series": [series], "KeepSource": True, "Keep": ["SOPInstanceUID"]}, 501),
        (f"studies/{NAME}/split", {"Series": [series], "Replace": {"SeriesNumber": "1"}}, 400),
        (f"studies/{NAME}/split", {"Series": [series], "Replace": {"StudyInstanceUID": "1.2"}, "Force": True}, 400),
        (f"studies/{NAME}/split", {"Series": [series], "Remove": ["NoSuch"]}, 400),
    ]
    for path, given, status in others:
        refused(khanza.post(path, given), status)
    assert not Correction.objects.exists()
    assert Study.objects.get().accession_number == "ACC1"


def test_the_address_of_orthancs_viewer_leads_to_ours(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    path = "/orthanc/web-viewer/app/viewer.html?series="
    series = sha1(MRN, STUDY, f"{STUDY}.1")
    assert "/accounts/login/" in Client().get(path + series)["Location"]
    person = Client()
    person.force_login(make_user("doctor", role="doctor"), backend="django.contrib.auth.backends.ModelBackend")
    assert person.get(path + series)["Location"] == (
        f"/viewer?StudyInstanceUIDs={STUDY}&initialSeriesInstanceUID={STUDY}.1"
    )
    for wrong in ("", "x" * 5000, sha1("nobody"), "//evil.example"):
        assert person.get(path + wrong).status_code == 404


def test_what_orthanc_does_and_we_do_not_is_501_with_a_reason(khanza: OrthancProgram, site: Site) -> None:
    store(site, image())
    for path in (
        "tools/reset", "tools/shutdown", "tools/execute-script"
    ):  # fmt: skip
        assert refused(khanza.post(path, {}), 501, 2)
        assert json.loads(khanza.post(path, {}).content)["HttpError"] == "Not Implemented"
    refused(khanza.client.put(f"/orthanc/studies/{NAME}/labels/urgent", ""), 501)
    refused(khanza.client.put(f"/orthanc/patients/{sha1(MRN)}/protected", "1"), 501)
    refused(khanza.delete("changes"), 501)
    assert khanza.told(f"studies/{NAME}/reconstruct") == {}
    assert khanza.json("plugins") == ["dicom-web"]

"""The same questions to a real Orthanc and to ours, field by field; `pyorthanc` as it comes, and what Khanza asks."""

import io
import json
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pyorthanc
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image

from radiology.models import Scope, Site
from radiology.services.access import issue_token
from tests.daemons import Daemon, free_port, web_daemon
from tests.integrations.orthanc_server import real_orthanc
from tests.pacs.objects import ct, part10, real

STUDY = "1.2.826.0.1.99"

# Each server's own clock, which now and then says the same.
OF_THE_CLOCK = r"\S+ \S+: (\d+\.)?LastUpdate"
# Where our answer is another, and why: the question, and the place in the answer.
DIFFERENCES = {
    r"\S+ \S+: (\d+\.)?Labels only ours": "Labels came with Orthanc 1.12; Debian has 1.10. There are none here.",
    r"\S+ \S+: (\d+\.)?FileUuid": "A name within Orthanc's own storage.",
    r"\S+ \S+: (\d+\.)?FileSize": "File meta information is written anew by this archive.",
    r"GET \S*statistics: \w*(DiskSize|UncompressedSize)": "Sizes here are those of the data sets, without file meta.",
    r"GET instances/\S+/metadata: ": "Origin, PixelDataOffset and the like are not kept.",
    r"GET series/\S+/metadata: ": "RemoteAET is told only where a device sent the series.",
    r"GET \S+/module\?simplify: ": "A module here is the main tags of the level.",
    r"GET \S+/content/\S+: \. \"b'.* '\" ": "Orthanc gives the value with the space that makes its length even.",
    r"GET \w+/\S+/instances: \d+.MainDicomTags.\w+ only theirs":
        "In lists of objects only what the database holds; an object by itself has them all.",
    r"\S+ \S+: (PatientMainDicomTags|MainDicomTags).OtherPatientIDs only ours":
        "Numbers out of OtherPatientIDsSequence are among them.",
    r"GET instances/\S+/tags\S*: [0-9a-f]{3}[13579bdf],": "Private attributes have names and values in DCMTK only.",
    r"POST tools/find: \. '\[\]' ": "Names are compared without accents here; Orthanc drops letters with accents.",
    r"GET system: ": "It is another server.",
    r"\S+ \S+: Details": "Errors always have details here.",
    r"GET studies/x: ": "Orthanc's own 404 of a resource has an empty body.",
}  # fmt: skip


@pytest.fixture(scope="module")
def real_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield url


@pytest.fixture(scope="module")
def orthanc_server(django_db_setup: None) -> Iterator[Daemon]:
    """Gunicorn with both of its ports."""
    daemon = web_daemon(SINAR_ORTHANC_PORT=str(free_port())).start()
    yield daemon
    daemon.stop()


@pytest.fixture
def token(committed_db: None) -> str:
    return issue_token(name="khanza", scopes=list(Scope.values), site=Site.objects.default())[1]


@pytest.fixture
def root(orthanc_server: Daemon) -> str:
    return f"http://127.0.0.1:{orthanc_server.environment['SINAR_ORTHANC_PORT']}"


@pytest.fixture
def ours(root: str, token: str) -> pyorthanc.Orthanc:
    return pyorthanc.Orthanc(root, "any name", token)


def files() -> dict[str, bytes]:
    item = pydicom.Dataset()
    item.RequestedProcedureID = "RP1"
    fixed = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1", "StudyDescription": "Thorax"}
    return {
        "one": part10(
            ct(**fixed, SOPInstanceUID=f"{STUDY}.1.1", ImageComments="héllo", PixelSpacing=["0.50", "0.5"],
               InstitutionName="RSUD", RequestAttributesSequence=[item], OperatorsName="A^B")
        ),
        "two": part10(ct(**fixed, SOPInstanceUID=f"{STUDY}.1.2", InstanceNumber=2, InstitutionName="RSUD")),
        "other": part10(ct(StudyInstanceUID=f"{STUDY}.9", SeriesInstanceUID=f"{STUDY}.9.1", PatientID="P 2 ",
                           SOPInstanceUID=f"{STUDY}.9.1.1", PatientName="ZAÏD^ANI", Modality="MR")),
        "real": real("CT_small.dcm").read_bytes(),
    }  # fmt: skip


class Both:
    """Asks both, and keeps how the answers differ."""

    def __init__(self, theirs: str, ours: str, token: str) -> None:
        self.roots = {"theirs": theirs, "ours": ours}
        self.auth = ("khanza", token)
        self.differences: list[str] = []

    def ask(self, method: str, path: str, body: bytes | str | None = None) -> dict[str, Any]:
        found = {}
        for name, root in self.roots.items():
            auth = self.auth if name == "ours" else None
            response = requests.request(method, f"{root}/{path}", data=body, auth=auth, timeout=60)
            try:
                found[name] = (response.status_code, json.loads(response.content))
            except ValueError:
                found[name] = (response.status_code, response.content)
        label = f"{method} {path}"
        if found["theirs"][0] != found["ours"][0]:
            self.differences.append(f"{label}: status {found['theirs'][0]} {found['ours'][0]}")
        self.differences += [f"{label}: {each}" for each in differing(found["theirs"][1], found["ours"][1])]
        return {name: answer for name, (_, answer) in found.items()}


def differing(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            inner = f"{path}.{key}" if path else key
            if key not in theirs or key not in ours:
                yield f"{inner} {'only ours' if key in ours else 'only theirs'}"
            else:
                yield from differing(theirs[key], ours[key], inner)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differing(one, other, f"{path}.{number}" if path else str(number))
    elif theirs != ours:
        yield f"{path or '.'} {str(theirs)[:80]!r} {str(ours)[:80]!r}"


def test_answers_are_those_of_a_real_orthanc(real_one: str, root: str, token: str) -> None:
    both = Both(real_one, root, token)
    for file in files().values():
        both.ask("POST", "instances", file)
    both.ask("POST", "instances", files()["two"])
    listed = {
        level: sorted(requests.get(f"{real_one}/{level}", timeout=30).json())
        for level in ("patients", "studies", "series", "instances")
    }
    private = {pyorthanc.util.to_orthanc_instance_id_from_ds(pydicom.dcmread(io.BytesIO(files()["real"])))}
    private |= {each["ID"] for name in private for each in parents(real_one, name)}
    for level, names in listed.items():
        answer = requests.get(f"{root}/{level}", auth=both.auth, timeout=30).json()
        assert sorted(answer) == names, level
        for name in names:
            path = f"{level}/{name}"
            whats = ["", "/metadata", "/statistics", "/module?simplify"]
            if level == "instances":
                whats += ["/tags", "/simplified-tags", "/tags?short", "/frames", "/attachments", "/study", "/content"]
                whats += ["/content/0010-0010", "/content/PatientID", "/metadata/TransferSyntax", "/tags?simplify"]
            else:
                whats += ["/shared-tags?simplify", "/instances"]
            for what in whats:
                # Where names of private attributes are keys, there is nothing to compare.
                if name not in private or not re.search(r"shared-tags|simplified-tags|tags\?s|/content$", what):
                    both.ask("GET", path + what)
    query: Any
    for query in (
        {"Level": "Study", "Query": {"PatientID": "MRN*"}},
        {"Level": "Study", "Query": {"PatientName": "santoso*"}},
        {"Level": "Study", "Query": {"PatientName": "santoso*"}, "CaseSensitive": True},
        {"Level": "Study", "Query": {"0008,0020": "20260101-20260131", "AccessionNumber": "ACC1", "PatientID": "P 2"}},
        {"Level": "Series", "Query": {"Modality": "MR"}, "Expand": True},
        {"Level": "Instance", "Query": {"SOPInstanceUID": f"{STUDY}.1.2"}, "Expand": True},
        {"Level": "Patient", "Query": {"PatientName": "ZA?D*"}, "Expand": True, "Limit": 1},
        {"Level": "Study", "Query": {"StudyInstanceUID": f"{STUDY}\\1.2.3"}, "Short": True, "Expand": True},
        {"Level": "Study", "Query": {"StudyInstanceUID": STUDY}, "Full": True, "Expand": True},
        {"Level": "Study", "Query": {"PatientID": "nobody"}},
        {"Level": "Foo", "Query": {}},
        {"Level": 3, "Query": {}},
        {"Query": {}},
        [],
    ):
        both.ask("POST", "tools/find", json.dumps(query))
    for body in (STUDY, "MRN-1001", f"{STUDY}.1", "nobody", ""):
        both.ask("POST", "tools/lookup", body)
    for path in ("statistics", "peers", "queries", "exports", "modalities", "system", "studies/x", "nowhere"):
        both.ask("GET", path)
    both.ask("POST", "instances", b"no DICOM")
    explained = (*DIFFERENCES, OF_THE_CLOCK)
    unexplained = [each for each in both.differences if not any(re.match(pattern, each) for pattern in explained)]
    assert not unexplained, "\n".join(unexplained)
    unused = [pattern for pattern in DIFFERENCES if not any(re.match(pattern, each) for each in both.differences)]
    assert not unused, unused  # what is no difference any more is told no longer


def parents(root: str, instance: str) -> list[dict[str, Any]]:
    levels = ("series", "study", "patient")
    return [requests.get(f"{root}/instances/{instance}/{level}", timeout=30).json() for level in levels]


def test_pyorthanc_works_as_it_comes(ours: pyorthanc.Orthanc, tmp_path: Path) -> None:
    contents = files()
    (tmp_path / "one.dcm").write_bytes(contents["one"])
    (uploaded,) = pyorthanc.upload(ours, str(tmp_path / "one.dcm"))
    assert uploaded.uid == f"{STUDY}.1.1"
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for name in ("two", "other"):
            archive.writestr(f"{name}.dcm", contents[name])
    assert len(pyorthanc.upload(ours, str(tmp_path / "more.zip"))) == 2
    assert len(pyorthanc.upload(ours, str(tmp_path / "one.dcm"), check_before_upload=True)) == 1
    assert ours.post_instances(contents["one"])["Status"] == "AlreadyStored"
    (study,) = pyorthanc.find_studies(ours, {"PatientID": "MRN-1001"})
    assert study.id_ == pyorthanc.util.to_orthanc_study_id("MRN-1001", STUDY)
    assert (study.accession_number, study.description, study.institution_name) == ("ACC1", "Thorax", "RSUD")
    assert study.date.year == 2026 and study.is_stable is False and study.labels == []
    (series,) = study.series
    assert (series.modality, series.series_number, series.operators_name) == ("CT", 1, "A^B")
    one, two = series.instances
    assert one.image_comments == "héllo" and two.instance_number == 2
    assert one.get_pydicom().PatientName == "SANTOSO^BUDI"
    assert one.get_content_by_tag("PatientID") == "MRN-1001" and one.simplified_tags["Modality"] == "CT"
    assert zipfile.ZipFile(io.BytesIO(study.get_zip())).testzip() is None
    assert series.get_shared_tags(simplify=True)["StudyID"] == "1"
    patient = study.parent_patient
    assert patient.patient_id == "MRN-1001" and patient.protected is False
    assert len(patient.get_patient_module(simplify=True)) >= 4
    assert len(pyorthanc.find_patients(ours)) == 2 and len(pyorthanc.find_instances(ours, limit=2)) == 3
    assert pyorthanc.find_series(ours, labels="urgent") == []
    changed = ours.post_studies_id_modify(study.id_, json={"Replace": {"AccessionNumber": "N7"}, "KeepSource": False})
    assert changed["ID"] == study.id_ and pyorthanc.Study(study.id_, ours).accession_number == "N7"
    assert one.get_pydicom().AccessionNumber == "N7"
    assert ours.get_changes(params={"since": 0, "limit": 1})["Done"] is False
    study.client.delete_studies_id(study.id_)
    assert [each.id_ for each in pyorthanc.find_patients(ours)] == [pyorthanc.util.to_orthanc_patient_id("P 2")]


def test_khanza_asks_as_it_does_with_curl(root: str, token: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    """The calls of SIMRS Khanza's PACS module: Basic, bodies without or with the wrong type, Accept: image/jpeg."""

    def curl(*arguments: str) -> bytes:
        command = [tool("curl"), "-sS", "--fail-with-body", "-u", f"orthanc:{token}", *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    (tmp_path / "one.dcm").write_bytes(files()["one"])
    sent = json.loads(curl("--data-binary", f"@{tmp_path / 'one.dcm'}", f"{root}/instances"))
    assert sent["Status"] == "Success"
    query = '{"Level":"Study","Expand":true,"Query":{"StudyDate":"20260101-20260131","PatientID":"MRN-1001"}}'
    for header in ("Content-Type: text/plain", "Content-Type:", "Content-Type: application/json"):
        (study,) = json.loads(curl("-H", header, "-d", query, f"{root}/tools/find"))
    (series,) = study["Series"]
    (instance,) = json.loads(curl(f"{root}/series/{series}"))["Instances"]
    assert instance == sent["ID"]
    preview = curl("-H", "Accept: image/jpeg", f"{root}/instances/{instance}/preview")
    assert Image.open(io.BytesIO(preview)).format == "JPEG"
    file = curl("-H", "Accept: image/jpeg", f"{root}/instances/{instance}/file")
    assert pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID == f"{STUDY}.1.1"
    change = '{"Replace":{"AccessionNumber":"PR2026"},"KeepSource":false}'
    changed = json.loads(curl("-H", "Content-Type: text/plain", "-d", change, f"{root}/studies/{study['ID']}/modify"))
    again = json.loads(curl(f"{root}/studies/{changed['ID']}"))
    assert again["MainDicomTags"]["AccessionNumber"] == "PR2026"


def test_the_second_port_serves_orthanc_and_dicomweb_and_no_other_door(
    orthanc_server: Daemon, root: str, token: str
) -> None:
    auth = ("any", token)
    assert requests.post(f"{root}/instances", data=files()["one"], auth=auth, timeout=30).status_code == 200
    for door in ("dicom-web", "dicomweb"):
        client = DICOMwebClient(f"{root}/{door}", headers={"Authorization": f"Bearer {token}"})
        assert [each["0020000D"]["Value"] for each in client.search_for_studies()] == [[STUDY]]
        assert client.retrieve_study(STUDY)[0].PatientID == "MRN-1001"
    for path in (
        "accounts/login/", "admin/", "api/v1/studies", "worklist", "viewer", "static/sinar.css", "ohif/index.html",
        "readyz", "orthanc/system", "wado", "dicom-web/../admin/", "//admin/", "%2e%2e/admin/",
    ):  # fmt: skip
        response = requests.get(f"{root}/{path}", auth=auth, timeout=30, allow_redirects=False)
        assert response.status_code == 404, path
    assert requests.get(f"{root}/system", timeout=30).status_code == 401
    assert requests.get(root, auth=auth, timeout=30).json()["Version"].startswith("1.12")
    named = {"Host": f"127.0.0.1:{orthanc_server.port}"}  # what the header says of the port does not matter
    assert requests.get(f"{root}/admin/", auth=auth, headers=named, timeout=30).status_code == 404
    assert requests.get(f"{orthanc_server.url}/orthanc/studies", auth=auth, timeout=30).json()
    page = requests.get(f"{orthanc_server.url}/studies", auth=auth, timeout=30)
    assert page.headers["Content-Type"].startswith("text/html")
    series = pyorthanc.util.to_orthanc_series_id("MRN-1001", STUDY, f"{STUDY}.1")
    led = requests.get(f"{root}/web-viewer/app/viewer.html?series={series}", timeout=30, allow_redirects=False).headers[
        "Location"
    ]
    assert led == f"{orthanc_server.url}/orthanc/web-viewer/app/viewer.html?series={series}"
    posted = requests.post(f"{root}/tools/find/", data="{}", auth=auth, timeout=30, allow_redirects=False)
    assert posted.status_code == 404  # and no redirect, which would lose the body


def test_bodies_without_length_and_too_large(root: str, token: str) -> None:
    auth = ("any", token)
    file = files()["one"]
    chunked = requests.post(f"{root}/instances", data=iter([file[:700], file[700:]]), auth=auth, timeout=30)
    assert chunked.json()["Status"] == "Success"
    query = json.dumps({"Level": "Study", "Query": {}}).encode()
    assert len(requests.post(f"{root}/tools/find", data=iter([query]), auth=auth, timeout=30).json()) == 1
    large = requests.post(f"{root}/tools/find", data=b" " * (17 << 20), auth=auth, timeout=60)
    assert large.status_code == 413
    form = requests.post(f"{root}/instances", files={"f": ("a.dcm", file)}, auth=auth, timeout=30)
    assert [each["Status"] for each in form.json()] == ["AlreadyStored"]
    cut = requests.post(f"{root}/instances", data=file[:900], auth=auth, timeout=30)
    assert cut.status_code == 400 and cut.json()["OrthancStatus"] == 15

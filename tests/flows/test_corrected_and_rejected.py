"""What is corrected or rejected, as independent clients see it through every door."""

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.uid import generate_uid

from pacs.models import Location, Study
from pacs.services import corrections, removal
from pacs.storage import open_object
from tests.daemons import Daemon
from tests.factories import make_patient, make_token, make_user
from tests.pacs.dimse_client import Sent, associate, contexts_of, of_data_set, store_over
from tests.pacs.objects import ct, part10
from tests.pacs.test_removal import note, uids

pytestmark = pytest.mark.usefixtures("committed_db")


class Clients:
    """Everybody who looks: dcmtk's programs, dicomweb-client, plain HTTP."""

    def __init__(self, dimse: Daemon, web: Daemon, tool: Callable[[str], str], folder: Path) -> None:
        _, token = make_token(scopes=["studies.read", "studies.write"])
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.dicomweb = DICOMwebClient(f"{web.url}/dicom-web", session=self.session)
        self.dimse, self.web, self.tool, self.folder = dimse, web, tool, folder

    def send(self, objects: list[pydicom.Dataset]) -> list[int]:
        sent: list[Sent] = [of_data_set(each) for each in objects]
        association = associate(self.dimse.port, contexts_of(sent))
        statuses = [store_over(association, each, number).Status for number, each in enumerate(sent, 1)]
        association.release()
        return statuses

    def findscu(self, *keys: str) -> str:
        command = [self.tool("findscu"), "-S", *(part for key in keys for part in ("-k", key))]
        result = subprocess.run(
            [*command, "127.0.0.1", str(self.dimse.port)], capture_output=True, timeout=60, check=True
        )
        return result.stdout.decode("utf-8", "replace") + result.stderr.decode("utf-8", "replace")

    def getscu(self, study: str) -> list[pydicom.Dataset]:
        folder = self.folder / generate_uid()
        folder.mkdir()
        command = [self.tool("getscu"), "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        subprocess.run(
            [*command, "-od", ".", "+B", "127.0.0.1", str(self.dimse.port)], timeout=60, cwd=folder, check=False
        )
        return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]

    def everywhere(self, study: str) -> dict[str, list[pydicom.Dataset]]:
        """The objects of a study by each door that gives whole objects or their headers."""
        found = {"C-GET": self.getscu(study)}
        answer = self.session.get(f"{self.web.url}/dicom-web/studies/{study}", timeout=60)
        if answer.status_code == 404:
            found |= {"WADO-RS": [], "metadata": []}
            assert self.session.get(f"{self.web.url}/dicom-web/studies/{study}/metadata", timeout=60).status_code == 404
            return found
        found["WADO-RS"] = self.dicomweb.retrieve_study(study)
        metadata = self.dicomweb.retrieve_study_metadata(study)
        found["metadata"] = [pydicom.Dataset.from_json(each) for each in metadata]
        archive = self.session.get(f"{self.web.url}/api/v1/studies/{study}/archive", timeout=60)
        assert archive.status_code == 200
        with zipfile.ZipFile(BytesIO(archive.content)) as packed:
            names = [name for name in packed.namelist() if name not in {"DICOMDIR", "README.TXT"}]
            found["ZIP"] = [pydicom.dcmread(BytesIO(packed.read(name))) for name in names]
        return found


@pytest.fixture
def clients(dimse_server: Daemon, web_server: Daemon, tool: Callable[[str], str], tmp_path: Path) -> Clients:
    return Clients(dimse_server, web_server, tool, tmp_path)


def series_of_three(**attributes: str) -> list[pydicom.Dataset]:
    fixed = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [ct(**fixed, InstanceNumber=number) for number in (1, 2, 3)]


def on_disk() -> list[str]:
    found = []
    for location in Location.objects.select_related("volume").order_by("pk"):
        with open_object(location=location) as file:
            found.append(hashlib.sha256(file.read()).hexdigest())
    return found


def test_a_wrong_name_is_put_right_for_every_client_and_comes_back_with_undo(clients: Clients) -> None:
    objects = series_of_three(PatientName="SALAH^NAMA", PatientID="RM-1")
    study_uid = objects[0].StudyInstanceUID
    assert clients.send(objects) == [0, 0, 0]
    before = on_disk()
    dewi, study = make_user(role="radiographer"), Study.objects.get()
    right = make_patient("RM-2", "Lestari^Wayan", patient_birth_date="19880808", patient_sex="F")
    correction = corrections.assign_patient(who=dewi, study=study, version=study.version, patient=right)

    assert study_uid in clients.findscu("QueryRetrieveLevel=STUDY", "PatientName=LESTARI*", "StudyInstanceUID=")
    answer = clients.findscu("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_uid}", "PatientName=", "PatientID=")
    assert "Lestari^Wayan" in answer
    assert "SALAH" not in answer
    (found,) = clients.dicomweb.search_for_studies(search_filters={"PatientID": "RM-2"})
    assert found["00100010"]["Value"] == [{"Alphabetic": "Lestari^Wayan"}]
    assert clients.dicomweb.search_for_studies(search_filters={"PatientID": "RM-1"}) == []
    for door, given in clients.everywhere(study_uid).items():
        assert len(given) == 3, door
        assert {(str(each.PatientName), each.PatientID) for each in given} == {("Lestari^Wayan", "RM-2")}, door
        originals = {
            str(each.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName) for each in given
        }
        assert originals == {"SALAH^NAMA"}, door
    assert on_disk() == before

    corrections.undo(who=dewi, correction=correction)
    for door, given in clients.everywhere(study_uid).items():
        assert {(str(each.PatientName), each.PatientID) for each in given} == {("SALAH^NAMA", "RM-1")}, door
        assert not any("OriginalAttributesSequence" in each for each in given), door
    assert on_disk() == before


def test_a_rejection_note_hides_objects_from_every_client_and_a_resend_brings_none_back(clients: Clients) -> None:
    objects = series_of_three()
    study_uid = objects[0].StudyInstanceUID
    assert clients.send(objects) == [0, 0, 0]
    rejection = pydicom.dcmread(BytesIO(note(objects[:2], "113037")))
    assert clients.send([rejection]) == [0]
    left = uids(objects[2:])
    for door, given in clients.everywhere(study_uid).items():
        assert {each.SOPInstanceUID for each in given} == left, door
    image = f"{clients.web.url}/dicom-web/studies/{study_uid}/series/{objects[0].SeriesInstanceUID}/instances"
    for hidden in uids(objects[:2]) | {rejection.SOPInstanceUID}:
        for path in (hidden, f"{hidden}/frames/1", f"{hidden}/rendered", f"{hidden}/metadata"):
            assert clients.session.get(f"{image}/{path}", timeout=30).status_code == 404
        assert clients.dicomweb.search_for_instances(search_filters={"SOPInstanceUID": hidden}) == []
    assert clients.send(objects) == [0, 0, 0]
    assert clients.session.post(
        f"{clients.web.url}/dicom-web/studies",
        data=part10(objects[0]),
        headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
        timeout=30,
    ).ok
    for door, given in clients.everywhere(study_uid).items():
        assert {each.SOPInstanceUID for each in given} == left, door
    answer = clients.findscu(
        "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_uid}", "NumberOfStudyRelatedInstances="
    )
    assert "[1 ]" in answer

    removal.restore(who=make_user(role="radiographer"), removal=Study.objects.get().removals.get())
    for door, given in clients.everywhere(study_uid).items():
        assert {each.SOPInstanceUID for each in given} == uids(objects), door


def test_a_deleted_study_is_in_no_door(clients: Clients) -> None:
    objects = series_of_three()
    clients.send(objects)
    chief = make_user("chief", is_superuser=True)
    found = removal.delete_study(who=chief, study=Study.objects.get(), reason="test study")
    assert all(given == [] for given in clients.everywhere(objects[0].StudyInstanceUID).values())
    removal.restore(who=chief, removal=found)
    assert {len(given) for given in clients.everywhere(objects[0].StudyInstanceUID).values()} == {3}

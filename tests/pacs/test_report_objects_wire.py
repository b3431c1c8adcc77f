"""Other programs find and fetch a report in its study: dcmtk over DICOM, DICOMweb; and two workers make one of it."""

import json
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from django.test import Client
from pydicom import Dataset, dcmread

from pacs.models import HeldObject, Instance, ReportObject
from pacs.services import report_objects
from radiology.models import Job, JobState, Role, User
from radiology.services import jobs
from tests.daemons import Daemon
from tests.factories import make_user
from tests.pacs.dicomweb import body
from tests.pacs.reported import files_of, imaged, ordered, work, written
from tests.pacs.test_report_measurements import LENGTH, link, sign
from tests.threads import run_all

Tool = Callable[[str], str]


@pytest.fixture(autouse=True)
def _committed(committed_db: None) -> None:
    """The daemon sees what tests write."""


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


def ask(program: str, port: int, folder: Path, *more: str, **keys: str) -> list[Dataset]:
    arguments = [part for name, value in keys.items() for part in ("-k", f"{name}={value}")]
    command = [program, "-S", *arguments, "-od", str(folder), *more, "127.0.0.1", str(port)]
    subprocess.run(command, check=True, timeout=60, capture_output=True, cwd=folder)
    return [dcmread(path, force=True) for path in sorted(folder.iterdir())]


def test_findscu_getscu_and_dicomweb_have_the_report(
    dimse_server: Daemon, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    procedure = ordered()
    study = imaged(procedure)
    written(procedure, radiologist)
    work()
    uid = study.study_instance_uid
    found, fetched = tmp_path / "found", tmp_path / "fetched"
    found.mkdir()
    fetched.mkdir()
    answers = ask(
        tool("findscu"), dimse_server.port, found, "-X", QueryRetrieveLevel="SERIES", StudyInstanceUID=uid, Modality="",
        SeriesInstanceUID="", SeriesDescription="", SeriesNumber="",
    )  # fmt: skip
    assert sorted((each.Modality, each.SeriesNumber, each.get("SeriesDescription")) for each in answers) == [
        ("CT", 1, ""),
        ("DOC", 9911, "Report"),
        ("SR", 9910, "Report"),
    ]
    for modality in ("SR", "DOC"):
        [series] = [each.SeriesInstanceUID for each in answers if each.Modality == modality]
        [own] = files_of(study, modality)
        ask(
            tool("getscu"), dimse_server.port, fetched, "+B", QueryRetrieveLevel="SERIES", StudyInstanceUID=uid,
            SeriesInstanceUID=series,
        )  # fmt: skip
        [file] = list(fetched.iterdir())
        assert dcmread(file).to_json_dict() == dcmread(_written(tmp_path, own)).to_json_dict()
        file.unlink()
    reader = Client()
    reader.force_login(radiologist)
    response = reader.get(f"/dicom-web/studies/{uid}/metadata", headers={"accept": "application/dicom+json"})
    objects = {each["00080060"]["Value"][0]: each for each in json.loads(body(response))}
    assert objects["SR"]["0040A493"]["Value"] == ["VERIFIED"]
    assert objects["SR"]["0040A730"]["vr"] == "SQ"
    assert objects["DOC"]["00420012"]["Value"] == ["application/pdf"]
    where = objects["DOC"]["00420011"]["BulkDataURI"]
    accepted = {"accept": 'multipart/related; type="application/octet-stream"'}
    assert b"%PDF-" in body(reader.get(where, headers=accepted))
    rendered = reader.get(
        f"/dicom-web/studies/{uid}/series/{objects['DOC']['0020000E']['Value'][0]}"
        f"/instances/{objects['DOC']['00080018']['Value'][0]}/rendered",
        headers={"accept": "application/pdf"},
    )
    assert rendered.status_code == 200 and body(rendered).startswith(b"%PDF-")


def test_findscu_and_getscu_have_the_measurements(
    dimse_server: Daemon, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    procedure = ordered()
    study = imaged(procedure)
    sign(procedure, radiologist, link(study, **LENGTH))
    work()
    found, fetched = tmp_path / "found", tmp_path / "fetched"
    found.mkdir()
    fetched.mkdir()
    [series] = ask(
        tool("findscu"), dimse_server.port, found, "-X", QueryRetrieveLevel="SERIES", SeriesNumber="9912",
        StudyInstanceUID=study.study_instance_uid, Modality="", SeriesInstanceUID="", SeriesDescription="",
    )  # fmt: skip
    assert (series.Modality, series.SeriesDescription) == ("SR", "Measurements of the report")
    [own] = [file for file in files_of(study, "SR") if dcmread(BytesIO(file)).SeriesNumber == 9912]
    ask(
        tool("getscu"), dimse_server.port, fetched, "+B", QueryRetrieveLevel="SERIES",
        StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID=series.SeriesInstanceUID,
    )  # fmt: skip
    [file] = list(fetched.iterdir())
    assert dcmread(file).to_json_dict() == dcmread(_written(tmp_path, own)).to_json_dict()


def _written(folder: Path, file: bytes) -> Path:
    path = folder / "own.dcm"
    path.write_bytes(file)
    return path


def test_two_workers_at_once_make_one_object_of_each_kind(radiologist: User) -> None:
    procedure = ordered()
    study = imaged(procedure)
    report = written(procedure, radiologist)
    Job.objects.update(state=JobState.DONE)
    version = report.versions.get()
    for _ in range(2):
        report_objects.watch_version(version=version)
    Job.objects.filter(kind=report_objects.STORE).update(ordering_key="")
    assert all(isinstance(done, int) for done in run_all([jobs.run_due, jobs.run_due]))
    assert not Job.objects.filter(kind=report_objects.STORE, state=JobState.DEAD).exists()
    assert len(files_of(study, "SR")) == len(files_of(study, "DOC")) == 1
    assert ReportObject.objects.count() == 2 and HeldObject.objects.count() == 0
    assert Instance.objects.count() == 4

"""Downloads as ZIP over `/api/v1`: whole, cut and resumed, in constant memory."""

import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests

from pacs.models import Series, Study
from radiology.models import AuditEvent, Site
from tests.daemons import Daemon
from tests.factories import make_token
from tests.pacs.api_client import ApiProgram, body
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10


def objects_of(archive: bytes) -> dict[str, bytes]:
    """SOP Instance UIDs and pixels of what is in a ZIP, which must be sound and hold a directory."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None and "DICOMDIR" in opened.namelist()
        for name in opened.namelist():
            if name.startswith("DICOM/"):
                data_set = pydicom.dcmread(io.BytesIO(opened.read(name)))
                found[data_set.SOPInstanceUID] = data_set.PixelData
    return found


def two_series(site: Site) -> tuple[Study, dict[str, bytes]]:
    first = ct()
    study = {"StudyInstanceUID": first.StudyInstanceUID, "StudyDate": "20240125", "AccessionNumber": "ACC/1"}
    wanted = {}
    for number in range(4):
        series = {} if number else {"SeriesInstanceUID": first.SeriesInstanceUID}
        data_set = ct(seed=number, **study, **series)
        stored = store(site, part10(data_set))
        wanted[stored.sop_instance_uid] = data_set.PixelData
    return Study.objects.get(study_instance_uid=first.StudyInstanceUID), wanted


@pytest.mark.django_db
def test_a_study_a_series_and_a_patient_as_zip(site: Site) -> None:
    program = ApiProgram()
    study, wanted = two_series(site)
    for path in (f"studies/{study.study_instance_uid}", f"patients/{study.patient_ref.public_id}"):
        response = program.get(f"{path}/archive")
        assert response["Content-Type"] == "application/zip"
        data = body(response)
        assert int(response["Content-Length"]) == len(data) and objects_of(data) == wanted
    series = Series.objects.filter(study_ref=study)[0]
    assert len(objects_of(body(program.get(f"series/{series.series_instance_uid}/archive")))) == 1
    event = AuditEvent.objects.filter(event="api.archive").earliest("id")
    assert event.study_instance_uid == study.study_instance_uid and event.detail == {"instances": 4, "part": False}
    disposition = program.get(f"studies/{study.study_instance_uid}/archive")["Content-Disposition"]
    assert disposition == 'attachment; filename="study-20240125-ACC-1.zip"'


@pytest.mark.django_db
def test_parts_fit_together_and_conditions_hold(site: Site) -> None:
    program = ApiProgram()
    study, _ = two_series(site)
    path = f"studies/{study.study_instance_uid}/archive"
    whole = program.get(path)
    data, tag = body(whole), whole["ETag"]
    assert whole["Accept-Ranges"] == "bytes"
    for start, end in ((0, 99), (100, 2500), (2501, len(data) - 1), (len(data) - 1, len(data) + 99)):
        part = program.get(path, headers={"Range": f"bytes={start}-{end}", "If-Range": tag})
        assert part.status_code == 206 and body(part) == data[start : end + 1]
        assert part["Content-Range"] == f"bytes {start}-{min(end, len(data) - 1)}/{len(data)}"
    assert body(program.get(path, headers={"Range": "bytes=-100"})) == data[-100:]
    beyond = program.get(path, headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416 and beyond["Content-Range"] == f"bytes */{len(data)}"
    for several in ("bytes=0-1,5-6", "bytes=x", "pages=1-2", "bytes=5-2"):
        assert program.get(path, headers={"Range": several}).status_code == 200
    assert program.get(path, headers={"If-None-Match": tag}).status_code == 304
    store(site, part10(ct(StudyInstanceUID=study.study_instance_uid)))
    changed = program.get(path, headers={"Range": "bytes=10-", "If-Range": tag})
    assert changed.status_code == 200 and changed["ETag"] != tag


@pytest.mark.usefixtures("committed_db")
def test_a_download_that_was_cut_is_resumed_by_curl(
    web_server: Daemon, tool: Callable[[str], str], tmp_path: Path
) -> None:
    site = Site.objects.default()
    study, wanted = two_series(site)
    _, token = make_token()
    url = f"{web_server.url}/api/v1/studies/{study.study_instance_uid}/archive"
    headers = {"Authorization": f"Bearer {token}"}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        beginning = response.raw.read(1500)
    target = tmp_path / "study.zip"
    target.write_bytes(beginning)
    command = [tool("curl"), "-sf", "-C", "-", "-H", f"Authorization: Bearer {token}", "-o", target, url]
    subprocess.run(command, check=True, timeout=60)
    assert objects_of(target.read_bytes()) == wanted
    head = requests.head(url, headers=headers, timeout=30)
    assert head.status_code == 200 and int(head.headers["Content-Length"]) == target.stat().st_size


def memory(pid: int) -> int:
    """The most memory (KiB) that a process has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.usefixtures("committed_db")
def test_a_large_zip_streams_in_constant_memory(web_server: Daemon) -> None:
    site = Site.objects.default()
    study = ct().StudyInstanceUID
    pixels: Any = None
    for number in range(24):  # 24 × 8 MB
        data_set = ct(side=2048, StudyInstanceUID=study, InstanceNumber=number + 1)
        pixels = data_set.PixelData
        store(site, part10(data_set))
    _, token = make_token()
    url = f"{web_server.url}/api/v1/studies/{study}/archive"
    headers = {"Authorization": f"Bearer {token}"}
    requests.get(url, headers={**headers, "Range": "bytes=0-1000"}, timeout=30)
    before = {pid: memory(pid) for pid in web_server.pids}
    size = 0
    with requests.get(url, headers=headers, stream=True, timeout=120) as response:
        for block in response.iter_content(1 << 20):
            size += len(block)
    assert size == int(response.headers["Content-Length"]) > 24 * len(pixels)
    grown = max(memory(pid) - before[pid] for pid in web_server.pids)
    assert grown < 64 * 1024, f"{grown} KiB for {size} bytes"

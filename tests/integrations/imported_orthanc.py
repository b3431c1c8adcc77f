"""What the tests of moving an Orthanc in share: what it holds, and the command as it is typed."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pydicom
import requests
from django.core.management import call_command
from pydicom.uid import generate_uid

from tests.pacs.objects import bare, ct, part10, real

# Other transfer syntaxes and kinds: JPEG 2000, deflated, big endian, RLE, a report without pixels.
REAL = ("JPEG2000.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "MR_small_RLE.dcm", "reportsi.dcm")


def made(count: int, patient: str = "MRN-1") -> list[bytes]:
    study, series = generate_uid(), generate_uid()
    fixed = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "PatientID": patient, "AccessionNumber": patient}
    return [part10(ct(seed=number, InstanceNumber=number, **fixed)) for number in range(count)]


def uploaded(url: str, files: list[bytes], auth: tuple[str, str] | None = None) -> list[str]:
    """Store files in a real Orthanc; its identifiers."""
    answers = [requests.post(f"{url}/instances", data=each, auth=auth, timeout=30) for each in files]
    assert {each.status_code for each in answers} == {200}
    return [each.json()["ID"] for each in answers]


def real_files() -> list[bytes]:
    return [real(name).read_bytes() for name in REAL]


def held(url: str, auth: tuple[str, str] | None = None) -> dict[str, bytes]:
    """SHA-256 of each data set that an Orthanc hands out, by SOP Instance UID."""
    names = requests.get(f"{url}/instances", auth=auth, timeout=30).json()
    return digests(requests.get(f"{url}/instances/{name}/file", auth=auth, timeout=30).content for name in names)


def digests(files: Any) -> dict[str, bytes]:
    found = {}
    for file in files:
        uid = str(pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        found[uid] = hashlib.sha256(bare(file)).digest()
    return found


def importorthanc(*arguments: Any) -> tuple[int, dict[str, Any]]:
    """The command in this process: its exit code and report."""
    out = io.StringIO()
    try:
        call_command("importorthanc", *map(str, arguments), "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0), json.loads(out.getvalue())
    raise AssertionError("it says no exit code")


def figures(report: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Stored, unchanged, refused, skipped, done before."""
    return report["stored"], report["unchanged"], report["refused"], report["skipped"], report["done_before"]


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder: size, time of change, time of the last change of anything about it."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
        for path in sorted(folder.rglob("*"))
    }

"""DICOMDIR media, written by two independent programs, and DICOMDIRs that point outside."""

import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from pacs.services.media import Candidate, Refusal, candidates, candidates_of_zip
from tests.pacs.objects import ct


def files_of(path: Path) -> tuple[set[str], dict[str, str]]:
    found, refused = set(), {}
    for each in candidates(path):
        if isinstance(each, Candidate):
            assert len(b"".join(each.blocks())) == each.size
            found.add(pydicom.dcmread(each.name).SOPInstanceUID)
        else:
            refused[each.name] = each.reason
    return found, refused


@pytest.fixture
def by_pydicom(tmp_path: Path) -> tuple[Path, set[str]]:
    objects = [ct(InstanceNumber=number) for number in range(1, 6)]
    medium = FileSet()
    for each in objects:
        medium.add(each)
    medium.write(tmp_path / "cd")
    return tmp_path / "cd", {each.SOPInstanceUID for each in objects}


def test_a_medium_made_by_pydicom_is_taken_whole(by_pydicom: tuple[Path, set[str]]) -> None:
    medium, uids = by_pydicom
    assert files_of(medium) == (uids, {})
    assert files_of(medium / "DICOMDIR") == (uids, {})


def test_a_medium_made_by_dcmtk_is_taken_whole(tool: Callable[[str], str], tmp_path: Path) -> None:
    uids = set()
    medium = tmp_path / "cd"
    (medium / "IMAGES").mkdir(parents=True)
    for number in range(1, 6):
        data_set = ct(InstanceNumber=number, StudyDescription="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
        data_set.save_as(medium / "IMAGES" / f"CT{number}", enforce_file_format=True)
        uids.add(data_set.SOPInstanceUID)
    made = subprocess.run(
        [tool("dcmmkdir"), "--recurse", "--invent", "IMAGES"], cwd=medium, capture_output=True, check=False
    )
    assert (medium / "DICOMDIR").exists(), made.stderr
    assert files_of(medium / "DICOMDIR") == (uids, {})


def test_what_lies_beside_the_records_is_taken_too(by_pydicom: tuple[Path, set[str]]) -> None:
    medium, uids = by_pydicom
    extra = ct()
    extra.save_as(medium / "EXTRA", enforce_file_format=True)
    found, refused = files_of(medium / "DICOMDIR")
    assert found == uids | {extra.SOPInstanceUID}
    assert not refused


def test_a_cd_mounted_with_other_letters_misses_nothing(by_pydicom: tuple[Path, set[str]], tmp_path: Path) -> None:
    medium, uids = by_pydicom
    mounted = tmp_path / "mounted"
    for path in medium.rglob("*"):
        if path.is_file():
            target = mounted / (str(path.relative_to(medium)).lower() + (";1" if path.name != "DICOMDIR" else ""))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    assert files_of(mounted) == (uids, {})


def test_a_missing_file_is_reported(by_pydicom: tuple[Path, set[str]]) -> None:
    medium, uids = by_pydicom
    gone = next(path for path in medium.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    uid = pydicom.dcmread(gone).SOPInstanceUID
    gone.unlink()
    found, refused = files_of(medium)
    assert found == uids - {uid}
    assert len(refused) == 1
    assert "missing" in next(iter(refused.values()))


@pytest.mark.parametrize(
    "file_id",
    [
        ["..", "SECRET"],
        ["", "ETC", "PASSWD"],
        ["/ETC", "PASSWD"],
        ["C:", "SECRET"],
        ["IMAGES", "..", "..", "SECRET"],
        ["LINK", "SECRET"],
    ],
)
def test_a_record_that_points_outside_is_reported_and_never_followed(
    by_pydicom: tuple[Path, set[str]], tmp_path: Path, file_id: list[str]
) -> None:
    medium, uids = by_pydicom
    ct().save_as(tmp_path / "SECRET", enforce_file_format=True)
    (medium / "LINK").symlink_to(tmp_path)
    redirect(medium / "DICOMDIR", file_id)
    found, refused = files_of(medium)
    assert found == uids
    about = {name: reason for name, reason in refused.items() if name.startswith(str(medium / "DICOMDIR"))}
    assert len(about) == 1, refused


def redirect(path: Path, file_id: list[str]) -> None:
    """Let the first image record of a DICOMDIR name another file."""
    directory = pydicom.dcmread(path)
    record = next(each for each in directory.DirectoryRecordSequence if "ReferencedFileID" in each)
    with pydicom.config.disable_value_validation():
        record.ReferencedFileID = file_id
        directory.save_as(path)


def test_a_dicomdir_in_a_zip_is_checked_against_the_zip(by_pydicom: tuple[Path, set[str]], tmp_path: Path) -> None:
    medium, uids = by_pydicom
    redirect(medium / "DICOMDIR", ["..", "SECRET"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in medium.rglob("*"):
            archive.write(path, f"cd/{path.relative_to(medium)}")
    every = list(candidates_of_zip(buffer))
    assert len([each for each in every if isinstance(each, Candidate)]) == len(uids)
    (refused,) = [each for each in every if isinstance(each, Refusal)]
    assert "outside" in refused.reason


@pytest.mark.parametrize("content", [b"", b"no dicomdir", bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 999])
def test_a_damaged_dicomdir_is_one_refusal_and_the_files_are_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "DICOMDIR").write_bytes(content)
    data_set = ct()
    data_set.save_as(tmp_path / "A", enforce_file_format=True)
    found, refused = files_of(tmp_path)
    assert found == {data_set.SOPInstanceUID}
    assert len(refused) == 1


def test_a_dicomdir_nested_beyond_reason_is_one_refusal(tmp_path: Path) -> None:
    nested = b"\x04\x00\x20\x12SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    head = ct()
    head.save_as(tmp_path / "A", enforce_file_format=True)
    meta = (tmp_path / "A").read_bytes()
    start = meta.index(b"\x08\x00\x05\x00CS")
    (tmp_path / "DICOMDIR").write_bytes(meta[:start] + nested * 5000)
    found, refused = files_of(tmp_path)
    assert found == {head.SOPInstanceUID}
    assert len(refused) == 1

"""Walking folders and single files, and telling DICOM from everything else."""

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pacs.services.media import (
    Candidate,
    Changed,
    NoDicom,
    Refusal,
    Source,
    candidates,
    receive_candidate,
    spooled,
)
from radiology.errors import CannotUnderstand, NotFound, RadiologyError, TooLarge
from radiology.models import Site
from tests.pacs.objects import bare, ct, part10, real


def walked(path: Path) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Candidates by name and refusals by name, both relative to `path`."""
    found: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for each in candidates(path):
        name = os.path.relpath(each.name, path) if each.name.startswith("/") else each.name
        if isinstance(each, Candidate):
            found[name] = each
        else:
            refused[name] = each.reason
    return found, refused


def content(candidate: Candidate) -> bytes:
    return b"".join(candidate.blocks())


def test_every_file_of_a_folder_is_named_once(tmp_path: Path) -> None:
    for name in ("a.dcm", "b/c", "b/d/e.dcm", "b/d/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found, refused = walked(tmp_path)
    assert {name: content(each) for name, each in found.items()} == {
        name: name.encode() for name in ("a.dcm", "b/c", "b/d/e.dcm", "b/d/.hidden")
    }
    assert not refused


def test_a_single_file_is_a_medium_of_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert [each.name for each in candidates(tmp_path / "a")] == [str(tmp_path / "a")]


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(candidates(tmp_path / "missing"))


def test_links_out_of_the_folder_are_refused_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret.dcm").write_bytes(b"secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "own.dcm").write_bytes(b"own")
    (inside / "file").symlink_to(outside / "secret.dcm")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to("..")
    (inside / "broken").symlink_to("/nowhere/at/all")
    (inside / "again").symlink_to("own.dcm")
    (inside / "loop").symlink_to("loop")
    found, refused = walked(inside)
    assert set(found) == {"own.dcm"}
    assert {"file", "folder", "up", "broken"} <= set(refused)


def test_devices_and_pipes_are_refused_without_waiting_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    found, refused = walked(tmp_path)
    assert set(found) == {"file"}
    assert set(refused) == {"pipe"}
    (only,) = candidates(tmp_path / "pipe")
    assert isinstance(only, Refusal)


def test_a_file_replaced_by_a_link_after_listing_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"same")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"same")
    (candidate,) = candidates(root)
    assert isinstance(candidate, Candidate)
    (root / "a").unlink()
    (root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(RadiologyError, match="link"):
        content(candidate)


def test_a_folder_replaced_by_a_link_after_listing_is_not_read(tmp_path: Path) -> None:
    other = tmp_path / "other"
    folder = tmp_path / "root" / "folder"
    for place in (other, folder):
        place.mkdir(parents=True)
        (place / "a").write_bytes(b"same")
        os.utime(place / "a", ns=(1, 1))
    (candidate,) = candidates(tmp_path / "root")
    assert isinstance(candidate, Candidate)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(other)
    with pytest.raises(RadiologyError, match="outside"):
        content(candidate)


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_file_that_changes_is_not_taken(tmp_path: Path, moment: str) -> None:
    file = tmp_path / "growing.dcm"
    file.write_bytes(bytes(3 << 20))
    (candidate,) = candidates(tmp_path)
    assert isinstance(candidate, Candidate)
    blocks = candidate.blocks()
    if moment == "during":
        next(blocks)
    with file.open("ab") as more:
        more.write(b"more")
    with pytest.raises(Changed):
        list(blocks)


def test_a_file_rewritten_with_the_same_size_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "same-size.dcm"
    file.write_bytes(bytes(3 << 20))
    os.utime(file, ns=(1, 1))
    (candidate,) = candidates(tmp_path)
    assert isinstance(candidate, Candidate)
    blocks = candidate.blocks()
    next(blocks)
    file.write_bytes(b"1" * (3 << 20))
    with pytest.raises(Changed):
        list(blocks)


def test_names_that_are_no_text_are_told_apart_and_can_be_stored(tmp_path: Path) -> None:
    for name in (b"\xff.dcm", b"\xfe.dcm", "gambar ❤.dcm".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)
    found, _ = walked(tmp_path)
    assert set(found) == {"\\xff.dcm", "\\xfe.dcm", "gambar ❤.dcm"}
    for text in found:
        text.encode("utf-8")


def test_a_folder_deeper_than_python_may_recurse_is_walked(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(1200):
        place /= "d"
        place.mkdir()
    (place / "a").write_bytes(b"x")
    found, refused = walked(tmp_path)
    # pytest's own clearing away recurses.
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert len(found) == 1
    assert not refused


@pytest.fixture
def source(site: Site) -> Source:
    return Source.of_site(site)


def received(source: Source, folder: Path, content: bytes) -> Any:
    (folder / "file").write_bytes(content)
    (candidate,) = candidates(folder)
    assert isinstance(candidate, Candidate)
    got = receive_candidate(source=source, candidate=candidate)
    got.discard()
    return got


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    folder = tmp_path / "medium"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("form", ["whole", "bare", "without preamble"])
def test_an_object_is_recognised_in_whatever_form_it_lies_there(source: Source, medium: Path, form: str) -> None:
    data_set = ct()
    file = part10(data_set)
    content = {"whole": file, "bare": bare(file), "without preamble": file[132:]}[form]
    got = received(source, medium, content)
    assert got.sop_instance_uid == data_set.SOPInstanceUID
    assert got.size == len(bare(file))


@pytest.mark.parametrize("name", ["rtplan.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "CT_small.dcm"])
def test_real_objects_are_recognised_bare_too_unless_they_are_packed(source: Source, medium: Path, name: str) -> None:
    file = real(name).read_bytes()
    got = received(source, medium, file)
    if got.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return
    again = received(source, medium, bare(file))
    assert (again.sop_instance_uid, again.transfer_syntax_uid) == (got.sop_instance_uid, got.transfer_syntax_uid)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\x08\x00",
        b"%PDF-1.7 ...",
        b"MZ" + bytes(200),
        bytes(4096),
        b"PK\x03\x04" + bytes(100),
        b"\x08\0" * 99,
    ],
)
def test_what_is_no_dicom_is_passed_over(source: Source, medium: Path, content: bytes) -> None:
    with pytest.raises(NoDicom):
        received(source, medium, content)
    assert not list((source_archive(source) / "incoming").glob("*"))


def source_archive(source: Source) -> Path:
    from pacs.models import Volume

    return Path(Volume.objects.get().path)


def test_a_truncated_object_is_refused_and_leaves_nothing(source: Source, medium: Path) -> None:
    with pytest.raises(CannotUnderstand) as caught:
        received(source, medium, part10(ct())[:-10])
    assert not isinstance(caught.value, NoDicom)
    assert not list((source_archive(source) / "incoming").glob("*"))


def test_a_stream_is_spooled_up_to_its_limit_and_leaves_no_name(settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    reading, writing = os.pipe()

    def send() -> None:
        os.write(writing, b"x" * 1000)
        os.close(writing)

    sender = threading.Thread(target=send)
    sender.start()
    with spooled(lambda size: os.read(reading, size), limit=1000) as file:
        assert file.read() == b"x" * 1000
    sender.join()
    os.close(reading)
    assert not list((tmp_path / "spool").iterdir())
    stream = iter([b"x" * 600, b"x" * 600])
    with pytest.raises(TooLarge):
        spooled(lambda size: next(stream), limit=1000)

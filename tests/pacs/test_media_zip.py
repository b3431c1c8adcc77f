"""ZIPs that mean harm, and ZIPs that are only odd."""

import io
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pacs.services.media import (
    Candidate,
    Changed,
    Limits,
    NoDicom,
    Refusal,
    Source,
    candidates,
    candidates_of_zip,
    receive_candidate,
)
from radiology.errors import CannotUnderstand, RadiologyError, TooLarge
from radiology.models import Site
from tests.pacs.objects import bare, ct, part10


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def opened(content: bytes, **limits: int) -> tuple[list[Candidate], list[Refusal]]:
    every = list(candidates_of_zip(io.BytesIO(content), limits=Limits(**limits)))
    return [each for each in every if isinstance(each, Candidate)], [
        each for each in every if isinstance(each, Refusal)
    ]


def content_of(candidate: Candidate) -> bytes:
    return b"".join(candidate.blocks())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_are_read_as_they_were_packed(method: int) -> None:
    files = {"a.dcm": b"1" * 3_000_000, "folder/b.dcm": b"2", "empty": b""}
    found, refused = opened(zipped(files, method=method))
    assert {each.name: content_of(each) for each in found} == files
    assert not refused


def test_a_zip_in_a_folder_is_opened_and_may_be_read_after_the_walk(tmp_path: Path) -> None:
    (tmp_path / "cd.ZIP").write_bytes(zipped({"a.dcm": b"one"}))
    (tmp_path / "b.dcm").write_bytes(b"two")
    found = [each for each in candidates(tmp_path) if isinstance(each, Candidate)]
    assert {each.name.removeprefix(f"{tmp_path}/"): content_of(each) for each in found} == {
        "cd.ZIP!/a.dcm": b"one",
        "b.dcm": b"two",
    }


@pytest.mark.parametrize(
    "name", ["../up.dcm", "a/../../up.dcm", "/etc/passwd", "..\\up.dcm", "\\\\server\\share", "C:\\x.dcm", "a\0b.dcm"]
)
def test_a_name_that_leads_outside_is_refused(name: str) -> None:
    found, refused = opened(with_name(zipped({"x" * len(name): b"1", "good.dcm": b"2"}), name))
    assert [each.name for each in found] == ["good.dcm"]
    assert len(refused) == 1
    assert "\0" not in refused[0].name


def with_name(archive: bytes, name: str) -> bytes:
    return archive.replace(b"x" * len(name), name.encode())


def test_links_and_encrypted_entries_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret.dcm", b"x")
    content = bytearray(buffer.getvalue())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1
    found, refused = opened(bytes(content))
    assert not found
    assert [each.name for each in refused] == ["link.dcm", "secret.dcm"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_whose_memory_nobody_bounds_are_refused(method: int) -> None:
    found, refused = opened(zipped({"a.dcm": bytes(100)}, method=method))
    assert not found
    assert len(refused) == 1


def test_a_bomb_is_cut_off_whatever_its_list_of_contents_says() -> None:
    bomb = zipped({f"{number}.dcm": bytes(20_000_000) for number in range(3)})
    found, _ = opened(bomb, ratio=10, allowance=1_000_000)
    read = 0
    with pytest.raises(TooLarge):
        for each in found:
            for block in each.blocks():
                read += len(block)
    assert read < 4_000_000
    with pytest.raises(TooLarge):  # and nothing more of this ZIP
        content_of(found[2])


def test_entries_that_share_their_bytes_count_each_time() -> None:
    """Overlapping entries: a small file that is many large ones."""
    packed = bytearray(zipped({"0.dcm": bytes(10_000_000)}))
    start = packed.index(b"PK\x01\x02")
    end = packed.index(b"PK\x05\x06")
    directory = bytes(packed[start:end]) * 50
    tail = bytearray(packed[end:])
    struct.pack_into("<HHI", tail, 8, 50, 50, len(directory))
    found, _ = opened(bytes(packed[:start]) + directory + bytes(tail), ratio=100, allowance=50_000_000)
    assert len(found) == 50
    read = 0
    for each in found:
        try:
            for block in each.blocks():
                read += len(block)
        except RadiologyError:
            continue
    assert read < 60_000_000


def test_a_stated_size_that_is_too_small_is_damage() -> None:
    packed = bytearray(zipped({"a.dcm": b"1" * 1000}))
    for magic, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", packed, packed.index(magic) + place, 10)
    found, _ = opened(bytes(packed))
    with pytest.raises(CannotUnderstand):
        content_of(found[0])


def test_damage_in_one_entry_leaves_the_others() -> None:
    packed = bytearray(zipped({"bad.dcm": b"1" * 1000, "good.dcm": b"2"}, method=zipfile.ZIP_STORED))
    packed[packed.index(b"1" * 100) + 50] = 0
    found, _ = opened(bytes(packed))
    with pytest.raises(CannotUnderstand, match="damaged"):
        content_of(found[0])
    assert content_of(found[1]) == b"2"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all" * 100, b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_said(content: bytes) -> None:
    with pytest.raises(CannotUnderstand):
        opened(content)


def test_every_truncation_and_many_flips_are_survived() -> None:
    whole = zipped({"a.dcm": b"1" * 300, "b/c.dcm": b"2" * 300})
    for length in range(len(whole)):
        read_or_refuse(whole[:length])
    for place in range(len(whole)):
        for value in (0, 0xFF, whole[place] ^ 0x80):
            read_or_refuse(whole[:place] + bytes([value]) + whole[place + 1 :])


def read_or_refuse(content: bytes) -> None:
    try:
        for each in opened(content)[0]:
            try:
                content_of(each)
            except RadiologyError:
                continue
    except RadiologyError:
        return


def test_too_many_entries_are_refused_before_they_are_in_memory() -> None:
    content = zipped({str(number): b"" for number in range(200)})
    with pytest.raises(TooLarge):
        opened(content, entries=100)
    with pytest.raises(TooLarge):
        opened(content, directory=1000)
    lying = bytearray(content)
    end = lying.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", lying, end + 8, 1, 1)
    with pytest.raises(TooLarge):
        opened(bytes(lying), entries=100)


def test_a_bad_zip_in_a_folder_is_one_refusal(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    (tmp_path / "good.dcm").write_bytes(b"x")
    kinds = {type(each).__name__ for each in candidates(tmp_path)}
    assert kinds == {"Refusal", "Candidate"}


def test_a_zip_that_changes_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "cd.zip"
    file.write_bytes(zipped({"a.dcm": b"1", "b.dcm": b"2"}))
    first, second = (each for each in candidates(file) if isinstance(each, Candidate))
    assert content_of(first) == b"1"
    with file.open("ab") as more:
        more.write(b"more")
    with pytest.raises(Changed):
        content_of(second)


def test_objects_of_a_zip_are_received_and_a_zip_inside_is_not_opened(site: Site, tmp_path: Path) -> None:
    data_set = ct()
    inner = zipped({"hidden.dcm": part10(ct())})
    found, _ = opened(zipped({"a.dcm": part10(data_set), "inner.zip": inner}))
    source = Source.of_site(site)
    got = receive_candidate(source=source, candidate=found[0])
    assert got.draft.path.read_bytes()[1024:] == bare(part10(data_set))
    got.discard()
    with pytest.raises(NoDicom, match="ZIP inside a ZIP"):
        receive_candidate(source=source, candidate=found[1])


def test_nothing_is_unpacked_to_disk_but_what_the_archive_receives(site: Site, tmp_path: Path, settings: Any) -> None:
    before = set(tmp_path.rglob("*"))
    found, _ = opened(zipped({"a.txt": b"text", "b.dcm": b"no dicom either"}))
    for each in found:
        with pytest.raises(NoDicom):
            receive_candidate(source=Source.of_site(site), candidate=each)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before

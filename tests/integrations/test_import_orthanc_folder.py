"""Moving in the folders of a real Orthanc, packed or not, with its index and without."""

import csv
import shutil
import sqlite3
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from integrations.orthanc_import.checksums import Checksums, is_packed, unpacked
from integrations.orthanc_import.index import Index
from integrations.orthanc_import.storage import OrthancStorage
from pacs.models import ImportRun
from radiology.errors import CannotUnderstand
from tests.integrations.imported_orthanc import (
    digests,
    figures,
    held,
    importorthanc,
    made,
    real_files,
    snapshot,
    uploaded,
)
from tests.integrations.orthanc_server import real_orthanc
from tests.pacs.imported import archived


@dataclass
class Stored:
    """A real Orthanc's folder, of one that runs or was stopped."""

    folder: Path
    settings: dict[str, bool]
    every: dict[str, bytes]

    def files(self) -> list[Path]:
        """The DICOM files by the index, in the order in which they came."""
        with sqlite3.connect(f"file:{self.folder}/db/index?immutable=1", uri=True) as index:
            rows = index.execute("SELECT uuid FROM AttachedFiles WHERE fileType = 1 ORDER BY id").fetchall()
        index.close()
        return [self.folder / "db" / uuid[:2] / uuid[2:4] / uuid for (uuid,) in rows]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "packed"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("orthanc")
    settings = {"StorageCompression": request.param}
    files = [*made(12), *real_files()]
    with real_orthanc(folder, **settings) as url:
        uploaded(url, files)
        every = held(url)
    assert every == digests(files)
    return Stored(folder, settings, every)


@pytest.fixture
def stored(stopped: Stored, tmp_path: Path) -> Stored:
    """One of the test's own."""
    shutil.copytree(stopped.folder, tmp_path / "orthanc")
    return replace(stopped, folder=tmp_path / "orthanc")


@pytest.mark.usefixtures("committed_db")
def test_everything_comes_from_the_folder_and_nothing_in_it_is_touched(stored: Stored) -> None:
    before = snapshot(stored.folder)
    code, report = importorthanc(stored.folder / "db")
    assert (code, figures(report), report["remarks"]) == (0, (len(stored.every), 0, 0, 0, 0), [])
    assert archived() == stored.every
    assert report["found"] == len(stored.every)
    assert figures(importorthanc(stored.folder / "db")[1]) == (0, 0, 0, 0, len(stored.every))
    assert snapshot(stored.folder) == before

    with real_orthanc(stored.folder, **stored.settings) as url:
        new = made(3, "MRN-late")
        uploaded(url, new)
        code, running = importorthanc(stored.folder / "db")
        assert archived() == held(url) == stored.every | digests(new)
    assert (code, running["stored"], running["refused"], running["done_before"]) == (0, 3, 0, len(stored.every))
    code, over = importorthanc(stored.folder / "db")
    assert (code, over["stored"]) == (0, 0)


@pytest.mark.usefixtures("committed_db")
def test_without_the_index_whatever_is_dicom_comes_and_no_header_alone(stored: Stored) -> None:
    code, report = importorthanc(stored.folder / "db", "--without-index")
    assert (code, report["stored"], report["unchanged"], report["held"], report["refused"]) == (
        0,
        len(stored.every),
        0,
        0,
        0,
    )
    assert archived() == stored.every
    assert report["remarks"] == [
        f"There was no MD5 of {len(stored.every)} files: they were taken without being compared."
    ]
    assert bool(report["skipped"]) == stored.settings["StorageCompression"]  # the headers beside packed objects
    (stored.folder / "db" / "index").rename(stored.folder / "index-elsewhere")
    code, again = importorthanc(stored.folder / "db", "--fresh")
    assert (code, again["unchanged"], again["refused"]) == (0, len(stored.every), 0)


@pytest.mark.usefixtures("committed_db")
def test_damaged_files_are_named_by_either_way_and_the_others_come(stored: Stored, tmp_path: Path) -> None:
    pixels, beginning, short, lost = files = stored.files()[:4]
    content = bytearray(pixels.read_bytes())
    content[-40] ^= 0xFF
    pixels.write_bytes(content)
    beginning.write_bytes(b"\xff" * 140 + beginning.read_bytes()[140:])
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    lost.unlink()
    report_file = tmp_path / "report.csv"
    with real_orthanc(stored.folder, **stored.settings) as url:
        code, report = importorthanc(url, "--report", report_file)
        assert (code, figures(report)) == (3, (len(stored.every) - 4, 0, 4, 0, 0))
        assert len(list(csv.DictReader(report_file.open()))) == 4
    sound = archived()
    assert len(sound) == len(stored.every) - 4 and sound.items() <= stored.every.items()
    code, report = importorthanc(stored.folder / "db", "--report", report_file)
    assert (code, figures(report)) == (3, (0, len(sound), 4, 0, 0))
    rows = {Path(row["file"]).name: row["reason"] for row in csv.DictReader(report_file.open())}
    assert set(rows) == {each.name for each in files}
    assert "not there" in rows[lost.name]
    assert all("damaged" in rows[each.name] for each in (pixels, beginning, short))
    assert archived() == sound


@pytest.mark.usefixtures("committed_db")
def test_an_index_that_is_none_or_lies_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "index").write_bytes(b"no database" * 1000)
    with pytest.raises(CommandError, match="--without-index"):
        call_command("importorthanc", str(folder))
    assert not ImportRun.objects.exists()
    (folder / "index").unlink()
    index = sqlite3.connect(folder / "index")
    index.execute("CREATE TABLE AttachedFiles (id, fileType, uuid, compressedSize, uncompressedSize, "
                  "compressionType, uncompressedMD5, compressedMD5)")  # fmt: skip
    name = "a850f6af-e9c4-494f-9f6d-81f7fe163187"
    for number, (uuid, compression) in enumerate(
        [("../../../../etc/passwd", 1), (name, 1), (name.replace("a8", "a9"), 7), (None, 2)]
    ):
        index.execute("INSERT INTO AttachedFiles VALUES (?, 1, ?, 5, 5, ?, NULL, NULL)", [number, uuid, compression])
    index.commit()
    index.close()
    code, report = importorthanc(folder)
    assert (code, figures(report)) == (3, (0, 0, 4, 0, 0))
    (folder / "index").unlink()
    link = folder / name[:2] / name[2:4]
    link.mkdir(parents=True)
    (link / name).symlink_to("/etc/passwd")
    assert figures(importorthanc(folder)[1]) == (0, 0, 1, 0, 0)


@pytest.mark.usefixtures("committed_db")
def test_objects_and_modalities_come_in_one_go_and_the_index_is_where_the_file_says(tmp_path: Path) -> None:
    settings = {
        "IndexDirectory": str(tmp_path / "orthanc" / "index-of-it"),
        "DicomModalities": {"ct": ["CT1", "h", 104]},
    }
    with real_orthanc(tmp_path / "orthanc", **settings) as url:
        uploaded(url, made(2))
    code, report = importorthanc(tmp_path / "orthanc" / "db", "--configuration", tmp_path / "orthanc" / "orthanc.json")
    assert (code, report["stored"], report["found"]) == (0, 2, 2)
    assert report["configuration"]["new"] == ["CT1 (h:104)"]
    assert not any("importorthanc" in line for line in report["configuration"]["to_do"])


def packed(content: bytes, size: int | None = None) -> bytes:
    return (len(content) if size is None else size).to_bytes(8, "little") + zlib.compress(content)


def test_packed_files_are_unpacked_piece_by_piece_and_damage_is_noticed() -> None:
    content = bytes(3 << 20) + b"end"
    file = packed(content)
    assert is_packed(file) and not is_packed(bytes(128) + b"DICM") and not is_packed(b"{}")
    pieces = list(unpacked(iter([file[:1000], file[1000:]])))
    assert b"".join(pieces) == content and max(map(len, pieces)) <= 1 << 20
    assert list(unpacked(iter([]))) == []
    spoilt = file[:20] + b"\xff" * 9
    for wrong in (file[:-1], file[:5], file + b"x", packed(content, 5), packed(content, 1 << 30), spoilt):
        with pytest.raises(CannotUnderstand, match="damaged"):
            list(unpacked(iter([wrong])))
    bomb = unpacked(iter([packed(bytes(1 << 28))]))
    assert len(next(bomb)) == 1 << 20  # who reads it decides how much is too much
    assert Checksums().missing == 0


@pytest.mark.usefixtures("committed_db")
def test_an_orthanc_that_is_started_while_its_folder_is_read_loses_nothing(stored: Stored) -> None:
    storage = OrthancStorage(stored.folder / "db", index=Index(stored.folder / "db" / "index"))
    listing = storage.candidates()
    listed = {next(listing).name}
    with real_orthanc(stored.folder, **stored.settings) as url:
        uploaded(url, made(2, "MRN-late"))
        listed |= {each.name for each in listing}
    assert {Path(name).name for name in listed} >= {each.name for each in stored.files()}
    assert len(stored.files()) == len(stored.every) + 2

"""ZIP downloads: what is in them, who can read them, that they resume anywhere and never lie about damage."""

import hashlib
import subprocess
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from pacs.byte_ranges import Download, answer
from pacs.models import Instance, Location, Series, Study
from pacs.services import archive_zip
from pacs.services.archive_zip import ZipStream, zip_of
from pacs.services.store import Stored
from pacs.services.zip_layout import Ending, local, local_size
from radiology.errors import CannotUnderstand, NotFound, OutOfResources
from radiology.models import Site
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import bare, ct, part10, real


def everything(stream: ZipStream, start: int = 0) -> bytes:
    return b"".join(stream.blocks(start))


def of_study(uid: str, name: str = "study") -> ZipStream:
    return zip_of(
        locations=Location.objects.filter(instance_ref__series_ref__study_ref__study_instance_uid=uid), name=name
    )


@pytest.fixture
def study(site: Site) -> list[bytes]:
    """Two series of one study, with a report and an object that is compressed."""
    uid, series = generate_uid(), [generate_uid(), generate_uid()]
    facts = {"StudyInstanceUID": uid, "StudyDescription": "Thorax — Übersicht"}
    files = [
        part10(ct(SeriesInstanceUID=series[number % 2], SeriesNumber=number % 2 + 1, InstanceNumber=number, **facts))
        for number in range(5)
    ]
    for name in ("test-SR.dcm", "JPEG2000.dcm"):
        other = pydicom.dcmread(real(name))
        other.StudyInstanceUID, other.PatientID, other.PatientName = uid, "MRN-1001", "SANTOSO^BUDI"
        other.PatientBirthDate = "19700101"
        files.append(part10(other))
    for file in files:
        store(site, file)
    return files


def uid_of(file: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(file), stop_before_pixels=True).StudyInstanceUID)


def test_the_objects_are_in_it_as_they_were_received(study: list[bytes]) -> None:
    stream = of_study(uid_of(study[0]))
    data = everything(stream)
    assert stream.size == len(data)
    assert stream.count == len(study)
    with zipfile.ZipFile(BytesIO(data)) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert names[:2] == ["README.TXT", "DICOMDIR"]
        assert names[2] == "DICOM/PA000000/ST000000/SE000000/IM000000"
        assert all(info.compress_type == zipfile.ZIP_STORED and info.flag_bits == 0 for info in opened.infolist())
        assert opened.infolist()[0].date_time == (2026, 1, 2, 10, 11, 12)
        found = {hashlib.sha256(bare(opened.read(name))).digest() for name in names[2:]}
    assert found == {hashlib.sha256(bare(file)).digest() for file in study}


def test_it_is_the_same_bytes_each_time_and_another_when_an_object_is_added(site: Site, study: list[bytes]) -> None:
    uid = uid_of(study[0])
    one, again = of_study(uid), of_study(uid)
    assert one.etag == again.etag
    assert everything(one) == everything(again) == everything(one)
    store(site, part10(ct(StudyInstanceUID=uid)))
    assert of_study(uid).etag != one.etag


def test_it_goes_on_at_any_byte(study: list[bytes], settings: Any) -> None:
    stream = of_study(uid_of(study[0]))
    data = everything(stream)
    for start in [*range(0, 400, 7), *range(400, len(data), 997), len(data) - 1, len(data)]:
        assert everything(stream, start) == data[start:], start
    for cache in (settings.SINAR_DATA / "cache" / "zip").glob("*"):
        cache.unlink()
    assert everything(stream, len(data) - 10) == data[-10:]


def test_what_is_stepped_over_is_not_read_again(study: list[bytes]) -> None:
    stream = of_study(uid_of(study[0]))
    data = everything(stream)
    location = Location.objects.order_by(*("instance_ref__series_ref__series_number", "id")).first()
    assert location is not None
    path = Path(location.volume.path, location.path)
    path.rename(path.with_suffix(".away"))
    assert everything(stream, len(data) - 100) == data[-100:]
    path.with_suffix(".away").rename(path)


def test_the_directory_is_read_by_pydicom_and_dcmtk(
    study: list[bytes], tmp_path: Path, tool: Callable[[str], str]
) -> None:
    target = tmp_path / "study.zip"
    target.write_bytes(everything(of_study(uid_of(study[0]))))
    folder = tmp_path / "medium"
    with zipfile.ZipFile(target) as opened:
        opened.extractall(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file_set = FileSet(folder / "DICOMDIR")
    assert len(file_set) == len(study)
    for instance in file_set:
        found = instance.load()
        assert (instance.PatientID, found.SOPInstanceUID) == ("MRN-1001", instance.ReferencedSOPInstanceUIDInFile)
        assert instance.StudyDescription == "Thorax — Übersicht"
        assert instance.ReferencedTransferSyntaxUIDInFile == found.file_meta.TransferSyntaxUID
    kinds = sorted(instance.DirectoryRecordType for instance in file_set)
    assert kinds == ["IMAGE"] * 6 + ["SR DOCUMENT"]
    (report,) = (instance for instance in file_set if instance.DirectoryRecordType == "SR DOCUMENT")
    assert report.ConceptNameCodeSequence[0].CodeValue
    dump = subprocess.run([tool("dcmdump"), "-q", folder / "DICOMDIR"], capture_output=True, text=True, timeout=30)
    assert (dump.returncode, dump.stderr) == (0, "")
    series = len(file_set.find_values("SeriesInstanceUID"))
    assert dump.stdout.count("OffsetOfTheNextDirectoryRecord") == 1 + 1 + series + len(study)
    checked = subprocess.run([tool("dciodvfy"), folder / "DICOMDIR"], capture_output=True, text=True, timeout=30)
    assert "Error" not in checked.stderr, checked.stderr


def test_info_zip_opens_it(study: list[bytes], tmp_path: Path, tool: Callable[[str], str]) -> None:
    target = tmp_path / "study.zip"
    target.write_bytes(everything(of_study(uid_of(study[0]))))
    done = subprocess.run([tool("unzip"), "-t", target], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    assert "No errors detected" in done.stdout


def test_names_of_patients_studies_and_series(site: Site) -> None:
    one, other = generate_uid(), generate_uid()
    stored = [
        store(site, part10(ct(PatientID=patient, PatientName=f"P^{patient}", StudyInstanceUID=uid, SeriesNumber=None)))
        for patient, uid in (("A", one), ("A", generate_uid()), ("B", other), ("A", one))
    ]
    data = everything(zip_of(locations=Location.objects.all(), name="A^B / ../Ünï"))
    with zipfile.ZipFile(BytesIO(data)) as opened:
        assert opened.namelist()[2:] == [
            "DICOM/PA000000/ST000000/SE000000/IM000000",
            "DICOM/PA000000/ST000000/SE000001/IM000000",
            "DICOM/PA000000/ST000001/SE000000/IM000000",
            "DICOM/PA000001/ST000000/SE000000/IM000000",
        ]
    assert zip_of(locations=Location.objects.all(), name="A^B / ../Ünï").filename == "A-B-..-Uni.zip"
    keys = [Location.objects.get(instance_ref__sop_instance_uid=stored[2].sop_instance_uid).pk]
    assert zip_of(locations=keys, name="").count == 1
    with pytest.raises(NotFound):
        zip_of(locations=[], name="")


def place_of(stored: Stored) -> Path:
    location = Location.objects.get(instance_ref__sop_instance_uid=stored.sop_instance_uid)
    return Path(location.volume.path, location.path)


@pytest.fixture
def pair(site: Site) -> list[Stored]:
    uid, series = generate_uid(), generate_uid()
    return [
        store(site, part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=series, InstanceNumber=number, side=64)))
        for number in (1, 2)
    ]


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "short":
        del content[-10:]
    else:
        content[-10] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "short", "flipped"])
def test_a_damaged_object_ends_the_stream(pair: list[Stored], how: str) -> None:
    stream = of_study(pair[0].study_instance_uid)
    whole = everything(stream)
    damage(place_of(pair[1]), how)
    taken: list[bytes] = []
    with pytest.raises(OutOfResources if how == "gone" else CannotUnderstand):
        taken.extend(of_study(pair[0].study_instance_uid).blocks())
    assert b"".join(taken) == whole[: len(b"".join(taken))]
    assert len(b"".join(taken)) < len(whole) - 5000


def test_damage_of_the_first_object_is_said_before_anything_is_sent(pair: list[Stored]) -> None:
    damage(place_of(pair[0]), "flipped")
    stream = of_study(pair[0].study_instance_uid)
    with pytest.raises(CannotUnderstand):
        next(stream.blocks())


def test_a_large_object_passes_in_blocks(pair: list[Stored], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = of_study(pair[0].study_instance_uid)
    whole = everything(stream)
    monkeypatch.setattr(archive_zip, "WHOLE", 1000)
    monkeypatch.setattr(archive_zip, "BLOCK", 512)
    stream = of_study(pair[0].study_instance_uid)
    assert everything(stream) == whole
    assert everything(stream, 9000) == whole[9000:]
    damage(place_of(pair[1]), "flipped")
    for cached in place_of(pair[0]).parents[6].glob("cache/zip/*"):
        cached.unlink()
    with pytest.raises(CannotUnderstand):
        everything(of_study(pair[0].study_instance_uid))


def test_corrected_objects_leave_corrected_and_the_size_is_not_promised(pair: list[Stored]) -> None:
    overlay = {
        "at": "2026-01-03T00:00:00",
        "attributes": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "NEW^NAME"}]}},
    }
    Study.objects.update(overlay=overlay)
    stream = of_study(pair[0].study_instance_uid)
    assert stream.size is None
    data = everything(stream)
    assert data == everything(stream)
    assert everything(stream, 5000) == data[5000:]
    with zipfile.ZipFile(BytesIO(data)) as opened:
        assert opened.testzip() is None
        directory = pydicom.dcmread(BytesIO(opened.read("DICOMDIR")))
        assert directory.DirectoryRecordSequence[0].PatientName == "NEW^NAME"
        for name in opened.namelist()[2:]:
            assert pydicom.dcmread(BytesIO(opened.read(name))).PatientName == "NEW^NAME"


def test_zip64_sizes_offsets_and_counts() -> None:
    """The records around 5 GB entries, with the data left out: a file with holes that zipfile reads."""
    ending = Ending(1 << 21 | 1 << 16)
    central = b"".join(ending.add(f"F{number}".encode(), 5 * 1024**3, number) for number in range(2))
    head = local(b"F1", 5 * 1024**3, 1, ending.moment)
    assert len(head) == local_size(b"F1", 5 * 1024**3)
    assert ending.size() == len(central) + len(ending.tail())
    # zipfile looks for the directory at the end: the entries before it need not be there.
    with zipfile.ZipFile(Sparse(ending.position, central + ending.tail())) as opened:
        assert [info.file_size for info in opened.infolist()] == [5 * 1024**3] * 2
        assert opened.infolist()[1].header_offset == 5 * 1024**3 + len(head)
    many = Ending(0)
    central = b"".join(many.add(b"%d" % number, 0, 0) for number in range(70_000))
    with zipfile.ZipFile(Sparse(many.position, central + many.tail())) as opened:
        assert len(opened.infolist()) == 70_000


class Sparse(BytesIO):
    """A file of `hole` zero bytes, which are not there, and what follows them."""

    def __init__(self, hole: int, content: bytes) -> None:
        super().__init__(content)
        self.hole = hole

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset - self.hole if whence == 0 else offset, whence) + self.hole

    def tell(self) -> int:
        return super().tell() + self.hole


def test_memory_and_queries_do_not_grow_with_the_study(site: Site) -> None:
    def measured(count: int) -> tuple[int, int]:
        uid, series = generate_uid(), generate_uid()
        stored = store(site, part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=series, side=256)))
        first = Location.objects.get(instance_ref__sop_instance_uid=stored.sop_instance_uid)
        copies = Instance.objects.bulk_create(
            Instance(
                site=site,
                series_ref=Series.objects.get(series_instance_uid=series),
                sop_instance_uid=generate_uid(),
                sop_class_uid=first.instance_ref.sop_class_uid,
                instance_number=number,
            )
            for number in range(count)
        )
        folder = Path(first.volume.path)
        for copy in copies:
            (folder / f"{copy.pk}.dcm").symlink_to(folder / first.path)
        Location.objects.bulk_create(
            Location(
                instance_ref=copy, volume=first.volume, path=f"{copy.pk}.dcm", size=first.size, sha256=first.sha256,
                data_set_offset=first.data_set_offset, transfer_syntax_uid=first.transfer_syntax_uid,
            )
            for copy in copies
        )  # fmt: skip
        with CaptureQueriesContext(connection) as captured:
            tracemalloc.start()
            for _ in of_study(uid).blocks():
                pass
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return len(captured), peak

    few, many = measured(50), measured(900)
    assert many[0] - few[0] <= 900 // archive_zip.BATCH + 1  # one query a hundred objects
    assert many[1] < few[1] + 4 * 1024 * 1024


@pytest.fixture
def download() -> Callable[..., Download]:
    content = bytes(range(256)) * 10

    def make(size: int | None = len(content)) -> Download:
        return Download(
            blocks=lambda start: iter([content[start : start + 100], content[start + 100 :]]),
            size=size,
            etag='"abc"',
            content_type="application/zip",
            filename="x.zip",
        )

    return make


RANGES = [
    ("bytes=0-0", 206, 0, 1),
    ("bytes=10-19", 206, 10, 20),
    ("bytes=2000-", 206, 2000, 2560),
    ("bytes=-10", 206, 2550, 2560),
    ("bytes=-99999", 206, 0, 2560),
    ("bytes=0-99999", 206, 0, 2560),
    ("bytes=5-4", 200, 0, 2560),
    ("bytes=-", 200, 0, 2560),
    ("bytes=a-b", 200, 0, 2560),
    ("bytes=0-1,5-6", 200, 0, 2560),
    ("lines=0-1", 200, 0, 2560),
]


@pytest.mark.parametrize(("header", "status", "start", "end"), RANGES)
def test_ranges(download: Callable[..., Download], header: str, status: int, start: int, end: int) -> None:
    content = bytes(range(256)) * 10
    response = answer(RequestFactory().get("/", headers={"range": header}), download())
    assert response.status_code == status
    assert body(response) == content[start:end]
    assert response.headers["Content-Length"] == str(end - start)
    if status == 206:
        assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/2560"
    unknown = answer(RequestFactory().get("/", headers={"range": header}), download(size=None))
    assert (unknown.status_code, body(unknown)) == (200, content)
    assert unknown.headers["Accept-Ranges"] == "none" and "Content-Length" not in unknown.headers


@pytest.mark.parametrize("header", ["bytes=2560-", "bytes=99999-", "bytes=99999999999999999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(download: Callable[..., Download], header: str) -> None:
    response = answer(RequestFactory().get("/", headers={"range": header}), download())
    assert (response.status_code, response.headers["Content-Range"]) == (416, "bytes */2560")


CONDITIONS: list[tuple[dict[str, str], int]] = [
    ({"if-none-match": '"abc"'}, 304),
    ({"if-none-match": 'W/"abc"'}, 304),
    ({"if-none-match": '"x", "abc"'}, 304),
    ({"if-none-match": "*"}, 304),
    ({"if-none-match": '"x"'}, 200),
    ({"range": "bytes=1-2", "if-range": '"abc"'}, 206),
    ({"range": "bytes=1-2", "if-range": '"other"'}, 200),
    ({"range": "bytes=1-2", "if-range": 'W/"abc"'}, 200),
    ({"range": "bytes=1-2", "if-range": "Mon, 23 Nov 2026 10:00:00 GMT"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
def test_conditions(download: Callable[..., Download], headers: dict[str, str], status: int) -> None:
    response = answer(RequestFactory().get("/", headers=headers), download())
    assert response.status_code == status
    assert response.headers["ETag"] == '"abc"'


def test_head_says_all_and_sends_nothing(download: Callable[..., Download]) -> None:
    def never(start: int) -> Iterator[bytes]:
        raise AssertionError("HEAD made a body")

    asked = download()
    response = answer(
        RequestFactory().head("/"), Download(never, asked.size, asked.etag, asked.content_type, asked.filename)
    )
    assert (response.status_code, response.headers["Content-Length"], body(response)) == (200, "2560", b"")
    assert response.headers["Content-Disposition"] == 'attachment; filename="x.zip"'

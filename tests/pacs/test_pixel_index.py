"""Where frames are: found while an object arrives, kept, and right whatever becomes of its file."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, generate_uid

from pacs.models import Location
from pacs.services.data_set import OpenDataSet
from pacs.services.elements import is_big_endian
from pacs.services.frames import StoredImage
from pacs.services.header import scan
from pacs.services.image_description import DESCRIBING
from pacs.services.pixel_index import HEAD, PixelIndex, index_of, keep
from pacs.services.retrieve import instance_of
from pacs.services.store import Stored
from radiology.errors import CannotUnderstand
from radiology.models import Site
from tests.factories import make_token
from tests.pacs.dicomweb import FRAMES_ANY, address, body, parts, store
from tests.pacs.objects import bare, ct, part10, real
from tests.pacs.placed import images, placed


def many(count: int, **attributes: Any) -> tuple[bytes, list[bytes]]:
    """A file of `count` frames of different lengths, and they."""
    frames = [f"{number:05}".encode() + b"." * (number % 7 * 2 + 1) for number in range(1, count + 1)]
    data_set = ct(side=2, NumberOfFrames=count, PixelData=b"", **attributes)
    data_set.file_meta.TransferSyntaxUID = RLELossless
    data_set.PixelData = encapsulate(frames, has_bot=False)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return part10(data_set), frames


def sought(stored: Stored, frames: tuple[int, int] = (1, 64)) -> Location:
    found = instance_of(
        who=make_token(generate_uid())[0],
        study_instance_uid=stored.study_instance_uid,
        series_instance_uid=stored.series_instance_uid,
        sop_instance_uid=stored.sop_instance_uid,
        frames=frames,
    )
    assert found is not None
    return found


@pytest.fixture
def no_header_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def mapped(_: OpenDataSet) -> None:
        raise AssertionError("the header was read")

    monkeypatch.setattr(OpenDataSet, "data", property(mapped))


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_what_arrives_is_indexed_as_what_is_there(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = path.read_bytes()
    location = placed(tmp_path, file)
    syntax = location.transfer_syntax_uid
    data = file[location.data_set_offset :]
    header = scan(data, transfer_syntax_uid=syntax, wanted=DESCRIBING)
    with StoredImage(location) as image:
        looked = image._index
        count = image.description.number_of_frames
        if syntax == DeflatedExplicitVRLittleEndian:
            assert header.has_pixels and header.pixels is None
            return
        values = {tag: element.value for tag, element in header.elements.items()}
        assert header.pixels is not None
        arrived = index_of(
            header.pixels, values, big_endian=is_big_endian(syntax), read=lambda at, size: data[at : at + size]
        )
        packed = arrived.packed()
        assert packed == looked.packed()
        assert packed is not None and len(packed) == HEAD + 8 * (count + 1 if image.is_encapsulated else 0)
        expected = [image.frame(number) for number in range(1, count + 1)]
    location.__dict__.update(pixel_head=packed[:HEAD], frame_starts=packed[HEAD:], first_frame=1)
    monkeypatch.setattr(OpenDataSet, "data", property(lambda _: pytest.fail("the header was read")))
    with StoredImage(location) as again:
        assert (again.description, again.pixels_begin, again.pixels_end, again.pixel_keyword) == (
            image.description, image.pixels_begin, image.pixels_end, image.pixel_keyword
        )  # fmt: skip
        assert [again.frame(number) for number in range(1, count + 1)] == expected
        if again.is_encapsulated:
            pixels = pydicom.dcmread(path).PixelData
            assert expected == list(generate_frames(pixels, number_of_frames=count))


@pytest.mark.parametrize("numbers", [(1,), (10_000,), (4_711, 4_709), (1, 10_000)])
def test_one_of_ten_thousand_frames_costs_one_statement(
    site: Site, numbers: tuple[int, ...], no_header_is_read: None
) -> None:
    file, frames = many(10_000)
    stored = store(site, file)
    kept = Location.objects.values_list("pixels", flat=True).get()
    assert kept is not None and len(kept) == HEAD + 8 * 10_001
    headers = {"Authorization": f"Bearer {make_token()[1]}", "Accept": FRAMES_ANY}
    url = address(stored, f"/frames/{','.join(map(str, numbers))}")
    Client().get(address(stored, "/frames/10001"), headers=headers)
    with CaptureQueriesContext(connection) as captured:
        response = Client().get(url, headers=headers)
    assert [value for _, value in parts(response)] == [_even(frames[number - 1]) for number in numbers]
    assert len(captured) == 2, [query["sql"] for query in captured]


def test_a_frame_whose_place_was_not_read_along_is_looked_up(site: Site, no_header_is_read: None) -> None:
    file, frames = many(200)
    location = sought(store(site, file))
    with StoredImage(location) as image:
        assert image.frame(64) == _even(frames[63])
        assert image.frame(200) == _even(frames[199])
        assert image.frame(3) == _even(frames[2])


def test_every_image_of_a_series_is_indexed_and_no_report_is(site: Site) -> None:
    study, series = generate_uid(), generate_uid()
    for number in range(3):
        store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)))
    assert [len(kept or b"") for kept in Location.objects.values_list("pixels", flat=True)] == [HEAD] * 3
    report = store(site, real("test-SR.dcm").read_bytes())
    kept = Location.objects.values_list("pixels", flat=True)
    assert kept.get(instance_ref__sop_instance_uid=report.sop_instance_uid) is None


@pytest.mark.parametrize("resource", ["/frames/2", "/rendered", "/frames/1/rendered", "/thumbnail"])
def test_what_was_stored_before_there_was_an_index_gets_one(site: Site, resource: str) -> None:
    data_set = pydicom.dcmread(real("rtdose_rle.dcm"))
    stored = store(site, part10(data_set))
    as_arrived = Location.objects.values_list("pixels", flat=True).get()
    assert as_arrived is not None
    Location.objects.update(pixels=None)
    headers = {"Authorization": f"Bearer {make_token()[1]}"}
    first = Client().get(address(stored, resource), headers=headers)
    assert (first.status_code, bool(body(first))) == (200, True)
    assert bytes(Location.objects.values_list("pixels", flat=True).get() or b"") == bytes(as_arrived)


def test_an_index_of_other_bytes_is_not_kept(site: Site) -> None:
    stored = store(site, part10(ct()))
    Location.objects.update(pixels=None)
    location = sought(stored)
    with StoredImage(location) as image:
        index = image._index
    Location.objects.update(sha256=b"\1" * 32, pixels=None)  # compressed meanwhile
    keep(location, index)
    assert Location.objects.values_list("pixels", flat=True).get() is None


def test_deflated_objects_go_without(site: Site) -> None:
    data_set = ct()
    expected = bytes(data_set.PixelData)
    data_set.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    stored = store(site, part10(data_set))
    headers = {"Authorization": f"Bearer {make_token()[1]}"}
    for _ in range(2):
        ((_, value),) = parts(Client().get(address(stored, "/frames/1"), headers=headers))
        assert value == expected
        assert Location.objects.values_list("pixels", flat=True).get() is None


@pytest.mark.parametrize("offset", [-8, 8, 3])
def test_an_index_that_does_not_fit_its_file_gives_no_bytes_of_another_frame(site: Site, offset: int) -> None:
    file, _ = many(5)
    stored = store(site, file)
    packed = Location.objects.values_list("pixels", flat=True).get()
    assert packed is not None
    head, starts = bytes(packed[:HEAD]), list(struct.unpack("<6Q", bytes(packed[HEAD:])))
    starts[2] += offset
    Location.objects.update(pixels=head + struct.pack("<6Q", *starts))
    with StoredImage(sought(stored)) as image:
        for number in (2, 3):
            with pytest.raises(CannotUnderstand):
                image.frame(number)
        assert image.frame(5)


@pytest.mark.parametrize(
    "damage",
    [lambda head: b"", lambda head: head[:-1], lambda head: b"\x80" + head[1:], lambda head: head[:1] + b"\x09" * 40],
    ids=["empty", "short", "of another version", "of no element"],
)  # fmt: skip
def test_an_index_that_is_none_is_made_anew(site: Site, damage: Callable[[bytes], bytes]) -> None:
    stored = store(site, part10(ct()))
    right = bytes(Location.objects.values_list("pixels", flat=True).get() or b"")
    Location.objects.update(pixels=damage(right))
    with StoredImage(sought(stored)) as image:
        assert image.frame(1) == ct().PixelData
    assert bytes(Location.objects.values_list("pixels", flat=True).get() or b"") == right


@pytest.mark.parametrize("entries", [(0, 20, 40), (0, 0, 50), (8, 24, 40), (0, 48, 24)], ids=str)
def test_tables_that_name_no_items_are_not_believed(entries: tuple[int, ...], tmp_path: Path) -> None:
    frames = [b"\xff\xd8\xff\xe0", b"more", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe2"]
    data_set = ct(side=2, NumberOfFrames=3, PixelData=b"")
    data_set.file_meta.TransferSyntaxUID = RLELossless
    values = [struct.pack("<3I", *entries), *frames]
    data_set.PixelData = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in values)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    data_set.ExtendedOffsetTable = struct.pack("<3Q", *entries)
    with StoredImage(placed(tmp_path, part10(data_set))) as image:
        assert [image.frame(number) for number in (1, 2, 3)] == [frames[0] + frames[1], frames[2], frames[3]]


def test_an_object_of_two_gigabytes_is_indexed_without_reading_it(tmp_path: Path) -> None:
    count, size = 4096, 512 * 1024
    data_set = ct(side=512, NumberOfFrames=count, PixelData=b"")
    header = bare(part10(data_set))
    header = header[: header.index(struct.pack("<HH", 0x7FE0, 0x0010))]
    length = count * size
    location = placed(tmp_path, part10(data_set))
    path = tmp_path / location.path
    begin = location.data_set_offset + len(header) + 12
    with path.open("r+b") as file:  # sparse
        file.seek(begin - 12)
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length))
        file.seek(begin + (count - 1) * size)
        file.write(b"last")
        file.truncate(begin + length)
    location.size = begin + length - location.data_set_offset
    with StoredImage(location) as image:
        packed = image._index.packed()
        assert packed is not None and len(packed) == HEAD
        assert next(image.blocks(count)).startswith(b"last")
        assert PixelIndex.unpacked(packed) == image._index


def _even(frame: bytes) -> bytes:
    return frame + b"\0" * (len(frame) % 2)

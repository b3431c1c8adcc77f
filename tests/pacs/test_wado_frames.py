"""Frames of stored images: the right bytes, whatever the form, and no others."""

import struct
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from pacs.services.decode import DECODABLE, decode_frame
from pacs.services.frames import HasNoPixels, StoredImage
from radiology.errors import CannotUnderstand, NotFound
from tests.pacs.objects import ct, part10, real
from tests.pacs.placed import images, pixels_as_pydicom, placed

FRAMES = [b"first frame.", b"the second one", b"3rd!", b"and the fourth"]


def compressed(**attributes: Any) -> Any:
    data_set = ct(side=2, NumberOfFrames=len(FRAMES), PixelData=b"", **attributes)
    data_set.file_meta.TransferSyntaxUID = RLELossless
    return data_set


def encapsulated(folder: Path, pixels: bytes, **attributes: Any) -> StoredImage:
    data_set = compressed(**attributes)
    data_set.PixelData = pixels
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return StoredImage(placed(folder, part10(data_set)))


def items(*values: bytes) -> bytes:
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in values)


@pytest.mark.parametrize("table", [True, False], ids=["with table", "without table"])
def test_each_frame_of_an_encapsulated_image(table: bool, tmp_path: Path) -> None:
    with encapsulated(tmp_path, encapsulate(FRAMES, has_bot=table)) as image:
        assert [image.frame(number + 1) for number in range(4)] == FRAMES


def test_frames_of_several_fragments_by_the_basic_offset_table(tmp_path: Path) -> None:
    with encapsulated(tmp_path, encapsulate(FRAMES, fragments_per_frame=2, has_bot=True)) as image:
        assert image.frame(1) == FRAMES[0]
        assert image.frame(4) == FRAMES[3]


def test_frames_by_the_extended_offset_table(tmp_path: Path) -> None:
    pixels, offsets, lengths = encapsulate_extended(FRAMES)
    extended = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    with encapsulated(tmp_path, pixels, **extended) as image:
        assert [image.frame(number + 1) for number in range(4)] == FRAMES


@pytest.mark.parametrize("offsets", [(0, 0, 0, 0), (4, 9, 77, 12), (0, 2**31, 5, 6), (0, 20, 42, 2**32 - 1)])
def test_an_offset_table_that_lies_is_not_believed(offsets: tuple[int, ...], tmp_path: Path) -> None:
    pixels = items(struct.pack("<4I", *offsets), *FRAMES)
    with encapsulated(tmp_path, pixels) as image:
        assert [image.frame(number + 1) for number in range(4)] == FRAMES


def test_fragments_without_a_table_are_told_apart_by_their_code_streams(tmp_path: Path) -> None:
    pixels = items(
        b"", b"\xff\xd8\xff\xe0", b"more", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe2", b"\xff\xd8\xff\xe3", b"x "
    )
    with encapsulated(tmp_path, pixels) as image:
        assert image.frame(1) == b"\xff\xd8\xff\xe0more"
        assert image.frame(2) == b"\xff\xd8\xff\xe1"
        assert image.frame(4) == b"\xff\xd8\xff\xe3x "


def test_fragments_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    with encapsulated(tmp_path, items(b"", *FRAMES, b"more")) as image, pytest.raises(CannotUnderstand):
        image.frame(1)


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    with encapsulated(tmp_path, encapsulate(FRAMES)) as image:
        for number in (0, 5, -1, 10**9):
            with pytest.raises(NotFound):
                image.frame(number)


def test_more_frames_declared_than_there_are_bytes(tmp_path: Path) -> None:
    with StoredImage(placed(tmp_path, part10(ct(NumberOfFrames=1_000_000)))) as image:
        assert len(image.frame(1)) == 512
        for number in (2, 1_000_000):
            with pytest.raises(CannotUnderstand):
                image.frame(number)


def test_frames_of_single_bits_begin_at_a_whole_byte(tmp_path: Path) -> None:
    bits = numpy.random.default_rng(7).integers(0, 2, (5, 3, 5), dtype=numpy.uint8)
    data_set = ct(
        Rows=3, Columns=5, NumberOfFrames=5, BitsAllocated=1, BitsStored=1, HighBit=0,
        PixelData=numpy.packbits(bits.reshape(-1), bitorder="little").tobytes(),
    )  # fmt: skip
    with StoredImage(placed(tmp_path, part10(data_set))) as image:
        for number in range(5):
            found = numpy.unpackbits(
                numpy.frombuffer(image.frame(number + 1), dtype=numpy.uint8), bitorder="little", count=15
            )
            assert (found.reshape(3, 5) == bits[number]).all()


@pytest.mark.parametrize(("bits", "vr"), [(8, "OW"), (8, "OB"), (16, "OW"), (32, "OW")])
def test_big_endian_frames_come_little_endian(bits: int, vr: str, tmp_path: Path) -> None:
    pixels = numpy.arange(4 * 9, dtype=f"u{bits // 8}").reshape(4, 3, 3)
    stored = pixels.astype(f">u{bits // 8}").tobytes()
    if bits == 8 and vr == "OW":
        stored = numpy.frombuffer(stored, "u2").byteswap().tobytes()
    data_set = ct(Rows=3, Columns=3, NumberOfFrames=4, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
    data_set.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data_set.PixelData = stored
    data_set["PixelData"].VR = vr
    big = pydicom.Dataset()
    big.file_meta = data_set.file_meta
    big.update(data_set)
    big.save_as(tmp_path / "big.dcm", enforce_file_format=True)
    with StoredImage(placed(tmp_path, (tmp_path / "big.dcm").read_bytes())) as image:
        for number in range(4):
            assert image.frame(number + 1) == pixels[number].astype(f"<u{bits // 8}").tobytes()


def test_a_deflated_image_is_read_like_any_other(tmp_path: Path) -> None:
    data_set = ct()
    expected = bytes(data_set.PixelData)
    data_set.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with StoredImage(placed(tmp_path, part10(data_set))) as image:
        assert image.frame(1) == expected
        assert image.frame_transfer_syntax_uid == ExplicitVRLittleEndian


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    with pytest.raises(HasNoPixels):
        StoredImage(placed(tmp_path, real("test-SR.dcm").read_bytes()))


@pytest.mark.parametrize(
    "changes", [{"Rows": 0}, {"Rows": None}, {"BitsAllocated": 0}, {"BitsAllocated": 12}, {"SamplesPerPixel": 0}]
)
def test_an_image_without_a_size_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CannotUnderstand):
        StoredImage(placed(tmp_path, part10(ct(SOPClassUID=SecondaryCaptureImageStorage, **changes))))


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_every_frame_of_every_real_image_is_what_pydicom_reads(path: Path, tmp_path: Path) -> None:
    stored = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    lossy = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
    data_set, array = pixels_as_pydicom(path, as_rgb=stored in lossy)
    with StoredImage(placed(tmp_path, path.read_bytes())) as image:
        description = image.description
        count = description.number_of_frames
        frames = array.reshape(count, -1)
        for number in range(1, count + 1):
            pixels = image.frame(number)
            if image.is_encapsulated:
                assert image.transfer_syntax_uid in DECODABLE
                pixels, _ = decode_frame(
                    frame=pixels, transfer_syntax_uid=image.transfer_syntax_uid, description=description
                )
            found = _as_array(pixels, data_set, encapsulated=image.is_encapsulated)
            numpy.testing.assert_array_equal(found.reshape(-1), frames[number - 1])


def _as_array(pixels: bytes, data_set: pydicom.Dataset, *, encapsulated: bool) -> numpy.ndarray:
    """One frame of native little endian pixels, by pydicom's rules for native pixels."""
    keyword = next(name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in data_set)
    options: dict[str, Any] = {
        "rows": data_set.Rows,
        "columns": data_set.Columns,
        "samples_per_pixel": data_set.SamplesPerPixel,
        "bits_allocated": data_set.BitsAllocated,
        "bits_stored": data_set.get("BitsStored", data_set.BitsAllocated),
        "pixel_representation": data_set.get("PixelRepresentation", 0),
        "photometric_interpretation": data_set.PhotometricInterpretation,
        "number_of_frames": 1,
        "pixel_keyword": keyword,
        "as_rgb": False,
    }
    if encapsulated and options["samples_per_pixel"] > 1:
        options |= {"planar_configuration": 0, "photometric_interpretation": "RGB"}
    elif options["samples_per_pixel"] > 1:
        options["planar_configuration"] = data_set.PlanarConfiguration
    return pydicom.pixels.get_decoder(ExplicitVRLittleEndian).as_array(pixels, index=0, **options)[0]

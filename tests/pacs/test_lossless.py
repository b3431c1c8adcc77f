"""Images written in a lossless transfer syntax: other decoders find every pixel, and nothing else has changed."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy
import openjpeg
import pydicom
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pacs.models import CompressionOutcome, Instance, Location
from pacs.services import lossless
from pacs.services.lossless import Left, encode_object
from pacs.services.part10 import HEAD_SIZE
from pacs.services.transcode import open_as
from pacs.storage import Draft
from radiology.errors import NotAcceptable
from tests.pacs.objects import bare, ct, part10, real
from tests.pacs.placed import placed

SYNTAXES = [JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless]
MAY_DIFFER = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData"}


def smooth(rows: int, columns: int, *, most: int, kind: str = "<u2") -> numpy.ndarray:
    y, x = numpy.mgrid[0:rows, 0:columns]
    noise = numpy.random.default_rng(rows).integers(0, 2, (rows, columns))
    return numpy.where(x < columns // 2, (x + 2 * y) * most // (4 * (rows + columns)) + noise, 0).astype(kind)


def image(pixels: numpy.ndarray, **attributes: Any) -> Dataset:
    """A little image with private attributes, a sequence and something behind its pixels."""
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    shape = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PlanarConfiguration": 0 if colour else None,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    data_set = ct(**{**values, **attributes})
    if "PixelData" in data_set:
        data_set["PixelData"].VR = "OB" if bits == 8 else "OW"
    data_set.add_new(0x00091010, "UN", b"private\xff\xfe ")
    data_set.private_block(0x0011, "ACME", create=True).add_new(0x01, "LO", "hers")
    data_set.RequestAttributesSequence = [Dataset()]
    data_set.RequestAttributesSequence[0].RequestedProcedureID = "RP1"
    data_set.add_new(0xFFFCFFFC, "OB", b"padding!")
    return data_set


def planes() -> Dataset:
    colour = numpy.stack([smooth(60, 50, most=200 + step, kind="u1") for step in (0, 20, 40)])
    return image(numpy.moveaxis(colour, 0, -1), PixelData=colour.tobytes(), PlanarConfiguration=1)


MADE: dict[str, Callable[[], Dataset]] = {
    "16 bits": lambda: image(smooth(65, 47, most=60000)),
    "12 of 16 bits": lambda: image(smooth(48, 48, most=4000), BitsStored=12, HighBit=11),
    "12 signed": lambda: image(
        (smooth(61, 64, most=4000).astype("<i2") - 2000).astype("<i2"), BitsStored=12, HighBit=11
    ),
    "8 bits, odd": lambda: image(smooth(95, 93, most=250, kind="u1"), PhotometricInterpretation="MONOCHROME1"),
    "frames": lambda: image(numpy.stack([smooth(32, 32, most=3000 + n) for n in range(5)]), NumberOfFrames=5),
    "colour by plane": planes,
}
REAL = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
]


def located(folder: Path, file: bytes) -> Location:
    location = placed(folder, file)
    location.sha256 = hashlib.sha256(file[location.data_set_offset :]).digest()
    location.instance_ref = Instance(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid="1.2.3")
    return location


def encoded(folder: Path, file: bytes, syntax: str) -> bytes:
    """The Part 10 file that comes of it."""
    draft = encode_object(location=located(folder, file), transfer_syntax_uid=syntax, alive=lambda _: None)
    try:
        return draft.path.read_bytes()
    finally:
        draft.discard()


def outcome(folder: Path, file: bytes, syntax: str = JPEGLSLossless) -> CompressionOutcome:
    with pytest.raises(Left) as left:
        encoded(folder, file, syntax)
    assert list((folder / "incoming").glob("*")) == []
    return left.value.outcome


def native(data_set: Dataset) -> bytes:
    """The pixels, those of one together."""
    size = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * data_set.BitsAllocated // 8
    pixels = data_set.PixelData[: size * int(data_set.get("NumberOfFrames") or 1)]
    if data_set.get("PlanarConfiguration") == 1:
        kind = f"u{data_set.BitsAllocated // 8}"
        frames = numpy.frombuffer(pixels, kind).reshape(-1, data_set.SamplesPerPixel, data_set.Rows * data_set.Columns)
        return numpy.moveaxis(frames, 1, -1).tobytes()
    return bytes(pixels)


def by_dcmtk(file: bytes, tool: str, folder: Path) -> bytes:
    source, target = folder / "encoded.dcm", folder / "decoded.dcm"
    source.write_bytes(file)
    subprocess.run([tool, str(source), str(target)], check=True, capture_output=True)
    return native(pydicom.dcmread(target))


def stored_bits(pixels: bytes, of: Dataset) -> bytes:
    """The bits that count: what JPEG-LS says of 12 bits is no sign, which dcmtk does not extend to 16."""
    kind = f"<u{of.BitsAllocated // 8}"
    return (numpy.frombuffer(pixels, kind) & ((1 << of.BitsStored) - 1)).astype(kind).tobytes()


def by_pillow(file: bytes) -> bytes:
    data_set = pydicom.dcmread(BytesIO(file))
    count = int(data_set.get("NumberOfFrames") or 1)
    frames = generate_frames(data_set.PixelData, number_of_frames=count)
    kind = f"<u{data_set.BitsAllocated // 8}"
    unused = data_set.BitsAllocated - data_set.BitsStored  # Pillow fills the word from above
    return b"".join((numpy.asarray(Image.open(BytesIO(frame))) >> unused).astype(kind).tobytes() for frame in frames)


def by_openjph(file: bytes) -> bytes:
    """What the archive itself reads with another library. PS3.5 8.2.4: the precision is that of Bits Stored."""
    data_set = pydicom.dcmread(BytesIO(file))
    frames = list(generate_frames(data_set.PixelData, number_of_frames=int(data_set.get("NumberOfFrames") or 1)))
    for frame in frames:
        said = openjpeg.get_parameters(frame)
        assert (said["precision"], said["is_signed"]) == (data_set.BitsStored, data_set.PixelRepresentation == 1)
    return b"".join(imagecodecs.htj2k_decode(frame).tobytes() for frame in frames)


def file_of(name: str) -> bytes:
    return part10(MADE[name]()) if name in MADE else real(name).read_bytes()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"])
@pytest.mark.parametrize("name", [*MADE, *REAL])
def test_other_decoders_find_the_same_pixels_and_nothing_else_changed(
    name: str, syntax: str, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    file = file_of(name)
    made = encoded(tmp_path, file, syntax)
    assert len(made) < len(file)
    before, after = pydicom.dcmread(BytesIO(file)), pydicom.dcmread(BytesIO(made))
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.get("LossyImageCompression") == before.get("LossyImageCompression")
    if syntax == JPEG2000Lossless:
        if before.PixelRepresentation == 0:
            assert by_pillow(made) == native(before)
    elif syntax == HTJ2KLossless:
        assert by_openjph(made) == native(before)
    else:
        tool_name = "dcmdjpls" if syntax == JPEGLSLossless else "dcmdrle"
        assert stored_bits(by_dcmtk(made, tool(tool_name), tmp_path), before) == stored_bits(native(before), before)
    ours = {each.tag: each for each in before if each.keyword not in MAY_DIFFER and each.tag.element}
    assert ours == {each.tag: each for each in after if each.keyword not in MAY_DIFFER}
    decoded = {"YBR_RCT": "RGB"}.get(after.PhotometricInterpretation, after.PhotometricInterpretation)
    assert decoded == before.PhotometricInterpretation
    # What left for a receiver without the syntax is what would have left before.
    (tmp_path / "made").mkdir()
    with open_as(location=placed(tmp_path / "made", made), transfer_syntax_uid=ImplicitVRLittleEndian) as opened:
        back = pydicom.dcmread(BytesIO(opened.read()), force=True)
    assert back.PixelData[: len(native(before))] == native(before)


def test_what_was_explicit_already_stays_byte_by_byte(tmp_path: Path) -> None:
    file = file_of("12 of 16 bits")
    made = encoded(tmp_path, file, JPEGLSLossless)
    pixels = b"\xe0\x7f\x10\x00O"
    assert bare(made).partition(pixels)[0] == bare(file).partition(pixels)[0]
    assert made.endswith(file[file.index(b"\xfc\xff\xfc\xff") :])


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless], ids=["JPEG 2000", "HTJ2K"])
def test_colour_is_half_as_large_by_components(syntax: str, tmp_path: Path) -> None:
    file = real("examples_rgb_color.dcm").read_bytes()
    made = encoded(tmp_path, file, syntax)
    assert len(made) < 0.3 * len(file)
    assert pydicom.dcmread(BytesIO(made)).PhotometricInterpretation == "YBR_RCT"


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_sample_of_every_depth_comes_back_from_htj2k(bits: int, signed: bool, tmp_path: Path) -> None:
    allocated = 8 if bits <= 8 else 16
    least = -(1 << (bits - 1)) if signed else 0
    ends = numpy.array([least, least + (1 << bits) - 1])
    pixels = numpy.repeat(ends, 2000).reshape(40, 100).astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    file = part10(image(pixels, BitsStored=bits, HighBit=bits - 1))
    made = encoded(tmp_path, file, HTJ2KLossless)
    assert by_openjph(made) == pixels.tobytes()


def test_where_frames_are_that_lie_too_far_for_the_basic_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "LARGEST_OFFSET", 100)
    file = file_of("frames")
    made = pydicom.dcmread(BytesIO(encoded(tmp_path, file, RLELossless)))
    assert len(made.ExtendedOffsetTable) == len(made.ExtendedOffsetTableLengths) == 5 * 8
    assert made.pixel_array.tobytes() == native(pydicom.dcmread(BytesIO(file)))


SIGNED = [Dataset()]


def floating() -> Dataset:
    data_set = image(smooth(32, 32, most=99), BitsAllocated=32, PixelData=None)
    data_set.FloatPixelData = smooth(32, 32, most=99, kind="<f4").tobytes()
    return data_set


LEFT: dict[str, tuple[Callable[[], bytes], CompressionOutcome]] = {
    "one bit": (lambda: real("liver_1frame.dcm").read_bytes(), CompressionOutcome.UNSUITABLE),
    "32 bits": (lambda: real("rtdose.dcm").read_bytes(), CompressionOutcome.UNSUITABLE),
    "floating point": (lambda: part10(floating()), CompressionOutcome.UNSUITABLE),
    "padded": (lambda: real("MR_small_padded.dcm").read_bytes(), CompressionOutcome.UNSUITABLE),
    "subsampled": (lambda: real("SC_ybr_full_422_uncompressed.dcm").read_bytes(), CompressionOutcome.UNSUITABLE),
    "compressed already": (lambda: real("MR_small_RLE.dcm").read_bytes(), CompressionOutcome.UNSUITABLE),
    "more than it says": (
        lambda: part10(image(smooth(32, 32, most=99), PixelData=smooth(40, 32, most=99).tobytes())),
        CompressionOutcome.UNSUITABLE,
    ),
    "less than it says": (
        lambda: part10(image(smooth(32, 32, most=99), PixelData=smooth(30, 32, most=99).tobytes())),
        CompressionOutcome.UNSUITABLE,
    ),
    "signed": (
        lambda: part10(image(smooth(32, 32, most=99), DigitalSignaturesSequence=SIGNED)),
        CompressionOutcome.UNSUITABLE,
    ),
    "noise": (
        lambda: part10(image(numpy.random.default_rng(1).integers(0, 65536, (64, 64), dtype="<u2"))),
        CompressionOutcome.NOT_SMALLER,
    ),
    "padding outside of its bits": (
        lambda: part10(
            image(numpy.pad(smooth(32, 32, most=4000), 2, constant_values=63488), BitsStored=12, HighBit=11)
        ),
        CompressionOutcome.DIFFERENT,
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_done_without_loss_or_gain_is_left(name: str, tmp_path: Path) -> None:
    make, expected = LEFT[name]
    assert outcome(tmp_path, make()) == expected


def test_a_deflated_one_is_left(tmp_path: Path) -> None:
    data_set = MADE["16 bits"]()
    data_set.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert outcome(tmp_path, part10(data_set)) == CompressionOutcome.UNSUITABLE


def test_a_file_that_rotted_is_not_made_to_look_sound(tmp_path: Path) -> None:
    location = located(tmp_path, file_of("16 bits"))
    location.sha256 = bytes(32)
    with pytest.raises(Left) as left:
        encode_object(location=location, transfer_syntax_uid=JPEGLSLossless, alive=lambda _: None)
    assert left.value.outcome == CompressionOutcome.DAMAGED


class TestDamage:
    """Whatever an encoder, the memory or the disk does to what is written is noticed before it counts."""

    @pytest.mark.parametrize("syntax", SYNTAXES, ids=["JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"])
    @pytest.mark.parametrize("frame_number", [1, 5])
    def test_one_sample_of_one_frame(
        self, syntax: str, frame_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real_encode, seen = lossless.encode_frame, 0

        def encode(*, frame: bytes, **options: Any) -> bytes:
            nonlocal seen
            seen += 1
            if seen == frame_number:
                frame = frame[:777] + bytes([frame[777] ^ 1]) + frame[778:]
            return real_encode(frame=frame, **options)

        monkeypatch.setattr(lossless, "encode_frame", encode)
        assert outcome(tmp_path, file_of("frames"), syntax) == CompressionOutcome.DIFFERENT

    @pytest.mark.parametrize("syntax", SYNTAXES, ids=["JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"])
    def test_bytes_of_the_code_stream(self, syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real_encode = lossless.encode_frame

        def encode(**options: Any) -> bytes:
            stream = bytearray(real_encode(**options))
            stream[len(stream) // 2] ^= 0x55
            return bytes(stream)

        monkeypatch.setattr(lossless, "encode_frame", encode)
        with pytest.raises((Left, NotAcceptable)):
            encoded(tmp_path, file_of("16 bits"), syntax)
        assert list((tmp_path / "incoming").glob("*")) == []

    def test_an_attribute_that_was_lost_on_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes = lossless._changes
        monkeypatch.setattr(lossless, "_changes", lambda *both: {**changes(*both), 0x00091010: None})
        assert outcome(tmp_path, file_of("16 bits")) == CompressionOutcome.DIFFERENT

    def test_a_byte_on_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real_write = lossless._write

        def write(stored: Any, draft: Draft, *rest: Any) -> None:
            real_write(stored, draft, *rest)
            os.pwrite(draft.fileno(), b"?", HEAD_SIZE + 20)

        monkeypatch.setattr(lossless, "_write", write)
        assert outcome(tmp_path, file_of("16 bits")) == CompressionOutcome.DIFFERENT

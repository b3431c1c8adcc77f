"""Objects in another transfer syntax: values untouched, pixels the same numbers, memory bounded."""

import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from pacs.services.decode import DECODABLE
from pacs.services.part10 import head
from pacs.services.transcode import NATIVE, can_send_as, open_as
from radiology.errors import CannotUnderstand, NotAcceptable
from tests.pacs.objects import bare, ct, part10, real
from tests.pacs.placed import images, part10_files, pixels_as_pydicom, placed

TARGETS = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
# Lossy JPEG comes out as RGB; every other colour space as the object has it.
TO_RGB = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
# pydicom cannot decode these either: one is a fragment of a code stream, one a damaged JPEG.
DAMAGED = {"JPEG2000-embedded-sequence-delimiter.dcm", "JPEG-lossy.dcm"}
DESCRIBES_PIXELS = {"PhotometricInterpretation", "PlanarConfiguration"}
TABLES = {"PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}


def converted(folder: Path, file: bytes, target: str) -> Dataset:
    with open_as(location=placed(folder, file), transfer_syntax_uid=target) as stream:
        data_set = stream.read()
    meta = head(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=target, source_ae_title="")
    return pydicom.dcmread(BytesIO(meta + data_set))


def values(data_set: Dataset, path: str = "") -> Iterator[tuple[str, Any]]:
    for element in data_set:
        if element.tag.element == 0:
            continue
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from values(item, f"{path}{element.tag}[{number}]")
        elif element.keyword not in TABLES:
            yield f"{path}{element.tag}", element


@pytest.mark.parametrize("path", part10_files(), ids=lambda path: path.name)
@pytest.mark.parametrize("target", TARGETS, ids=["explicit", "implicit"])
def test_every_real_object_keeps_its_values_and_pixels(path: Path, target: str, tmp_path: Path) -> None:
    stored = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    if path.name in DAMAGED:
        with pytest.raises(NotAcceptable):
            converted(tmp_path, path.read_bytes(), target)
        return
    if stored not in NATIVE | DECODABLE:
        with pytest.raises(NotAcceptable):
            converted(tmp_path, path.read_bytes(), target)
        return
    result = converted(tmp_path, path.read_bytes(), target)
    original = pydicom.dcmread(path)
    before, after = dict(values(original)), dict(values(result))
    assert before.keys() ^ after.keys() <= {"(0028,0006)"}
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        if one.keyword in DESCRIBES_PIXELS or "UN" in {one.VR, other.VR} or one.is_private:
            continue
        assert one.value == other.value or str(one.value) == str(other.value), name
    if path in images():
        _, expected = pixels_as_pydicom(path, as_rgb=stored in TO_RGB)
        pixels, _ = pydicom.pixels.get_decoder(target).as_array(result, as_rgb=False)
        numpy.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("stored", "wanted", "can"),
    [
        (JPEG2000Lossless, JPEG2000Lossless, True),
        (MPEG2MPML, MPEG2MPML, True),
        ("1.2.840.113619.5.2", "1.2.840.113619.5.2", True),
        (JPEG2000Lossless, ExplicitVRLittleEndian, True),
        (RLELossless, ImplicitVRLittleEndian, True),
        (ExplicitVRBigEndian, ImplicitVRLittleEndian, True),
        (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, True),
        (ExplicitVRLittleEndian, JPEGBaseline8Bit, False),
        (ExplicitVRLittleEndian, ExplicitVRBigEndian, False),
        (JPEG2000Lossless, RLELossless, False),
        (MPEG2MPML, ExplicitVRLittleEndian, False),
    ],
)
def test_what_can_be_sent_as_what(stored: str, wanted: str, can: bool) -> None:
    assert can_send_as(transfer_syntax_uid_stored=stored, transfer_syntax_uid_wanted=wanted) is can


def test_the_same_syntax_gives_the_stored_bytes(tmp_path: Path) -> None:
    file = real("JPEG2000.dcm").read_bytes()
    location = placed(tmp_path, file)
    with open_as(location=location, transfer_syntax_uid=location.transfer_syntax_uid) as stream:
        assert stream.read() == bare(file)


def test_what_cannot_be_had_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    location = placed(tmp_path, part10(ct()))
    with pytest.raises(NotAcceptable):
        open_as(location=location, transfer_syntax_uid=JPEGBaseline8Bit)


def test_there_and_back_again_gives_the_same_bytes(tmp_path: Path) -> None:
    original = part10(ct())
    implicit = converted(tmp_path, original, ImplicitVRLittleEndian)
    implicit.save_as(tmp_path / "implicit.dcm", enforce_file_format=True)
    location = placed(tmp_path, (tmp_path / "implicit.dcm").read_bytes())
    with open_as(location=location, transfer_syntax_uid=ExplicitVRLittleEndian) as stream:
        assert stream.read() == bare(original)


def test_nested_private_and_ambiguous_elements_find_their_representation(tmp_path: Path) -> None:
    data_set = ct(PixelRepresentation=1, SmallestImagePixelValue=-5, side=2)
    data_set["SmallestImagePixelValue"].VR = "SS"
    item = Dataset()
    item.add_new(0x00091010, "UN", b"abcd")
    item.CodeValue = "1"
    data_set.ProcedureCodeSequence = Sequence([item, Dataset()])
    data_set.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    data_set.add_new(0x00291010, "OB", b"SV10")
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    result = converted(tmp_path, part10(data_set), ExplicitVRLittleEndian)
    assert result["SmallestImagePixelValue"].VR == "SS"
    assert result.SmallestImagePixelValue == -5
    assert result["PixelData"].VR == "OW"
    assert result[0x00291010].VR == "OB"
    assert result.ProcedureCodeSequence[0][0x00091010].VR == "UN"
    assert result.ProcedureCodeSequence[0][0x00091010].value == b"abcd"
    assert len(result.ProcedureCodeSequence) == 2


def test_a_value_too_long_for_its_short_form_becomes_unknown(tmp_path: Path) -> None:
    data_set = ct(side=2)
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data_set.add_new(0x00081030, "LO", "x" * 70_000)
    result = converted(tmp_path, part10(data_set), ExplicitVRLittleEndian)
    assert result[0x00081030].value.rstrip() in {"x" * 70_000, b"x" * 70_000}


def test_an_icon_that_is_compressed_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    data_set = pydicom.dcmread(real("MR_small_RLE.dcm"))
    icon = Dataset()
    icon.Rows = icon.Columns = 4
    icon.add_new(0x7FE00010, "OB", encapsulate([b"\0" * 8]))
    icon["PixelData"].is_undefined_length = True
    icon.PhotometricInterpretation = "MONOCHROME2"
    data_set.IconImageSequence = Sequence([icon])
    data_set.ImageComments = "before the pixels"
    result = converted(tmp_path, part10(data_set), ExplicitVRLittleEndian)
    assert "IconImageSequence" not in result
    assert result.ImageComments == "before the pixels"
    assert result.pixel_array.shape == (64, 64)


def test_a_compressed_colour_image_says_what_its_pixels_are_now(tmp_path: Path) -> None:
    result = converted(tmp_path, real("SC_rgb_jpeg_dcmtk.dcm").read_bytes(), ExplicitVRLittleEndian)
    assert result.PhotometricInterpretation == "RGB"
    assert result.PlanarConfiguration == 0
    assert result.BitsAllocated == 8
    assert not result["PixelData"].is_undefined_length


@pytest.mark.parametrize(
    "changes", [{"Rows": 63}, {"Columns": 65535, "Rows": 65535}, {"NumberOfFrames": "1000000"}, {"BitsAllocated": 7}]
)
def test_a_header_that_lies_about_its_pixels_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    data_set = pydicom.dcmread(real("MR_small_RLE.dcm"))
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    with pytest.raises((NotAcceptable, CannotUnderstand)):
        converted(tmp_path, part10(data_set), ExplicitVRLittleEndian)


def test_a_large_object_is_rewritten_without_being_held(tmp_path: Path) -> None:
    size = 96 * 1024 * 1024
    data_set = ct(side=2, Rows=1024, Columns=1024, NumberOfFrames=48)
    data_set.PixelData = b""
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = part10(data_set)
    location = placed(tmp_path, file)
    path = tmp_path / location.path
    with path.open("r+b") as stream:
        stream.seek(len(file) - 4)
        stream.write(size.to_bytes(4, "little"))
        stream.truncate(len(file) + size)
    location.size += size
    tracemalloc.start()
    with open_as(location=location, transfer_syntax_uid=ExplicitVRLittleEndian) as converted_stream:
        length = 0
        while block := converted_stream.read(1 << 20):
            length += len(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length > size
    assert peak < 8 * 1024 * 1024

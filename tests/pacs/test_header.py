"""The header scanner reads what pydicom reads, and survives what nobody should send."""

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.services.header import MAX_DEPTH, scan
from pacs.services.incoming import WANTED
from radiology.errors import CannotUnderstand
from tests.pacs.objects import REAL, bare, ct, part10

COMPLETE = [
    path
    for path in sorted(REAL.rglob("*.dcm"))
    if path.read_bytes()[128:132] == b"DICM"
    and "truncated" not in path.name
    and path.name != "meta_missing_tsyntax.dcm"
]


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.name)
def test_keys_are_those_that_pydicom_reads(path: Path) -> None:
    data_set = dcmread(path)
    header = scan(bare(path.read_bytes()), transfer_syntax_uid=data_set.file_meta.TransferSyntaxUID, wanted=WANTED)
    for tag, keyword in {
        0x00080018: "SOPInstanceUID",
        0x0020000D: "StudyInstanceUID",
        0x00080016: "SOPClassUID",
    }.items():
        assert header.uid(tag) == (data_set.get(keyword) or "")
    for tag, keyword in {0x00280010: "Rows", 0x00280011: "Columns", 0x00280100: "BitsAllocated"}.items():
        assert header.integer(tag) == data_set.get(keyword)
    assert header.first(0x00080060) == (data_set.get("Modality") or "")


def nested(depth: int) -> bytes:
    opening = b"".join(
        struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        for _ in range(depth)
    )
    closing = b"".join(struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) for _ in range(depth))
    return opening + closing


def test_nesting_is_bounded() -> None:
    data = nested(MAX_DEPTH // 2 - 1)
    assert 0x00400275 in scan(data, transfer_syntax_uid=ExplicitVRLittleEndian, wanted=WANTED)
    with pytest.raises(CannotUnderstand, match="nested"):
        scan(nested(300), transfer_syntax_uid=ExplicitVRLittleEndian, wanted=WANTED)
    with pytest.raises(CannotUnderstand, match="nested"):
        scan(nested(100_000), transfer_syntax_uid=ExplicitVRLittleEndian, wanted=WANTED)


def test_a_deflated_bomb_is_not_inflated() -> None:
    data_set = bare(part10(ct()))
    bomb = data_set + struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 100 * 1024**2) + bytes(100 * 1024**2)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(bomb) + deflater.flush()
    assert len(deflated) < 200_000
    with pytest.raises(CannotUnderstand, match="beyond reason"):
        scan(deflated, transfer_syntax_uid=DeflatedExplicitVRLittleEndian, wanted=WANTED)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    honest = deflater.compress(data_set) + deflater.flush()
    assert scan(honest, transfer_syntax_uid=DeflatedExplicitVRLittleEndian, wanted=WANTED).first(0x00080060) == "CT"
    with pytest.raises(CannotUnderstand):
        scan(honest[:-20], transfer_syntax_uid=DeflatedExplicitVRLittleEndian, wanted=WANTED)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@given(data=st.binary(max_size=400))
def test_any_bytes_end_in_a_header_or_a_refusal(syntax: str, data: bytes) -> None:
    try:
        header = scan(data, transfer_syntax_uid=syntax, wanted=WANTED)
    except CannotUnderstand:
        return
    header.to_json()


@given(position=st.integers(0, 1200), byte=st.integers(0, 255))
def test_a_damaged_byte_ends_in_a_header_or_a_refusal(position: int, byte: int) -> None:
    data = bytearray(bare(part10(ct(side=8, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2", SeriesInstanceUID="1.3"))))
    data[position % len(data)] = byte
    try:
        header = scan(bytes(data), transfer_syntax_uid=ExplicitVRLittleEndian, wanted=WANTED)
    except CannotUnderstand:
        return
    header.to_json()


def test_a_value_longer_than_reason_is_passed_over() -> None:
    data_set = ct(StudyDescription=None)
    data_set.add_new(0x00081030, "UT", "x" * 100_000)
    header = scan(bare(part10(data_set)), transfer_syntax_uid=ExplicitVRLittleEndian, wanted=WANTED)
    assert header.first(0x00081030) == ""
    assert header.first(0x00080060) == "CT"

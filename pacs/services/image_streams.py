"""What compressed pixels say of themselves, where those who send them do not (PS3.18 10.5.2)."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from radiology.errors import CannotUnderstand

HEAD = 256 * 1024
_SYNTAX = "1.2.840.10008.1.2."
# The transfer syntaxes of each media type (PS3.18 8.7.3.3.2): the one without loss, and the one with.
SYNTAXES = {
    "image/jls": ("4.80", "4.81"), "image/jp2": ("4.90", "4.91"), "image/jpx": ("4.92", "4.93"),
    "image/jphc": ("4.201", "4.203"), "image/dicom-rle": ("5", "5"), "video/mpeg2": ("4.100", "4.100"),
    "video/mpeg": ("4.100", "4.100"), "video/mp4": ("4.102", "4.102"), "video/h265": ("4.107", "4.107"),
}  # fmt: skip
WAVELETS = {"image/jp2", "image/jpx", "image/jphc"}
BASELINE, EXTENDED, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC3, 0xF7
START_OF_SCAN = 0xDA


def transfer_syntax_of(*, media_type: str, head: bytes) -> str | None:
    """The transfer syntax of a stream that begins with `head`; None for a media type of no compressed pixels.

    What loses something is told from what does not by the stream itself. Raises CannotUnderstand for a
    JPEG of another kind than DICOM has transfer syntaxes for.
    """
    if media_type == "image/jpeg":
        return _SYNTAX + _jpeg_process(head)
    if media_type not in SYNTAXES:
        return None
    lossless, lossy = SYNTAXES[media_type]
    loses = media_type == "image/jls" and _scan(head)[0] != 0
    loses = loses or (media_type in WAVELETS and _is_irreversible(head))
    return _SYNTAX + (lossy if loses else lossless)


def _jpeg_process(head: bytes) -> str:
    marker, *_ = jpeg_frame(head)
    if marker in {BASELINE, EXTENDED}:
        return "4.50" if marker == BASELINE else "4.51"
    if marker != LOSSLESS:
        raise CannotUnderstand("This JPEG is of a process that DICOM has no transfer syntax for.")
    return "4.70" if _scan(head)[0] == 1 else "4.57"


def jpeg_frame(head: bytes) -> tuple[int, int, int, int, int]:
    """Marker, bits, rows, columns and components of a JPEG's frame header (ITU-T T.81 B.2.2)."""
    for marker, position in _segments(head):
        is_frame = 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}
        if (is_frame or marker == JPEG_LS) and position + 8 <= len(head):
            bits, rows, columns, components = struct.unpack_from(">BHHB", head, position + 2)
            return marker, bits, rows, columns, components
    raise CannotUnderstand("This is no JPEG, or one without a frame header.")


def _scan(head: bytes) -> bytes:
    """What the first scan header says behind its components: predictor of a lossless JPEG, NEAR of JPEG-LS."""
    for marker, position in _segments(head):
        if marker == START_OF_SCAN and position + 3 <= len(head):
            begin = position + 3 + 2 * head[position + 2]
            if begin + 3 <= len(head):
                return head[begin : begin + 3]
    raise CannotUnderstand("This is no JPEG, or one without a scan.")


def _segments(head: bytes) -> Iterator[tuple[int, int]]:
    """Marker of each segment up to the first scan, and where its length stands."""
    position = 2
    while head[:2] == b"\xff\xd8" and position + 4 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        yield marker, position + 2
        if marker == START_OF_SCAN:
            return
        position += 2 + struct.unpack_from(">H", head, position + 2)[0]


def _is_irreversible(head: bytes) -> bool:
    """Whether a JPEG 2000 stream uses the 9-7 wavelet (ITU-T T.800 A.6.1)."""
    start = head.find(b"\xff\x4f\xff\x51")
    coding = head.find(b"\xff\x52", start) if start >= 0 else -1
    if coding < 0 or coding + 14 > len(head):
        raise CannotUnderstand("This is no JPEG 2000 stream.")
    return head[coding + 13] == 0


def described(data_set: dict[str, Any], head: bytes) -> dict[str, Any]:
    """`data_set` with those Image Pixel attributes that it lacks, out of the JPEG that begins with `head`."""
    _, bits, rows, columns, components = jpeg_frame(head)
    colour = "RGB" if b"Adobe\0" in head and _adobe_transform(head) == 0 else "YBR_FULL_422"
    values: dict[str, tuple[str, Any]] = {
        "00280002": ("US", components),
        "00280004": ("CS", "MONOCHROME2" if components == 1 else colour),
        "00280010": ("US", rows),
        "00280011": ("US", columns),
        "00280100": ("US", 8 if bits <= 8 else 16),
        "00280101": ("US", bits),
        "00280102": ("US", bits - 1),
        "00280103": ("US", 0),
    }
    if components > 1:
        values["00280006"] = ("US", 0)
    return {**{tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}, **data_set}


def _adobe_transform(head: bytes) -> int:
    position = head.find(b"Adobe\0")
    return head[position + 11] if position + 12 <= len(head) else 1


def code_stream(file: BinaryIO, offset: int, length: int) -> tuple[int, int]:
    """Where in a JP2 file the code stream is, which alone DICOM takes (PS3.5 8.2.4); of a bare one: all of it."""
    file.seek(offset)
    if file.read(12)[4:8] != b"jP  ":
        return offset, length
    end, position = offset + length, offset
    for _ in range(100):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head[:8])
        begin = 8
        if size == 1 and len(head) == 16:
            (size,), begin = struct.unpack(">Q", head[8:]), 16
        size = end - position if size == 0 else size
        if size < begin or position + size > end:
            break
        if kind == b"jp2c":
            return position + begin, size - begin
        position += size
    raise CannotUnderstand("This JP2 file holds no code stream.")

"""One frame's code stream to pixels, after its own header was compared with what was declared."""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from imagecodecs import jpeg8_decode
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

# Lossy JPEG is coded in YBR for compression only; every other colour space is left as the object has it.
CONVERTED_TO_RGB = {JPEGBaseline8Bit, JPEGExtended12Bit}
# ITU-T T.81 B.1.1.3
LOSSLESS_FRAME, START_OF_SCAN, RESTART_INTERVAL = 0xC3, 0xDA, 0xDD


class Undecodable(Exception):
    """The code stream is not what the header says."""


def decode(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], memoryview]:
    """The samples of one frame, little endian, colour by pixel, in `bits_allocated` bits each."""
    pixels, facts = pixels_of(request, payload, as_rgb=request["transfer_syntax_uid"] in CONVERTED_TO_RGB)
    samples = pixels.astype(pixels.dtype.newbyteorder("<"), order="C", copy=False)
    result = samples.reshape(-1).view(np.uint8).data
    if len(result) != request["decoded_size"]:
        raise Undecodable("the decoded frame has another size than the header says")
    return {"photometric_interpretation": str(facts["photometric_interpretation"])}, result


def pixels_of(request: dict[str, Any], payload: bytes, *, as_rgb: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """The frame as an array, (rows, columns) or (rows, columns, samples), and what describes it."""
    uid = UID(request["transfer_syntax_uid"])
    description = request["description"]
    rows, columns, samples = description["rows"], description["columns"], description["samples_per_pixel"]
    source: bytes = payload
    if uid.is_encapsulated:
        found = dimensions(uid, payload)
        if found is not None and found != (rows, columns, samples):
            raise Undecodable("the code stream has another size than the header says")
        if uid in {JPEGLossless, JPEGLosslessSV1} and _is_plain_lossless(payload, description):
            # The quicker one; that of all JPEG decodes wrongly what was shifted (T.81 H.1.2.1).
            grey = jpeg8_decode(payload).astype(f"u{description['bits_allocated'] // 8}", copy=False)
            pixels = grey.view(f"i{grey.itemsize}") if description["pixel_representation"] else grey
            return _in_shape(pixels, rows, columns, samples), description
        source = encapsulate([payload if len(payload) % 2 == 0 else payload + b"\0"], has_bot=False)
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "samples_per_pixel": samples,
        "bits_allocated": description["bits_allocated"],
        "bits_stored": description["bits_stored"],
        "pixel_representation": description["pixel_representation"],
        "photometric_interpretation": description["photometric_interpretation"],
        "number_of_frames": 1,
        "pixel_keyword": request.get("pixel_keyword", "PixelData"),
        "pixel_vr": "OW" if description["bits_allocated"] > 8 else "OB",
        "as_rgb": as_rgb,
    }
    if samples > 1:
        options["planar_configuration"] = description["planar_configuration"]
    pixels, facts = _decoded(uid, source, options)
    return _in_shape(pixels, rows, columns, samples), facts


def _decoded(uid: UID, source: bytes, options: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    decoder = get_decoder(uid)
    if uid in JPEGLSTransferSyntaxes:  # four times as quick as the one that is asked first
        with contextlib.suppress(Exception):
            return decoder.as_array(source, index=0, decoding_plugin="pyjpegls", **options)
    return decoder.as_array(source, index=0, **options)


def _in_shape(pixels: np.ndarray, rows: int, columns: int, samples: int) -> np.ndarray:
    expected = (rows, columns) if samples == 1 else (rows, columns, samples)
    if pixels.shape != expected:
        raise Undecodable("the decoded frame has another size than the header says")
    return pixels


def _is_plain_lossless(stream: bytes, description: dict[str, Any]) -> bool:
    """Whether it is grey, without restarts, and its samples are as they lie in memory."""
    allocated = description["bits_allocated"]
    if description["samples_per_pixel"] != 1 or allocated not in {8, 16}:
        return False
    is_lossless = False
    for marker, position in _segments(stream):
        if marker == RESTART_INTERVAL:
            return False
        if marker == LOSSLESS_FRAME:
            precision = stream[position + 4]
            is_lossless = precision == allocated if description["pixel_representation"] else precision <= allocated
        if marker == START_OF_SCAN:
            components, predictor = stream[position + 4], stream[position + 7]
            return is_lossless and components == 1 and predictor > 0
    return False


def dimensions(uid: UID, stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a code stream declares; None for those that declare none (RLE)."""
    if uid in JPEG2000TransferSyntaxes:
        return _jpeg2000_dimensions(stream)
    if uid in JPEGTransferSyntaxes or uid in JPEGLSTransferSyntaxes:
        return _jpeg_dimensions(stream)
    return None


def _jpeg_dimensions(stream: bytes) -> tuple[int, int, int]:
    """From the frame header SOFn (ITU-T T.81 B.2.2) or SOF55 (T.87 C.2.2)."""
    for marker, position in _segments(stream):
        is_frame = 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}
        if is_frame or marker == 0xF7:
            if position + 10 > len(stream):
                break
            rows, columns, components = struct.unpack_from(">HHB", stream, position + 5)
            return rows, columns, components
    raise Undecodable("the code stream has no frame header")


def _segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """The markers up to that of the first scan, and where each stands."""
    position = stream.find(b"\xff\xd8")
    if position < 0:
        raise Undecodable("the code stream is no JPEG")
    position += 2
    while position + 4 <= len(stream):
        if stream[position] != 0xFF:
            raise Undecodable("the code stream is damaged")
        marker = stream[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        yield marker, position
        if marker == START_OF_SCAN:
            return
        (length,) = struct.unpack_from(">H", stream, position + 2)
        position += 2 + length


def _jpeg2000_dimensions(stream: bytes) -> tuple[int, int, int]:
    """From the SIZ marker segment (ITU-T T.800 A.5.1)."""
    position = stream.find(b"\xff\x4f\xff\x51")
    if position < 0 or position + 42 > len(stream):
        raise Undecodable("the code stream is no JPEG 2000")
    x_size, y_size, x_offset, y_offset = struct.unpack_from(">4I", stream, position + 8)
    (components,) = struct.unpack_from(">H", stream, position + 40)
    return y_size - y_offset, x_size - x_offset, components

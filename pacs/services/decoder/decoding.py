"""One frame's code stream to pixels, after its own header was compared with what was declared."""

import struct
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

# Lossy JPEG is coded in YBR for compression only; every other colour space is left as the object has it.
CONVERTED_TO_RGB = {JPEGBaseline8Bit, JPEGExtended12Bit}


class Undecodable(Exception):
    """The code stream is not what the header says."""


def decode(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The samples of one frame, little endian, colour by pixel, in `bits_allocated` bits each."""
    pixels, facts = pixels_of(request, payload, as_rgb=request["transfer_syntax_uid"] in CONVERTED_TO_RGB)
    result = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
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
    pixels, facts = get_decoder(uid).as_array(source, index=0, **options)
    expected = (rows, columns) if samples == 1 else (rows, columns, samples)
    if pixels.shape != expected:
        raise Undecodable("the decoded frame has another size than the header says")
    return pixels, facts


def dimensions(uid: UID, stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a code stream declares; None for those that declare none (RLE)."""
    if uid in JPEG2000TransferSyntaxes:
        return _jpeg2000_dimensions(stream)
    if uid in JPEGTransferSyntaxes or uid in JPEGLSTransferSyntaxes:
        return _jpeg_dimensions(stream)
    return None


def _jpeg_dimensions(stream: bytes) -> tuple[int, int, int]:
    """From the frame header SOFn (ITU-T T.81 B.2.2) or SOF55 (T.87 C.2.2)."""
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
        (length,) = struct.unpack_from(">H", stream, position + 2)
        is_frame = 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}
        if is_frame or marker == 0xF7:
            if position + 10 > len(stream):
                break
            rows, columns, components = struct.unpack_from(">HHB", stream, position + 5)
            return rows, columns, components
        position += 2 + length
    raise Undecodable("the code stream has no frame header")


def _jpeg2000_dimensions(stream: bytes) -> tuple[int, int, int]:
    """From the SIZ marker segment (ITU-T T.800 A.5.1)."""
    position = stream.find(b"\xff\x4f\xff\x51")
    if position < 0 or position + 42 > len(stream):
        raise Undecodable("the code stream is no JPEG 2000")
    x_size, y_size, x_offset, y_offset = struct.unpack_from(">4I", stream, position + 8)
    (components,) = struct.unpack_from(">H", stream, position + 40)
    return y_size - y_offset, x_size - x_offset, components

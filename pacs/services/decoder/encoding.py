"""One frame's samples to a lossless code stream."""

import os
import struct
from typing import Any

import numpy as np
from imagecodecs import htj2k_encode
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, HTJ2KLossless, JPEGLSLossless, RLELossless

NICENESS = 10


def encode(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The code stream of one native frame, little endian, colour by pixel. From then on the process is a slow one."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    uid = UID(request["transfer_syntax_uid"])
    names = ("rows", "columns", "samples_per_pixel", "bits_allocated", "bits_stored", "pixel_representation")
    description = request["description"]
    if uid == HTJ2KLossless:
        return {}, _high_throughput(payload, description)
    options = {name: description[name] for name in (*names, "photometric_interpretation")}
    if uid == RLELossless:  # which packs bytes, however many of their bits are used
        options["bits_stored"] = description["bits_allocated"]
    stream = get_encoder(uid).encode(
        payload,
        index=0,
        number_of_frames=1,
        planar_configuration=0,
        encoding_plugin="pyjpegls" if uid == JPEGLSLossless else "pylibjpeg",
        **options,
    )
    return {}, bytes(stream)


def _high_throughput(payload: bytes, description: dict[str, Any]) -> bytes:
    """HTJ2K (ITU-T T.814), its precision that of Bits Stored (PS3.5 8.2.4).

    The encoder takes all bits of a word. Of unsigned samples it would take half of the whole range (T.800 G.1), so
    half of the range that they have is taken beforehand; then SIZ says what they are.
    """
    allocated, stored = description["bits_allocated"], description["bits_stored"]
    signed = bool(description["pixel_representation"])
    samples = description["samples_per_pixel"]
    shape = (description["rows"], description["columns"], *((samples,) if samples > 1 else ()))
    pixels = np.frombuffer(payload, f"<{'i' if signed else 'u'}{allocated // 8}").reshape(shape)
    colours: dict[str, Any] = {"rgb": description["photometric_interpretation"] == "YBR_RCT"} if samples > 1 else {}
    if stored == allocated:
        return bytes(htj2k_encode(pixels, reversible=True, **colours))
    if not signed:
        pixels = (pixels.astype(np.int32) - (1 << (stored - 1))).astype(f"<i{allocated // 8}")
    stream = bytearray(htj2k_encode(pixels, reversible=True, **colours))
    for component in range(samples):  # Ssiz (T.800 A.5.1)
        struct.pack_into("B", stream, 42 + 3 * component, stored - 1 | (0x80 if signed else 0))
    return bytes(stream)

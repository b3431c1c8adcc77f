"""One frame's samples to a lossless code stream."""

import os
from typing import Any

from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, JPEGLSLossless, RLELossless

NICENESS = 10


def encode(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The code stream of one native frame, little endian, colour by pixel. From then on the process is a slow one."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    uid = UID(request["transfer_syntax_uid"])
    names = ("rows", "columns", "samples_per_pixel", "bits_allocated", "bits_stored", "pixel_representation")
    description = request["description"]
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

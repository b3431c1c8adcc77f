"""Pictures of plain images, drawn in this process: grey samples as they lie in the file, one rescale and one window.

No code stream is decoded for them, and nothing is believed but a few numbers that are plainly such: it is arithmetic
on no more than MAX_FRAME bytes, and takes less than the way to the bounded child and back. Whatever is not so is left
to the child, which also makes all errors.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from pacs.services.frames import StoredImage
from pacs.services.greyscale import Look, Window, shown_by_window, shown_grey
from pacs.services.header import Element, scan
from pacs.services.picture_files import LARGEST_SIDE, scaled, written
from radiology.errors import CannotUnderstand

MAX_FRAME = 4 * 1024 * 1024
MAX_HEADER = 64 * 1024
MAX_ENLARGED = 1024 * 1024
SYNTAXES = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
CENTRE, WIDTH, FUNCTION = 0x00281050, 0x00281051, 0x00281056
INTERCEPT, SLOPE = 0x00281052, 0x00281053
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
# Tables and functional groups.
MORE = {0x00283000, 0x00283010, 0x52009229, 0x52009230}
WANTED = frozenset({CENTRE, WIDTH, FUNCTION, INTERCEPT, SLOPE, PADDING, PADDING_LIMIT, *MORE})
DECIMAL = re.compile(rb" *([+-]?[0-9]{1,9}(?:\.[0-9]{0,12})?(?:[eE][+-]?[0-9]{1,2})?) *")
FUNCTIONS = {b"": "LINEAR", b"LINEAR": "LINEAR", b"LINEAR_EXACT": "LINEAR_EXACT", b"SIGMOID": "SIGMOID"}


class _Unusual(Exception):
    """The child has to look at it."""


def drawn_plainly(image: StoredImage, number: int, options: Mapping[str, Any]) -> bytes | None:
    """The JPEG of one frame; options as of `pacs.services.render.render_frame`. None of what is not plain.

    Raises as `StoredImage.blocks`.
    """
    if not (_is_plain(image) and _is_usual(image, options)):
        return None
    try:
        look = _look(image, options.get("window"))
    except (_Unusual, CannotUnderstand):
        return None
    found = image.description
    kind = np.dtype(f"<{'i' if found.pixel_representation else 'u'}{found.bits_allocated // 8}")
    frame = image.frame(number)
    if len(frame) != found.decoded_size:
        return None
    pixels = np.frombuffer(frame, kind).reshape(found.rows, found.columns)
    inverted = found.photometric_interpretation == "MONOCHROME1"
    with np.errstate(all="ignore"):
        if look.window is not None:
            grey = shown_by_window(pixels, found.bits_stored, look, inverted=inverted)
        elif _has_more_bits(pixels, found.bits_stored):
            return None
        else:
            grey = shown_grey(pixels, look, inverted=inverted)
    picture = Image.fromarray(grey)
    if options.get("viewport"):
        picture = scaled(picture, *map(int, options["viewport"]))
    return written(picture, "image/jpeg", options["quality"])


def _is_plain(image: StoredImage) -> bool:
    """Whether the samples are grey and stand in whole words in the file."""
    found = image.description
    return (
        not image.is_encapsulated
        and image.transfer_syntax_uid in SYNTAXES
        and image.pixel_keyword == "PixelData"
        and found.photometric_interpretation in {"MONOCHROME1", "MONOCHROME2"}
        and found.samples_per_pixel == 1
        and found.bits_allocated in {8, 16}
        and 1 <= found.bits_stored <= found.bits_allocated
        and found.pixel_representation in {0, 1}
        and found.decoded_size <= MAX_FRAME
        and max(found.rows, found.columns) <= LARGEST_SIDE
    )


def _is_usual(image: StoredImage, options: Mapping[str, Any]) -> bool:
    """Whether the whole frame is wanted as a JPEG, not much larger than it is and with nothing written on it."""
    if options["media_type"] != "image/jpeg" or options.get("region") or options.get("annotation"):
        return False
    viewport = options.get("viewport")
    if not viewport:
        return True
    if len(viewport) != 2:
        return False
    width, height = map(int, viewport)
    is_smaller = width <= image.description.columns or height <= image.description.rows
    return width > 0 and height > 0 and (is_smaller or width * height <= MAX_ENLARGED)


def _has_more_bits(pixels: np.ndarray, stored: int) -> bool:
    """Whether a sample's value does not fit into Bits Stored: its other bits mean something else (an overlay)."""
    least, end = (-(1 << stored - 1), 1 << stored - 1) if pixels.dtype.kind == "i" else (0, 1 << stored)
    return bool(int(pixels.min()) < least or int(pixels.max()) >= end)


def _look(image: StoredImage, asked: Window | None) -> Look:
    """How the frames are to look. Raises _Unusual, CannotUnderstand."""
    if image.pixels_begin - image.source.start > MAX_HEADER:
        raise _Unusual
    elements = scan(image.header(), transfer_syntax_uid=image.transfer_syntax_uid, wanted=WANTED).elements
    if not MORE.isdisjoint(elements):
        raise _Unusual
    intercept, slope = _number(elements.get(INTERCEPT)), _number(elements.get(SLOPE))
    window = asked or _window(elements)
    if window is None and (PADDING in elements or PADDING_LIMIT in elements):
        raise _Unusual
    return Look(slope=1.0 if slope is None else slope, intercept=intercept or 0.0, window=window)


def _window(elements: Mapping[int, Element]) -> Window | None:
    centre, width = _number(elements.get(CENTRE)), _number(elements.get(WIDTH))
    function = elements.get(FUNCTION)
    name = b"" if function is None else function.value.rstrip(b" ")
    if name not in FUNCTIONS or (function is not None and function.vr != "CS"):
        raise _Unusual
    return None if centre is None or width is None or width <= 0 else (centre, width, FUNCTIONS[name])


def _number(element: Element | None) -> float | None:
    """The first of a Decimal String's values; None where there is none."""
    if element is None or (element.vr == "DS" and not element.value):
        return None
    found = [DECIMAL.fullmatch(part) for part in element.value.split(b"\\")]
    if element.vr != "DS" or not all(found) or found[0] is None:
        raise _Unusual
    number = float(found[0][1])
    if not math.isfinite(number):
        raise _Unusual
    return number

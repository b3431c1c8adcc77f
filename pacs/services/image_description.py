"""What a header says of an image's pixels (PS3.3 C.7.6.3), and how far it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from radiology.errors import CannotUnderstand

PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES = 0x00280004, 0x00280008
# Elements that may hold pixels, and the bits of a sample where their name says them.
BITS = {0x7FE00010: 0, 0x7FE00008: 32, 0x7FE00009: 64}
_NUMBERS = {
    0x00280002: "samples_per_pixel",
    0x00280006: "planar_configuration",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280100: "bits_allocated",
    0x00280101: "bits_stored",
    0x00280103: "pixel_representation",
    0x00286010: "representative_frame_number",
}
DESCRIBING = frozenset({*_NUMBERS, PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES})
LONGEST = 64


@dataclass(frozen=True)
class ImageDescription:
    """The Image Pixel attributes (PS3.3 C.7.6.3) that say how to read a frame."""

    rows: int = 0
    columns: int = 0
    samples_per_pixel: int = 1
    bits_allocated: int = 0
    bits_stored: int = 0
    pixel_representation: int = 0
    planar_configuration: int = 0
    photometric_interpretation: str = ""
    number_of_frames: int = 1
    representative_frame_number: int = 0

    @property
    def representative_frame(self) -> int:
        """The frame to show for all: Representative Frame Number where it is one, else the middle one."""
        if 1 <= self.representative_frame_number <= self.number_of_frames:
            return self.representative_frame_number
        return (self.number_of_frames + 1) // 2

    @property
    def pixels(self) -> int:
        """Samples in one frame."""
        return self.rows * self.columns * self.samples_per_pixel

    @property
    def decoded_size(self) -> int:
        """Bytes of one frame, decompressed and not subsampled."""
        return (self.pixels * self.bits_allocated + 7) // 8


def described(
    values: Mapping[int, bytes], *, big_endian: bool, tag: int, native_length: int | None
) -> ImageDescription:
    """The description that the raw `values` of `DESCRIBING` elements make, for pixels under `tag`.

    `native_length` is the length of pixels that are not encapsulated. Raises CannotUnderstand for a size that is
    not given or cannot be.
    """
    known = tuple((number, bytes(value[:LONGEST])) for number, value in values.items())
    return _described(known, big_endian, tag, native_length)


@lru_cache(256)  # the images of a series are described alike
def _described(
    known: tuple[tuple[int, bytes], ...], big_endian: bool, tag: int, native_length: int | None
) -> ImageDescription:
    values = dict(known)
    order = "big" if big_endian else "little"
    facts: dict[str, int | str] = {}
    for number, value in known:
        if number in _NUMBERS and len(value) >= 2:
            facts[_NUMBERS[number]] = int.from_bytes(value[:2], order)  # type: ignore[arg-type]
    if PHOTOMETRIC_INTERPRETATION in values:
        facts["photometric_interpretation"] = _text(values[PHOTOMETRIC_INTERPRETATION])
    if NUMBER_OF_FRAMES in values:
        text = _text(values[NUMBER_OF_FRAMES]).split("\\")[0].strip()
        facts["number_of_frames"] = max(1, int(text)) if text.isascii() and text.isdigit() else 1
    found = ImageDescription(**facts)  # type: ignore[arg-type]
    found = replace(found, bits_allocated=found.bits_allocated or BITS[tag])
    found = replace(found, bits_stored=found.bits_stored or found.bits_allocated)
    if not found.pixels or not found.bits_allocated:
        raise CannotUnderstand("The size of this image is not given.")
    if found.bits_allocated != 1 and found.bits_allocated % 8:
        raise CannotUnderstand(f"Pixels of {found.bits_allocated} bits cannot be taken apart.")
    full = found.decoded_size * found.number_of_frames
    if found.photometric_interpretation == "YBR_FULL_422" and native_length is not None and native_length >= full:
        return replace(found, photometric_interpretation="YBR_FULL")  # mislabelled: nothing is subsampled
    return found


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip("\0 ")

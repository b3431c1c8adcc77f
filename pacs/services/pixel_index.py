"""Where the frames of a stored image are: found once, then kept with its Location, so that no header is read again.

Kept are some forty bytes (`_HEAD`), and behind them, of encapsulated pixels (PS3.5 A.4), where each frame's items
begin and where the last one's end: eight bytes each. All places are counted from the beginning of the data set. An
index is of a stored file, so whoever gives a Location another data set gives it another index, or none.
"""

import struct
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from django.db.models import BinaryField, F, Func, Value

from pacs.models import Location
from pacs.services.header import PixelPlace
from pacs.services.image_description import BITS, DESCRIBING, ImageDescription, described
from radiology.errors import CannotUnderstand

# Whether encapsulated and of explicit VR; which element; Photometric Interpretation; VR; the numbers of the description
# and of the frames; where the value (the first item) begins, and how long it is (up to its delimiter's end).
_HEAD = struct.Struct("<BBB2s8HIQQ")
HEAD = _HEAD.size
START = 8
VERSION = 0x40
ENCAPSULATED, EXPLICIT = 1, 2
MOST_FRAMES = 1_000_000
# Which places are read of an object of which nobody has named frames.
FIRST_FRAMES = 1, 64
EXTENDED_OFFSET_TABLE = 0x7FE00001
# What a frame's code stream begins with: JPEG and JPEG-LS, JPEG 2000, JP2 file.
FRAME_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
NUMBERS = (
    "samples_per_pixel", "rows", "columns", "bits_allocated", "bits_stored", "pixel_representation",
    "planar_configuration", "representative_frame_number",
)  # fmt: skip
TAGS = tuple(BITS)
# Numbered by their place: new ones come behind.
PHOTOMETRIC = (
    "", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422",
    "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB", "HSV", "ARGB", "CMYK",
)  # fmt: skip
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class PixelIndex:
    """The pixels of one data set. `starts` are those of the frames from `first` on, if anybody can tell them apart."""

    description: ImageDescription
    tag: int
    vr: str
    explicit: bool
    is_encapsulated: bool
    offset: int
    length: int
    starts: Sequence[int] = field(repr=False, default=())
    first: int = 1

    @property
    def begin(self) -> int:
        """Where the element begins, its tag included."""
        return self.offset - (12 if self.explicit and self.vr in {"OB", "OD", "OF", "OW"} else 8)

    @property
    def end(self) -> int:
        return self.offset + self.length

    def bounds(self, number: int) -> tuple[int, int] | None:
        """Where the items of a frame begin and end; None when this index does not say."""
        at = number - self.first
        return (self.starts[at], self.starts[at + 1]) if 0 <= at < len(self.starts) - 1 else None

    def packed(self) -> bytes | None:
        """What is kept; None of an image that is too unusual."""
        found = self.description
        if found.photometric_interpretation not in PHOTOMETRIC or len(self.starts) > MOST_FRAMES:
            return None
        try:
            head = _HEAD.pack(
                VERSION | (ENCAPSULATED if self.is_encapsulated else 0) | (EXPLICIT if self.explicit else 0),
                TAGS.index(self.tag),
                PHOTOMETRIC.index(found.photometric_interpretation),
                self.vr.encode("ascii"),
                *(getattr(found, name) for name in NUMBERS),
                found.number_of_frames,
                self.offset,
                self.length,
            )
        except struct.error:
            return None  # numbers that nobody's image has
        return head + struct.pack(f"<{len(self.starts)}Q", *self.starts)

    @classmethod
    def unpacked(cls, head: bytes, starts: bytes = b"", first: int = 1) -> Self | None:
        """The index that was kept, with as much of its frames as was read; None of one that a later version wrote."""
        if len(head) != HEAD:
            return None
        flags, tag, photometric, vr, *numbers, frames, offset, length = _HEAD.unpack(head)
        if flags & ~(ENCAPSULATED | EXPLICIT) != VERSION or tag >= len(TAGS) or photometric >= len(PHOTOMETRIC):
            return None
        description = ImageDescription(
            **dict(zip(NUMBERS, numbers, strict=True)),
            photometric_interpretation=PHOTOMETRIC[photometric],
            number_of_frames=frames,
        )
        return cls(
            description,
            TAGS[tag],
            vr.rstrip(b"\0").decode("ascii"),
            bool(flags & EXPLICIT),
            bool(flags & ENCAPSULATED),
            offset,
            length,
            struct.unpack(f"<{len(starts) // START}Q", starts[: len(starts) // START * START]),
            first,
        )


def index_of(
    place: PixelPlace, values: Mapping[int, bytes], *, big_endian: bool, read: Read, extended: bytes = b""
) -> PixelIndex:
    """The index of pixels that stand at `place`, described by the raw `values` of the data set's elements.

    `read` gives bytes at a place in the data set; it is asked only where there are several fragments a frame.
    `extended` is the Extended Offset Table. Raises CannotUnderstand.
    """
    own = {tag: value for tag, value in values.items() if tag in DESCRIBING}
    native = None if place.items else place.length
    description = described(own, big_endian=big_endian, tag=place.tag, native_length=native)
    length = place.length if native is not None else place.items[-1] + 8 - place.offset
    starts = _starts(place.items, description.number_of_frames, read, extended) if place.items else ()
    return PixelIndex(description, place.tag, place.vr, place.explicit, bool(place.items), place.offset, length, starts)


def _starts(items: "array[int]", count: int, read: Read, extended: bytes) -> Sequence[int]:
    """Where each frame's items begin, and the end of the last; nothing when nobody can tell.

    `items` are all of them, that of the Basic Offset Table first, the delimiter last. A table is believed when it
    rises from zero on and names an item each time.
    """
    first, end = items[1], items[-1]
    if count == 1:
        return first, end
    if len(items) - 2 == count:
        return items[1:]
    known = set(items[1:-1])
    basic = first - items[0] - 8
    for table in (
        struct.unpack(f"<{count}I", read(items[0] + 8, basic)) if basic == 4 * count else (),
        struct.unpack(f"<{count}Q", extended) if len(extended) == 8 * count else (),
    ):
        named = [first + offset for offset in table]
        rises = all(earlier < later for earlier, later in pairwise(named))
        if named and named[0] == first and rises and known.issuperset(named):
            return [*named, end]
    found = [item for item in items[1:-1] if read(item + 8, 8).startswith(FRAME_STARTS)]
    return [*found, end] if len(found) == count and found[0] == first else ()


def kept_index(location: Any) -> PixelIndex | None:
    """The index that was read with a Location (`retrieve.instance_of`), if there is one."""
    head = location.__dict__.get("pixel_head")
    if head is None:
        return None
    return PixelIndex.unpacked(bytes(head), bytes(location.frame_starts or b""), location.first_frame)


def was_sought(location: Any) -> bool:
    """Whether somebody looked for an index, so that it is worth keeping one."""
    return "pixel_head" in location.__dict__


def more_of(location: Any, index: PixelIndex, number: int) -> PixelIndex:
    """`index` with the start of frame `number`, which had not been read with it."""
    pieces: Any = Location.objects.filter(pk=location.pk, sha256=bytes(location.sha256))
    pieces = pieces.annotate(**slices(number, number))
    for head, starts in pieces.values_list("pixel_head", "frame_starts"):
        found = PixelIndex.unpacked(bytes(head or b""), bytes(starts or b""), number)
        if found is not None:
            return found
    raise CannotUnderstand("This object was stored anew at this moment: try again.")


def slices(first: int, last: int) -> dict[str, Any]:
    """What to annotate Locations with: the head of each one's index, and the places of these frames."""
    position, length = slice_of(first, last)
    return {"pixel_head": _piece(1, HEAD), "frame_starts": _piece(position, length), "first_frame": Value(first)}


def slice_of(first: int, last: int) -> tuple[int, int]:
    """Where in an index the starts of these frames are, counted from 1, and how many bytes."""
    return HEAD + 1 + START * (min(first, MOST_FRAMES) - 1), START * min(last - first + 2, MOST_FRAMES)


def _piece(position: int, length: int) -> Func:
    return Func(F("pixels"), Value(position), Value(length), function="substr", output_field=BinaryField())


def keep(location: Any, index: PixelIndex) -> None:
    """Keep an index that was made on demand, unless the Location got other bytes meanwhile."""
    packed = index.packed()
    if packed is not None:
        Location.objects.filter(pk=location.pk, sha256=bytes(location.sha256)).update(pixels=packed)


class _Recent:
    """The indexes of what was last read without one: files in the archive never change."""

    SIZE = 8

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], PixelIndex] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, str]) -> PixelIndex | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, str], index: PixelIndex) -> None:
        with self._lock:
            self._kept[key] = index
            while len(self._kept) > self.SIZE:
                self._kept.popitem(last=False)


recent = _Recent()

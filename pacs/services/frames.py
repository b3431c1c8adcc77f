"""One frame of a stored image, without reading the others.

Native frames are found by arithmetic; encapsulated ones (PS3.5 A.4) by the Extended or Basic Offset
Table where there is one that tells the truth, else by the items' headers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Self

from pydicom.uid import ExplicitVRLittleEndian

from pacs.services.data_set import OpenDataSet, Stored
from pacs.services.elements import LONG_VR, PIXEL_DATA, PIXELS, Kind, Token, behind_fragments, is_big_endian, walk
from pacs.services.encoding import BLOCK, swapped
from pacs.services.fragments import Extent, FragmentIndex, recent
from pacs.services.header import ITEM, MAX_ELEMENTS, SEQUENCE_END, UNDEFINED
from radiology.errors import CannotUnderstand, NotAcceptable, NotFound

MAX_FRAME = 512 * 1024 * 1024
MAX_HEADER = 64 * 1024 * 1024
EXTENDED_OFFSET_TABLE = 0x7FE00001
# What a frame's code stream begins with: JPEG and JPEG-LS, JPEG 2000, JP2 file.
FRAME_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
BITS = {PIXEL_DATA: 0, 0x7FE00008: 32, 0x7FE00009: 64}

# MPEG-2, MPEG-4 AVC and HEVC, their fragmentable forms (PS3.5 A.4.5 to A.4.7) included.
VIDEO = frozenset(
    f"1.2.840.10008.1.2.4.{number}{suffix}"
    for number in (100, 101, 102, 103, 104, 105, 106, 107, 108)
    for suffix in ("", ".1")
    if number < 107 or not suffix
)


class HasNoPixels(NotFound):
    """The object is no image: a report, a document, a note."""


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


class StoredImage:
    """The pixels of one stored object.

    `description` is what its header says; nothing of it is believed before it was checked against
    the bytes. Raises HasNoPixels for what is no image.
    """

    def __init__(self, location: Stored) -> None:
        self._key = (location.volume.pk, location.path)
        self._source = OpenDataSet(location)
        try:
            self.transfer_syntax_uid = self._source.transfer_syntax_uid
            self._big_endian = is_big_endian(self.transfer_syntax_uid)
            self._extended: Token | None = None
            self.description, self._pixels = self._found()
        except BaseException:
            self._source.close()
            raise

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_encapsulated(self) -> bool:
        return self._pixels.kind == Kind.FRAGMENTS

    @property
    def frame_transfer_syntax_uid(self) -> str:
        """What a stored frame is in, as `blocks` gives it: native ones are always little endian."""
        return self.transfer_syntax_uid if self.is_encapsulated else str(ExplicitVRLittleEndian)

    @property
    def pixel_keyword(self) -> str:
        return {32: "FloatPixelData", 64: "DoubleFloatPixelData"}.get(BITS[self._pixels.tag], "PixelData")

    @property
    def source(self) -> OpenDataSet:
        return self._source

    @property
    def native_length(self) -> int:
        """Bytes of native pixel data, the one that makes their number even included."""
        return self._pixels.length

    @property
    def pixels_begin(self) -> int:
        """Where in the source the element of the pixels begins."""
        long_form = self._pixels.explicit and self._pixels.vr in LONG_VR
        return self._pixels.offset - (12 if long_form else 8)

    @property
    def pixels_end(self) -> int:
        """Where in the source the element of the pixels ends."""
        if self.is_encapsulated:
            return behind_fragments(self._source.data, self._pixels.offset, self._source.end)
        return self._pixels.offset + self._pixels.length

    def header(self) -> bytes:
        """The data set up to the pixels, as stored. Raises NotAcceptable when that is beyond reason."""
        end = self.pixels_begin
        if end - self._source.start > MAX_HEADER:
            raise NotAcceptable("The header of this object is too large to be shown.")
        return self._source.read(self._source.start, end - self._source.start)

    def frame(self, number: int) -> bytes:
        """All bytes of one frame, counted from 1, as stored. Raises as `blocks`."""
        return b"".join(self.blocks(number))

    def blocks(self, number: int) -> Iterator[bytes]:
        """One frame as stored, in blocks; native ones little endian and beginning at a whole byte.

        Raises NotFound for a frame that is not there, CannotUnderstand when the pixels are damaged,
        NotAcceptable for a frame larger than MAX_FRAME. Each at the first block.
        """
        if not 1 <= number <= self.description.number_of_frames:
            raise NotFound(f"There is no frame {number}.")
        if self.is_video:
            raise NotAcceptable(
                "The frames of a video cannot be taken apart: ask for it rendered, or for its pixeldata."
            )
        if self.is_encapsulated:
            extents = self._encapsulated(number)
        elif self.description.bits_allocated == 1 or (self._big_endian and self._word > 1):
            yield self._rearranged(number)
            return
        else:
            extents = [self._native(number)]
        if sum(length for _, length in extents) > MAX_FRAME:
            raise NotAcceptable(f"Frame {number} is larger than what can be sent by itself.")
        for offset, length in extents:
            yield from self._read(offset, length)

    @property
    def is_video(self) -> bool:
        """Whether the pixels are one stream of MPEG-2, MPEG-4 or HEVC, whose frames cannot be had by themselves."""
        return self.is_encapsulated and self.transfer_syntax_uid in VIDEO

    def stream(self) -> list[Extent]:
        """Where in `file` the pieces of an encapsulated stream are (PS3.5 A.4.5: fragments, no tables)."""
        table_offset, table_length = self._item(self._pixels.offset)
        return list(self._index(table_offset + table_length))

    def extents_from(self, extents: list[Extent], start: int) -> Iterator[bytes]:
        """The bytes of `extents` in blocks, those before byte `start` left out."""
        for offset, length in extents:
            skipped = min(start, length)
            start -= skipped
            yield from self._read(offset + skipped, length - skipped)

    def native(self) -> Iterator[bytes]:
        """The whole of native pixel data, little endian, without the byte that makes its length even."""
        word = self._word if self._big_endian else 1
        length = min(self._pixels.length, -(-self._frame_bits * self.description.number_of_frames // 8))
        for block in self._read(self._pixels.offset, length):
            yield swapped(block, word) if word > 1 else block

    def _read(self, offset: int, length: int) -> Iterator[bytes]:
        self._source.file.seek(offset)
        while length:
            block = self._source.file.read(min(BLOCK, length))
            if not block:
                raise CannotUnderstand("The pixel data are truncated.")
            length -= len(block)
            yield block

    def _found(self) -> tuple[ImageDescription, Token]:
        """Reads the header's root elements up to the pixels."""
        order = "big" if self._big_endian else "little"
        data = self._source.data
        facts: dict[str, int | str] = {}
        depth = 0
        for token in walk(
            data,
            transfer_syntax_uid=self.transfer_syntax_uid,
            start=self._source.start,
            end=self._source.end,
            into_sequences=False,
        ):
            kind, tag, _vr, offset, length, _explicit = token
            if kind == Kind.SEQUENCE_END:
                depth -= 1
            elif kind == Kind.SEQUENCE:
                depth += length == UNDEFINED
            elif depth or kind > Kind.FRAGMENTS:
                continue
            elif tag in PIXELS:
                return self._checked(ImageDescription(**facts), token), token  # type: ignore[arg-type]
            elif tag in _NUMBERS and length >= 2:
                facts[_NUMBERS[tag]] = int.from_bytes(data[offset : offset + 2], order)  # type: ignore[arg-type]
            elif tag == 0x00280004:
                facts["photometric_interpretation"] = _text(data[offset : offset + min(length, 64)])
            elif tag == 0x00280008:
                number = _text(data[offset : offset + min(length, 64)]).split("\\")[0].strip()
                facts["number_of_frames"] = max(1, int(number)) if number.isascii() and number.isdigit() else 1
            elif tag == EXTENDED_OFFSET_TABLE:
                self._extended = token
        raise HasNoPixels("This object holds no image.")

    def _checked(self, found: ImageDescription, pixels: Token) -> ImageDescription:
        found = replace(found, bits_allocated=found.bits_allocated or BITS[pixels.tag])
        found = replace(found, bits_stored=found.bits_stored or found.bits_allocated)
        if not found.pixels or not found.bits_allocated:
            raise CannotUnderstand("The size of this image is not given.")
        if found.bits_allocated != 1 and found.bits_allocated % 8:
            raise CannotUnderstand(f"Pixels of {found.bits_allocated} bits cannot be taken apart.")
        full = found.decoded_size * found.number_of_frames
        mislabelled = pixels.kind == Kind.ELEMENT and pixels.length >= full
        if found.photometric_interpretation == "YBR_FULL_422" and mislabelled:
            return replace(found, photometric_interpretation="YBR_FULL")
        return found

    @cached_property
    def _word(self) -> int:
        """The size of the words of big endian pixels."""
        bits = self.description.bits_allocated
        if bits > 8:
            return bits // 8
        return 2 if self._pixels.vr == "OW" else 1

    @cached_property
    def _frame_bits(self) -> int:
        """Bits of one native frame; a subsampled one holds two of three samples (PS3.3 C.7.6.3.1.2)."""
        samples = self.description.pixels
        if self.description.photometric_interpretation == "YBR_FULL_422":
            samples = samples // 3 * 2
        return samples * self.description.bits_allocated

    def _native(self, number: int) -> Extent:
        length = self._frame_bits // 8
        offset = (number - 1) * length
        if offset + length > self._pixels.length:
            raise CannotUnderstand(f"The pixel data end before frame {number} does.")
        return self._pixels.offset + offset, length

    def _rearranged(self, number: int) -> bytes:
        """A native frame whose bits do not begin at a byte, or whose words are big endian."""
        first_bit = (number - 1) * self._frame_bits
        end_bit = first_bit + self._frame_bits
        word = self._word if self._big_endian else 1
        first = first_bit // 8 // word * word
        end = min(-(-end_bit // (8 * word)) * word, self._pixels.length)
        if end * 8 < end_bit:
            raise CannotUnderstand(f"The pixel data end before frame {number} does.")
        if end - first > MAX_FRAME:
            raise NotAcceptable(f"Frame {number} is larger than what can be sent by itself.")
        value = self._source.read(self._pixels.offset + first, end - first)
        if word > 1:
            value = swapped(value, word)
        shift = first_bit - first * 8
        size = -(-self._frame_bits // 8)
        if shift % 8 == 0 and self._frame_bits % 8 == 0:
            return value[shift // 8 : shift // 8 + size]
        bits = int.from_bytes(value, "little") >> shift & ((1 << self._frame_bits) - 1)
        return bits.to_bytes(size, "little")

    def _encapsulated(self, number: int) -> list[Extent]:
        table_offset, table_length = self._item(self._pixels.offset)
        first = table_offset + table_length
        count = self.description.number_of_frames
        if self._extended is not None and number <= self._extended.length // 8:
            (start,) = struct.unpack("<Q", self._source.read(self._extended.offset + 8 * (number - 1), 8))
            found = self._one_item(first + start)
            if found is not None:
                return [found]
        if table_length // 4 == count and count > 1:
            found_items = self._by_basic_table(table_offset, first, number, count)
            if found_items:
                return found_items
        index = self._index(first)
        if count == 1:
            return list(index)
        if len(index) == count:
            return [index[number - 1]]
        return self._by_code_streams(index, number, count)

    def _item(self, offset: int) -> Extent:
        found = self._one_item(offset)
        if found is None:
            raise CannotUnderstand("The encapsulated pixel data are damaged.")
        return found

    def _one_item(self, offset: int) -> Extent | None:
        """Offset and length of the value of the item at `offset`; None when there is none."""
        head = self._source.read(offset, 8) if offset + 8 <= self._source.end else b""
        if len(head) < 8:
            return None
        group, number, length = struct.unpack("<HHI", head)
        if group << 16 | number != ITEM or length == UNDEFINED or offset + 8 + length > self._source.end:
            return None
        return offset + 8, length

    def _by_basic_table(self, table: int, first: int, number: int, count: int) -> list[Extent]:
        """The items of one frame by the Basic Offset Table; none when the table is wrong."""
        # The entry before, the frame's own and the next: they must rise, from zero on.
        first_entry, last_entry = max(1, number - 1), min(count, number + 1)
        size = 4 * (last_entry - first_entry + 1)
        entries = struct.unpack(f"<{size // 4}I", self._source.read(table + 4 * (first_entry - 1), size))
        at = number - first_entry
        start = entries[at]
        end = entries[at + 1] if number < count else None
        if any(later <= earlier for earlier, later in pairwise(entries)) or (number == 1) != (start == 0):
            return []
        items: list[Extent] = []
        position = first + start
        while end is None or position < first + end:
            found = self._one_item(position)
            if found is None:
                if end is None and items and self._is_delimiter(position):
                    return items
                return []
            items.append(found)
            position = found[0] + found[1]
        return items if position == first + (end or 0) else []

    def _is_delimiter(self, offset: int) -> bool:
        return self._source.read(offset, 4) == struct.pack("<HH", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF)

    def _index(self, first: int) -> FragmentIndex:
        found = recent.get(self._key)
        if found is None:
            found = FragmentIndex()
            position = first
            for _ in range(MAX_ELEMENTS):
                item = self._one_item(position)
                if item is None:
                    if not self._is_delimiter(position):
                        raise CannotUnderstand("The encapsulated pixel data are truncated or damaged.")
                    break
                found.append(item)
                position = item[0] + item[1]
            recent.put(self._key, found)
        return found

    def _by_code_streams(self, index: FragmentIndex, number: int, count: int) -> list[Extent]:
        """Several items a frame and no table: a frame begins where a code stream does."""
        starts = [at for at, (offset, _) in enumerate(index) if self._source.read(offset, 8).startswith(FRAME_STARTS)]
        if len(starts) != count or starts[0] != 0:
            raise CannotUnderstand("The frames of this object cannot be told apart.")
        end = starts[number] if number < count else len(index)
        return [index[at] for at in range(starts[number - 1], end)]


def _text(value: bytes) -> str:
    return bytes(value).decode("ascii", "replace").strip("\0 ")

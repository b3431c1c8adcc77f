"""One frame of a stored image, without reading the others.

Native frames are found by arithmetic; encapsulated ones (PS3.5 A.4) by the Extended or Basic Offset
Table where there is one that tells the truth, else by the items' headers.
"""

import struct
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType
from typing import Self

from pydicom.uid import ExplicitVRLittleEndian

from pacs.services.data_set import OpenDataSet, Stored
from pacs.services.elements import Kind, fragments, is_big_endian, walk
from pacs.services.encoding import BLOCK, swapped
from pacs.services.header import ITEM, PIXELS, UNDEFINED, PixelPlace
from pacs.services.image_description import BITS, DESCRIBING, LONGEST, ImageDescription
from pacs.services.pixel_index import (
    EXTENDED_OFFSET_TABLE,
    PixelIndex,
    index_of,
    keep,
    kept_index,
    more_of,
    recent,
    was_sought,
)
from radiology.errors import CannotUnderstand, NotAcceptable, NotFound

Extent = tuple[int, int]
MAX_FRAME = 512 * 1024 * 1024
MAX_HEADER = 64 * 1024 * 1024

# MPEG-2, MPEG-4 AVC and HEVC, their fragmentable forms (PS3.5 A.4.5 to A.4.7) included.
VIDEO = frozenset(
    f"1.2.840.10008.1.2.4.{number}{suffix}"
    for number in (100, 101, 102, 103, 104, 105, 106, 107, 108)
    for suffix in ("", ".1")
    if number < 107 or not suffix
)


class HasNoPixels(NotFound):
    """The object is no image: a report, a document, a note."""


class StoredImage:
    """The pixels of one stored object.

    `description` is what its header says; nothing of it is believed before it was checked against
    the bytes. Raises HasNoPixels for what is no image.
    """

    def __init__(self, location: Stored) -> None:
        self._location = location
        self._source = OpenDataSet(location)
        try:
            self.transfer_syntax_uid = self._source.transfer_syntax_uid
            self._big_endian = is_big_endian(self.transfer_syntax_uid)
            self._index = self._indexed()
            self.description: ImageDescription = self._index.description
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
        return self._index.is_encapsulated

    @property
    def frame_transfer_syntax_uid(self) -> str:
        """What a stored frame is in, as `blocks` gives it: native ones are always little endian."""
        return self.transfer_syntax_uid if self.is_encapsulated else str(ExplicitVRLittleEndian)

    @property
    def pixel_keyword(self) -> str:
        return {32: "FloatPixelData", 64: "DoubleFloatPixelData"}.get(BITS[self._index.tag], "PixelData")

    @property
    def source(self) -> OpenDataSet:
        return self._source

    @property
    def native_length(self) -> int:
        """Bytes of native pixel data, the one that makes their number even included."""
        return self._index.length

    @property
    def pixels_begin(self) -> int:
        """Where in the source the element of the pixels begins."""
        return self._source.start + self._index.begin

    @property
    def pixels_end(self) -> int:
        """Where in the source the element of the pixels ends."""
        return self._source.start + self._index.end

    @property
    def _value(self) -> int:
        """Where in the source the value of the pixels begins, or their first item."""
        return self._source.start + self._index.offset

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
        extents = self.extents(number)
        if extents is None:
            yield self._rearranged(number)
        else:
            yield from self.extents_from(extents, 0)

    def extents(self, number: int) -> list[Extent] | None:
        """Where in the source's file the bytes of one frame are; None where bits or bytes must be rearranged.

        Raises as `blocks`.
        """
        if not 1 <= number <= self.description.number_of_frames:
            raise NotFound(f"There is no frame {number}.")
        if self.is_video:
            raise NotAcceptable(
                "The frames of a video cannot be taken apart: ask for it rendered, or for its pixeldata."
            )
        if self.is_encapsulated:
            return self._encapsulated(number)
        if self.description.bits_allocated == 1 or (self._big_endian and self._word > 1):
            return None
        offset, length = self._native(number)
        if length > MAX_FRAME:
            raise NotAcceptable(f"Frame {number} is larger than what can be sent by itself.")
        return [(offset, length)]

    @property
    def is_video(self) -> bool:
        """Whether the pixels are one stream of MPEG-2, MPEG-4 or HEVC, whose frames cannot be had by themselves."""
        return self.is_encapsulated and self.transfer_syntax_uid in VIDEO

    def stream(self) -> list[Extent]:
        """Where in `file` the pieces of an encapsulated stream are (PS3.5 A.4.5: fragments, no tables)."""
        return self._items(self._value, self.pixels_end - 8)[1:]

    def extents_from(self, extents: list[Extent], start: int) -> Iterator[bytes]:
        """The bytes of `extents` in blocks, those before byte `start` left out."""
        for offset, length in extents:
            skipped = min(start, length)
            start -= skipped
            yield from self._read(offset + skipped, length - skipped)

    def native(self) -> Iterator[bytes]:
        """The whole of native pixel data, little endian, without the byte that makes its length even."""
        word = self._word if self._big_endian else 1
        length = min(self._index.length, -(-self._frame_bits * self.description.number_of_frames // 8))
        for block in self._read(self._value, length):
            yield swapped(block, word) if word > 1 else block

    def _read(self, offset: int, length: int) -> Iterator[bytes]:
        while length:
            block = self._source.read(offset, min(BLOCK, length))
            if not block:
                raise CannotUnderstand("The pixel data are truncated.")
            offset += len(block)
            length -= len(block)
            yield block

    def _indexed(self) -> PixelIndex:
        """What was kept, else what the header says; kept then where somebody looked for it."""
        plain = self.transfer_syntax_uid == self._location.transfer_syntax_uid
        found = kept_index(self._location) if plain else None
        if found is not None:
            if found.end > self._source.end - self._source.start:
                raise CannotUnderstand("The pixel data are truncated.")
            return found
        key = (self._location.volume.pk, self._location.path)
        found = recent.get(key)
        if found is None:
            found = self._found()
            recent.put(key, found)
        if plain and was_sought(self._location):
            keep(self._location, found)
        return found

    def _found(self) -> PixelIndex:
        """Reads the header's root elements up to the pixels."""
        source, data, start = self._source, self._source.data, self._source.start
        values: dict[int, bytes] = {}
        extended = b""
        depth = 0
        for token in walk(
            data,
            transfer_syntax_uid=self.transfer_syntax_uid,
            start=start,
            end=source.end,
            into_sequences=False,
        ):
            kind, tag, vr, offset, length, explicit = token
            if kind == Kind.SEQUENCE_END:
                depth -= 1
            elif kind == Kind.SEQUENCE:
                depth += length == UNDEFINED
            elif depth or kind > Kind.FRAGMENTS:
                continue
            elif tag in PIXELS:
                place = PixelPlace(tag, vr, explicit, offset - start, length)
                if kind == Kind.FRAGMENTS:
                    for at, size in fragments(data, offset=offset, end=source.end):
                        place.items.append(at - 8 - start)
                        end = at + size - start
                    place.items.append(end)
                return index_of(
                    place,
                    values,
                    big_endian=self._big_endian,
                    read=lambda at, size: source.read(start + at, size),
                    extended=extended,
                )
            elif tag in DESCRIBING:
                values[tag] = data[offset : offset + min(length, LONGEST)]
            elif tag == EXTENDED_OFFSET_TABLE:
                extended = data[offset : offset + length]
        raise HasNoPixels("This object holds no image.")

    @cached_property
    def _word(self) -> int:
        """The size of the words of big endian pixels."""
        bits = self.description.bits_allocated
        if bits > 8:
            return bits // 8
        return 2 if self._index.vr == "OW" else 1

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
        if offset + length > self._index.length:
            raise CannotUnderstand(f"The pixel data end before frame {number} does.")
        return self._value + offset, length

    def _rearranged(self, number: int) -> bytes:
        """A native frame whose bits do not begin at a byte, or whose words are big endian."""
        first_bit = (number - 1) * self._frame_bits
        end_bit = first_bit + self._frame_bits
        word = self._word if self._big_endian else 1
        first = first_bit // 8 // word * word
        end = min(-(-end_bit // (8 * word)) * word, self._index.length)
        if end * 8 < end_bit:
            raise CannotUnderstand(f"The pixel data end before frame {number} does.")
        if end - first > MAX_FRAME:
            raise NotAcceptable(f"Frame {number} is larger than what can be sent by itself.")
        value = self._source.read(self._value + first, end - first)
        if word > 1:
            value = swapped(value, word)
        shift = first_bit - first * 8
        size = -(-self._frame_bits // 8)
        if shift % 8 == 0 and self._frame_bits % 8 == 0:
            return value[shift // 8 : shift // 8 + size]
        bits = int.from_bytes(value, "little") >> shift & ((1 << self._frame_bits) - 1)
        return bits.to_bytes(size, "little")

    def _encapsulated(self, number: int) -> list[Extent]:
        """The values of the items of one frame. What is not made of whole items is not given."""
        bounds = self._index.bounds(number)
        if bounds is None and self._index.first != number and was_sought(self._location):
            bounds = more_of(self._location, self._index, number).bounds(number)
        if bounds is None:
            raise CannotUnderstand("The frames of this object cannot be told apart.")
        start, end = bounds
        if not self._index.offset < start < end <= self._index.end - 8:
            raise CannotUnderstand("The encapsulated pixel data are damaged.")
        if end - start > MAX_FRAME:
            raise NotAcceptable(f"Frame {number} is larger than what can be sent by itself.")
        return self._items(self._source.start + start, self._source.start + end)

    def _items(self, start: int, end: int) -> list[Extent]:
        """Offset and length of the values of the items that fill the source from `start` to `end`."""
        found = []
        while start < end:
            length = _item_length(self._source.read(start, 8))
            found.append((start + 8, length))
            start += 8 + length
        if start != end:
            raise CannotUnderstand("The encapsulated pixel data are damaged.")
        return found


def _item_length(head: bytes) -> int:
    if len(head) == 8:
        group, number, length = struct.unpack("<HHI", head)
        if group << 16 | number == ITEM and length != UNDEFINED:
            return int(length)
    raise CannotUnderstand("The encapsulated pixel data are damaged.")

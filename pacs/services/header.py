"""Reads a data set's keys without trusting it: no recursion, bounded values, pixels never touched.

The scanner walks the whole data set once (PS3.5 section 7), checks that it is complete and not
nested beyond reason, and keeps the elements that were asked for. A defined-length value is passed
over by its length, so the cost does not grow with the pixels.
"""

import struct
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Any

from pydicom.datadict import dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from radiology.dicom import NAME_GROUPS, PersonName, clean, decode, encodings
from radiology.errors import CannotUnderstand

MAX_DEPTH = 64
MAX_ELEMENTS = 3_000_000
MAX_VALUE = 64 * 1024
UNDEFINED = 0xFFFFFFFF
LONG_VR = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
# With a length of 16 bits and no meaning for the walk.
PLAIN_VR = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
SPECIFIC_CHARACTER_SET = 0x00080005
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
INFLATED_AT_LEAST = 32 * 1024 * 1024
INFLATED_RATIO = 100


@dataclass
class Element:
    """One kept element: its VR and raw value, or the items of a sequence."""

    vr: str
    value: bytes = b""
    items: list["Header"] | None = None


@dataclass
class PixelPlace:
    """Where the pixels of a data set are, counted from its beginning.

    `offset` and `length` are those of the value. Of encapsulated ones (`length` undefined) `items` are the places of
    the items, that of the Basic Offset Table first, and of the delimiter behind them.
    """

    tag: int
    vr: str
    explicit: bool
    offset: int
    length: int
    items: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)


@dataclass
class Header:
    """The kept elements of a data set or item, and how to read them; of a data set, whether it has pixel data.

    `pixels` is where they are, but of a deflated data set.
    """

    big_endian: bool = False
    codecs: list[str] = field(default_factory=lambda: ["iso8859"])
    elements: dict[int, Element] = field(default_factory=dict)
    has_pixels: bool = False
    pixels: PixelPlace | None = None

    def __contains__(self, tag: int) -> bool:
        return tag in self.elements

    def text(self, tag: int) -> str:
        """The whole value as text, empty when there is none; several values keep their backslash."""
        element = self.elements.get(tag)
        if element is None or element.items is not None:
            return ""
        return clean(decode(element.value, self.codecs, person_name=element.vr == "PN"))

    def first(self, tag: int) -> str:
        """The first value: devices put two where one belongs."""
        return self.text(tag).split("\\")[0].strip()

    def uid(self, tag: int) -> str:
        """A UID value, padding removed."""
        element = self.elements.get(tag)
        return element.value.rstrip(b"\0 ").decode("ascii", "replace").strip() if element else ""

    def integer(self, tag: int) -> int | None:
        """The first value of a number that fits a database integer, None when it is none."""
        element = self.elements.get(tag)
        if element is None:
            return None
        if element.vr in NUMBERS:
            values = self._numbers(element)
            number = int(values[0]) if values else None
        else:
            try:
                number = int(float(self.first(tag)))
            except (ValueError, OverflowError):
                return None
        return number if number is not None and -(2**31) <= number < 2**31 else None

    def items(self, tag: int) -> list["Header"]:
        """The items of a sequence."""
        element = self.elements.get(tag)
        return (element.items or []) if element else []

    def to_json(self, tags: Iterable[int] | None = None) -> dict[str, Any]:
        """The elements in the DICOM JSON model (PS3.18 F); bulk and unknown values left out."""
        found = {}
        for tag in sorted(self.elements if tags is None else set(tags) & self.elements.keys()):
            element = self.elements[tag]
            values = self._json_values(tag, element)
            if values is not None:
                found[f"{tag:08X}"] = {"vr": element.vr, "Value": values} if values else {"vr": element.vr}
        return found

    def _numbers(self, element: Element) -> list[Any]:
        code = NUMBERS[element.vr]
        size = struct.calcsize(code)
        count = len(element.value) // size
        order = ">" if self.big_endian else "<"
        return list(struct.unpack(f"{order}{count}{code}", element.value[: count * size]))

    def _json_values(self, tag: int, element: Element) -> list[Any] | None:
        if element.items is not None:
            return [item.to_json() for item in element.items]
        if element.vr in NUMBERS:
            return [value for value in self._numbers(element) if value == value and abs(value) != float("inf")]
        if element.vr == "AT":
            order = ">" if self.big_endian else "<"
            pairs = struct.iter_unpack(f"{order}HH", element.value[: len(element.value) // 4 * 4])
            return [f"{group:04X}{number:04X}" for group, number in pairs]
        if element.vr in {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "SQ"}:
            return None
        text = self.text(tag)
        if not text:
            return []
        if element.vr in {"LT", "ST", "UT", "UR"}:
            return [text]
        values = [value.strip() for value in text.split("\\")]
        if element.vr == "PN":
            return [_name_json(value) for value in values]
        if element.vr in {"DS", "IS"}:
            return [_number_json(value, element.vr) for value in values]
        return list(values)


@dataclass
class _Frame:
    """Where the walk stands: inside a data set (or item), or inside a sequence."""

    end: int
    open_ended: bool
    is_sequence: bool
    explicit: bool
    header: Header | None
    element: Element | None = None


def scan(data: Any, *, transfer_syntax_uid: str, wanted: frozenset[int], start: int = 0) -> Header:
    """The `wanted` elements of the data set that fills `data` (bytes or a memory map) from `start` on.

    Elements inside a wanted sequence are all kept. Raises CannotUnderstand for a data set that is
    empty, truncated, nested deeper than MAX_DEPTH, or no data set at all.
    """
    if len(data) <= start:
        raise CannotUnderstand("The data set is empty.")
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        with inflate(data, start=start) as inflated:
            header = _Walk(inflated.read(), 0, big_endian=False, wanted=wanted).header(explicit=True)
            header.pixels = None  # nobody can go there
            return header
    walk = _Walk(data, start, big_endian=transfer_syntax_uid == ExplicitVRBigEndian, wanted=wanted)
    return walk.header(explicit=transfer_syntax_uid != ImplicitVRLittleEndian)


def inflate(data: Any, *, start: int = 0) -> IO[bytes]:
    """A deflated data set (PS3.5 A.5) that fills `data` from `start` on, inflated into a temporary file.

    Raises CannotUnderstand when it is damaged or grows beyond what real images do.
    """
    limit = max(INFLATED_AT_LEAST, INFLATED_RATIO * (len(data) - start))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    target = TemporaryFile()  # noqa: SIM115  (the caller closes it)
    position, written = start, 0
    try:
        while not inflater.eof:
            feed = inflater.unconsumed_tail
            if not feed:
                feed = data[position : position + 65536]
                position += len(feed)
                if not feed:
                    raise CannotUnderstand("The deflated data set is truncated.")
            chunk = inflater.decompress(feed, 1 << 20)
            written += len(chunk)
            if written > limit:
                raise CannotUnderstand("The deflated data set grows beyond reason when it is inflated.")
            target.write(chunk)
    except zlib.error as error:
        target.close()
        raise CannotUnderstand("The deflated data set is damaged.") from error
    except CannotUnderstand:
        target.close()
        raise
    target.seek(0)
    return target


class _Walk:
    """One pass over one data set."""

    def __init__(self, data: Any, start: int, *, big_endian: bool, wanted: frozenset[int]) -> None:
        self.data = data
        self.start = start
        self.size = len(data)
        self.wanted = wanted
        self.big_endian = big_endian
        order = ">" if big_endian else "<"
        self.tag_struct = struct.Struct(f"{order}HH")
        self.explicit = struct.Struct(f"{order}HH2sH")
        self.short = struct.Struct(f"{order}H")
        self.long = struct.Struct(f"{order}I")

    def header(self, *, explicit: bool) -> Header:
        root = Header(big_endian=self.big_endian)
        frames = [_Frame(self.size, False, False, explicit, root)]
        position = self.start
        count = 0
        try:
            while frames:
                frame = frames[-1]
                if frame.explicit and not frame.is_sequence:
                    position, passed = self._plain_elements(frame, position, is_root=len(frames) == 1)
                    count += passed
                if position >= frame.end:
                    if position > frame.end or (frame.open_ended and len(frames) > 1):
                        raise CannotUnderstand("The data set is truncated.")
                    frames.pop()
                    continue
                count += 1
                if count > MAX_ELEMENTS:
                    raise CannotUnderstand("The data set has too many elements.")
                if frame.is_sequence:
                    position = self._item(frames, frame, position)
                else:
                    position = self._element(frames, frame, position)
                if len(frames) > MAX_DEPTH:
                    raise CannotUnderstand(f"The data set is nested deeper than {MAX_DEPTH} levels.")
        except struct.error as error:
            raise CannotUnderstand("The data set is truncated.") from error
        if not root.elements and count < 2:
            raise CannotUnderstand("These bytes are no DICOM data set.")
        return root

    def _plain_elements(self, frame: _Frame, position: int, *, is_root: bool) -> tuple[int, int]:
        """Pass over, and keep, elements of explicit VR up to one that takes more thought.

        Its position, and how many were passed: MAX_ELEMENTS at most.
        """
        data, wanted, end, unpack = self.data, self.wanted, frame.end - 8, self.explicit.unpack_from
        elements = frame.header.elements if frame.header is not None else {}
        count = 0
        while position <= end and count < MAX_ELEMENTS:
            group, number, vr, length = unpack(data, position)
            if vr not in PLAIN_VR or group < 8 or group > 0x7FDF:
                break
            tag = group << 16 | number
            start = position + 8
            if start + length > frame.end:
                break
            position = start + length
            count += 1
            if frame.header is not None and (not is_root or tag in wanted):
                elements[tag] = Element(vr.decode("ascii"), data[start:position])
                if tag == SPECIFIC_CHARACTER_SET:
                    frame.header.codecs = encodings(elements[tag].value.decode("ascii", "replace").strip("\0 "))
        return position, count

    def _tag(self, position: int) -> int:
        group, number = self.tag_struct.unpack_from(self.data, position)
        return int(group) << 16 | int(number)

    def _item(self, frames: list[_Frame], frame: _Frame, position: int) -> int:
        tag = self._tag(position)
        (length,) = self.long.unpack_from(self.data, position + 4)
        position += 8
        if tag == SEQUENCE_END and frame.open_ended:
            frames.pop()
            return position
        if tag != ITEM:
            raise CannotUnderstand("A sequence holds something that is no item.")
        header = None
        if frame.element is not None and frame.element.items is not None and frame.header is not None:
            header = Header(big_endian=frame.header.big_endian, codecs=frame.header.codecs)
            frame.element.items.append(header)
        end = frame.end if length == UNDEFINED else position + length
        if end > frame.end:
            raise CannotUnderstand("The data set is truncated.")
        frames.append(_Frame(end, length == UNDEFINED, False, frame.explicit, header))
        return position

    def _element(self, frames: list[_Frame], frame: _Frame, position: int) -> int:
        tag = self._tag(position)
        if tag == ITEM_END and frame.open_ended:
            frames.pop()
            return position + 8
        start, vr, length = self._value(frame, position, tag)
        place = None
        if tag in PIXELS and len(frames) == 1 and frame.header is not None:
            frame.header.has_pixels = True
            if frame.header.pixels is None:
                named = vr.decode("ascii") if start - position == 12 else ""
                place = PixelPlace(tag, named, frame.explicit, start - self.start, length)
        keep = frame.header is not None and (len(frames) > 1 or tag in self.wanted)
        if length == UNDEFINED and vr in {b"OB", b"OW"}:
            position = self._fragments(start, frame.end, place)
            if place is not None and frame.header is not None:
                frame.header.pixels = place
            return position
        if vr == b"SQ" or length == UNDEFINED:
            element = Element("SQ", items=[]) if keep else None
            if element is not None and frame.header is not None:
                frame.header.elements[tag] = element
            end = frame.end if length == UNDEFINED else start + length
            if end > frame.end:
                raise CannotUnderstand("The data set is truncated.")
            # A sequence of VR UN is encoded in Implicit VR Little Endian (PS3.5 6.2.2).
            explicit = frame.explicit and vr == b"SQ"
            frames.append(_Frame(end, length == UNDEFINED, True, explicit, frame.header, element))
            return start
        end = start + length
        if end > frame.end:
            if frame.end == self.size and not any(self.data[position : position + 1024]):
                return self.size  # padding behind the last element
            raise CannotUnderstand("The data set is truncated.")
        if place is not None and frame.header is not None:
            frame.header.pixels = place
        if keep and frame.header is not None and length <= MAX_VALUE and tag not in PIXELS:
            value = bytes(self.data[start:end])
            frame.header.elements[tag] = Element(vr.decode("ascii"), value)
            if tag == SPECIFIC_CHARACTER_SET:
                frame.header.codecs = encodings(value.decode("ascii", "replace").strip("\0 "))
        return end

    def _value(self, frame: _Frame, position: int, tag: int) -> tuple[int, bytes, int]:
        """Where the value begins, its VR and its length."""
        if frame.explicit:
            vr = bytes(self.data[position + 4 : position + 6])
            if vr in LONG_VR:
                return position + 12, vr, self.long.unpack_from(self.data, position + 8)[0]
            if vr.isalpha() and vr.isupper():
                return position + 8, vr, self.short.unpack_from(self.data, position + 6)[0]
        (length,) = self.long.unpack_from(self.data, position + 4)
        try:
            vr = dictionary_VR(tag)[:2].encode()
        except KeyError:
            vr = b"UL" if tag & 0xFFFF == 0 else b"LO" if (tag >> 16) & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
        return position + 8, vr, length

    def _fragments(self, position: int, end: int, place: PixelPlace | None) -> int:
        """Pass over encapsulated pixel data (PS3.5 A.4); the position behind its delimiter. Its items go to `place`."""
        note = place.items.append if place is not None else None
        for _ in range(MAX_ELEMENTS):
            tag = self._tag(position)
            (length,) = self.long.unpack_from(self.data, position + 4)
            if note is not None:
                note(position - self.start)
            position += 8
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM or length == UNDEFINED or position + length > end:
                raise CannotUnderstand("The encapsulated pixel data are truncated or damaged.")
            position += length
        raise CannotUnderstand("The encapsulated pixel data have too many fragments.")


def _name_json(value: str) -> dict[str, str]:
    names = dict(zip(NAME_GROUPS, PersonName(value).groups, strict=True))
    return {key: text for key, text in names.items() if text}


def _number_json(value: str, vr: str) -> Any:
    try:
        number = int(value) if vr == "IS" else float(value)
    except (ValueError, OverflowError):
        return value
    return number if abs(number) < 1e300 else value

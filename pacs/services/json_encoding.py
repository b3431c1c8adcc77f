"""A data set of the DICOM JSON model (PS3.18 F) as bytes: Explicit VR Little Endian, in blocks."""

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pacs.services.elements import LONG_VR, PIXEL_DATA
from pacs.services.encoding import ITEM_END, ITEM_START, SEQUENCE_END, WHOLE
from pacs.services.header import ITEM, MAX_DEPTH, UNDEFINED
from pacs.services.metadata import BINARY, NUMBERS, ONE_TEXT, REFERABLE
from radiology.dicom import NAME_GROUPS
from radiology.errors import CannotUnderstand

SPECIFIC_CHARACTER_SET = "00080005"
TEXT = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
VRS = BINARY | set(NUMBERS) | TEXT | {"AT", "DS", "IS", "PN", "SQ"}
# What a server says of an object when it gives its metadata, and is no part of it.
OF_THE_SERVER = {"00080054", "00080056", "00081190", "00083002"}
LARGEST = 0xFFFFFFFE
MAX_VALUES = 1_000_000

JsonModel = Mapping[str, Any]


@dataclass(frozen=True)
class BulkValue:
    """A value given by reference: its length, and its bytes in blocks."""

    length: int
    blocks: Callable[[], Iterator[bytes]]


BulkOf = Callable[[str], BulkValue]


def encoded(data_set: JsonModel, *, bulk: BulkOf, frames: Sequence[BulkValue] | None = None) -> Iterator[bytes]:
    """The bytes of `data_set`; `bulk` gives what a BulkDataURI names.

    With `frames`, they are its pixel data, encapsulated (PS3.5 A.4), an item each. Texts are written in
    UTF-8. Raises CannotUnderstand, which names the element, for what is no such model.
    """
    held = bytearray()
    for block in _encoded(data_set, bulk, frames):
        if len(block) >= WHOLE:
            yield bytes(held)
            yield block
            held.clear()
            continue
        held += block
        if len(held) >= WHOLE:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _encoded(data_set: JsonModel, bulk: BulkOf, frames: Sequence[BulkValue] | None) -> Iterator[bytes]:
    chosen = {
        tag: element
        for tag, element in data_set.items()
        if tag not in OF_THE_SERVER and not tag.startswith(("0000", "0002"))
    }
    chosen.pop(SPECIFIC_CHARACTER_SET, None)
    if not _is_ascii(chosen, 0):
        chosen[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if frames is not None:
        chosen.pop(f"{PIXEL_DATA:08X}", None)
    pixels_written = frames is None
    for tag in _ordered(chosen):
        if not pixels_written and int(tag, 16) > PIXEL_DATA:
            yield from _encapsulated(frames or [])
            pixels_written = True
        yield from _element(tag, chosen[tag], bulk, 0)
    if not pixels_written:
        yield from _encapsulated(frames or [])


def _ordered(data_set: JsonModel) -> list[str]:
    for tag, element in data_set.items():
        if len(tag) != 8 or not all(letter in "0123456789ABCDEF" for letter in tag):
            raise CannotUnderstand(f"{tag[:20]} is no tag of eight hexadecimal digits.")
        if not isinstance(element, dict) or element.get("vr") not in VRS:
            raise CannotUnderstand(f"The element {tag} names no value representation.")
    return sorted(tag for tag in data_set if not tag.endswith("0000"))


def _is_ascii(data_set: JsonModel, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise CannotUnderstand("The data set is nested too deeply.")
    for element in data_set.values():
        values = element.get("Value") if isinstance(element, dict) else None
        for value in values if isinstance(values, list) else ():
            if isinstance(value, str) and not value.isascii():
                return False
            if isinstance(value, dict):
                names = [text for text in value.values() if isinstance(text, str)]
                items = {tag: each for tag, each in value.items() if isinstance(each, dict)}
                if not all(map(str.isascii, names)) or not _is_ascii(items, depth + 1):
                    return False
    return True


def _element(tag: str, element: Mapping[str, Any], bulk: BulkOf, depth: int) -> Iterator[bytes]:
    vr = element["vr"]
    if vr == "SQ" and "BulkDataURI" not in element:
        yield from _sequence(tag, element.get("Value", []), bulk, depth)
        return
    if "BulkDataURI" in element:
        if vr not in REFERABLE:
            raise CannotUnderstand(f"The value of {tag} cannot be given by reference.")
        value = bulk(str(element["BulkDataURI"]))
        yield _head(tag, vr, value.length + value.length % 2)
        yield from value.blocks()
        if value.length % 2:
            yield b" " if vr in TEXT else b"\0"
        return
    try:
        encoded_value = _value(vr, element)
    except (ValueError, TypeError, AttributeError, KeyError, struct.error, OverflowError, binascii.Error) as error:
        raise CannotUnderstand(f"The value of {tag} does not fit its value representation {vr}.") from error
    if len(encoded_value) % 2:
        encoded_value += b" " if vr not in BINARY | {"UI"} else b"\0"
    yield _head(tag, vr, len(encoded_value)) + encoded_value


def _sequence(tag: str, items: Any, bulk: BulkOf, depth: int) -> Iterator[bytes]:
    if depth >= MAX_DEPTH // 2:
        raise CannotUnderstand("The data set is nested too deeply.")
    if not isinstance(items, list) or not all(item is None or isinstance(item, dict) for item in items):
        raise CannotUnderstand(f"The sequence {tag} holds something that is no item.")
    yield _head(tag, "SQ", UNDEFINED)
    for item in items:
        yield ITEM_START
        inner = {name: each for name, each in (item or {}).items() if name != SPECIFIC_CHARACTER_SET}
        for name in _ordered(inner):
            yield from _element(name, inner[name], bulk, depth + 1)
        yield ITEM_END
    yield SEQUENCE_END


def _encapsulated(frames: Sequence[BulkValue]) -> Iterator[bytes]:
    """Pixel data with a Basic Offset Table where its 32 bits do."""
    lengths = [frame.length + frame.length % 2 for frame in frames]
    if max(lengths, default=0) > LARGEST:
        raise CannotUnderstand("A frame is larger than an item can be.")
    offsets = [0]
    for length in lengths[:-1]:
        offsets.append(offsets[-1] + 8 + length)
    table = struct.pack(f"<{len(offsets)}I", *offsets) if offsets[-1] <= LARGEST else b""
    yield _head(f"{PIXEL_DATA:08X}", "OB", UNDEFINED) + _item(len(table)) + table
    for frame, length in zip(frames, lengths, strict=True):
        yield _item(length)
        yield from frame.blocks()
        if frame.length % 2:
            yield b"\0"
    yield SEQUENCE_END


def _item(length: int) -> bytes:
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, length)


def _head(tag: str, vr: str, length: int) -> bytes:
    number = int(tag, 16)
    if vr in LONG_VR:
        if length > LARGEST and length != UNDEFINED:
            raise CannotUnderstand(f"The value of {tag} is too long.")
        return struct.pack("<HH2sHI", number >> 16, number & 0xFFFF, vr.encode("ascii"), 0, length)
    if length > 0xFFFF:
        raise CannotUnderstand(f"The value of {tag} is too long for its value representation {vr}.")
    return struct.pack("<HH2sH", number >> 16, number & 0xFFFF, vr.encode("ascii"), length)


def _value(vr: str, element: Mapping[str, Any]) -> bytes:
    if vr in BINARY:
        if "Value" in element:
            raise ValueError("a binary value is given inline or by reference")
        return base64.b64decode("".join(str(element.get("InlineBinary", "")).split()), validate=True)
    values = element.get("Value", [])
    if not isinstance(values, list) or "InlineBinary" in element or len(values) > MAX_VALUES:
        raise ValueError("values stand in an array")
    if vr in NUMBERS:
        kind = float if vr in {"FL", "FD"} else int
        return struct.pack(f"<{len(values)}{NUMBERS[vr]}", *(_number(value, kind) for value in values))
    if vr == "AT":
        return b"".join(struct.pack("<HH", int(text[:4], 16), int(text[4:], 16)) for text in values)
    if vr in ONE_TEXT and len(values) > 1:
        raise ValueError("this has one value")
    return "\\".join("" if value is None else _text(vr, value) for value in values).encode("utf-8")


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
        raise ValueError("this is no number")
    return kind(value)


def _text(vr: str, value: Any) -> str:
    if vr == "PN":
        if isinstance(value, str):
            return value
        return "=".join(str(value.get(group, "")) for group in NAME_GROUPS).rstrip("=")
    if vr == "DS":
        return value.strip() if isinstance(value, str) else decimal(_number(value, float))
    if vr == "IS":
        return value.strip() if isinstance(value, str) else str(_number(value, int))
    if not isinstance(value, str):
        raise ValueError("this is no text")
    return value


def decimal(number: float) -> str:
    """`number` in the sixteen characters of a DS (PS3.5 6.2), as precisely as they allow."""
    if not math.isfinite(number):
        raise ValueError("this is no number")
    text = str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
    digits = 16
    while len(text) > 16:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text

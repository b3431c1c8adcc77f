"""Walks a data set as a flat row of tokens: no recursion, nothing decoded, values passed over.

Every reader on the way out (metadata, frames, conversion) stands on this walk. It works on a memory
map, of which it touches only what it passes: a value is stepped over by its length.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from pacs.services.header import ITEM, ITEM_END, MAX_DEPTH, MAX_ELEMENTS, SEQUENCE_END, UNDEFINED
from radiology.errors import CannotUnderstand

# VRs whose length stands in 32 bits, behind two reserved bytes (PS3.5 7.1.2).
LONG_VR = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
# Bytes of one number of a binary VR: what big endian encodings turn around (PS3.5 7.3).
WORD = {
    "US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip
PIXEL_REPRESENTATION = 0x00280103
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXELS = {PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA}


class Kind(IntEnum):
    """What a token is. FRAGMENTS is encapsulated pixel data (PS3.5 A.4); its offset is the first item's."""

    ELEMENT = 0
    FRAGMENTS = 1
    SEQUENCE = 2
    SEQUENCE_END = 3
    ITEM = 4
    ITEM_END = 5


class Token(NamedTuple):
    """One step of the walk. `vr` is empty where the encoding names none; `explicit` is of what it stands in."""

    kind: Kind
    tag: int
    vr: str
    offset: int
    length: int
    explicit: bool


class _Level:
    """A data set or item, or a sequence, that the walk is inside of."""

    __slots__ = ("end", "explicit", "is_sequence", "open_ended")

    def __init__(self, end: int, *, open_ended: bool, is_sequence: bool, explicit: bool) -> None:
        self.end = end
        self.open_ended = open_ended
        self.is_sequence = is_sequence
        self.explicit = explicit


def is_big_endian(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid == ExplicitVRBigEndian


def walk(
    data: Any, *, transfer_syntax_uid: str, start: int = 0, end: int | None = None, into_sequences: bool = True
) -> Iterator[Token]:
    """The tokens of the data set that stands in `data` from `start` to `end`.

    Without `into_sequences`, sequences of defined length come as SEQUENCE alone and are stepped over.
    Raises CannotUnderstand where the data set is truncated, damaged or nested beyond reason. Deflated
    data sets are inflated before they come here.
    """
    order = ">" if is_big_endian(transfer_syntax_uid) else "<"
    head = struct.Struct(f"{order}HHI").unpack_from
    short = struct.Struct(f"{order}H").unpack_from
    long = struct.Struct(f"{order}I").unpack_from
    limit = len(data) if end is None else end
    explicit = transfer_syntax_uid != ImplicitVRLittleEndian
    level = _Level(limit, open_ended=False, is_sequence=False, explicit=explicit)
    levels = [level]
    position = start
    try:
        for _ in range(MAX_ELEMENTS):
            while position >= level.end:
                if position > level.end or (level.open_ended and len(levels) > 1):
                    raise CannotUnderstand("The data set is truncated.")
                levels.pop()
                if not levels:
                    return
                yield Token(Kind.SEQUENCE_END if level.is_sequence else Kind.ITEM_END, 0, "", position, 0, explicit)
                level = levels[-1]
                explicit = level.explicit
            group, number, length = head(data, position)
            tag = group << 16 | number
            if level.is_sequence:
                if tag == SEQUENCE_END and level.open_ended:
                    position += 8
                    levels.pop()
                    yield Token(Kind.SEQUENCE_END, 0, "", position, 0, explicit)
                    level = levels[-1]
                    explicit = level.explicit
                    continue
                if tag != ITEM:
                    raise CannotUnderstand("A sequence holds something that is no item.")
                position += 8
                inner_end = level.end if length == UNDEFINED else position + length
                if inner_end > level.end:
                    raise CannotUnderstand("The data set is truncated.")
                level = _Level(inner_end, open_ended=length == UNDEFINED, is_sequence=False, explicit=explicit)
                levels.append(level)
                if len(levels) > MAX_DEPTH:
                    raise CannotUnderstand(f"The data set is nested deeper than {MAX_DEPTH} levels.")
                yield Token(Kind.ITEM, ITEM, "", position, length, explicit)
                continue
            if tag == ITEM_END and level.open_ended:
                position += 8
                levels.pop()
                yield Token(Kind.ITEM_END, 0, "", position, 0, explicit)
                level = levels[-1]
                explicit = level.explicit
                continue
            vr = ""
            offset = position + 8
            if explicit:
                letters = bytes(data[position + 4 : position + 6])
                if letters.isalpha() and letters.isupper():
                    vr = letters.decode("ascii")
                    if vr in LONG_VR:
                        (length,) = long(data, position + 8)
                        offset = position + 12
                    else:
                        (length,) = short(data, position + 6)
            if length == UNDEFINED and (vr in {"OB", "OW"} or (not vr and tag == PIXEL_DATA)):
                yield Token(Kind.FRAGMENTS, tag, vr, offset, length, explicit)
                position = behind_fragments(data, offset, level.end, order)
                continue
            if vr == "SQ" or length == UNDEFINED or (not vr and _is_sequence(tag)):
                inner_end = level.end if length == UNDEFINED else offset + length
                if inner_end > level.end:
                    raise CannotUnderstand("The data set is truncated.")
                yield Token(Kind.SEQUENCE, tag, vr, offset, length, explicit)
                if not into_sequences and length != UNDEFINED:
                    position = inner_end
                    continue
                # A sequence of VR UN is encoded in Implicit VR Little Endian (PS3.5 6.2.2).
                explicit = explicit and vr == "SQ"
                position = offset
                level = _Level(inner_end, open_ended=length == UNDEFINED, is_sequence=True, explicit=explicit)
                levels.append(level)
                if len(levels) > MAX_DEPTH:
                    raise CannotUnderstand(f"The data set is nested deeper than {MAX_DEPTH} levels.")
                continue
            if offset + length > level.end:
                if level.end == limit and not any(data[position : position + 1024]):
                    return  # padding behind the last element
                raise CannotUnderstand("The data set is truncated.")
            yield Token(Kind.ELEMENT, tag, vr, offset, length, explicit)
            position = offset + length
    except struct.error as error:
        if not any(data[position : position + 1024]):
            return
        raise CannotUnderstand("The data set is truncated.") from error
    raise CannotUnderstand("The data set has too many elements.")


def fragments(data: Any, *, offset: int, end: int | None = None, order: str = "<") -> Iterator[tuple[int, int]]:
    """Offset and length of each item's value of encapsulated pixel data, the Basic Offset Table first."""
    limit = len(data) if end is None else end
    head = struct.Struct(f"{order}HHI").unpack_from
    try:
        for _ in range(MAX_ELEMENTS):
            group, number, length = head(data, offset)
            tag = group << 16 | number
            offset += 8
            if tag == SEQUENCE_END:
                return
            if tag != ITEM or length == UNDEFINED or offset + length > limit:
                raise CannotUnderstand("The encapsulated pixel data are truncated or damaged.")
            yield offset, length
            offset += length
    except struct.error as error:
        raise CannotUnderstand("The encapsulated pixel data are truncated.") from error
    raise CannotUnderstand("The encapsulated pixel data have too many fragments.")


def behind_fragments(data: Any, offset: int, end: int, order: str = "<") -> int:
    """Where the encapsulated pixel data end whose first item stands at `offset`, their delimiter included."""
    position = offset
    for start, length in fragments(data, offset=offset, end=end, order=order):
        position = start + length
    return position + 8


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The VR that PS3.6 names for a standard tag, as pydicom spells it (`US or SS`); empty when unknown."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else ""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """The VR of a private element of a known private creator (PS3.5 7.8.1); empty when unknown."""
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return ""


def _is_sequence(tag: int) -> bool:
    return dictionary_vr(tag) == "SQ"


@dataclass
class _Scope:
    """What the VR of an element depends on, of the data set or item that it stands in."""

    signed: bool = False
    creators: dict[int, str] = field(default_factory=dict)


class ValueRepresentations:
    """The VR of each element of a walk, also where the encoding names none (PS3.5 6.2.2, A.1)."""

    def __init__(self) -> None:
        self._scopes = [_Scope()]

    def enter_item(self) -> None:
        self._scopes.append(_Scope(signed=self._scopes[-1].signed))

    def leave_item(self) -> None:
        self._scopes.pop()

    def of(self, token: Token, data: Any) -> str:
        """The VR of an ELEMENT, which must be asked for in the order of the walk."""
        scope = self._scopes[-1]
        tag, length = token.tag, token.length
        if tag == PIXEL_REPRESENTATION and length == 2:
            scope.signed = any(data[token.offset : token.offset + 2])
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF and length <= 64:
            name = bytes(data[token.offset : token.offset + length]).decode("ascii", "replace").strip("\0 ")
            scope.creators[(tag >> 16) << 16 | tag & 0xFF] = name
        if token.vr:
            return token.vr
        vr = dictionary_vr(tag)
        if not vr and tag >> 16 & 1:
            vr = private_vr(tag, scope.creators.get((tag >> 16) << 16 | (tag >> 8) & 0xFF, ""))
        if " or " in vr:
            vr = "OW" if "OW" in vr else "SS" if scope.signed else "US"
        fits = length <= 0xFFFF or vr in LONG_VR
        return vr if vr and vr != "SQ" and fits and length % WORD.get(vr, 1) == 0 else "UN"

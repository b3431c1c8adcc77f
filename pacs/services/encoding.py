"""Writes a data set again in another encoding, without decoding its values.

Headers are rewritten (VR or none, little endian, sequences with delimiters); values stay as they are,
except that big endian numbers are turned around. Large values pass in blocks, so the memory does not
grow with the object.
"""

import array
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pacs.services.elements import (
    LONG_VR,
    PIXEL_DATA,
    WORD,
    Kind,
    Token,
    ValueRepresentations,
    dictionary_vr,
    fragments,
    is_big_endian,
    walk,
)
from pacs.services.header import UNDEFINED
from pacs.services.overlay import (
    ONLY_WHERE_PRESENT,
    ORIGINAL_ATTRIBUTES_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    TEXT_VR,
    Overlay,
    fitting_codec,
    recoded,
)
from radiology.dicom import encodings
from radiology.errors import CannotUnderstand, NotAcceptable

BLOCK = 1 << 20
WHOLE = 64 * 1024
LARGEST_ICON = 1 << 20
LARGEST_TEXT = 16 << 20
ICON_IMAGE_SEQUENCE = 0x00880200
BITS_ALLOCATED = 0x00280100
ITEM_START = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@dataclass
class Pixels:
    """Pixel data that take the place of the encapsulated ones: `length` bytes in all."""

    length: int
    blocks: Iterator[bytes]
    bits_allocated: int


def rewritten(
    *,
    data: Any,
    file: BinaryIO,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    explicit: bool,
    changes: Mapping[int, bytes | None] | None = None,
    pixels: Pixels | None = None,
    overlay: Overlay | None = None,
    keep_encapsulated: bool = False,
) -> Iterator[bytes]:
    """The data set in `data[start:end]` in Explicit or Implicit VR Little Endian, in chunks.

    `data` maps the bytes of `file`, from which large values are read. `changes` replaces (or, with
    None, removes) elements of the data set itself; one that is missing is put in. `pixels` replaces
    encapsulated pixel data. `overlay` is laid over the data set itself, with a record of what it
    replaces; what its words need, the data set's text becomes: UTF-8. With `keep_encapsulated`,
    compressed pixels pass as they are. Raises CannotUnderstand for a damaged data set, NotAcceptable
    for encapsulated pixels in a place where they cannot be decoded.
    """
    layer = None
    if overlay is not None:
        layer = _Layer(overlay, _character_set(data, transfer_syntax_uid, start, end))
        explicit_changes = {tag: value for tag, (_, value) in layer.values.items()}
        changes = {**explicit_changes, **(changes or {})}
    writer = _Writer(explicit=explicit, swap=is_big_endian(transfer_syntax_uid), recodes=layer.recodes if layer else "")
    changes = changes or {}
    pending = sorted(changes.items())
    icon_starts = -1
    in_icon = dropping = False
    for token in walk(data, transfer_syntax_uid=transfer_syntax_uid, start=start, end=end):
        kind, tag, _vr, offset, length, _explicit = token
        root = writer.depth == 0
        if root and kind <= Kind.SEQUENCE:
            in_icon = dropping = False
            while pending and pending[0][0] <= tag:
                changed, value = pending.pop(0)
                if value is not None and (changed == tag or changed not in ONLY_WHERE_PRESENT):
                    writer.put(changed, dictionary_vr(changed), value)
                    if layer and changed != tag:
                        layer.added(writer, changed)
            if layer and tag > ORIGINAL_ATTRIBUTES_SEQUENCE:
                layer.put_record(writer)
            if layer and tag in layer.values:
                layer.begin(tag)
            elif tag in changes:
                if kind != Kind.ELEMENT:
                    raise CannotUnderstand("An element of the image description is no plain value.")
                continue
            if kind == Kind.SEQUENCE and tag == ICON_IMAGE_SEQUENCE and not keep_encapsulated:
                icon_starts, in_icon = len(writer.out), True
        replacing = layer is not None and layer.is_replacing
        if kind == Kind.ELEMENT:
            if dropping or tag & 0xFFFF == 0:
                continue  # group lengths would be wrong now (PS3.5 7.2)
            vr = writer.vr_of(token, data)
            if replacing and layer is not None:
                if length <= WHOLE:
                    writer.element(tag, vr, data[offset : offset + length], into=layer.original)
                if root:
                    layer.end(tag)
            elif length <= (LARGEST_ICON if in_icon else WHOLE) or writer.must_recode(vr, length):
                writer.element(tag, vr, data[offset : offset + length])
            elif in_icon:
                del writer.out[icon_starts:]
                dropping = True
            else:
                yield writer.taken()
                yield writer.head(tag, vr, length)
                yield from _blocks(file, offset, length, writer.word(tag, vr))
        elif kind == Kind.FRAGMENTS:
            if root and tag == PIXEL_DATA and pixels is not None:
                yield writer.taken()
                padding = pixels.length % 2
                yield writer.head(tag, "OB" if pixels.bits_allocated <= 8 else "OW", pixels.length + padding)
                yield from pixels.blocks
                if padding:
                    yield b"\0"
                pixels = None
            elif keep_encapsulated:
                if not replacing:
                    yield writer.taken()
                    yield writer.head(tag, "OB", UNDEFINED)
                    yield from _blocks(file, offset, _length_of_fragments(data, offset, end), 1)
            elif in_icon:
                if not dropping:
                    del writer.out[icon_starts:]
                dropping = True
            else:
                raise NotAcceptable("This object holds compressed pixels in a place where they cannot be decoded.")
        else:
            if layer and kind == Kind.SEQUENCE_END and writer.depth == 1 and layer.in_record:
                layer.put_item(writer)
            if layer and kind == Kind.SEQUENCE and root and tag == ORIGINAL_ATTRIBUTES_SEQUENCE:
                layer.in_record = True
            writer.structure(token, dropping=dropping, into=layer.original if replacing and layer else None)
            if replacing and layer and kind == Kind.SEQUENCE_END and writer.depth == 0:
                layer.end(layer.tag)
        if not in_icon and len(writer.out) >= BLOCK:
            yield writer.taken()
    for changed, value in pending:
        if value is not None and changed not in ONLY_WHERE_PRESENT:
            writer.put(changed, dictionary_vr(changed), value)
            if layer:
                layer.added(writer, changed)
    if layer:
        layer.put_record(writer)
    yield writer.taken()


def _character_set(data: Any, transfer_syntax_uid: str, start: int, end: int) -> str:
    """SpecificCharacterSet (0008,0005) of the data set itself."""
    for token in walk(data, transfer_syntax_uid=transfer_syntax_uid, start=start, end=end, into_sequences=False):
        if token.tag >= SPECIFIC_CHARACTER_SET:
            if token.tag == SPECIFIC_CHARACTER_SET and token.length <= 1024:
                return bytes(data[token.offset : token.offset + token.length]).decode("ascii", "replace").strip("\0 ")
            break
    return ""


def _length_of_fragments(data: Any, offset: int, end: int) -> int:
    """Bytes from the first item of encapsulated pixel data to behind its sequence delimiter."""
    position = offset
    for start, length in fragments(data, offset=offset, end=end):
        position = start + length
    return position + 8 - offset


class _Layer:
    """An overlay while it is laid over one data set: its encoded values, and the originals gathered so far."""

    def __init__(self, overlay: Overlay, character_set: str) -> None:
        codec = fitting_codec(overlay, encodings(character_set) if character_set else ())
        self.recodes = "" if codec else character_set or "ISO_IR 6"
        self.values = overlay.encoded(codec or "utf-8")
        if self.recodes:
            self.values[SPECIFIC_CHARACTER_SET] = ("CS", b"ISO_IR 192")
        self._modification = overlay.modification
        self._originals: list[bytes] = []
        self.original = bytearray()
        self.tag = 0
        self.is_replacing = False
        self.in_record = False
        self._recorded = False

    def begin(self, tag: int) -> None:
        """The data set's own element of a tag that the overlay names begins."""
        self.tag, self.is_replacing = tag, True
        self.original.clear()

    def end(self, tag: int) -> None:
        """That element is over: it goes into the record, unless nothing changed."""
        self.is_replacing = False
        if tag != SPECIFIC_CHARACTER_SET and not self._same(tag):
            self._originals.append(bytes(self.original))

    def added(self, writer: "_Writer", tag: int) -> None:
        """An attribute that the object had not: recorded as empty."""
        if tag != SPECIFIC_CHARACTER_SET and tag in self.values:
            writer.put(tag, dictionary_vr(tag), b"", into=self.original)
            self._originals.append(bytes(self.original))
        self.original.clear()

    def put_record(self, writer: "_Writer") -> None:
        """The Original Attributes Sequence of a data set that has none of its own."""
        if self._recorded or not self._originals:
            return
        writer.out += writer.head(ORIGINAL_ATTRIBUTES_SEQUENCE, "SQ", UNDEFINED)
        self.put_item(writer)
        writer.out += SEQUENCE_END

    def put_item(self, writer: "_Writer") -> None:
        """The item of the Original Attributes Sequence that says what was replaced (PS3.3 C.12.1.1.9)."""
        self.in_record = False
        if self._recorded or not self._originals:
            return
        self._recorded = True
        writer.out += ITEM_START
        writer.out += writer.head(0x04000550, "SQ", UNDEFINED) + ITEM_START
        for original in self._originals:
            writer.out += original
        writer.out += ITEM_END + SEQUENCE_END
        for tag, vr, value in self._modification:
            writer.put(tag, vr, value)
        writer.out += ITEM_END

    def _same(self, tag: int) -> bool:
        value = self.values[tag][1]
        return (
            value is not None
            and bytes(self.original[-len(value) :] if value else b"") == value
            and (len(self.original) in {8 + len(value), 12 + len(value)})
        )


def _blocks(file: BinaryIO, offset: int, length: int, word: int) -> Iterator[bytes]:
    file.seek(offset)
    while length:
        block = file.read(min(BLOCK, length))
        if not block:
            raise EOFError("the object's file ends early")
        length -= len(block)
        yield swapped(block, word) if word > 1 else block


def swapped(value: bytes, word: int) -> bytes:
    """`value` with the bytes of each word turned around; what is no whole word stays."""
    whole = len(value) // word * word
    words = array.array({2: "H", 4: "I", 8: "Q"}[word], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


class _Writer:
    """The growing output, and where in the data set it stands."""

    def __init__(self, *, explicit: bool, swap: bool, recodes: str = "") -> None:
        self.out = bytearray()
        # The codecs of the text of the data set and of the items within, where it must become UTF-8.
        self._codecs = [encodings(recodes)] if recodes else []
        self.explicit = explicit
        self.swap = swap
        self.depth = 0
        self.bits_allocated = 0
        self._vrs = ValueRepresentations()
        # Inside a sequence of VR UN the target stays implicit too (PS3.5 6.2.2).
        self._implicit_from = 0

    def taken(self) -> bytes:
        chunk = bytes(self.out)
        self.out.clear()
        return chunk

    @property
    def _explicit_here(self) -> bool:
        return self.explicit and not self._implicit_from

    def vr_of(self, token: Token, data: Any) -> str:
        """The VR to write, and what later elements need to know of this one."""
        if token.tag == BITS_ALLOCATED and token.length == 2 and self.depth == 0:
            value = bytes(data[token.offset : token.offset + 2])
            self.bits_allocated = int.from_bytes(value, "big" if self.swap else "little")
        return self._vrs.of(token, data)

    def word(self, tag: int, vr: str) -> int:
        """The size of the words to turn around in a big endian value, 1 for none."""
        if not self.swap or self._implicit_from:
            return 1
        if tag == PIXEL_DATA and vr == "OW" and self.depth == 0 and self.bits_allocated in {32, 64}:
            return self.bits_allocated // 8
        return WORD.get(vr, 1)

    def head(self, tag: int, vr: str, length: int) -> bytes:
        if not self._explicit_here:
            return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
        if vr in LONG_VR:
            return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)

    def must_recode(self, vr: str, length: int) -> bool:
        """Whether a large value has to be taken apart: text that becomes UTF-8."""
        return bool(self._codecs) and vr in TEXT_VR and length <= LARGEST_TEXT

    def element(self, tag: int, vr: str, value: bytes, *, into: bytearray | None = None) -> None:
        out = self.out if into is None else into
        if self._codecs:
            if tag == SPECIFIC_CHARACTER_SET:
                self._codecs[-1] = encodings(value.decode("ascii", "replace").strip("\0 "))
                value = b"ISO_IR 192"
            value = recoded(vr, value, self._codecs[-1])
        out += self.head(tag, vr, len(value))
        word = self.word(tag, vr)
        out += swapped(value, word) if word > 1 else value

    def put(self, tag: int, vr: str, value: bytes, *, into: bytearray | None = None) -> None:
        """An element that is ours, its value little endian already."""
        out = self.out if into is None else into
        out += self.head(tag, vr, len(value)) + value

    def structure(self, token: Token, *, dropping: bool, into: bytearray | None = None) -> None:
        """Begin or end a sequence or an item."""
        out = self.out if into is None else into
        kind = token.kind
        if kind == Kind.SEQUENCE:
            self.depth += 1
            vr = "UN" if token.explicit and token.vr != "SQ" else "SQ"
            if not dropping:
                out += self.head(token.tag, vr, UNDEFINED)
            if vr == "UN" and not self._implicit_from:
                self._implicit_from = self.depth
        elif kind == Kind.SEQUENCE_END:
            if not dropping:
                out += SEQUENCE_END
            if self._implicit_from == self.depth:
                self._implicit_from = 0
            self.depth -= 1
        elif kind == Kind.ITEM:
            self.depth += 1
            self._vrs.enter_item()
            if self._codecs:
                self._codecs.append(self._codecs[-1])
            if not dropping:
                out += ITEM_START
        else:
            self.depth -= 1
            self._vrs.leave_item()
            if self._codecs:
                self._codecs.pop()
            if not dropping:
                out += ITEM_END

"""Headers in the DICOM JSON model (PS3.18 F), straight from the stored bytes, pixels never touched.

What is large is not in it: it names where to fetch it (BulkDataURI), and `bulk_data` finds it there.
A value that contradicts its VR is given as text or as null; one bad value never costs the others.
"""

import base64
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from pacs.models import Location
from pacs.services.data_set import Encoded, OpenDataSet, Stored
from pacs.services.elements import PIXELS, WORD, Kind, Token, ValueRepresentations, is_big_endian, walk
from pacs.services.encoding import BLOCK, swapped
from pacs.services.outgoing import syntax_as_stored
from pacs.services.overlay import lay_over_json, overlay_of
from radiology.dicom import NAME_GROUPS, PersonName, decode, encodings
from radiology.errors import CannotUnderstand, NotFound, OutOfResources

log = structlog.get_logger(__name__)

INLINE_BYTES = 1024
INLINE_OTHERS = 64 * 1024
BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
WRITTEN = {"DS", "IS"}
ONE_TEXT = {"LT", "ST", "UT", "UR"}
# What may be given by reference (PS3.18 F.2.2).
REFERABLE = BINARY | set(NUMBERS) | {"DS", "IS", "LT", "ST", "UC", "UT"}
SPECIFIC_CHARACTER_SET = 0x00080005

Attributes = dict[str, dict[str, Any]]


@dataclass
class _Level:
    """The data set or item that is being filled: its attributes, character set, and path for bulk data."""

    attributes: Attributes
    codecs: list[str]
    path: str = ""


@dataclass
class _Sequence:
    name: str
    path: str
    items: list[Attributes] = field(default_factory=list)


def metadata_of(*, location: Location, base_url: str, verbatim: bool = False) -> Attributes:
    """The attributes of one stored instance. `base_url` is that of the DICOMweb root.

    `verbatim` leaves DS and IS as the texts that stand in the object, and the name of its character set.

    Raises CannotUnderstand, OutOfResources when the file is damaged or missing.
    """
    instance = location.instance_ref
    series = instance.series_ref
    study = series.study_ref
    url = (
        f"{base_url}/studies/{study.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )
    with OpenDataSet(location) as source:
        found = attributes_of(source=source, bulk_url=f"{url}/bulkdata/", verbatim=verbatim)
    overlay = overlay_of(series)
    if overlay is not None:
        lay_over_json(overlay, found)
    # Under these it is filed and asked for, whatever the object itself leaves out.
    found["0020000D"] = {"vr": "UI", "Value": [study.study_instance_uid]}
    found["0020000E"] = {"vr": "UI", "Value": [series.series_instance_uid]}
    found["00080018"] = {"vr": "UI", "Value": [instance.sop_instance_uid]}
    found["00083002"] = {"vr": "UI", "Value": [syntax_as_stored(location)]}
    return dict(sorted(found.items()))


def metadata_or_identity(*, location: Location, base_url: str) -> tuple[Attributes, bool]:
    """As `metadata_of`; of a damaged object only what identifies it, and False."""
    try:
        return metadata_of(location=location, base_url=base_url), True
    except (CannotUnderstand, OutOfResources) as error:
        instance = location.instance_ref
        log.error("metadata cannot be read", sop_instance_uid=instance.sop_instance_uid, reason=error.message)
        series = instance.series_ref
        uids = {
            "00080016": instance.sop_class_uid,
            "00080018": instance.sop_instance_uid,
            "0020000D": series.study_ref.study_instance_uid,
            "0020000E": series.series_instance_uid,
        }
        found: Attributes = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
        found["00080060"] = {"vr": "CS", "Value": [series.modality]} if series.modality else {"vr": "CS"}
        return found, False


def attributes_of(*, source: Encoded, bulk_url: str, verbatim: bool = False) -> Attributes:
    """The data set up to its pixels in the DICOM JSON model; `verbatim` as of `metadata_of`."""
    data = source.data
    big_endian = is_big_endian(source.transfer_syntax_uid)
    vrs = ValueRepresentations()
    root = _Level({}, ["iso8859"])
    levels = [root]
    sequences: list[_Sequence] = []
    for token in walk(data, transfer_syntax_uid=source.transfer_syntax_uid, start=source.start, end=source.end):
        kind, tag, _vr, offset, length, _explicit = token
        level = levels[-1]
        if kind <= Kind.FRAGMENTS and tag in PIXELS and len(levels) == 1:
            break
        if kind == Kind.ELEMENT:
            vr = vrs.of(token, data)
            if tag & 0xFFFF == 0:
                continue
            if vr == "UN" and not big_endian:
                vr = vrs.of(token._replace(vr=""), data)  # what another archive did not know
            name = f"{tag:08X}"
            if length > (INLINE_BYTES if vr in BINARY else INLINE_OTHERS) and vr in REFERABLE:
                level.attributes[name] = {"vr": vr, "BulkDataURI": f"{bulk_url}{level.path}{name}"}
                continue
            value = bytes(data[offset : offset + length])
            if tag == SPECIFIC_CHARACTER_SET:
                level.codecs = encodings(value.decode("ascii", "replace").strip("\0 "))
                if not verbatim:
                    value = b"ISO_IR 192" if value.strip(b"\0 ") else b""  # JSON is UTF-8
            read_as = "LO" if verbatim and vr in WRITTEN else vr
            found = _element(read_as, value, level.codecs, big_endian=big_endian)
            found["vr"] = vr
            level.attributes[name] = found
        elif kind == Kind.SEQUENCE:
            sequence = _Sequence(name=f"{tag:08X}", path=f"{level.path}{tag:08X}/")
            sequences.append(sequence)
            level.attributes[f"{tag:08X}"] = {"vr": "SQ"}
        elif kind == Kind.ITEM:
            sequence = sequences[-1]
            inner: Attributes = {}
            sequence.items.append(inner)
            level.attributes[sequence.name]["Value"] = sequence.items
            vrs.enter_item()
            levels.append(_Level(inner, level.codecs, f"{sequence.path}{len(sequence.items)}/"))
        elif kind == Kind.ITEM_END:
            vrs.leave_item()
            levels.pop()
        elif kind == Kind.SEQUENCE_END:
            sequences.pop()
    return root.attributes


@dataclass
class BulkData:
    """A large value, little endian. `blocks(start)` gives it from a byte on; `media_type` is what the object says.

    Close it when it is not read.
    """

    blocks: Callable[[int], Iterator[bytes]]
    length: int
    media_type: str
    close: Callable[[], None]


def bulk_data(*, location: Stored, path: str) -> BulkData:
    """The value that a BulkDataURI of the metadata names: tags and item numbers (from 1), joined by slashes.

    Raises NotFound when the object has no such value.
    """
    wanted = path.strip("/").upper()
    source = OpenDataSet(location)
    try:
        token, word, media_type = _find(source, wanted)
    except BaseException:
        source.close()
        raise

    def blocks(start: int) -> Iterator[bytes]:
        with source:
            yield from value_blocks(source, token, word, start)

    return BulkData(blocks, token.length, media_type, source.close)


def bulk_values(*, location: Stored) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Every value that the metadata give by reference: its path, and its bytes, to be read before the next one."""
    with OpenDataSet(location) as source:
        big_endian = is_big_endian(source.transfer_syntax_uid)
        for path, token, vr in _values_with_paths(source):
            if token.length > (INLINE_BYTES if vr in BINARY else INLINE_OTHERS) and vr in REFERABLE:
                yield path, value_blocks(source, token, WORD.get(vr, 1) if big_endian else 1)


def _find(source: OpenDataSet, wanted: str) -> tuple[Token, int, str]:
    media_type = ""
    for path, token, vr in _values_with_paths(source):
        if path == "00420012":
            value = bytes(source.data[token.offset : token.offset + min(token.length, 64)])
            media_type = value.decode("ascii", "replace").strip("\0 ")
        if wanted == path:
            if token.tag == 0x00420011 and not media_type:
                media_type = _media_type_behind(source, token)
            word = WORD.get(vr, 1) if is_big_endian(source.transfer_syntax_uid) else 1
            return token, word, media_type if token.tag == 0x00420011 else ""
    raise NotFound("This object holds no such value.")


def _values_with_paths(source: OpenDataSet) -> Iterator[tuple[str, Token, str]]:
    """Each element up to the pixels: its path, its token and its VR."""
    data = source.data
    vrs = ValueRepresentations()
    paths = [""]
    counts: list[int] = []
    for token in walk(data, transfer_syntax_uid=source.transfer_syntax_uid, start=source.start, end=source.end):
        kind, tag = token.kind, token.tag
        if kind <= Kind.FRAGMENTS and tag in PIXELS and len(paths) == 1:
            break
        if kind == Kind.ELEMENT:
            vr = vrs.of(token, data)
            if vr == "UN" and not is_big_endian(source.transfer_syntax_uid):
                vr = vrs.of(token._replace(vr=""), data)
            yield f"{paths[-1]}{tag:08X}", token, vr
        elif kind == Kind.SEQUENCE:
            paths.append(f"{paths[-1]}{tag:08X}/")
            counts.append(0)
        elif kind == Kind.SEQUENCE_END:
            paths.pop()
            counts.pop()
        elif kind == Kind.ITEM:
            counts[-1] += 1
            vrs.enter_item()
            paths.append(f"{paths[-1]}{counts[-1]}/")
        elif kind == Kind.ITEM_END:
            vrs.leave_item()
            paths.pop()


def _media_type_behind(source: OpenDataSet, document: Token) -> str:
    """MIME Type of Encapsulated Document (0042,0012), which stands behind the document itself."""
    start = document.offset + document.length
    for token in walk(source.data, transfer_syntax_uid=source.transfer_syntax_uid, start=start, end=source.end):
        if token.kind == Kind.ELEMENT and token.tag == 0x00420012:
            value = bytes(source.data[token.offset : token.offset + min(token.length, 64)])
            return value.decode("ascii", "replace").strip("\0 ")
    return ""


def value_blocks(source: OpenDataSet, token: Token, word: int, start: int = 0) -> Iterator[bytes]:
    """The value of a token from byte `start` on, its words turned around where they have more than one byte."""
    first = start // word * word
    source.file.seek(token.offset + first)
    left = token.length - first
    skipped = start - first
    while left > 0:
        block = source.file.read(min(BLOCK, left))
        if not block:
            raise CannotUnderstand("The object's file ends early.")
        left -= len(block)
        yield (swapped(block, word) if word > 1 else block)[skipped:]
        skipped = 0


def _element(vr: str, value: bytes, codecs: list[str], *, big_endian: bool) -> dict[str, Any]:
    """One element in the JSON model (PS3.18 F.2.2)."""
    if not value:
        return {"vr": vr}
    if vr in BINARY:
        if big_endian and vr in WORD:
            value = swapped(value, WORD[vr])
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}
    values = _values(vr, value, codecs, ">" if big_endian else "<")
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _values(vr: str, value: bytes, codecs: list[str], order: str) -> list[Any]:
    if vr in NUMBERS:
        size = struct.calcsize(NUMBERS[vr])
        count = len(value) // size
        numbers = struct.unpack(f"{order}{count}{NUMBERS[vr]}", value[: count * size])
        if vr in {"FL", "FD"}:
            return [number if math.isfinite(number) else None for number in numbers]
        return list(numbers)
    if vr == "AT":
        pairs = struct.iter_unpack(f"{order}HH", value[: len(value) // 4 * 4])
        return [f"{group:04X}{number:04X}" for group, number in pairs]
    text = _valid(decode(value, codecs, person_name=vr == "PN")).replace("\0", "")
    if vr in ONE_TEXT:
        text = text.rstrip(" ")
        return [text] if text else []
    texts = [part.strip(" ") for part in text.split("\\")]
    if texts == [""]:
        return []
    if vr == "PN":
        return [_name(part) for part in texts]
    if vr in {"DS", "IS"}:
        return [_number(part, vr) for part in texts]
    return [part or None for part in texts]


def _valid(text: str) -> str:
    """Without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _name(text: str) -> dict[str, str] | None:
    names = dict(zip(NAME_GROUPS, PersonName(text).groups, strict=True))
    return {key: name for key, name in names.items() if name} or None


def _number(text: str, vr: str) -> Any:
    """A number where it is one, else its text."""
    if not text:
        return None
    try:
        number = int(text) if vr == "IS" else float(text)
    except (ValueError, OverflowError):
        return text
    return number if math.isfinite(number) else text

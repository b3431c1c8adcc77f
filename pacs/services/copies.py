"""Copies of stored objects with another header: attributes changed as the caller wants, pixels as they are.

What is stored stays as it is; a copy is a new object, to be stored through the one way in, or handed out. Its
texts are in UTF-8, and it is in Explicit VR Little Endian, unless its pixels are compressed: they stay so. What
stands behind the pixels (signatures, padding, private groups) is not copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian

from pacs.models import Location
from pacs.services.data_set import OpenDataSet
from pacs.services.elements import (
    PIXEL_DATA,
    PIXELS,
    WORD,
    Kind,
    Token,
    behind_fragments,
    dictionary_vr,
    is_big_endian,
    walk,
)
from pacs.services.header import UNDEFINED
from pacs.services.json_encoding import BulkValue, encoded
from pacs.services.metadata import Attributes, bulk_data, metadata_of, value_blocks
from pacs.services.transcode import NATIVE, transcoded
from radiology.errors import CannotUnderstand, InvalidValue

FLOATS = {"FL", "FD"}
BULK = "/bulkdata/"
BITS_ALLOCATED = "00280100"
TRANSFER_SYNTAX = "00083002"
ENCAPSULATED_HEAD = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"


@dataclass(frozen=True)
class Copy:
    """A data set to be read once: the bytes are made while they are taken."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    blocks: Iterator[bytes]


def attributes_to_change(*, location: Location) -> Attributes:
    """The object's attributes as it leaves, up to its pixels, in the DICOM JSON model (PS3.18 F).

    Numbers stand as they are written. Raises CannotUnderstand, OutOfResources.
    """
    found = metadata_of(location=location, base_url="", verbatim=True)
    found.pop(TRANSFER_SYNTAX, None)  # of DICOMweb, not of the object
    _refer_to_what_json_cannot_say(found, bulk_url_of(location), "")
    return found


def copy_with(*, location: Location, attributes: Attributes, transfer_syntax_uid: str = "") -> Copy:
    """The object of `location` with these attributes, its pixels behind them; in another transfer syntax if wanted.

    Raises InvalidValue for attributes that are pixels or stand behind them. While the blocks are read,
    CannotUnderstand for attributes that DICOM cannot hold, NotAcceptable for pixels that cannot be had in that
    syntax, OutOfResources.
    """
    if wrong := [tag for tag in attributes if int(tag, 16) >= min(PIXELS)]:
        raise InvalidValue(f"Pixels, and what stands behind them, are not changed: {min(wrong)}.")
    uids = [(attributes.get(tag, {}).get("Value") or [""])[0] for tag in ("00080016", "00080018")]
    stored = location.transfer_syntax_uid
    syntax = str(ExplicitVRLittleEndian) if stored in NATIVE else stored
    blocks = _blocks(location, attributes)
    if transfer_syntax_uid and transfer_syntax_uid != syntax:
        blocks = transcoded(
            blocks=blocks,
            transfer_syntax_uid=syntax,
            pixels_of=location,
            transfer_syntax_uid_wanted=transfer_syntax_uid,
        )
        syntax = transfer_syntax_uid
    return Copy(str(uids[0]), str(uids[1]), syntax, blocks)


def bulk_url_of(location: Location) -> str:
    """With which the references of an object's attributes begin."""
    instance = location.instance_ref
    series = instance.series_ref
    return (
        f"/studies/{series.study_ref.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}{BULK}"
    )


def _refer_to_what_json_cannot_say(attributes: Attributes, url: str, path: str) -> None:
    """Floats that are no numbers stand as null in JSON: the copy takes their bytes instead."""
    for tag, element in attributes.items():
        values = element.get("Value", [])
        if element["vr"] in FLOATS and None in values:
            del element["Value"]
            element["BulkDataURI"] = f"{url}{path}{tag}"
        elif element["vr"] == "SQ":
            for number, item in enumerate(values, 1):
                _refer_to_what_json_cannot_say(item, url, f"{path}{tag}/{number}/")


def _blocks(location: Location, attributes: Attributes) -> Iterator[bytes]:
    def bulk(uri: str) -> BulkValue:
        found = bulk_data(location=location, path=uri.rpartition(BULK)[2])
        return BulkValue(found.length, lambda: found.blocks(0))

    yield from encoded(attributes, bulk=bulk)
    with OpenDataSet(location) as source:
        pixels = _pixels_of(source)
        if pixels is None:
            return
        if pixels.kind == Kind.FRAGMENTS:
            end = behind_fragments(source.data, pixels.offset, source.end)
            yield ENCAPSULATED_HEAD
            yield from value_blocks(source, pixels._replace(length=end - pixels.offset), 1)
            return
        yield from _native(source, pixels, attributes)


def _native(source: OpenDataSet, pixels: Token, attributes: Attributes) -> Iterator[bytes]:
    vr = pixels.vr or (dictionary_vr(pixels.tag) if pixels.tag != PIXEL_DATA else "OW")
    word = 1
    if is_big_endian(source.transfer_syntax_uid):
        bits = (attributes.get(BITS_ALLOCATED, {}).get("Value") or [0])[0]
        word = bits // 8 if vr == "OW" and bits in {32, 64} else WORD.get(vr, 1)

    def value(_: str) -> BulkValue:
        return BulkValue(pixels.length, lambda: value_blocks(source, pixels, word))

    yield from encoded({f"{pixels.tag:08X}": {"vr": vr, "BulkDataURI": "pixels"}}, bulk=value)


def _pixels_of(source: OpenDataSet) -> Token | None:
    """The pixel data of the data set itself, not those of icons within."""
    depth = 0
    for token in walk(
        source.data,
        transfer_syntax_uid=source.transfer_syntax_uid,
        start=source.start,
        end=source.end,
        into_sequences=False,
    ):
        if token.kind == Kind.SEQUENCE:
            depth += token.length == UNDEFINED
        elif token.kind == Kind.SEQUENCE_END:
            depth -= 1
        elif not depth and token.kind <= Kind.FRAGMENTS and token.tag in PIXELS:
            if token.kind == Kind.FRAGMENTS and is_big_endian(source.transfer_syntax_uid):
                raise CannotUnderstand("Compressed pixels cannot stand in a big endian data set.")
            return token
    return None

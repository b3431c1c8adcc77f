"""Small data sets of messages (identifiers, answers) to and from bytes. Objects never pass through here."""

import zlib
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.dimse.answer_bytes import little_endian
from pacs.dimse.answer_encoding import data_set_of
from pacs.services.metadata import Attributes, attributes_of
from radiology.errors import CannotUnderstand, TooLarge

LARGEST_INFLATED = 4 * 1024 * 1024
DEEPEST = 16
UNDEFINED = 0xFFFFFFFF


def decode(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """The data set that the bytes hold. Raises CannotUnderstand for what is none, TooLarge for a deflate bomb."""
    try:
        if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            data = _inflate(data)
        data_set = read_dataset(
            BytesIO(data),
            is_implicit_VR=transfer_syntax_uid == ImplicitVRLittleEndian,
            is_little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
            bytelength=len(data),
        )
        _check(data_set, DEEPEST)
        return data_set
    except (CannotUnderstand, TooLarge):
        raise
    except (Exception, RecursionError) as error:  # pydicom raises whatever its parts do
        raise CannotUnderstand("The data set of the request cannot be read.") from error


@dataclass
class _InMemory:
    data: bytes
    transfer_syntax_uid: str
    start: int
    end: int


def decode_json(data: bytes, transfer_syntax_uid: str) -> Attributes:
    """The data set in the DICOM JSON model (PS3.18 F), its texts decoded; nothing is taken by reference.

    Costs memory in proportion to `data`, however it is nested. Raises as `decode`; also TooLarge for a
    single value that is larger than the model holds.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        try:
            data = _inflate(data)
        except zlib.error as error:
            raise CannotUnderstand("The data set of the request cannot be inflated.") from error
        transfer_syntax_uid = ExplicitVRLittleEndian
    found = attributes_of(source=_InMemory(data, transfer_syntax_uid, 0, len(data)), bulk_url="")
    if _has_reference(found):
        raise TooLarge("A value of the request is too large.")
    return found


def _has_reference(found: Attributes) -> bool:
    waiting = [found]
    while waiting:
        for element in waiting.pop().values():
            if "BulkDataURI" in element:
                return True
            if element["vr"] == "SQ":
                waiting += element.get("Value", [])
    return False


def encode(data_set: Dataset | Attributes, transfer_syntax_uid: str) -> bytes:
    """`data_set`, or attributes in the DICOM JSON model, in an uncompressed or the deflated transfer syntax."""
    if not isinstance(data_set, Dataset):
        if transfer_syntax_uid in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
            written = little_endian(data_set, is_implicit_vr=transfer_syntax_uid == ImplicitVRLittleEndian)
            if written is not None:
                return written
        data_set = data_set_of(data_set)
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    out.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    write_dataset(out, data_set)
    encoded = out.getvalue()
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return encoded
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(encoded) + deflater.flush()
    return deflated + b"\x00" * (len(deflated) % 2)  # PS3.5 A.5


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, LARGEST_INFLATED)
    if inflater.unconsumed_tail:
        raise TooLarge("The data set of the request is too large.")
    return inflated


def _check(data_set: Dataset, left: int) -> None:
    if not left:
        raise CannotUnderstand("The data set of the request is nested too deeply.")
    for tag in list(data_set.keys()):
        raw = data_set.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.length not in (UNDEFINED, len(raw.value or b"")):
            raise CannotUnderstand("The data set of the request is truncated.")
        # Sequences of defined length are decoded when they are first looked at: that is here.
        if _may_be_sequence(data_set, tag) and data_set[tag].VR == "SQ":
            for item in data_set[tag].value:
                _check(item, left - 1)


def _may_be_sequence(data_set: Dataset, tag: BaseTag) -> bool:
    vr = data_set.get_item(tag).VR
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            return False
    return vr in ("SQ", "UN")

"""An object whose SOP Instance UID is taken: the same again, a new header, or other pixels?"""

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

from pydicom import DataElement, Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.models import Location, Volume
from pacs.services.data_set import Stored
from pacs.services.elements import PIXEL_DATA
from pacs.services.image_description import ImageDescription
from pacs.services.incoming import Received
from pacs.services.part10 import HEAD_SIZE
from pacs.services.transcode import by_pixel, can_send_as, open_as


class Difference(StrEnum):
    NONE = "none"
    HEADER = "header"
    PIXELS = "pixels"


# What a change of transfer syntax may change without changing the image (PS3.5 section 8).
ENCODING_ONLY = {0x00280004, 0x00280006, 0x00280106, 0x00280107, 0x7FE00001, 0x7FE00002, 0x7FE00003}
PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}
TRAILING_PADDING = 0xFFFCFFFC
# Larger ones are not taken apart: what is not the same bytes is then taken for other pixels.
COMPARED_AT_MOST = 256 * 1024 * 1024


@dataclass
class _Newcomer:
    """The received object, as if it were stored."""

    volume: Volume
    path: str
    size: int
    transfer_syntax_uid: str
    data_set_offset: int = HEAD_SIZE


def difference(*, stored: Location, received: Received) -> Difference:
    """How `received` differs from the stored object of the same UID.

    Where the transfer syntaxes differ, both are opened losslessly, pixels in a bounded process.
    """
    same_syntax = stored.transfer_syntax_uid == received.transfer_syntax_uid
    if same_syntax and stored.size == received.size and bytes(stored.sha256) == received.sha256:
        return Difference.NONE
    if max(stored.size, received.size) > COMPARED_AT_MOST:
        return Difference.PIXELS
    newcomer = _Newcomer(
        received.volume,
        str(received.draft.path.relative_to(received.draft.disk.root)),
        received.size,
        received.transfer_syntax_uid,
    )
    try:
        as_stored = same_syntax and stored.transfer_syntax_uid != DeflatedExplicitVRLittleEndian
        ours, theirs = _opened(stored, as_stored), _opened(newcomer, as_stored)
        if not _same_pixels(ours, theirs):
            return Difference.PIXELS
        left_out = PIXELS | {TRAILING_PADDING} | (set() if same_syntax else ENCODING_ONLY)
        return Difference.NONE if _same_elements(ours, theirs, left_out) else Difference.HEADER
    except Exception:  # whatever cannot be compared is not known to be the same
        return Difference.PIXELS


def _opened(stored: Stored, as_stored: bool) -> Dataset:
    """The data set, decompressed when it must be compared with one in another syntax."""
    syntax = stored.transfer_syntax_uid
    if not as_stored and can_send_as(
        transfer_syntax_uid_stored=syntax, transfer_syntax_uid_wanted=ExplicitVRLittleEndian
    ):
        syntax = ExplicitVRLittleEndian
    with open_as(location=stored, transfer_syntax_uid=syntax) as stream:
        content = BytesIO(stream.read(COMPARED_AT_MOST * 4))
    return read_dataset(content, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)


def _same_pixels(ours: Dataset, theirs: Dataset) -> bool:
    one, other = PIXELS & _tags(ours), PIXELS & _tags(theirs)
    if one != other:
        return False
    if ours.get("PlanarConfiguration") == theirs.get("PlanarConfiguration"):
        return all(bytes(ours[tag].value) == bytes(theirs[tag].value) for tag in one)
    return one == {PIXEL_DATA} and _by_pixel(ours) == _by_pixel(theirs)


def _by_pixel(data_set: Dataset) -> bytes:
    """Native pixels with the samples of each together, which compressing brings with it."""
    description = ImageDescription(
        rows=data_set.Rows,
        columns=data_set.Columns,
        samples_per_pixel=data_set.SamplesPerPixel,
        bits_allocated=data_set.BitsAllocated,
        planar_configuration=data_set.PlanarConfiguration,
    )
    value, size = bytes(data_set.PixelData), description.decoded_size
    frames = int(data_set.get("NumberOfFrames") or 1)
    return b"".join(by_pixel(value[start : start + size], description) for start in range(0, frames * size, size))


def _same_elements(ours: Dataset, theirs: Dataset, left_out: set[int]) -> bool:
    one, other = _tags(ours) - left_out, _tags(theirs) - left_out
    return one == other and all(_same_element(ours[tag], theirs[tag]) for tag in one)


def _tags(data_set: Dataset) -> set[int]:
    """The elements' tags, group lengths (gggg,0000) left out."""
    return {int(element.tag) for element in data_set if element.tag.element}


def _same_element(one: DataElement, other: DataElement) -> bool:
    if one.VR == "SQ" and other.VR == "SQ":
        return len(one.value) == len(other.value) and all(
            _same_elements(ours, theirs, set()) for ours, theirs in zip(one.value, other.value, strict=True)
        )
    return _encoded(one) == _encoded(other)


def _encoded(element: DataElement) -> bytes:
    """The value as Implicit VR Little Endian has it: there, an unknown private value looks like any other."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = True
    write_data_element(buffer, element, ["utf8"])
    return bytes(buffer.getvalue()[8:].rstrip(b"\0 "))

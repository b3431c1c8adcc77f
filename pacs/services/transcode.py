"""A stored object in another transfer syntax: uncompressed ones into one another, compressed ones opened.

Nothing is compressed on the way, and nothing is held as a whole: headers are rewritten on the way, pixels
pass in blocks or frame by frame.
"""

import contextlib
import io
import mmap
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.services.data_set import OpenDataSet, Stored
from pacs.services.decode import DECODABLE, decode_frame, require_reasonable
from pacs.services.encoding import BLOCK, Pixels, rewritten
from pacs.services.frames import HasNoPixels, StoredImage
from pacs.services.image_description import ImageDescription
from pacs.services.overlay import Overlay
from pacs.storage import open_object
from radiology.errors import NotAcceptable, OutOfResources

NATIVE = frozenset(
    map(str, (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian))
)
# What is rewritten leaves little endian and not deflated.
REENCODED = frozenset(map(str, (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)))
TARGETS = frozenset(map(str, (ImplicitVRLittleEndian, ExplicitVRLittleEndian)))
PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION = 0x00280004, 0x00280006
# Tables of encapsulated pixel data, which native ones have not (PS3.3 C.7.6.3.1.8).
ENCAPSULATION = (0x7FE00001, 0x7FE00002, 0x7FE00003)


def can_send_as(*, transfer_syntax_uid_stored: str, transfer_syntax_uid_wanted: str) -> bool:
    """Whether `open_as` gives an object of the one syntax in the other, sound pixels provided."""
    if transfer_syntax_uid_stored == transfer_syntax_uid_wanted:
        return True
    return transfer_syntax_uid_wanted in TARGETS and (
        transfer_syntax_uid_stored in NATIVE or transfer_syntax_uid_stored in DECODABLE
    )


def open_as(*, location: Stored, transfer_syntax_uid: str, overlay: Overlay | None = None) -> BinaryIO:
    """The bare data set (no preamble, no file meta) in `transfer_syntax_uid`, for reading once through.

    As stored when it is stored so; else in Explicit or Implicit VR Little Endian, decompressed where
    needed. `overlay` is laid over it. What is known at the first bytes is raised here: NotAcceptable when
    it cannot be had in that syntax, OutOfResources when the file is missing. Later damage is raised while
    reading.
    """
    if not can_send_as(
        transfer_syntax_uid_stored=location.transfer_syntax_uid, transfer_syntax_uid_wanted=transfer_syntax_uid
    ):
        raise NotAcceptable("This object cannot be sent in the transfer syntax that was asked for.")
    if location.transfer_syntax_uid == transfer_syntax_uid and overlay is None:
        try:
            file = open_object(location=location)
        except FileNotFoundError as error:
            raise OutOfResources("The object's file is missing from the archive.") from error
        file.seek(location.data_set_offset)
        return file
    explicit = transfer_syntax_uid != ImplicitVRLittleEndian
    if location.transfer_syntax_uid == transfer_syntax_uid:
        if transfer_syntax_uid in REENCODED:
            raise NotAcceptable("A corrected object cannot be sent in this transfer syntax.")
        return _stream(_reencoded(location, explicit=explicit, overlay=overlay, keep_encapsulated=True))
    if location.transfer_syntax_uid in DECODABLE:
        return _stream(_decompressed(location, explicit=explicit, overlay=overlay))
    return _stream(_reencoded(location, explicit=explicit, overlay=overlay))


def _reencoded(
    location: Stored, *, explicit: bool, overlay: Overlay | None = None, keep_encapsulated: bool = False
) -> Iterator[bytes]:
    with OpenDataSet(location) as source:
        if overlay is None and source.transfer_syntax_uid == (
            ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        ):
            source.file.seek(source.start)
            while block := source.file.read(BLOCK):
                yield block
            return
        yield from rewritten(
            data=source.data,
            file=source.file,
            start=source.start,
            end=source.end,
            transfer_syntax_uid=source.transfer_syntax_uid,
            explicit=explicit,
            overlay=overlay,
            keep_encapsulated=keep_encapsulated,
        )


def _decompressed(location: Stored, *, explicit: bool, overlay: Overlay | None) -> Iterator[bytes]:
    try:
        image = StoredImage(location)
    except HasNoPixels:
        yield from _reencoded(location, explicit=explicit, overlay=overlay)
        return
    with image, OpenDataSet(location) as source:
        if not image.is_encapsulated:  # names a compressed syntax and holds native pixels: some devices do
            yield from _reencoded(location, explicit=explicit, overlay=overlay)
            return
        changes, pixels = _decoded(image)
        yield from rewritten(
            data=source.data,
            file=source.file,
            start=source.start,
            end=source.end,
            transfer_syntax_uid=source.transfer_syntax_uid,
            explicit=explicit,
            changes=changes,
            pixels=pixels,
            overlay=overlay,
        )


def _decoded(image: StoredImage) -> tuple[dict[int, bytes | None], Pixels]:
    """What changes in the header, and the native pixels: the first frame is decoded here and now."""
    description = image.description
    require_reasonable(description)
    length = description.decoded_size * description.number_of_frames
    if length >= 0xFFFFFFFE:
        raise NotAcceptable("Decompressed, this object would be larger than what its transfer syntax can hold.")

    def decoded(number: int) -> tuple[bytes, str]:
        return decode_frame(
            frame=image.frame(number), transfer_syntax_uid=image.transfer_syntax_uid, description=description
        )

    first, photometric = decoded(1)

    def blocks() -> Iterator[bytes]:
        yield first
        for number in range(2, description.number_of_frames + 1):
            frame, other = decoded(number)
            if other != photometric:
                raise NotAcceptable("The frames of this object differ in their colour space.")
            yield frame

    changes: dict[int, bytes | None] = dict.fromkeys(ENCAPSULATION)
    if photometric != description.photometric_interpretation:
        changes[PHOTOMETRIC_INTERPRETATION] = padded(photometric)
    if description.samples_per_pixel > 1:
        changes[PLANAR_CONFIGURATION] = b"\0\0"
    return changes, Pixels(length=length, blocks=blocks(), bits_allocated=description.bits_allocated)


def transcoded(
    *, blocks: Iterator[bytes], transfer_syntax_uid: str, pixels_of: Stored, transfer_syntax_uid_wanted: str
) -> Iterator[bytes]:
    """A data set that is made while it is read, in another syntax; its pixels are those of a stored object.

    Raises NotAcceptable, while it is read, when it cannot be had in that syntax.
    """
    if not can_send_as(
        transfer_syntax_uid_stored=transfer_syntax_uid, transfer_syntax_uid_wanted=transfer_syntax_uid_wanted
    ):
        raise NotAcceptable("This object cannot be had in the transfer syntax that was asked for.")
    with contextlib.ExitStack() as stack:
        changes: dict[int, bytes | None] = {}
        pixels = None
        if transfer_syntax_uid in DECODABLE:
            with contextlib.suppress(HasNoPixels):
                image = stack.enter_context(StoredImage(pixels_of))
                if image.is_encapsulated:
                    changes, pixels = _decoded(image)
        file = stack.enter_context(tempfile.TemporaryFile())
        for block in blocks:
            file.write(block)
        file.flush()
        size = file.tell()
        data = stack.enter_context(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        yield from rewritten(
            data=data,
            file=cast(BinaryIO, file),
            start=0,
            end=size,
            transfer_syntax_uid=transfer_syntax_uid,
            explicit=transfer_syntax_uid_wanted != ImplicitVRLittleEndian,
            changes=changes,
            pixels=pixels,
        )


def by_pixel(frame: bytes, description: ImageDescription) -> bytes:
    """A native frame with the samples of each pixel together, however Planar Configuration has them."""
    samples = description.samples_per_pixel
    if samples == 1 or description.planar_configuration != 1:
        return frame
    word = description.bits_allocated // 8
    plane = description.rows * description.columns * word
    result = bytearray(len(frame))
    for sample in range(samples):
        for byte in range(word):
            begin, end = sample * plane, (sample + 1) * plane
            result[sample * word + byte :: samples * word] = frame[begin + byte : end : word]
    return bytes(result)


def padded(text: str) -> bytes:
    """A code string as it is encoded."""
    return text.encode("ascii") + b" " * (len(text) % 2)


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._left = memoryview(first)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._rest, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            cast(Any, self._rest).close()
        super().close()


def _stream(chunks: Iterator[bytes]) -> BinaryIO:
    """`chunks` as a file whose first chunk is made already, so that what fails at once is raised here."""
    return cast(BinaryIO, io.BufferedReader(_Chunks(next(chunks, b""), chunks), BLOCK))

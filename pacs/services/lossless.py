"""A stored image written anew in a lossless transfer syntax: its frames encoded, everything else as it was.

What was written is read again, decoded and compared with the original before anybody may rely on it:
every sample of every frame, and every other element of the data set.
"""

import hashlib
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

from pydicom.uid import HTJ2KLossless, ImplicitVRLittleEndian, JPEG2000Lossless

from pacs.models import CompressionOutcome, LosslessSyntax, NativeSyntax, Volume
from pacs.models.storage import Location
from pacs.services.data_set import OpenDataSet
from pacs.services.decode import decode_frame, encode_frame, require_reasonable
from pacs.services.elements import LONG_VR, Kind, Token, walk
from pacs.services.encoding import BLOCK, rewritten
from pacs.services.frames import StoredImage
from pacs.services.header import UNDEFINED
from pacs.services.image_description import ImageDescription
from pacs.services.part10 import HEAD_SIZE, MetaReader, head
from pacs.services.pixel_index import EXTENDED_OFFSET_TABLE
from pacs.services.transcode import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, by_pixel, padded
from pacs.storage import Draft, backend

# Called with the bytes that were worked through since: it may raise to end everything.
Alive = Callable[[int], None]

SMALLEST_GAIN = 0.05
SPOOLED = 32 * 1024 * 1024
# Beyond, the Basic Offset Table cannot say where a frame is (PS3.5 A.4).
LARGEST_OFFSET = 0xFFFFFFFF
BITS = {8, 16}
SAMPLES = {1, 3}
SUBSAMPLED = {"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"}
# Of what was signed nothing may change, its transfer syntax included (PS3.3 C.12.1.1.3).
SIGNATURES = {0x4FFE0001, 0xFFFAFFFA}
GROUP_LENGTH_OF_IMAGE, GROUP_LENGTH_OF_PIXELS = 0x00280000, 0x7FE00000
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
# What the encoding of the pixels may change.
OF_ENCODING = dict.fromkeys(
    (PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS)
)


class Left(Exception):
    """The object stays as it is: the outcome, and why."""

    def __init__(self, outcome: CompressionOutcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


@dataclass
class _Written:
    """The draft, as if it were stored."""

    volume: Volume
    path: str
    size: int
    transfer_syntax_uid: str
    data_set_offset: int = HEAD_SIZE


def encode_object(*, location: Location, transfer_syntax_uid: str, alive: Alive) -> Draft:
    """A complete and compared draft of the object in that syntax, on the same volume, that no row names yet.

    The location comes with its volume and instance. Raises Left when there is nothing to win or it cannot
    be done without loss, CannotUnderstand, NotAcceptable, NotFound for what is no sound image, OutOfResources.
    """
    if location.transfer_syntax_uid not in NativeSyntax or transfer_syntax_uid not in LosslessSyntax:
        raise Left(CompressionOutcome.UNSUITABLE, "Its transfer syntax is not one that is compressed.")
    with StoredImage(location) as image:
        _require_suitable(image)
        _require_intact(location, image.source, alive)
        draft = backend(location.volume).draft(head_size=HEAD_SIZE)
        try:
            description = _described(image.description, transfer_syntax_uid)
            _write(image, draft, transfer_syntax_uid, description, alive)
            _compare(image, draft, _Written(location.volume, _path(draft), draft.size, transfer_syntax_uid), alive)
            draft.seal(
                head(
                    sop_class_uid=location.instance_ref.sop_class_uid,
                    sop_instance_uid=location.instance_ref.sop_instance_uid,
                    transfer_syntax_uid=transfer_syntax_uid,
                    source_ae_title=_source(image.source),
                    compressed_from=bytes(location.sha256),
                )
            )
        except BaseException:
            draft.retract()
            draft.discard()
            raise
    return draft


def _path(draft: Draft) -> str:
    return str(draft.path.relative_to(draft.disk.root))


def _source(source: OpenDataSet) -> str:
    meta = MetaReader()
    meta.feed(source.data[: source.start + 64])
    return meta.source_ae_title


def _require_suitable(image: StoredImage) -> None:
    """Only what all of the encoders can do without loss, and what is exactly as its header says."""
    found = image.description
    if image.is_encapsulated or image.pixel_keyword != "PixelData":
        raise Left(CompressionOutcome.UNSUITABLE, "Its pixels are compressed already, or floating point numbers.")
    if found.bits_allocated not in BITS or found.samples_per_pixel not in SAMPLES:
        raise Left(
            CompressionOutcome.UNSUITABLE,
            f"{found.samples_per_pixel} samples of {found.bits_allocated} bits are not compressed.",
        )
    if found.photometric_interpretation in SUBSAMPLED:
        raise Left(CompressionOutcome.UNSUITABLE, "Its colours are subsampled.")
    require_reasonable(found)
    size = found.decoded_size * found.number_of_frames
    if image.native_length not in {size, size + size % 2}:
        raise Left(
            CompressionOutcome.UNSUITABLE,
            f"It holds {image.native_length} bytes of pixels where its header says {size}.",
        )
    if any(token.tag in SIGNATURES for token in _root(image.source, image.source.start, image.source.end)):
        raise Left(CompressionOutcome.UNSUITABLE, "It is digitally signed.")


def _require_intact(location: Location, source: OpenDataSet, alive: Alive) -> None:
    digest = hashlib.sha256()
    for block in _blocks(source, source.start, source.end):
        digest.update(block)
        alive(len(block))
    if digest.digest() != bytes(location.sha256):
        raise Left(CompressionOutcome.DAMAGED, "Its file holds other bytes than were stored.")


def _described(original: ImageDescription, transfer_syntax_uid: str) -> ImageDescription:
    """How the pixels are described once encoded: only what the codec demands is other (PS3.5 8.2)."""
    if original.samples_per_pixel == 1:
        return original
    is_wavelet = transfer_syntax_uid in {JPEG2000Lossless, HTJ2KLossless}
    by_components = is_wavelet and original.photometric_interpretation == "RGB"
    photometric = "YBR_RCT" if by_components else original.photometric_interpretation
    return replace(original, planar_configuration=0, photometric_interpretation=photometric)


def _write(
    image: StoredImage, draft: Draft, transfer_syntax_uid: str, description: ImageDescription, alive: Alive
) -> None:
    with tempfile.SpooledTemporaryFile(max_size=SPOOLED, dir=str(draft.disk.incoming)) as spool:
        lengths = []
        most = int((1 - SMALLEST_GAIN) * image.native_length)
        for number in range(1, description.number_of_frames + 1):
            frame = by_pixel(image.frame(number), image.description)
            stream = encode_frame(frame=frame, transfer_syntax_uid=transfer_syntax_uid, description=description)
            stream += b"\0" * (len(stream) % 2)
            spool.write(stream)
            lengths.append(len(stream))
            if spool.tell() > most:
                raise Left(CompressionOutcome.NOT_SMALLER, f"It would become less than {SMALLEST_GAIN:.0%} smaller.")
            alive(len(frame))
        spool.seek(0)
        for block in _data_set(image, _changes(image.description, description), spool, lengths):
            draft.write(block)


def _changes(original: ImageDescription, description: ImageDescription) -> dict[int, bytes | None]:
    changes: dict[int, bytes | None] = {GROUP_LENGTH_OF_PIXELS: None}
    if description.photometric_interpretation != original.photometric_interpretation:
        changes[GROUP_LENGTH_OF_IMAGE] = None
        changes[PHOTOMETRIC_INTERPRETATION] = padded(description.photometric_interpretation)
    if description.planar_configuration != original.planar_configuration:
        changes[PLANAR_CONFIGURATION] = b"\0\0"
    return changes


def _data_set(
    image: StoredImage, changes: dict[int, bytes | None], spool: IO[bytes], lengths: list[int]
) -> Iterator[bytes]:
    source = image.source
    yield from _part(source, source.start, image.pixels_begin, changes)
    yield from _pixels(spool, lengths)
    yield from _part(source, image.pixels_end, source.end, {})


def _part(source: OpenDataSet, start: int, end: int, changes: dict[int, bytes | None]) -> Iterator[bytes]:
    """A part of the data set in Explicit VR Little Endian: byte by byte where it is in that already."""
    if source.transfer_syntax_uid == ImplicitVRLittleEndian:
        yield from rewritten(
            data=source.data,
            file=source.file,
            start=start,
            end=end,
            transfer_syntax_uid=source.transfer_syntax_uid,
            explicit=True,
            changes=changes,
            keep_encapsulated=True,
        )
        return
    position = start
    for token in _root(source, start, end):
        if token.tag not in changes or token.kind != Kind.ELEMENT:
            continue
        yield from _blocks(source, position, token.offset - (12 if token.vr in LONG_VR else 8))
        value = changes[token.tag]
        if value is not None:
            vr = token.vr.encode("ascii")
            yield struct.pack("<HH2sH", token.tag >> 16, token.tag & 0xFFFF, vr, len(value)) + value
        position = token.offset + token.length
    yield from _blocks(source, position, end)


def _pixels(spool: IO[bytes], lengths: list[int]) -> Iterator[bytes]:
    """Encapsulated pixel data, a fragment a frame, with a table of where each is (PS3.5 A.4)."""
    offsets, position = [], 0
    for length in lengths:
        offsets.append(position)
        position += 8 + length
    basic = offsets[-1] <= LARGEST_OFFSET
    if not basic:
        for tag, values in ((EXTENDED_OFFSET_TABLE, offsets), (EXTENDED_OFFSET_TABLE_LENGTHS, lengths)):
            yield struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OV", 0, 8 * len(values))
            yield struct.pack(f"<{len(values)}Q", *values)
    yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    table = struct.pack(f"<{len(offsets)}I", *offsets) if basic else b""
    yield struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table
    for length in lengths:
        yield struct.pack("<HHI", 0xFFFE, 0xE000, length) + spool.read(length)
    yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _compare(image: StoredImage, draft: Draft, written: _Written, alive: Alive) -> None:
    """Raise Left unless what was written decodes to exactly the original."""
    with StoredImage(written) as copy:
        digest = hashlib.sha256()
        for block in _blocks(copy.source, copy.source.start, copy.source.end):
            digest.update(block)
        if digest.digest() != draft.sha256():
            raise _different("What was written is not what stands on the disk.")
        if copy.description != _described(image.description, written.transfer_syntax_uid):
            raise _different("Another image description would have been written.")
        for number in range(1, image.description.number_of_frames + 1):
            pixels, photometric = decode_frame(
                frame=copy.frame(number),
                transfer_syntax_uid=written.transfer_syntax_uid,
                description=copy.description,
            )
            same = photometric == image.description.photometric_interpretation
            if not same or pixels != by_pixel(image.frame(number), image.description):
                raise _different(f"Frame {number} would come back with other pixels.")
            alive(len(pixels))
        for ours, theirs in ((_before(image), _before(copy)), (_behind(image), _behind(copy))):
            if ours != theirs:
                raise _different("Other elements than those of the pixels would have changed.")


def _different(detail: str) -> Left:
    return Left(CompressionOutcome.DIFFERENT, detail)


def _before(image: StoredImage) -> bytes:
    return _normal(image.source, image.source.start, image.pixels_begin)


def _behind(image: StoredImage) -> bytes:
    return _normal(image.source, image.pixels_end, image.source.end)


def _normal(source: OpenDataSet, start: int, end: int) -> bytes:
    """SHA-256 of a part of the data set in one form, whichever it is stored in, without what encoding changes."""
    digest = hashlib.sha256()
    for block in rewritten(
        data=source.data,
        file=source.file,
        start=start,
        end=end,
        transfer_syntax_uid=source.transfer_syntax_uid,
        explicit=False,
        changes=OF_ENCODING,
        keep_encapsulated=True,
    ):
        digest.update(block)
    return digest.digest()


def _root(source: OpenDataSet, start: int, end: int) -> Iterator[Token]:
    """The elements and sequences of the data set itself."""
    depth = 0
    for token in walk(
        source.data,
        transfer_syntax_uid=source.transfer_syntax_uid,
        start=start,
        end=end,
        into_sequences=False,
    ):
        if token.kind == Kind.SEQUENCE_END:
            depth -= 1
        elif depth == 0 and token.kind <= Kind.SEQUENCE:
            yield token
        if token.kind == Kind.SEQUENCE:
            depth += token.length == UNDEFINED


def _blocks(source: OpenDataSet, start: int, end: int) -> Iterator[Any]:
    for position in range(start, end, BLOCK):
        yield source.data[position : min(position + BLOCK, end)]

"""STOW-RS of metadata and bulk data (PS3.18 10.5.1.2): objects are put together here.

All parts of the body are read first, large ones to one file: the order of parts is the sender's. Nothing
that a BulkDataURI names is fetched from anywhere but the body.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog
from django.conf import settings
from pydicom.uid import ExplicitVRLittleEndian

from pacs.dicomweb.media_types import OCTETS, parse_accept
from pacs.dicomweb.multipart import Event, State, read_parts
from pacs.dicomweb.native_model import from_xml
from pacs.dicomweb.outcome import Failure
from pacs.dicomweb.store_batch import Batch, failure_of, finish
from pacs.services.encoding import BLOCK
from pacs.services.frames import VIDEO
from pacs.services.image_streams import HEAD, code_stream, described, transfer_syntax_of
from pacs.services.json_encoding import BulkValue, encoded
from pacs.services.store import Source, receive
from pacs.storage import backend, current_volume
from radiology.dicom import is_uid
from radiology.errors import CannotUnderstand, InvalidValue, OutOfResources, RadiologyError, TooLarge

log = structlog.get_logger(__name__)

JSON_TYPES = {"application/dicom+json", "application/json"}
XML_TYPES = {"application/dicom+xml"}
METADATA_TYPES = JSON_TYPES | XML_TYPES
# Headers of all objects of one request together; what is larger comes by reference.
MAX_METADATA = 16 * 1024 * 1024
MAX_PARTS = 100_000
SPACE_CHECK_EVERY = 16 * 1024 * 1024
EXPLICIT = str(ExplicitVRLittleEndian)
PIXEL_DATA = "7FE00010"
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True)
class _Piece:
    """A part: where it is in the file, and what its headers say."""

    offset: int
    length: int
    media_type: str
    transfer_syntax_uid: str


@dataclass
class _Body:
    """What the request brought: data sets, and pieces by Content-Location."""

    file: BinaryIO
    batch: Batch
    data_sets: list[Any] = field(default_factory=list)
    pieces: dict[str, list[_Piece]] = field(default_factory=dict)
    _metadata: int = 0
    _size: int = 0
    _count: int = 0

    def read(self, events: Iterator[Event]) -> None:
        """Take all parts. Raises TooLarge, OutOfResources, InvalidValue (Truncated)."""
        text: bytearray | None = None
        headers: dict[str, str] = {}
        start = 0
        for event in events:
            if event.state is State.BEGIN:
                headers, start = event.headers or {}, self._size
                self._count += 1
                if self._count > MAX_PARTS:
                    raise TooLarge(f"A request may have {MAX_PARTS} parts at most.")
                text = bytearray() if _kind(headers)[0] in METADATA_TYPES else None
            elif event.state is State.DATA and event.data is not None:
                if text is None:
                    self._write(event.data)
                else:
                    self._metadata += len(event.data)
                    if self._metadata > MAX_METADATA:
                        raise TooLarge("The metadata of one request may not be larger than 16 MiB.")
                    text += event.data
            elif text is not None:
                self._describe(bytes(text), _kind(headers)[0])
            else:
                media_type, syntax = _kind(headers)
                piece = _Piece(start, self._size - start, media_type, syntax)
                self.pieces.setdefault(headers.get("content-location", "").strip(), []).append(piece)

    def _write(self, data: memoryview) -> None:
        if self._size // SPACE_CHECK_EVERY != (self._size + len(data)) // SPACE_CHECK_EVERY:
            backend(current_volume()).require_space(len(data))
        try:
            self.file.write(data)
        except OSError as error:
            raise OutOfResources("The server has no space for the body of this request.") from error
        self._size += len(data)

    def _describe(self, text: bytes, media_type: str) -> None:
        try:
            if media_type in XML_TYPES:
                self.data_sets.append(from_xml(text))
                return
            found = json.loads(text)
        except RadiologyError as error:
            self.batch.report.fail(failure_of(error))
        except (ValueError, RecursionError):
            self.batch.report.fail(Failure(CANNOT_UNDERSTAND, "The metadata are no JSON."))
        else:
            self.data_sets.extend(found if isinstance(found, list) else [found])

    def blocks(self, piece: _Piece) -> Iterator[bytes]:
        self.file.seek(piece.offset)
        left = piece.length
        while left:
            block = self.file.read(min(BLOCK, left))
            if not block:
                raise OutOfResources("The body of this request could not be read back.")
            left -= len(block)
            yield block

    def head(self, piece: _Piece) -> bytes:
        self.file.seek(piece.offset)
        return self.file.read(min(HEAD, piece.length))

    def pieces_of(self, uri: str) -> list[_Piece]:
        """The parts that a BulkDataURI names: of that location, or its frames in their order."""
        found = self.pieces.get(uri.strip())
        if found:
            return found
        first = f"{uri.strip()}/frames/"
        frames: list[_Piece] = []
        while len(numbered := self.pieces.get(f"{first}{len(frames) + 1}", [])) == 1:
            frames += numbered
        if not frames or not uri.strip():
            raise CannotUnderstand("The body has no part for a BulkDataURI of the metadata.")
        return frames


def store_described(*, read: Callable[[int], bytes], boundary: str, source: Source, study: str, batch: Batch) -> None:
    """Read the body, put its objects together and let `batch` store them; what fails, fails by itself.

    Raises TooLarge, OutOfResources and InvalidValue for what concerns the whole body.
    """
    folder = Path(settings.SINAR_DATA, "cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
    except OSError as error:
        raise OutOfResources("The server has no space for the body of this request.") from error
    with file:
        body = _Body(file, batch)
        body.read(read_parts(read=read, boundary=boundary))
        for data_set in body.data_sets:
            failure = _store(body, data_set, source, study)
            if failure is not None:
                batch.report.fail(failure)


def _store(body: _Body, data_set: Any, source: Source, study: str) -> Failure | None:
    if not isinstance(data_set, dict):
        return Failure(CANNOT_UNDERSTAND, "The metadata hold something that is no data set.")
    uids = _uid(data_set, "00080016"), _uid(data_set, "00080018")
    try:
        syntax, shown, frames = _pixels(body, data_set)
        with receive(source=source, transfer_syntax_uid=syntax) as incoming:
            for block in encoded(shown, bulk=lambda uri: _value(body, uri), frames=frames):
                incoming.write(block)
            failure = finish(incoming, study, body.batch)
    except RadiologyError as error:
        failure = failure_of(error)
    if failure is None:
        return None
    return Failure(failure.reason, failure.text, failure.sop_class_uid or uids[0], failure.sop_instance_uid or uids[1])


def _pixels(body: _Body, data_set: dict[str, Any]) -> tuple[str, dict[str, Any], list[BulkValue] | None]:
    """Transfer syntax, data set and, where the pixels are compressed, their frames. Raises CannotUnderstand."""
    element = data_set.get(PIXEL_DATA)
    if not isinstance(element, dict) or "BulkDataURI" not in element:
        return EXPLICIT, data_set, None
    pieces = body.pieces_of(str(element["BulkDataURI"]))
    first = pieces[0]
    syntax: str | None = first.transfer_syntax_uid or None
    if first.media_type != OCTETS and syntax is None:
        syntax = transfer_syntax_of(media_type=first.media_type, head=body.head(first))
        if syntax is None:
            raise CannotUnderstand(f"Pixels are not taken as {first.media_type[:60]}.")
    if any(
        (each.media_type, each.transfer_syntax_uid) != (first.media_type, first.transfer_syntax_uid) for each in pieces
    ):
        raise CannotUnderstand("The frames of an object are not all of one media type.")
    if syntax is None or syntax == EXPLICIT:
        _require_pixels(data_set, sum(piece.length for piece in pieces))
        return EXPLICIT, data_set, None
    if not is_uid(syntax):
        raise CannotUnderstand("The transfer syntax of the pixels is no UID.")
    if first.media_type == "image/jpeg":
        data_set = described(data_set, body.head(first))
    count = _integer(data_set, "00280008", 1)
    if syntax not in VIDEO and count != len(pieces):
        raise CannotUnderstand(f"The object has {count} frames, the body {len(pieces)}: send a part for each.")
    for tag in ("00280010", "00280011", "00280100"):
        if not _integer(data_set, tag, 0):
            raise CannotUnderstand(f"The element {tag} is missing, without which nobody can read the pixels.")
    return syntax, data_set, [_frame(body, piece) for piece in pieces]


def _frame(body: _Body, piece: _Piece) -> BulkValue:
    offset, length = piece.offset, piece.length
    if piece.media_type in {"image/jp2", "image/jpx"}:
        offset, length = code_stream(body.file, offset, length)
    inner = _Piece(offset, length, piece.media_type, piece.transfer_syntax_uid)
    return BulkValue(length, lambda: body.blocks(inner))


def _value(body: _Body, uri: str) -> BulkValue:
    pieces = body.pieces_of(uri)

    def blocks() -> Iterator[bytes]:
        for piece in pieces:
            yield from body.blocks(piece)

    return BulkValue(sum(piece.length for piece in pieces), blocks)


def _require_pixels(data_set: dict[str, Any], length: int) -> None:
    """Raise CannotUnderstand for native pixels that end before the image does."""
    sides = [_integer(data_set, tag, 0) for tag in ("00280010", "00280011", "00280100")]
    samples, frames = _integer(data_set, "00280002", 1), _integer(data_set, "00280008", 1)
    needed = sides[0] * sides[1] * sides[2] * samples * frames
    if data_set.get("00280004", {}).get("Value") == ["YBR_FULL_422"]:
        needed = needed * 2 // 3
    if not needed or (needed + 7) // 8 > length:
        raise CannotUnderstand("The pixels are shorter than what the metadata say of them, or those say too little.")


def _integer(data_set: dict[str, Any], tag: str, default: int) -> int:
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list) or not values or values[0] is None:
        return default
    try:
        return max(0, int(values[0]))
    except (TypeError, ValueError, OverflowError) as error:
        raise CannotUnderstand(f"The value of {tag} is no number.") from error


def _uid(data_set: dict[str, Any], tag: str) -> str:
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    uid = values[0] if isinstance(values, list) and values else ""
    return uid if isinstance(uid, str) and is_uid(uid) else ""


def _kind(headers: dict[str, str]) -> tuple[str, str]:
    """Media type and transfer syntax of a part; application/octet-stream where it says neither."""
    try:
        found = parse_accept(headers.get("content-type", OCTETS))
    except InvalidValue:
        found = []
    return (found[0].type, found[0].transfer_syntax) if found else (OCTETS, "")

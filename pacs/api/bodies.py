"""What an upload brings, one file after the other, straight from the request's stream."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pacs.dicomweb.media_types import MULTIPART, parse_accept
from pacs.dicomweb.multipart import Event, State, read_parts
from radiology.errors import InvalidValue, TooLarge, UnsupportedMediaType

BLOCK = 1 << 20
FIRST = 64 * 1024
SILENCE = 60.0
LARGEST_BODY = 64 * 1024**3
FORM = "multipart/form-data"
# What is looked at itself, whatever it is called; curl --data-binary sends the last one.
SINGLE = {
    "",
    "application/dicom",
    "application/zip",
    "application/x-zip-compressed",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
}


@dataclass(frozen=True)
class File:
    """One file of the body. `blocks` reads it once; the first block is 64 KiB at least, or all there is."""

    name: str
    blocks: Iterator[bytes]


def files_of(request: Any) -> Iterator[File]:
    """The files of a request's body. Each must be read before the next one is asked for; what was left is skipped.

    Raises UnsupportedMediaType, TooLarge, InvalidValue; Truncated where a multipart body breaks off.
    """
    content_type = request.META.get("CONTENT_TYPE", "")
    try:
        media = parse_accept(content_type)[0] if content_type.strip() else None
    except (InvalidValue, IndexError) as error:
        raise UnsupportedMediaType("The Content-Type cannot be understood.", field="Content-Type") from error
    kind = media.type if media else ""
    if kind not in SINGLE and kind not in {FORM, MULTIPART}:
        raise UnsupportedMediaType(
            "Send application/dicom, application/zip, or multipart/form-data with files.", field="Content-Type"
        )
    _require_size(request)
    read = _reader(request)
    if media is None or kind in SINGLE:
        yield File("", _gathered(iter(lambda: read(BLOCK), b"")))
        return
    events = read_parts(read=read, boundary=media.parameters.get("boundary", ""))
    for event in events:
        headers = event.headers or {}
        disposition = headers.get("content-disposition", "")
        if event.state is not State.BEGIN:
            continue
        part = _part(events)
        if kind == MULTIPART or "filename" in disposition:
            yield File(_filename(disposition), _gathered(part))
        for _ in part:  # a field of the form, or what nobody wanted to read
            pass


def _part(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if event.state is State.END:
            return
        if event.data is not None:
            yield bytes(event.data)


def _gathered(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, the first ones joined until there is enough to tell what it is."""
    first = bytearray()
    for block in blocks:
        first += block
        if len(first) >= FIRST:
            break
    if first:
        yield bytes(first)
    yield from blocks


def _filename(disposition: str) -> str:
    """The name that a browser or curl gives the file, for the answer only."""
    _, _, rest = disposition.partition("filename=")
    quoted = rest.startswith('"')
    name = rest[1:].partition('"')[0] if quoted else rest.partition(";")[0]
    return name.encode("latin-1", "replace").decode("utf-8", "replace")[:200]


def _require_size(request: Any) -> None:
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise InvalidValue("The Content-Length is no number.", field="Content-Length") from error
    if announced > LARGEST_BODY:
        raise TooLarge(f"One request may bring {LARGEST_BODY} bytes at most.", field="Content-Length")


def _reader(request: Any) -> Callable[[int], bytes]:
    """The request's stream. Without a length (chunked), the server's own, which knows where it ends."""
    plain = request._request
    if connection := plain.META.get("gunicorn.socket"):
        connection.settimeout(SILENCE)  # a sender that vanished must not hold a thread for good
    if plain.META.get("wsgi.input_terminated") and not plain.META.get("CONTENT_LENGTH"):
        return plain.META["wsgi.input"].read
    return plain.read

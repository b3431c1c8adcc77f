"""Bodies of bytes and of stretches of files, whose length is known before the first byte."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from radiology.errors import OutOfResources
from radiology.send_file import SEND_FILE

BLOCK = 1 << 20
SMALL = 64 * 1024


class Stretch(NamedTuple):
    """`length` bytes of `file` from `offset` on. The file stays open until the next piece is asked for."""

    file: BinaryIO
    offset: int
    length: int


Piece = bytes | Stretch


def pieces_response(
    request: Any, pieces: Iterator[Piece], *, length: int, content_type: str, status: int = 200
) -> HttpResponseBase:
    """The body that `pieces` make, the first of which is bytes and is made before the status is given.

    Where the server can, the kernel sends what stands in files, unless all of it is small. What goes wrong after the
    first piece cuts the connection.
    """
    if length <= SMALL:
        return HttpResponse(b"".join(_blocks(pieces, None)), content_type=content_type, status=status)
    blocks = _blocks(pieces, request.META.get(SEND_FILE))
    first = next(blocks)
    return StreamingHttpResponse(
        chain([first], blocks), content_type=content_type, status=status, headers={"Content-Length": str(length)}
    )


def _blocks(pieces: Iterator[Piece], send: Any) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        elif send is not None and _has_descriptor(piece.file):
            send(*piece)  # behind what was yielded, which the server has written by now
        else:
            yield from _read(piece)


def _has_descriptor(file: BinaryIO) -> bool:
    try:
        return file.fileno() >= 0
    except OSError:  # a stream out of an object store
        return False


def _read(stretch: Stretch) -> Iterator[bytes]:
    file, offset, left = stretch
    if offset:
        file.seek(offset)
    while left:
        block = file.read(min(BLOCK, left))
        if not block:
            raise OutOfResources("The object's file in the archive is shorter than it was.")
        left -= len(block)
        yield block

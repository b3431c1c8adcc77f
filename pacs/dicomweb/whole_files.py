"""Many stored files in one multipart body, as they lie on their volumes: its length is known before the first byte."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from django.http import StreamingHttpResponse

from pacs.dicomweb.media_types import DICOM
from pacs.dicomweb.multipart import last_line, part_head, related
from pacs.models import Location, Volume
from pacs.storage import open_object
from radiology.errors import OutOfResources
from radiology.send_file import SEND_FILE

BLOCK = 1 << 20
# How a server sends bytes of a file: file, offset, count.
Send = Callable[[BinaryIO, int, int], None]


class WholeFile(NamedTuple):
    """What of a Location says how its file is sent; `size` is that of the data set."""

    location: int
    transfer_syntax_uid: str
    volume: int
    path: str
    data_set_offset: int
    size: int
    sha256: bytes

    @property
    def length(self) -> int:
        return self.data_set_offset + self.size


def files_response(request: Any, files: Sequence[WholeFile], *, boundary: str, status: int) -> StreamingHttpResponse:
    """The body with a part for each file. The first one is opened before the status is given.

    Raises OutOfResources where it cannot be; what goes wrong later cuts the connection.
    """
    heads = {
        syntax: part_head(boundary, f"{DICOM}; transfer-syntax={syntax}")
        for syntax in {each.transfer_syntax_uid for each in files}
    }
    length = sum(len(heads[each.transfer_syntax_uid]) + each.length + 2 for each in files)
    blocks = _blocks(files, heads, boundary, request.META.get(SEND_FILE))
    first = next(blocks)
    return StreamingHttpResponse(
        _chained(first, blocks),
        content_type=related(DICOM, boundary),
        status=status,
        headers={"Content-Length": str(length + len(last_line(boundary)))},
    )


def _chained(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _blocks(files: Sequence[WholeFile], heads: dict[str, bytes], boundary: str, send: Send | None) -> Iterator[bytes]:
    volumes = Volume.objects.in_bulk({each.volume for each in files})
    before = b""
    for each in files:
        with _opened(each, volumes[each.volume]) as file:
            yield before + heads[each.transfer_syntax_uid]
            if send is not None and _has_descriptor(file):
                send(file, 0, each.length)  # behind what was yielded, which the server has written by now
            else:
                yield from _read(file, each.length)
        before = b"\r\n"
    yield before + last_line(boundary)


def _opened(each: WholeFile, volume: Volume) -> BinaryIO:
    place = Location(
        pk=each.location,
        volume=volume,
        path=each.path,
        data_set_offset=each.data_set_offset,
        size=each.size,
        sha256=each.sha256,
    )
    try:
        return open_object(location=place)
    except FileNotFoundError as error:
        raise OutOfResources("The object's file is missing from the archive.") from error


def _has_descriptor(file: BinaryIO) -> bool:
    try:
        return file.fileno() >= 0
    except OSError:  # a stream out of an object store
        return False


def _read(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        block = file.read(min(BLOCK, length))
        if not block:
            raise OutOfResources("The object's file in the archive is shorter than it was.")
        length -= len(block)
        yield block

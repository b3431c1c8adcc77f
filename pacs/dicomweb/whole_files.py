"""Many stored files in one multipart body, as they lie on their volumes: its length is known before the first byte."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from django.http.response import HttpResponseBase

from pacs.dicomweb.media_types import DICOM
from pacs.dicomweb.multipart import last_line, part_head, related
from pacs.dicomweb.pieces import Piece, Stretch, pieces_response
from pacs.models import Location, Volume
from pacs.storage import open_object
from radiology.errors import OutOfResources


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


def files_response(request: Any, files: Sequence[WholeFile], *, boundary: str, status: int) -> HttpResponseBase:
    """The body with a part for each file. The first one is opened before the status is given.

    Raises OutOfResources where it cannot be; what goes wrong later cuts the connection.
    """
    heads = {
        syntax: part_head(boundary, f"{DICOM}; transfer-syntax={syntax}")
        for syntax in {each.transfer_syntax_uid for each in files}
    }
    length = sum(len(heads[each.transfer_syntax_uid]) + each.length + 2 for each in files)
    return pieces_response(
        request,
        _pieces(files, heads, boundary),
        length=length + len(last_line(boundary)),
        content_type=related(DICOM, boundary),
        status=status,
    )


def _pieces(files: Sequence[WholeFile], heads: dict[str, bytes], boundary: str) -> Iterator[Piece]:
    volumes = Volume.objects.in_bulk({each.volume for each in files})
    before = b""
    for each in files:
        with _opened(each, volumes[each.volume]) as file:
            yield before + heads[each.transfer_syntax_uid]
            yield Stretch(file, 0, each.length)
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

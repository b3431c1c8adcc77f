"""WADO-RS frames (PS3.18 10.4.1.1.3): pixels as stored or decompressed, without the header."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from pacs.byte_ranges import not_modified
from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.media_types import FrameForm, accepted, frame_form
from pacs.dicomweb.multipart import last_line, new_boundary, part_head, related, write_parts
from pacs.dicomweb.pieces import Piece, Stretch, pieces_response
from pacs.dicomweb.retrieve import streamed
from pacs.dicomweb.selection import location_of
from pacs.dicomweb.validators import weak
from pacs.services.decode import decode_frame
from pacs.services.frames import Extent, StoredImage
from radiology.errors import InvalidValue, NotAcceptable, NotFound

MAX_NUMBERS = 10_000
AT_ONCE = 8 * 1024 * 1024


def frame_numbers(text: str) -> list[int]:
    """`1,3,4` as numbers from 1. Raises InvalidValue."""
    parts = text.split(",")
    if len(parts) > MAX_NUMBERS or not all(
        part.isascii() and part.isdigit() and len(part) < 10 and int(part) for part in parts
    ):
        raise InvalidValue("Frames are numbers from 1, separated by commas.", field="frames")
    return [int(part) for part in parts]


class RetrieveFrames(DicomWebView):
    """Some frames of an instance, in the order asked for."""

    goes_straight = True

    def get(self, request: Any, study: str, series: str, instance: str, frames: str) -> HttpResponseBase:
        numbers = frame_numbers(frames)
        location = location_of(
            who=request.user, study=study, series=series, instance=instance, bytes_only=True, frames=numbers
        )
        # Pixels are never corrected: where they are and what is accepted say all about the answer.
        tag = weak(location.pk, numbers, request.META.get("HTTP_ACCEPT", ""), request.META.get("QUERY_STRING", ""))
        if not_modified(request, etag=tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        image = StoredImage(location)
        try:
            response = self._answer(request, image, numbers)
        except BaseException:
            image.close()
            raise
        response.headers["ETag"] = tag
        return response

    @staticmethod
    def _answer(request: Any, image: StoredImage, numbers: list[int]) -> HttpResponseBase:
        missing = [number for number in numbers if number > image.description.number_of_frames]
        if missing:
            raise NotFound(f"There is no frame {missing[0]}.")
        if image.is_video:
            raise NotAcceptable("The frames of a video cannot be taken apart: ask for rendered, or for pixeldata.")
        form = frame_form(accepted(request), stored=image.frame_transfer_syntax_uid, several=len(numbers) > 1)
        if form is None:
            raise NotAcceptable("These frames cannot be sent in a form that is accepted.")
        boundary = new_boundary()
        if form.transfer_syntax_uid == image.frame_transfer_syntax_uid:
            extents = [each for each in map(image.extents, numbers) if each is not None]
            if len(extents) == len(numbers):
                return _as_stored(request, image, extents, form, boundary)
        if form.multipart:
            parts = ((form.content_type, _frame(image, number, form)) for number in numbers)
            blocks = write_parts(boundary=boundary, parts=parts)
            content_type = related(form.media_type, boundary)
        else:
            blocks = _frame(image, numbers[0], form)
            content_type = form.content_type
        if image.description.decoded_size * len(numbers) <= AT_ONCE:
            pieces = list(blocks)
            image.close()
            length = sum(map(len, pieces))
            response = pieces_response(request, iter(pieces), length=length, content_type=content_type)
        else:
            response = streamed(_closing(image, blocks), content_type)
        return response


def _as_stored(
    request: Any, image: StoredImage, frames: list[list[Extent]], form: FrameForm, boundary: str
) -> HttpResponseBase:
    """Frames that leave as they lie, sent by the kernel where the server can."""
    head, end = (part_head(boundary, form.content_type), last_line(boundary)) if form.multipart else (b"", b"")
    length = sum(count for extents in frames for _, count in extents)
    if form.multipart:
        length += len(frames) * (len(head) + 2) + len(end)

    def pieces() -> Iterator[Piece]:
        before = b""
        with image:
            for extents in frames:
                yield before + head
                for offset, count in extents:
                    yield Stretch(image.source.file, offset, count)
                before = b"\r\n"
            if form.multipart:
                yield before + end

    content_type = related(form.media_type, boundary) if form.multipart else form.content_type
    return pieces_response(request, pieces(), length=length, content_type=content_type)


def _frame(image: StoredImage, number: int, form: FrameForm) -> Iterator[bytes]:
    if form.transfer_syntax_uid == image.frame_transfer_syntax_uid:
        yield from image.blocks(number)
        return
    pixels, _ = decode_frame(
        frame=image.frame(number), transfer_syntax_uid=image.transfer_syntax_uid, description=image.description
    )
    yield pixels


def _closing(image: StoredImage, blocks: Iterator[bytes]) -> Iterator[bytes]:
    with image:
        yield from blocks

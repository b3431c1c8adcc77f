"""Objects that hold a video (PS3.5 8.2.5 to 8.2.8): the one stream, as a player takes it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pacs.services.data_set import Stored
from pacs.services.frames import StoredImage
from radiology.errors import NotAcceptable

HEAD = 512


@dataclass
class Video:
    """A stream: `blocks(start)` gives it from a byte on. Close it when it is not read."""

    media_type: str
    size: int
    blocks: Callable[[int], Iterator[bytes]]
    close: Callable[[], None]


def open_video(*, location: Stored) -> Video:
    """The stream of an object whose transfer syntax is one of video. Raises NotAcceptable when it holds none."""
    image = StoredImage(location)
    try:
        if not image.is_video:
            raise NotAcceptable("This object holds no video.")
        extents = image.stream()
        head = b"".join(image.extents_from([(offset, min(length, HEAD)) for offset, length in extents[:1]], 0))
    except BaseException:
        image.close()
        raise

    def blocks(start: int) -> Iterator[bytes]:
        with image:
            yield from image.extents_from(extents, start)

    return Video(_media_type(head), sum(length for _, length in extents), blocks, image.close)


def _media_type(head: bytes) -> str:
    """What the container is, whatever the transfer syntax allows: players go by it."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:1] == b"\x47" and (len(head) <= 188 or head[188:189] == b"\x47"):
        return "video/mp2t"
    return "video/mpeg"

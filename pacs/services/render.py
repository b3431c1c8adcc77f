"""Pictures of stored objects for people to look at: rendered frames, thumbnails, placeholders.

What was drawn is kept (`pacs.services.kept_pictures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from pacs.models import Location
from pacs.services.data_set import Stored
from pacs.services.decode import DECODABLE, ask, require_reasonable
from pacs.services.frames import StoredImage
from pacs.services.kept_pictures import kept_picture
from pacs.services.plain_pictures import drawn_plainly
from radiology.errors import CannotUnderstand, NotAcceptable, NotFound, OutOfResources

log = structlog.get_logger(__name__)

THUMBNAIL = 200
QUALITY, THUMBNAIL_QUALITY = 90, 80
GIF = "image/gif"
PICTURES = ("image/jpeg", "image/png", GIF)
MAX_ANIMATED, MAX_ANIMATED_PIXELS = 500, 64 * 1024 * 1024
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def render_frame(
    *,
    location: Stored,
    frame: int | None = None,
    media_type: str = "image/jpeg",
    window: tuple[float, float, str] | None = None,
    viewport: tuple[float, ...] | None = None,
    region: tuple[float, ...] | None = None,
    quality: int = QUALITY,
    annotation: Mapping[str, Sequence[str]] | None = None,
    iccprofile: str = "no",
) -> bytes:
    """One frame as a picture: windowed as asked, else as the object says, fitted into `viewport` if given.

    `frame` counts from 1; None is the representative one. `annotation` is text for "top" and "bottom".
    Raises NotFound for a frame that is not there or an object without pixels, NotAcceptable for pixels
    that cannot be shown.
    """
    options = {
        "window": window, "viewport": viewport, "region": region, "quality": quality,
        "annotation": dict(annotation or {}), "iccprofile": iccprofile, "media_type": media_type,
    }  # fmt: skip

    def draw() -> bytes:
        with StoredImage(location) as image:
            _require_drawable(image)
            number = frame or image.description.representative_frame
            picture = drawn_plainly(image, number, options)
            if picture is None:
                _, picture = _drawn(image, image.header(), number, options)
        return picture

    return kept_picture(location=location, asked={"frame": frame, **options}, draw=draw)


def render_animation(*, location: Stored, **options: Any) -> bytes:
    """All frames as one GIF that moves at the object's own speed; options as of `render_frame`.

    Raises as `render_frame`, and NotAcceptable for more than what a GIF should hold.
    """
    return kept_picture(
        location=location, asked={"animated": True, **options}, draw=lambda: _animated(location, options)
    )


def _animated(location: Stored, options: Mapping[str, Any]) -> bytes:
    with StoredImage(location) as image:
        _require_drawable(image)
        count = image.description.number_of_frames
        if count > MAX_ANIMATED or count * image.description.rows * image.description.columns > MAX_ANIMATED_PIXELS:
            raise NotAcceptable("These are too many frames for one animated picture: ask for single ones.")
        header = image.header()
        drawn = [_drawn(image, header, number, {**options, "media_type": GIF}) for number in range(1, count + 1)]
    pictures = [picture for _, picture in drawn]
    _, picture = ask(
        operation="animate",
        payload=tuple(pictures),
        lengths=[len(each) for each in pictures],
        milliseconds=drawn[0][0]["frame_time"],
    )
    return picture


def _require_drawable(image: StoredImage) -> None:
    if image.is_video:
        raise NotAcceptable("This is a video: ask for it as video/*.")
    if image.is_encapsulated and image.transfer_syntax_uid not in DECODABLE:
        raise NotAcceptable("The pixels of this object are in a form that is not shown as a picture.")
    require_reasonable(image.description)


def _drawn(image: StoredImage, header: bytes, number: int, options: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    return ask(
        operation="render",
        payload=(header, image.frame(number)),
        header=len(header),
        data_set_syntax_uid=image.transfer_syntax_uid,
        transfer_syntax_uid=image.frame_transfer_syntax_uid,
        description=asdict(image.description),
        decoded_size=image.description.decoded_size,
        pixel_keyword=image.pixel_keyword,
        frame=number,
        **{"quality": QUALITY, **options},
    )


def render_thumbnail(*, location: Location, frame: int | None = None, size: int = THUMBNAIL) -> bytes:
    """A small JPEG of an object; where it has no picture, a neutral tile that names its modality."""
    try:
        return render_frame(location=location, frame=frame, viewport=(size, size), quality=THUMBNAIL_QUALITY)
    except (NotAcceptable, CannotUnderstand, NotFound, OutOfResources) as error:
        if frame is not None and isinstance(error, NotFound):
            raise
        log.info("placeholder instead of thumbnail", sop_instance_uid=location.instance_ref.sop_instance_uid)
        return render_placeholder(text=location.instance_ref.series_ref.modality, size=size)


def render_placeholder(*, text: str, size: int = THUMBNAIL) -> bytes:
    """A neutral tile with a word on it."""
    word = "".join(letter for letter in text if letter.isprintable())[:8]
    _, picture = ask(operation="placeholder", text=word or "?", size=size, media_type="image/jpeg")
    return picture

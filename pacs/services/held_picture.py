"""What a held object looks like."""

from pacs.models import HeldObject
from pacs.services.render import THUMBNAIL, THUMBNAIL_QUALITY, render_frame, render_placeholder
from radiology.errors import CannotUnderstand, NotAcceptable, NotFound, OutOfResources


def thumbnail(*, held: HeldObject, size: int = THUMBNAIL) -> bytes:
    """A small JPEG of an object that waits for a decision; a neutral tile where it has no picture."""
    try:
        return render_frame(location=held, viewport=(size, size), quality=THUMBNAIL_QUALITY)
    except (NotAcceptable, CannotUnderstand, NotFound, OutOfResources):
        return render_placeholder(text="?", size=size)

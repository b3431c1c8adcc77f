"""What stands at the head of a hospital's letters: its logo, its name, where it is, how one reaches it.

A logo is a picture that was decoded and drawn anew before it was kept: of the file that somebody uploaded nothing
remains but the pixels.
"""

from dataclasses import dataclass
from io import BytesIO

from django.utils.translation import gettext as _
from PIL import Image, UnidentifiedImageError

from radiology.errors import InvalidValue, TooLarge, UnsupportedMediaType
from radiology.models import Letterhead, Site
from radiology.services.letter_pictures import Pictures

LARGEST_FILE = 1 << 20
LARGEST_SIDE = 4000
MOST_LINES = 4
# What is kept: enough for 40 mm at 300 dpi and more.
KEPT = (1200, 600)
FORMATS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}


@dataclass(frozen=True)
class Head:
    """What the letter shows beside the site's name; `logo` is an address among its pictures."""

    lines: list[str]
    logo: str = ""


def letterhead_of(site: Site, pictures: Pictures) -> Head:
    kept = Letterhead.objects.filter(site=site).first()
    if kept is None:
        return Head([])
    reach = " · ".join(each for each in (kept.telephone, kept.email) if each)
    lines = [line.strip() for line in [*kept.address.splitlines()[:MOST_LINES], reach] if line.strip()]
    logo = pictures.add(bytes(kept.logo), kept.logo_media_type) if kept.logo else ""
    return Head(lines, logo)


def logo_of(content: bytes) -> tuple[bytes, str]:
    """A logo as it is kept, and its media type, made of an uploaded PNG or JPEG file.

    Raises TooLarge above 1 MB, UnsupportedMediaType for other kinds, InvalidValue for what cannot be decoded or has
    more than 4000 pixels a side.
    """
    if len(content) > LARGEST_FILE:
        raise TooLarge(_("A logo may have 1 MB at most."), field="logo")
    if not content.startswith(tuple(FORMATS.values())):
        raise UnsupportedMediaType(_("A logo is a PNG or JPEG picture."), field="logo")
    try:
        with Image.open(BytesIO(content), formats=list(FORMATS)) as opened:
            if max(opened.size) > LARGEST_SIDE:
                raise InvalidValue(_("A logo may have %(most)d pixels a side.") % {"most": LARGEST_SIDE}, field="logo")
            is_jpeg = opened.format == "JPEG"
            mode = "RGBA" if opened.has_transparency_data else "RGB"
            picture = Image.new(mode, opened.size)  # with nothing but the pixels: no comments, no profiles
            picture.paste(opened.convert(mode))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidValue(_("This file is damaged: it cannot be shown as a picture."), field="logo") from error
    picture.thumbnail(KEPT)
    made = BytesIO()
    if is_jpeg:
        picture.save(made, "JPEG", quality=90)
        return made.getvalue(), "image/jpeg"
    picture.save(made, "PNG", optimize=True)
    return made.getvalue(), "image/png"

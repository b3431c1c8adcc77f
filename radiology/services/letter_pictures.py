"""The pictures in a letter: key images from the archive, and the QR code by which the letter is verified."""

from dataclasses import dataclass
from typing import Any

import qrcode  # type: ignore[import-untyped]
import structlog
from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _
from qrcode.constants import ERROR_CORRECT_M  # type: ignore[import-untyped]

from radiology.errors import OutOfResources, RadiologyError, Unreachable
from radiology.models import Report, ReportVersion
from radiology.services.key_images import KeyImage, picture_of, place_of, window_of
from radiology.services.report_seals import seal_for_letter

log = structlog.get_logger(__name__)

# So many pixels a side, for up to so many key images; a letter's pictures stay below LARGEST bytes in all.
SIDES = ((4, 720), (9, 560), (20, 420))
QUALITIES = (80, 60, 40)
LARGEST = 1_500_000
QUIET_ZONE = 4


class Pictures:
    """What a letter shows, under addresses that mean something to this letter alone; nothing else is fetched for it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, bytes]] = {}

    def add(self, content: bytes, media_type: str) -> str:
        """The address of a picture."""
        address = f"sinar:{len(self._kept)}"
        self._kept[address] = (media_type, content)
        return address

    def fetch(self, url: str, *_: Any, **__: Any) -> Any:
        """What WeasyPrint asks for. Raises ValueError for all that was not added."""
        from weasyprint.urls import URLFetcherResponse  # its import looks for Pango, which a server may lack

        if url not in self._kept:
            raise ValueError("A letter holds all that it shows.")
        media_type, content = self._kept[url]
        return URLFetcherResponse(url, content, {"Content-Type": media_type})


@dataclass(frozen=True)
class Figure:
    """A key image of a letter; without `address` why there is no picture, in `missing`."""

    number: int
    caption: str
    place: str
    window: str
    alternative: str
    address: str = ""
    missing: str = ""


def figures_of(report: Report, version: ReportVersion, pictures: Pictures, *, is_kept: bool = False) -> list[Figure]:
    """The key images of a version, as small as their number asks for.

    Raises OutOfResources or Unreachable, for a letter that `is_kept`, when one cannot be read for the moment.
    """
    images: list[KeyImage] = version.key_images
    side = next((pixels for most, pixels in SIDES if len(images) <= most), SIDES[-1][1])
    drawn: list[bytes | str] = []
    for quality in QUALITIES:
        drawn = [_drawn(report, image, side, quality, is_kept) for image in images]
        if sum(len(each) for each in drawn if isinstance(each, bytes)) <= LARGEST:
            break
    return [
        _figure(number, image, each, pictures)
        for number, (image, each) in enumerate(zip(images, drawn, strict=True), 1)
    ]


def _drawn(report: Report, image: KeyImage, side: int, quality: int, is_kept: bool) -> bytes | str:
    """The picture, or why there is none."""
    try:
        return picture_of(report, image, side=side, quality=quality)
    except RadiologyError as error:
        if is_kept and isinstance(error, OutOfResources | Unreachable):
            raise
        log.warning("key image not drawn", sop_instance_uid=image["instance"], reason=type(error).__name__)
        return error.message


def _figure(number: int, image: KeyImage, drawn: bytes | str, pictures: Pictures) -> Figure:
    place, window = place_of(image), window_of(image)
    said = _("Key image %(number)d: %(place)s") % {"number": number, "place": place or image["instance"]}
    return Figure(
        number=number,
        caption=image["caption"],
        place=place,
        window=window,
        alternative=f"{said}. {image['caption']}" if image["caption"] else said,
        address=pictures.add(drawn, "image/jpeg") if isinstance(drawn, bytes) else "",
        missing=drawn if isinstance(drawn, str) else "",
    )


@dataclass(frozen=True)
class Verification:
    """What a letter tells whoever doubts it; without a known address of this server there is no QR code."""

    code: str
    url: str
    address: str


def verification_of(version: ReportVersion, origin: str, pictures: Pictures) -> Verification | None:
    """Of a signed version; None for others."""
    made = seal_for_letter(version)
    if made is None:
        return None
    base = (settings.SINAR_PUBLIC_URL or origin).rstrip("/")
    url = base + reverse("verify-report", args=[made.token]) if base else ""
    return Verification(made.code, url, pictures.add(qr_code(url), "image/svg+xml") if url else "")


def qr_code(text: str) -> bytes:
    """A QR code (ISO/IEC 18004, level M) with its quiet zone, as an SVG picture."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=QUIET_ZONE)
    code.add_data(text)
    code.make(fit=True)
    rows = code.get_matrix()
    path = "".join(
        f"M{across} {down}h1v1h-1z" for down, row in enumerate(rows) for across, is_dark in enumerate(row) if is_dark
    )
    side = len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path d="{path}" fill="#000"/></svg>'
    ).encode()

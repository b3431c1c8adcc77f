"""What the caller accepts, and what of it can be given (PS3.18 8.3.3, 8.7)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.services.transcode import can_send_as
from radiology.errors import InvalidValue

EXPLICIT = str(ExplicitVRLittleEndian)
# Native encodings that are never sent over the web (PS3.18 8.7.3.5.2 requires Explicit VR).
NEVER_SENT = {str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian)}
DICOM, OCTETS, MULTIPART = "application/dicom", "application/octet-stream", "multipart/related"
_SYNTAX = "1.2.840.10008.1.2."
# Media types of compressed frames and the transfer syntaxes that they stand for (PS3.18 Table 8.7.3-5).
COMPRESSED = {
    "image/jpeg": ("4.50", "4.51", "4.57", "4.70"),
    "image/dicom-rle": ("5",),
    "image/jls": ("4.80", "4.81"),
    "image/jp2": ("4.90", "4.91"),
    "image/jpx": ("4.92", "4.93"),
    "image/jphc": ("4.201", "4.202", "4.203"),
    "image/jxl": ("4.110", "4.111", "4.112"),
    "video/mpeg2": ("4.100", "4.100.1", "4.101", "4.101.1"),
    "video/mp4": (
        "4.102", "4.102.1", "4.103", "4.103.1", "4.104", "4.104.1", "4.105", "4.105.1", "4.106", "4.106.1",
        "4.107", "4.108",
    ),
}  # fmt: skip
WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
PARAMETER = re.compile(rf"""\s*;\s*({WORD})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)""")
RANGE = re.compile(rf"\s*({WORD}/{WORD})")
MAX_ACCEPT = 8192


@dataclass(frozen=True)
class MediaRange:
    """One entry of Accept. `inner` is the type of the parts where it asks for multipart."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def is_multipart(self) -> bool:
        return self.type == MULTIPART

    @property
    def inner(self) -> str:
        return self.parameters.get("type", "*/*").lower() if self.is_multipart else self.type

    @property
    def transfer_syntax(self) -> str:
        return self.parameters.get("transfer-syntax", "")

    def takes(self, media_type: str) -> bool:
        """Whether a body (or part) of `media_type` fits."""
        kind = media_type.split("/")[0]
        return self.inner in {media_type, f"{kind}/*", "*/*"}


def accepted(request: Any) -> list[MediaRange]:
    """The caller's ranges, best first: the `accept` parameter of the query before the header (PS3.18 8.3.3.1)."""
    query = [text.replace(" ", "+") if ";" not in text else text for text in request.GET.getlist("accept")]
    ranges = [entry for text in query for entry in parse_accept(text)]
    header = _by_quality(request.META.get("HTTP_ACCEPT", ""))
    if not ranges and not header:
        return [MediaRange("*/*")]
    return ranges + [entry for entry in header if entry.quality > 0]


@lru_cache(256)
def _by_quality(text: str) -> list[MediaRange]:
    return sorted(parse_accept(text), key=lambda entry: -entry.quality)


def parse_accept(text: str) -> list[MediaRange]:
    """The entries of an Accept value in their order; parameters quoted or not. InvalidValue for none of that."""
    if len(text) > MAX_ACCEPT:
        raise InvalidValue("The Accept header is too long.", field="Accept")
    entries = []
    position = 0
    while position < len(text):
        found = RANGE.match(text, position)
        if found is None:
            rest = text[position:].strip(" ,\t")
            if not rest:
                break
            raise InvalidValue("The Accept header cannot be understood.", field="Accept")
        position = found.end()
        parameters: dict[str, str] = {}
        while parameter := PARAMETER.match(text, position):
            name, value = parameter[1].lower(), parameter[2]
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            parameters.setdefault(name, value)
            position = parameter.end()
        entries.append(MediaRange(found[1].lower(), parameters, _quality(parameters.pop("q", "1"))))
        # What follows up to the next comma is no parameter that anybody knows.
        comma = text.find(",", position)
        position = len(text) if comma < 0 else comma + 1
    return entries


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


def object_syntax(ranges: Sequence[MediaRange], *, stored: str) -> str | None:
    """The transfer syntax to send a stored object in, None when no range allows one that we can make.

    Without transfer-syntax: Explicit VR Little Endian; `*`: as stored. Implicit and Big Endian are
    never sent (PS3.18 8.7.3.5.2).
    """
    as_stored = EXPLICIT if stored in NEVER_SENT else stored
    for entry in ranges:
        if not entry.takes(DICOM):
            continue
        wanted = entry.transfer_syntax or EXPLICIT
        wanted = as_stored if wanted == "*" else wanted
        if wanted not in NEVER_SENT and can_send_as(
            transfer_syntax_uid_stored=stored, transfer_syntax_uid_wanted=wanted
        ):
            return wanted
    return None


@dataclass(frozen=True)
class FrameForm:
    """How frames are sent: the media type of each, its transfer syntax, in parts or alone."""

    media_type: str
    transfer_syntax_uid: str
    multipart: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


def frame_form(ranges: Sequence[MediaRange], *, stored: str, several: bool) -> FrameForm | None:
    """How to send frames that are stored in `stored`; None when no range allows one that we can make."""
    for entry in ranges:
        multipart = entry.is_multipart or entry.type == "*/*"
        if several and not multipart:
            continue
        if entry.takes(OCTETS):
            wanted = entry.transfer_syntax or EXPLICIT
            wanted = stored if wanted == "*" else wanted
            if wanted == stored or (
                wanted == EXPLICIT
                and can_send_as(transfer_syntax_uid_stored=stored, transfer_syntax_uid_wanted=EXPLICIT)
            ):
                return FrameForm(OCTETS, wanted, multipart)
        for media_type, suffixes in COMPRESSED.items():
            wanted = stored if entry.transfer_syntax in {"", "*"} else entry.transfer_syntax
            if entry.takes(media_type) and stored == wanted and stored.removeprefix(_SYNTAX) in suffixes:
                return FrameForm(media_type, stored, multipart)
    return None


def picture_type(ranges: Sequence[MediaRange], offered: Sequence[str]) -> tuple[str, bool] | None:
    """The first of `offered` that the best range takes, and whether in parts."""
    for entry in ranges:
        for media_type in offered:
            if entry.takes(media_type):
                return media_type, entry.is_multipart
    return None

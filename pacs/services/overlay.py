"""What is laid over an object on its way out: corrected values, and a record of those they replace.

A study and a series may each hold an overlay: `{"at": moment, "attributes": {tag: element or null}}`,
the elements in the DICOM JSON model (PS3.18 F), null for one that is left out. The study's prevails.
The bytes in the archive stay as received; nested data sets are not looked into.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from pacs.models import Series
from radiology.dicom import NAME_GROUPS, decode

ORIGINAL_ATTRIBUTES_SEQUENCE = 0x04000561
SPECIFIC_CHARACTER_SET = 0x00080005
# Laid over only where the object has them: their presence says something by itself.
ONLY_WHERE_PRESENT = frozenset({0x00200062})
TEXT_VR = {"SH", "LO", "ST", "LT", "PN", "UC", "UT"}

Element = dict[str, Any]


@dataclass(frozen=True)
class Overlay:
    """Corrected attributes by tag (None: left out), and when the last of them was corrected (UTC, ISO 8601)."""

    attributes: Mapping[int, Element | None]
    at: str

    @property
    def is_ascii(self) -> bool:
        return all(text_of(element).isascii() for element in self.attributes.values() if element)

    def encoded(self, codec: str) -> dict[int, tuple[str, bytes | None]]:
        """VR and value bytes (even length) by tag. Raises UnicodeEncodeError where `codec` lacks a character."""
        return {
            tag: (element["vr"], padded(element["vr"], text_of(element).encode(codec)))
            if element is not None
            else ("", None)
            for tag, element in self.attributes.items()
        }

    @property
    def modification(self) -> list[tuple[int, str, bytes]]:
        """What the item of the Original Attributes Sequence says of the change (PS3.3 C.12.1.1.9), but its values."""
        moment = self.at.replace("-", "").replace(":", "").replace("T", "")[:14]
        texts = (
            (0x04000562, "DT", f"{moment}+0000"),
            (0x04000563, "LO", settings.DIMSE["AE_TITLE"]),
            (0x04000564, "LO", ""),
            (0x04000565, "CS", "CORRECT"),
        )
        return [(tag, vr, padded(vr, text.encode("ascii", "replace"))) for tag, vr, text in texts]


def overlay_of(series: Series) -> Overlay | None:
    """What is laid over the objects of `series`, whose study is loaded; None for most."""
    study = series.study_ref
    if not series.overlay and not study.overlay:
        return None
    attributes = {**series.overlay.get("attributes", {}), **study.overlay.get("attributes", {})}
    if not attributes:
        return None
    return Overlay(
        {int(tag, 16): element for tag, element in attributes.items()},
        max(series.overlay.get("at", ""), study.overlay.get("at", "")),
    )


def laid_over(overlay: Mapping[str, Any], attributes: Mapping[str, Element]) -> dict[str, Element]:
    """The JSON `attributes` of a row with a stored `overlay` over them."""
    if not overlay and None not in attributes.values():
        return dict(attributes)
    merged = {**attributes, **overlay.get("attributes", {})}
    return {tag: element for tag, element in merged.items() if element is not None}


def lay_over_json(overlay: Overlay, found: dict[str, Element]) -> None:
    """Lay `overlay` over an object's JSON, and add the item that names the values replaced."""
    originals: dict[str, Element] = {}
    for tag, element in overlay.attributes.items():
        name = f"{tag:08X}"
        if (tag in ONLY_WHERE_PRESENT and name not in found) or (element is None and name not in found):
            continue
        previous = found.get(name)
        if element is None:
            del found[name]
        elif previous is not None and previous.get("Value") == element.get("Value"):
            continue
        else:
            found[name] = element
        originals[name] = previous if previous is not None else {"vr": (element or {}).get("vr", "UN")}
    if not originals:
        return
    item: dict[str, Element] = {
        f"{tag:08X}": {"vr": vr, "Value": [text]} if (text := value.decode("ascii").strip()) else {"vr": vr}
        for tag, vr, value in overlay.modification
    }
    item["04000550"] = {"vr": "SQ", "Value": [dict(sorted(originals.items()))]}
    sequence = found.setdefault(f"{ORIGINAL_ATTRIBUTES_SEQUENCE:08X}", {"vr": "SQ"})
    sequence["Value"] = [*sequence.get("Value", []), dict(sorted(item.items()))]


def text_of(element: Element | None) -> str:
    """The value of an element as it is encoded, several values joined by backslashes."""
    values = (element or {}).get("Value", [])
    return "\\".join(_name(value) if isinstance(value, dict) else str(value) for value in values if value is not None)


def _name(value: Mapping[str, str]) -> str:
    return "=".join(value.get(group, "") for group in NAME_GROUPS).rstrip("=")


def padded(vr: str, value: bytes) -> bytes:
    """`value` of even length (PS3.5 6.2)."""
    return value + (b"\0" if vr in {"UI", "OB", "UN"} else b" ") * (len(value) % 2)


def recoded(vr: str, value: bytes, codecs: list[str]) -> bytes:
    """A text value in UTF-8; other values stay."""
    if vr not in TEXT_VR or (value.isascii() and b"\x1b" not in value):
        return value
    text = decode(value, codecs, person_name=vr == "PN")
    return padded(vr, text.encode("utf-8", "replace").rstrip(b" \0"))


def fitting_codec(overlay: Overlay, codecs: Iterable[str]) -> str | None:
    """A codec for the values of `overlay` that goes with an object's character sets; None when it must become UTF-8."""
    if overlay.is_ascii:
        return "ascii"
    known = [codec.lower() for codec in codecs]
    if len(known) != 1 or not (known[0] == "utf8" or known[0].startswith(("iso8859_", "latin_", "iso_ir_"))):
        return None
    try:
        overlay.encoded(known[0])
    except UnicodeEncodeError:
        return None
    return known[0]

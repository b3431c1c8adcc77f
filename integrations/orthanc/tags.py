"""Attributes in the three forms that Orthanc gives them: in full, short by tag, simple by keyword."""

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from integrations.orthanc.access import flag
from pacs.models import Location
from pacs.services.metadata import metadata_of
from pacs.services.stored_values import texts

# Longer texts are left out, as in Orthanc (ORTHANC_MAXIMUM_TAG_LENGTH).
LONGEST = 256
BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
PIXEL_DATA = "7FE00010"

Attributes = Mapping[str, Mapping[str, Any]]


class Form(Enum):
    FULL = "full"
    SHORT = "short"
    SIMPLE = "simple"


def form_of(request: Any, *, plain: Form = Form.FULL) -> Form:
    """`?simplify` and `?short` of the query, else `plain`."""
    if flag(request, "simplify"):
        return Form.SIMPLE
    if flag(request, "short"):
        return Form.SHORT
    return Form.FULL if flag(request, "full") else plain


def tags_of(location: Location) -> dict[str, dict[str, Any]]:
    """All attributes of a stored object as it leaves, in DICOM JSON, numbers as they are written there."""
    found = metadata_of(location=location, base_url="", verbatim=True)
    found.pop("00083002", None)  # Available Transfer Syntax UID is of DICOMweb, not of the object
    if location.instance_ref.rows:
        found[PIXEL_DATA] = {"vr": "OW"}
    return found


def formatted(attributes: Attributes, form: Form) -> dict[str, Any]:
    """DICOM JSON (PS3.18 F) in one of Orthanc's forms."""
    found: dict[str, Any] = {}
    for tag, element in attributes.items():
        name = keyword_of(tag)
        if form is Form.SIMPLE:
            found[name] = _value(element, form)
        elif form is Form.SHORT:
            found[dashed(tag, ",")] = _value(element, form)
        else:
            value = _value(element, form)
            found[dashed(tag, ",")] = {"Name": name, "Type": _type(element, value), "Value": value}
    return found


@lru_cache(maxsize=4096)
def keyword_of(tag: str) -> str:
    """The keyword of eight hexadecimal digits."""
    number = int(tag, 16)
    if number >> 16 & 1:
        return "PrivateCreator" if 0x10 <= number & 0xFFFF <= 0xFF else "Unknown Tag & Data"
    return keyword_for_tag(number) or "Unknown Tag & Data"


def dashed(tag: str, sign: str) -> str:
    """`0010,0020` or `0010-0020` of eight hexadecimal digits."""
    return f"{tag[:4]}{sign}{tag[4:]}".lower()


def tag_of(name: str) -> str:
    """The eight hexadecimal digits of a keyword or a tag in any of Orthanc's spellings; empty for what is none."""
    plain = name.replace(",", "").replace("-", "")
    if len(plain) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in plain):
        return plain.upper()
    number = tag_for_keyword(name)
    return "" if number is None else f"{number:08X}"


def text_of(element: Mapping[str, Any]) -> str:
    """Values as one text, joined by backslashes; names without empty groups at their end."""
    values = [value.rstrip("=") if element.get("vr") == "PN" else value for value in _texts(element)]
    return "\\".join(values)


def _texts(element: Mapping[str, Any]) -> list[str]:
    if element.get("vr") == "PN":
        return texts(dict(element))
    return ["" if value is None else str(value) for value in element.get("Value", [])]


def _value(element: Mapping[str, Any], form: Form) -> Any:
    if element.get("vr") == "SQ":
        return [formatted(item, form) for item in element.get("Value", [])]
    if element.get("vr") in BINARY or "InlineBinary" in element or "BulkDataURI" in element:
        return None
    text = text_of(element)
    return None if len(text) > LONGEST else text


def _type(element: Mapping[str, Any], value: Any) -> str:
    if element.get("vr") == "SQ":
        return "Sequence"
    if value is None:
        return "Null" if element.get("vr") in BINARY else "TooLong"
    return "String"

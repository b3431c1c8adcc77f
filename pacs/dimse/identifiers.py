"""The keys of a C-FIND identifier (PS3.4 C.2.2.2) as text, whatever character set they came in."""

from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from pacs.services.matching import WILDCARD_VR
from radiology.dicom import clean, decode
from radiology.errors import CannotUnderstand

TEXT_VR = WILDCARD_VR | {"AS", "DA", "DS", "DT", "IS", "TM", "UI"}  # whose bytes are text
CHARACTER_SET, QUERY_LEVEL, TIME_ZONE = 0x00080005, 0x00080052, 0x00080201
# Keys that say how the others are meant.
NOT_KEYS = {CHARACTER_SET, QUERY_LEVEL, TIME_ZONE, 0x00080053}


def keys_of(identifier: Dataset, codecs: list[str]) -> dict[str, Any]:
    """The keys by tag: text, or the keys of a sequence's item."""
    keys: dict[str, Any] = {}
    for tag in list(identifier.keys()):
        if tag in NOT_KEYS or tag.element == 0:
            continue
        name = f"{int(tag):08X}"
        if _vr(identifier, tag) == "SQ":
            items = _element(identifier, tag).value or []
            keys[name] = keys_of(items[0], codecs) if items else {}
        else:
            keys[name] = text_of(identifier, tag, codecs)
    return keys


def _vr(identifier: Dataset, tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return identifier.get_item(tag).VR or "UN"


def _element(identifier: Dataset, tag: BaseTag) -> DataElement:
    try:
        return identifier[tag]
    except Exception as error:  # pydicom raises whatever its converters do
        raise CannotUnderstand("The identifier has a value that cannot be read.") from error


def text_of(identifier: Dataset, tag: int | BaseTag, codecs: list[str]) -> str:
    """A key's whole value, several values joined by a backslash, in any of the request's character sets."""
    if tag not in identifier:
        return ""
    raw = identifier.get_item(tag)
    vr = _vr(identifier, BaseTag(tag))
    if isinstance(raw, RawDataElement) and vr in TEXT_VR:
        value = raw.value or b""
        if not codecs or vr not in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
            return clean(value.decode("latin-1")).strip(" \0")
        return clean(decode(value, codecs, person_name=vr == "PN"))
    value = _element(identifier, BaseTag(tag)).value
    if vr == "SQ" or value is None or isinstance(value, bytes):
        return ""
    values = value if isinstance(value, MultiValue | list) else [value]
    return clean("\\".join(str(each) for each in values))

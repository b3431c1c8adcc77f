"""Values as a request gives them, as elements of the DICOM JSON model: texts, data URIs, sequences of items."""

import base64
import binascii
import re
from typing import Any

from pydicom import config
from pydicom.valuerep import validate_value

from integrations.orthanc.tags import keyword_of, tag_of
from pacs.services.elements import LONG_VR, dictionary_vr, private_vr
from pacs.services.metadata import BINARY, NUMBERS, ONE_TEXT
from radiology.dicom import NAME_GROUPS
from radiology.errors import InvalidValue

DATA_URI = re.compile(r"data:[^,]{0,128};base64,")
# What other archives and this one go by must be as DICOM says; other texts need only fit.
VALIDATED = {"AS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI", "ST", "LT"}
LONGEST_TEXT = 0xFFFE
DEEPEST = 16

Element = dict[str, Any]


def element_of(tag: str, value: Any, *, creator: str = "", binary: bool = True, depth: int = 0) -> Element:
    """The element of a tag of eight hexadecimal digits.

    `creator` names private ones; with `binary`, data URIs are decoded. Raises InvalidValue, which names the tag.
    """
    vr = vr_of(tag, value, creator)
    name = keyword_of(tag) if keyword_of(tag).isalnum() else tag
    if vr == "SQ":
        return _sequence(name, value, creator=creator, binary=binary, depth=depth)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        return {"vr": vr}
    if not isinstance(value, str):
        raise InvalidValue(f"The value of {name} must be a string.", field=name)
    if binary and DATA_URI.match(value):
        return _of_data_uri(name, vr, value)
    return _of_text(name, vr, value)


def vr_of(tag: str, value: Any, creator: str) -> str:
    """The VR in which a value is written. Raises InvalidValue for an attribute that nobody knows."""
    number = int(tag, 16)
    if number >> 16 & 1:
        known = dictionary_vr(number) or (private_vr(number, creator) if creator else "")
        return known or ("SQ" if isinstance(value, list) else "LO" if len(str(value)) <= 64 else "UT")
    vr = dictionary_vr(number)
    if not vr or number >> 16 in {0, 2} or number & 0xFFFF == 0:
        raise InvalidValue(f"Unknown DICOM tag: {tag[:4]},{tag[4:]}")
    return "OW" if "OW" in vr else vr.partition(" or ")[0]


def _sequence(name: str, value: Any, *, creator: str, binary: bool, depth: int) -> Element:
    if value in (None, "", []):
        return {"vr": "SQ"}
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value) or depth >= DEEPEST:
        raise InvalidValue(f"The value of the sequence {name} must be a list of objects.", field=name)
    items = []
    for given in value:
        item = {}
        for inner, of in given.items():
            tag = tag_of(inner)
            if not tag:
                raise InvalidValue(f"Unknown DICOM tag: {inner[:64]}", field=name)
            item[tag] = element_of(tag, of, creator=creator, binary=binary, depth=depth + 1)
        items.append(with_creators(item, creator))
    return {"vr": "SQ", "Value": items}


def with_creators(attributes: dict[str, Element], creator: str) -> dict[str, Element]:
    """With the element that reserves a block for each private attribute that has none yet (PS3.5 7.8.1)."""
    if not creator:
        return attributes
    blocks = {
        f"{tag[:4]}00{tag[4:6]}"
        for tag in attributes
        if int(tag[:4], 16) & 1 and int(tag[4:6], 16) >= 0x10
    }  # fmt: skip
    reserved = {tag: {"vr": "LO", "Value": [creator]} for tag in blocks if tag not in attributes}
    return {**attributes, **reserved}


def _of_data_uri(name: str, vr: str, value: str) -> Element:
    try:
        content = base64.b64decode(value.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise InvalidValue(f"The data URI of {name} is not in base64.", field=name) from error
    if vr in BINARY:
        return {"vr": vr, "InlineBinary": base64.b64encode(content).decode("ascii")}
    try:
        return _of_text(name, vr, content.decode())
    except UnicodeDecodeError as error:
        raise InvalidValue(f"The data URI of {name} holds no text.", field=name) from error


def _of_text(name: str, vr: str, value: str) -> Element:
    wrong = InvalidValue(f"The value of {name} does not fit its value representation {vr}.", field=name)
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise wrong from error
    if vr in BINARY:
        return {"vr": vr, "InlineBinary": base64.b64encode(value.encode()).decode("ascii")}
    if "\0" in value or (vr not in LONG_VR and size > LONGEST_TEXT):
        raise wrong
    parts = [value] if vr in ONE_TEXT else value.split("\\")
    try:
        if vr in NUMBERS:
            return {"vr": vr, "Value": [(float if vr in {"FL", "FD"} else int)(part) for part in parts]}
        if vr == "AT":
            found = [tag_of(part.strip()) for part in parts]
            if not all(found):
                raise wrong
            return {"vr": vr, "Value": found}
        if vr in VALIDATED:
            for part in parts:
                validate_value(vr, part, config.RAISE)
    except (ValueError, OverflowError) as error:
        raise wrong from error
    if vr == "PN":
        names = [dict(zip(NAME_GROUPS, part.split("="), strict=False)) for part in parts]
        return {"vr": vr, "Value": [{key: text for key, text in each.items() if text} or None for each in names]}
    return {"vr": vr, "Value": [part or None for part in parts]}

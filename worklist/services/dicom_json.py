"""Values out of a data set in the DICOM JSON model (PS3.18 F) that a peer has sent: whatever it holds, no error."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydicom.datadict import tag_for_keyword

from pacs.services.overlay import text_of

Attributes = Mapping[str, Any]


@lru_cache(maxsize=1024)
def tag_of(keyword: str) -> int:
    """The tag of a keyword of PS3.6."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of the data dictionary")
    return int(tag)


@lru_cache(maxsize=1024)
def name_of(keyword: str) -> str:
    """The tag of a keyword as the model writes it: eight hexadecimal digits."""
    return f"{tag_of(keyword):08X}"


def is_present(attributes: Attributes, keyword: str) -> bool:
    return name_of(keyword) in attributes


def text(attributes: Attributes, keyword: str, *, most: int = 64) -> str:
    """The first value as text, cut to `most` characters; empty for a sequence or nothing."""
    element = attributes.get(name_of(keyword))
    if not element or element.get("vr") == "SQ":
        return ""
    whole = text_of(element)
    return (whole if element.get("vr") in {"LT", "ST", "UT"} else whole.split("\\")[0]).strip()[:most]


def items(attributes: Attributes, keyword: str) -> list[Attributes]:
    """The items of a sequence."""
    element = attributes.get(name_of(keyword))
    if not element or element.get("vr") != "SQ":
        return []
    return [item for item in element.get("Value", []) if isinstance(item, Mapping)]


def number(attributes: Attributes, keyword: str) -> float | None:
    """The first value as a finite number; None for anything else."""
    try:
        found = float(text(attributes, keyword))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def code(attributes: Attributes, keyword: str) -> list[str]:
    """Code, coding scheme and meaning of the first item of a code sequence (PS3.3 8.8); empty when there is none."""
    found = items(attributes, keyword)
    if not found:
        return []
    value = text(found[0], "CodeValue") or text(found[0], "LongCodeValue") or text(found[0], "URNCodeValue", most=200)
    return [value, text(found[0], "CodingSchemeDesignator"), text(found[0], "CodeMeaning")]

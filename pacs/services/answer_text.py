"""Attributes of answers as text of the DICOM JSON model (PS3.18 F), written at once and not by way of objects.

A list of studies holds thousands of attributes, and nearly all of them are one text.
"""

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from pacs.services.metadata import ONE_TEXT
from pacs.services.overlay import Element
from radiology.dicom import NAME_GROUPS, name_groups

_dumped = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def element(vr: str, value: Any) -> Element:
    """One attribute of the model; a text of several values is split at its backslashes."""
    values: list[Any]
    if isinstance(value, str):
        values = [] if not value else [value] if "\\" not in value or vr in ONE_TEXT else value.split("\\")
    else:
        values = list(value) if isinstance(value, list) else [] if value is None else [value]
    if vr == "PN":
        values = [name_json(each) if isinstance(each, str) else each for each in values]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def name_json(raw: str) -> dict[str, str]:
    """A person name as an object of its component groups (PS3.18 F.2.2)."""
    names = zip(NAME_GROUPS, name_groups(raw), strict=True)
    return {group: text for group, text in names if text}


def element_text(tag: str, found: Element) -> str:
    """An element under its name."""
    values = found.get("Value")
    if type(values) is list and len(values) == 1 and type(values[0]) is str and len(found) == 2:
        return f'"{tag}":{{"vr":"{found["vr"]}","Value":[{encode_basestring(values[0])}]}}'
    return f'"{tag}":{_dumped(found)}'


def value_writer(tag: str, vr: str) -> Callable[[Any], str]:
    """What writes the stored values of an attribute; all of its text that never changes is written now."""
    empty = f'"{tag}":{{"vr":"{vr}"}}'
    start = f'"{tag}":{{"vr":"{vr}","Value":['
    backslash = None if vr in ONE_TEXT else "\\"

    def write(value: Any) -> str:
        if type(value) is str:
            if not value:
                return empty
            if backslash is None or backslash not in value:
                return f"{start}{encode_basestring(value)}]}}"
        elif type(value) is int:
            return f"{start}{value}]}}"
        elif value is None or value == []:
            return empty
        elif type(value) is list and all(type(each) is str for each in value):
            return f"{start}{','.join(map(encode_basestring, value))}]}}"
        return element_text(tag, element(vr, value))

    def write_name(value: Any) -> str:
        if value == "":
            return empty
        if type(value) is str and "=" not in value and "\\" not in value and (name := name_groups(value)[0]):
            return f'{start}{{"Alphabetic":{encode_basestring(name)}}}]}}'
        return element_text(tag, element(vr, value))

    return write_name if vr == "PN" else write

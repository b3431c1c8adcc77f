"""The query string of QIDO-RS (PS3.18 8.3.4, 10.6.1): match keys, includefield, fuzzymatching, limit, offset."""

import re
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from pydicom.datadict import dictionary_VR, tag_for_keyword

from pacs.services.attributes import keyword_of
from radiology.dicom import clean, parse_offset
from radiology.errors import InvalidValue

# What says how to answer, and is read elsewhere.
NOT_KEYS = {"accept", "charset"}
# A comma separates values where it cannot be part of one.
LISTS = {"UI", "CS"}
MOST_KEYS = 200


@dataclass
class Parameters:
    """What a query string asks for. `warnings` say what of it is ignored."""

    keys: dict[str, Any] = field(default_factory=dict)
    included: set[str] = field(default_factory=set)
    everything: bool = False
    fuzzy: bool = False
    limit: int | None = None
    offset: int = 0
    zone: Any = None
    warnings: list[str] = field(default_factory=list)


def parse_parameters(query: QueryDict) -> Parameters:
    """`query` understood. Raises InvalidValue, naming the parameter, for a value that is malformed."""
    found = Parameters()
    if len(query) > MOST_KEYS:
        raise InvalidValue(f"There are more than {MOST_KEYS} parameters.")
    for name, values in query.lists():
        match name.lower():
            case "includefield":
                _include(found, values)
            case "fuzzymatching":
                found.fuzzy = _boolean(name, values[-1])
            case "limit":
                found.limit = _number(name, values[-1])
            case "offset":
                found.offset = _number(name, values[-1])
            case other if other not in NOT_KEYS:
                _key(found, name, values)
    return found


def _include(found: Parameters, values: list[str]) -> None:
    for name in (part.strip() for value in values for part in value.split(",")):
        if name.lower() == "all":
            found.everything = True
        elif name:
            # The first step of a nested name is what is returned, with all of its items.
            keyword = keyword_of(name.split(".")[0])
            if keyword:
                found.included.add(keyword)
            else:
                found.warnings.append(f"The includefield {_printable(name)} is unknown and was ignored")


def _key(found: Parameters, name: str, values: list[str]) -> None:
    steps = [keyword_of(step) for step in name.split(".")]
    if not all(steps) or len(steps) > 2:
        found.warnings.append(f"The parameter {_printable(name)} is unknown and was ignored")
        return
    if any("\x00" in value for value in values):
        raise InvalidValue(f"{steps[0]} holds a character that no value may hold.", field=name)
    text = "\\".join(_listed(steps[-1], value) for value in values)
    if steps == ["TimezoneOffsetFromUTC"]:
        found.zone = parse_offset(text.replace(" ", "+", 1))
        if text and found.zone is None:
            raise InvalidValue("TimezoneOffsetFromUTC must be an offset such as +0700.", field=name)
        return
    if len(steps) == 1:
        found.keys[steps[0]] = text
    elif isinstance(nested := found.keys.setdefault(steps[0], {}), dict):
        nested[steps[1]] = text


def _listed(keyword: str, value: str) -> str:
    tag = tag_for_keyword(keyword)
    vr = dictionary_VR(tag) if tag is not None else ""
    return clean(value).replace(",", "\\") if vr in LISTS else clean(value)


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise InvalidValue(f"{name} must be true or false.", field=name)
    return value.lower() == "true"


def _number(name: str, value: str) -> int:
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII) is None:
        raise InvalidValue(f"{name} must be a whole number from 0 on.", field=name)
    return int(value)


def _printable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)[:64]

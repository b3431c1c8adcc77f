"""Every attribute of an object in rows to read and search: what it holds, and what was corrected."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description
from pydicom.uid import UID

from pacs.models import Location
from pacs.services.data_set import OpenDataSet, Stored
from pacs.services.elements import PIXELS, Kind, walk
from pacs.services.metadata import attributes_of
from pacs.services.overlay import overlay_of, text_of
from radiology.dicom import PersonName

MOST_ROWS = 5000
MOST_TEXT = 2000
DEEPEST = 16


@dataclass(frozen=True)
class Row:
    """One attribute. `depth` counts the sequences around it; `length` is that of a value too large to be
    shown; `original` is what a correction replaced."""

    depth: int
    tag: str
    name: str
    vr: str
    value: str
    is_private: bool = False
    is_item: bool = False
    length: int | None = None
    original: str | None = None


@dataclass(frozen=True)
class Difference:
    """One attribute that differs between two objects."""

    tag: str
    name: str
    one: str
    other: str


def header_rows(*, location: Location) -> list[Row]:
    """The attributes of an instance as it leaves the archive, in order, pixels aside.

    The location comes with its instance, series and study. Raises CannotUnderstand, OutOfResources.
    """
    found = _attributes(location)
    corrected: dict[str, str] = {}
    overlay = overlay_of(location.instance_ref.series_ref)
    for number, element in (overlay.attributes if overlay else {}).items():
        tag = f"{number:08X}"
        if element is None and tag not in found:
            continue
        before, now = _value(tag, found.get(tag, {})), _value(tag, element or {})
        if before != now:
            corrected[tag] = before
            found[tag] = element if element is not None else {"vr": found[tag].get("vr", "")}
    rows: list[Row] = []
    for row in _rows(dict(sorted(found.items())), 0, corrected):
        rows.append(row)
        if len(rows) >= MOST_ROWS:
            break
    return rows


def differences(*, one: Stored, other: Stored) -> list[Difference]:
    """The attributes of two stored objects that are not the same, pixels aside. Raises as `header_rows`."""
    ours, theirs = _attributes(one), _attributes(other)
    return [
        Difference(_tag(tag), _name(tag), _value(tag, ours.get(tag, {})), _value(tag, theirs.get(tag, {})))
        for tag in sorted(ours.keys() | theirs.keys())
        if ours.get(tag) != theirs.get(tag)
    ]


def _attributes(stored: Stored) -> dict[str, Any]:
    """The attributes in the JSON model; a large value has its `length` instead."""
    with OpenDataSet(stored) as source:
        found: dict[str, Any] = attributes_of(source=source, bulk_url="")
        _put_lengths(source, found)
    return found


def _put_lengths(source: OpenDataSet, root: dict[str, Any]) -> None:
    levels = [root]
    sequences: list[Iterator[dict[str, Any]]] = []
    for token in walk(source.data, transfer_syntax_uid=source.transfer_syntax_uid, start=source.start, end=source.end):
        name = f"{token.tag:08X}"
        if token.kind <= Kind.FRAGMENTS and token.tag in PIXELS and len(levels) == 1:
            length = token.length if token.kind == Kind.ELEMENT else source.end - token.offset
            root[name] = {"vr": token.vr or "OW", "length": length}
            return
        if token.kind == Kind.ELEMENT and "BulkDataURI" in levels[-1].get(name, {}):
            levels[-1][name] = {"vr": levels[-1][name]["vr"], "length": token.length}
        elif token.kind == Kind.SEQUENCE:
            sequences.append(iter(levels[-1].get(name, {}).get("Value", [])))
        elif token.kind == Kind.ITEM:
            levels.append(next(sequences[-1], {}))
        elif token.kind == Kind.ITEM_END:
            levels.pop()
        elif token.kind == Kind.SEQUENCE_END:
            sequences.pop()


def _rows(attributes: Mapping[str, Any], depth: int, corrected: Mapping[str, str]) -> Iterator[Row]:
    creators: dict[str, str] = {}
    for tag, element in attributes.items():
        vr = element.get("vr", "")
        is_private = int(tag[3], 16) % 2 == 1
        if is_private and tag[4:6] == "00":
            creators[tag[:4] + tag[6:]] = text_of(element)
        creator = creators.get(tag[:6], "")
        items = element.get("Value", []) if vr == "SQ" else []
        yield Row(
            depth=depth,
            tag=_tag(tag),
            name=_name(tag, creator),
            vr=vr,
            value=_value(tag, element),
            is_private=is_private,
            length=_length(element),
            original=corrected.get(tag),
        )
        if depth >= DEEPEST:
            continue
        for number, item in enumerate(items, 1):
            yield Row(depth=depth + 1, tag="", name=f"#{number}", vr="", value="", is_item=True)
            yield from _rows(item, depth + 2, {})


def _tag(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})"


def _name(tag: str, creator: str = "") -> str:
    """The keyword of PS3.6; for a private attribute what its creator calls it, as far as that is known."""
    number = int(tag, 16)
    keyword = keyword_for_tag(number)
    if keyword:
        return keyword
    try:
        return private_dictionary_description(number, creator) if creator else dictionary_description(number)
    except KeyError:
        return creator


def _value(tag: str, element: Mapping[str, Any]) -> str:
    """A value as one line of text."""
    if element.get("vr") == "SQ" or _length(element) is not None:
        return ""
    if element.get("vr") == "PN":
        return "\\".join(
            PersonName(text_of({"vr": "PN", "Value": [value]})).raw for value in element.get("Value", []) if value
        )
    text = text_of(dict(element))
    if element.get("vr") == "UI" and text and (name := UID(text).name) != text:
        text = f"{text} ({name})"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _length(element: Mapping[str, Any]) -> int | None:
    """Bytes of a value that is not shown."""
    if "InlineBinary" in element:
        return len(element["InlineBinary"]) * 3 // 4 - element["InlineBinary"].count("=")
    length: int | None = element.get("length")
    return length

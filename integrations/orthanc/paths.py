"""Paths to attributes within sequences, as Orthanc takes them: `Sequence[0].Attribute`, `[*]` for every item."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from integrations.orthanc.tags import tag_of
from radiology.errors import InvalidValue

STEP = re.compile(r"(?P<name>[^\[\].]+)(?:\[(?P<item>\*|\d{1,6})\])?", re.ASCII)
DEEPEST = 16

Attributes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Path:
    """Tags of eight hexadecimal digits from the data set inwards; of each sequence the item, None for all."""

    tags: tuple[str, ...]
    items: tuple[int | None, ...]

    @property
    def is_within(self) -> bool:
        """Whether it leads into a sequence."""
        return len(self.tags) > 1

    @property
    def last(self) -> str:
        return self.tags[-1]

    def covers(self, tags: tuple[str, ...], items: tuple[int, ...]) -> bool:
        """Whether an attribute stands at this path or below it. `items` are those of the sequences above it."""
        if len(tags) < len(self.tags) or tags[: len(self.tags)] != self.tags:
            return False
        return all(wanted in (None, found) for wanted, found in zip(self.items, items, strict=False))

    def data_sets(self, attributes: Attributes) -> Iterator[Attributes]:
        """The items that may hold the attribute which the path leads to."""
        found = [attributes]
        for tag, wanted in zip(self.tags[:-1], self.items, strict=True):
            inner = [each.get(tag, {}).get("Value", []) for each in found if each.get(tag, {}).get("vr") == "SQ"]
            found = [item for items in inner for number, item in enumerate(items) if wanted is None or number == wanted]
        yield from found


def path_of(text: str) -> Path:
    """Raises InvalidValue for what is no attribute, or no path to one."""
    tags: list[str] = []
    items: list[int | None] = []
    steps = text.split(".")
    for position, step in enumerate(steps):
        found = STEP.fullmatch(step)
        tag = tag_of(found["name"]) if found else ""
        is_last = position == len(steps) - 1
        if not found or not tag or len(steps) > DEEPEST or (is_last and found["item"] is not None):
            raise InvalidValue(f"Unknown DICOM tag: {text[:64]}")
        tags.append(tag)
        if not is_last:
            items.append(None if found["item"] in (None, "*") else int(found["item"]))
    return Path(tuple(tags), tuple(items))

"""A parsed HL7 v2 message: segments by name, fields by number, tolerant of what senders really send.

python-hl7 splits; what is tolerated before (line ends, character sets) and how values are read is ours. Numbers
count from 1, as the standard does; what is not there is empty, never an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hl7
from django.utils.translation import gettext as _

from integrations.hl7 import character_sets, escapes
from integrations.hl7.escapes import Separators
from radiology.dicom import clean
from radiology.errors import CannotUnderstand, InvalidValue

NULL = '""'
# A message of nothing but separators would take a hundred times its size in memory.
MOST_PARTS = 200_000
MOST_SEGMENTS = 10_000


@dataclass(frozen=True)
class Repetition:
    """One value of a field; without it, an empty one."""

    parts: tuple[tuple[str, ...], ...] = ()

    def raw(self, component: int = 1, subcomponent: int = 1) -> str:
        """As written, escape sequences decoded; `""` where that stands there."""
        try:
            return self.parts[component - 1][subcomponent - 1]
        except IndexError:
            return ""

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """The value; empty also where the sender deletes it."""
        value = self.raw(component, subcomponent)
        return "" if value == NULL else value

    def texts(self) -> list[str]:
        """The first subcomponent of each component."""
        return [self.text(number) for number in range(1, len(self.parts) + 1)]

    @property
    def is_null(self) -> bool:
        """Whether the sender deletes the value."""
        return self.raw() == NULL and not any(self.text(number) for number in range(2, len(self.parts) + 1))

    def __bool__(self) -> bool:
        return any(part for parts in self.parts for part in parts)


@dataclass(frozen=True)
class Segment:
    """A segment; one that is missing has no name and no values."""

    name: str = ""
    fields: tuple[tuple[Repetition, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.name)

    def repetitions(self, number: int) -> tuple[Repetition, ...]:
        """The values of a field that say something."""
        return tuple(each for each in self._field(number) if each)

    def value(self, number: int) -> Repetition:
        """The first value of a field."""
        found = self._field(number)
        return found[0] if found else Repetition()

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A value of a field; empty where nothing stands, or `""`."""
        return self.value(number).text(component, subcomponent)

    def given(self, number: int, component: int = 1) -> str | None:
        """A value that is to be kept: None leaves what is there (the field is empty), "" deletes it (it is `""`)."""
        value = self.value(number)
        if value.is_null:
            return ""
        return value.raw(component).replace(NULL, "") if value.raw(component) else None

    def _field(self, number: int) -> tuple[Repetition, ...]:
        return self.fields[number] if 0 <= number < len(self.fields) else ()


MISSING = Segment()


def lacks(name: str) -> InvalidValue:
    """What is said of a message without a segment that it must have."""
    return InvalidValue(_("The message has no %(name)s segment.") % {"name": name}, field=name)


@dataclass(frozen=True)
class Message:
    """A message whose header can be read. `character_set` is how it was written, and how to answer."""

    segments: tuple[Segment, ...]
    separators: Separators = escapes.STANDARD
    character_set: str = character_sets.UTF_8
    header: Segment = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", self.segments[0])

    def first(self, name: str) -> Segment:
        """The first segment of that name; `MISSING` where there is none."""
        return next(self.all(name), MISSING)

    def require(self, name: str) -> Segment:
        """The first segment of that name. Raises InvalidValue where there is none."""
        if found := self.first(name):
            return found
        raise lacks(name)

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    @property
    def sending_application(self) -> str:
        return _key(self.header.text(3), 227)

    @property
    def sending_facility(self) -> str:
        return _key(self.header.text(4), 227)

    @property
    def receiving_application(self) -> str:
        return _key(self.header.text(5), 227)

    @property
    def receiving_facility(self) -> str:
        return _key(self.header.text(6), 227)

    @property
    def message_code(self) -> str:
        return _key(self.header.text(9), 16)

    @property
    def trigger_event(self) -> str:
        """MSH-9.2; where a sender leaves it out, as in 2.1, EVN-1."""
        return _key(self.header.text(9, 2) or self.first("EVN").text(1), 16)

    @property
    def message_control_id(self) -> str:
        return _key(self.header.text(10), 199)

    @property
    def processing_id(self) -> str:
        return self.header.text(11).upper()

    @property
    def version_id(self) -> str:
        return _key(self.header.text(12), 16)


def parse(raw: bytes, *, character_set: str = "") -> Message:
    """The message that `raw` is. `character_set` (MSH-18's words) is that of messages that name none.

    Raises CannotUnderstand, with a sentence, for what has no readable header or more parts than any message.
    """
    text, named = character_sets.decode(raw, default=character_set)
    lines = _lines(text)
    header = lines[0] if lines else ""
    separators = _separators(header)
    _require_size(lines, separators)
    # As it was understood, for the library to split by.
    lines[0] = header[:4] + separators.encoding_characters + "".join(header[4:].partition(header[3])[1:])
    try:
        parsed: Any = hl7.parse("\r".join(lines))
    except (hl7.HL7Exception, ValueError, IndexError, AssertionError) as error:
        raise CannotUnderstand(_("The message is no HL7 v2: its segments cannot be told apart.")) from error
    codec = character_sets.codec_of(named) or "utf-8"
    segments = tuple(_segment(each, separators, codec) for each in parsed)
    return Message(segments, separators, named)


def _lines(text: str) -> list[str]:
    """The segments, whatever ends them. A line that begins with no segment's name goes on with the one before."""
    text = text.strip("\r\n\t \x00\ufeff")
    mark = re.escape(text[3:4] or "|")
    lines = re.split(rf"[\r\n]+(?=[A-Z][A-Z0-9]{{2}}(?:{mark}|[\r\n]|$))", text)
    return [re.sub(r"\r\n?", "\n", line).strip("\n") for line in lines if line.strip()]


def _separators(header: str) -> Separators:
    if header[:3] != "MSH" or len(header) < 8:
        raise CannotUnderstand(_("The message does not begin with an MSH segment."))
    mark = header[3]
    others = header[4:].partition(mark)[0]
    others = others.replace("\\\\", "\\")  # doubled by programs that meant to escape it
    wanted = (others + escapes.STANDARD.encoding_characters[len(others) :])[:4]
    found = Separators(mark, *wanted)
    marks = [mark, *wanted]
    if len(set(marks)) < 5 or any(each.isalnum() or each.isspace() or not each.isprintable() for each in marks):
        raise CannotUnderstand(_("MSH-1 and MSH-2 do not name five separators."))
    return found


def _require_size(lines: list[str], separators: Separators) -> None:
    marks = (separators.field, separators.component, separators.repetition, separators.subcomponent)
    if len(lines) > MOST_SEGMENTS or sum(line.count(mark) for line in lines for mark in marks) > MOST_PARTS:
        raise CannotUnderstand(_("The message has more parts than any message needs."))


def _segment(parsed: Any, separators: Separators, codec: str) -> Segment:
    name = str(parsed[0]).strip()
    is_header = name == "MSH"
    fields: list[tuple[Repetition, ...]] = []
    for number, value in enumerate(parsed):
        if number == 0 or (is_header and number <= 2):
            fields.append((Repetition(((str(value),),)),))
            continue
        fields.append(
            tuple(
                Repetition(
                    tuple(
                        tuple(
                            escapes.decode(str(part), separators, codec).strip(" ") if str(part) else ""
                            for part in _parts(component)
                        )
                        for component in _parts(repetition)
                    )
                )
                for repetition in _parts(value)
            )
        )
    return Segment(name, tuple(fields))


def _parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _key(text: str, most: int) -> str:
    """A value of the header as a row keeps it and an answer repeats it."""
    return clean(text)[:most]

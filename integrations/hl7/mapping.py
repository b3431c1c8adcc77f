"""Messages as a peer means them: values that stand elsewhere, or in other words, than the standard says."""

from collections.abc import Iterable
from dataclasses import replace

from integrations.hl7.message import MISSING, Message, Repetition, Segment, parse
from integrations.models import Hl7FieldMapping, Hl7Peer
from integrations.models.mapping import PLACE

Place = tuple[str, int, int, int]


def read(raw: bytes, peer: Hl7Peer) -> Message:
    """A message of the peer, as it means it. Raises CannotUnderstand."""
    return mapped(parse(raw, character_set=peer.character_set), peer.mappings.all())


def mapped(message: Message, mappings: Iterable[Hl7FieldMapping]) -> Message:
    """The message after each mapping in turn; itself when there is none."""
    for mapping in mappings:
        if _concerns(mapping, message):
            message = _apply(mapping, message)
    return message


def _concerns(mapping: Hl7FieldMapping, message: Message) -> bool:
    code, _mark, event = mapping.message_code.partition("^")
    return code in {"", message.message_code} and event in {"", message.trigger_event}


def _apply(mapping: Hl7FieldMapping, message: Message) -> Message:
    target = _place(mapping.target)
    source = _place(mapping.source) if mapping.source else None
    segments = []
    for segment in message.segments:
        if segment.name == target[0]:
            value = _value(mapping, source, segment, message)
            segment = segment if value is None else _with(segment, target, value)
        segments.append(segment)
    return replace(message, segments=tuple(segments))


def _value(mapping: Hl7FieldMapping, source: Place | None, segment: Segment, message: Message) -> str | None:
    """What is put into a segment; None leaves it. A source in the same segment is that segment's own."""
    if source is None:
        return mapping.constant
    origin = segment if source[0] == segment.name else message.first(source[0]) or MISSING
    said = origin.value(source[1]).raw(source[2], source[3])
    if not said:
        return None
    if not mapping.values:
        return said
    found = mapping.values.get(said, mapping.values.get("*"))
    return None if found is None else str(found)


def _place(text: str) -> Place:
    found = PLACE.fullmatch(text)
    if found is None:
        return ("", 0, 1, 1)
    return found[1], int(found[2]), int(found[3] or 1), int(found[4] or 1)


def _with(segment: Segment, place: Place, value: str) -> Segment:
    """The segment with a value in the first repetition of a field; what else stands there stays."""
    _name, number, component, subcomponent = place
    fields = list(segment.fields) + [()] * (number + 1 - len(segment.fields))
    repetitions = list(fields[number]) or [Repetition()]
    parts = [list(each) for each in repetitions[0].parts]
    parts += [[""] for _ in range(component - len(parts))]
    words = parts[component - 1]
    words += [""] * (subcomponent - len(words))
    words[subcomponent - 1] = value
    repetitions[0] = Repetition(tuple(tuple(each) for each in parts))
    fields[number] = tuple(repetitions)
    return Segment(segment.name, tuple(fields))

"""Answers to a search, in the DICOM JSON model, in a character set that the caller reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydicom import Dataset, config
from pydicom.charset import custom_encoders, python_encoding
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence

from pacs.dimse.identifiers import TEXT_VR
from pacs.services.json_encoding import SPECIFIC_CHARACTER_SET, decimal
from pacs.services.metadata import Attributes
from radiology.dicom import NAME_GROUPS, encodings, fit, spell

BINARY_NUMBERS = {"FD", "FL", "SL", "SS", "UL", "US"}
LONGEST_DS = 16
ANY_DEVICE_READS, EVERYTHING = "ISO_IR 100", "ISO_IR 192"


def only(sequence: dict[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """A sequence with those attributes of its items that were asked for."""
    wanted = {name.upper() for name in item}
    items = [{tag: value for tag, value in each.items() if tag in wanted} for each in sequence.get("Value", [])]
    return {**sequence, "Value": [each for each in items if each]}


class AnswerEncoding:
    """Which Specific Character Set an answer is written in, and what becomes of its text.

    The node's own, with other characters transliterated; else that of the request if it holds all of
    the answer; else UTF-8. Plain ASCII without a set of either is marked ISO_IR 100, whose first half it is.
    With `fitting`, values are cut to what their VR allows: a transliteration may be longer than the original.
    """

    def __init__(self, node_set: str, request_set: str, *, fitting: bool = False) -> None:
        self.fitting = fitting
        self.node_set = node_set if _is_known(node_set) else ""
        self.request_set = request_set if _is_known(request_set) else ""
        self._codecs = encodings(self.node_set or self.request_set)

    def attributes(self, answer: Mapping[str, dict[str, Any]]) -> Attributes:
        """`answer` with the texts that are written, and the character set that they are written in."""
        characters = _beyond_ascii(answer)
        character_set = self.node_set or self._of_request(characters)
        replaced = {}
        if self.node_set and characters:
            first = "ascii" if self._codecs[0] == "iso8859" else self._codecs[0]
            replaced = {ord(c): spell(c, first) for c in characters if not _holds(self._codecs, c)}
        has_items = any(each["vr"] == "SQ" for each in answer.values())  # which may name a character set of their own
        written = self._written(answer, replaced) if replaced or self.fitting or has_items else dict(answer)
        written[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": character_set.split("\\")}
        return written

    def _of_request(self, characters: set[str]) -> str:
        if not characters:
            return self.request_set or ANY_DEVICE_READS
        if all(_holds(self._codecs, character) for character in characters):
            return self.request_set or ANY_DEVICE_READS
        return EVERYTHING

    def _written(self, answer: Mapping[str, dict[str, Any]], replaced: Mapping[int, str]) -> Attributes:
        return {tag: self._element(each, replaced) for tag, each in answer.items() if tag != SPECIFIC_CHARACTER_SET}

    def _element(self, element: dict[str, Any], replaced: Mapping[int, str]) -> dict[str, Any]:
        vr, values = element["vr"], element.get("Value", [])
        if vr == "SQ":
            return {"vr": vr, "Value": [self._written(item, replaced) for item in values]}
        if vr not in TEXT_VR:
            return element
        texts = texts_of(vr, values)
        if replaced:
            texts = [text.translate(replaced) for text in texts]
        if self.fitting:
            texts = [fit(vr, text) for text in texts]
        return {"vr": vr, "Value": texts}


def texts_of(vr: str, values: list[Any]) -> list[str]:
    """The values of an element of text as they are written; those of a name may be objects of its groups."""
    if vr == "PN":
        return [each if isinstance(each, str) else _name(each or {}) for each in values]
    return [each if isinstance(each, str) else "" if each is None else _number(vr, each) for each in values]


def data_set_of(attributes: Mapping[str, dict[str, Any]]) -> Dataset:
    """Attributes in the DICOM JSON model, names also as text, as pydicom's data set. No value is judged."""
    data_set = Dataset()
    for tag, each in attributes.items():
        value = _value(each["vr"], each.get("Value", []))
        if value is not None:
            data_set.add(DataElement(int(tag, 16), each["vr"], value, validation_mode=config.IGNORE))
    return data_set


def _value(vr: str, values: list[Any]) -> Any:
    if vr == "SQ":
        return Sequence([data_set_of(item) for item in values])
    if vr in TEXT_VR:
        texts = texts_of(vr, values)
        return texts[0] if len(texts) == 1 else texts or ""
    if vr in BINARY_NUMBERS:
        return values[0] if len(values) == 1 else values
    return values or None if len(values) != 1 else values[0]


def _number(vr: str, value: Any) -> str:
    text = str(value)
    return decimal(value) if vr == "DS" and len(text) > LONGEST_DS else text


def _name(groups: Mapping[str, str]) -> str:
    return "=".join(groups.get(each, "") for each in NAME_GROUPS).rstrip("=")


def _is_known(character_set: str) -> bool:
    return bool(character_set) and all(term.strip() in python_encoding for term in character_set.split("\\"))


def _holds(codecs: list[str], character: str) -> bool:
    if character.isascii():
        return True
    for codec in codecs:
        try:
            if codec == "iso8859":  # pydicom's name for ISO 646, the default repertoire
                continue
            if codec in custom_encoders:
                custom_encoders[codec](character, "strict")
            else:
                character.encode(codec)
            return True
        except UnicodeError:
            continue
    return False


def _beyond_ascii(answer: Mapping[str, dict[str, Any]]) -> set[str]:
    """The characters of all its texts that are not of ASCII, and the others of the same texts."""
    found: set[str] = set()
    for element in answer.values():
        for value in element.get("Value", ()):
            if isinstance(value, str):
                texts: Iterable[Any] = (value,)
            elif element["vr"] == "PN" and value:
                texts = value.values()
            elif isinstance(value, dict):
                found |= _beyond_ascii(value)
                continue
            else:
                continue
            for text in texts:
                if not text.isascii():
                    found.update(text)
    return found

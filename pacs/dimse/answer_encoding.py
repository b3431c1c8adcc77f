"""Answers to a search, in the DICOM JSON model, as data sets in a character set that the caller reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydicom import Dataset, config
from pydicom.charset import custom_encoders, python_encoding
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence

from pacs.dimse.identifiers import TEXT_VR
from radiology.dicom import encodings, fit, transliterate

BINARY_NUMBERS = {"FD", "FL", "SL", "SS", "UL", "US"}
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

    def data_set(self, answer: Mapping[str, dict[str, Any]]) -> Dataset:
        characters = {each for text in _texts(answer) if not text.isascii() for each in text}
        character_set = self.node_set or self._of_request(characters)
        replaced = {}
        if self.node_set:
            codecs = encodings(self.node_set)
            first = "" if codecs[0] == "iso8859" else self.node_set
            replaced = {ord(c): transliterate(c, first) for c in characters if not _holds(codecs, c)}
        data_set = self._data_set(answer, replaced)
        data_set.SpecificCharacterSet = character_set.split("\\") if "\\" in character_set else character_set
        return data_set

    def _of_request(self, characters: set[str]) -> str:
        codecs = encodings(self.request_set)
        if all(_holds(codecs, character) for character in characters):
            return self.request_set or ANY_DEVICE_READS
        return EVERYTHING

    def _data_set(self, answer: Mapping[str, dict[str, Any]], replaced: Mapping[int, str]) -> Dataset:
        data_set = Dataset()
        for tag, each in answer.items():
            if tag == "00080005":
                continue
            value = self._value(each["vr"], each.get("Value", []), replaced)
            if value is not None:
                data_set.add(DataElement(int(tag, 16), each["vr"], value, validation_mode=config.IGNORE))
        return data_set

    def _value(self, vr: str, values: list[Any], replaced: Mapping[int, str]) -> Any:
        if vr == "SQ":
            return Sequence([self._data_set(item, replaced) for item in values])
        if vr == "PN":
            groups = ("Alphabetic", "Ideographic", "Phonetic")
            texts = ["=".join(name.get(group, "") for group in groups).rstrip("=") for name in values]
        elif vr in BINARY_NUMBERS:
            return values[0] if len(values) == 1 else values
        elif vr not in TEXT_VR:
            return values or None if len(values) != 1 else values[0]
        else:
            texts = [str(each) for each in values]
        if replaced:
            texts = [text.translate(replaced) for text in texts]
        if self.fitting:
            texts = [fit(vr, text) for text in texts]
        return texts[0] if len(texts) == 1 else texts or ""


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


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)

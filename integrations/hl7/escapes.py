"""Escape sequences of HL7 v2 (2.7 of the standard's chapter 2), out of texts and into them."""

import re
from dataclasses import dataclass

HIGHLIGHT = {"H", "N"}
LINES = {".br", ".ce", ".sp"}


@dataclass(frozen=True)
class Separators:
    """MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding_characters(self) -> str:
        return self.component + self.repetition + self.escape + self.subcomponent

    @property
    def letters(self) -> dict[str, str]:
        return {
            "F": self.field,
            "S": self.component,
            "T": self.subcomponent,
            "R": self.repetition,
            "E": self.escape,
        }


STANDARD = Separators()


def decode(text: str, separators: Separators, codec: str = "utf-8") -> str:
    """`text` without escape sequences. What is none, or not known, stays as it stands."""
    mark = re.escape(separators.escape)
    if not separators.escape or separators.escape not in text:
        return text
    letters = separators.letters

    def replace(found: re.Match[str]) -> str:
        sequence = found[1]
        if sequence in letters:
            return letters[sequence]
        if sequence in HIGHLIGHT:
            return ""
        if sequence[:3] in LINES:
            count = sequence[3:].strip(" +")
            return "\n" * min(int(count), 20) if count.isdecimal() else "\n"
        if sequence[:1] == "." and sequence[1:3] in {"fi", "nf", "in", "ti", "sk"}:
            return " " if sequence[1:3] == "sk" else ""
        if re.fullmatch(r"X([0-9A-Fa-f]{2})+", sequence):
            return _bytes_as_text(bytes.fromhex(sequence[1:]), codec)
        return found[0]

    return re.sub(f"{mark}([^{mark}]{{1,200}}?){mark}", replace, text)


def encode(text: str, separators: Separators = STANDARD) -> str:
    """`text` as it may stand in a field."""
    letters = {character: letter for letter, character in separators.letters.items()}
    mark = separators.escape
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    written = []
    for character in plain:
        if character in letters:
            written.append(f"{mark}{letters[character]}{mark}")
        elif character == "\n":
            written.append(f"{mark}.br{mark}")
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            written.append(f"{mark}X{ord(character):02X}{mark}")
        else:
            written.append(character)
    return "".join(written)


def _bytes_as_text(value: bytes, codec: str) -> str:
    try:
        return value.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return value.decode("iso8859-1")

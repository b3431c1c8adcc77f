"""What the one search box means: each word or phrase is a day, a modality, a number, or the beginning of a name.

Nothing here asks the database, and no text is an error: what is understood as nothing else is a name.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from pacs.services.search_days import Days, days_of

MOST_TERMS = 12
LONGEST_PHRASE = 7

CODES = ["CR", "CT", "DX", "MG", "MR", "NM", "PT", "RF", "US", "XA", "BMD", "ECG", "RTDOSE", "RTPLAN", "RTSTRUCT"]
# Words in the box that mean modalities (PS3.3 C.7.3.1.1.1) and not the beginning of a name.
MODALITIES: dict[str, tuple[str, ...]] = {
    **{code.lower(): (code,) for code in CODES},
    "ct scan": ("CT",),
    "ct-scan": ("CT",),
    "ctscan": ("CT",),
    "mri": ("MR",),
    "usg": ("US",),
    "ultrasound": ("US",),
    "ultrasonografi": ("US",),
    "x-ray": ("CR", "DX"),
    "xray": ("CR", "DX"),
    "x ray": ("CR", "DX"),
    "rontgen": ("CR", "DX"),
    "röntgen": ("CR", "DX"),
    "mammo": ("MG",),
    "mammografi": ("MG",),
    "mammography": ("MG",),
    "fluoro": ("RF",),
    "fluoroskopi": ("RF",),
    "fluoroscopy": ("RF",),
    "angiografi": ("XA",),
    "angiography": ("XA",),
    "pet-ct": ("PT",),
}
# What people write before a number to say which one it is; every number is looked for everywhere.
NUMBER_NAMES = {"mrn", "rm", "nrm", "norm", "no.rm", "nik", "bpjs", "acc", "accession", "id"}
WORD = re.compile(r'"(?P<quoted>[^"]*)"?|(?P<word>[^\s,;^="]+)')


class Meaning(StrEnum):
    NAME = "name"
    NUMBER = "number"
    MODALITY = "modality"
    DAYS = "days"


@dataclass(frozen=True)
class Term:
    """One thing that was typed. `value` is what to look for; `rest` is the box without this term."""

    text: str
    meaning: Meaning
    rest: str
    value: str = ""
    modalities: tuple[str, ...] = ()
    days: Days | None = None


@dataclass(frozen=True)
class Understanding:
    terms: tuple[Term, ...] = ()
    ignored: str = ""

    @property
    def words(self) -> list[str]:
        return [term.value for term in self.terms if term.meaning in {Meaning.NAME, Meaning.NUMBER}]

    @property
    def modalities(self) -> list[str]:
        """Any of these, when there are any."""
        return [code for term in self.terms for code in term.modalities]

    @property
    def days(self) -> list[Days]:
        """All of these."""
        return [term.days for term in self.terms if term.days]


def understand(text: str, today: date) -> Understanding:
    """The terms of a box, in order; at most `MOST_TERMS`, the rest is told in `ignored`."""
    text = text.replace("\x00", "")
    words = [found for found in WORD.finditer(text) if found["word"] or (found["quoted"] or "").strip()]
    terms: list[Term] = []
    at = 0
    while at < len(words) and len(terms) < MOST_TERMS:
        term, taken = _term(text, words, at, today)
        terms.append(term)
        at += taken
    return Understanding(tuple(terms), text[words[at].start() :].strip() if at < len(words) else "")


def _term(text: str, words: list[re.Match[str]], at: int, today: date) -> tuple[Term, int]:
    """The longest phrase that means something, beginning with the word `at`, and how many words it has."""
    plain = []
    for found in words[at : at + LONGEST_PHRASE]:
        if found["word"] is None:
            break
        plain.append(found["word"].lower())
    for count in range(len(plain), 0, -1):
        phrase = " ".join(plain[:count])
        begin, end = words[at].start(), words[at + count - 1].end()
        typed, rest = text[begin:end], " ".join((text[:begin] + " " + text[end:]).split())
        if days := days_of(phrase, today):
            return Term(typed, Meaning.DAYS, rest, days=days), count
        if modalities := MODALITIES.get(phrase):
            return Term(typed, Meaning.MODALITY, rest, modalities=modalities), count
        if count == 2 and plain[0].rstrip(":") in NUMBER_NAMES and _has_digit(plain[1]):
            return Term(typed, Meaning.NUMBER, rest, value=words[at + 1]["word"]), count
    found = words[at]
    rest = " ".join((text[: found.start()] + " " + text[found.end() :]).split())
    value = (found["quoted"] or "").strip() if found["word"] is None else found["word"]
    name, mark, number = value.partition(":")
    if mark and name.lower() in NUMBER_NAMES and number:
        value = number
    return Term(found[0], Meaning.NUMBER if _has_digit(value) else Meaning.NAME, rest, value=value), 1


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)

"""DICOM values without Django: person names, dates and times, UIDs, character sets."""

import re
import unicodedata
import uuid
import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache

from anyascii import anyascii
from pydicom import charset
from pydicom.charset import convert_encodings, decode_bytes

UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
LENIENT_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# Most characters of a value (PS3.5 6.2); of a person name, of each component group.
LONGEST = {"AE": 16, "AS": 4, "CS": 16, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024}
# What PS3.18 F.2.2 calls the component groups of a person name.
NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
# Where ISO 2022 goes back to the initial character set (PS3.5 6.1.2.5.3).
TEXT_DELIMITERS = set(b"\r\n\t\f\\")
PN_DELIMITERS = set(b"^=\\")
NO_DELIMITERS = str.maketrans("^=\\", "???")

# pydicom counts iso_ir_58 (GB 2312) among the codecs that bring their own escape sequences. It does not: its
# sequence would be left in the text when decoding, and be missing when encoding.
charset.handled_encodings = ("iso2022_jp", "iso2022_jp_2")  # type: ignore[assignment]


def is_uid(value: str) -> bool:
    """Whether `value` is a UID as devices really send them: digits and dots, at most 64 characters.

    PS3.5 9.1 also forbids leading zeros; real archives hold such UIDs, so they are let in.
    """
    return 0 < len(value) <= 64 and LENIENT_UID.fullmatch(value) is not None


def new_uid() -> str:
    """A UID under 2.25, made from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def fold(text: str) -> str:
    """`text` for comparison: case and diacritics gone, other characters kept, single spaces."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).split())


def name_groups(raw: str) -> tuple[str, str, str]:
    """Alphabetic, ideographic and phonetic group of a PN value, trailing delimiters removed."""
    if "=" not in raw:
        return raw.strip().rstrip("^").strip(), "", ""
    parts = [part.strip().rstrip("^").strip() for part in raw.split("=")[:3]]
    parts += [""] * (3 - len(parts))
    return parts[0], parts[1], parts[2]


@dataclass(frozen=True)
class PersonName:
    """A PN value (PS3.5 6.2.1): up to three component groups of up to five components each."""

    raw: str

    @property
    def groups(self) -> tuple[str, str, str]:
        """Alphabetic, ideographic and phonetic group, trailing delimiters removed."""
        return name_groups(self.raw)

    def components(self, group: int = 0) -> tuple[str, str, str, str, str]:
        """Family, given, middle, prefix and suffix of one group."""
        parts = [part.strip() for part in self.groups[group].split("^")[:5]]
        parts += [""] * (5 - len(parts))
        return parts[0], parts[1], parts[2], parts[3], parts[4]

    @property
    def display(self) -> str:
        """As people write it: prefix given middle family, suffix; the ideographic group follows."""
        family, given, middle, prefix, suffix = self.components()
        written = " ".join(part for part in (prefix, given, middle, family) if part)
        if suffix:
            written = f"{written}, {suffix}" if written else suffix
        ideographic = " ".join(part for part in self.groups[1].split("^") if part)
        if written and ideographic:
            return f"{written} ({ideographic})"
        return written or ideographic

    @property
    def normalised(self) -> str:
        """One line for search: all groups, folded, delimiters turned to spaces."""
        return fold(re.sub(r"[\^=,]+", " ", self.raw))

    @property
    def sort_key(self) -> str:
        """The alphabetic group, folded: family, given, middle."""
        family, given, middle, _, _ = self.components()
        return fold(" ".join(part for part in (family, given, middle) if part) or self.raw.strip("^= "))

    @property
    def words(self) -> list[str]:
        """The distinct words of `normalised`, in order, for the word index."""
        return list(dict.fromkeys(re.findall(r"[^\W_]+", self.normalised)))[:20]


def person_name_of(written: str, *, before: str = "") -> str:
    """A PN value for a name as people write it: the last word is the family name.

    What is written in DICOM's way already stays. `before` is the value so far: it stays when it is written so,
    and its other spellings stay when the name is another.
    """
    text = " ".join(written.split())
    alphabetic, *others = before.split("=")
    if text == PersonName(alphabetic).display:
        return before
    if "^" not in text and "=" not in text and text:
        *given, family = text.split(" ")
        text = f"{family}^{' '.join(given)}" if given else family
    return "=".join([text, *others]) if any(others) and "=" not in text else text


def parse_da(value: str) -> date | None:
    """A DA value as a date; also the retired YYYY.MM.DD. None when it is no date."""
    text = value.strip().replace(".", "").replace("-", "")
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def parse_tm(value: str) -> time | None:
    """A TM value (HH[MM[SS[.F…]]]; colons of the retired form allowed) as a time. None when it is none."""
    found = re.fullmatch(r"(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?", value.strip().replace(":", ""), re.ASCII)
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    try:
        return time(int(hour), int(minute or 0), min(int(second or 0), 59), int((fraction or "").ljust(6, "0") or 0))
    except ValueError:
        return None


def parse_offset(value: str) -> tzinfo | None:
    """TimezoneOffsetFromUTC (0008,0201), `&ZZXX`, as a zone. None when it is none."""
    found = re.fullmatch(r"([+-])(\d{2})([0-5]\d)", value.strip(), re.ASCII)
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if offset > timedelta(hours=14):
        return None
    return timezone(-offset if found[1] == "-" else offset)


def instant(da: str, tm: str, zone: tzinfo) -> datetime | None:
    """The moment that a DA and a TM in `zone` name, in UTC. A missing or malformed TM is midnight."""
    day = parse_da(da)
    if day is None:
        return None
    moment = parse_tm(tm) or time(0)
    try:
        return datetime.combine(day, moment, tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return None


def encodings(specific_character_set: str) -> list[str]:
    """Python codecs for a SpecificCharacterSet (0008,0005) value; unknown terms fall back to ISO_IR 6."""
    return list(_encodings(specific_character_set))


@lru_cache(maxsize=64)
def _encodings(specific_character_set: str) -> list[str]:
    terms = [term.strip() for term in specific_character_set.split("\\")] if specific_character_set else [""]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            codecs = convert_encodings(terms)
            for codec in codecs:
                "A".encode(codec)  # a term may name a codec of Python that is none of text
        except (LookupError, ValueError):
            return ["iso8859"]
    return codecs


def decode(value: bytes, codecs: list[str], *, person_name: bool = False) -> str:
    """Text of a value. What no character set can decode becomes U+FFFD, never an error."""

    if value.isascii() and b"\x1b" not in value and codecs[0] != "shift_jis":
        return value.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(value, codecs, PN_DELIMITERS if person_name else TEXT_DELIMITERS)
        except (UnicodeError, LookupError, ValueError):
            return value.decode("utf-8", "replace")


def clean(text: str) -> str:
    """`text` as PostgreSQL can keep it: no NUL, no lone surrogates, no surrounding padding."""
    if text.isascii():
        return text.replace("\x00", "").strip()
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8").strip()


def spell(text: str, codec: str) -> str:
    """`text` in the nearest characters that a Python codec has, other scripts as they are spelt in Latin letters.

    `?` where there is none. No delimiter of values, components or groups comes of a character that was none.
    """
    result = []
    for character in text:
        try:
            character.encode(codec)
            result.append(character)
        except UnicodeEncodeError:
            plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
            try:
                plain.encode(codec)
            except UnicodeEncodeError:
                plain = anyascii(character) or "?"
            result.append(plain.translate(NO_DELIMITERS))
    return "".join(result)


def fit(vr: str, text: str) -> str:
    """`text` as one value that is valid for its VR: nothing that controls, no more characters than there may be.

    A backslash, which would make two values of it, becomes a slash; in a text of several lines both stay.
    """
    if vr not in LONGEST:
        return text
    most = LONGEST[vr]
    if vr != "PN" and len(text) <= most and text.isprintable() and "\\" not in text and text == text.strip():
        return text
    if vr in {"LT", "ST"}:
        return "".join(c for c in text if c in "\r\n\t\f" or c.isprintable())[:most].rstrip()
    line = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/")).strip()
    if vr != "PN":
        return line[:most].rstrip()
    return "=".join(group[:most].rstrip("^ ") for group in line.split("=")[:3]).rstrip("=")

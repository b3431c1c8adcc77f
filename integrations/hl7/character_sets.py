"""From the bytes of a message to its text: MSH-18 (HL7 table 0211), and what to do without."""

import codecs
import re

# The table's words, folded to letters and digits, and those that senders write instead.
CODECS = {
    "ASCII": "ascii",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    **{f"8859{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{f"ISO8859{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    "LATIN1": "iso8859-1",
    "WINDOWS1250": "cp1250",
    "WINDOWS1251": "cp1251",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
    "ISOIR6": "ascii",
    "ISOIR13": "shift_jis",
    "ISOIR14": "shift_jis",
    "ISOIR87": "iso2022_jp",
    "ISOIR159": "iso2022_jp_1",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
}
UTF_8 = "UNICODE UTF-8"


def codec_of(character_set: str) -> str:
    """Python's name of a character set of HL7; empty when it is not known."""
    return CODECS.get(re.sub(r"[^A-Z0-9]", "", character_set.upper()), "")


def decode(raw: bytes, *, default: str = "") -> tuple[str, str]:
    """The text, and the character set in which it may be answered.

    Bytes that are not of the character set that is named, or of none, are read as UTF-8 and else as Latin-1,
    which every byte is of.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    for named in (_named_in(raw), default):
        codec = codec_of(named)
        if codec:
            try:
                return raw.decode(codec), named
            except UnicodeDecodeError:
                break
    try:
        return raw.decode("utf-8"), UTF_8
    except UnicodeDecodeError:
        return raw.decode("iso8859-1"), "8859/1"


def _named_in(raw: bytes) -> str:
    """MSH-18, its first repetition; empty where there is none."""
    header = re.split(rb"[\r\n]", raw[:4096], maxsplit=1)[0]
    if header[:3] != b"MSH" or len(header) < 8:
        return ""
    fields = header.split(header[3:4])
    if len(fields) < 18:
        return ""
    repetition = header[5:6]
    return fields[17].split(repetition)[0].decode("ascii", "replace").strip()

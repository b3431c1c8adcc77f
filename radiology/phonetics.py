"""How names sound, for search: spellings of one Indonesian name get one key. Values only, no Django.

Van Ophuijsen's and Soewandi's spellings (oe, dj, tj, nj, sj, ch, j), today's (u, j, c, ny, sy, kh, y), and
what hearing confuses: silent h, doubled letters, f/v/p, z/s, th/t, voiced ends, glides between vowels.
"""

import re

LONGEST = 64
# The most frequent name of the country, in all its spellings and abbreviations.
MUHAMMAD = re.compile(r"m[ou](?:ch|kh|h)(?:am+[ae]d?t?)?")
RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"oe", "u"),
        (r"ou", "u"),
        (r"tj", "c"),
        (r"dj", "j"),
        (r"dz", "s"),
        (r"s[jyh]", "s"),
        (r"n[jy]", "n"),
        (r"ph", "p"),
        (r"th", "t"),
        (r"dh", "d"),
        (r"[ck]h(?=[rl])", "k"),
        (r"[ck]h", "h"),
        (r"ck", "k"),
        (r"q", "k"),
        (r"x", "ks"),
        (r"[fv]", "p"),
        (r"z", "s"),
        (r"[jy]", "i"),
        (r"h", ""),
        (r"ie(?!$)", "i"),
        (r"uw(?=[aeio])", "u"),
        (r"(.)\1+", r"\1"),
    )
]
ENDS = {"d": "t", "b": "p", "g": "k"}


def sound_key(word: str) -> str:
    """The key of a folded word: two words that sound alike have the same."""
    if MUHAMMAD.fullmatch(word):
        return "muamat"
    key = _sounds(word)
    if len(key) > 1 and key[-1] in ENDS and key[-2] not in "n":
        key = key[:-1] + ENDS[key[-1]]
    return key[:LONGEST]


def sound_beginning(word: str) -> str:
    """What the key of a word begins with when the word begins with `word`; the end is not heard yet."""
    return _sounds(word)[:LONGEST]


def _sounds(word: str) -> str:
    key = word
    for pattern, replacement in RULES:
        key = pattern.sub(replacement, key)
    return key or word

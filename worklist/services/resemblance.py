"""How much two values that should be the same resemble each other. Pure functions; they know no rows."""

from collections.abc import Iterable
from functools import lru_cache

from radiology.dicom import PersonName, fold

# Modalities that one order may come back as: computed or digital, fluoroscopy or angiography, hybrids.
_KIN = (
    {"CR", "DX", "DR", "RG", "RF"},
    {"RF", "XA", "DX"},
    {"PT", "CT"},
    {"NM", "CT", "PT"},
    {"PT", "MR"},
    {"MG", "DX", "CR"},
    {"US", "ECHO", "IVUS"},
    {"IO", "PX", "DX"},
)
# Say nothing of what was examined: made from images, or about them.
_DERIVED = {"", "SR", "PR", "KO", "SEG", "REG", "OT", "DOC", "RTSTRUCT", "PLAN", "AU", "FID", "RWV", "SC"}

# Words of DICOM (PS3.16 L), of English and of Indonesian orders, by the part of the body that they name.
_REGIONS: dict[str, str] = {
    "HEAD": "head brain skull cranium kepala otak cerebral schedel sinus sinuses orbit orbita mastoid tmj face facial",
    "NECK": "neck leher thyroid tiroid larynx carotid",
    "CHEST": "chest thorax thoraks toraks dada lung paru rib ribs iga heart cardiac jantung coronary sternum",
    "BREAST": "breast mammo mammography mammografi payudara",
    "ABDOMEN": "abdomen abdominal perut liver hepar hati kidney ginjal renal bno ivp urinary gallbladder spleen"
    " pancreas stomach colon bowel",
    "PELVIS": "pelvis pelvic panggul bladder uterus prostate prostat hip coxae sacrum",
    "CSPINE": "cspine cervical servikal",
    "TSPINE": "tspine thoracic torakal",
    "LSPINE": "lspine lumbar lumbal lumbosacral",
    "SHOULDER": "shoulder bahu clavicle klavikula scapula",
    "ARM": "arm humerus elbow siku forearm antebrachii radius ulna lengan",
    "HAND": "hand tangan manus wrist finger jari",
    "THIGH": "thigh femur paha",
    "KNEE": "knee lutut genu patella",
    "LEG": "leg tibia fibula cruris",
    "FOOT": "foot kaki pedis ankle pergelangan calcaneus toe",
    "TEETH": "teeth tooth gigi dental panoramic panoramik",
}
_REGION_OF = {word: region for region, words in _REGIONS.items() for word in words.split()}
# One value of Body Part Examined that covers several.
_SEVERAL = {
    "CHESTABDOMEN": {"CHEST", "ABDOMEN"},
    "CHESTABDPELVIS": {"CHEST", "ABDOMEN", "PELVIS"},
    "ABDOMENPELVIS": {"ABDOMEN", "PELVIS"},
    "HEADNECK": {"HEAD", "NECK"},
    "NECKCHEST": {"NECK", "CHEST"},
    "NECKCHESTABDOMEN": {"NECK", "CHEST", "ABDOMEN"},
    "NECKCHESTABDPELV": {"NECK", "CHEST", "ABDOMEN", "PELVIS"},
    "WHOLESPINE": {"CSPINE", "TSPINE", "LSPINE"},
    "EXTREMITY": set(),
    "WHOLEBODY": set(),
    "BODY": set(),
}


def edit_distance(one: str, other: str, *, most: int = 3) -> int:
    """Damerau-Levenshtein distance (restricted): single characters left out, added, changed or swapped.

    Never more than `most` + 1, which stands for everything farther away.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        earlier, before = before, row
        row = [i]
        for j, right in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most and (not before or min(before) > most):
            return most + 1
    return min(row[-1], most + 1)


def name_likeness(one: str, other: str) -> float:
    """How alike two person names are, 0 to 1: word by word in any order, small misspellings forgiven.

    A name that one side leaves out says nothing: 0.5.
    """
    mine, theirs = PersonName(one).words, PersonName(other).words
    if not mine or not theirs:
        return 0.5
    few, many = sorted((mine, theirs), key=len)
    left = list(many)
    total = 0.0
    for word in few:
        best = max(left, key=lambda each: _word_likeness(word, each), default="")
        likeness = _word_likeness(word, best) if best else 0.0
        total += likeness
        if likeness:
            left.remove(best)
    share = total / len(few)
    # Words that only one side has weigh little: titles, second names and fathers' names are left out at consoles.
    return share * (0.85 + 0.15 * len(few) / len(many))


@lru_cache(maxsize=65536)
def _word_likeness(one: str, other: str) -> float:
    if one == other:
        return 1.0
    if min(len(one), len(other)) == 1:
        return 0.6 if one[0] == other[0] else 0.0
    short = min(len(one), len(other))
    if abs(len(one) - len(other)) > 4:
        return 0.0
    distance = edit_distance(_spoken(one), _spoken(other), most=2)
    if distance == 0:
        return 0.95
    if short >= 4 and distance == 1:
        return 0.85
    if short >= 7 and distance == 2:
        return 0.7
    return 0.5 if short >= 4 and (one.startswith(other) or other.startswith(one)) else 0.0


@lru_cache(maxsize=65536)
def _spoken(word: str) -> str:
    """A word as it sounds, whatever the spelling: the Indonesian of 1947, of 1972, and Arabic names."""
    for written, sound in (
        ("oe", "u"), ("tj", "c"), ("dj", "j"), ("nj", "ny"), ("sj", "sy"), ("ch", "kh"), ("ph", "f"), ("kh", "h"),
        ("dh", "d"), ("th", "t"), ("sy", "s"), ("sh", "s"), ("y", "i"), ("v", "f"), ("z", "s"), ("q", "k"),
    ):  # fmt: skip
        word = word.replace(written, sound)
    return "".join(letter for place, letter in enumerate(word) if not place or letter != word[place - 1])


def date_likeness(one: str, other: str) -> float:
    """How alike two DA values are, 0 to 1: equal, day and month swapped, one digit off. One that lacks: 0.5."""
    if not one or not other:
        return 0.5
    if one == other:
        return 1.0
    if len(one) == len(other) == 8:
        if one[:4] == other[:4] and one[4:6] == other[6:] and one[6:] == other[4:6]:
            return 0.75
        if edit_distance(one, other, most=1) == 1:
            return 0.7
        if one[:4] == other[:4] and "0101" in (one[4:], other[4:]):
            return 0.6  # only the year was known
    return 0.0


def image_modalities(modalities: Iterable[str]) -> set[str]:
    """Those that say how somebody was examined."""
    return {each for each in modalities if each not in _DERIVED}


def modality_fits(ordered: str, made: Iterable[str]) -> bool | None:
    """Whether images of these modalities may be what was ordered; None when nobody can say."""
    found = image_modalities(made)
    if not ordered or not found:
        return None
    if ordered in found:
        return True
    return any(ordered in kin and found <= kin for kin in _KIN)


def regions(*texts: str) -> set[str]:
    """The parts of the body that these values and descriptions name."""
    found: set[str] = set()
    for text in texts:
        packed = text.replace(" ", "").replace("_", "").upper()
        found |= _SEVERAL.get(packed, set())
        found |= {_REGION_OF[word] for word in words(text) if word in _REGION_OF}
    return found


@lru_cache(maxsize=4096)
def words(text: str) -> frozenset[str]:
    """The words of a description, folded."""
    return frozenset(fold("".join(letter if letter.isalnum() else " " for letter in text)).split())

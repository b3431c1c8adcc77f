"""What `/modify` and `/anonymize` change in an object, as Orthanc changes it.

A `Modification` is one request. It works on attributes in the DICOM JSON model, and gives the same source the same
result however often it is asked: new identifiers follow from a secret of the request, so that objects of one
request refer to each other as their sources do, and a request that was cut short can go on.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from integrations.orthanc.access import OutOfRange
from integrations.orthanc.access import field as member
from integrations.orthanc.paths import Attributes, Path, path_of
from integrations.orthanc.tags import tag_of
from integrations.orthanc.values import Element, element_of, with_creators
from pacs.services.attributes import UNIQUE, Level
from pacs.services.confidentiality import Profile, basic_profile, basic_profile_2008
from pacs.services.elements import LONG_VR, PIXELS
from pacs.services.metadata import NUMBERS
from pacs.services.part10 import TRANSFER_SYNTAXES
from pacs.services.transcode import TARGETS
from radiology.errors import InvalidValue, NotDone

# Editions that Orthanc names; the later ones are all served by the newest table, which holds all of theirs.
PROFILES = {"2008": basic_profile_2008, "2017c": basic_profile, "2021b": basic_profile, "2023b": basic_profile}
NEWEST = "2021b"
PATIENT_ID, PATIENT_NAME = "00100020", "00100010"
IDENTITY_REMOVED, METHOD = "00120062", "00120063"
PRIVATE_CREATOR = "00090010"
# What a row must hold of a request so that it can be read again.
MEMBERS = {
    "Replace", "Remove", "Keep", "Force", "PrivateCreator", "KeepPrivateTags", "RemovePrivateTags", "DicomVersion",
    "Transcode",
}  # fmt: skip
OF_LEVEL = {level: tag_of(UNIQUE[level]) for level in Level}
LEVEL_OF = {tag: level for level, tag in OF_LEVEL.items()}
KEYS = {PATIENT_ID, *OF_LEVEL.values()}
# In an RT structure set this names a study (PS3.3 C.8.8.5), under a tag that elsewhere names an object.
STUDY_OF_RT = ("30060010", "30060012", "00081155")


@dataclass
class Modification:
    """One request, read. Raises InvalidValue, OutOfRange, NotDone while it is read (`of_request`)."""

    level: Level
    secret: str
    profile: Profile | None = None
    removed: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    replaced: dict[str, Element] = field(default_factory=dict)
    removes_private: bool = False
    kept_paths: list[Path] = field(default_factory=list)
    removed_paths: list[Path] = field(default_factory=list)
    replaced_paths: list[tuple[Path, Element]] = field(default_factory=list)
    creator: str = ""
    method: str = ""
    transfer_syntax_uid: str = ""
    _forced: dict[tuple[Level, str], str] = field(default_factory=dict)

    @classmethod
    def of_request(
        cls, given: dict[str, Any], *, level: Level, anonymizes: bool, secret: str, patient_name: str = ""
    ) -> "Modification":
        """`patient_name` is whom anonymized objects are of, unless the request says."""
        found = cls(level, secret, creator=member(given, "PrivateCreator", str, ""))
        element_of(PRIVATE_CREATOR, found.creator)
        found.transfer_syntax_uid = transfer_syntax_of(given.get("Transcode"))
        if anonymizes:
            version = member(given, "DicomVersion", str, NEWEST)
            if version not in PROFILES:
                raise OutOfRange(f"DicomVersion is one of {', '.join(PROFILES)}.", field="DicomVersion")
            found.profile = PROFILES[version]()
            found.removes_private = not member(given, "KeepPrivateTags", bool, False)
        else:
            found.removes_private = member(given, "RemovePrivateTags", bool, False)
        found._read(given)
        if anonymizes:
            found._identify(given, patient_name)
        found._check()
        return found

    @property
    def anonymizes(self) -> bool:
        return self.profile is not None

    def _read(self, given: dict[str, Any]) -> None:
        force = member(given, "Force", bool, False)
        for name in _names(given, "Remove"):
            path = _allowed(name, "removed", force)
            if path.is_within:
                self.removed_paths.append(path)
            else:
                self.removed.add(path.last)
        for name, value in member(given, "Replace", dict, {}).items():
            path = _allowed(name, "replaced", force)
            if int(path.tags[0], 16) >= min(PIXELS):
                raise InvalidValue("Pixels, and what stands behind them, are not replaced.", field="Replace")
            element = element_of(path.last, value, creator=self.creator)
            if path.is_within:
                self.replaced_paths.append((path, element))
            else:
                self.removed.discard(path.last)
                self.replaced[path.last] = element
        for name in _names(given, "Keep"):
            path = _allowed(name, "kept", force)
            self.kept_paths.append(path)
            if not path.is_within:
                self.removed.discard(path.last)
                self.replaced.pop(path.last, None)
                self.kept.add(path.last)

    def _identify(self, given: Mapping[str, Any], patient_name: str) -> None:
        """What anonymized objects say of themselves (PS3.15 E.1.1)."""
        changed = bool(given.get("Remove") or given.get("Replace") or given.get("Keep") or given.get("KeepPrivateTags"))
        edition = self.profile.edition if self.profile else ""
        self.method = f"Sinar - PS 3.15-{edition} Table E.1-1 Basic Profile"
        if changed:
            self.method += ", changed"
        for tag, text in ((IDENTITY_REMOVED, "YES"), (METHOD, self.method), (PATIENT_NAME, patient_name)):
            if tag not in self.replaced and tag not in self.kept and tag not in self.removed:
                self.replaced[tag] = element_of(tag, text)

    def _check(self) -> None:
        """What Orthanc refuses too: identifiers above the level that is changed, or a patient who stays the same."""
        if gone := self.removed & KEYS:
            raise InvalidValue(f"{UNIQUE[LEVEL_OF[min(gone)]]} cannot be removed.", field="Remove")
        if not self.anonymizes and self.level is Level.PATIENT and PATIENT_ID not in self.replaced:
            raise InvalidValue("When modifying a patient, her PatientID is required to be modified", field="Replace")
        above = [level for level in Level if level.depth < self.level.depth]
        for level in above:
            if OF_LEVEL[level] in self.replaced:
                raise InvalidValue(
                    f"When modifying at the level {self.level.value}, {UNIQUE[level]} of the level above cannot be"
                    " modified",
                    field="Replace",
                )

    # Identifiers

    def mapped(self, level: Level, original: str) -> str:
        """What stands for an identifier: of a patient a UUID, else a UID."""
        original = original.strip()
        if (level, original) in self._forced:
            return self._forced[level, original]
        return made_identifier(self.secret, level, original)

    # Changing

    def apply(self, attributes: Attributes) -> None:
        """Change the attributes of one object, in place."""
        originals = {tag: _text(attributes, tag) for tag in OF_LEVEL.values()}
        for level, tag in OF_LEVEL.items():
            if self.anonymizes and tag in self.replaced and level is not Level.PATIENT:
                self._forced[level, originals[tag]] = _text(self.replaced, tag)
        self._leave_out(attributes)
        attributes.update(self.replaced)
        for level in (Level.STUDY, Level.SERIES, Level.INSTANCE):
            tag = OF_LEVEL[level]
            if level.depth >= self.level.depth and tag not in self.replaced and tag not in self.kept:
                attributes[tag] = {"vr": "UI", "Value": [self.mapped(level, originals[tag])]}
        if self.anonymizes:
            self._hide(attributes, originals[PATIENT_ID])
        for path in self.removed_paths:
            for data_set in path.data_sets(attributes):
                data_set.pop(path.last, None)
        for path, element in self.replaced_paths:
            for data_set in path.data_sets(attributes):
                data_set[path.last] = element
                data_set.update(with_creators(data_set, self.creator))
        ours = {tag: element for tag, element in self.replaced.items() if int(tag[:4], 16) & 1}
        for tag, element in with_creators(ours, self.creator).items():
            attributes.setdefault(tag, element)

    def _leave_out(self, attributes: Attributes) -> None:
        kept_blocks = {f"{tag[:4]}00{tag[4:6]}" for tag in self.kept}
        for tag in list(attributes):
            if tag in self.kept:
                continue
            if self._is_removed(tag) and tag not in kept_blocks:
                del attributes[tag]
            elif self.profile is not None and int(tag, 16) in self.profile.emptied:
                attributes[tag] = {"vr": attributes[tag]["vr"]}

    def _is_removed(self, tag: str) -> bool:
        """Whether an attribute goes, wherever it stands."""
        if tag in self.removed or (self.removes_private and int(tag[:4], 16) & 1):
            return True
        return self.profile is not None and self.profile.is_removed(int(tag, 16))

    def _hide(self, attributes: Attributes, patient: str) -> None:
        """Other identifiers, and whatever stands in sequences (from Orthanc 1.9.5 on)."""
        if PATIENT_ID not in self.replaced and PATIENT_ID not in self.kept:
            attributes[PATIENT_ID] = {"vr": "LO", "Value": [self.mapped(Level.PATIENT, patient)]}
        for tag, element in attributes.items():
            if tag in self.kept or tag in self.replaced:
                continue
            if self.profile is not None and int(tag, 16) in self.profile.uids:
                self._rename(element, Level.INSTANCE)
            elif element.get("vr") == "SQ":
                self._hide_items(element, (tag,), ())

    def _hide_items(self, sequence: Element, tags: tuple[str, ...], items: tuple[int, ...]) -> None:
        for number, item in enumerate(sequence.get("Value", [])):
            for tag in list(item):
                self._hide_within(item, (*tags, tag), (*items, number))

    def _hide_within(self, item: Attributes, tags: tuple[str, ...], items: tuple[int, ...]) -> None:
        tag, profile = tags[-1], self.profile
        if profile is None or any(path.covers(tags, items) for path in self.kept_paths):
            return
        element, tag_number = item[tag], int(tag, 16)
        if tag in self.kept:
            if element["vr"] == "SQ":
                self._hide_items(element, tags, items)
        elif self._is_removed(tag):
            del item[tag]
        elif tag_number in profile.emptied:
            if element["vr"] == "SQ" or element["vr"] in LONG_VR - {"UC", "UR", "UT"} or element["vr"] in NUMBERS:
                del item[tag]
            else:
                item[tag] = {"vr": element["vr"]}
        elif tag in LEVEL_OF and tag != PATIENT_ID:
            self._rename(element, LEVEL_OF[tag])
        elif tag in {PATIENT_ID, PATIENT_NAME}:
            item[tag] = {"vr": element["vr"], "Value": [self._whose(tag, _text(item, tag))]}
        elif tag_number in profile.uids:
            self._rename(element, Level.STUDY if tags == STUDY_OF_RT else Level.INSTANCE)
        elif element["vr"] == "SQ":
            self._hide_items(element, tags, items)

    def _whose(self, tag: str, original: str) -> Any:
        identifier = self.mapped(Level.PATIENT, original)
        return identifier if tag == PATIENT_ID else {"Alphabetic": identifier}

    def _rename(self, element: Element, level: Level) -> None:
        if element.get("vr") == "UI" and element.get("Value"):
            element["Value"] = [self.mapped(level, uid) if uid else uid for uid in element["Value"]]


def members_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of a request that was read, what is to be read again; not what nobody looked at and PostgreSQL may refuse."""
    return {name: given[name] for name in MEMBERS if name in given}


def made_identifier(secret: str, level: Level, original: str) -> str:
    """What stands for an identifier in the copies of one request: of a patient a UUID, else a UID."""
    digest = hashlib.sha256(f"{secret}|{level.value}|{original.strip()}".encode()).digest()
    made = uuid.UUID(bytes=digest[:16], version=4)
    return str(made) if level is Level.PATIENT else f"2.25.{made.int}"


def transfer_syntax_of(wanted: Any) -> str:
    """`Transcode` of a request, empty for none. Raises OutOfRange, NotDone."""
    if not wanted:
        return ""
    if not isinstance(wanted, str) or wanted not in TRANSFER_SYNTAXES:
        raise OutOfRange(f"Unknown transfer syntax: {str(wanted)[:64]}", field="Transcode")
    if wanted not in TARGETS:
        raise NotDone(f"Copies are not compressed: Transcode is one of {', '.join(sorted(TARGETS))}.")
    return wanted


def level_of_replacements(given: Mapping[str, Any]) -> Level:
    """The level at which objects are changed when the request does not say: the highest whose key is replaced."""
    replaced = {tag_of(name) for name in member(dict(given), "Replace", dict, {})}
    return next((level for level in Level if OF_LEVEL[level] in replaced), Level.INSTANCE)


def _names(given: dict[str, Any], name: str) -> list[str]:
    found: list[str] = member(given, name, list, [])
    if not all(isinstance(each, str) for each in found):
        raise InvalidValue(f"{name} is a list of attributes.", field=name)
    return found


def _allowed(name: str, what: str, force: bool) -> Path:
    """The path of a name. Raises InvalidValue for a key of the archive without Force."""
    path = path_of(name)
    if not path.is_within and path.last in KEYS and not force:
        raise InvalidValue(f'Marking tag "{name[:64]}" as to be {what} requires the "Force" option to be set to true')
    return path


def _text(attributes: Mapping[str, Any], tag: str) -> str:
    values = attributes.get(tag, {}).get("Value") or [""]
    first = values[0]
    if isinstance(first, dict):
        return str(first.get("Alphabetic", ""))
    return "" if first is None else str(first)

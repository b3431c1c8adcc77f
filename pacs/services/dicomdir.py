"""The directory of a DICOM file-set: the file DICOMDIR (PS3.3 Annex F, PS3.10 8), written record by record."""

import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import structlog
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from pacs.services.part10 import head
from radiology.errors import TooLarge

log = structlog.get_logger(__name__)

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
FILE_SET_ID = "SINAR"
# Names the directory of the same records with the same UID.
NAMESPACE = uuid.UUID("0d0d6f2e-6f0e-4b8f-8b64-1c8a8f6a5e57")
# The places of two offsets in a record that begins with the item's tag and length.
NEXT, LOWER = 16, 38
ITEM = struct.Struct("<HHI")
OFFSET = struct.Struct("<I")
LARGEST = 0xFFFF0000
TEXT = "ISO_IR 192"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Kinds of records below a series (PS3.3 F.4), by the end of the SOP Class UID; all others are images.
_KINDS = {
    "PRESENTATION": [f"11.{number}" for number in range(1, 13)],
    "WAVEFORM": [
        "9.1.1", "9.1.2", "9.1.3", "9.1.4", "9.2.1", "9.3.1", "9.4.1", "9.4.2", "9.5.1", "9.6.1", "9.6.2", "9.7.1",
        "9.7.2", "9.7.3", "9.7.4", "9.8.1", "9.100.1", "9.100.2",
    ],
    "SR DOCUMENT": [
        "88.11", "88.22", "88.33", "88.34", "88.35", "88.40", "88.50", "88.65", "88.67", "88.68", "88.69", "88.70",
        "88.71", "88.72", "88.73", "88.74", "88.75", "88.76", "88.77", "78.6", "79.1",
    ],
    "KEY OBJECT DOC": ["88.59"],
    "RT DOSE": ["481.2"],
    "RT STRUCTURE SET": ["481.3"],
    "RT PLAN": ["481.5", "481.8"],
    "RT TREAT RECORD": ["481.4", "481.6", "481.7", "481.9"],
    "SPECTROSCOPY": ["4.2"],
    "RAW DATA": ["66"],
    "REGISTRATION": ["66.1", "66.3"],
    "FIDUCIAL": ["66.2"],
    "SURFACE": ["66.5"],
    "TRACT": ["66.6"],
    "VALUE MAP": ["67"],
    "SURFACE SCAN": ["68.1", "68.2"],
    "STEREOMETRIC": ["77.1.5.3"],
    "MEASUREMENT": ["78.1", "78.2", "78.3", "78.4", "78.5", "78.7", "78.8", "80.1"],
    "ASSESSMENT": ["90.1"],
    "ENCAP DOC": ["104.1", "104.2", "104.3", "104.4", "104.5"],
}  # fmt: skip
_BY_CLASS = {f"{_STORAGE}{end}": kind for kind, ends in _KINDS.items() for end in ends}
_CONTENT = ("00080023", "00080033")
_CONTENT_ID = (*_CONTENT, "00700080", "00700081", "00700084")
# What a record of each kind says beside its number, taken from the object's header (PS3.3 F.5).
KEYS: Mapping[str, tuple[str, ...]] = {
    "PRESENTATION": ("00081115", "00700080", "00700081", "00700082", "00700083", "00700084", "00700402"),
    "WAVEFORM": _CONTENT,
    "SR DOCUMENT": (*_CONTENT, "0040A030", "0040A043", "0040A491", "0040A493"),
    "KEY OBJECT DOC": (*_CONTENT, "0040A043"),
    "RT DOSE": ("3004000A",),
    "RT STRUCTURE SET": ("30060002", "30060008", "30060009"),
    "RT PLAN": ("300A0002", "300A0006", "300A0007"),
    "RT TREAT RECORD": ("30080250", "30080251"),
    "SPECTROSCOPY": ("00080008", *_CONTENT, "00089092", "00280008", "00280010", "00280011", "00289001", "00289002"),
    "RAW DATA": _CONTENT,
    "REGISTRATION": _CONTENT_ID,
    "FIDUCIAL": _CONTENT_ID,
    "SURFACE": _CONTENT_ID,
    "TRACT": _CONTENT_ID,
    "VALUE MAP": _CONTENT_ID,
    "SURFACE SCAN": _CONTENT,
    "STEREOMETRIC": (),
    "MEASUREMENT": _CONTENT,
    "ASSESSMENT": ("00080012", "00080013"),
    "ENCAP DOC": (*_CONTENT, "0040A043", "0040E001", "00420010", "00420012"),
    "IMAGE": (),
}


def record_kind(sop_class_uid: str) -> str:
    """The kind of record (0004,1430) for an object of that class."""
    return _BY_CLASS.get(sop_class_uid, "IMAGE")


@dataclass(frozen=True)
class File:
    """What a record refers to: the components of its File ID, and the object's identity."""

    components: tuple[str, ...]
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass
class Directory:
    """Writes records into `file`, parents before their children; `finish` completes it.

    Only the last child of each parent is remembered; the file is sought in and must be a plain one.
    Raises TooLarge when it grows beyond what its 32 bits can address.
    """

    file: BinaryIO
    identity: str
    _last: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        uid = f"2.25.{uuid.uuid5(NAMESPACE, self.identity).int}"
        self.file.write(
            head(
                sop_class_uid=MEDIA_STORAGE_DIRECTORY,
                sop_instance_uid=uid,
                transfer_syntax_uid=str(ExplicitVRLittleEndian),
                source_ae_title="",
            )
        )
        self.file.write(text(0x00041130, "CS", FILE_SET_ID))
        self._first_at = self.file.tell() + 8
        self.file.write(number(0x00041200, "UL", 0) + number(0x00041202, "UL", 0) + number(0x00041212, "US", 0))
        self._length_at = self.file.tell() + 8
        self.file.write(struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, 0))
        self._begin = self._end = self.file.tell()

    def add(self, kind: str, keys: bytes, *, parent: int = 0, file: File | None = None) -> int:
        """A record of `kind` below the record `parent` (0: at the root); what it is called as a parent.

        `keys` are its encoded elements beyond group 0004, in order.
        """
        offset = self._end
        body = (
            number(0x00041400, "UL", 0)
            + number(0x00041410, "US", 0xFFFF)
            + number(0x00041420, "UL", 0)
            + text(0x00041430, "CS", kind)
        )
        if file is not None:
            body += (
                text(0x00041500, "CS", "\\".join(file.components))
                + text(0x00041510, "UI", file.sop_class_uid)
                + text(0x00041511, "UI", file.sop_instance_uid)
                + text(0x00041512, "UI", file.transfer_syntax_uid)
            )
        body += keys
        self.file.write(ITEM.pack(0xFFFE, 0xE000, len(body)) + body)
        self._end = offset + 8 + len(body)
        if self._end > LARGEST:
            raise TooLarge("These are more objects than a DICOMDIR can list.")
        previous = self._last.get(parent)
        if previous is not None:
            self._put(previous + NEXT, offset)
        elif parent:
            self._put(parent + LOWER, offset)
        else:
            self._put(self._first_at, offset)
        self._last[parent] = offset
        return offset

    def finish(self) -> int:
        """Complete it; its size."""
        if 0 in self._last:
            self._put(self._first_at + 12, self._last[0])
        self._put(self._length_at, self._end - self._begin)
        return self._end

    def _put(self, place: int, value: int) -> None:
        self.file.seek(place)
        self.file.write(OFFSET.pack(value))
        self.file.seek(self._end)


def text(tag: int, vr: str, value: str) -> bytes:
    """An element with a text value, in UTF-8."""
    encoded = value.encode("utf-8", "replace")
    encoded += (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(encoded)) + encoded


def number(tag: int, vr: str, value: int) -> bytes:
    """An element with one unsigned number (UL, US)."""
    size = 4 if vr == "UL" else 2
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), size) + value.to_bytes(size, "little")


def texts(values: Iterable[tuple[int, str, str]]) -> bytes:
    """Elements with text values, in order; the character set before them where it is needed."""
    listed = list(values)
    encoded = b"".join(text(*each) for each in listed)
    return encoded if encoded.isascii() else text(0x00080005, "CS", TEXT) + encoded


def of_header(found: Mapping[str, Any], *, kind: str, instance_number: int) -> bytes:
    """The keys of a record of `kind`, out of an object's header in the DICOM JSON model."""
    wanted: dict[str, Any] = {}
    for tag in KEYS[kind]:
        element = found.get(tag, {"vr": ""})
        if "BulkDataURI" not in element and element["vr"]:
            wanted[tag] = element
    if kind in {"SR DOCUMENT", "KEY OBJECT DOC"}:
        modifiers = [
            item
            for item in found.get("0040A730", {}).get("Value", [])
            if item.get("0040A010", {}).get("Value") == ["HAS CONCEPT MOD"]
        ]
        if modifiers:
            wanted["0040A730"] = {"vr": "SQ", "Value": modifiers}
        # The latest of those who verified it: a record has it where the object has it in an item.
        verified = [
            value
            for observer in found.get("0040A073", {}).get("Value", [])
            for value in observer.get("0040A030", {}).get("Value", [])
        ]
        if verified:
            wanted["0040A030"] = {"vr": "DT", "Value": [max(map(str, verified))]}
    wanted["00200013"] = {"vr": "IS", "Value": [instance_number]}
    try:
        return _encoded(wanted, KEYS[kind])
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, struct.error) as error:
        log.info("object's header does not fit a directory record", kind=kind, error=type(error).__name__)
        return text(0x00200013, "IS", str(instance_number))


def _encoded(wanted: Mapping[str, Any], keys: Iterable[str]) -> bytes:
    data_set = Dataset.from_json(dict(wanted), bulk_data_uri_handler=lambda *_: None)
    for tag in keys:
        if Tag(tag) not in data_set and tag in EMPTY:
            data_set.add_new(Tag(tag), EMPTY[tag], None)  # type 2: there, if only empty
    data_set.SpecificCharacterSet = TEXT
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


# Keys of type 2: a record has them also where the object has not.
EMPTY = {
    "00420010": "ST", "0040A043": "SQ", "00700081": "LO", "00700084": "PN", "30060008": "DA", "30060009": "TM",
    "300A0006": "DA", "300A0007": "TM", "30080250": "DA", "30080251": "TM",
}  # fmt: skip

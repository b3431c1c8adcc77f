"""One object on its way in: a stream of bytes becomes a synced file and the keys to index it by."""

import os
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from django.conf import settings

from pacs.models import ApplicationEntity, ConflictAnswer, NodePriority, Volume
from pacs.services.header import Header, scan
from pacs.services.image_description import DESCRIBING
from pacs.services.part10 import HEAD_SIZE, MetaReader, head
from pacs.services.pixel_index import index_of
from pacs.storage import Draft, backend, current_volume, sync_names
from radiology.dicom import is_uid
from radiology.errors import CannotUnderstand, DataSetMismatch, OutOfResources, TooLarge
from radiology.models import Site
from radiology.services.identity import Identity, OtherIdentifier

# As received, kept as DICOM JSON on the study row beside its columns.
STUDY_ATTRIBUTES = frozenset({
    0x00080201, 0x00081030, 0x00081032, 0x00081048, 0x00081060, 0x00081080, 0x00081084, 0x00081110,
    0x00100010, 0x00100020, 0x00100021, 0x00100022, 0x00100024, 0x00100030, 0x00100032, 0x00100040,
    0x00101000, 0x00101001, 0x00101002, 0x00101005, 0x00101010, 0x00101020, 0x00101030, 0x00101040, 0x00101060,
    0x00102000, 0x00102110, 0x00102154, 0x00102160, 0x00102180, 0x001021B0, 0x001021C0, 0x00104000,
    0x00080051, 0x00321032, 0x00321060, 0x00321064, 0x00380010, 0x00380500, 0x00401012,
})  # fmt: skip
SERIES_ATTRIBUTES = frozenset({
    0x00080070, 0x00080080, 0x00080081, 0x00081010, 0x00081040, 0x0008103F, 0x00081050, 0x00081070,
    0x00081090, 0x00081111, 0x00082218, 0x00181000, 0x00181020, 0x00181030, 0x00185100, 0x00200052, 0x00400244,
    0x00400245, 0x00400250, 0x00400251, 0x00400253, 0x00400254, 0x00400260, 0x00400275, 0x00400280,
})  # fmt: skip
KEYS = frozenset({
    0x00080005, 0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080023, 0x00080030, 0x00080031, 0x00080033,
    0x00080050, 0x00080060, 0x00080090, 0x0008103E, 0x00180015, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011,
    0x00200013, 0x00200060, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
})  # fmt: skip
WANTED = DESCRIBING | KEYS | STUDY_ATTRIBUTES | SERIES_ATTRIBUTES

MOST_IDENTIFIERS = 20

# What an object without its own study or series UID is filed under; PS3.5 B.2 form.
DERIVED = uuid.UUID("5e1a2a4e-0c55-4e0c-9d3c-5a1d6a0c7f11")


@dataclass(frozen=True)
class Source:
    """Who sends, and what it stands for where its objects say nothing."""

    site: Site
    ae_title: str = ""
    issuer_of_patient_id: str = ""
    time_zone: str = ""
    refuse_conflicts: bool = False
    priority: NodePriority = NodePriority.NORMAL
    node: int | None = None
    is_ours: bool = False

    @classmethod
    def of_ourselves(cls, site: Site) -> Self:
        """What is made here: a report, a rejection note."""
        return cls(site, "", site.issuer_of_patient_id, site.time_zone, is_ours=True)

    @classmethod
    def of_site(cls, site: Site, ae_title: str = "") -> Self:
        """A door without a node of its own: STOW, import."""
        return cls(site, ae_title, site.issuer_of_patient_id, site.time_zone)

    @classmethod
    def of_node(cls, node: ApplicationEntity) -> Self:
        """A registered node, with its defaults."""
        return cls(
            node.site,
            node.title,
            node.issuer_of_patient_id or node.site.issuer_of_patient_id,
            node.time_zone or node.site.time_zone,
            node.conflict_answer == ConflictAnswer.REFUSE,
            NodePriority(node.priority),
            node.pk,
        )


@dataclass
class Received:
    """A complete object on disk, synced, not yet indexed."""

    source: Source
    volume: Volume
    draft: Draft
    header: Header = field(repr=False)
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str

    @cached_property
    def study_instance_uid(self) -> str:
        return self.header.uid(0x0020000D) or _derived(self.sop_instance_uid, "study")

    @cached_property
    def series_instance_uid(self) -> str:
        return self.header.uid(0x0020000E) or _derived(self.study_instance_uid, "series")

    @cached_property
    def identity(self) -> Identity:
        """What it says of its patient."""
        return identity_of(self.header, self.source)

    @property
    def size(self) -> int:
        return self.draft.size

    @cached_property
    def sha256(self) -> bytes:
        return self.draft.sha256()

    @cached_property
    def pixels(self) -> bytes | None:
        """The index of its pixels as it is kept; None where they have none, or whoever asks for them shall look."""
        place = self.header.pixels
        if place is None:
            return None
        values = {tag: self.header.elements[tag].value for tag in DESCRIBING & self.header.elements.keys()}
        try:
            return index_of(place, values, big_endian=self.header.big_endian, read=self._read).packed()
        except CannotUnderstand:
            return None

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self.draft.fileno(), length, HEAD_SIZE + offset)

    def discard(self) -> None:
        """Drop the file: it was not needed, or nobody will index it."""
        self.draft.discard()


class Incoming:
    """Takes the bytes of one object. Leaving it before `finish` removes what was written."""

    def __init__(
        self,
        *,
        source: Source,
        transfer_syntax_uid: str,
        sop_class_uid: str = "",
        sop_instance_uid: str = "",
        volume: Volume | None = None,
        draft: Draft | None = None,
    ) -> None:
        self.source = source
        self.transfer_syntax_uid = transfer_syntax_uid
        self.implementation_class_uid = ""
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._meta = None if transfer_syntax_uid else MetaReader()
        self._volume = volume or current_volume()
        self._draft = draft or begin(self._volume)
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._finished:
            self._draft.discard()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Raises TooLarge, OutOfResources, CannotUnderstand."""
        if self._meta is not None:
            rest = self._meta.feed(chunk)
            if rest is None:
                return
            self.transfer_syntax_uid = self._meta.transfer_syntax_uid
            self.implementation_class_uid = self._meta.implementation_class_uid
            self._meta = None
            chunk = rest
        if self._draft.size + len(chunk) > settings.SINAR_MAX_OBJECT_SIZE:
            raise TooLarge(f"An object may not be larger than {settings.SINAR_MAX_OBJECT_SIZE} bytes.")
        self._draft.write(chunk)

    @property
    def may_be_acknowledged(self) -> bool:
        """Whether what is acknowledged before it is filed survives where it lies."""
        return self._draft.may_be_acknowledged

    def finish(self, *, note: str = "") -> Received:
        """Read the keys and sync the file. With a `note` it is going to be acknowledged before it is filed.

        Raises CannotUnderstand for what is no complete data set, DataSetMismatch when it is another
        object than announced, OutOfResources.
        """
        if self._meta is not None:
            raise CannotUnderstand("The file is truncated: it ends within the file meta information.")
        received = self._read()
        self._draft.seal(
            head(
                sop_class_uid=received.sop_class_uid,
                sop_instance_uid=received.sop_instance_uid,
                transfer_syntax_uid=self.transfer_syntax_uid,
                source_ae_title=self.source.ae_title,
            ),
            note=note,
        )
        self._finished = True
        return received

    def _read(self) -> Received:
        received = read_keys(
            source=self.source,
            volume=self._volume,
            draft=self._draft,
            transfer_syntax_uid=self.transfer_syntax_uid,
            sop_class_uid=self._sop_class_uid,
        )
        if self._sop_instance_uid and self._sop_instance_uid != received.sop_instance_uid:
            raise DataSetMismatch("The data set is another SOP Instance than the request names.")
        if self._sop_class_uid and self._sop_class_uid != received.sop_class_uid:
            raise DataSetMismatch("The data set is of another SOP Class than the request names.")
        return received


def read_keys(
    *, source: Source, volume: Volume, draft: Draft, transfer_syntax_uid: str, sop_class_uid: str = ""
) -> Received:
    """What a draft that is written to its end holds; `sop_class_uid` is for a data set without one.

    Raises CannotUnderstand for what is no complete data set, DataSetMismatch when it names no instance.
    """
    if not draft.size:
        raise CannotUnderstand("The data set is empty.")
    with draft.contents() as (data, start):
        header = scan(data, start=start, transfer_syntax_uid=transfer_syntax_uid, wanted=WANTED)
    sop_instance_uid = header.uid(0x00080018)
    if not sop_instance_uid:
        raise DataSetMismatch("The data set has no SOP Instance UID (0008,0018).")
    received = Received(
        source,
        volume,
        draft,
        header,
        transfer_syntax_uid,
        header.uid(0x00080016) or sop_class_uid,
        sop_instance_uid,
    )
    for name, uid in (
        ("SOP Class UID", received.sop_class_uid),
        ("SOP Instance UID", sop_instance_uid),
        ("Study Instance UID", received.study_instance_uid),
        ("Series Instance UID", received.series_instance_uid),
    ):
        if not is_uid(uid):
            raise CannotUnderstand(f"The {name} of the data set is no UID.")
    return received


def receive(
    *,
    source: Source,
    transfer_syntax_uid: str,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    volume: Volume | None = None,
    draft: Draft | None = None,
) -> Incoming:
    """Begin to receive a bare data set in a transfer syntax that is known (C-STORE).

    Who receives many may look for the volume that takes new objects once in a while, and give it, with a draft
    that was begun on it.
    """
    return Incoming(
        source=source,
        transfer_syntax_uid=transfer_syntax_uid,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        volume=volume,
        draft=draft,
    )


def begin(volume: Volume) -> Draft:
    """A new draft on a volume. Raises OutOfResources."""
    return backend(volume).draft(head_size=HEAD_SIZE)


def begin_ahead(volume: Volume, *, count: int) -> list[Draft]:
    """Drafts for objects that may come, with names that last. Raises OutOfResources."""
    drafts: list[Draft] = []
    try:
        drafts.extend(begin(volume) for _ in range(count))
        sync_names(drafts)
    except OutOfResources:
        for draft in drafts:
            draft.discard()
        raise
    return drafts


def receive_part10(*, source: Source, volume: Volume | None = None) -> Incoming:
    """Begin to receive a Part 10 stream, which names its transfer syntax itself (STOW, import)."""
    return Incoming(source=source, transfer_syntax_uid="", volume=volume)


def identity_of(header: Header, source: Source) -> Identity:
    """What an object says of its patient. Several ids where one belongs are not to be trusted."""
    patient_id = header.text(0x00100020)
    issuer = header.first(0x00100021) or source.issuer_of_patient_id
    return Identity(
        patient_id=patient_id[:64],
        issuer_of_patient_id=issuer[:64] if patient_id else "",
        patient_name=header.first(0x00100010)[:324],
        patient_birth_date=header.first(0x00100030)[:16],
        patient_sex=header.first(0x00100040)[:16],
        trusted=len(patient_id) <= 64 and "\\" not in patient_id,
        others=_other_identifiers(header),
    )


def _other_identifiers(header: Header) -> tuple[OtherIdentifier, ...]:
    """OtherPatientIDsSequence (0010,1002), else the retired OtherPatientIDs (0010,1000)."""
    found = [(item.first(0x00100020), item.first(0x00100021)) for item in header.items(0x00101002)[:MOST_IDENTIFIERS]]
    if not found:
        found = [(value.strip(), "") for value in header.text(0x00101000).split("\\")[:MOST_IDENTIFIERS]]
    return tuple(OtherIdentifier(value[:64], issuer[:64]) for value, issuer in found if value)


def _derived(uid: str, what: str) -> str:
    return f"2.25.{uuid.uuid5(DERIVED, f'{uid}/{what}').int}"

"""Messages built strictly: every value is text until it is written, and nothing in it can end its field or segment."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone

from integrations.hl7 import character_sets
from integrations.hl7.escapes import STANDARD, encode
from integrations.hl7.message import NULL
from integrations.models import ExpectedAnswer, Hl7Peer, SentVersion
from radiology.dicom import clean, spell
from radiology.models.keys import uuid7

APPLICATION = "SINAR"
# A component: its text, or its subcomponents. A field: its text, its components, or its repetitions.
Component = str | tuple[str, ...]
Composite = tuple[Component, ...]
Value = str | Composite | list[str] | list[Composite]
# MSH-15 and MSH-16 (HL7 table 0155).
_ASKS = {ExpectedAnswer.COMMIT: ("AL", "NE"), ExpectedAnswer.APPLICATION: ("AL", "AL")}
# The third component of MSH-9 came with 2.3.1; OBR grew with the versions.
_OBR_FIELDS = {SentVersion.V2_3: 43, SentVersion.V2_3_1: 45, SentVersion.V2_4: 47}
# Signs that some parsers take for the end of a line.
_LINE_ENDS = re.compile("[\x80-\x9f\u2028\u2029]")


class Delete(str):
    """The value `""`: the receiver is to delete what it has (HL7 2.5.1 chapter 2.5.3)."""


DELETE = Delete(NULL)


@dataclass(frozen=True)
class Written:
    """A message as it goes out."""

    raw: bytes
    message_code: str
    trigger_event: str
    message_control_id: str
    version_id: str
    sending_application: str
    sending_facility: str


@dataclass(frozen=True)
class Writer:
    """Writes for one peer: its version, its character set, its names."""

    peer: Hl7Peer

    @property
    def version(self) -> str:
        return self.peer.sent_version

    def is_since(self, version: SentVersion) -> bool:
        """Whether the peer's version is that one or a later one."""
        return self.version >= version

    def segment(self, name: str, fields: Mapping[int, Value]) -> str:
        """A segment with these fields, by number; those that the peer's version does not have are left out."""
        most = _OBR_FIELDS.get(SentVersion(self.version), 999) if name == "OBR" else 999
        last = max((number for number in fields if number <= most), default=0)
        written = [self._field(fields.get(number, "")) for number in range(1, last + 1)]
        return STANDARD.field.join([name, *written]).rstrip(STANDARD.field)

    def moment(self, at: datetime | None) -> str:
        """A TS in the zone of the peer's site, with its offset; empty for None."""
        return at.astimezone(ZoneInfo(self.peer.site.time_zone)).strftime("%Y%m%d%H%M%S%z") if at else ""

    def message(self, code: str, event: str, structure: str, segments: Sequence[str]) -> Written:
        """The message with its header. Its control ID is new, and its own for good."""
        peer = self.peer
        own_id = uuid7().hex[12:]
        application = peer.sent_application or APPLICATION
        facility = peer.sent_facility or peer.site.code.upper()
        accept, respond = _ASKS.get(ExpectedAnswer(peer.expected_answer), ("", ""))
        kind: Composite = (code, event) if self.version == SentVersion.V2_3 else (code, event, structure)
        header = self.segment(
            "MSH",
            {
                2: application,
                3: facility,
                4: peer.receiving_application,
                5: peer.receiving_facility,
                6: self.moment(timezone.now()),
                8: kind,
                9: own_id,
                10: "P",
                11: self.version,
                14: accept,
                15: respond,
                17: peer.sent_character_set,
            },
        )
        # MSH-1 is the sign behind the segment's name, so that MSH-3 is the second field that is joined.
        header = f"MSH|{STANDARD.encoding_characters}|{header.removeprefix('MSH||')}"
        text = "\r".join([header, *segments]) + "\r"
        return Written(text.encode(self._codec), code, event, own_id, self.version, application, facility)

    @property
    def _codec(self) -> str:
        return character_sets.codec_of(self.peer.sent_character_set) or "utf-8"

    def _field(self, value: Value) -> str:
        if isinstance(value, list):
            return STANDARD.repetition.join(self._composite(each) for each in value)
        return self._composite(value)

    def _composite(self, value: str | Composite) -> str:
        if isinstance(value, str):
            return self._text(value)
        written = STANDARD.component.join(self._component(each) for each in value)
        return written.rstrip(STANDARD.component)

    def _component(self, value: Component) -> str:
        if isinstance(value, str):
            return self._text(value)
        return STANDARD.subcomponent.join(self._text(each) for each in value).rstrip(STANDARD.subcomponent)

    def _text(self, text: str) -> str:
        if isinstance(text, Delete):
            return text
        plain = spell(_LINE_ENDS.sub(" ", clean(text)), self._codec)
        # A value that is two quotation marks would be an order to delete.
        return encode(plain if plain != NULL else "''")

from integrations.models.message import AcknowledgmentCode, Direction, Hl7Message, MessageState
from integrations.models.peer import (
    AcknowledgmentMode,
    CharacterSet,
    Hl7Peer,
    ReplyType,
    UnknownPatient,
    UnknownProcedure,
)

__all__ = [
    "AcknowledgmentCode",
    "AcknowledgmentMode",
    "CharacterSet",
    "Direction",
    "Hl7Message",
    "Hl7Peer",
    "MessageState",
    "ReplyType",
    "UnknownPatient",
    "UnknownProcedure",
]

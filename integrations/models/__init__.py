from integrations.models.message import AcknowledgmentCode, Direction, Hl7Message, MessageState
from integrations.models.orthanc import (
    OrthancArrival,
    OrthancChange,
    OrthancLevel,
    OrthancQuery,
    OrthancResource,
    OrthancUnsettled,
)
from integrations.models.peer import CharacterSet, Hl7Peer, ReplyType, UnknownPatient, UnknownProcedure

__all__ = [
    "AcknowledgmentCode",
    "CharacterSet",
    "Direction",
    "Hl7Message",
    "Hl7Peer",
    "MessageState",
    "OrthancArrival",
    "OrthancChange",
    "OrthancLevel",
    "OrthancQuery",
    "OrthancResource",
    "OrthancUnsettled",
    "ReplyType",
    "UnknownPatient",
    "UnknownProcedure",
]

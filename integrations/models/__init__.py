from integrations.models.character_set import CharacterSet
from integrations.models.destination import ExpectedAnswer, FillerOrder, OrderMessage, PatientEvents, SentVersion
from integrations.models.message import QUEUED, AcknowledgmentCode, Direction, Hl7Message, MessageState
from integrations.models.order_state import Hl7OrderState
from integrations.models.peer import AcknowledgmentMode, Hl7Peer, ReplyType, UnknownPatient, UnknownProcedure

__all__ = [
    "QUEUED",
    "AcknowledgmentCode",
    "AcknowledgmentMode",
    "CharacterSet",
    "Direction",
    "ExpectedAnswer",
    "FillerOrder",
    "Hl7Message",
    "Hl7OrderState",
    "Hl7Peer",
    "MessageState",
    "OrderMessage",
    "PatientEvents",
    "ReplyType",
    "SentVersion",
    "UnknownPatient",
    "UnknownProcedure",
]

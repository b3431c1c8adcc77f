from integrations.models.alarm import AlarmKind, Hl7Alarm
from integrations.models.character_set import CharacterSet
from integrations.models.destination import (
    ExpectedAnswer,
    FillerOrder,
    OrderMessage,
    PatientEvents,
    ReportEvents,
    ReportText,
    SentVersion,
)
from integrations.models.mapping import Hl7FieldMapping
from integrations.models.message import FAULTY, QUEUED, UNDONE, AcknowledgmentCode, Direction, Hl7Message, MessageState
from integrations.models.order_state import Hl7OrderState
from integrations.models.orthanc import (
    OrthancArrival,
    OrthancChange,
    OrthancJob,
    OrthancLevel,
    OrthancOrigin,
    OrthancPeer,
    OrthancQuery,
    OrthancResource,
    OrthancUnsettled,
)
from integrations.models.peer import AcknowledgmentMode, Hl7Peer, ReplyType, UnknownPatient, UnknownProcedure
from integrations.models.webhook import Webhook, WebhookDelivery, WebhookEvent, WebhookNetwork

__all__ = [
    "FAULTY",
    "QUEUED",
    "UNDONE",
    "AcknowledgmentCode",
    "AcknowledgmentMode",
    "AlarmKind",
    "CharacterSet",
    "Direction",
    "ExpectedAnswer",
    "FillerOrder",
    "Hl7Alarm",
    "Hl7FieldMapping",
    "Hl7Message",
    "Hl7OrderState",
    "Hl7Peer",
    "MessageState",
    "OrderMessage",
    "OrthancArrival",
    "OrthancChange",
    "OrthancJob",
    "OrthancLevel",
    "OrthancOrigin",
    "OrthancPeer",
    "OrthancQuery",
    "OrthancResource",
    "OrthancUnsettled",
    "PatientEvents",
    "ReplyType",
    "ReportEvents",
    "ReportText",
    "SentVersion",
    "UnknownPatient",
    "UnknownProcedure",
    "Webhook",
    "WebhookDelivery",
    "WebhookEvent",
    "WebhookNetwork",
]

"""Answers to HL7 v2 messages, built strictly: HL7 2.5.1 chapter 2.9 (both modes), MSA, ERR and ORC."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from integrations.hl7 import character_sets
from integrations.hl7.escapes import encode
from integrations.hl7.message import Message
from integrations.models import AcknowledgmentCode
from radiology.models.keys import uuid7

VERSION = "2.5.1"
APPLICATION = "SINAR"
LONGEST_TEXT = 250


@dataclass(frozen=True)
class Fault:
    """Why a message was not accepted. `code` is of HL7 table 0357, `location` ERL: segment^sequence^field…"""

    code: str
    text: str
    location: str = ""
    is_rejection: bool = False


@dataclass(frozen=True)
class OrderReply:
    """One order of an answer to orders: ORC-1 (HL7 table 0119), placer's and filler's number."""

    control: str
    placer_order_number: str
    filler_order_number: str = ""


# HL7 table 0357.
CODES = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
# What says in enhanced mode that a message is kept, or not (HL7 table 0008).
ACCEPT_CODES = {
    AcknowledgmentCode.ACCEPT.value: "CA",
    AcknowledgmentCode.ERROR.value: "CE",
    AcknowledgmentCode.REJECT.value: "CR",
}
# What answers an order, with its structure.
ORDER_RESPONSES = {"O01": "ORR^O02^ORR_O02", "O19": "ORG^O20^ORG_O20", "O23": "ORI^O24^ORI_O24"}


def acknowledge(
    message: Message | None,
    *,
    fault: Fault | None = None,
    orders: Sequence[OrderReply] = (),
    responds: bool = False,
    is_accept: bool = False,
    is_enhanced: bool = False,
    kind: str = "",
    response: Sequence[str] = (),
) -> tuple[str, bytes]:
    """The answer to a message (None: it could not be read), and its MSA-1: accepted, or why not.

    `responds`: an order is answered by an order response rather than a plain ACK. `is_accept`: it is said only
    that the message is kept (CA, CE, CR), not what became of it. `is_enhanced`: the answer says that none is wanted
    for itself. `kind` and `response`: what a question is answered with, MSH-9 and segments.
    """
    code = AcknowledgmentCode.ACCEPT.value
    if fault is not None:
        code = (AcknowledgmentCode.REJECT if fault.is_rejection else AcknowledgmentCode.ERROR).value
    if is_accept:
        code = ACCEPT_CODES[code]
    if responds and not kind:
        kind = _response_kind(message)
    segments = [_header(message, kind, is_enhanced=is_enhanced)]
    control_id = message.message_control_id if message else ""
    # MSA-3 is deprecated since 2.4, and what most engines show to people.
    said = encode(fault.text[:LONGEST_TEXT]) if fault else ""
    segments.append(_segment("MSA", code, encode(control_id), said))
    if fault is not None:
        name = CODES.get(fault.code, "")
        segments.append(
            _segment("ERR", "", fault.location, f"{fault.code}^{name}^HL70357", "E", "", "", "", encode(fault.text))
        )
    if responds:
        segments += [
            _segment("ORC", each.control, encode(each.placer_order_number), encode(each.filler_order_number))
            for each in orders
        ]
    segments += response
    text = "\r".join(segments) + "\r"
    codec = character_sets.codec_of(message.character_set if message else "") or "utf-8"
    return code, text.encode(codec, "replace")


def _response_kind(message: Message | None) -> str:
    return ORDER_RESPONSES.get(message.trigger_event, "") if message is not None else ""


def _header(message: Message | None, kind: str, *, is_enhanced: bool) -> str:
    """MSH, to whom it came from: applications and facilities swapped."""
    now = timezone.localtime().strftime("%Y%m%d%H%M%S%z")
    own_id = uuid7().hex[12:]
    if message is None:
        return _segment("MSH", "^~\\&", APPLICATION, "", "", "", now, "", "ACK", own_id, "P", VERSION)
    event = message.trigger_event
    return _segment(
        "MSH",
        "^~\\&",
        encode(message.receiving_application or APPLICATION),
        encode(message.receiving_facility),
        encode(message.sending_application),
        encode(message.sending_facility),
        now,
        "",
        kind or f"ACK^{encode(event)}^ACK",
        own_id,
        encode(message.processing_id[:1] or "P"),
        VERSION,
        "",
        "",
        *(("NE", "NE") if is_enhanced else ("", "")),
        "",
        encode(message.character_set),
    )


def _segment(name: str, *fields: str) -> str:
    return "|".join([name, *fields]).rstrip("|")

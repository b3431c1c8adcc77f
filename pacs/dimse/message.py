"""DIMSE messages: command sets (PS3.7 6.3, Annex E) as dictionaries by DICOM keyword, and statuses.

A command set is Implicit VR Little Endian and small, so it is packed and unpacked here directly.
"""

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any

Command = dict[str, Any]

NO_DATA_SET = 0x0101
HAS_DATA_SET = 0x0001
LARGEST_COMMAND = 64 * 1024
_ELEMENT = struct.Struct("<HHI")

# Keyword: element of group 0000, VR (PS3.7 E.1 and E.2).
ELEMENTS: dict[str, tuple[int, str]] = {
    "AffectedSOPClassUID": (0x0002, "UI"),
    "RequestedSOPClassUID": (0x0003, "UI"),
    "CommandField": (0x0100, "US"),
    "MessageID": (0x0110, "US"),
    "MessageIDBeingRespondedTo": (0x0120, "US"),
    "MoveDestination": (0x0600, "AE"),
    "Priority": (0x0700, "US"),
    "CommandDataSetType": (0x0800, "US"),
    "Status": (0x0900, "US"),
    "OffendingElement": (0x0901, "AT"),
    "ErrorComment": (0x0902, "LO"),
    "ErrorID": (0x0903, "US"),
    "AffectedSOPInstanceUID": (0x1000, "UI"),
    "RequestedSOPInstanceUID": (0x1001, "UI"),
    "EventTypeID": (0x1002, "US"),
    "AttributeIdentifierList": (0x1005, "AT"),
    "ActionTypeID": (0x1008, "US"),
    "NumberOfRemainingSuboperations": (0x1020, "US"),
    "NumberOfCompletedSuboperations": (0x1021, "US"),
    "NumberOfFailedSuboperations": (0x1022, "US"),
    "NumberOfWarningSuboperations": (0x1023, "US"),
    "MoveOriginatorApplicationEntityTitle": (0x1030, "AE"),
    "MoveOriginatorMessageID": (0x1031, "US"),
}
_KEYWORDS = {element: (keyword, vr) for keyword, (element, vr) in ELEMENTS.items()}


class CommandField(IntEnum):
    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


RESPONSE = 0x8000
# DIMSE-N: each is about one SOP instance. PS3.7 10.3 calls it affected in some requests, requested in others.
NORMALIZED = frozenset(field for field in CommandField if field.name.startswith("N_"))
_AFFECTS = frozenset({CommandField.N_EVENT_REPORT_RQ, CommandField.N_CREATE_RQ})


class Status(IntEnum):
    """PS3.7 Annex C and PS3.4 B.2.3, C.4; those of the 01xx and 02xx are what DIMSE-N knows."""

    SUCCESS = 0x0000
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_OPTIONAL_KEYS = 0xFF01
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    ATTRIBUTE_LIST_ERROR = 0x0107
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION_TYPE = 0x0123
    NOT_AUTHORISED = 0x0124
    DUPLICATE_TRANSACTION_UID = 0x0131
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    SUBOPERATIONS_WITH_FAILURES = 0xB000
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_CALCULATE_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    UNABLE_TO_PROCESS = 0xC001


def is_pending(status: int) -> bool:
    return status in (Status.PENDING, Status.PENDING_OPTIONAL_KEYS)


def is_warning(status: int) -> bool:
    """Whether a C-STORE response of this status says stored, with a remark (PS3.7 C.3)."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


class MalformedCommand(Exception):
    """The bytes are no command set."""


def decode(data: bytes | bytearray) -> Command:
    """The known elements of a command set. Raises MalformedCommand."""
    command: Command = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise MalformedCommand
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += 8
        if group != 0 or length > end - position:
            raise MalformedCommand
        known = _KEYWORDS.get(element)
        if known is not None:
            keyword, vr = known
            command[keyword] = _value(vr, bytes(data[position : position + length]))
        position += length
    if "CommandField" not in command:
        raise MalformedCommand
    return command


def encode(command: Mapping[str, Any]) -> bytes:
    """The command set with its group length (PS3.7 9.3, 10.3)."""
    elements = tuple(command.items())
    try:
        return _encoded_again(elements)
    except TypeError:  # a list among the values
        return _encoded_set(elements)


@lru_cache(16)
def _encoded_again(elements: tuple[tuple[str, Any], ...]) -> bytes:
    """Answers of a search have the same one, each."""
    return _encoded_set(elements)


def _encoded_set(elements: Iterable[tuple[str, Any]]) -> bytes:
    parts = []
    for keyword, value in sorted(elements, key=lambda item: ELEMENTS[item[0]][0]):
        element, vr = ELEMENTS[keyword]
        encoded = _encoded(vr, value)
        parts.append(_ELEMENT.pack(0, element, len(encoded)) + encoded)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def normalized_request(
    field: CommandField, *, sop_class_uid: str, sop_instance_uid: str = "", **fields: Any
) -> Command:
    """The command of a DIMSE-N request (PS3.7 10.3). Without an instance (N-CREATE only), the peer names it.

    `fields` are ActionTypeID, EventTypeID or AttributeIdentifierList, as the operation wants.
    """
    which = "Affected" if field in _AFFECTS else "Requested"
    command: Command = {"CommandField": field, f"{which}SOPClassUID": sop_class_uid, **fields}
    if sop_instance_uid:
        command[f"{which}SOPInstanceUID"] = sop_instance_uid
    return command


def response_to(command: Command, status: int, fields: Mapping[str, Any], *, has_data_set: bool) -> Command:
    """The response of `status` to a request (PS3.7 9.3, 10.3); `fields` are added to it."""
    response: Command = {
        "CommandField": command["CommandField"] | RESPONSE,
        "MessageIDBeingRespondedTo": command.get("MessageID", 0),
        "CommandDataSetType": HAS_DATA_SET if has_data_set else NO_DATA_SET,
        "Status": status,
    }
    sop_class = command.get("AffectedSOPClassUID") or command.get("RequestedSOPClassUID")
    if sop_class:
        response["AffectedSOPClassUID"] = sop_class
    sop_instance = command.get("AffectedSOPInstanceUID") or command.get("RequestedSOPInstanceUID")
    if sop_instance:
        response["AffectedSOPInstanceUID"] = sop_instance
    for keyword in ("ActionTypeID", "EventTypeID"):
        if keyword in command:
            response[keyword] = command[keyword]
    response.update(fields)
    if comment := response.get("ErrorComment"):
        response["ErrorComment"] = error_comment(comment)
    return response


def error_comment(text: str) -> str:
    """`text` as an LO of the default repertoire, at most 64 characters (PS3.7 Annex C)."""
    plain = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return plain if len(plain) <= 64 else plain[:61] + "..."


def _value(vr: str, raw: bytes) -> Any:
    if vr == "US":
        if len(raw) != 2:
            raise MalformedCommand
        return int.from_bytes(raw, "little")
    if vr == "AT":
        if len(raw) % 4:
            raise MalformedCommand
        return [(group << 16) | element for group, element in struct.iter_unpack("<HH", raw)]
    text = raw.decode("ascii", "replace")
    return text.rstrip("\x00 ") if vr == "UI" else text.strip("\x00 ")


def _encoded(vr: str, value: Any) -> bytes:
    if vr == "US":
        return struct.pack("<H", value)
    if vr == "AT":
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)
    raw = value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\x00" if vr == "UI" else b" "
    return raw

"""Protocol data units of the upper layer (PS3.8 9.3): what stands on the wire, not what it means.

Items and sub-items that we do not know are passed over, as PS3.8 9.3.1 demands and real devices need.
Nothing here reads from a socket: callers check a PDU's length before they take in its body.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
# PS3.8 Table 9-11 leaves the largest request open; 128 contexts of 60 syntaxes take about 250 KB.
LARGEST_ASSOCIATE = 1024 * 1024


class PduType(IntEnum):
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """PS3.8 Table 9-26, source 2 (service provider)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """PS3.8 Table 9-18."""

    ACCEPTED = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class Malformed(Exception):
    """The bytes are no PDU of the kind that their first byte says."""


@dataclass(frozen=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return HEADER.pack(PduType.ASSOCIATE_RJ, 4) + bytes([0, self.result, self.source, self.reason])


PERMANENT = 1
APPLICATION_CONTEXT_NOT_SUPPORTED = Rejection(1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED = Rejection(1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED = Rejection(1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(1, 2, 2)
TEMPORARY_CONGESTION = Rejection(2, 3, 1)
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2)


@dataclass(frozen=True)
class Role:
    """What the requestor of the association may be for one SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True)
class ProposedContext:
    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredContext:
    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, kw_only=True)
class Associate:
    """What A-ASSOCIATE-RQ and -AC have in common. `maximum_length` 0 means without limit."""

    called_ae_title: str
    calling_ae_title: str
    application_context_name: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AssociateRequest(Associate):
    contexts: tuple[ProposedContext, ...]

    def encode(self) -> bytes:
        contexts = b"".join(
            _item(
                0x20,
                bytes([context.context_id, 0, 0, 0])
                + _item(0x30, context.abstract_syntax.encode())
                + b"".join(_item(0x40, syntax.encode()) for syntax in context.transfer_syntaxes),
            )
            for context in self.contexts
        )
        return _encode(PduType.ASSOCIATE_RQ, self, contexts)


@dataclass(frozen=True, kw_only=True)
class AssociateAccept(Associate):
    contexts: tuple[AnsweredContext, ...]

    def encode(self) -> bytes:
        contexts = b"".join(
            _item(
                0x21, bytes([context.context_id, 0, context.result, 0]) + _item(0x40, context.transfer_syntax.encode())
            )
            for context in self.contexts
        )
        return _encode(PduType.ASSOCIATE_AC, self, contexts)


def decode_request(body: bytes) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose body (what follows the six header bytes) this is. Raises Malformed."""
    common, items = _decode(body)
    contexts = []
    for value in items.get(0x20, []):
        if len(value) < 4:
            raise Malformed("presentation context")
        parts = list(_items(value[4:]))
        abstract = [_text(part) for kind, part in parts if kind == 0x30]
        if len(abstract) != 1:
            raise Malformed("abstract syntax")
        contexts.append(
            ProposedContext(value[0], abstract[0], tuple(_text(part) for kind, part in parts if kind == 0x40))
        )
    identifiers = [context.context_id for context in contexts]
    if len(set(identifiers)) != len(identifiers) or any(number % 2 == 0 for number in identifiers):
        raise Malformed("presentation context identifier")
    return AssociateRequest(**common, contexts=tuple(contexts))


def decode_accept(body: bytes) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose body this is. Raises Malformed."""
    common, items = _decode(body)
    contexts = []
    for value in items.get(0x21, []):
        if len(value) < 4:
            raise Malformed("presentation context")
        syntaxes = [_text(part) for kind, part in _items(value[4:]) if kind == 0x40]
        contexts.append(AnsweredContext(value[0], value[2], syntaxes[0] if syntaxes else ""))
    return AssociateAccept(**common, contexts=tuple(contexts))


def release_request() -> bytes:
    return HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)


def release_reply() -> bytes:
    return HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


def abort(reason: AbortReason | None = None) -> bytes:
    """A-ABORT by the service provider for `reason`; by the service user when there is none."""
    return HEADER.pack(PduType.ABORT, 4) + bytes([0, 0, 0 if reason is None else 2, reason or 0])


def _encode(kind: PduType, pdu: Associate, contexts: bytes) -> bytes:
    user = _item(0x51, struct.pack(">I", pdu.maximum_length))
    user += _item(0x52, pdu.implementation_class_uid.encode())
    for uid, role in pdu.roles.items():
        user += _item(0x54, _counted(uid) + bytes([role.scu, role.scp]))
    if pdu.implementation_version_name:
        user += _item(0x55, pdu.implementation_version_name.encode())
    for uid, information in pdu.extended.items():
        user += _item(0x56, _counted(uid) + information)
    body = struct.pack(
        ">HH16s16s32x",
        pdu.protocol_version,
        0,
        pdu.called_ae_title.encode("ascii", "replace").ljust(16)[:16],
        pdu.calling_ae_title.encode("ascii", "replace").ljust(16)[:16],
    )
    body += _item(0x10, pdu.application_context_name.encode()) + contexts + _item(0x50, user)
    return HEADER.pack(kind, len(body)) + body


def _decode(body: bytes) -> tuple[dict, dict[int, list[memoryview]]]:
    if len(body) < 68:
        raise Malformed("too short")
    items: dict[int, list[memoryview]] = {}
    for kind, value in _items(memoryview(body)[68:]):
        items.setdefault(kind, []).append(value)
    common: dict = {
        "protocol_version": int.from_bytes(body[:2], "big"),
        # Leading and trailing spaces are not significant (PS3.8 Table 9-11); some devices pad with NUL.
        "called_ae_title": _text(body[4:20]).strip(),
        "calling_ae_title": _text(body[20:36]).strip(),
        "application_context_name": _text(items[0x10][0]) if 0x10 in items else "",
    }
    roles: dict[str, Role] = {}
    extended: dict[str, bytes] = {}
    for user in items.get(0x50, []):
        for kind, value in _items(user):
            if kind == 0x51 and len(value) == 4:
                common["maximum_length"] = int.from_bytes(value, "big")
            elif kind == 0x52:
                common["implementation_class_uid"] = _text(value)
            elif kind == 0x55:
                common["implementation_version_name"] = _text(value)
            elif kind == 0x54:
                uid, rest = _split(value)
                if len(rest) < 2:
                    raise Malformed("role selection")
                roles[uid] = Role(scu=rest[0] == 1, scp=rest[1] == 1)
            elif kind == 0x56:
                uid, rest = _split(value)
                extended[uid] = bytes(rest[:64])
    return {**common, "roles": roles, "extended": extended}, items


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        if len(data) - position < 4:
            raise Malformed("item header")
        end = position + 4 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data):
            raise Malformed("item length")
        yield data[position], data[position + 4 : end]
        position = end


def _counted(uid: str) -> bytes:
    return struct.pack(">H", len(uid)) + uid.encode()


def _split(value: memoryview) -> tuple[str, memoryview]:
    end = 2 + int.from_bytes(value[:2], "big")
    if end > len(value):
        raise Malformed("UID length")
    return _text(value[2:end]), value[end:]


def _text(value: bytes | memoryview) -> str:
    return bytes(value).rstrip(b"\x00 ").decode("ascii", "replace")

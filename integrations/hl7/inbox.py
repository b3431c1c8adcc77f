"""What becomes of a message that came in: kept before anything else, processed once, answered by what became of it.

Two transactions. The first keeps the bytes, of all messages that came in the same moment. The second does everything
that a message asks for and writes down the answer, or does nothing of it and writes down why: so a process that is
killed has neither half done a message nor answered one that is not done. Who gets no answer sends again, and a
message that was kept and not processed is then taken up.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from integrations.hl7 import dispatch, faults, peers
from integrations.hl7.acknowledgment import Fault, acknowledge
from integrations.hl7.enhanced import ORIGINAL, Wanted, wanted_by
from integrations.hl7.mapping import mapped, read
from integrations.hl7.message import Message, parse
from integrations.hl7.outcome import Outcome
from integrations.hl7.repeats import find_earlier
from integrations.models import AcknowledgmentCode, Direction, Hl7Message, Hl7Peer, MessageState, ReplyType
from radiology.errors import CannotUnderstand, RadiologyError
from radiology.services.jobs import gave_way
from radiology.services.rows import Added, Rewritten, Sought
from radiology.services.whole import whole

log = structlog.get_logger(__name__)

# Rings where what waits is done (backlog.py).
BELL = "hl7_waiting"
# How often the times of a peer are written, so that its row is not what everybody waits for.
NOTED_EVERY = timedelta(seconds=5)
ATTEMPTS = 5
OPEN = (MessageState.RECEIVED, MessageState.WAITING, MessageState.FAILED)
# What is read of a message that is to be processed, beside its bytes where nobody has read them yet.
_CLAIMED = (
    "direction", "state", "peer", "acknowledgment_code", "acknowledgment", "is_enhanced", "attempts", "message_code",
    "trigger_event",
)  # fmt: skip
_CLAIM = Sought(Hl7Message, "id = %s FOR UPDATE", fields=_CLAIMED)
_CLAIM_WITH_RAW = Sought(Hl7Message, "id = %s FOR UPDATE", fields=[*_CLAIMED, "raw"])
_add = Added(Hl7Message)
# All but what it is.
_write_result = Rewritten(Hl7Message, [
    "state", "acknowledgment_code", "acknowledgment", "error", "note", "patient_ref", "order_ref", "changed",
    "attempts", "processed_at",
])  # fmt: skip


@dataclass(frozen=True)
class Arrival:
    """A message as it came."""

    raw: bytes
    address: str


@dataclass(frozen=True)
class Kept:
    """A message that is committed. `first` is the row that stands for what it asks: its own, or the earlier same.

    `accept` is what is answered before it is processed (enhanced mode). A message without a row is an answer to
    something of ours, which is not answered.
    """

    row: Hl7Message | None
    first: Hl7Message | None
    message: Message | None
    wanted: Wanted
    accept: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether something is left to be done, and waited for."""
        return (
            not self.wanted.is_behind
            and self.first is not None
            and self.first.peer_id is not None
            and self.first.state in OPEN
        )

    def answers(self, code: str) -> bool:
        """Whether the sender wants to be told that it was processed, and how."""
        return self.row is not None and self.wanted.application.includes(code == AcknowledgmentCode.ACCEPT)


def peers_at(address: str) -> list[Hl7Peer]:
    """The peers that may connect from there."""
    return [peer for peer in peers.active() if peer.admits(address)]


def keep(arrivals: Sequence[Arrival]) -> list[Kept | None]:
    """Rows for what came, committed together; None for what came from an address that may send nothing.

    Raises OperationalError when the database cannot keep them.
    """
    active = peers.active()
    addresses = {each.address for each in arrivals}
    by_address = {address: [peer for peer in active if peer.admits(address)] for address in addresses}
    read = [_read(each, by_address[each.address]) if by_address[each.address] else None for each in arrivals]
    rows = [each.row for each in read if each is not None and each.row is not None]
    with transaction.atomic():
        find_earlier(rows)
        for each in read:
            if each is not None and each.row is not None and each.fault is not None and each.row.duplicate_of is None:
                _answer(each.row, each.message, each.fault)
        _insert(rows)
        _leave_behind([each for each in read if each is not None])
    _note(rows)
    return [None if each is None else each.kept() for each in read]


@dataclass
class _Read:
    """A message while it is being kept."""

    row: Hl7Message | None
    message: Message | None
    fault: Fault | None

    def kept(self) -> Kept:
        wanted = ORIGINAL if self.row is None else _wanted(self.row, self.message)
        accept = b""
        if self.row is not None and wanted.is_enhanced and wanted.accept.includes(self.fault is None):
            accept = acknowledge(self.message, fault=self.fault, is_accept=True, is_enhanced=True)[1]
        return Kept(self.row, self.row and (self.row.duplicate_of or self.row), self.message, wanted, accept)


def _read(arrival: Arrival, peers: list[Hl7Peer]) -> _Read:
    """What a message is, whose it is, and why it is rejected."""
    raw = arrival.raw
    peer, message, fault = _understand(raw, peers)
    if message is not None and message.message_code in dispatch.ANSWERS:
        return _Read(None, message, None)
    row = Hl7Message(
        site=(peer or peers[0]).site,
        peer=peer,
        address=arrival.address,
        raw=raw,
        size=len(raw),
        content_sha256=hashlib.sha256(raw).digest(),
    )
    if message is not None:
        row.message_control_id = message.message_control_id
        row.sending_application, row.sending_facility = message.sending_application, message.sending_facility
        row.message_code, row.trigger_event = message.message_code, message.trigger_event
        row.version_id = message.version_id
        wanted = _wanted(row, message)
        row.is_enhanced = wanted.is_enhanced
        if wanted.is_behind and fault is None:
            row.state = MessageState.WAITING
    return _Read(row, message, fault)


def _wanted(row: Hl7Message, message: Message | None) -> Wanted:
    return wanted_by(message, row.peer.acknowledgment_mode) if row.peer is not None else wanted_by(message)


def _understand(raw: bytes, peers: list[Hl7Peer]) -> tuple[Hl7Peer | None, Message | None, Fault | None]:
    try:
        message = parse(raw, character_set=peers[0].character_set)
        peer = _sender(message, peers)
        if peer is not None:
            if peer.character_set != peers[0].character_set:
                message = parse(raw, character_set=peer.character_set)
            message = mapped(message, peer.mappings.all())
    except CannotUnderstand as error:
        return None, None, Fault("100", error.message, is_rejection=True)
    if peer is None:
        return None, message, faults.unknown_sender(message.sending_application, message.sending_facility)
    return peer, message, dispatch.refusal(message)


def _sender(message: Message, peers: list[Hl7Peer]) -> Hl7Peer | None:
    """The peer of that name, the one that is named most closely first."""
    meant = [
        peer
        for peer in peers
        if peer.means(sending_application=message.sending_application, sending_facility=message.sending_facility)
    ]
    return max(meant, key=lambda peer: (peer.sending_application != "", peer.sending_facility != ""), default=None)


def _insert(rows: list[Hl7Message]) -> None:
    """First those that others of the same moment may point at."""
    for wave in ([row for row in rows if row.duplicate_of is None], [row for row in rows if row.duplicate_of]):
        for row in wave:
            if row.duplicate_of is not None:
                row.duplicate_of_id = row.duplicate_of.pk
        if wave:
            _add(wave)


def _leave_behind(read: list[_Read]) -> None:
    """Ring for what is processed behind its sender's back. What came before, and failed, is tried again."""
    behind = [each.row for each in read if each.row is not None and _wanted(each.row, each.message).is_behind]
    again = {
        row.duplicate_of.pk for row in behind if row.duplicate_of and row.duplicate_of.state == MessageState.FAILED
    }
    if again:
        Hl7Message.objects.filter(pk__in=again, state=MessageState.FAILED).update(state=MessageState.WAITING)
    if again or any(row.state == MessageState.WAITING for row in behind):
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {BELL}")


def finish(kept: Kept) -> tuple[str, bytes]:
    """Process what is left of a kept message, and return MSA-1 and the answer. Raises OperationalError."""
    row, first = kept.row, kept.first
    if row is None or first is None:
        return "", b""
    if not kept.is_open:
        return row.acknowledgment_code, bytes(row.acknowledgment)
    code, answer = process(first.pk, message=kept.message if first is row else None)
    if first is not row:
        done = Hl7Message.objects.values_list("patient_ref", "order_ref").get(pk=first.pk)
        Hl7Message.objects.filter(pk=row.pk).update(
            acknowledgment_code=code, acknowledgment=answer, patient_ref=done[0], order_ref=done[1]
        )
    return code, answer


def finish_before(row: Hl7Message) -> None:
    """Process what the peer of a message sent before it and does not wait for."""
    before = Hl7Message.objects.filter(state=MessageState.WAITING, direction=Direction.IN, peer=row.peer, pk__lt=row.pk)
    for pk in before.order_by("pk").values_list("pk", flat=True):
        process(pk)


def waiting(*, limit: int = 200) -> list[int]:
    """Messages that were kept, whose senders know so and wait for nothing more: the oldest first."""
    rows = Hl7Message.objects.filter(state=MessageState.WAITING, direction=Direction.IN)
    return list(rows.order_by("pk").values_list("pk", flat=True)[:limit])


def left_over(*, before: timedelta, limit: int = 200) -> list[int]:
    """Messages that were kept longer than `before` ago and never processed: whoever did so ended. The oldest first."""
    rows = Hl7Message.objects.filter(
        state=MessageState.RECEIVED, direction=Direction.IN, received_at__lt=timezone.now() - before
    ).exclude(peer=None)
    return list(rows.order_by("pk").values_list("pk", flat=True)[:limit])


def put_aside(pk: int) -> None:
    """A message that brings down whoever processes it has failed, until a person looks at it."""
    rows = Hl7Message.objects.filter(pk=pk, state__in=OPEN)
    rows.update(state=MessageState.FAILED, error=faults.unexpected().text, processed_at=timezone.now())


def process(pk: int, *, message: Message | None = None) -> tuple[str, bytes]:
    """Do what a kept message asks for, unless that is done, and return MSA-1 and the answer; one that failed is tried
    again. `message` is what it says, where that was read already.

    Who asks at the same time waits, and gets the same answer.
    """
    for attempt in range(ATTEMPTS):
        try:
            try:
                return _process(pk, message)
            except _Undone as undone:
                return _fail(pk, undone)
        except OperationalError as error:
            if not gave_way(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


class _Undone(Exception):
    """Nothing of what a message asks for was done, and why."""

    def __init__(self, fault: Fault, message: Message) -> None:
        super().__init__(fault.text)
        self.fault, self.message = fault, message


def _process(pk: int, message: Message | None) -> tuple[str, bytes]:
    """Raises _Undone; then not even the message's row was written."""
    with whole():
        row = _claim(pk, with_raw=message is None)
        if not _is_open(row):
            return row.acknowledgment_code, bytes(row.acknowledgment)
        assert row.peer is not None
        if message is None:
            message = read(bytes(row.raw), row.peer)
        outcome = Outcome()
        try:
            dispatch.handler_of(message)(message, row.peer, outcome)
        except RadiologyError as error:
            raise _Undone(faults.fault_of(error), message) from error
        except OperationalError:
            raise
        except Exception as error:
            log.exception("hl7_message_failed", message=row.pk, kind=row.kind, exc_info=error)
            raise _Undone(faults.unexpected(), message) from error
        return _write(row, message, None, outcome)


def _fail(pk: int, undone: _Undone) -> tuple[str, bytes]:
    """Write down why a message failed, unless somebody else did it meanwhile."""
    with transaction.atomic():
        row = _claim(pk, with_raw=False)
        if not _is_open(row):
            return row.acknowledgment_code, bytes(row.acknowledgment)
        return _write(row, undone.message, undone.fault, Outcome())


def _claim(pk: int, *, with_raw: bool) -> Hl7Message:
    """The row of a message, held until the transaction ends."""
    found = (_CLAIM_WITH_RAW if with_raw else _CLAIM)(pk)[0]
    if found.peer_id is not None:
        found.peer = peers.peer_of(found.peer_id)
    return found


def _is_open(row: Hl7Message) -> bool:
    return row.direction == Direction.IN and row.state in OPEN and row.peer_id is not None


def _write(row: Hl7Message, message: Message, fault: Fault | None, outcome: Outcome) -> tuple[str, bytes]:
    """Write down what became of a message, and return MSA-1 and the answer."""
    row.attempts = min(row.attempts + 1, 32_000)
    row.patient_ref, row.order_ref = outcome.patient, outcome.order
    row.changed, row.note = outcome.changed, "\n".join(outcome.notes)
    _answer(row, message, fault, outcome)
    _write_result(row)
    _note([row])
    return row.acknowledgment_code, bytes(row.acknowledgment)


def _answer(row: Hl7Message, message: Message | None, fault: Fault | None, outcome: Outcome | None = None) -> None:
    responds = (
        message is not None
        and row.peer is not None
        and row.peer.reply_type == ReplyType.ORDER_RESPONSE
        and dispatch.is_order(message)
    )
    orders = outcome.orders if outcome else []
    response = outcome.response if outcome else None
    code, row.acknowledgment = acknowledge(
        message,
        fault=fault,
        orders=orders,
        responds=responds,
        is_enhanced=row.is_enhanced,
        kind=response.kind if response else "",
        response=response.segments if response else (),
    )
    row.acknowledgment_code = code
    row.error = fault.text if fault else ""
    row.processed_at = timezone.now()
    row.state = {
        AcknowledgmentCode.ACCEPT.value: MessageState.PROCESSED,
        AcknowledgmentCode.ERROR.value: MessageState.FAILED,
        AcknowledgmentCode.REJECT.value: MessageState.REJECTED,
    }[code]


def _note(rows: Iterable[Hl7Message]) -> None:
    """When each peer last sent, and last failed."""
    now = timezone.now()
    for peer, failed in {(row.peer, row.state in {MessageState.FAILED, MessageState.REJECTED}) for row in rows}:
        if peer is None:
            continue
        for name in ("last_message_at", "last_failure_at") if failed else ("last_message_at",):
            last = getattr(peer, name)
            if last is not None and last > now - NOTED_EVERY:
                continue
            setattr(peer, name, now)
            stale = Q(**{name: None}) | Q(**{f"{name}__lt": now - NOTED_EVERY})
            Hl7Peer.objects.filter(stale, pk=peer.pk).update(**{name: now})

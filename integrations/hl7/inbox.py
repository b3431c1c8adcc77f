"""What becomes of a message that came in: kept before anything else, processed once, answered by what became of it.

Two transactions. The first keeps the bytes. The second does everything that the message asks for and writes down
the answer, or does nothing of it and writes down why: so a process that is killed has neither half done a message
nor answered one that is not done. Who gets no answer sends again, and a message that was kept and not processed
is then taken up.
"""

import hashlib
from datetime import timedelta

import structlog
from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from integrations.hl7 import dispatch, faults
from integrations.hl7.acknowledgment import Fault, acknowledge
from integrations.hl7.message import Message, parse
from integrations.hl7.outcome import Outcome
from integrations.models import AcknowledgmentCode, Direction, Hl7Message, Hl7Peer, MessageState, ReplyType
from radiology.errors import CannotUnderstand, RadiologyError
from radiology.services.accession import lock

log = structlog.get_logger(__name__)

SAME_WITHIN = timedelta(days=30)
# How often the times of a peer are written, so that its row is not what everybody waits for.
NOTED_EVERY = timedelta(seconds=5)
ATTEMPTS = 5
GAVE_WAY = {"40P01", "40001", "55P03"}
OPEN = (MessageState.RECEIVED, MessageState.FAILED)


def peers_at(address: str) -> list[Hl7Peer]:
    """The peers that may connect from there."""
    return [peer for peer in Hl7Peer.objects.active().select_related("site").order_by("pk") if peer.admits(address)]


def take_in(*, raw: bytes, address: str) -> bytes | None:
    """Keep a message, process it, and return the answer; None when that address may send nothing (any longer).

    Raises OperationalError when the database cannot keep it: then there is no honest answer.
    """
    peers = peers_at(address)
    if not peers:
        return None
    row = _keep(raw, address, peers)
    first = row.duplicate_of or row
    if first.state not in OPEN:
        return bytes(row.acknowledgment)
    answer = process(first.pk)
    if first is not row:
        done = Hl7Message.objects.values_list("acknowledgment_code", "patient_ref", "order_ref").get(pk=first.pk)
        row.acknowledgment_code, row.patient_ref_id, row.order_ref_id = done
        row.acknowledgment = answer
        row.save(update_fields=["acknowledgment_code", "patient_ref", "order_ref", "acknowledgment"])
    return answer


def _keep(raw: bytes, address: str, peers: list[Hl7Peer]) -> Hl7Message:
    """A row for what came, committed; one that came before points at the first."""
    peer, message, fault = _read(raw, peers)
    row = Hl7Message(
        site=(peer or peers[0]).site,
        peer=peer,
        address=address,
        raw=raw,
        size=len(raw),
        content_sha256=hashlib.sha256(raw).digest(),
    )
    if message is not None:
        row.message_control_id = message.message_control_id
        row.sending_application, row.sending_facility = message.sending_application, message.sending_facility
        row.message_code, row.trigger_event = message.message_code, message.trigger_event
        row.version_id = message.version_id
    with transaction.atomic():
        earlier = _earlier(row) if row.message_control_id else None
        if earlier is not None:
            row.duplicate_of, row.state = earlier, MessageState.DUPLICATE
            row.acknowledgment_code, row.acknowledgment = earlier.acknowledgment_code, bytes(earlier.acknowledgment)
            row.patient_ref_id, row.order_ref_id = earlier.patient_ref_id, earlier.order_ref_id
            row.processed_at = timezone.now()
        elif fault is not None:
            _answer(row, message, fault)
        row.save()
    _note(row)
    return row


def _read(raw: bytes, peers: list[Hl7Peer]) -> tuple[Hl7Peer | None, Message | None, Fault | None]:
    """Whose message it is, what it is, and why it is rejected."""
    try:
        message = parse(raw, character_set=peers[0].character_set)
        peer = _sender(message, peers)
        if peer is not None and peer.character_set != peers[0].character_set:
            message = parse(raw, character_set=peer.character_set)
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


def _earlier(row: Hl7Message) -> Hl7Message | None:
    """The same message, if it came within thirty days and was not rejected, which may have had reasons of ours.

    Another message under the same control ID is noted in `row`.
    """
    lock("hl7", row.sending_application, row.sending_facility, row.message_control_id)
    there = Hl7Message.objects.filter(
        Q(duplicate_of=None),
        direction=Direction.IN,
        message_control_id=row.message_control_id,
        received_at__gte=timezone.now() - SAME_WITHIN,
        sending_application=row.sending_application,
        sending_facility=row.sending_facility,
        site_id=row.site_id,
    ).order_by("-received_at")[:100]
    found = list(there.defer("raw"))
    row.reuses_control_id = any(bytes(each.content_sha256) != row.content_sha256 for each in found)
    same = (each for each in found if bytes(each.content_sha256) == row.content_sha256)
    return next((each for each in same if each.state != MessageState.REJECTED), None)


def process(pk: int) -> bytes:
    """Do what a kept message asks for, unless that is done, and return the answer; one that failed is tried again.

    Who asks at the same time waits, and gets the same answer.
    """
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic():
                return _process(pk)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in GAVE_WAY or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _process(pk: int) -> bytes:
    row = Hl7Message.objects.select_for_update(of=("self",)).select_related("peer__site", "site").get(pk=pk)
    if row.state not in OPEN or row.peer is None:
        return bytes(row.acknowledgment)
    message = parse(bytes(row.raw), character_set=row.peer.character_set)
    outcome = Outcome()
    fault: Fault | None = None
    row.attempts = min(row.attempts + 1, 32_000)
    try:
        with transaction.atomic():
            dispatch.handler_of(message)(message, row.peer, outcome)
    except RadiologyError as error:
        fault, outcome = faults.fault_of(error), Outcome()
    except OperationalError:
        raise
    except Exception as error:
        log.exception("hl7_message_failed", message=row.pk, kind=row.kind, exc_info=error)
        fault, outcome = faults.unexpected(), Outcome()
    row.patient_ref, row.order_ref = outcome.patient, outcome.order
    row.changed, row.note = outcome.changed, "\n".join(outcome.notes)
    _answer(row, message, fault, outcome)
    row.save()
    _note(row)
    return bytes(row.acknowledgment)


def _answer(row: Hl7Message, message: Message | None, fault: Fault | None, outcome: Outcome | None = None) -> None:
    responds = (
        message is not None
        and row.peer is not None
        and row.peer.reply_type == ReplyType.ORDER_RESPONSE
        and dispatch.is_order(message)
    )
    orders = outcome.orders if outcome else []
    code, row.acknowledgment = acknowledge(message, fault=fault, orders=orders, responds=responds)
    row.acknowledgment_code = code
    row.error = fault.text if fault else ""
    row.processed_at = timezone.now()
    row.state = {
        AcknowledgmentCode.ACCEPT: MessageState.PROCESSED,
        AcknowledgmentCode.ERROR: MessageState.FAILED,
        AcknowledgmentCode.REJECT: MessageState.REJECTED,
    }[code]


def _note(row: Hl7Message) -> None:
    """When the peer last sent, and last failed."""
    if row.peer is None:
        return
    now = timezone.now()
    names = ["last_message_at"]
    if row.state in {MessageState.FAILED, MessageState.REJECTED}:
        names.append("last_failure_at")
    for name in names:
        last = getattr(row.peer, name)
        if last is not None and last > now - NOTED_EVERY:
            continue
        setattr(row.peer, name, now)
        stale = Q(**{name: None}) | Q(**{f"{name}__lt": now - NOTED_EVERY})
        Hl7Peer.objects.filter(stale, pk=row.peer.pk).update(**{name: now})

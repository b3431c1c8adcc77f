"""Doing a message again, as it came or changed by hand; one, or all that a search finds."""

import hashlib
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.hl7 import character_sets, desk, dispatch, inbox
from integrations.hl7.mapping import mapped
from integrations.hl7.message import Message, parse
from integrations.hl7.outgoing import queue
from integrations.models import Direction, Hl7Message, MessageState
from radiology.errors import CannotUnderstand, Conflict, InvalidValue, NotAllowed
from radiology.models import AuditAction, Job
from radiology.models.keys import uuid7
from radiology.services import audit
from radiology.services.jobs import enqueue, extend_lease, handles

KIND = "hl7.replay"
LARGEST_EDITED = 1024 * 1024
# Messages of one wish; more at once are several wishes.
MOST = 100_000
CHUNK = 100


def replay(*, who: Any, row: Hl7Message, text: str | None = None, address: str | None = None) -> Hl7Message:
    """Do a message again; with `text`, as it stands there, a segment a line. The row that was done.

    One that came in and was not done yet is done itself. Else a new row is made that names the first: an incoming
    one is processed at once, whatever it was answered; an outgoing one goes to the end of its queue, under a control
    ID of its own. Raises NotAllowed; Conflict for a message of nobody; InvalidValue for a text that is no message.
    """
    _require(who)
    if row.peer is None:
        raise Conflict(_("Nobody knows whose message this is: enter its sender as an HL7 peer."))
    raw = bytes(row.raw) if text is None else _encode(row, text)
    audit.record(
        event="hl7.replayed",
        action=AuditAction.EXECUTE,
        who=who,
        address=address,
        site_id=row.site_id,
        patient_id=row.patient_ref_id,
        detail={"message": str(row.public_id), "edited": text is not None},
    )
    return _do(row, raw, audit.agent_of(who), is_edited=text is not None)


def text_of(row: Hl7Message) -> str:
    """The message for an editor: a segment a line."""
    text, _named = character_sets.decode(bytes(row.raw), default=row.character_set)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


@transaction.atomic
def close(*, who: Any, row: Hl7Message, again: bool = False, address: str | None = None) -> None:
    """Put a message aside that needs nobody any more; `again` takes that back. Raises NotAllowed."""
    _require(who)
    values = {"closed_at": None, "closed_by": ""} if again else _closed(audit.agent_of(who))
    Hl7Message.objects.filter(pk=row.pk).update(**values)
    audit.record(
        event="hl7.reopened" if again else "hl7.closed",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=row.site_id,
        detail={"message": str(row.public_id)},
    )


@transaction.atomic
def replay_all(*, who: Any, criteria: desk.Criteria, key: str = "", address: str | None = None) -> Job:
    """Do all messages again that a search finds, oldest first, in the background. Raises NotAllowed."""
    _require(who)
    site_id = None if who.sees_every_site else who.site_id
    job = enqueue(
        kind=KIND,
        arguments={"criteria": criteria.as_json(), "site": site_id, "agent": audit.agent_of(who), "last": 0},
        idempotency_key=f"{KIND}:{key}" if key else None,
        ordering_key=KIND,
        max_attempts=5,
    )
    audit.record(
        event="hl7.replayed",
        action=AuditAction.EXECUTE,
        who=who,
        address=address,
        detail={"criteria": criteria.as_json()},
    )
    return job


@handles(KIND)
def run_replay(job: Job) -> None:
    """Go through the messages by their keys; whoever takes the job over goes on where it was."""
    arguments = job.arguments
    rows = desk.matching(desk.Criteria.of_json(arguments["criteria"]), site_id=arguments["site"])
    if "newest" not in arguments:  # written down first: those that it makes itself are not among them
        arguments["newest"] = rows.order_by("-pk").values_list("pk", flat=True).first() or 0
        Job.objects.filter(pk=job.pk).update(arguments=arguments)
    rows, done = rows.filter(pk__lte=arguments["newest"]), job.progress
    total = done + rows.filter(pk__gt=arguments["last"])[:MOST].count()
    while True:
        keys = list(rows.filter(pk__gt=arguments["last"]).order_by("pk").values_list("pk", flat=True)[:CHUNK])
        for pk in keys:
            row = Hl7Message.objects.select_related("peer__site", "site").filter(pk=pk).first()
            if row is not None and row.peer is not None:
                _do(row, bytes(row.raw), arguments["agent"], is_edited=False)
            arguments["last"] = pk
            done += 1
        extend_lease(job=job, progress=done, total=max(total, done))
        Job.objects.filter(pk=job.pk).update(arguments=arguments)
        if not keys or done >= MOST:
            return


def _do(row: Hl7Message, raw: bytes, agent: str, *, is_edited: bool) -> Hl7Message:
    if row.direction == Direction.OUT:
        if not is_edited and row.state in {MessageState.DEAD, *queue.QUEUED}:
            queue.send_again([row])
            return row
        return _send(row, raw, agent)
    if not is_edited and row.state in inbox.OPEN:
        inbox.process(row.pk)
        return row
    return _take_in(row, raw, agent)


def _take_in(row: Hl7Message, raw: bytes, agent: str) -> Hl7Message:
    peer = row.peer
    assert peer is not None
    message = mapped(_parsed(raw, row.character_set), peer.mappings.all())
    again = _copy(row, raw, message, agent)
    again.address = row.address
    fault = dispatch.refusal(message)
    if fault is not None:
        again.state, again.error, again.processed_at = MessageState.REJECTED, fault.text, timezone.now()
    again.save()
    if fault is None:
        inbox.process(again.pk, message=message)
        again.refresh_from_db()
    if again.state == MessageState.PROCESSED and row.is_open:
        Hl7Message.objects.filter(pk=row.pk).update(**_closed(agent))
    return again


@transaction.atomic
def _send(row: Hl7Message, raw: bytes, agent: str) -> Hl7Message:
    peer = row.peer
    assert peer is not None
    own_id = uuid7().hex[12:]
    raw = _renamed(raw, own_id)
    again = _copy(row, raw, _parsed(raw, row.character_set), agent)
    again.state, again.patients = MessageState.WAITING, row.patients
    again.patient_ref_id, again.order_ref_id = row.patient_ref_id, row.order_ref_id
    again.save()
    if row.is_open:
        Hl7Message.objects.filter(pk=row.pk).update(**_closed(agent))
    queue.wake(peer)
    return again


def _copy(row: Hl7Message, raw: bytes, message: Message, agent: str) -> Hl7Message:
    return Hl7Message(
        site_id=row.site_id,
        peer=row.peer,
        direction=row.direction,
        raw=raw,
        size=len(raw),
        content_sha256=hashlib.sha256(raw).digest(),
        message_control_id=message.message_control_id,
        sending_application=message.sending_application,
        sending_facility=message.sending_facility,
        message_code=message.message_code,
        trigger_event=message.trigger_event,
        version_id=message.version_id,
        replay_of=row,
        replayed_by=agent,
    )


def _encode(row: Hl7Message, text: str) -> bytes:
    """What was typed as the message's bytes. Raises InvalidValue."""
    lines = [line.rstrip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    whole = "\r".join(lines) + "\r"
    _text, named = character_sets.decode(bytes(row.raw), default=row.character_set)
    raw = whole.encode(character_sets.codec_of(named) or "utf-8", "replace")
    if len(raw) > LARGEST_EDITED:
        raise InvalidValue(_("This is too long to be edited here."), field="text")
    if any(mark in raw for mark in (b"\x0b", b"\x1c")):
        raise InvalidValue(_("The message holds a mark that ends messages."), field="text")
    message = _parsed(raw, "")
    if not message.message_control_id:
        raise InvalidValue(_("MSH-10: the message has no control ID."), field="text")
    return raw


def _parsed(raw: bytes, character_set: str) -> Message:
    try:
        return parse(raw, character_set=character_set)
    except CannotUnderstand as error:
        raise InvalidValue(error.message, field="text") from error


def _renamed(raw: bytes, own_id: str) -> bytes:
    """The message under another control ID (MSH-10)."""
    header, end, rest = raw.partition(b"\r")
    fields = header.split(header[3:4])
    fields[9] = own_id.encode("ascii")
    return header[3:4].join(fields) + end + rest


def _closed(agent: str) -> dict[str, Any]:
    return {"closed_at": timezone.now(), "closed_by": agent}


def _require(who: Any) -> None:
    if not who.may("interfaces.replay"):
        raise NotAllowed(_("You may not replay messages."))

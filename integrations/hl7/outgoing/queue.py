"""From the rows to the peers: each peer has one queue, one job that empties it, one connection at a time.

A message is a row from the transaction of its cause on. Whoever adds one makes sure that a job waits which has not
begun; so however many messages a dead peer has waiting, one job waits for it. Messages leave in the order in which
they were made. One that is to be tried later holds up those about the same patients and no others; one that was given
up holds up nobody. A peer that cannot be reached is left alone for a while that grows, and nothing counts as a try.

A message is marked as sent after the answer came: who is killed in between sends it again, byte by byte the same.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.hl7.outgoing.answers import ERROR_DELAYS, Answer, read_answer
from integrations.hl7.outgoing.connection import Closed, Connection, NoAnswer, patience
from integrations.hl7.outgoing.numbers import take_number
from integrations.hl7.outgoing.writing import Written
from integrations.models import QUEUED, AcknowledgmentCode, Direction, ExpectedAnswer, Hl7Message, Hl7Peer, MessageState
from radiology.errors import Unreachable
from radiology.models import Job, JobState, Order, Patient, Report
from radiology.services import jobs

log = structlog.get_logger(__name__)

KIND = "hl7.send"
# So long one job sends before others have their turn; with what a silent peer takes, well within a job's lease.
TURN_SECONDS = 20.0
EXTENDED_EVERY = 5.0
CHUNK = 100
NEEDED = ("raw", "message_control_id", "message_code", "patients", "due_at", "attempts", "order_ref")
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
FIRST_SILENCE, LONGEST_SILENCE = timedelta(seconds=30), timedelta(minutes=10)
# A message on which a peer falls silent so often, while it answers others, is given up.
MOST_SILENT = 20
SHORTEST_PATIENCE = 0.05
NOTED_EVERY = timedelta(seconds=5)
MOST_ATTEMPTS = 32_000
# Reports of a message's order that nobody may hear of until somebody has looked.
HELD = Report.objects.filter(requested_procedure_ref__order_ref=OuterRef("order_ref"), held_at__isnull=False)


@transaction.atomic(savepoint=False)
def put(
    peer: Hl7Peer, written: Written, *, patient: Patient, also: Sequence[Patient] = (), order: Order | None = None
) -> Hl7Message:
    """Add a message to the peer's queue, in the caller's transaction. `also` are others whom it is about."""
    row = Hl7Message.objects.create(
        site=peer.site,
        peer=peer,
        direction=Direction.OUT,
        raw=written.raw,
        size=len(written.raw),
        content_sha256=hashlib.sha256(written.raw).digest(),
        message_control_id=written.message_control_id,
        sending_application=written.sending_application,
        sending_facility=written.sending_facility,
        message_code=written.message_code,
        trigger_event=written.trigger_event,
        version_id=written.version_id,
        state=MessageState.WAITING,
        patient_ref=patient,
        order_ref=order,
        patients=[patient.pk, *(each.pk for each in also)],
    )
    wake(peer)
    return row


@transaction.atomic(savepoint=False)
def wake(peer: Hl7Peer) -> None:
    """Make sure that a job which has not begun waits for the peer's queue, at the latest when it may be tried.

    The job is held until the transaction ends: nobody begins it before what it is to send can be seen. No bell is
    rung for it: devices wait for some of these transactions, and a broker that is away must not keep them waiting.
    """
    now = timezone.now()
    job = _pending(peer).select_for_update(skip_locked=True).first()
    if job is None:
        _enqueue(peer, now)
    elif job.next_attempt_at > now and not Hl7Peer.objects.filter(pk=peer.pk, next_try_at__gt=now).exists():
        Job.objects.filter(pk=job.pk).update(next_attempt_at=now)


@transaction.atomic(savepoint=False)
def send_again(rows: Sequence[Hl7Message]) -> int:
    """Put messages back that were given up, or let those that wait for another try go now; how many."""
    keys = [each.pk for each in rows]
    again = Hl7Message.objects.filter(
        pk__in=keys, direction=Direction.OUT, state__in=[MessageState.DEAD, MessageState.FAILED]
    )
    peers = list(Hl7Peer.objects.filter(pk__in=again.values("peer")).select_related("site").order_by("pk"))
    count = again.update(state=MessageState.WAITING, attempts=0, due_at=None, processed_at=None)
    for peer in peers:
        wake(peer)
    return count


def give_up(rows: Sequence[Hl7Message], why: str = "") -> int:
    """Take messages out of the queue that were not sent; how many. Without `why` it was a person's wish."""
    queued = Hl7Message.objects.queued().filter(pk__in=[each.pk for each in rows])
    return queued.update(
        state=MessageState.DEAD, processed_at=timezone.now(), error=why or _("Given up by hand."), due_at=None
    )


@transaction.atomic(savepoint=False)
def try_now(peer: Hl7Peer) -> None:
    """Forget that the peer could not be reached: somebody changed where it is, or says that it is back."""
    Hl7Peer.objects.filter(pk=peer.pk).update(
        unreachable_since=None, next_try_at=None, failures=0, destination_error=""
    )
    wake(peer)


@jobs.handles("hl7.wake", daily=True)
def wake_all(job: Job) -> None:
    """Every queue that has something, should its job have been cancelled."""
    for peer in Hl7Peer.objects.receiving().select_related("site").order_by("pk"):
        if Hl7Message.objects.queued().filter(peer=peer).exists():
            wake(peer)


@jobs.handles(KIND)
def send_waiting(job: Job) -> None:
    """Send what waits for one peer, for as long as a turn lasts."""
    peer = Hl7Peer.objects.receiving().select_related("site").filter(pk=job.arguments["peer"]).first()
    if peer is None:
        return
    if peer.next_try_at is not None and peer.next_try_at > timezone.now():
        raise jobs.Postponed(peer.next_try_at, peer.destination_error)
    due_at = _Turn(peer, job).take()
    # Not this job: another one may wait behind it that has something to send now.
    if due_at is not None and not _pending(peer).filter(next_attempt_at__lte=due_at).exists():
        _enqueue(peer, due_at)


def _pending(peer: Hl7Peer) -> QuerySet[Job]:
    """Its jobs that have not begun, or not anew."""
    return Job.objects.filter(ordering_key=_key(peer), state=JobState.PENDING).order_by("pk")


def _enqueue(peer: Hl7Peer, not_before: datetime) -> None:
    arguments = {"peer": peer.pk}
    jobs.enqueue(kind=KIND, arguments=arguments, ordering_key=_key(peer), not_before=not_before, site=peer.site)


def _key(peer: Hl7Peer) -> str:
    return f"hl7:{peer.pk}"


class _Turn:
    """One go at a peer's queue, over one connection."""

    def __init__(self, peer: Hl7Peer, job: Job) -> None:
        self._peer = peer
        self._job = job
        self._begun = self._extended = time.monotonic()
        self._connection: Connection | None = None
        # Patients of messages that could not be sent now, and when the first of those is due.
        self._held: set[int] = set()
        self._due: datetime | None = None
        self._gives_answers = True

    def take(self) -> datetime | None:
        """Send what may go now; when the first of what may not is due. Raises Postponed."""
        try:
            for row in self._sendable():
                self._keep_job()
                self._send(row)
        except Unreachable as error:
            raise jobs.Postponed(self._pause(error), error.message) from error
        finally:
            if self._connection is not None:
                self._connection.close()
        return self._due

    def _keep_job(self) -> None:
        """Let others have their turn; until then, keep the job. Raises Postponed, RadiologyError when it was taken."""
        now = time.monotonic()
        if now - self._begun > TURN_SECONDS:
            raise jobs.Postponed(timezone.now())
        if now - self._extended > EXTENDED_EVERY:
            jobs.extend_lease(job=self._job)
            self._extended = now

    def _sendable(self) -> Iterator[Hl7Message]:
        """Messages that may go, oldest first. Each is as it was at most a turn ago."""
        last = 0
        while True:
            queued = Hl7Message.objects.queued().filter(peer=self._peer, pk__gt=last)
            # Results of orders of which a report is held wake up when it is let go, and hold up nothing else.
            queued = queued.exclude(Exists(HELD), message_code="ORU")
            rows = list(queued.order_by("pk").only(*NEEDED)[:CHUNK])
            for row in rows:
                last = row.pk
                if row.due_at is not None and row.due_at > timezone.now():
                    self._hold(row.patients, row.due_at)
                elif self._held.isdisjoint(row.patients):
                    yield row
                else:
                    self._held.update(row.patients)
            if len(rows) < CHUNK:
                return

    def _hold(self, patients: Sequence[int], due_at: datetime) -> None:
        self._held.update(patients)
        self._due = min(self._due or due_at, due_at)

    def _send(self, row: Hl7Message) -> None:
        try:
            answer, was_received = self._exchange(row)
        except NoAnswer as error:
            self._no_answer(row, error)
            raise
        self._reached()
        if answer.is_accepted:
            self._accepted(row, answer)
            return
        delays = ERROR_DELAYS if answer.may_pass and not was_received else ()
        if row.attempts >= len(delays):
            self._write(row, MessageState.DEAD, answer=answer, error=answer.text)
            return
        due_at = timezone.now() + delays[row.attempts]
        self._write(row, MessageState.FAILED, answer=answer, error=answer.text, due_at=due_at)
        self._hold(row.patients, due_at)

    @transaction.atomic
    def _accepted(self, row: Hl7Message, answer: Answer, *, counts: bool = True) -> None:
        """It is done, and the order has the number that the answer gives it: both or neither."""
        note = take_number(row=row, answer=answer.message, peer=self._peer)
        if answer.is_commit and self._peer.expected_answer == ExpectedAnswer.APPLICATION:
            note = _("It was received; what became of it, the peer has not said.")
        self._write(row, MessageState.PROCESSED, answer=answer, note=note, counts=counts)

    def _exchange(self, row: Hl7Message) -> tuple[Answer, bool]:
        """The answer that counts, and whether the peer had said before that it received the message.

        A connection that had been closed is made anew, once.
        """
        is_fresh = self._connection is None
        if self._connection is not None and self._connection.is_gone():
            self._connection.close()
            is_fresh = True
            self._connection = None
        self._connection = self._connection or Connection(self._peer)
        try:
            self._connection.send(bytes(row.raw))
            return self._answer(self._connection, row)
        except Closed:
            if is_fresh:
                raise
        self._connection.close()
        self._connection = Connection(self._peer)
        self._connection.send(bytes(row.raw))
        return self._answer(self._connection, row)

    def _answer(self, connection: Connection, row: Hl7Message) -> tuple[Answer, bool]:
        """What counts: in enhanced mode the receipt, and then the answer of the application where one is promised.

        What was received is never sent again: the peer keeps it, whatever its application says or when.
        """
        receipt = self._next_answer(connection, row, patience())
        is_promised = self._peer.expected_answer == ExpectedAnswer.APPLICATION
        if not (is_promised and receipt.code == AcknowledgmentCode.COMMIT_ACCEPT):
            return receipt, False
        try:
            return self._next_answer(connection, row, patience() if self._gives_answers else SHORTEST_PATIENCE), True
        except NoAnswer:
            # Who does not keep that promise once is not waited for again in this turn.
            self._gives_answers = False
            return receipt, True

    def _next_answer(self, connection: Connection, row: Hl7Message, seconds: float) -> Answer:
        """The next answer to this message. Answers to earlier ones that come late are written to those."""
        for raw, message in connection.said(seconds=seconds):
            found = read_answer(raw, message)
            if found is None:
                continue
            control_id, answer = found
            if control_id == row.message_control_id:
                return answer
            self._late(control_id, answer)
        raise AssertionError("unreachable")

    def _late(self, control_id: str, answer: Answer) -> None:
        """What became of a message that was received before."""
        earlier = Hl7Message.objects.filter(
            peer=self._peer,
            direction=Direction.OUT,
            message_control_id=control_id,
            acknowledgment_code=AcknowledgmentCode.COMMIT_ACCEPT,
        ).first()
        if earlier is None or answer.is_commit:
            return
        if answer.is_accepted:
            self._accepted(earlier, answer, counts=False)
        else:
            self._write(earlier, MessageState.DEAD, answer=answer, error=answer.text, counts=False)

    def _no_answer(self, row: Hl7Message, error: NoAnswer) -> None:
        """It is tried again later than its peer, so that others can go before; given up when only it gets no answer."""
        now = timezone.now()
        answered_others = self._peer.last_sent_at is not None and (
            row.due_at is None or self._peer.last_sent_at > row.due_at - LONGEST_SILENCE
        )
        if row.attempts >= MOST_SILENT and answered_others:
            self._write(row, MessageState.DEAD, error=error.message)
            return
        due_at = now + min(FIRST_SILENCE * 2 ** min(row.attempts, 10), LONGEST_SILENCE)
        self._write(row, MessageState.FAILED, error=error.message, due_at=due_at)

    def _write(
        self,
        row: Hl7Message,
        state: MessageState,
        *,
        answer: Answer | None = None,
        error: str = "",
        note: str = "",
        due_at: datetime | None = None,
        counts: bool = True,
    ) -> None:
        told = {}
        if answer is not None:
            told = {"acknowledgment_code": answer.code, "acknowledgment": answer.raw}
        Hl7Message.objects.filter(pk=row.pk).update(
            state=state,
            error=error,
            note=note,
            due_at=due_at,
            attempts=min(row.attempts + counts, MOST_ATTEMPTS),
            processed_at=None if state in QUEUED else timezone.now(),
            **told,
        )
        if state in {MessageState.DEAD, MessageState.FAILED}:
            log.warning("hl7_not_sent", message=row.pk, peer=self._peer.pk, state=state)

    def _reached(self) -> None:
        """The peer answers: whatever it says, it is there."""
        now = timezone.now()
        peer = self._peer
        if peer.unreachable_since is None and peer.last_sent_at is not None and now - peer.last_sent_at < NOTED_EVERY:
            return
        peer.last_sent_at, peer.unreachable_since, peer.next_try_at, peer.failures = now, None, None, 0
        peer.destination_error = ""
        names = ["last_sent_at", "unreachable_since", "next_try_at", "failures", "destination_error"]
        peer.save(update_fields=names)

    def _pause(self, error: Unreachable) -> datetime:
        """Leave the peer alone for a while."""
        now = timezone.now()
        peer = self._peer
        peer.next_try_at = now + min(FIRST_PAUSE * 2 ** min(peer.failures, 10), LONGEST_PAUSE)
        peer.destination_error = error.message
        Hl7Peer.objects.filter(pk=peer.pk).update(
            unreachable_since=peer.unreachable_since or now,
            next_try_at=peer.next_try_at,
            failures=min(peer.failures + 1, MOST_ATTEMPTS),
            destination_error=error.message,
        )
        log.warning("hl7_peer_unreachable", peer=peer.pk, until=peer.next_try_at.isoformat())
        return peer.next_try_at

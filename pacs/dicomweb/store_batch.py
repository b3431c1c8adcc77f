"""Objects of one STOW request on their way into the store, some at a time."""

from dataclasses import dataclass, field

import structlog

from pacs.dicomweb.outcome import Failure, StoreReport
from pacs.services.store import Incoming, Received, StoreOutcome, store_instances
from pacs.services.viewer_measurements import saved_by
from radiology.errors import RadiologyError, outcome_of
from radiology.models import User

log = structlog.get_logger(__name__)

BATCH = 64
BATCH_BYTES = 256 * 1024 * 1024
MISMATCH, PROCESSING_FAILURE = 0xA900, 0x0110


@dataclass
class Batch:
    """What was received and waits to be stored together."""

    report: StoreReport
    # Who signed in, where a page of theirs sends.
    author: User | None = None
    received: list[Received] = field(default_factory=list)

    def add(self, received: Received) -> None:
        self.received.append(received)
        if len(self.received) >= BATCH or sum(each.size for each in self.received) >= BATCH_BYTES:
            self.store()

    def store(self) -> None:
        """Make them durable; what becomes of each goes into the report."""
        batch, self.received = self.received, []
        if not batch:
            return
        try:
            outcomes = store_instances(received=batch)
        except RadiologyError as error:
            log.error("batch not stored", instances=len(batch), reason=error.message)
            for each in batch:
                self.report.fail(failure_of(error, each))
            return
        for outcome in outcomes:
            if outcome.outcome is StoreOutcome.REFUSED:
                self.report.fail(
                    Failure(PROCESSING_FAILURE, outcome.reason, outcome.sop_class_uid, outcome.sop_instance_uid)
                )
            else:
                self.report.accept(outcome, held=outcome.outcome is StoreOutcome.HELD)

    def discard(self) -> None:
        for each in self.received:
            each.discard()
        self.received = []


def finish(incoming: Incoming, study: str, batch: Batch) -> Failure | None:
    """Complete one object; None when it joined the batch."""
    with incoming:
        try:
            received = incoming.finish()
            if batch.author is not None:
                maker = incoming.implementation_class_uid
                received = saved_by(who=batch.author, received=received, implementation_class_uid=maker)
        except RadiologyError as error:
            return failure_of(error)
    if study and received.study_instance_uid != study:
        received.discard()
        return Failure(
            MISMATCH, "The object belongs to another study.", received.sop_class_uid, received.sop_instance_uid
        )
    batch.add(received)
    return None


def failure_of(error: RadiologyError, received: Received | None = None) -> Failure:
    """What the sender is told of `error`."""
    log.info("object refused", error=type(error).__name__, reason=error.message)
    sop_class_uid, sop_instance_uid = (
        (received.sop_class_uid, received.sop_instance_uid) if received is not None else ("", "")
    )
    return Failure(outcome_of(error).dimse, error.message, sop_class_uid, sop_instance_uid)

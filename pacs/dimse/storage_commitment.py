"""The Storage Commitment service, Push Model (PS3.4 Annex J), as provider.

A request is answered once its row and job are committed. While the association stands, this looks
between the peer's messages whether the result is there, and tells it over the same association; what
that does not achieve is left to `pacs.dimse.commitment_report`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import close_old_connections
from pydicom import Dataset
from pydicom.sequence import Sequence

from pacs.dimse import data_sets
from pacs.dimse.acceptor import ServedAssociation
from pacs.dimse.association import Context
from pacs.dimse.commitment_report import INSTANCE, STORAGE_COMMITMENT, is_taken, report_of
from pacs.dimse.message import Command, CommandField, Status
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.models import ReportedOver, StorageCommitment
from pacs.services.commitment import (
    ASSOCIATION_TIME,
    ONLY_ASSOCIATION_TIME,
    Reference,
    association_over,
    claim_for_association,
    not_reported,
    reported,
    request_commitment,
)
from radiology.errors import InvalidValue
from radiology.models import AuditAction

REQUEST_STORAGE_COMMITMENT = 1  # PS3.4 J.3.2.1.1
# Of the Action Information: about 130 bytes an object.
LARGEST_REQUEST = 4 * 1024 * 1024
# How long to wait before looking again whether results are there: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


@dataclass
class _Watch:
    """The requests of one association whose results it has not been told."""

    waiting: dict[int, tuple[Context, float]] = field(default_factory=dict)
    pause: float = FIRST_PAUSE
    told: StorageCommitment | None = None
    response: Command | None = None

    @property
    def pks(self) -> set[int]:
        return set(self.waiting) | ({self.told.pk} if self.told else set())


def commit(request: Request) -> Iterator[Answer]:
    """N-ACTION (PS3.4 J.3.2). Success says that the objects will be checked, and the result told."""
    if request.sop_instance_uid != INSTANCE:
        yield Answer(Status.NO_SUCH_SOP_INSTANCE)
        return
    if request.command.get("ActionTypeID") != REQUEST_STORAGE_COMMITMENT:
        yield Answer(Status.NO_SUCH_ACTION_TYPE)
        return
    information = request.data_set(largest=LARGEST_REQUEST)
    association = request.association
    row = request_commitment(
        node=request.node,
        transaction_uid=_text(information, "TransactionUID"),
        references=_references(information),
        called_ae_title=association.called_ae_title,
        address=association.address,
    )
    request.detail |= {"commitment": str(row.public_id), "instances": row.number_of_requested}
    yield Answer(Status.SUCCESS)
    time_left = ASSOCIATION_TIME if row.node_id else ONLY_ASSOCIATION_TIME
    watch: _Watch = association.state.setdefault("commitments", _Watch())
    watch.waiting[row.pk] = (request.context, time.monotonic() + time_left.total_seconds())
    watch.pause = FIRST_PAUSE


def _references(information: Dataset) -> list[Reference]:
    sequence = information.get("ReferencedSOPSequence")
    if not isinstance(sequence, Sequence):
        return []
    return [(_text(item, "ReferencedSOPClassUID"), _text(item, "ReferencedSOPInstanceUID")) for item in sequence]


def _text(data_set: Dataset, keyword: str) -> str:
    try:
        return str(data_set.get(keyword) or "")
    except Exception as error:  # whatever pydicom makes of hostile bytes
        raise InvalidValue(f"{keyword} cannot be read.", field=keyword) from error


def report_when_idle(association: ServedAssociation) -> float | None:
    """Tell the next result that is there, if the one before was answered."""
    watch: _Watch | None = association.state.get("commitments")
    if watch is None or not watch.pks:
        return None
    try:
        _settle(watch)
        now = time.monotonic()
        late = [pk for pk, (_, until) in watch.waiting.items() if until < now]
        for pk in late:
            del watch.waiting[pk]
        if watch.told is None and watch.waiting:
            row = claim_for_association(pks=watch.waiting)
            if row is not None:
                _tell(association, watch, row)
    finally:
        close_old_connections()
    watch.pause = min(watch.pause * 1.5, LONGEST_PAUSE)
    return watch.pause


def _tell(association: ServedAssociation, watch: _Watch, row: StorageCommitment) -> None:
    context, _ = watch.waiting.pop(row.pk)
    watch.told = row

    def answered(response: Command) -> None:
        watch.response = response

    command, information = report_of(row)
    association.begin(context, command, data_sets.encode(information, context.transfer_syntax), answered=answered)


def _settle(watch: _Watch) -> None:
    """Write down how the peer answered a report. One that it refused goes another way once more."""
    if watch.told is None or watch.response is None:
        return
    row, status = watch.told, watch.response["Status"]
    if is_taken(status):
        reported(commitment=row, over=ReportedOver.SAME_ASSOCIATION)
    else:
        not_reported(commitment=row, remark=f"{row.calling_ae_title} answered the report with status {status:04X}.")
        association_over(pks=[row.pk])
    watch.told = watch.response = None
    watch.pause = FIRST_PAUSE


def stop_watching(association: ServedAssociation) -> None:
    """The association is over: what it was not told goes over another one."""
    watch: _Watch | None = association.state.get("commitments")
    if watch is None:
        return
    _settle(watch)
    if watch.pks:
        association_over(pks=watch.pks)


SERVICES = [
    Service(
        sop_classes=frozenset({STORAGE_COMMITMENT}),
        operations={
            CommandField.N_ACTION_RQ: Operation(
                commit, right="may_commit", event="dicom.commitment", action=AuditAction.READ
            )
        },
        when_idle=report_when_idle,
        at_end=stop_watching,
    ),
]

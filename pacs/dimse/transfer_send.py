"""Carries out a transfer that sends: C-STORE of what is not there yet (PS3.4 Annex B)."""

import contextlib
from collections.abc import Iterator

import structlog
from django.db.models import Q
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pacs.dimse.message import Status, is_warning
from pacs.dimse.sending import Sending, Sent
from pacs.dimse.suboperations import Target, groups
from pacs.dimse.transfer_progress import Progress
from pacs.models import Location, Transfer, TransferDirection, TransferOutcome
from pacs.models.storage import LocationQuerySet
from pacs.models.transfer import KINDS
from pacs.services.transfer_runs import Outcome, begin_run, finish, of_job, set_total
from pacs.services.transfers import objects_of
from radiology.errors import NotAllowed
from radiology.models import Job
from radiology.services.jobs import handles

log = structlog.get_logger(__name__)

# An object with which the association ends this often is given up.
BREAKS_OF_OBJECT = 2


@handles(KINDS[TransferDirection.SEND])
def run(job: Job) -> None:
    """Send what has not come across yet. Raises Unreachable when the node cannot be had: tried again later."""
    transfer = of_job(job=job)
    if transfer is None:
        return
    node = transfer.node
    if node is None or not node.is_active or not node.may_receive:
        raise NotAllowed("The node is gone, not active, or may not be sent images any more.")
    done = begin_run(transfer=transfer)
    targets = list(_targets(transfer, done))
    set_total(transfer=transfer, total=len(targets) + len(done))
    log.info("transfer begun", transfer=transfer.pk, node=node.pk, objects=len(targets), done=len(done))
    with Progress(transfer, job) as progress:
        for contexts, group in groups(targets):
            sending = Sending(node, contexts, group, places=_places, attempts=BREAKS_OF_OBJECT, gives_up=True)
            progress.over(sending.transferred)
            with contextlib.closing(sending.results()) as results:
                for sent in results:
                    if sent is not None:
                        progress.add(_outcome(sent))
                    progress.keep()
                    if progress.is_paused:
                        sending.stop()
            progress.stop_if_paused()
    finish(transfer=transfer)
    log.info("transfer done", transfer=transfer.pk, completed=transfer.completed, failed=transfer.failed)


def _targets(transfer: Transfer, done: set[str]) -> Iterator[Target]:
    rows = objects_of(
        site_id=transfer.site_id,
        study_instance_uid=transfer.study_instance_uid,
        series=transfer.series_instance_uids,
        instances=transfer.sop_instance_uids,
    ).values_list(
        "id",
        "instance_ref__sop_instance_uid",
        "instance_ref__sop_class_uid",
        "transfer_syntax_uid",
        "instance_ref__series_ref__study_ref__study_instance_uid",
    )
    seen = set(done)
    for row in rows.iterator(chunk_size=2000):
        if row[1] not in seen:
            seen.add(row[1])
            yield Target(*row)


def _places() -> LocationQuerySet:
    # A rejection note goes out although it is hidden here with what it rejects.
    shown = Q(instance_ref__removed_at=None) | Q(instance_ref__sop_class_uid=KeyObjectSelectionDocumentStorage)
    return Location.objects.filter(shown)


def _outcome(sent: Sent) -> Outcome:
    outcome = TransferOutcome.FAILED
    if sent.status == Status.SUCCESS:
        outcome = TransferOutcome.COMPLETED
    elif sent.status is not None and is_warning(sent.status):
        outcome = TransferOutcome.WARNED
    return Outcome(sent.target.sop_instance_uid, outcome, status=sent.status, error=sent.error, size=sent.size)

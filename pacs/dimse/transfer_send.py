"""Carries out a transfer that sends: C-STORE of what is not there yet (PS3.4 Annex B)."""

from collections.abc import Iterator, Sequence

import structlog
from django.db.models import Q
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pacs.dimse.message import Status, is_warning
from pacs.dimse.requestor import RequestedAssociation, associate
from pacs.dimse.scu import send
from pacs.dimse.suboperations import Target, groups
from pacs.dimse.transfer_progress import Progress
from pacs.models import ApplicationEntity, Location, Transfer, TransferDirection, TransferOutcome
from pacs.models.transfer import KINDS
from pacs.services.transfer_runs import Outcome, begin_run, finish, of_job, set_total
from pacs.services.transfers import objects_of
from radiology.errors import CannotUnderstand, NotAcceptable, NotAllowed, OutOfResources, Unreachable
from radiology.models import Job
from radiology.services.jobs import handles

log = structlog.get_logger(__name__)

CHUNK = 100
# An object with which the association ends this often is given up; so is a node where that happens to so
# many objects in a row.
BREAKS_OF_OBJECT = 2
BROKEN_IN_A_ROW = 5


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
            _Sending(node, contexts, group, progress).work()
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


class _Sending:
    """The objects of one association. An object that breaks it costs an association, and not the others."""

    def __init__(
        self,
        node: ApplicationEntity,
        contexts: Sequence[tuple[str, str]],
        targets: Sequence[Target],
        progress: Progress,
    ) -> None:
        self._node = node
        self._contexts = contexts
        self._left = list(reversed(targets))
        self._progress = progress
        self._locations: dict[int, Location] = {}
        self._breaks = 0
        self._broken_in_a_row = 0

    def work(self) -> None:
        while self._left:
            associated = False
            try:
                with associate(self._node, self._contexts, beat=self._progress.keep) as association:
                    associated = True
                    self._progress.over(association.connection)
                    self._send_over(association)
                self._progress.stop_if_paused()
            except Unreachable as error:
                if not associated:
                    raise
                self._broken(error)

    def _send_over(self, association: RequestedAssociation) -> None:
        """Until nothing is left, or the transfer was paused: what was sent is released in order."""
        while self._left:
            target = self._left[-1]
            outcome = self._send(association, target)
            self._left.pop()
            self._breaks = self._broken_in_a_row = 0
            self._progress.add(outcome)
            self._progress.keep()
            if self._progress.is_paused:
                return

    def _broken(self, error: Unreachable) -> None:
        """The association ended with the object in hand: tried once more, then given up, in the end the node too."""
        self._breaks += 1
        if self._breaks < BREAKS_OF_OBJECT:
            return
        self._broken_in_a_row += 1
        if self._broken_in_a_row >= BROKEN_IN_A_ROW:
            raise error
        target = self._left.pop()
        self._breaks = 0
        self._progress.add(Outcome(target.sop_instance_uid, TransferOutcome.FAILED, error=error.message))

    def _send(self, association: RequestedAssociation, target: Target) -> Outcome:
        location = self._location(target)
        uid = target.sop_instance_uid
        if location is None:
            return Outcome(uid, TransferOutcome.FAILED, error="The object was removed from the archive meanwhile.")
        try:
            status = send(association=association, location=location, contexts=association.contexts.values())
        except (NotAcceptable, OutOfResources, CannotUnderstand) as error:
            return Outcome(uid, TransferOutcome.FAILED, error=error.message)
        outcome = TransferOutcome.FAILED
        if status == Status.SUCCESS:
            outcome = TransferOutcome.COMPLETED
        elif is_warning(status):
            outcome = TransferOutcome.WARNED
        return Outcome(uid, outcome, status=status, size=location.size)

    def _location(self, target: Target) -> Location | None:
        if target.location_id not in self._locations:
            wanted = [each.location_id for each in self._left[-CHUNK:]]
            # A rejection note goes out although it is hidden here with what it rejects.
            shown = Q(instance_ref__removed_at=None) | Q(instance_ref__sop_class_uid=KeyObjectSelectionDocumentStorage)
            found = Location.objects.filter(shown, pk__in=wanted).select_related(
                "instance_ref__series_ref__study_ref", "volume"
            )
            self._locations = {location.pk: location for location in found}
        return self._locations.get(target.location_id)

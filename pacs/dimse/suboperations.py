"""The C-STORE sub-operations of a C-MOVE or C-GET: what is to be sent, and how far it is (PS3.4 C.4.2.3)."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from django.db import close_old_connections
from pydicom import Dataset

from pacs.dimse.message import Status, is_warning
from pacs.dimse.requestor import MOST_CONTEXTS
from pacs.dimse.scu import contexts_for
from pacs.dimse.services import Answer
from pacs.models import Location
from pacs.services.retrieve import instances_of
from radiology.errors import OutOfResources

# The counts of sub-operations are unsigned 16 bit numbers.
MOST_TARGETS = 0xFFFF
CHUNK = 200


class Target(NamedTuple):
    """One object to send: enough to negotiate for it, and to find it again."""

    location_id: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str


def targets_of(**selection: Any) -> list[Target]:
    """What `instances_of` finds, one place for each instance. Raises OutOfResources for more than can be counted."""
    rows = instances_of(**selection).values_list(
        "id",
        "instance_ref__sop_instance_uid",
        "instance_ref__sop_class_uid",
        "transfer_syntax_uid",
        "instance_ref__series_ref__study_ref__study_instance_uid",
        "instance_ref_id",
    )
    targets: dict[int, Target] = {}
    for row in rows.iterator(chunk_size=2000):
        targets.setdefault(row[5], Target(*row[:5]))
        if len(targets) > MOST_TARGETS:
            raise OutOfResources("More than 65535 objects: ask for fewer at once.")
    return list(targets.values())


def groups(targets: Sequence[Target]) -> Iterator[tuple[list[tuple[str, str]], list[Target]]]:
    """The targets by associations: contexts to propose, 128 at most, and what goes over them."""
    contexts: list[tuple[str, str]] = []
    classes: set[str] = set()
    for sop_class, wanted in contexts_for((target.sop_class_uid, target.transfer_syntax_uid) for target in targets):
        if len(contexts) + len(wanted) > MOST_CONTEXTS:
            yield contexts, [target for target in targets if target.sop_class_uid in classes]
            contexts, classes = [], set()
        contexts = contexts + wanted[:MOST_CONTEXTS]
        classes.add(sop_class)
    if contexts:
        yield contexts, [target for target in targets if target.sop_class_uid in classes]


class Suboperations:
    """Counts of one request. `comment` says why the last failure failed."""

    def __init__(self, targets: list[Target]) -> None:
        self.targets = targets
        self.counts = {"remaining": len(targets), "completed": 0, "failed": 0, "warning": 0}
        self.is_cancelled = False
        self.comment = ""
        self._failed: dict[str, None] = {}

    @property
    def study_instance_uids(self) -> list[str]:
        return list(dict.fromkeys(target.study_instance_uid for target in self.targets))

    def locations(self, targets: Sequence[Target]) -> Iterator[tuple[Target, Location | None]]:
        """Each target and where it is by now; None for one that is gone. No database connection is held between."""
        waiting = iter(targets)
        while chunk := list(islice(waiting, CHUNK)):
            found = Location.objects.filter(pk__in=[each.location_id for each in chunk]).with_shared_parents().in_bulk()
            close_old_connections()
            for target in chunk:
                yield target, found.get(target.location_id)

    def cancel(self, is_cancelled: bool) -> bool:
        """Note whether the peer has cancelled, and say so."""
        self.is_cancelled = self.is_cancelled or is_cancelled
        return self.is_cancelled

    def count(self, target: Target, status: int | None) -> None:
        """One more sub-operation is over, with the status of its response; None: it could not be sent."""
        self.counts["remaining"] -= 1
        if status == Status.SUCCESS:
            self.counts["completed"] += 1
        elif status is not None and is_warning(status):
            self.counts["warning"] += 1
        else:
            self.counts["failed"] += 1
            self._failed[target.sop_instance_uid] = None

    def pending(self, *, may_wait: bool = False) -> Answer:
        return Answer(Status.PENDING, fields=self._fields(with_remaining=True), may_wait=may_wait)

    def final(self) -> Answer:
        """The last response: its status (PS3.4 Table C.4-2), counts, and the list of what failed."""
        if self.is_cancelled:
            status = Status.CANCEL
        elif not self.counts["failed"] and not self.counts["warning"]:
            return Answer(Status.SUCCESS, fields=self._fields(with_remaining=False))
        elif not self.counts["completed"] and not self.counts["warning"]:
            status = Status.UNABLE_TO_PERFORM_SUBOPERATIONS
        else:
            status = Status.SUBOPERATIONS_WITH_FAILURES
        data_set = Dataset()
        data_set.FailedSOPInstanceUIDList = list(self._failed)
        fields = self._fields(with_remaining=self.is_cancelled)
        if self.comment:
            fields["ErrorComment"] = self.comment
        return Answer(status, data_set, fields)

    def _fields(self, *, with_remaining: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "NumberOfCompletedSuboperations": self.counts["completed"],
            "NumberOfFailedSuboperations": self.counts["failed"],
            "NumberOfWarningSuboperations": self.counts["warning"],
        }
        if with_remaining:
            fields["NumberOfRemainingSuboperations"] = self.counts["remaining"]
        return fields

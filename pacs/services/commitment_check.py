"""The check behind a storage commitment: each object is there, is shown, and its bytes on disk are what came.

Why an object is not committed is said in Failure Reasons (PS3.3 C.14.1.1), numbers of PS3.7 Annex C.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import structlog
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pacs.models import CommitmentState, HeldObject, HeldReason, HeldState, Location, Removal, StorageCommitment, Volume
from pacs.services.commitment import CHECK, Reference, checked
from pacs.services.filing import wait_until_filed
from pacs.services.storage_classes import is_storage
from pacs.services.verification_checks import Pace, Problem, is_unavailable, problem_of_file
from pacs.storage.priority import low_priority
from radiology.errors import OutOfResources
from radiology.models import Job
from radiology.services.jobs import extend_lease, handles

log = structlog.get_logger(__name__)

CHUNK = 200
SIGN_OF_LIFE_EVERY = 5.0
# What was acknowledged a moment ago.
FILED_SECONDS = 5.0
# A volume that does not answer is waited for, an hour and a half in all; then the requester is told so.
ATTEMPTS_OF_VOLUME = 10


class FailureReason(IntEnum):
    """PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True)
class Failure:
    """Why one object is not committed."""

    reason: FailureReason
    detail: str


@handles(CHECK)
def run(job: Job) -> None:
    """Check what one request names. Safe to run twice: results are written once, together, with the report's job.

    Raises OutOfResources while a volume does not answer: tried again, until that is the result.
    """
    row = StorageCommitment.objects.select_related("site").filter(pk=job.arguments["commitment"]).first()
    if row is None or row.state != CommitmentState.REQUESTED or row.job_id != job.pk:
        return
    references = [(sop_class, sop_instance) for sop_class, sop_instance in row.requested]
    check = _Check(row, job, waits=job.attempts < ATTEMPTS_OF_VOLUME)
    with low_priority():
        failures = [
            (*reference, int(failure.reason), failure.detail)
            for reference, failure in check.failures(references)
            if failure is not None
        ]
    checked(commitment=row, failures=failures)
    log.info("storage commitment checked", commitment=row.pk, objects=len(references), failed=len(failures))


class _Check:
    def __init__(self, row: StorageCommitment, job: Job, *, waits: bool) -> None:
        self._row = row
        self._job = job
        self._waits = waits
        self._done = 0
        self._total = 0
        self._said = time.monotonic()
        self._pace = Pace(tick=self._alive)
        self._unavailable: dict[int, str] = {}

    def failures(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Failure | None]]:
        """Each object, and why it is not committed, if it is not."""
        self._total = len(references)
        wait_until_filed(seconds=FILED_SECONDS)
        earlier = StorageCommitment.objects.filter(
            site=self._row.site_id,
            transaction_uid=self._row.transaction_uid,
            calling_ae_title=self._row.calling_ae_title,
            pk__lt=self._row.pk,
        )
        if earlier.exists():
            taken = Failure(
                FailureReason.DUPLICATE_TRANSACTION_UID, "The Transaction UID was used for other objects before."
            )
            yield from ((reference, taken) for reference in references)
            return
        for start in range(0, len(references), CHUNK):
            yield from self._of_chunk(references[start : start + CHUNK])

    def _of_chunk(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Failure | None]]:
        uids = [sop_instance for _, sop_instance in references]
        found = Location.objects.current().filter(
            instance_ref__site=self._row.site_id, instance_ref__sop_instance_uid__in=uids
        )
        locations = {
            location.instance_ref.sop_instance_uid: location
            for location in found.select_related("volume", "instance_ref__series_ref__study_ref")
        }
        refused = self._put_aside(uids)
        notes = set(
            Removal.objects.filter(site=self._row.site_id, note_sop_instance_uid__in=uids).values_list(
                "note_sop_instance_uid", flat=True
            )
        )
        for reference in references:
            location = locations.get(reference[1])
            yield reference, self._failure(reference, location, refused, reference[1] in notes)
            self._done += 1
            self._alive()

    def _put_aside(self, uids: Sequence[str]) -> dict[str, str]:
        """What this requester sent under these UIDs and is kept aside, or was rejected, and why: by UID.

        Of an object whose header alone was changed, the first one stands for both: its pixels are safe.
        """
        held = HeldObject.objects.filter(
            site=self._row.site_id, sop_instance_uid__in=uids, source_ae_title=self._row.calling_ae_title
        ).exclude(state=HeldState.ACCEPTED)
        return {
            uid: reason
            for uid, reason in held.values_list("sop_instance_uid", "reason").order_by("pk")
            if reason != HeldReason.OTHER_HEADER
        }

    def _failure(
        self, reference: Reference, location: Location | None, put_aside: dict[str, str], is_note: bool
    ) -> Failure | None:
        sop_class_uid, sop_instance_uid = reference
        if sop_instance_uid in put_aside:
            why = HeldReason(put_aside[sop_instance_uid]).label
            return Failure(FailureReason.PROCESSING_FAILURE, f"It was not filed: {why}.")
        if location is None:
            if not is_storage(sop_class_uid):
                return Failure(FailureReason.SOP_CLASS_NOT_SUPPORTED, "Objects of this SOP class are not stored here.")
            return Failure(FailureReason.NO_SUCH_OBJECT, "There is no such object here.")
        instance = location.instance_ref
        hidden = instance.removed_at is not None or instance.series_ref.study_ref.deleted_at is not None
        # A rejection note is hidden with what it rejects, and kept all the same.
        if hidden and not (is_note and instance.sop_class_uid == KeyObjectSelectionDocumentStorage):
            return Failure(FailureReason.NO_SUCH_OBJECT, "It was deleted or rejected here.")
        if instance.sop_class_uid != sop_class_uid:
            return Failure(FailureReason.CLASS_INSTANCE_CONFLICT, f"Its SOP class is {instance.sop_class_uid}.")
        return self._of_bytes(location)

    def _of_bytes(self, location: Location) -> Failure | None:
        try:
            if why := self._why_unavailable(location.volume):
                raise OutOfResources(why)
            problem = self._problem(location)
        except OutOfResources as error:
            if self._waits:
                raise
            return Failure(FailureReason.RESOURCE_LIMITATION, error.message)
        if problem is None:
            return None
        log.error(
            "object is damaged", sop_instance_uid=location.instance_ref.sop_instance_uid, location=location.pk,
            problem=problem.kind,
        )  # fmt: skip
        return Failure(FailureReason.PROCESSING_FAILURE, problem.detail)

    def _problem(self, location: Location) -> Problem | None:
        """What is wrong with the file, wherever it lies by now: it may have been moved since its row was read."""
        problem = problem_of_file(location, pace=self._pace)
        if problem is None:
            return None
        now = Location.objects.current().select_related("volume").filter(instance_ref=location.instance_ref_id).first()
        if now is None or (now.volume_id, now.path) == (location.volume_id, location.path):
            return problem
        return problem_of_file(now, pace=self._pace)

    def _why_unavailable(self, volume: Volume) -> str:
        if volume.pk not in self._unavailable:
            self._unavailable[volume.pk] = is_unavailable(volume)
        return self._unavailable[volume.pk]

    def _alive(self) -> None:
        if time.monotonic() - self._said >= SIGN_OF_LIFE_EVERY:
            self._said = time.monotonic()
            extend_lease(job=self._job, progress=self._done, total=self._total)

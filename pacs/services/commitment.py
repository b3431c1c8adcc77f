"""Storage commitment (PS3.4 Annex J): what is asked for, what is told, and by which way.

A request is a row and a job in one transaction, and is answered after that. The job checks
(pacs.services.commitment_check) and leaves the report to a second one. While the association of the
request stands, the report goes over that; afterwards over one of ours, tried again until it arrives.
Whoever reports claims the row first, so that a result is not told twice at once. It is told again
when it is asked for again.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import ApplicationEntity, CommitmentState, ReportedOver, StorageCommitment
from pacs.signals import commitment_checked
from radiology.dicom import is_uid
from radiology.errors import Conflict, InvalidValue, NotAllowed, TooLarge, Unreachable
from radiology.models import AuditAction, Job, JobState
from radiology.services import audit
from radiology.services.jobs import enqueue

NO_NODE = "The requester is no registered node, and ended its association before it could be told."
CHECK, REPORT = "pacs.check_commitment", "pacs.report_commitment"
# What one transaction may comprise.
MOST_OBJECTS = 20_000
# How long the association of a request is waited for with the report; one that cannot be had anew, longer.
ASSOCIATION_TIME = timedelta(seconds=60)
ONLY_ASSOCIATION_TIME = timedelta(seconds=600)
# Whoever claimed a report has told it by then, or has failed.
CLAIM_TIME = timedelta(seconds=90)
# Back-off reaches an hour: a requester that is down over a long weekend is still told.
ATTEMPTS = 100

UNFINISHED = (JobState.PENDING, JobState.RUNNING)

Reference = tuple[str, str]


@transaction.atomic
def request_commitment(
    *,
    node: ApplicationEntity,
    transaction_uid: str,
    references: Sequence[Reference],
    called_ae_title: str = "",
    address: str | None = None,
) -> StorageCommitment:
    """Take a request for objects, pairs of SOP class and instance UID, and see to its check.

    The same one again is checked and reported again, whether the first report came through or not. Raises
    InvalidValue, TooLarge.
    """
    _validate(transaction_uid, references)
    wanted = list(dict.fromkeys(references))
    now = timezone.now()
    digest = hashlib.sha256("\n".join(f"{one} {other}" for one, other in sorted(wanted)).encode()).digest()
    row, made = StorageCommitment.objects.select_for_update(of=("self",)).get_or_create(
        site=node.site,
        transaction_uid=transaction_uid,
        calling_ae_title=node.title,
        requested_sha256=digest,
        defaults={"requested": wanted, "number_of_requested": len(wanted)},
    )
    row.node = node if node.pk is not None else None
    row.called_ae_title = called_ae_title[:16]
    row.address = address
    row.association_until = now + (ONLY_ASSOCIATION_TIME if row.node is None else ASSOCIATION_TIME)
    if not made and _is_under_way(row):
        row.save(update_fields=["node", "called_ae_title", "address", "association_until"])
        return row
    row.state = CommitmentState.REQUESTED
    row.reporting_until = row.reported_at = None
    row.reported_over = row.remark = ""
    row.job = enqueue(kind=CHECK, arguments={"commitment": row.pk}, site=node.site)
    row.save()
    return row


def _validate(transaction_uid: str, references: Sequence[Reference]) -> None:
    if not is_uid(transaction_uid):
        raise InvalidValue("The Transaction UID (0008,1195) is missing or no UID.", field="TransactionUID")
    if not references:
        raise InvalidValue("The Referenced SOP Sequence (0008,1199) is empty.", field="ReferencedSOPSequence")
    if len(references) > MOST_OBJECTS:
        raise TooLarge(f"More than {MOST_OBJECTS} objects: ask for fewer at once.")
    for sop_class_uid, sop_instance_uid in references:
        if not is_uid(sop_class_uid):
            raise InvalidValue("A Referenced SOP Class UID is no UID.", field="ReferencedSOPClassUID")
        if not is_uid(sop_instance_uid):
            raise InvalidValue("A Referenced SOP Instance UID is no UID.", field="ReferencedSOPInstanceUID")


def _is_under_way(row: StorageCommitment) -> bool:
    """Whether its check, or the first report of it, is still to come."""
    return row.state == CommitmentState.REQUESTED and row.job is not None and row.job.state in UNFINISHED


@transaction.atomic
def checked(*, commitment: StorageCommitment, failures: Sequence[Sequence[Any]]) -> None:
    """Write what a check found, see to the report, and send `commitment_checked`."""
    row = StorageCommitment.objects.select_for_update().get(pk=commitment.pk)
    now = timezone.now()
    row.failures = [list(each) for each in failures]
    row.number_of_failed = len(failures)
    row.checked_at = now
    row.state = CommitmentState.CHECKED
    row.job = _enqueue_report(row, not_before=row.association_until)
    row.save(update_fields=["failures", "number_of_failed", "checked_at", "state", "job"])
    audit.record(
        event="commitment.checked",
        action=AuditAction.READ,
        who=row.node or row.calling_ae_title,
        address=row.address,
        site_id=row.site_id,
        succeeded=not failures,
        detail={
            "commitment": str(row.public_id),
            "instances": {"requested": row.number_of_requested, "failed": row.number_of_failed},
        },
    )
    commitment_checked.send(sender=StorageCommitment, commitment=row)


def _enqueue_report(row: StorageCommitment, *, not_before: datetime | None) -> Job:
    """Reports to one node go one after the other: one that is down is asked once at a time."""
    return enqueue(
        kind=REPORT,
        arguments={"commitment": row.pk},
        ordering_key=f"commitment:{row.node_id}" if row.node_id else "",
        not_before=not_before if not_before and not_before > timezone.now() else None,
        max_attempts=ATTEMPTS,
        site=row.site,
    )


# Telling


def claim_for_association(*, pks: Collection[int]) -> StorageCommitment | None:
    """One of these whose results may be told over the association that asked; claimed."""
    with transaction.atomic():
        row = StorageCommitment.objects.claimable().select_for_update(skip_locked=True).filter(pk__in=pks).first()
        return row and _claimed(row)


def claim_for_job(*, pk: int) -> StorageCommitment | None:
    """The one that a job is to report, claimed; None when there is nothing to tell (any more).

    Raises Unreachable while it is being told over its own association. That the requester is no
    registered node is written down: there is nobody to call.
    """
    with transaction.atomic():
        row = StorageCommitment.objects.select_for_update().filter(pk=pk, state=CommitmentState.CHECKED).first()
        if row is None:
            return None
        if row.reporting_until is not None and row.reporting_until > timezone.now():
            raise Unreachable(f"{row.calling_ae_title} is being told over its own association.")
        node = row.node or _registered_since(row)
        if node is not None:
            row.node = node
            row.save(update_fields=["node"])
            return _claimed(row)
        row.state = CommitmentState.UNREPORTED
        row.remark = NO_NODE
        row.save(update_fields=["state", "remark"])
        return None


def _registered_since(row: StorageCommitment) -> ApplicationEntity | None:
    found = list(ApplicationEntity.objects.active().filter(title=row.calling_ae_title, site=row.site_id)[:2])
    return found[0] if len(found) == 1 else None


def _claimed(row: StorageCommitment) -> StorageCommitment:
    row.reporting_until = timezone.now() + CLAIM_TIME
    row.save(update_fields=["reporting_until"])
    return row


def reported(*, commitment: StorageCommitment, over: ReportedOver, remark: str = "") -> None:
    """The requester has the report."""
    StorageCommitment.objects.filter(pk=commitment.pk, state=CommitmentState.CHECKED).update(
        state=CommitmentState.REPORTED,
        reported_at=timezone.now(),
        reported_over=over,
        reporting_until=None,
        remark=remark[:200],
    )


def not_reported(*, commitment: StorageCommitment, remark: str) -> None:
    """The report did not come through this time."""
    StorageCommitment.objects.filter(pk=commitment.pk, state=CommitmentState.CHECKED).update(
        reporting_until=None, remark=remark[:200]
    )


@transaction.atomic
def association_over(*, pks: Collection[int]) -> None:
    """The association that asked is over: what it was not told goes another way, and now."""
    rows = StorageCommitment.objects.filter(pk__in=pks).exclude(state=CommitmentState.REPORTED)
    rows.update(association_until=None, reporting_until=None)
    # One that was tried already keeps its back-off; a check is due anyway.
    due = Job.objects.filter(pk__in=rows.values("job"), kind=REPORT, state=JobState.PENDING, attempts=0)
    due.update(next_attempt_at=timezone.now())


@transaction.atomic
def report_again(*, who: Any, commitment: StorageCommitment, address: str | None = None) -> None:
    """Tell the requester (again), by a person's wish. Raises NotAllowed, Conflict while that is under way."""
    if not who.may("commitments.report") or not (who.sees_every_site or who.site_id == commitment.site_id):
        raise NotAllowed(_("You may not do this."))
    row = StorageCommitment.objects.select_for_update(of=("self",)).select_related("job", "site").get(pk=commitment.pk)
    if row.state == CommitmentState.REQUESTED or (row.job is not None and row.job.state in UNFINISHED):
        raise Conflict(_("It is under way: the job of this storage commitment has not ended."))
    row.state = CommitmentState.CHECKED
    row.association_until = row.reporting_until = None
    row.job = _enqueue_report(row, not_before=None)
    row.save(update_fields=["state", "association_until", "reporting_until", "job"])
    audit.record(
        event="commitment.reported-again",
        action=AuditAction.EXECUTE,
        who=who,
        address=address,
        site_id=row.site_id,
        detail={"commitment": str(row.public_id)},
    )

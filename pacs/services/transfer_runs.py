"""A transfer as it is carried out: each object's outcome is a row, written in batches, so that whoever goes on
after a crash knows what came across. Who speaks DICOM is none of this module's affair.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from pacs.models import (
    HeldObject,
    Location,
    Study,
    Transfer,
    TransferMethod,
    TransferOutcome,
    TransferResult,
)
from pacs.services.transfers import record
from radiology.dicom import clean
from radiology.models import Job

CHUNK = 2000


@dataclass(frozen=True)
class Outcome:
    """What became of one object."""

    sop_instance_uid: str
    outcome: TransferOutcome
    status: int | None = None
    error: str = ""
    size: int = 0


def of_job(*, job: Job) -> Transfer | None:
    """The transfer that this job carries out; None when another job took its place."""
    found = Transfer.objects.filter(job=job).select_related("node__site", "site")
    return found.first()


def begin_run(*, transfer: Transfer) -> set[str]:
    """Take up, or go on with, a transfer: the instances that came across already."""
    now = timezone.now()
    with transaction.atomic():
        # Objects that failed are tried again, and counted anew.
        transfer.results.filter(outcome=TransferOutcome.FAILED).delete()
        _recount(transfer)
        Transfer.objects.filter(pk=transfer.pk, started_at=None).update(started_at=now)
        Transfer.objects.filter(pk=transfer.pk).update(updated_at=now, rate=0, pace=0)
    return set(transfer.results.values_list("sop_instance_uid", flat=True).iterator(CHUNK))


def note_results(
    *, transfer: Transfer, outcomes: Collection[Outcome], rate: float | None = None, pace: float | None = None
) -> None:
    """Write what became of objects, and the counts, in one transaction. The same object again replaces its row."""
    values: dict[str, Any] = {"updated_at": timezone.now()}
    if rate is not None:
        values["rate"] = round(rate)
    if pace is not None:
        values["pace"] = pace
    rows = {
        each.sop_instance_uid: TransferResult(
            transfer=transfer,
            sop_instance_uid=each.sop_instance_uid,
            outcome=each.outcome,
            status=each.status,
            error=clean(each.error)[:300],
            size=each.size,
        )
        for each in outcomes
    }
    with transaction.atomic():
        known = dict(
            transfer.results.filter(sop_instance_uid__in=list(rows)).values_list("sop_instance_uid", "outcome")
        )
        TransferResult.objects.bulk_create(
            rows.values(),
            update_conflicts=True,
            unique_fields=["transfer", "sop_instance_uid"],
            update_fields=["outcome", "status", "error", "size", "at"],
        )
        if known:
            _recount(transfer)
        elif rows:
            _count(transfer, rows.values())
        Transfer.objects.filter(pk=transfer.pk).update(**values)


def _count(transfer: Transfer, rows: Collection[TransferResult]) -> None:
    tally = {outcome: sum(row.outcome == outcome for row in rows) for outcome in TransferOutcome}
    transfer.completed += tally[TransferOutcome.COMPLETED]
    transfer.warned += tally[TransferOutcome.WARNED]
    transfer.failed += tally[TransferOutcome.FAILED]
    transfer.size += sum(row.size for row in rows if row.outcome != TransferOutcome.FAILED)
    transfer.save(update_fields=["completed", "warned", "failed", "size"])


def _recount(transfer: Transfer) -> None:
    found = transfer.results.aggregate(
        completed=Count("id", filter=Q(outcome=TransferOutcome.COMPLETED)),
        warned=Count("id", filter=Q(outcome=TransferOutcome.WARNED)),
        failed=Count("id", filter=Q(outcome=TransferOutcome.FAILED)),
        size=Sum("size", filter=~Q(outcome=TransferOutcome.FAILED)),
    )
    for name, value in found.items():
        setattr(transfer, name, value or 0)
    transfer.save(update_fields=list(found))


def set_total(*, transfer: Transfer, total: int) -> None:
    """How many objects it comprises, once that is known."""
    transfer.total = total
    Transfer.objects.filter(pk=transfer.pk).update(total=total, updated_at=timezone.now())


def set_method(*, transfer: Transfer, method: TransferMethod) -> None:
    """Which service of the node is used, once that is known."""
    transfer.method = method
    Transfer.objects.filter(pk=transfer.pk).update(method=method, updated_at=timezone.now())


def finish(*, transfer: Transfer) -> None:
    """All that could come across has: the study is named where it was unknown before, and the end audited."""
    now = timezone.now()
    study = Study.objects.filter(site_id=transfer.site_id, study_instance_uid=transfer.study_instance_uid).first()
    values: dict[str, Any] = {"finished_at": now, "updated_at": now, "rate": 0, "pace": 0}
    if study is not None and transfer.study_ref_id is None:
        values |= {"study_ref": study, "patient_ref_id": study.patient_ref_id}
        transfer.patient_ref_id = study.patient_ref_id
    if not transfer.description and study is not None:
        values["description"] = study.study_description
    Transfer.objects.filter(pk=transfer.pk).update(**values)
    record(transfer, "finished", who=transfer.agent)


def here(*, site_id: int, sop_instance_uids: Collection[str]) -> dict[str, int]:
    """Which of these instances the site's archive holds, shown or hidden, with their bytes."""
    found: dict[str, int] = {}
    for chunk in _chunks(list(sop_instance_uids)):
        found.update(_sizes(site_id).filter(instance_ref__sop_instance_uid__in=chunk))
    return found


def here_of_study(
    *, site_id: int, study_instance_uid: str, series: Collection[str] = (), instances: Collection[str] = ()
) -> dict[str, int]:
    """The instances of a study, or of a selection of it, that the site's archive holds, with their bytes."""
    found = _sizes(site_id).filter(instance_ref__series_ref__study_ref__study_instance_uid=study_instance_uid)
    if series:
        found = found.filter(instance_ref__series_ref__series_instance_uid__in=series)
    if instances:
        found = found.filter(instance_ref__sop_instance_uid__in=instances)
    return dict(found)


def _sizes(site_id: int) -> QuerySet[Location, tuple[str, int]]:
    return Location.objects.filter(instance_ref__site_id=site_id).values_list("instance_ref__sop_instance_uid", "size")


def held(*, site_id: int, sop_instance_uids: Collection[str]) -> set[str]:
    """Which of these instances came and were put aside, because they contradict what is there."""
    found: set[str] = set()
    for chunk in _chunks(list(sop_instance_uids)):
        found.update(
            HeldObject.objects.filter(site_id=site_id, sop_instance_uid__in=chunk).values_list(
                "sop_instance_uid", flat=True
            )
        )
    return found


def _chunks(uids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(uids), CHUNK):
        yield uids[start : start + CHUNK]

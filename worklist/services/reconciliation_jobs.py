"""When studies are matched with orders: a job per study, whenever either side changes."""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pacs.models import RequestAttributes, Study
from radiology.models import Job, JobState, Order, Patient, RequestedProcedure
from radiology.services.jobs import enqueue, enqueue_all, handles
from worklist.models import CaseState, ReconciliationCase
from worklist.services.reconciliation import reconcile_study
from worklist.services.reconciliation_decisions import withdraw_wrong_entry

KIND = "worklist.reconcile"
KIND_OF_ORDER = "worklist.reconcile_order"
KIND_OF_PATIENTS = "worklist.reconcile_patients"
# A first image may say less than those behind it: what was not linked at once is looked at again.
SECOND_LOOK = timedelta(minutes=2)
# Of studies without an order, so many of a patient or accession number are looked at when an order comes.
MOST_STUDIES = 50
# So many of the latest examinations of a patient may be candidates.
MOST_PROCEDURES = 200
# Older studies do not wait for an order any more.
RECENT = timedelta(days=30)


def look_at(studies: Iterable[int], *, again: bool = False) -> None:
    """Match these studies soon, in the caller's transaction; one that waits for its turn already waits once."""
    wanted = dict.fromkeys(studies)
    keys = {pk: f"reconcile:{pk}" for pk in wanted}
    waiting = Job.objects.filter(kind=KIND, ordering_key__in=keys.values(), state=JobState.PENDING)
    known = set(waiting.filter(next_attempt_at__lte=timezone.now()).values_list("ordering_key", flat=True))
    for pk, key in keys.items():
        if key not in known:
            enqueue(kind=KIND, arguments={"study": pk}, ordering_key=key)


def look_at_new(studies: Iterable[int]) -> None:
    """Match studies that are new: nothing waits for them yet, so nobody asks."""
    enqueue_all(Job(kind=KIND, arguments={"study": pk}, ordering_key=f"reconcile:{pk}") for pk in studies)


@handles(KIND)
def run(job: Job) -> None:
    """Match one study; what is not linked then, once more when its other images are there."""
    pk = job.arguments["study"]
    withdraw_wrong_entry(study=pk)
    case = reconcile_study(study=pk)
    first = not job.arguments.get("again")
    if first and (case is None or case.state == CaseState.OPEN) and _is_recent(pk):
        enqueue(
            kind=KIND,
            arguments={"study": pk, "again": True},
            idempotency_key=f"reconcile-again:{pk}",
            not_before=timezone.now() + SECOND_LOOK,
        )


def _is_recent(study: int) -> bool:
    """Whether more may come for a study: it is not one of those that an import brings from years ago."""
    recent = Q(study_datetime=None) | Q(study_datetime__gte=timezone.now() - RECENT)
    return Study.objects.filter(recent, pk=study, deleted_at=None).exists()


def look_at_order(order: Order) -> None:
    """Match soon what an order that came or changed may be for; one row, in the caller's transaction."""
    enqueue(kind=KIND_OF_ORDER, arguments={"order": order.pk}, ordering_key=f"reconcile-order:{order.pk}")


@handles(KIND_OF_ORDER)
def run_order(job: Job) -> None:
    """Find the studies, and leave a job for each."""
    order = Order.objects.filter(pk=job.arguments["order"]).first()
    if order is not None:
        with transaction.atomic():
            _look_at_studies_of(order)


def _look_at_studies_of(order: Order) -> None:
    """Match anew what an order that came or changed may be for: by number, UID or patient, and cases that name it."""
    unlinked = Study.objects.filter(site=order.site_id, requested_procedure_ref=None, deleted_at=None)
    number = order.accession_number
    by_number = Q(accession_number=number) if number else Q(pk__in=[])
    uids = RequestedProcedure.objects.filter(order_ref=order).values_list("study_instance_uid", flat=True)
    found = set(unlinked.filter(by_number).order_by("-pk").values_list("pk", flat=True)[:MOST_STUDIES])
    found |= set(unlinked.filter(study_instance_uid__in=list(uids)).values_list("pk", flat=True)[:MOST_STUDIES])
    recent = unlinked.filter(patient_ref=order.patient_ref_id, created_at__gte=timezone.now() - RECENT)
    found |= set(recent.order_by("-pk").values_list("pk", flat=True)[:MOST_STUDIES])
    if number:
        asked = RequestAttributes.objects.filter(accession_number=number, series_ref__study_ref__in=unlinked)
        found |= set(asked.order_by("-pk").values_list("series_ref__study_ref", flat=True)[:MOST_STUDIES])
    keys = list(order.requested_procedures.values_list("pk", flat=True))
    cases = ReconciliationCase.objects.filter(site=order.site_id, state=CaseState.OPEN).order_by("-pk")
    for key in keys:
        among = cases.filter(candidates__contains=[{"procedure": key}])
        found |= set(among.values_list("study_ref", flat=True)[:MOST_STUDIES])
    look_at(sorted(found))


def look_at_patients(*patients: Patient) -> None:
    """Match soon what waits for orders of patients who were merged, or are two again; in the caller's transaction."""
    enqueue(kind=KIND_OF_PATIENTS, arguments={"patients": [each.pk for each in patients]})


@handles(KIND_OF_PATIENTS)
def run_patients(job: Job) -> None:
    """Find the studies that are theirs or may be for their orders, and leave a job for each."""
    keys = job.arguments["patients"]
    with transaction.atomic():
        recent = Study.objects.filter(
            patient_ref__in=keys,
            requested_procedure_ref=None,
            deleted_at=None,
            created_at__gte=timezone.now() - RECENT,
        )
        found = set(recent.order_by("-pk").values_list("pk", flat=True)[:MOST_STUDIES])
        cases = ReconciliationCase.objects.filter(state=CaseState.OPEN)
        found |= set(cases.filter(study_ref__patient_ref__in=keys).values_list("study_ref", flat=True)[:MOST_STUDIES])
        procedures = RequestedProcedure.objects.filter(order_ref__patient_ref__in=keys).order_by("-pk")
        wanted = [{"procedure": pk} for pk in procedures.values_list("pk", flat=True)[:MOST_PROCEDURES]]
        among = Q(*[Q(candidates__contains=[each]) for each in wanted], _connector=Q.OR) if wanted else Q(pk__in=[])
        found |= set(cases.filter(among).order_by("-pk").values_list("study_ref", flat=True)[:MOST_STUDIES])
        look_at(sorted(found))

"""What stands on the reading list follows from orders, images and reports: worked out anew whenever one changes.

Everybody who changes one of these calls `refresh_readings` in the same transaction. Two who change different ones at
the same time do not see each other's: so each looks once more when both may be committed. What was missed all the
same (rows written behind our back, a server that died between) the daily `sweep` finds.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, Min, OuterRef, Q
from django.utils import timezone

from pacs.models import Study
from radiology.models import (
    SIGNED,
    CoSignature,
    Job,
    LateImages,
    OrderStatus,
    Priority,
    ProcedureStatus,
    Report,
    ReportStatus,
    RequestedProcedure,
)
from radiology.services.jobs import enqueue, extend_lease, handles
from worklist.models import TO_READ, CaseState, Reading, ReadingState, ReconciliationCase, StudyCompletion, Turnaround
from worklist.services.body_regions import body_regions
from worklist.services.resemblance import image_modalities

SWEEP = "worklist.sweep_readings"
# So many examinations are looked at in one transaction of the sweep.
SWEEP_BATCH = 500
URGENCY: dict[str, int] = {Priority.STAT: 0, Priority.HIGH: 1}
OTHERWISE_URGENT = 2
# Minutes, where a site has not agreed otherwise.
DEFAULT_MINUTES: dict[str, int] = {
    Priority.STAT: 60,
    Priority.HIGH: 4 * 60,
    Priority.ROUTINE: 24 * 60,
    Priority.MEDIUM: 24 * 60,
    Priority.LOW: 72 * 60,
}
_COPIED = (
    "site_id",
    "study_ref_id",
    "modality",
    "regions",
    "priority",
    "urgency",
    "images_complete_at",
    "due_at",
    "state",
    "draft_by_id",
    "resident_id",
    "late_images",
)
_COLUMNS = [name.removesuffix("_id") for name in _COPIED]
# Minutes by site, priority and modality: to the signed report, and from a resident's signature to the supervisor's.
Agreed = dict[tuple[int | None, str, str], tuple[int, int]]
_CLAIM = ["claimed_by", "claimed_at", "active_at"]


def refresh_readings(procedures: Iterable[int]) -> None:
    """Bring what stands of these requested procedures (ids) up to date, now and once more after the commit.

    What is right already is not written. Of what nobody is to read any more, the claim ends.
    """
    keys = sorted(set(procedures))
    if not keys:
        return
    _bring_up_to_date(keys)
    if connection.in_atomic_block:
        transaction.on_commit(partial(_look_again, keys), robust=True)


def refresh_studies(studies: Iterable[int]) -> None:
    """The same for whatever these studies (ids) are, or were until now, the images of."""
    keys = set(studies)
    if not keys:
        return
    linked = Study.objects.filter(Q(pk__in=keys) | Q(merged_into__in=keys)).exclude(requested_procedure_ref=None)
    found = set(linked.values_list("requested_procedure_ref_id", flat=True))
    found |= set(Reading.objects.filter(study_ref__in=keys).values_list("requested_procedure_ref_id", flat=True))
    refresh_readings(found)


def refresh_order(order: int) -> None:
    """The same for the procedures of an order (id) that have a place here already: without images there is none."""
    found = Reading.objects.filter(requested_procedure_ref__order_ref=order)
    refresh_readings(found.values_list("requested_procedure_ref_id", flat=True))


def sweep_soon() -> None:
    """Leave a job that looks at everything, in the caller's transaction: agreed times changed."""
    enqueue(kind=SWEEP)


@handles(SWEEP, daily=True)
def sweep(job: Job) -> None:
    """Look at all that is on the list, and at all images that should be: what was missed is put right."""
    seen = 0
    for keys in _batches():
        with transaction.atomic():
            _bring_up_to_date(keys)
        seen += len(keys)
        extend_lease(job=job, progress=seen)


def _batches() -> Iterator[list[int]]:
    """Keys of procedures: those on the list, those taken off it wrongly, and those that have no row yet."""
    signed = Report.objects.filter(requested_procedure_ref=OuterRef("requested_procedure_ref"), status__in=SIGNED)
    yield from _by_key(Reading.objects.to_read(), "requested_procedure_ref")
    yield from _by_key(Reading.objects.filter(state=ReadingState.GONE), "requested_procedure_ref")
    yield from _by_key(Reading.objects.filter(~Exists(signed), state=ReadingState.DONE), "requested_procedure_ref")
    row = Reading.objects.filter(requested_procedure_ref=OuterRef("requested_procedure_ref"))
    linked = Study.objects.filter(~Exists(row), deleted_at=None).exclude(requested_procedure_ref=None)
    yield from _by_key(linked, "requested_procedure_ref")
    row = Reading.objects.filter(requested_procedure_ref=OuterRef("requestedprocedure"))
    yield from _by_key(ReconciliationCase.also_serves.through.objects.filter(~Exists(row)), "requestedprocedure")


def _by_key(found: Any, column: str) -> Iterator[list[int]]:
    """What stands in a column, some hundreds of rows at a time. Rows that leave behind us move no others."""
    last = 0
    while rows := list(found.filter(pk__gt=last).order_by("pk").values_list("pk", column)[:SWEEP_BATCH]):
        last = rows[-1][0]
        yield sorted({key for _pk, key in rows})


def _look_again(keys: Sequence[int]) -> None:
    with transaction.atomic():
        _bring_up_to_date(keys)


def _bring_up_to_date(keys: Sequence[int]) -> None:
    known = {each.requested_procedure_ref_id: each for each in Reading.objects.filter(requested_procedure_ref__in=keys)}
    now = timezone.now()
    to_read: list[Reading] = []
    over: list[Reading] = []
    for wanted in _derived(keys, known):
        row = known.get(wanted.requested_procedure_ref_id)
        if row is not None and all(getattr(row, name) == getattr(wanted, name) for name in _COPIED):
            continue
        wanted.updated_at = now
        (to_read if wanted.state in TO_READ else over).append(wanted)
    if not (to_read or over):
        return
    with transaction.atomic(savepoint=False):
        _write(to_read, over)


def _write(to_read: Sequence[Reading], over: Sequence[Reading]) -> None:
    """Who signs holds the report, and then writes here: so does whoever comes from the images."""
    wanted = [row.requested_procedure_ref_id for row in (*to_read, *over)]
    reports = Report.objects.filter(requested_procedure_ref__in=wanted).order_by("pk")
    list(reports.select_for_update(no_key=True).values_list("pk"))
    for rows, columns in ((to_read, _COLUMNS), (over, [*_COLUMNS, *_CLAIM])):
        if rows:
            Reading.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["requested_procedure_ref"],
                update_fields=[*columns, "updated_at"],
            )


def _derived(keys: Sequence[int], known: dict[int, Reading]) -> list[Reading]:
    """The rows as they should be; none for a procedure that has neither images nor a row."""
    studies = _images_of(keys)
    wanted = [key for key in keys if key in studies or key in known]
    if not wanted:
        return []
    complete = dict(
        StudyCompletion.objects.filter(study_ref__in=[each.pk for each in studies.values()])
        .values_list("study_ref_id")
        .annotate(first=Min("at"))
    )
    reports = {
        each.requested_procedure_ref_id: each
        for each in Report.objects.filter(requested_procedure_ref__in=wanted)
        .exclude(status=ReportStatus.ENTERED_IN_ERROR)
        .only("requested_procedure_ref_id", "status", "number", "draft_by_id", "version")
    }
    signed = [each.pk for each in reports.values() if each.number]
    waiting = {
        each.report_ref_id: each
        for each in CoSignature.objects.waiting()
        .filter(report_ref__in=signed)
        .only("report_ref", "resident", "requested_at")
    }
    late = dict(LateImages.objects.open().filter(report_ref__in=signed).values_list("report_ref", "number_of_images"))
    procedures = RequestedProcedure.objects.filter(pk__in=wanted).select_related("order_ref", "procedure_ref")
    rows = list(procedures.order_by("pk"))
    agreed = _agreed({each.order_ref.site_id for each in rows})
    made = []
    for each in rows:
        report = reports.get(each.pk)
        row = _row(each, studies.get(each.pk), report, complete, agreed, known.get(each.pk))
        if report is not None and row.state != ReadingState.GONE:
            _add_signatures(row, waiting.get(report.pk), late.get(report.pk), agreed)
        made.append(row)
    return made


def _images_of(keys: Sequence[int]) -> dict[int, Study]:
    """The shown study of each procedure: the first that is linked, or was merged into one that is shown; else one
    that also serves it."""
    found: dict[int, Study] = {}
    shown = Q(deleted_at=None) | Q(merged_into__isnull=False, merged_into__deleted_at=None)
    linked = Study.objects.filter(shown, requested_procedure_ref__in=keys).select_related("merged_into")
    for study in linked.order_by("pk"):
        here = study if study.deleted_at is None else study.merged_into
        if study.requested_procedure_ref_id is not None and here is not None:
            found.setdefault(study.requested_procedure_ref_id, here)
    serves = ReconciliationCase.also_serves.through.objects.filter(
        requestedprocedure__in=[key for key in keys if key not in found],
        reconciliationcase__state=CaseState.LINKED,
        reconciliationcase__study_ref__deleted_at=None,
    ).select_related("reconciliationcase__study_ref")
    for each in serves.order_by("pk"):
        found.setdefault(each.requestedprocedure_id, each.reconciliationcase.study_ref)
    return found


def _row(
    procedure: RequestedProcedure,
    study: Study | None,
    report: Report | None,
    complete: dict[int, Any],
    agreed: Agreed,
    known: Reading | None,
) -> Reading:
    order, catalogue = procedure.order_ref, procedure.procedure_ref
    called_off = order.status == OrderStatus.ENTERED_IN_ERROR or procedure.status == ProcedureStatus.CANCELLED
    made = image_modalities(study.modalities_in_study) if study is not None else set()
    modality = procedure.modality or min(made, default="")
    complete_at = complete.get(study.pk) if study is not None else known.images_complete_at if known else None
    part = procedure.body_part_examined or (catalogue.body_part_examined if catalogue is not None else "")
    state = _state(report) if study is not None and not called_off else ReadingState.GONE
    if study is not None:
        minutes, _ = _minutes(agreed, order.site_id, order.priority, modality)
        due_at = (complete_at or study.created_at) + timedelta(minutes=minutes)
    else:
        due_at = known.due_at if known is not None else timezone.now()
    return Reading(
        requested_procedure_ref=procedure,
        site_id=order.site_id,
        study_ref=study,
        modality=modality,
        regions=body_regions(part) or body_regions(procedure.requested_procedure_description),
        priority=order.priority,
        urgency=URGENCY.get(order.priority, OTHERWISE_URGENT),
        images_complete_at=complete_at,
        due_at=due_at,
        state=state,
        draft_by_id=report.draft_by_id if report is not None and state in TO_READ else None,
    )


def _add_signatures(row: Reading, waiting: CoSignature | None, late: int | None, agreed: Agreed) -> None:
    """Who waits for a supervisor since when, and images that nobody has answered."""
    row.late_images = late
    if waiting is not None and row.state == ReadingState.PRELIMINARY:
        row.resident_id = waiting.resident_id
        _, minutes = _minutes(agreed, row.site_id, row.priority, row.modality)
        row.due_at = waiting.requested_at + timedelta(minutes=minutes)


def _state(report: Report | None) -> ReadingState:
    if report is None:
        return ReadingState.UNREAD
    if report.is_signed:
        return ReadingState.DONE
    return ReadingState.PRELIMINARY if report.number else ReadingState.DRAFTED


def _agreed(sites: set[int | None]) -> Agreed:
    rows = Turnaround.objects.filter(site__in=sites)
    return {
        (each.site_id, each.priority, each.modality): (each.minutes, each.cosign_minutes or each.minutes)
        for each in rows
    }


def _minutes(agreed: Agreed, site: int | None, priority: str, modality: str) -> tuple[int, int]:
    """The time agreed for the modality, else for the priority, else the default."""
    for key in ((site, priority, modality), (site, priority, "")):
        if key in agreed:
            return agreed[key]
    minutes = DEFAULT_MINUTES.get(priority, DEFAULT_MINUTES[Priority.ROUTINE])
    return minutes, minutes

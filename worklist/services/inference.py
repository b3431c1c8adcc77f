"""What follows from images: states of examinations whose device reports nothing, and completeness of studies.

Whoever brings images writes one row, a job for the study (`watch_studies`). The job looks at the study as it
is then: it starts examinations at the first image, completes them after the quiet period or when the device has
all its images committed to storage, takes both back for images that come later, and leaves another job where there
is something left to see. Since storing and looking both hold the study's row, no image comes between the look and
the next job.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max, Min
from django.utils import timezone

from pacs.models import WRITTEN, Instance, RequestAttributes, Series, StorageCommitment, Study
from radiology.models import Job, JobState, Order, OrderStatus, RequestedProcedure
from radiology.services.jobs import enqueue, handles
from radiology.services.rows import insert_missing
from worklist.models import Device, PerformedProcedureStep, ScheduledProcedureStep, StepStatus
from worklist.services.abandonment import settle_abandoned
from worklist.services.completion import is_under_way, names_all, performed_of, settle_completion
from worklist.services.performed_effects import take_state

LOOK = "worklist.look_at_study"
QUIET_MINUTES = 10
_WHO = "images"
# Of a look that no news has caused.
_QUIETLY = {"is_quiet_check": True}
_NOT_BEGUN = (StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY, StepStatus.NO_SHOW)
_OVER = (OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR)


def watch_studies(*, studies: Iterable[int], not_before: datetime | None = None) -> None:
    """See to it that somebody looks at these studies (ids): one statement, and no row where one waits already.

    With `not_before`, to see whether they are quiet by then.
    """
    kept = _QUIETLY if not_before else {}
    jobs = [
        Job(
            kind=LOOK,
            arguments={"study": pk, **kept},
            next_attempt_at=not_before or timezone.now(),
            idempotency_key=_key(pk),
        )
        for pk in sorted(set(studies))
    ]
    insert_missing(jobs, returning="idempotency_key")


def look_now(*, studies: Iterable[int]) -> None:
    """Look at these studies (ids) as soon as the transaction is committed: they were linked, or a device reported."""
    for pk in sorted(set(studies)):
        enqueue(kind=LOOK, arguments={"study": pk})


def look_at_committed(*, commitment: StorageCommitment) -> None:
    """Look at the studies of which a device had objects committed to storage: these may be all of them."""
    uids = [sop_instance for _, sop_instance in commitment.requested]
    series = Series.objects.filter(instances__site=commitment.site_id, instances__sop_instance_uid__in=uids)
    for pk in series.order_by("study_ref").values_list("study_ref", flat=True).distinct():
        enqueue(kind=LOOK, arguments={"study": pk, "commitment": commitment.pk})


@handles(LOOK)
def look_at_study(job: Job) -> None:
    """Draw the conclusions about a study, and come again where it is not over."""
    with transaction.atomic():
        pk = int(job.arguments["study"])
        study = Study.objects.select_for_update(no_key=True, of=("self",)).select_related("site").filter(pk=pk).first()
        # From here on whoever brings images waits for us, and then finds no job in the way of a new one.
        Job.objects.filter(pk=job.pk).update(idempotency_key=None)
        if study is None or study.deleted_at is not None:
            return
        asked = StorageCommitment.objects.filter(pk=job.arguments.get("commitment")).first()
        # A person may have taken a state back since: it is not put on again unless more has come.
        since = job.created_at if job.arguments.get("is_quiet_check") or asked is not None else None
        again, given_up_at = _conclude(study, since=since, commitment=asked)
        if again is not None:
            watch_studies(studies=[pk], not_before=again)
        else:  # what waits for the quiet period would keep the next image from being looked at
            _call_off(_key(pk))
        if given_up_at is not None:
            key = f"{_key(pk)}:abandoned"
            enqueue(kind=LOOK, arguments={**_QUIETLY, "study": pk}, not_before=given_up_at, idempotency_key=key)
        else:
            _call_off(f"{_key(pk)}:abandoned")


def procedure_of(study: Study) -> RequestedProcedure | None:
    """The procedure that a study certainly belongs to; only one of the study's own patient.

    The one that it was linked to; else the one whose Study Instance UID it has; else the only one of the only order
    with its accession number.
    """
    if study.requested_procedure_ref is not None:
        return study.requested_procedure_ref
    mine = RequestedProcedure.objects.filter(
        order_ref__site_id=study.site_id, order_ref__patient_ref_id=study.patient_ref_id
    )
    found = mine.filter(study_instance_uid=study.study_instance_uid).first()
    if found is not None or not study.accession_number:
        return found
    orders = list(Order.objects.filter(site_id=study.site_id, accession_number=study.accession_number)[:2])
    if len(orders) != 1:
        return None
    procedures = list(mine.filter(order_ref=orders[0], modality__in=study.modalities_in_study)[:2])
    return procedures[0] if len(procedures) == 1 else None


def quiet_period(study: Study, steps: Sequence[ScheduledProcedureStep] = ()) -> timedelta:
    """So long without an image, and a study counts as complete: what its device takes, else its modality's slowest."""
    minutes = [step.device.quiet_minutes for step in steps if step.device is not None]
    if not minutes:
        titles = Series.objects.filter(study_ref=study).values_list("source_ae_title", flat=True)
        devices = Device.objects.filter(site_id=study.site_id, is_active=True)
        minutes = list(devices.filter(station_ae_title__in=titles).values_list("quiet_minutes", flat=True)) or list(
            devices.filter(modality__in=study.modalities_in_study).values_list("quiet_minutes", flat=True)
        )
    return timedelta(minutes=max(minutes, default=QUIET_MINUTES))


def _call_off(key: str) -> None:
    """The look with this key, which nobody has begun yet."""
    waits = Job.objects.filter(idempotency_key=key, state=JobState.PENDING)
    waits.update(idempotency_key=None, state=JobState.DONE, finished_at=timezone.now())


def _conclude(
    study: Study, *, since: datetime | None, commitment: StorageCommitment | None
) -> tuple[datetime | None, datetime | None]:
    """Draw the conclusions about a study; when to look again at its images, and at what performed it, if ever.

    `since` is when it was last looked at.
    """
    times = _times(study)
    if times["last"] is None:
        return None, None
    performed = performed_of(study)
    given_up_at = settle_abandoned(performed=performed)
    steps = _steps(study, performed)
    quiet_at = times["last"] + quiet_period(study, steps)
    is_quiet = quiet_at <= timezone.now()
    is_committed = (
        commitment is not None and not is_under_way(performed) and names_all(commitment=commitment, study=study)
    )
    has_more = since is None or times["last"] > since
    for step in steps:
        _infer(
            step, first_at=times["first"], last_at=times["last"], has_more=has_more, is_over=is_quiet or is_committed
        )
    complete = settle_completion(
        study=study, performed=performed, last_at=times["last"], is_quiet=is_quiet, is_committed=is_committed
    )
    if is_quiet or (complete is not None and not any(step.status == StepStatus.STARTED for step in steps)):
        return None, given_up_at
    return quiet_at, given_up_at


def _times(study: Study) -> dict[str, Any]:
    """When the first and the last image of a study came, as far as they are shown.

    What is written of images (a rejection note, a measurement) is none, unless there is nothing else.
    """
    shown = Instance.objects.filter(series_ref__study_ref=study, removed_at=None)
    for instances in (shown.exclude(series_ref__modality__in=WRITTEN), shown):
        times = instances.aggregate(first=Min("created_at"), last=Max("created_at"))
        if times["last"] is not None:
            break
    return times


def _steps(study: Study, performed: Sequence[PerformedProcedureStep]) -> list[ScheduledProcedureStep]:
    """The steps whose state follows from a study: no device reports it, and the images are theirs for certain."""
    procedure = procedure_of(study)
    if procedure is None or procedure.order_ref.status in _OVER:
        return []
    steps = list(
        procedure.scheduled_procedure_steps.exclude(performed_references__performed_ref__is_wrong_entry=False)
        .exclude(status=StepStatus.CANCELLED)
        .select_related("device")
        .order_by("pk")
    )
    steps = [step for step in steps if step.device is None or not step.device.sends_mpps]
    if len(steps) > 1:
        named = RequestAttributes.objects.filter(series_ref__study_ref=study)
        keys = set(named.values_list("scheduled_procedure_step_id", flat=True))
        mine = [step for step in steps if step.scheduled_procedure_step_id in keys]
        steps = mine or [step for step in steps if step.modality in study.modalities_in_study]
    return steps


def _infer(
    step: ScheduledProcedureStep, *, first_at: datetime, last_at: datetime, has_more: bool, is_over: bool
) -> None:
    """The state of one step, as far as images say anything."""
    was_over = step.status == StepStatus.COMPLETED and step.is_inferred and step.ended_at is not None
    if (step.status in _NOT_BEGUN and has_more) or (was_over and step.ended_at and last_at > step.ended_at):
        _take(step, StepStatus.STARTED, first_at)
    if step.status == StepStatus.STARTED and is_over:
        _take(step, StepStatus.COMPLETED, last_at)


def _take(step: ScheduledProcedureStep, to: StepStatus, at: datetime) -> None:
    take_state(step=step, to=to, at=at, inferred=True, who=_WHO)
    step.refresh_from_db()


def _key(study: int) -> str:
    return f"{LOOK}:{study}"

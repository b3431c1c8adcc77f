"""Work that must happen later: rows are the truth, Celery only rings the bell.

`enqueue` inside the transaction that makes the work necessary; `run_due` claims and runs. A handler
is named by its job's kind, registered with `@handles("kind")`, and must be safe to run twice.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from django.db import connection, transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone

from radiology.errors import Busy, OutOfResources, RadiologyError, Unreachable
from radiology.models import Job, JobPriority, JobState, Site
from radiology.services.rows import Added

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=2)
FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(hours=1)
# Deadlock and serialization failure.
ROLLED_BACK = {"40P01", "40001"}
# A lock that was not to be had in the time that a transaction wants to wait.
LOCK_NOT_AVAILABLE = "55P03"
# Whoever gave way lets the other finish first.
ROLLED_BACK_DELAY = timedelta(seconds=1)
GAVE_WAY = "It gave way to another transaction, and is done again."
# A peer that has no place now is asked again after this long, as often as it takes.
BUSY_DELAY = timedelta(seconds=15)
# Of bulk jobs so many run at once, wherever: a worker has four threads, and others want some of them.
MOST_BULK = 2
BULK_LOCK = "radiology_job_bulk"

_CLAIM = """
    SELECT id FROM radiology_job AS job
     WHERE {due}
       AND (ordering_key = '' OR NOT EXISTS (
            SELECT 1 FROM radiology_job AS other
             WHERE other.ordering_key = job.ordering_key AND other.ordering_key <> '' AND other.id <> job.id
               AND other.state IN ('pending', 'running')
               AND (other.id < job.id OR (other.state = 'running' AND other.lease_until >= %s))))
     ORDER BY {order}, id LIMIT 1 FOR UPDATE OF job SKIP LOCKED
"""
_DUE = _CLAIM.format(due="priority = %s AND state = 'pending' AND next_attempt_at <= %s", order="next_attempt_at")
_LEASE_RAN_OUT = _CLAIM.format(due="state = 'running' AND lease_until < %s", order="lease_until")


class Postponed(Exception):
    """Raised by a handler whose work cannot be done before `until`: the job waits till then, and nothing is counted.

    `why` stands with the job as its error.
    """

    def __init__(self, until: datetime, why: str = "") -> None:
        super().__init__(why)
        self.until = until
        self.why = why


class Paused(Exception):
    """The job was paused: its handler lets go of it, to be called again when it is resumed. Nothing is counted."""


Handler = Callable[[Job], None]
SomeHandler = TypeVar("SomeHandler", bound=Handler)
HANDLERS: dict[str, Handler] = {}
_add = Added(Job)
DAILY: set[str] = set()


def handles(kind: str, *, daily: bool = False) -> Callable[[SomeHandler], SomeHandler]:
    """Register a function as what runs the jobs of `kind`; a daily one is enqueued once a day."""

    def register(handler: SomeHandler) -> SomeHandler:
        HANDLERS[kind] = handler
        if daily:
            DAILY.add(kind)
        return handler

    return register


def enqueue(
    *,
    kind: str,
    arguments: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    ordering_key: str = "",
    not_before: datetime | None = None,
    max_attempts: int = 20,
    priority: int = JobPriority.NORMAL,
    site: Site | None = None,
) -> Job:
    """Add a job to the current transaction. The same `idempotency_key` again returns the first job."""
    job = Job(
        site=site,
        kind=kind,
        arguments=arguments or {},
        ordering_key=ordering_key,
        next_attempt_at=not_before or timezone.now(),
        max_attempts=max_attempts,
        priority=priority,
        idempotency_key=idempotency_key,
    )
    if idempotency_key is None:
        _add([job])
        return job
    enqueue_once(job)
    return Job.objects.get(idempotency_key=idempotency_key)


def enqueue_once(job: Job) -> None:
    """Add a job, not yet saved, to the current transaction, unless there is one with its idempotency key."""
    Job.objects.bulk_create([job], ignore_conflicts=True)


def enqueue_all(jobs: Iterable[Job]) -> list[Job]:
    """Add many jobs, not yet saved, to the current transaction with one statement."""
    added = list(jobs)
    _add(added)
    return added


def claim(*, now: datetime | None = None) -> Job | None:
    """Take the next due job: one whose lease ran out, else one that is pending and due, by priority.

    Of the jobs with one ordering key only the oldest unfinished one is taken, and none while another
    of them runs. A job that took its worker down with it as often as it may be tried is dead.
    """
    now = now or timezone.now()
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            row = _next(cursor, now)
            if row is None:
                return None
            job = Job.objects.get(pk=row[0])
            if job.attempts < job.max_attempts:
                job.state = JobState.RUNNING
                job.attempts += 1
                job.lease_until = now + LEASE
                job.save(update_fields=["state", "attempts", "lease_until"])
                return job
            Job.objects.filter(pk=job.pk).update(
                state=JobState.DEAD,
                finished_at=now,
                lease_until=None,
                error=f"Its worker ended or lost touch while running it, {job.attempts} times.",
            )
            log.error("job gave no sign of life", job=job.pk, kind=job.kind, attempt=job.attempts)


def _next(cursor: Any, now: datetime) -> Any:
    cursor.execute(_LEASE_RAN_OUT, [now, now])
    row = cursor.fetchone()
    for priority in JobPriority:
        if row is None:
            cursor.execute(_DUE, [priority, now, now])
            row = cursor.fetchone()
            if row is not None and priority == JobPriority.BULK and not _has_room_for_bulk(cursor):
                return None
    return row


def _has_room_for_bulk(cursor: Any) -> bool:
    """Asked by one at a time, until its transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [BULK_LOCK])
    return Job.objects.filter(state=JobState.RUNNING, priority=JobPriority.BULK).count() < MOST_BULK


def extend_lease(*, job: Job, progress: int | None = None, total: int | None = None) -> None:
    """Keep a long job, and show how far it is: where its handler may stop.

    Raises Paused when it was paused, RadiologyError when it was cancelled or somebody else took it.
    """
    if not keep(job=job, progress=progress, total=total):
        raise Paused


def keep(*, job: Job, progress: int | None = None, total: int | None = None) -> bool:
    """As `extend_lease`, where what is in hand should be finished first: False when the job was paused meanwhile."""
    until = timezone.now() + LEASE
    values: dict[str, Any] = {"lease_until": until}
    if progress is not None:
        values["progress"] = progress
    if total is not None:
        values["progress_total"] = total
    goes_on = bool(_mine(job).filter(state=JobState.RUNNING).update(**values))
    if not goes_on and not _mine(job).update(**values):
        raise RadiologyError("The job was taken over or cancelled.")
    job.lease_until = until
    return goes_on


def run_due(*, limit: int = 100) -> int:
    """Claim and run until nothing is due; how many were run."""
    done = 0
    while done < limit:
        job = claim()
        if job is None:
            break
        run(job=job)
        done += 1
    return done


def run(*, job: Job) -> None:
    """Run one claimed job and write how it ended: done, postponed, tried again later, or dead."""
    handler = HANDLERS.get(job.kind)
    try:
        if handler is None:
            raise RadiologyError(f"Nothing handles jobs of the kind {job.kind}.")
        handler(job)
    except Postponed as postponed:
        _let_go(job, attempts=F("attempts") - 1, next_attempt_at=postponed.until, error=postponed.why)
    except Busy as busy:
        _let_go(job, attempts=F("attempts") - 1, next_attempt_at=timezone.now() + BUSY_DELAY, error=busy.message)
    except Paused:
        _let_go(job, attempts=F("attempts") - 1)
    except Exception as error:
        if was_rolled_back(error):
            log.warning("job gave way to another transaction", job=job.pk, kind=job.kind)
            again_at = timezone.now() + ROLLED_BACK_DELAY
            _let_go(job, attempts=F("attempts") - 1, next_attempt_at=again_at, error=GAVE_WAY)
            return
        log.warning("job failed", job=job.pk, kind=job.kind, attempt=job.attempts, error=type(error).__name__)
        _failed(job, error)
    else:
        _mine(job).update(state=JobState.DONE, finished_at=timezone.now(), lease_until=None, error="")


def was_rolled_back(error: Exception) -> bool:
    """Whether PostgreSQL certainly undid a transaction for another's sake, so that it may simply be done again."""
    return _sqlstate_of(error) in ROLLED_BACK


def gave_way(error: Exception) -> bool:
    """The same, or it did not get a lock in time (`lock_timeout`, NOWAIT)."""
    return was_rolled_back(error) or _sqlstate_of(error) == LOCK_NOT_AVAILABLE


def _sqlstate_of(error: Exception) -> str:
    """Of what PostgreSQL said; of another error nothing."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def retry(*, job: Job) -> bool:
    """Put a failed or cancelled job back, by a person's wish; False for another."""
    again = Job.objects.filter(pk=job.pk, state__in=[JobState.DEAD, JobState.CANCELLED])
    return bool(
        again.update(state=JobState.PENDING, attempts=0, next_attempt_at=timezone.now(), finished_at=None, error="")
    )


def run_again(*, jobs: Any) -> int:
    """Put back finished jobs of a queryset, those that were done included, by a person's wish; how many."""
    finished = jobs.filter(state__in=[JobState.DONE, JobState.DEAD, JobState.CANCELLED])
    return int(
        finished.update(state=JobState.PENDING, attempts=0, next_attempt_at=timezone.now(), finished_at=None, error="")
    )


def cancel(*, job: Job) -> bool:
    """Take back a job that has not finished, False for another; a running one stops at its next sign of life."""
    unfinished = Job.objects.filter(pk=job.pk, state__in=[JobState.PENDING, JobState.RUNNING, JobState.PAUSED])
    return bool(unfinished.update(state=JobState.CANCELLED, finished_at=timezone.now(), lease_until=None))


def pause(*, job: Job) -> bool:
    """Hold a job back until it is resumed, whether it waits or runs; False for one that is over.

    A running one goes on to where its handler may stop. Only for kinds whose handlers go on where they were.
    """
    Job.objects.filter(pk=job.pk, state__in=[JobState.PENDING, JobState.RUNNING]).update(state=JobState.PAUSED)
    return Job.objects.filter(pk=job.pk, state=JobState.PAUSED).exists()


def resume(*, job: Job) -> bool:
    """Let a paused job go on; False when it is not paused. One whose worker has not stopped yet simply goes on."""
    return bool(
        Job.objects.filter(pk=job.pk, state=JobState.PAUSED).update(
            state=Case(When(lease_until=None, then=Value(JobState.PENDING)), default=Value(JobState.RUNNING)),
            next_attempt_at=timezone.now(),
        )
    )


def _mine(job: Job) -> Any:
    """The row, as long as this claim is the one that holds it, paused or not: each claim has a lease of its own."""
    return Job.objects.filter(pk=job.pk, lease_until=job.lease_until)


def _let_go(job: Job, **values: Any) -> None:
    """Leave a job to whoever claims it next; a paused one to nobody."""
    waits = Case(When(state=JobState.PAUSED, then=Value(JobState.PAUSED)), default=Value(JobState.PENDING))
    _mine(job).update(state=waits, lease_until=None, **values)


def _failed(job: Job, error: Exception) -> None:
    permanent = isinstance(error, RadiologyError) and not isinstance(error, Unreachable | OutOfResources)
    text = error.message if isinstance(error, RadiologyError) else type(error).__name__
    if permanent or job.attempts >= job.max_attempts:
        _mine(job).update(state=JobState.DEAD, finished_at=timezone.now(), lease_until=None, error=text)
        return
    delay = min(FIRST_DELAY * 2 ** min(job.attempts - 1, 16), LONGEST_DELAY)
    _let_go(job, next_attempt_at=timezone.now() + delay, error=text)

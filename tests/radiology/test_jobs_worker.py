"""Jobs through the real worker and this deployment's broker: a folder, or the Redis that CELERY_BROKER_URL names."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from radiology.models import AuditAction, AuditEvent, Job, JobState
from radiology.services.jobs import enqueue
from radiology.tasks import enqueue_upkeep, run_due_jobs
from tests.daemons import Daemon, database_url, wait_until, worker_daemon

pytestmark = [pytest.mark.jobs, pytest.mark.usefixtures("committed_db"), pytest.mark.xdist_group("jobs")]

KIND = "radiology.prepare_audit_partitions"


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


@pytest.fixture
def partitions_locked() -> Iterator[psycopg.Connection]:
    """Holds the lock that the job needs, so that whoever runs it waits in the middle of it."""
    with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"]), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('radiology_auditevent'))")
        yield other


def test_the_broker_is_the_one_of_the_deployment() -> None:
    from radiology.celery import app

    assert app.conf.broker_url == settings.CELERY_BROKER_URL


def test_ringing_the_bell_runs_what_is_due(job_worker: Daemon) -> None:
    job = enqueue(kind=KIND)
    run_due_jobs.delay()
    wait_until(lambda: state_of(job) == JobState.DONE, seconds=20, what="the job is done")


def test_nobody_has_to_ring(job_worker: Daemon) -> None:
    """The sweep every ten seconds finds what nobody rang for."""
    job = enqueue(kind=KIND)
    wait_until(lambda: state_of(job) == JobState.DONE, seconds=30, what="the sweep found the job")


def test_bells_without_work_do_no_harm(job_worker: Daemon) -> None:
    for _ in range(20):
        run_due_jobs.delay()
    job = enqueue(kind=KIND)
    run_due_jobs.delay()
    wait_until(lambda: state_of(job) == JobState.DONE, seconds=30, what="the job is done")
    assert Job.objects.get(pk=job.pk).attempts == 1


def test_a_job_of_a_killed_worker_is_done_by_the_next(
    start: Callable[[Daemon], Daemon], partitions_locked: psycopg.Connection
) -> None:
    job = enqueue(kind=KIND)
    run_due_jobs.delay()
    first = start(worker_daemon())
    wait_until(lambda: state_of(job) == JobState.RUNNING, seconds=30, what="the worker took the job")
    first.kill()
    partitions_locked.execute("SELECT pg_advisory_unlock_all()")
    assert state_of(job) == JobState.RUNNING, "nobody has noticed yet"
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now())  # two minutes later
    start(worker_daemon())
    wait_until(lambda: state_of(job) == JobState.DONE, seconds=40, what="another worker did it")
    assert Job.objects.get(pk=job.pk).attempts == 2


def test_a_failure_in_the_worker_is_written_down_without_its_values(job_worker: Daemon) -> None:
    before = len(job_worker.output)
    job = enqueue(kind="nobody.handles.this")
    run_due_jobs.delay()
    wait_until(lambda: state_of(job) == JobState.DEAD, seconds=30, what="the job is dead")
    wait_until(lambda: '"event": "job failed"' in job_worker.output[before:], what="a line in the log")


def test_chores_are_enqueued_once_a_day(db: None) -> None:
    enqueue_upkeep()
    first = set(Job.objects.values_list("kind", flat=True))
    enqueue_upkeep()
    assert Job.objects.count() == len(first)
    assert KIND in first


def test_every_scheduled_task_exists() -> None:
    from radiology.celery import app

    app.loader.import_default_modules()
    scheduled: list[Any] = [entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()]
    assert set(scheduled) <= set(app.tasks)


def test_audit_events_are_written_while_partitions_are_made(job_worker: Daemon) -> None:
    job = enqueue(kind=KIND)
    run_due_jobs.delay()
    for number in range(50):
        AuditEvent.objects.create(event="x", action=AuditAction.READ, detail={"n": number})
    wait_until(lambda: state_of(job) == JobState.DONE, seconds=30, what="the job is done")
    assert AuditEvent.objects.filter(event="x").count() == 50

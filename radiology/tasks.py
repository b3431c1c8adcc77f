"""Celery's side of jobs. Nothing here carries arguments: the rows say what is to be done."""

from celery import shared_task
from django.utils import timezone

from radiology.services import jobs, upkeep  # noqa: F401  (registers its handlers)


@shared_task(name="radiology.run_due_jobs")
def run_due_jobs() -> int:
    """Ring the bell: run whatever is due."""
    return jobs.run_due()


@shared_task(name="radiology.enqueue_upkeep")
def enqueue_upkeep() -> None:
    """Once a day each: the chores that keep the house in order."""
    today = timezone.now().date().isoformat()
    for kind in sorted(jobs.DAILY):
        jobs.enqueue(kind=kind, idempotency_key=f"{kind}:{today}", max_attempts=5)

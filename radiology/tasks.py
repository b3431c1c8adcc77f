"""Celery's side of jobs. Nothing here carries arguments: the rows say what is to be done."""

import structlog
from celery import shared_task
from django.db import transaction
from django.utils import timezone

from radiology.services import (  # noqa: F401  (registers handlers)
    critical_escalation,
    critical_mail,
    jobs,
    personal_results,
    upkeep,
)

log = structlog.get_logger(__name__)


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


def ring() -> None:
    """Wake a worker, once the transaction is committed; when the broker is away, the clock finds it within seconds."""

    def wake() -> None:
        try:
            run_due_jobs.apply_async(retry=False)
        except Exception as error:  # whatever the broker's client raises
            log.warning("nobody woken for a job", why=type(error).__name__)

    transaction.on_commit(wake)

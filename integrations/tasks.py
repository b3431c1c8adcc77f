"""Celery's side of the interfaces, and what registers their job handlers with the worker."""

from celery import shared_task

from integrations.orthanc import registrar

BACKLOG_SECONDS = 6.0


@shared_task(name="integrations.write_down_orthanc_identifiers")
def write_down_orthanc_identifiers() -> None:
    """Every ten seconds: what came, some of what was there before, and what has become stable."""
    registrar.catch_up()
    registrar.settle()
    registrar.work_off_backlog(seconds=BACKLOG_SECONDS)

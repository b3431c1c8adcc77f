"""What the clock asks of the interfaces. Registers this app's job handlers with the worker."""

from celery import shared_task

from integrations.hl7 import alarms, replay
from integrations.hl7.outgoing import queue
from integrations.orthanc import making, moving, peering, registrar
from integrations.webhooks import deliver

__all__ = [
    "deliver",
    "making",
    "moving",
    "peering",
    "queue",
    "replay",
    "watch_interfaces",
    "write_down_orthanc_identifiers",
]

BACKLOG_SECONDS = 6.0


@shared_task(name="integrations.watch_interfaces")
def watch_interfaces() -> None:
    """Look at the peers, and raise or end their alarms."""
    alarms.watch()


@shared_task(name="integrations.write_down_orthanc_identifiers")
def write_down_orthanc_identifiers() -> None:
    """Every ten seconds: what came, some of what was there before, and what has become stable."""
    registrar.catch_up()
    registrar.settle()
    registrar.work_off_backlog(seconds=BACKLOG_SECONDS)

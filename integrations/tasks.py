"""What the clock asks of the interfaces. Registers this app's job handlers with the worker."""

from celery import shared_task

from integrations.hl7 import alarms, replay
from integrations.hl7.outgoing import queue
from integrations.webhooks import deliver

__all__ = ["deliver", "queue", "replay", "watch_interfaces"]


@shared_task(name="integrations.watch_interfaces")
def watch_interfaces() -> None:
    """Look at the peers, and raise or end their alarms."""
    alarms.watch()

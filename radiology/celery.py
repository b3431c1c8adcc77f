"""Celery wakes whoever claims jobs; the rows in `radiology_job` are the truth."""

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import setup_logging, task_failure

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.production")

log = structlog.get_logger(__name__)

app = Celery("radiology")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Celery would replace the handlers that `radiology.log` installed."""


@task_failure.connect
def log_failure(sender: Any = None, exception: Any = None, **_: Any) -> None:
    """Celery's own line would quote the exception, and with it values of rows."""
    log.error("task failed", task=getattr(sender, "name", ""), exc_info=exception)

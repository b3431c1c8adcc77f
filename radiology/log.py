"""Structured logs without patient data: one JSON line an event on standard output.

What may stand in a line: event names, row ids, UIDs, AE titles, addresses, counts, durations. Never
a name, patient id, token or query string. Foreign libraries are kept to warnings; those that print
values of a data set (pydicom) or of an exception (Celery) are silent, and we log in their place.
"""

import logging
import logging.config
import os
import re
import sys
import threading
import traceback
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

QUIET = {
    "pydicom": "CRITICAL",
    "pynetdicom": "CRITICAL",
    "django.request": "ERROR",
    "django.security": "ERROR",
    "django.server": "CRITICAL",  # the development server writes whole request lines, query strings included
    "py.warnings": "ERROR",
    "celery.app.trace": "CRITICAL",  # its errors quote the exception; radiology.celery logs them
}
# Their texts speak of the deployment, not of a row or a data set.
HARMLESS = (ImportError, ImproperlyConfigured, OperationalError)


def drop_values_of_exceptions(_: Any, __: str, event: Any) -> Any:
    """Exceptions are logged with their place, not their text: database and codec errors quote values."""
    info = event.pop("exc_info", None)
    if info:
        error = info if isinstance(info, BaseException) else (info[1] if isinstance(info, tuple) else None)
        if error is None:
            error = sys.exc_info()[1]
        if error is not None:
            event["error"] = type(error).__name__
            if isinstance(error, OSError):
                event["text"] = error.strerror
            elif isinstance(error, HARMLESS):
                event["text"] = str(error)[:300]
            event["where"] = _where(error)
    return event


def _where(error: BaseException) -> list[str]:
    """The last places of our own code that the error came through, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames[:-1] if os.sep + "lib" + os.sep + "python3" not in frame.filename]
    return [f"{os.path.basename(frame.filename)}:{frame.lineno}:{frame.name}" for frame in [*own[-6:], *frames[-1:]]]


def cut_quotations(_: Any, __: str, event: Any) -> Any:
    """Other libraries' lines end where they begin to quote a request: at its query string, or at a quotation mark."""
    text = event.get("event")
    if isinstance(text, str):
        marks = r"[?'\"]" if str(event.get("logger", "")).startswith(("gunicorn", "django")) else r"[?]"
        event["event"] = re.split(marks, text, maxsplit=1)[0]
    return event


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.CallsiteParameterAdder({structlog.processors.CallsiteParameter.PROCESS}),
    drop_values_of_exceptions,
]


def json_formatter() -> logging.Formatter:
    """One JSON line a record, whoever wrote it."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, cut_quotations],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(default=str),
        ],
    )


def configure_logging() -> None:
    """Route structlog, the standard library, warnings and crashes through the same JSON lines."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": json_formatter}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["out"], "level": "WARNING"},
            "loggers": {
                **{name: {"level": level} for name, level in QUIET.items()},
                "radiology": {"level": "INFO"},
                "pacs": {"level": "INFO"},
                "worklist": {"level": "INFO"},
                "integrations": {"level": "INFO"},
            },
        }
    )
    logging.captureWarnings(True)
    # A person at a terminal sees the traceback as usual; a daemon's log gets its places only.
    if sys.excepthook is sys.__excepthook__ and not sys.stderr.isatty():
        sys.excepthook = _log_crash
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_crash_of_thread


def _log_crash(kind: Any, error: Any, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("radiology").critical("process crashed", exc_info=error)


def _log_crash_of_thread(arguments: Any) -> None:
    if arguments.exc_type is not SystemExit:
        structlog.get_logger("radiology").critical("thread crashed", exc_info=arguments.exc_value)

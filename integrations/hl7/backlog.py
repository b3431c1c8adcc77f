"""What was kept and not done yet: messages whose sender only wanted to know that they are kept, and left-overs.

The rows are the queue; whoever keeps one rings. A process of its own does them, in the order in which they were kept,
and leaves the machine to those who answer.
"""

import os
import signal
import threading
import time
from datetime import timedelta

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection

from integrations.hl7 import inbox
from integrations.hl7.database import keep_connections

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
NICENESS = 5
# A message that is answered when it is done is left to its connection, unless that is gone.
LEFT_AT_START = timedelta(seconds=5)
LEFT = timedelta(minutes=5)


def run() -> None:
    """Do what waits, until SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    os.nice(NICENESS)
    keep_connections()
    left = LEFT_AT_START
    while not ended.is_set():
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {inbox.BELL}")
            _work(ended, left)
        except (DatabaseError, InterfaceError, psycopg.Error) as error:
            log.error("hl7_backlog_failed", exc_info=error)
            ended.wait(1.0)
        finally:
            connection.close()
        left = LEFT


def _work(ended: threading.Event, left: timedelta) -> None:
    swept = 0.0
    while not ended.is_set():
        waiting = inbox.waiting()
        if not waiting and time.monotonic() - swept >= SWEEP_SECONDS:
            waiting, swept, left = inbox.left_over(before=left), time.monotonic(), LEFT
        for pk in waiting:
            if ended.is_set():
                return
            _do(pk)
        if not waiting:
            _await_bell()


def _do(pk: int) -> None:
    """One that cannot even be read any more is put aside: the others go on."""
    try:
        inbox.process(pk)
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        log.error("hl7_message_failed", message=pk, exc_info=error)
        inbox.put_aside(pk)


def _await_bell() -> None:
    """Until somebody rings, or it is time to look."""
    assert connection.connection is not None
    for _ in connection.connection.notifies(timeout=SWEEP_SECONDS, stop_after=1):
        pass

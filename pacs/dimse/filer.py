"""The process of the daemon that files what the workers have acknowledged."""

import os
import select
import signal
import threading
from types import FrameType

import structlog
from django.db import DatabaseError, close_old_connections

from pacs.services.filing import Filing
from radiology.errors import OutOfResources

log = structlog.get_logger(__name__)

# So long others may join the first one: rows of many cost little more than those of one.
GATHER_SECONDS = 0.02
LOOK_SECONDS = 1.0
MOST_CALLS = 64 * 1024


class Filer:
    """`run` files whatever there is, at once and whenever `calls` becomes readable, until SIGTERM or SIGINT."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._filing = Filing()
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve. Ends when all is filed, or nothing can be."""
        reader, self._writer = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        os.set_blocking(self._calls, False)
        poll = select.poll()
        poll.register(self._calls, select.POLLIN)
        poll.register(reader, select.POLLIN)
        self._look()
        while not self._stop.is_set():
            if poll.poll(LOOK_SECONDS * 1000):
                self._stop.wait(GATHER_SECONDS)
                self._heard()
            self._look()

    def _heard(self) -> None:
        try:
            os.read(self._calls, MOST_CALLS)
        except BlockingIOError:
            return

    def _look(self) -> None:
        close_old_connections()
        try:
            while self._filing.run():
                pass
        except (OutOfResources, DatabaseError) as error:
            log.error("filing_failed", exc_info=error)
            self._stop.wait(LOOK_SECONDS)
        finally:
            close_old_connections()

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self._stop.is_set():
            self._stop.set()
            os.close(self._writer)

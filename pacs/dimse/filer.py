"""The process of the daemon that files what the workers have acknowledged."""

import os
import select
import signal
import time
from types import FrameType

import structlog
from django.db import DatabaseError, close_old_connections

from pacs.dimse.backlog import NOW
from pacs.services.filing import Filing

log = structlog.get_logger(__name__)

# So long others may join the first one, unless somebody waits: rows of many cost little more than those of one.
GATHER_SECONDS = 0.15
ENOUGH = 128
LOOK_SECONDS = 1.0
# So often and so soon it looks once more, without a call, after there was one or something to file: those who bring
# much do not call for each (`pacs.dimse.backlog`).
ONCE_MORE, ONCE_MORE_SECONDS = 2, 0.1
MOST_CALLS = 64 * 1024


class Filer:
    """`run` files whatever there is, at once and whenever `calls` becomes readable, until SIGTERM or SIGINT."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._filing = Filing()
        self._is_stopping = False
        self._stop_reader, self._stop_writer = os.pipe()

    def run(self) -> None:
        """Serve. At the end what was acknowledged until then is filed, or waits for the next filer."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        os.set_blocking(self._calls, False)
        poll = select.poll()
        poll.register(self._calls, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        self._look()
        left = ONCE_MORE
        while not self._is_stopping:
            poll.poll((ONCE_MORE_SECONDS if left else LOOK_SECONDS) * 1000)
            was_called = self._gather()
            left = ONCE_MORE if self._look() or was_called else max(0, left - 1)
        self._look()

    def _gather(self) -> bool:
        """Let the calls come in until there are enough, or it is urgent, or time. Whether there were any."""
        until = time.monotonic() + GATHER_SECONDS
        heard = 0
        while not self._is_stopping and (left := until - time.monotonic()) > 0:
            calls = self._heard()
            heard += len(calls)
            if not heard or heard >= ENOUGH or NOW in calls:
                break
            select.select([self._calls], [], [], left)
        return heard > 0

    def _heard(self) -> bytes:
        try:
            return os.read(self._calls, MOST_CALLS)
        except BlockingIOError:
            return b""

    def _look(self) -> int:
        """File what there is; how much it was."""
        close_old_connections()
        try:
            return self._filing.run()
        except DatabaseError as error:
            log.error("filing_failed", exc_info=error)
            select.select([self._stop_reader], [], [], LOOK_SECONDS)
            return 0
        finally:
            close_old_connections()

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            os.close(self._stop_writer)

"""One kind of request, again and again at its rate, in a thread of its own."""

import http.client
import subprocess
import threading
import time

from benchmarks.soak.figures import Figures
from deploy.screen import SetUpFailed

FAULT_SECONDS = 0.25
DRAIN_SECONDS = 120.0


class NotDone(Exception):
    """The product did not do what it was asked for: refused, answered otherwise, or cut the line."""


FAULTS = (NotDone, OSError, http.client.HTTPException, SetUpFailed, subprocess.SubprocessError)


class Work(threading.Thread):
    """`once` is one request; a fault begins it anew on a new connection, as a modality would.

    After `stop` a sender goes on until what it has in hand is acknowledged, within DRAIN_SECONDS.
    """

    kind: str
    per_second: float

    def __init__(self, figures: Figures, load: float) -> None:
        super().__init__(name=self.kind, daemon=True)
        self.figures = figures
        self._pause = 1 / (self.per_second * load)
        self._stopping = threading.Event()

    def once(self) -> None:
        """One request. Raises one of FAULTS."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop the connection, so that `once` opens another."""

    def is_idle(self) -> bool:
        """Whether nothing is in hand that was not acknowledged."""
        return True

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        due = time.monotonic()
        until = None
        while not (self._stopping.is_set() and self.is_idle()):
            if self._stopping.is_set():
                until = until or time.monotonic() + DRAIN_SECONDS
                if time.monotonic() > until:
                    break
            began = time.monotonic()
            try:
                self.once()
            except FAULTS as error:
                self.figures.failed(self.kind, error, began=began)
                self.close()
                time.sleep(FAULT_SECONDS)
                continue
            now = time.monotonic()
            self.figures.took(self.kind, now - began)
            due = max(due + self._pause, now - self._pause)  # what was missed is not caught up with
            self._stopping.wait(max(0.0, due - now))
        self.close()

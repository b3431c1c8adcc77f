"""How a transfer's worker keeps its job, writes down what is settled, and learns that it was called off."""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pacs.models import Transfer, TransferOutcome
from pacs.services.transfer_runs import Outcome, note_results
from radiology.models import Job
from radiology.services import jobs

EVERY_SECONDS = 1.0
BATCH = 200
# The rate shown is that of so many last moments.
MOMENTS = 10


class Progress:
    """The run of one transfer. `beat` is called as often as one likes and does something once a second.

    It raises RadiologyError when the transfer was cancelled, or another worker took it over, and Paused
    when it was paused. What was added before is written down even then. `keep` is a `beat` within an object
    that is to be finished first: it lets a pause wait.
    """

    def __init__(self, transfer: Transfer, job: Job) -> None:
        self.transfer = transfer
        self._job = job
        self._settled: dict[str, Outcome] = {}
        self._objects = self._bytes = 0
        self._transferred: Callable[[], int] = int
        self._counted = 0
        self.is_paused = False
        self._moments: deque[tuple[float, int, int]] = deque(maxlen=MOMENTS)
        self._last = time.monotonic()
        self._mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(running=False)

    def over(self, transferred: Callable[[], int]) -> None:
        """From now on, `transferred` says how many bytes have passed."""
        self._mark()
        self._transferred, self._counted = transferred, transferred()

    def count_bytes(self, size: int) -> None:
        """So many bytes came by a connection that is not ours."""
        self._bytes += size

    def restart(self) -> None:
        """What was settled so far does not count for the speed."""
        self._moments.clear()
        self._mark()

    def add(self, outcome: Outcome) -> None:
        """One object is settled."""
        self._settled[outcome.sop_instance_uid] = outcome
        if outcome.outcome != TransferOutcome.FAILED:
            self._objects += 1
        if len(self._settled) >= BATCH:
            self._write(running=True)

    def beat(self) -> None:
        self.keep()
        self.stop_if_paused()

    def stop_if_paused(self) -> None:
        if self.is_paused:
            raise jobs.Paused

    def keep(self) -> None:
        """Once a second: write down what is settled and keep the job."""
        if time.monotonic() - self._last < EVERY_SECONDS:
            return
        self._write(running=True)
        self.is_paused = not jobs.keep(job=self._job, progress=self.transfer.settled, total=self.transfer.total)
        self._last = time.monotonic()

    def _write(self, *, running: bool) -> None:
        self._mark()
        rate, pace = self._speed() if running else (0.0, 0.0)
        settled, self._settled = self._settled, {}
        note_results(transfer=self.transfer, outcomes=list(settled.values()), rate=rate, pace=pace)

    def _mark(self) -> None:
        passed = self._transferred()
        self._bytes += passed - self._counted
        self._counted = passed
        self._moments.append((time.monotonic(), self._bytes, self._objects))

    def _speed(self) -> tuple[float, float]:
        (began, first_bytes, first_objects), (now, last_bytes, last_objects) = self._moments[0], self._moments[-1]
        seconds = now - began
        if seconds < EVERY_SECONDS / 2:
            return 0.0, 0.0
        return (last_bytes - first_bytes) / seconds, (last_objects - first_objects) / seconds

"""kill -9, spread over the run, and how long it takes until everything answers again."""

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import hl7
from benchmarks.soak.figures import Figures, Kill
from benchmarks.soak.images import Images
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.product import Product, children_of
from benchmarks.soak.senders import ask, associate, store, written_down
from benchmarks.soak.work import FAULTS, NotDone

# Supervisord itself is not among them: `make run` answers its end with a whole start.
VICTIMS = (
    "dimse worker", "postgres", "dimse", "web worker", "worker", "hl7 worker", "web", "postgres", "hl7", "beat",
    "dimse worker",
)  # fmt: skip
SECONDS_ALLOWED = 30.0
GIVEN_UP_AFTER = 180.0
PROBE_SECONDS = 5.0
PROBE_NUMBER = 90  # of a sender and a connection that nobody else has


class Doors:
    """Each door asked once, on a new connection; what is acknowledged goes into the ledger like everything."""

    def __init__(self, product: Product, ledger: Ledger, run: int, folder: Path) -> None:
        self._product, self._ledger, self._folder = product, ledger, folder
        self._images = Images(run, PROBE_NUMBER)
        self._image = self._images.next()
        self._message = hl7.visit(1, PROBE_NUMBER)
        folder.mkdir(parents=True)

    def all(self) -> dict[str, Callable[[], None]]:
        return {"DICOM": self.dicom, "web": self.web, "HL7": self.hl7}

    def dicom(self) -> None:
        """C-ECHO and a C-STORE that is acknowledged."""
        path = self._folder / "probe.dcm"
        path.write_bytes(self._image.file)
        association = associate(self._product, seconds=PROBE_SECONDS)
        try:
            if getattr(association.send_c_echo(), "Status", None) != 0:
                raise NotDone("C-ECHO")
            store(association, path)
        except (RuntimeError, ValueError) as error:
            raise NotDone(str(error)) from None
        finally:
            association.abort()
        self._ledger.image(self._image, "probe")
        self._image = self._images.next()

    def web(self) -> None:
        """What it says of itself, and a search."""
        client = self._product.again(seconds=PROBE_SECONDS)
        with contextlib.closing(client):
            for path in ("/readyz", f"{self._product.dicomweb}/studies?limit=1"):
                answer = client.get(path, Accept="*/*")
                if answer.status not in (200, 204):
                    raise NotDone(f"{path}: {answer.status}")

    def hl7(self) -> None:
        with socket.create_connection(("127.0.0.1", self._product.hl7_port), timeout=PROBE_SECONDS) as peer:
            code = ask(peer, self._message)
        if code != "AA":
            raise NotDone(f"HL7: {code}")
        written_down(self._ledger, self._message)
        self._message = hl7.visit(1, PROBE_NUMBER)


class Killer(threading.Thread):
    """`count` kills within `seconds`, at random moments of equal spans; each kind of victim in its turn."""

    def __init__(self, product: Product, doors: Doors, figures: Figures, *, count: int, seconds: float, seed: int):
        super().__init__(name="killer", daemon=True)
        self._product, self._doors, self._figures = product, doors, figures
        self._chance = random.Random(seed)  # noqa: S311 - moments
        span = seconds / (count + 1)
        self._moments = [span * (place + self._chance.random()) + min(span, 10) for place in range(count)]
        self._victims: list[str] = []
        while len(self._victims) < count:
            self._victims += self._chance.sample(VICTIMS, len(VICTIMS))
        self._halt = threading.Event()

    def run(self) -> None:
        for moment, victim in zip(self._moments, self._victims, strict=False):
            if self._halt.wait(max(0.0, self._figures.began + moment - time.monotonic())):
                return
            self._figures.kills.append(self._kill(victim))

    def stop(self) -> None:
        """After the kill in hand."""
        self._halt.set()
        self.join()

    def finish(self) -> None:
        """After the last kill."""
        self.join()

    def _kill(self, victim: str) -> Kill:
        there = self._product.by_kind().get(victim, [])
        if not there:
            return Kill(victim, time.monotonic(), None, {})
        pid = self._chance.choice(there)
        gone = {pid, *children_of(pid)}  # orphans may answer a moment longer
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        back: dict[str, float] = {}
        missing = {"process": lambda: self._replaced(victim, gone, len(there)), **self._doors.all()}
        while missing and time.monotonic() < began + GIVEN_UP_AFTER:
            for door in list(missing):
                if door != "process" and "process" in missing:
                    continue  # it might answer once more before it notices that the other is gone
                with contextlib.suppress(*FAULTS):
                    missing[door]()
                    del missing[door]
                    back[door] = time.monotonic() - began
            time.sleep(0.1)
        return Kill(victim, began, None if missing else time.monotonic() - began, back)

    def _replaced(self, victim: str, gone: set[int], count: int) -> None:
        now = self._product.by_kind()
        if gone & {pid for pids in now.values() for pid in pids} or len(now.get(victim, [])) < count:
            raise NotDone(f"no {victim} in its place")

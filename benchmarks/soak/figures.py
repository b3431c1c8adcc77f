"""What is measured on the way: latencies, faults, and every few seconds what the processes hold."""

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.soak.product import Product, handles_of, memory_of, threads_of

SECONDS_BETWEEN = 5.0
MEGABYTE = 1024 * 1024
# How long after everything answered again a fault may still be a kill's: a client that waited for its timeout.
AFTERMATH = 10.0


@dataclass(frozen=True)
class Kill:
    """`back` is the seconds until the process was there again and each door answered; None: it never was."""

    victim: str
    at: float
    back: float | None
    doors: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> float:
        return self.at + (self.back or 0.0)


@dataclass(frozen=True)
class Fault:
    kind: str
    text: str
    began: float
    ended: float


@dataclass(frozen=True)
class Sample:
    """At one moment, by name ("dimse worker handles"): the sum over the processes of a kind."""

    at: float
    values: dict[str, float]


class Figures:
    """Filled by many threads."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.latencies: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.faults: list[Fault] = []
        self.kills: list[Kill] = []
        self.samples: list[Sample] = []
        self._lock = threading.Lock()

    def took(self, kind: str, seconds: float) -> None:
        with self._lock:
            self.latencies[kind].append((time.monotonic(), seconds))

    def failed(self, kind: str, error: Exception, *, began: float) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        with self._lock:
            self.faults.append(Fault(kind, text, began, time.monotonic()))

    def between(self, begin: float, end: float) -> dict[str, list[float]]:
        """Latencies by kind, of what was answered within."""
        with self._lock:
            return {
                kind: [seconds for at, seconds in taken if begin <= at < end] for kind, taken in self.latencies.items()
            }

    def unexplained(self) -> list[Fault]:
        """Faults that no kill was the cause of."""
        spans = [(each.at, each.at + (each.back or 1e9) + AFTERMATH) for each in self.kills]
        return [
            fault
            for fault in list(self.faults)
            if not any(fault.began <= end and fault.ended >= begin for begin, end in spans)
        ]


def sample(product: Product) -> Sample:
    """What all processes hold at this moment; one that ends meanwhile counts for nothing."""
    values: dict[str, float] = defaultdict(float)
    for kind, pids in product.by_kind().items():
        for pid in pids:
            try:
                rss, pss = memory_of(pid)
                handles, threads = handles_of(pid), threads_of(pid)
            except (OSError, ValueError):
                continue
            values[f"{kind} processes"] += 1
            values[f"{kind} RSS"] += rss
            values[f"{kind} PSS"] += pss
            values[f"{kind} handles"] += handles
            values[f"{kind} threads"] += threads
            values["all PSS"] += pss
    values["database connections"] = values["postgres session processes"]
    for name, folder in (("incoming", "archive/incoming"), ("broker", "broker")):
        files = [path for path in (product.folder / folder).rglob("*") if path.is_file()]
        values[f"{name} files"] = len(files)
    return Sample(time.monotonic(), dict(values))


class Sampler(threading.Thread):
    """Takes a sample every few seconds until it is stopped."""

    def __init__(self, product: Product, figures: Figures) -> None:
        super().__init__(name="sampler", daemon=True)
        self._product, self._figures, self._halt = product, figures, threading.Event()

    def run(self) -> None:
        while not self._halt.wait(SECONDS_BETWEEN):
            self._figures.samples.append(sample(self._product))

    def stop(self) -> None:
        self._halt.set()
        self.join()


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values) or [0.0])

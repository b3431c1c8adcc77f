"""The import's engine: one thread lists, several read, the caller stores in batches and keeps the journal.

Nothing is held in memory but what is on its way: queues are short, objects lie on the archive's disk
as soon as they are read. After a kill at any moment, only what was on its way is read again.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils.translation import gettext as _

from pacs.models import ImportRun
from pacs.services.imports_journal import Fate, Handled, digest_of, known, record
from pacs.services.media import Candidate, NoDicom, Refusal, receive_candidate
from pacs.services.store import Received, Source, store_instances
from pacs.storage import CurrentVolume
from radiology.errors import Conflict, OutOfResources, RadiologyError, Unreachable

log = structlog.get_logger(__name__)

BATCH = 64
# A batch is stored when it is full or this old, so that figures move and little is read again after a kill.
BATCH_SECONDS = 0.5
SIGN_EVERY = 0.5
LISTED = 500
WAITING = 128
TICK = 0.1

Listing = Callable[[], Iterable[Candidate | Refusal]]
# How much there is, files and bytes, where that can be asked.
Counting = Callable[[], tuple[int, int]]
T = TypeVar("T")


class Stopped(Conflict):
    """Somebody stopped the import: it goes on from here when it is started again."""


@dataclass
class Progress:
    """How far a run is in this process. `found` is None until everything was counted."""

    handled: int = 0
    bytes_read: int = 0
    found: int | None = None
    found_bytes: int | None = None


class _Line(Generic[T]):
    """A short queue between threads that nobody waits at for longer than the import lasts."""

    def __init__(self, size: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[T] = queue.Queue(size)
        self._stop = stop
        self._ended = threading.Event()

    def put(self, item: T) -> bool:
        """Whether the item was taken: not once the import stops."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=TICK)
                return True
            except queue.Full:
                continue
        return False

    def end(self) -> None:
        """Nothing more comes."""
        self._ended.set()

    def get(self, seconds: float = TICK) -> T | None:
        """The next item; None when there is none at the moment."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None

    def over(self) -> bool:
        """Whether nothing is there and nothing more comes."""
        return self._ended.is_set() and self._queue.empty()

    def __iter__(self) -> Iterator[T]:
        while not self._stop.is_set() and not self.over():
            item = self.get()
            if item is not None:
                yield item


@dataclass
class _Read:
    """A candidate that was read: on the archive's disk, or with the reason why not."""

    handled: Handled | None = None
    candidate: Candidate | None = None
    received: Received | None = None
    done_before: int = 0


class Engine:
    """One run in this process. `stop` may be set by anybody at any time.

    `rate`: bytes a second at most, 0 for no limit. `counted`: the listing is gone through a second time, at once, to
    know how much there is; or what to ask instead.
    """

    def __init__(
        self,
        *,
        run: ImportRun,
        listing: Listing,
        source: Source,
        readers: int = 4,
        counted: bool | Counting = True,
        alive: Callable[[Progress], None] = lambda progress: None,
        stop: threading.Event | None = None,
        rate: float = 0.0,
    ) -> None:
        self.run = run
        self.progress = Progress()
        self.stop = stop or threading.Event()
        self._listing = listing
        self._source = source
        self._readers = readers
        self._rate = rate
        self._rate_lock = threading.Lock()
        self._spent_until = 0.0
        self._counted = counted
        self._alive = alive
        self._ending = threading.Event()
        self._candidates: _Line[Candidate] = _Line(WAITING, self._ending)
        self._results: _Line[_Read] = _Line(WAITING, self._ending)
        self._failure: Exception | None = None
        self._last_sign = 0.0
        self._batch: list[_Read] = []
        self._volume = CurrentVolume()
        self._found = self._found_bytes = 0

    def work(self) -> None:
        """Run to the end. Raises Stopped, or what made it impossible to go on."""
        lister = threading.Thread(target=self._own_connection, args=(self._list,), name="import-list", daemon=True)
        counter = threading.Thread(target=self._own_connection, args=(self._count,), name="import-count", daemon=True)
        readers = [
            threading.Thread(target=self._own_connection, args=(self._read,), name=f"import-{number}", daemon=True)
            for number in range(self._readers)
        ]
        for thread in (lister, counter, *readers) if self._counted else (lister, *readers):
            thread.start()
        closer = threading.Thread(target=self._close, args=(lister, readers), name="import-end", daemon=True)
        closer.start()
        threads = [lister, *([counter] if self._counted else []), *readers, closer]
        try:
            self._commit()
            if self._failure is not None:
                raise self._failure
            if self.stop.is_set():
                raise Stopped(_("The import was stopped: it goes on from here when it is started again."))
            self._end(threads)
            record(run=self.run, handled=[], found=self._found, found_bytes=self._found_bytes)
        except BaseException:
            self._end(threads)
            self._discard()
            raise

    def _end(self, threads: list[threading.Thread]) -> None:
        self._ending.set()
        for thread in threads:
            thread.join()

    def _close(self, lister: threading.Thread, readers: list[threading.Thread]) -> None:
        lister.join()
        self._candidates.end()
        for reader in readers:
            reader.join()
        self._results.end()

    def _own_connection(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            if self._failure is None:
                self._failure = error
            self._ending.set()
        finally:
            connection.close()

    def _list(self) -> None:
        listing = iter(self._listing())
        while not self._halted() and (chunk := list(islice(listing, LISTED))):
            digests = [digest_of(each) for each in chunk if isinstance(each, Candidate)]
            done = known(run=self.run, digests=digests)
            before = 0
            self._found += len(chunk)
            self._found_bytes += sum(each.size for each in chunk if isinstance(each, Candidate))
            for each in chunk:
                if isinstance(each, Refusal):
                    self._results.put(_Read(Handled(each.name, Fate.REFUSED, each.reason)))
                elif (by := done.get(digest_of(each))) is None:
                    if not self._candidates.put(each) or self._halted():
                        return
                elif by != self.run.pk:
                    before += 1
            if before:
                self._results.put(_Read(done_before=before))

    def _count(self) -> None:
        found = size = 0
        if not isinstance(self._counted, bool):
            found, self.progress.found_bytes = self._counted()
            self.progress.found = found
            return
        for each in self._listing():
            if self._halted():
                return
            found += 1
            size += each.size if isinstance(each, Candidate) else 0
        self.progress.found_bytes, self.progress.found = size, found

    def _read(self) -> None:
        for candidate in self._candidates:
            if self.stop.is_set():
                return
            read = self._read_one(candidate)
            if not self._results.put(read) and read.received is not None:
                read.received.discard()

    def _read_one(self, candidate: Candidate) -> _Read:
        digest = digest_of(candidate)
        try:
            slowed = replace(candidate, blocks=partial(self._slowed, candidate)) if self._rate else candidate
            received = receive_candidate(source=self._source, candidate=slowed, volume=self._volume())
            return _Read(candidate=candidate, received=received)
        except NoDicom as nothing:
            return _Read(Handled(candidate.name, Fate.SKIPPED, nothing.message, 0, digest))
        except (OutOfResources, Unreachable):
            raise
        except RadiologyError as error:
            return _Read(Handled(candidate.name, Fate.REFUSED, error.message, candidate.size, digest))
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # one file that nobody thought of does not end the import of all others
            log.exception("file of an import cannot be read", run=self.run.pk)
            reason = _("This file cannot be read (%(error)s).") % {"error": type(error).__name__}
            return _Read(Handled(candidate.name, Fate.REFUSED, reason, candidate.size, digest))

    def _slowed(self, candidate: Candidate) -> Iterator[bytes]:
        """Its blocks, as fast as all readers together may read."""
        for block in candidate.blocks():
            yield block
            with self._rate_lock:
                self._spent_until = max(self._spent_until, time.monotonic()) + len(block) / self._rate
                ready_at = self._spent_until
            while not self._halted() and (left := ready_at - time.monotonic()) > 0:
                self._ending.wait(min(left, SIGN_EVERY))

    def _commit(self) -> None:
        """Store what was read, until nothing more comes."""
        began = 0.0
        while not self._ending.is_set():
            over = self._results.over()
            read = None if over else self._results.get()
            if read is not None:
                began = began if self._batch else time.monotonic()
                self._batch.append(read)
            if self._batch and (over or len(self._batch) >= BATCH or time.monotonic() - began >= BATCH_SECONDS):
                self._store()
            elif over:
                return
            if time.monotonic() - self._last_sign >= SIGN_EVERY:
                self._last_sign = time.monotonic()
                self._alive(self.progress)

    def _store(self) -> None:
        waiting = [
            (each.candidate, each.received)
            for each in self._batch
            if each.candidate is not None and each.received is not None
        ]
        stored = store_instances(received=[received for _candidate, received in waiting])
        handled = [each.handled for each in self._batch if each.handled is not None]
        handled += [
            Handled.of(candidate, outcome, size=candidate.size or received.size)
            for (candidate, received), outcome in zip(waiting, stored, strict=True)
        ]
        before = sum(each.done_before for each in self._batch)
        self._batch = []
        progress = self.progress
        record(
            run=self.run,
            handled=handled,
            done_before=before,
            found=progress.found,
            found_bytes=progress.found_bytes,
        )
        progress.handled += len(handled) + before
        progress.bytes_read += sum(each.size for each in handled)

    def _discard(self) -> None:
        """Drop what was read and will not be stored."""
        while (read := self._results.get(0)) is not None:
            self._batch.append(read)
        for read in self._batch:
            if read.received is not None:
                read.received.discard()

    def _halted(self) -> bool:
        return self.stop.is_set() or self._ending.is_set()
